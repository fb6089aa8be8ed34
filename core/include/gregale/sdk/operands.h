// SPDX-License-Identifier: Apache-2.0
// operands.h: what operands each primitive takes, as ops.def and ops.h say.
// For backend authors. Needs only libc headers; C11 and C++17. Pure functions: any thread.
#ifndef GREGALE_SDK_OPERANDS_H
#define GREGALE_SDK_OPERANDS_H

#include "gregale/sdk/node.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- Kinds of values ----

// An activation [rows, width] of `dtype`.
static inline bool gr_is_matrix(const gr_value *value, gr_dtype dtype) {
    return value->kind == GR_VALUE_ACTIVATION && value->dtype == dtype && value->rank == 2;
}

static inline bool gr_same_shape(const gr_value *a, const gr_value *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]);
}

// I32[rows], from the arena or the step.
static inline bool gr_is_index(const gr_value *value, int64_t rows) {
    return (value->kind == GR_VALUE_ACTIVATION || value->kind == GR_VALUE_STEP) &&
           value->dtype == GR_DTYPE_I32 && value->dims[0] == rows &&
           (value->rank == 1 || (value->rank == 2 && value->dims[1] == 1));
}

// F32[n], from a weight or the arena.
static inline bool gr_is_vector(const gr_value *value, int64_t n) {
    return (value->kind == GR_VALUE_ACTIVATION || value->kind == GR_VALUE_WEIGHT) &&
           value->dtype == GR_DTYPE_F32 && value->rank == 1 && value->dims[0] == n;
}

static inline bool gr_is_float(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16;
}

// F32 [T, heads * dim].
static inline bool gr_is_heads(const gr_value *value, uint32_t heads, uint32_t dim) {
    return gr_is_matrix(value, GR_DTYPE_F32) && value->dims[0] == GR_DIM_T &&
           (uint64_t)value->dims[1] == (uint64_t)heads * dim;
}

// ---- One check an op ----

static inline const char *gr_check_embed(const gr_node_view *node) {
    const gr_value *table = &node->in[0], *out = &node->out[0];
    if (table->kind != GR_VALUE_WEIGHT || table->rank != 2)
        return "the table must be a weight [V,D]";
    if (!gr_is_matrix(out, GR_DTYPE_F32) || out->dims[1] != table->dims[1])
        return "the output must be F32 [T,D]";
    return gr_is_index(&node->in[1], out->dims[0]) ? NULL : "tokens must be I32 [T]";
}

