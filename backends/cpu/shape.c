// SPDX-License-Identifier: Apache-2.0
// shape.c: sizes and kinds of values, and how work is divided.
#include "cpu.h"

uint64_t cpu_dim(int64_t dim, const gr_step *step) {
    switch (dim) {
    case GR_DIM_T: return step->rows;
    case GR_DIM_S: return step->seqs;
    case GR_DIM_R: return step->outputs;
    default: return (uint64_t)dim;
    }
}

uint64_t cpu_rows(const gr_value *value, const gr_step *step) {
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < value->rank; i++)
        rows *= cpu_dim(value->dims[i], step);
    return rows;
}

uint64_t cpu_width(const gr_value *value) {
    return (uint64_t)value->dims[value->rank - 1];
}

uint64_t cpu_count(const gr_value *value, const gr_step *step) {
    return cpu_rows(value, step) * cpu_dim(value->dims[value->rank - 1], step);
}

uint64_t cpu_value_bytes(const gr_value *value, const gr_step *maxima) {
    uint64_t width = cpu_dim(value->dims[value->rank - 1], maxima);
    return cpu_rows(value, maxima) * gr_dtype_row_bytes(value->dtype, width);
}

bool cpu_is_computed(const gr_value *value) {
    return value->kind == GR_VALUE_ACTIVATION || value->kind == CPU_VALUE_INNER;
}

bool cpu_is_matrix(const gr_value *value, gr_dtype dtype) {
    return cpu_is_computed(value) && value->dtype == dtype && value->rank == 2;
}

bool cpu_same_shape(const gr_value *a, const gr_value *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]);
}

bool cpu_is_index(const gr_value *value, int64_t rows) {
    return (value->kind == GR_VALUE_ACTIVATION || value->kind == GR_VALUE_STEP) &&
           value->dtype == GR_DTYPE_I32 && value->dims[0] == rows &&
           (value->rank == 1 || (value->rank == 2 && value->dims[1] == 1));
}

bool cpu_is_vector(const gr_value *value, int64_t n) {
    return (value->kind == GR_VALUE_ACTIVATION || value->kind == GR_VALUE_WEIGHT) &&
           value->dtype == GR_DTYPE_F32 && value->rank == 1 && value->dims[0] == n;
}

const int32_t *cpu_index_data(const cpu_call *call, unsigned in, const gr_step *step) {
    if (call->node.in[in].kind != GR_VALUE_STEP)
        return (const int32_t *)(const void *)call->in[in];
    switch (call->node.in[in].index) {
    case GR_STEP_TOKENS: return step->tokens;
    case GR_STEP_POSITIONS: return step->positions;
    case GR_STEP_ROW_SEQ: return step->row_seq;
    case GR_STEP_OUTPUT_ROWS: return step->output_rows;
    default: return step->mask_bits;
    }
}

gr_status cpu_admit_index(const cpu_call *call, unsigned in, uint64_t limit, const cpu_run *run,
                          gr_error *error) {
    if (call->node.in[in].kind != GR_VALUE_STEP)
        return GR_OK; // computed in this step: the op copes with what it finds
    uint64_t count = cpu_count(&call->node.in[in], &run->step);
    const int32_t *index = cpu_index_data(call, in, &run->step);
    if (count && !index)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN, "%s: the step lacks field %u",
                       call->op->name, call->node.in[in].index);
    for (uint64_t i = 0; i < count; i++) {
        if (index[i] < 0 || (uint64_t)index[i] >= limit)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, CPU_ORIGIN,
                           "%s: row %llu asks for %d of %llu", call->op->name,
                           (unsigned long long)i, index[i], (unsigned long long)limit);
    }
    return GR_OK;
}

void cpu_slice(uint64_t n, const cpu_task *task, uint64_t *begin, uint64_t *end) {
    uint64_t each = n / task->count, rest = n % task->count, id = task->id;
    *begin = *end = 0;
    if (id >= task->count)
        return;
    *begin = each * id + (id < rest ? id : rest);
    *end = *begin + each + (id < rest);
}
