// SPDX-License-Identifier: Apache-2.0
// op_matmul.c: MATMUL: y[m,n] = sum over k of x[m,k] * W[n,k], plus bias[n]. With an index operand,
// W is [E,N,K], the bias [E,N], and row m uses matrix index[m]; a negative index means "none" and
// gives zeros, one beyond E gives NaN. A weight row is expanded once and used for all rows of x.
#include "ref.h"

enum { X, W, BIAS, INDEX };

static uint64_t scratch(const gr_node_view *node) {
    return gr_value_width(&node->in[W]) * sizeof(float);
}

// Columns [begin, end) of all rows that use matrix `e`.
static void columns(const gr_call *call, const ref_task *task, uint64_t e, const int32_t *index,
                    uint64_t begin, uint64_t end) {
    const gr_weight *w = call->weight[W];
    const float *x = gr_call_in(call, X);
    const float *bias = gr_call_in(call, BIAS);
    float *y = gr_call_out(call, 0);
    uint64_t rows = gr_value_rows(&call->node.in[X], task->step);
    uint64_t k = gr_value_width(&call->node.in[W]), n_all = gr_value_width(&call->node.out[0]);
    for (uint64_t n = begin; n < end; n++) {
        const uint8_t *source = w->data + (e * n_all + n) * w->row_bytes;
        const float *row = (const float *)(const void *)source;
        if (w->dtype != GR_DTYPE_F32) {
            gr_row_decode(w->dtype, source, k, task->scratch);
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
static void unmatched(const gr_call *call, const ref_task *task, const int32_t *index,
                      uint64_t begin, uint64_t end) {
    float *y = gr_call_out(call, 0);
    uint64_t rows = gr_value_rows(&call->node.in[X], task->step),
             n_all = gr_value_width(&call->node.out[0]);
    for (uint64_t m = 0; m < rows; m++) {
        if (index[m] >= 0 && index[m] < call->node.in[W].dims[0])
            continue;
        for (uint64_t n = begin; n < end; n++)
            y[m * n_all + n] = index[m] < 0 ? 0.0f : NAN;
    }
}

static void run(const gr_call *call, const ref_task *task) {
    uint64_t begin, end, rows = gr_value_rows(&call->node.in[X], task->step);
    ref_slice(gr_value_width(&call->node.out[0]), task, &begin, &end);
    if (!call->node.has_in[INDEX]) {
        columns(call, task, 0, NULL, begin, end);
        return;
    }
    const int32_t *index = gr_call_index(call, INDEX, task->step);
    unmatched(call, task, index, begin, end);
    for (int64_t e = 0; e < call->node.in[W].dims[0]; e++) {
        bool used = false;
        for (uint64_t m = 0; m < rows && !used; m++)
            used = index[m] == e;
        if (used)
            columns(call, task, (uint64_t)e, index, begin, end);
    }
}

static uint64_t operations(const gr_call *call, const gr_step *step) {
    return 2 * gr_value_count(&call->node.out[0], step) * gr_value_width(&call->node.in[W]);
}

const ref_op ref_op_matmul = {GR_OP_MATMUL, scratch, run, operations};
