// SPDX-License-Identifier: Apache-2.0
// op_rope.c: ROPE: rotates pairs of each head by position * inv_freq, in F64 (arXiv 2104.09864).
#include "ref.h"

static const char *check(const ref_node *node) {
    const gr_attrs_rope *a = &node->attrs.rope;
    const gr_value *x = &node->in[0];
    if (!ref_is_matrix(x, GR_DTYPE_F32) || !ref_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !ref_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [T,H*head_dim]";
    if (!a->head_dim || x->dims[1] % a->head_dim)
        return "the width is not a multiple of head_dim";
    if (a->rotary_dim > a->head_dim || a->rotary_dim % 2)
        return "rotary_dim is odd or beyond head_dim";
    if (a->rotary_dim && !a->inv_freq)
        return "inv_freq is missing";
    if (a->pairing != GR_ROPE_INTERLEAVED && a->pairing != GR_ROPE_HALF)
        return "unknown pairing";
    return ref_is_index(&node->in[1], x->dims[0]) ? NULL : "positions must be I32 [T]";
}

static gr_status admit(const ref_call *call, const ref_run *run, gr_error *error) {
    return ref_admit_index(call, 1, (uint64_t)INT32_MAX + 1, run, error);
}

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

static void run(const ref_call *call, const ref_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const float *x = (const float *)(const void *)call->in[0];
    float *out = (float *)(void *)call->out[0];
    const int32_t *positions = ref_index_data(call, 1, &task->run->step);
    uint64_t width = ref_width(&call->node.in[0]), begin, end;
    ref_slice(ref_rows(&call->node.in[0], task->run), task, &begin, &end);
    for (uint64_t t = begin; t < end; t++) {
        for (uint64_t at = t * width; at < (t + 1) * width; at += a->head_dim)
            rotate(a, (double)positions[t], x + at, out + at);
    }
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    return 3 * ref_count(&call->node.in[0], run_);
}

const ref_op ref_op_rope = {GR_OP_ROPE, "ROPE",    sizeof(gr_attrs_rope), check, NULL, admit,
                            run,        operations};
