// SPDX-License-Identifier: Apache-2.0
// op_matmul.c: MATMUL: y[m,n] = sum over k of x[m,k] * W[n,k], plus bias[n]. With an index operand,
// W is [E,N,K], the bias [E,N], and row m uses matrix index[m]; a negative index means "none" and
// gives zeros, one beyond E gives NaN. A weight row is expanded once and used for all rows of x.
#include "ref.h"

enum { X, W, BIAS, INDEX };

static const char *check(const ref_node *node) {
    const gr_value *x = &node->in[X], *w = &node->in[W], *y = &node->out[0],
                   *bias = &node->in[BIAS];
    bool indexed = node->has_in[INDEX];
    if (w->kind != GR_VALUE_WEIGHT || w->rank != (indexed ? 3u : 2u))
        return indexed ? "W must be a weight [E,N,K]" : "W must be a weight [N,K]";
    int64_t n = w->dims[w->rank - 2], k = w->dims[w->rank - 1];
    if (!ref_is_matrix(x, GR_DTYPE_F32) || x->dims[1] != k)
        return "x must be F32 [M,K]";
    if (!ref_is_matrix(y, GR_DTYPE_F32) || y->dims[0] != x->dims[0] || y->dims[1] != n)
        return "the output must be F32 [M,N]";
    if (indexed && !ref_is_index(&node->in[INDEX], x->dims[0]))
        return "the index must be I32 [M]";
    if (!node->has_in[BIAS])
        return NULL;
    if (bias->kind == GR_VALUE_WEIGHT && bias->dtype == GR_DTYPE_F32 && indexed &&
        bias->rank == 2 && bias->dims[0] == w->dims[0] && bias->dims[1] == n)
        return NULL;
    return !indexed && ref_is_vector(bias, n) ? NULL
                                              : "the bias must be F32 [N], or [E,N] with an index";
}

static uint64_t scratch(const ref_node *node) {
    return ref_width(&node->in[W]) * sizeof(float);
}

static gr_status admit(const ref_call *call, const ref_run *run, gr_error *error) {
    if (!call->node.has_in[INDEX])
        return GR_OK;
    return ref_admit_index(call, INDEX, (uint64_t)call->node.in[W].dims[0], run, error);
}

// Columns [begin, end) of all rows that use matrix `e`.
static void columns(const ref_call *call, const ref_task *task, uint64_t e, const int32_t *index,
                    uint64_t begin, uint64_t end) {
    const gr_weight *w = call->weight[W];
    const float *x = (const float *)(const void *)call->in[X];
    const float *bias = (const float *)(const void *)call->in[BIAS];
    float *y = (float *)(void *)call->out[0];
    uint64_t rows = ref_rows(&call->node.in[X], task->run);
    uint64_t k = ref_width(&call->node.in[W]), n_all = ref_width(&call->node.out[0]);
    for (uint64_t n = begin; n < end; n++) {
        const uint8_t *source = w->data + (e * n_all + n) * w->row_bytes;
        const float *row = (const float *)(const void *)source;
        if (w->dtype != GR_DTYPE_F32) {
            ref_decode_row(w->dtype, source, k, task->scratch);
            row = task->scratch;
        }
        double add = bias ? (double)bias[e * n_all + n] : 0.0;
        for (uint64_t m = 0; m < rows; m++) {
            if (!index || index[m] == (int64_t)e)
                y[m * n_all + n] = (float)(ref_dot(x + m * k, row, k) + add);
        }
    }
}

// Columns [begin, end) of rows whose index names no matrix.
static void unmatched(const ref_call *call, const ref_task *task, const int32_t *index,
                      uint64_t begin, uint64_t end) {
    float *y = (float *)(void *)call->out[0];
    uint64_t rows = ref_rows(&call->node.in[X], task->run), n_all = ref_width(&call->node.out[0]);
    for (uint64_t m = 0; m < rows; m++) {
        if (index[m] >= 0 && index[m] < call->node.in[W].dims[0])
            continue;
        for (uint64_t n = begin; n < end; n++)
            y[m * n_all + n] = index[m] < 0 ? 0.0f : NAN;
    }
}

static void run(const ref_call *call, const ref_task *task) {
    uint64_t begin, end, rows = ref_rows(&call->node.in[X], task->run);
    ref_slice(ref_width(&call->node.out[0]), task, &begin, &end);
    if (!call->node.has_in[INDEX]) {
        columns(call, task, 0, NULL, begin, end);
        return;
    }
    const int32_t *index = ref_index_data(call, INDEX, &task->run->step);
    unmatched(call, task, index, begin, end);
    for (int64_t e = 0; e < call->node.in[W].dims[0]; e++) {
        bool used = false;
        for (uint64_t m = 0; m < rows && !used; m++)
            used = index[m] == e;
        if (used)
            columns(call, task, (uint64_t)e, index, begin, end);
    }
}

static uint64_t operations(const ref_call *call, const ref_run *run_) {
    return 2 * ref_count(&call->node.out[0], run_) * ref_width(&call->node.in[W]);
}

const ref_op ref_op_matmul = {GR_OP_MATMUL, "MATMUL",  sizeof(gr_attrs_none), check, scratch, admit,
                              run,          operations};
