// SPDX-License-Identifier: Apache-2.0
// sdk.h: everything that saves a backend from writing what every backend writes. Inline functions
// alone: a plugin links nothing.
// For backend authors. Needs libc and pthread (see sdk/fence.h); C11 and C++17.
//
//   sdk/structs.h       reading and filling structs of other versions
//   sdk/node.h          walking segments, reading nodes, sizes of values
//   sdk/operands.h      what each primitive takes
//   sdk/step.h          checking step blocks, finding cache pages, what a row sees
//   sdk/rows.h          every dtype to F32 and back
//   sdk/fence.h         a counter to wait for
//   sdk/host_memory.h   buffers, weights and cache pools in host memory: ready table entries
//   sdk/host_program.h  binding, queues, fences of a device whose steps are done in submit
//
// A device with memory and queues of its own uses the first six.
#ifndef GREGALE_SDK_H
#define GREGALE_SDK_H

#include "gregale/sdk/fence.h"
#include "gregale/sdk/host_memory.h"
#if !defined(GR_SDK_OWN_BUFFER) && !defined(GR_SDK_OWN_WEIGHT) && !defined(GR_SDK_OWN_KV)
#include "gregale/sdk/host_program.h" // else after the backend's own structs
#endif
#include "gregale/sdk/node.h"
#include "gregale/sdk/operands.h"
#include "gregale/sdk/rows.h"
#include "gregale/sdk/step.h"
#include "gregale/sdk/structs.h"

#endif
