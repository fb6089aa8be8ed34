// SPDX-License-Identifier: Apache-2.0
// ref.h: the inside of the reference backend. Stands on gregale/*.h and libc alone; what every
// backend needs comes from gregale/sdk.h.
//
// How it works. program_compile binds every node that runs to addresses, which gives a list of
// calls. submit checks the step block against each call (so that nothing is half done when it
// refuses), then enters the team once: every worker walks the list, takes its slice of each call,
// and waits for the others before the next. Results never depend on the slicing: one output element
// is always computed by one worker, in one order.
#ifndef GREGALE_BACKENDS_REF_H
#define GREGALE_BACKENDS_REF_H

#define GR_SDK_ORIGIN "ref"
#include "gregale/sdk.h"

struct gr_device {
    const gr_host *host; // borrowed until close
};

// One worker's share of a step.
typedef struct ref_task {
    const gr_step *step;
    uint32_t id, count;
    void *scratch; // as much as the op asked for, 64-byte aligned
} ref_task;

// What an op must say for itself; operands are checked by gr_operands_check, steps by gr_call_admit.
typedef struct ref_op {
    gr_op op;
    // Scratch bytes a worker needs; NULL: none.
    uint64_t (*scratch)(const gr_node_view *node);
    // Computes this worker's share. Cannot fail.
    void (*run)(const gr_call *call, const ref_task *task);
    // Operations of one step, for traces; NULL: one an output element.
    uint64_t (*operations)(const gr_call *call, const gr_step *step);
} ref_op;

extern const ref_op ref_op_embed, ref_op_rms_norm, ref_op_matmul, ref_op_rope, ref_op_kv_write,
    ref_op_attention, ref_op_glu, ref_op_add, ref_op_mul, ref_op_scale, ref_op_softmax,
    ref_op_gather_rows, ref_op_mask_bits, ref_op_topk, ref_op_cast, ref_op_copy;

// The op's row, NULL when this backend has none (composites, unknown numbers).
const ref_op *ref_op_find(gr_op op);

// This worker's part [*begin, *end) of n units.
static inline void ref_slice(uint64_t n, const ref_task *task, uint64_t *begin, uint64_t *end) {
    gr_slice(n, task->id, task->count, begin, end);
}

// Sum of a[i]*b[i] in F64, always in the same order.
double ref_dot(const float *a, const float *b, uint64_t n);

gr_status ref_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info, gr_error *error);
void ref_program_destroy(gr_device *device, gr_program *program);
gr_status ref_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error);

#endif