static inline const char *gr_check_rms_norm(const gr_node_view *node) {
    const gr_value *x = &node->in[0], *weight = &node->in[1];
    if (!gr_is_matrix(x, GR_DTYPE_F32) || !gr_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !gr_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [T,n*D]";
    if (!gr_is_vector(weight, weight->dims[0]) || weight->dims[0] < 0)
        return "the weight must be F32 [D]";
    if (weight->dims[0] ? x->dims[1] % weight->dims[0] : x->dims[1])
        return "the width is not a multiple of the weight's";
    return NULL;
}

static inline const char *gr_check_matmul(const gr_node_view *node) {
    const gr_value *x = &node->in[0], *w = &node->in[1], *bias = &node->in[2], *y = &node->out[0];
    bool indexed = node->has_in[3];
    if (w->kind != GR_VALUE_WEIGHT || w->rank != (indexed ? 3u : 2u))
        return indexed ? "W must be a weight [E,N,K]" : "W must be a weight [N,K]";
    int64_t n = w->dims[w->rank - 2], k = w->dims[w->rank - 1];
    if (!gr_is_matrix(x, GR_DTYPE_F32) || x->dims[1] != k)
        return "x must be F32 [M,K]";
    if (!gr_is_matrix(y, GR_DTYPE_F32) || y->dims[0] != x->dims[0] || y->dims[1] != n)
        return "the output must be F32 [M,N]";
    if (indexed && !gr_is_index(&node->in[3], x->dims[0]))
        return "the index must be I32 [M]";
    if (!node->has_in[2])
        return NULL;
    if (indexed && bias->kind == GR_VALUE_WEIGHT && bias->dtype == GR_DTYPE_F32 &&
        bias->rank == 2 && bias->dims[0] == w->dims[0] && bias->dims[1] == n)
        return NULL;
    return !indexed && gr_is_vector(bias, n) ? NULL
                                             : "the bias must be F32 [N], or [E,N] with an index";
}

static inline const char *gr_check_rope(const gr_node_view *node) {
    const gr_attrs_rope *a = &node->attrs.rope;
    const gr_value *x = &node->in[0];
    if (!gr_is_matrix(x, GR_DTYPE_F32) || !gr_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !gr_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [T,H*head_dim]";
    if (!a->head_dim || x->dims[1] % a->head_dim)
        return "the width is not a multiple of head_dim";
    if (a->rotary_dim > a->head_dim || a->rotary_dim % 2)
        return "rotary_dim is odd or beyond head_dim";
    if (a->rotary_dim && !a->inv_freq)
        return "inv_freq is missing";
    if (a->pairing != GR_ROPE_INTERLEAVED && a->pairing != GR_ROPE_HALF)
        return "unknown pairing";
    return gr_is_index(&node->in[1], x->dims[0]) ? NULL : "positions must be I32 [T]";
}

static inline const char *gr_check_kv_write(const gr_node_view *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    if (!gr_is_heads(&node->in[0], a->kv_heads, a->k_dim) ||
        !gr_is_heads(&node->in[1], a->kv_heads, a->v_dim))
        return "k and v must be F32 [T,kv_heads*dim]";
    if (node->in[2].kind != GR_VALUE_STATE || node->out[0].kind != GR_VALUE_STATE ||
        node->in[2].index != node->out[0].index)
        return "the third operand and the output must be the same state";
    return NULL;
}

static inline const char *gr_check_attention(const gr_node_view *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    if (a->flags & ~(uint32_t)(GR_ATTENTION_BIDIRECTIONAL | GR_ATTENTION_DENSE))
        return "unknown attention flag";
    if (!a->heads || !a->kv_heads || a->heads % a->kv_heads)
        return "heads must be a positive multiple of kv_heads";
    if (!gr_is_heads(&node->in[0], a->heads, a->k_dim))
        return "q must be F32 [T,heads*k_dim]";
    if (!gr_is_heads(&node->out[0], a->heads, a->v_dim))
        return "the output must be F32 [T,heads*v_dim]";
    if (!(a->flags & GR_ATTENTION_DENSE))
        return node->in_count == 2 && node->in[1].kind == GR_VALUE_STATE
                   ? NULL
                   : "paged attention takes q, state";
    if (node->in_count != 3 || !node->has_in[2])
        return "dense attention takes q, k, v";
    return gr_is_heads(&node->in[1], a->kv_heads, a->k_dim) &&
                   gr_is_heads(&node->in[2], a->kv_heads, a->v_dim)
               ? NULL
               : "k and v must be F32 [T,kv_heads*dim]";
}

// ADD, MUL, SCALE, GLU.
static inline const char *gr_check_elementwise(const gr_node_view *node) {
    if (node->op == GR_OP_GLU && node->attrs.glu.activation > GR_ACTIVATION_RELU)
        return "unknown activation";
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->in[i].kind != GR_VALUE_ACTIVATION || node->in[i].dtype != GR_DTYPE_F32 ||
            !gr_same_shape(&node->in[i], &node->out[0]))
            return "all operands must be F32 activations of one shape";
    }
    return node->out[0].kind == GR_VALUE_ACTIVATION && node->out[0].dtype == GR_DTYPE_F32
               ? NULL
               : "the output must be an F32 activation";
}

static inline const char *gr_check_softmax(const gr_node_view *node) {
    return gr_is_matrix(&node->in[0], GR_DTYPE_F32) && gr_is_matrix(&node->out[0], GR_DTYPE_F32) &&
                   gr_same_shape(&node->in[0], &node->out[0])
               ? NULL
               : "x and the output must be F32 [M,N]";
}

