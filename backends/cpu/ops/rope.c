// SPDX-License-Identifier: Apache-2.0
// rope.c: ROPE: rotates pairs of each head by position * inv_freq (arXiv 2104.09864). Angles are
// taken in F64, once a row and step: all layers that rotate alike share a table of cosines and
// sines.
#include "cpu.h"

const char *cpu_rope_check(const gr_attrs_rope *a, const gr_value *x, const gr_value *positions,
                           const gr_value *out) {
    if (!cpu_is_matrix(x, GR_DTYPE_F32) || !cpu_is_matrix(out, GR_DTYPE_F32) ||
        !cpu_same_shape(x, out))
        return "x and the output must be F32 [T,H*head_dim]";
    if (!a->head_dim || x->dims[1] % a->head_dim)
        return "the width is not a multiple of head_dim";
    if (a->rotary_dim > a->head_dim || a->rotary_dim % 2)
        return "rotary_dim is odd or beyond head_dim";
    if (a->rotary_dim && !a->inv_freq)
        return "inv_freq is missing";
    if (a->pairing != GR_ROPE_INTERLEAVED && a->pairing != GR_ROPE_HALF)
        return "unknown pairing";
    return cpu_is_index(positions, x->dims[0]) ? NULL : "positions must be I32 [T]";
}

static const char *check(const cpu_node *node) {
    return cpu_rope_check(&node->attrs.rope, &node->in[0], &node->in[1], &node->out[0]);
}

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    return cpu_admit_index(call, 1, (uint64_t)INT32_MAX + 1, run, error);
}

// Helper: the table, a row of rotary_dim/2 cosines and as many sines for each position.
static void make_table(const cpu_call *call, const cpu_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const int32_t *positions = cpu_index_data(call, 0, &task->run->step);
    float *table = (float *)(void *)(task->run->scratch + call->scratch);
    uint64_t pairs = a->rotary_dim / 2, begin, end;
    if (!pairs)
        return;
    cpu_slice(cpu_dim(call->node.in[0].dims[0], &task->run->step) * pairs, task, &begin, &end);
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

gr_status cpu_rope_table(cpu_builder *b, const cpu_call *bound, const gr_attrs_rope *attrs,
                         uint32_t positions, cpu_access *out_table, gr_error *error) {
    bool of_step = bound->node.in[positions].kind == GR_VALUE_STEP;
    for (uint32_t i = 0; of_step && i < b->rope_count; i++) {
        if (!same_table(&b->ropes[i].attrs, attrs))
            continue;
        *out_table = (cpu_access){.space = CPU_SPACE_SCRATCH,
                                  .begin = b->ropes[i].offset,
                                  .end = b->ropes[i].offset + b->ropes[i].bytes};
        return GR_OK;
    }
    uint64_t bytes = cpu_dim(bound->node.in[positions].dims[0], &b->maxima) * attrs->rotary_dim *
                     sizeof(float);
    uint64_t offset = cpu_build_shared(b, bytes);
    cpu_call helper = cpu_helper_of(bound, make_table);
    helper.scratch = offset;
    helper.node.attrs.rope = *attrs;
    helper.node.in[0] = bound->node.in[positions];
    helper.in[0] = bound->in[positions];
    *out_table = (cpu_access){.space = CPU_SPACE_SCRATCH, .begin = offset, .end = offset + bytes};
    cpu_access write = *out_table;
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
    gr_status status = cpu_rope_table(b, bound, &bound->node.attrs.rope, 1, &table, error);
    if (status != GR_OK)
        return status;
    cpu_call call = *bound;
    call.scratch = table.begin;
    return cpu_build_call(b, &call, &table, 1) ? GR_OK : cpu_no_memory(error);
}

void cpu_rope_head(const cpu_kernels *kernels, const gr_attrs_rope *a, const float *table,
                   uint64_t row, const float *x, float *out) {
    const float *cosine = table + row * a->rotary_dim;
    uint32_t pairs = a->rotary_dim / 2;
    if (pairs)
        (a->pairing == GR_ROPE_HALF ? kernels->rope_half : kernels->rope_interleaved)(
            x, cosine, cosine + pairs, pairs, out);
    for (uint32_t i = a->rotary_dim; i < a->head_dim; i++)
        out[i] = x[i];
}

static void run(const cpu_call *call, const cpu_task *task) {
    const gr_attrs_rope *a = &call->node.attrs.rope;
    const float *table = (const float *)(const void *)(task->run->scratch + call->scratch);
    uint64_t heads = cpu_width(&call->node.in[0]) / a->head_dim, begin, end;
    if (!heads)
        return;
    cpu_slice(cpu_rows(&call->node.in[0], &task->run->step) * heads, task, &begin, &end);
    for (uint64_t unit = begin; unit < end; unit++)
        cpu_rope_head(call->kernels, a, table, unit / heads,
                      cpu_in_f32(call, 0) + unit * a->head_dim,
                      cpu_out_f32(call, 0) + unit * a->head_dim);
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    event->operations = 3 * cpu_count(&call->node.in[0], &run_->step);
}

const cpu_op cpu_op_rope = {GR_OP_ROPE, "ROPE", sizeof(gr_attrs_rope), check, NULL, emit, admit,
                            run,        cost};
