// SPDX-License-Identifier: Apache-2.0
// kv_write.h: the operands of KV_WRITE. The last two only in a composite, where keys and queries
// are rotated on the way; its results are then the state and the rotated queries.
#ifndef GREGALE_BACKENDS_CPU_KV_WRITE_H
#define GREGALE_BACKENDS_CPU_KV_WRITE_H

enum { CPU_WRITE_K, CPU_WRITE_V, CPU_WRITE_STATE, CPU_WRITE_POSITIONS, CPU_WRITE_Q, CPU_WRITE_IN };

#endif