static inline const char *gr_check_gather_rows(const gr_node_view *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (!gr_is_float(x->dtype) || !gr_is_matrix(x, x->dtype) || !gr_is_matrix(out, x->dtype) ||
        x->dims[1] != out->dims[1])
        return "x [T,D] and the output [R,D] must be F32, F16 or BF16";
    return gr_is_index(&node->in[1], out->dims[0]) ? NULL : "rows must be I32 [R]";
}

static inline const char *gr_check_mask_bits(const gr_node_view *node) {
    const gr_value *x = &node->in[0], *bits = &node->in[1];
    if (!gr_is_matrix(x, GR_DTYPE_F32) || !gr_is_matrix(&node->out[0], GR_DTYPE_F32) ||
        !gr_same_shape(x, &node->out[0]))
        return "x and the output must be F32 [R,V]";
    if ((bits->kind != GR_VALUE_STEP && bits->kind != GR_VALUE_ACTIVATION) ||
        bits->dtype != GR_DTYPE_I32 || bits->rank != 2 || bits->dims[0] != x->dims[0] ||
        bits->dims[1] != x->dims[1] / 32 + (x->dims[1] % 32 != 0))
        return "bits must be I32 [R,ceil(V/32)]";
    return NULL;
}

static inline const char *gr_check_topk(const gr_node_view *node) {
    const gr_value *x = &node->in[0], *values = &node->out[0], *indices = &node->out[1];
    int64_t k = node->attrs.topk.k;
    if (!gr_is_matrix(x, GR_DTYPE_F32))
        return "x must be F32 [M,N]";
    if (k > x->dims[1] || x->dims[1] > INT32_MAX)
        return "k is beyond the row's length";
    if (!gr_is_matrix(values, GR_DTYPE_F32) || !gr_is_matrix(indices, GR_DTYPE_I32) ||
        !gr_same_shape(values, indices) || values->dims[0] != x->dims[0] || values->dims[1] != k)
        return "the outputs must be F32 [M,k] and I32 [M,k]";
    return NULL;
}

// CAST and COPY.
static inline const char *gr_check_cast(const gr_node_view *node) {
    const gr_value *x = &node->in[0], *out = &node->out[0];
    if (x->kind != GR_VALUE_ACTIVATION || out->kind != GR_VALUE_ACTIVATION ||
        !gr_same_shape(x, out))
        return "x and the output must be activations of one shape";
    if (node->op == GR_OP_COPY)
        return x->dtype == out->dtype && gr_dtype_block(x->dtype) == 1
                   ? NULL
                   : "copies are within one unblocked type";
    return gr_is_float(x->dtype) && gr_is_float(out->dtype) && out->dtype == node->attrs.cast.dtype
               ? NULL
               : "casts are between F32, F16 and BF16, as attrs.dtype says";
}

// NULL when a primitive's operands and attributes are what its op takes, else why not (a string
// that lives for ever). Composites have no rule here.
static inline const char *gr_operands_check(const gr_node_view *node) {
    switch (node->op) {
    case GR_OP_EMBED: return gr_check_embed(node);
    case GR_OP_RMS_NORM: return gr_check_rms_norm(node);
    case GR_OP_MATMUL: return gr_check_matmul(node);
    case GR_OP_ROPE: return gr_check_rope(node);
    case GR_OP_KV_WRITE: return gr_check_kv_write(node);
    case GR_OP_ATTENTION: return gr_check_attention(node);
    case GR_OP_GLU:
    case GR_OP_ADD:
    case GR_OP_MUL:
    case GR_OP_SCALE: return gr_check_elementwise(node);
    case GR_OP_SOFTMAX: return gr_check_softmax(node);
    case GR_OP_GATHER_ROWS: return gr_check_gather_rows(node);
    case GR_OP_MASK_BITS: return gr_check_mask_bits(node);
    case GR_OP_TOPK: return gr_check_topk(node);
    case GR_OP_CAST:
    case GR_OP_COPY: return gr_check_cast(node);
    default: return "decomposed";
    }
}

#ifdef __cplusplus
}
#endif
#endif
