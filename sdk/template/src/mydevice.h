// SPDX-License-Identifier: Apache-2.0
// mydevice.h: the inside of the mydevice backend. Stands on gregale/*.h and libc alone.
//
// How it works. program_compile turns the nodes that run into a list of calls whose operands are
// addresses known to be in bounds (gr_call_bind). submit looks at the step block first, so that
// nothing is half done when it refuses, then enters the team of workers once: each walks the list,
// takes its slice of every call, and waits for the others before the next.
//
// What is not here comes from gregale/sdk.h: buffers, weights, cache pools, queues and fences of
// host memory, reading nodes, checking operands and steps. Replace them one by one as your device
// asks for it; gr_backend's comments in gregale/backend.h say what each must do.
#ifndef MYDEVICE_H
#define MYDEVICE_H

#define GR_SDK_ORIGIN "mydevice" // in error messages
#include <gregale/sdk.h>

struct gr_device {
    const gr_host *host; // first: gregale/sdk/host_memory.h finds it here
};

// One worker's share of a step.
typedef struct mydevice_task {
    const gr_step *step;
    uint32_t id, count; // this worker's number, and how many there are
    float *scratch;     // as much as the op asked for, its own
} mydevice_task;

typedef struct mydevice_op {
    gr_op op;
    // Why a node whose operands are right cannot be run; NULL: it can.
    const char *(*refuse)(const gr_node_view *node);
    // Floats of scratch that a worker needs; NULL: none.
    uint64_t (*scratch)(const gr_node_view *node);
    // Computes this worker's share. Everything was checked before: it cannot fail.
    void (*run)(const gr_call *call, const mydevice_task *task);
} mydevice_op;

// ops.c: the op's row; NULL when this backend does not have it yet.
const mydevice_op *mydevice_op_find(gr_op op);
// Reads node `index` and says why this backend does not run it, or NULL.
const char *mydevice_refusal(const gr_segment *segment, uint32_t index, gr_node_view *out_node);

// program.c
gr_status mydevice_program_compile(gr_device *device, const gr_program_desc *desc,
                                   gr_program **out_program, gr_program_info *out_info,
                                   gr_error *error);
void mydevice_program_destroy(gr_device *device, gr_program *program);
gr_status mydevice_submit(gr_device *device, gr_queue *queue, const gr_submit *submit,
                          gr_error *error);

#endif
