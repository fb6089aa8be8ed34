// SPDX-License-Identifier: Apache-2.0
// rope.c: ROPE: rotates pairs of each head by position * inv_freq (arXiv 2104.09864). Angles are
// taken in F64, once a row and step: all layers that rotate alike share a table of cosines and
// sines.
#include "cpu.h"

static const char *check(const cpu_node *node) {
    const gr_attrs_rope *a = &node->attrs.rope;
    const gr_value *x = &node->in[0];
    if (!cpu_is_matrix(x, GR_DTYPE_F32) || !cpu_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !cpu_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [T,H*head_dim]";
    if (!a->head_dim || x->dims[1] % a->head_dim)
        return "the width is not a multiple of head_dim";
    if (a->rotary_dim > a->head_dim || a->rotary_dim % 2)
        return "rotary_dim is odd or beyond head_dim";
    if (a->rotary_dim && !a->inv_freq)
        return "inv_freq is missing";
    if (a->pairing != GR_ROPE_INTERLEAVED && a->pairing != GR_ROPE_HALF)
        return "unknown pairing";
    return cpu_is_index(&node->in[1], x->dims[0]) ? NULL : "positions must be I32 [T]";
}

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    return cpu_admit_index(call, 1, (uint64_t)INT32_MAX + 1, run, error);
}

// Helper: the table, a row of rotary_dim/2 cosines and as many sines for each row of x.
static void make_table(const cpu_call *call, const cpu_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const int32_t *positions = cpu_index_data(call, 1, &task->run->step);
    float *table = (float *)(void *)(task->run->scratch + call->scratch);
    uint64_t pairs = a->rotary_dim / 2, begin, end;
    if (!pairs)
        return;
    cpu_slice(cpu_dim(call->node.in[1].dims[0], &task->run->step) * pairs, task, &begin, &end);
    for (uint64_t unit = begin; unit < end; unit++) {
        uint64_t row = unit / pairs, i = unit % pairs;
        double angle = (double)positions[row] * a->inv_freq[i];
        table[row * a->rotary_dim + i] = (float)(cos(angle) * (double)a->magnitude);
        table[row * a->rotary_dim + pairs + i] = (float)(sin(angle) * (double)a->magnitude);
    }
}

static bool same_table(const gr_attrs_rope *a, const gr_attrs_rope *b) {
    return a->rotary_dim == b->rotary_dim &&
           memcmp(&a->magnitude, &b->magnitude, sizeof a->magnitude) == 0 &&
           (!a->rotary_dim ||
            !memcmp(a->inv_freq, b->inv_freq, a->rotary_dim / 2 * sizeof *a->inv_freq));
}

static gr_status emit_table(cpu_builder *b, const cpu_call *bound, cpu_access *out_access,
                            gr_error *error) {
    const gr_attrs_rope *attrs = &bound->node.attrs.rope;
    bool of_step = bound->node.in[1].kind == GR_VALUE_STEP;
    for (uint32_t i = 0; of_step && i < b->rope_count; i++) {
        if (!same_table(&b->ropes[i].attrs, attrs))
            continue;
        *out_access = (cpu_access){.space = CPU_SPACE_SCRATCH,
                                   .begin = b->ropes[i].offset,
                                   .end = b->ropes[i].offset + b->ropes[i].bytes};
        return GR_OK;
    }
    uint64_t bytes =
        cpu_dim(bound->node.in[1].dims[0], &b->maxima) * attrs->rotary_dim * sizeof(float);
    uint64_t offset = cpu_build_shared(b, bytes);
    cpu_call helper = *bound;
    helper.op = NULL;
    helper.run = make_table;
    helper.scratch = offset;
    helper.in[0] = NULL;
    helper.node.out_count = 0;
    helper.out[0] = NULL;
    *out_access = (cpu_access){.space = CPU_SPACE_SCRATCH, .begin = offset, .end = offset + bytes};
    cpu_access write = *out_access;
    write.write = true;
    if (!cpu_build_call(b, &helper, &write, 1))
        return cpu_no_memory(error);
    if (of_step && b->rope_count < CPU_ROPE_TABLES) {
        b->ropes[b->rope_count].attrs = *attrs;
        b->ropes[b->rope_count].offset = offset;
        b->ropes[b->rope_count++].bytes = bytes;
    }
    return GR_OK;
}

static gr_status emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    cpu_access table;
    gr_status status = emit_table(b, bound, &table, error);
    if (status != GR_OK)
        return status;
    cpu_call call = *bound;
    call.scratch = table.begin;
    return cpu_build_call(b, &call, &table, 1) ? GR_OK : cpu_no_memory(error);
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const float *table = (const float *)(const void *)(task->run->scratch + call->scratch);
    uint64_t heads = cpu_width(&call->node.in[0]) / a->head_dim, pairs = a->rotary_dim / 2, begin,
             end;
    bool half = a->pairing == GR_ROPE_HALF;
    if (!heads)
        return;
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step) * heads, task, &begin, &end);
    for (uint64_t unit = begin; unit < end; unit++) {
        const float *x = cpu_in_f32(call, 0) + unit * a->head_dim;
        float *out = cpu_out_f32(call, 0) + unit * a->head_dim;
        if (pairs) {
            const float *cosine = table + unit / heads * a->rotary_dim;
            (half ? call->kernels->rope_half : call->kernels->rope_interleaved)(
                x, cosine, cosine + pairs, (uint32_t)pairs, out);
        }
        for (uint32_t i = a->rotary_dim; i < a->head_dim; i++)
            out[i] = x[i];
    }
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->operations = 3 * cpu_count(&call->node.in[0], &run_->step);
}

const cpu_op cpu_op_rope = {GR_OP_ROPE, "ROPE", sizeof(gr_attrs_rope), check, NULL, emit, admit,
                            run,        cost};
