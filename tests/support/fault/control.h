// SPDX-License-Identifier: Apache-2.0
// control.h: what a test asks of the fault shim at run time, by get_extension("gregale.fault").
// Any thread. One shim file has one plan and one set of counts, shared by all its devices.
#ifndef GREGALE_TESTS_FAULT_CONTROL_H
#define GREGALE_TESTS_FAULT_CONTROL_H

#include "gregale/backend.h"

#define GR_FAULT_EXTENSION "gregale.fault"

// Where faults happen. Each has a count of its own that begins at 1.
typedef uint32_t gr_fault_point;
enum {
    GR_FAULT_OPEN = 0,
    GR_FAULT_BUFFER = 1,  // buffer_alloc, buffer_import
    GR_FAULT_WEIGHT = 2,  // weight_import
    GR_FAULT_KV = 3,      // kv_create
    GR_FAULT_RESIZE = 4,  // kv_resize
    GR_FAULT_COMPILE = 5, // program_compile
    GR_FAULT_QUEUE = 6,   // queue_create, fence_create
    GR_FAULT_ALLOC = 7,   // any of BUFFER to QUEUE
    GR_FAULT_MEMORY = 8,  // memory_alloc of the host, as the wrapped plugin calls it
    GR_FAULT_COPY = 9,    // buffer_read, buffer_write, kv_copy_page, kv_read, kv_write
    GR_FAULT_SUBMIT = 10,
    GR_FAULT_FENCE = 11,  // what the submit of the same number signals
    GR_FAULT_POINT_COUNT = 12
};

typedef uint32_t gr_fault_kind;
enum {
    GR_FAULT_NONE = 0,
    GR_FAULT_OOM = 1,   // OUT_OF_MEMORY, without reaching the wrapped plugin
    GR_FAULT_LOST = 2,  // DEVICE_LOST, and nothing else from then on
    GR_FAULT_LATE = 3,  // the fence comes after a time
    GR_FAULT_NEVER = 4, // the fence does not come: the queue hangs
    GR_FAULT_KIND_COUNT = 5
};

// A fault that was injected: `kind` at call `number` of `point`.
typedef struct gr_fault_event {
    gr_fault_point point;
    gr_fault_kind kind;
    uint64_t number;
    uint64_t delay_ns; // of LATE
} gr_fault_event;

typedef struct gr_fault_control {
    uint32_t struct_size;
    uint32_t reserved;
    // Takes a new plan (README.md; NULL or "": none) and sets all counts to zero. A device that is
    // lost, and a queue that hangs, stay so. INVALID_ARGUMENT says what is wrong with the text, and
    // leaves the old plan.
    gr_status (*plan_set)(const char *plan, gr_error *error);
    // Calls of `point` since the plan was taken.
    uint64_t (*calls)(gr_fault_point point);
    // Writes the first `capacity` faults injected since the plan was taken, in order (no more than 256
    // are remembered); returns how many there were.
    uint64_t (*injected)(gr_fault_event *out_events, uint32_t capacity);
} gr_fault_control;

#endif
