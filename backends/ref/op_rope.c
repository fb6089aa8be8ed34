// SPDX-License-Identifier: Apache-2.0
// op_rope.c: ROPE: rotates pairs of each head by position * inv_freq, in F64 (arXiv 2104.09864).
#include "ref.h"

// One head at one position.
static void rotate(const gr_attrs_rope *a, double position, const float *x, float *out) {
    uint32_t pairs = a->rotary_dim / 2;
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t first = a->pairing == GR_ROPE_HALF ? i : 2 * i;
        uint32_t second = a->pairing == GR_ROPE_HALF ? i + pairs : 2 * i + 1;
        double angle = position * a->inv_freq[i];
        double cosine = cos(angle) * (double)a->magnitude, sine = sin(angle) * (double)a->magnitude;
        double x0 = (double)x[first], x1 = (double)x[second];
        out[first] = (float)(x0 * cosine - x1 * sine);
        out[second] = (float)(x0 * sine + x1 * cosine);
    }
    for (uint32_t i = a->rotary_dim; i < a->head_dim; i++)
        out[i] = x[i];
}

static void run(const gr_call *call, const ref_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const float *x = gr_call_in(call, 0);
    float *out = gr_call_out(call, 0);
    const int32_t *positions = gr_call_index(call, 1, task->step);
    uint64_t width = gr_value_width(&call->node.in[0]), begin, end;
    ref_slice(gr_value_rows(&call->node.in[0], task->step), task, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        for (uint64_t at = t * width; at < (t + 1) * width; at += a->head_dim)
            rotate(a, (double)positions[t], x + at, out + at);
    }
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    return 3 * gr_value_count(&call->node.in[0], step);
}

const ref_op ref_op_rope = {GR_OP_ROPE, NULL, run, operations};
