// SPDX-License-Identifier: Apache-2.0
// shape.c: what each primitive accepts and yields. One function a rule; sizes may be symbolic, so two
// dimensions agree only when they are the same number or the same symbol.
#include <string.h>

#include "graph/internal.h"

typedef struct rule {
    gr_builder *builder;
    const char *op;
    const uint32_t *in;
    uint32_t in_count;
    const void *attrs;
    gr_value *out;
} rule;

static const gr_value *operand(const rule *r, uint32_t i) {
    return i < r->in_count && r->in[i] != GR_VALUE_NONE ? &r->builder->graph->values[r->in[i]] : NULL;
}

GR_PRINTF(2, 3)
static bool refuse(const rule *r, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    gr_build_fail(r->builder, GR_ERROR_INVALID_ARGUMENT, "%s: %s", r->op, text);
    return false;
}

// An F32 activation of rank 2.
static bool is_rows(const rule *r, uint32_t i) {
    const gr_value *v = operand(r, i);
    if (v && v->kind == GR_VALUE_ACTIVATION && v->dtype == GR_DTYPE_F32 && v->rank == 2)
        return true;
    return refuse(r, "operand %u must be an F32 activation of rank 2", i);
}

static bool is_indices(const rule *r, uint32_t i, int64_t rows) {
    const gr_value *v = operand(r, i);
    if (v && v->dtype == GR_DTYPE_I32 && v->dims[0] == rows)
        return true;
    return refuse(r, "operand %u must hold one I32 a row", i);
}

static bool is_vector(const rule *r, uint32_t i, int64_t size) {
    const gr_value *v = operand(r, i);
    if (v && v->kind == GR_VALUE_WEIGHT && v->dtype == GR_DTYPE_F32 && v->rank == 1 && (size == 0 || v->dims[0] == size))
        return true;
    return refuse(r, "operand %u must be an F32 vector of %lld, found %s of %lld", i, (long long)size,
                  v ? gr_dtype_name(v->dtype) : "nothing", v ? (long long)v->dims[0] : 0);
}

static bool yield(const rule *r, uint32_t i, gr_dtype dtype, int64_t rows, int64_t columns) {
    r->out[i] = (gr_value){.kind = GR_VALUE_ACTIVATION, .dtype = dtype, .rank = 2, .dims = {rows, columns}};
    return true;
}

static bool embed(const rule *r) {
    const gr_value *table = operand(r, 0), *tokens = operand(r, 1);
    if (!table || table->kind != GR_VALUE_WEIGHT || table->rank != 2)
        return refuse(r, "operand 0 must be a weight of rank 2");
    return is_indices(r, 1, tokens->dims[0]) && yield(r, 0, GR_DTYPE_F32, tokens->dims[0], table->dims[1]);
}

static bool rms_norm(const rule *r) {
    if (!is_rows(r, 0) || !is_vector(r, 1, 0))
        return false;
    const gr_value *x = operand(r, 0), *weight = operand(r, 1);
    if (weight->dims[0] <= 0 || x->dims[1] % weight->dims[0])
        return refuse(r, "rows of %lld cannot be normalised by a weight of %lld", (long long)x->dims[1], (long long)weight->dims[0]);
    return yield(r, 0, GR_DTYPE_F32, x->dims[0], x->dims[1]);
}

static bool matmul(const rule *r) {
    const gr_value *w = operand(r, 1), *bias = operand(r, 2), *index = operand(r, 3);
    if (!is_rows(r, 0))
        return false;
    const gr_value *x = operand(r, 0);
    uint32_t rank = index ? 3 : 2;
    if (!w || w->kind != GR_VALUE_WEIGHT || w->rank != rank)
        return refuse(r, "operand 1 must be a weight of rank %u", rank);
    int64_t n = w->dims[rank - 2], k = w->dims[rank - 1];
    if (x->dims[1] != k)
        return refuse(r, "rows of %lld do not fit a weight of %lld x %lld", (long long)x->dims[1], (long long)n, (long long)k);
    if (bias && (bias->kind != GR_VALUE_WEIGHT || bias->dtype != GR_DTYPE_F32 || bias->dims[bias->rank - 1] != n || bias->rank != rank - 1))
        return refuse(r, "operand 2 must be an F32 bias of %lld", (long long)n);
    return (!index || is_indices(r, 3, x->dims[0])) && yield(r, 0, GR_DTYPE_F32, x->dims[0], n);
}

static bool rope(const rule *r) {
    const gr_attrs_rope *a = r->attrs;
    if (!is_rows(r, 0) || !is_indices(r, 1, operand(r, 0)->dims[0]))
        return false;
    const gr_value *x = operand(r, 0);
    if (!a->head_dim || a->rotary_dim > a->head_dim || a->rotary_dim % 2 || x->dims[1] % a->head_dim || !a->inv_freq)
        return refuse(r, "rows of %lld, heads of %u, %u of them rotated", (long long)x->dims[1], a->head_dim, a->rotary_dim);
    return yield(r, 0, GR_DTYPE_F32, x->dims[0], x->dims[1]);
}

static bool check_attention(const rule *r) {
    const gr_attrs_attention *a = r->attrs;
    if (a->heads && a->kv_heads && a->k_dim && a->v_dim && a->heads % a->kv_heads == 0)
        return true;
    return refuse(r, "%u heads cannot share %u KV heads (of %u and %u)", a->heads, a->kv_heads, a->k_dim, a->v_dim);
}

static bool has_width(const rule *r, uint32_t i, uint64_t width) {
    if (!is_rows(r, i))
        return false;
    const gr_value *v = operand(r, i);
    return v->dims[1] == (int64_t)width || refuse(r, "operand %u has rows of %lld, expected %llu", i, (long long)v->dims[1], (unsigned long long)width);
}

static bool kv_write(const rule *r) {
    const gr_attrs_attention *a = r->attrs;
    const gr_value *state = operand(r, 2);
    if (!check_attention(r) || !has_width(r, 0, (uint64_t)a->kv_heads * a->k_dim) || !has_width(r, 1, (uint64_t)a->kv_heads * a->v_dim))
        return false;
    if (!state || state->kind != GR_VALUE_STATE || state->index != a->cache_layer)
        return refuse(r, "operand 2 must be the state of cache layer %u", a->cache_layer);
    r->out[0] = *state;
    return true;
}

static bool attention(const rule *r) {
    const gr_attrs_attention *a = r->attrs;
    bool dense = (a->flags & GR_ATTENTION_DENSE) != 0;
    if (!check_attention(r) || !has_width(r, 0, (uint64_t)a->heads * a->k_dim))
        return false;
    const gr_value *state = operand(r, 1);
    if (!dense && (!state || state->kind != GR_VALUE_STATE || state->index != a->cache_layer))
        return refuse(r, "operand 1 must be the state of cache layer %u", a->cache_layer);
    if (dense && (!has_width(r, 1, (uint64_t)a->kv_heads * a->k_dim) || !has_width(r, 2, (uint64_t)a->kv_heads * a->v_dim)))
        return false;
    return yield(r, 0, GR_DTYPE_F32, operand(r, 0)->dims[0], (int64_t)a->heads * a->v_dim);
}

static bool pair(const rule *r) {
    if (!is_rows(r, 0) || !is_rows(r, 1))
        return false;
    const gr_value *a = operand(r, 0), *b = operand(r, 1);
    if (a->dims[0] != b->dims[0] || a->dims[1] != b->dims[1])
        return refuse(r, "operands of %lld x %lld and %lld x %lld", (long long)a->dims[0], (long long)a->dims[1],
                      (long long)b->dims[0], (long long)b->dims[1]);
    return yield(r, 0, GR_DTYPE_F32, a->dims[0], a->dims[1]);
}

static bool same(const rule *r) {
    return is_rows(r, 0) && yield(r, 0, GR_DTYPE_F32, operand(r, 0)->dims[0], operand(r, 0)->dims[1]);
}

static bool gather_rows(const rule *r) {
    const gr_value *rows = operand(r, 1);
    if (!is_rows(r, 0) || !is_indices(r, 1, rows->dims[0]))
        return false;
    return yield(r, 0, GR_DTYPE_F32, rows->dims[0], operand(r, 0)->dims[1]);
}

static bool mask_bits(const rule *r) {
    return is_rows(r, 0) && is_indices(r, 1, operand(r, 0)->dims[0]) && same(r);
}

static bool topk(const rule *r) {
    const gr_attrs_topk *a = r->attrs;
    if (!is_rows(r, 0))
        return false;
    const gr_value *x = operand(r, 0);
    if (!a->k || (x->dims[1] >= 0 && a->k > x->dims[1]))
        return refuse(r, "the %u largest of %lld", a->k, (long long)x->dims[1]);
    return yield(r, 0, GR_DTYPE_F32, x->dims[0], a->k) && yield(r, 1, GR_DTYPE_I32, x->dims[0], a->k);
}

static bool cast(const rule *r) {
    const gr_attrs_cast *a = r->attrs;
    const gr_value *x = operand(r, 0);
    if (a->dtype != GR_DTYPE_F32 && a->dtype != GR_DTYPE_F16 && a->dtype != GR_DTYPE_BF16)
        return refuse(r, "cannot cast to %s", gr_dtype_name(a->dtype));
    if (x->kind != GR_VALUE_ACTIVATION || x->rank != 2)
        return refuse(r, "operand 0 must be an activation of rank 2");
    return yield(r, 0, a->dtype, x->dims[0], x->dims[1]);
}

static bool copy(const rule *r) {
    const gr_value *x = operand(r, 0);
    if (x->kind != GR_VALUE_ACTIVATION || x->rank != 2)
        return refuse(r, "operand 0 must be an activation of rank 2");
    return yield(r, 0, x->dtype, x->dims[0], x->dims[1]);
}

bool gr_shape_infer(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                    gr_value out_values[GR_MAX_RESULTS], uint32_t *out_count) {
    const rule r = {builder, gr_op_info_find(op)->name, in, in_count, attrs, out_values};
    *out_count = gr_op_info_find(op)->min_out;
    switch (op) {
    case GR_OP_EMBED: return embed(&r);
    case GR_OP_RMS_NORM: return rms_norm(&r);
    case GR_OP_MATMUL: return matmul(&r);
    case GR_OP_ROPE: return rope(&r);
    case GR_OP_KV_WRITE: return kv_write(&r);
    case GR_OP_ATTENTION: return attention(&r);
    case GR_OP_GLU:
    case GR_OP_ADD:
    case GR_OP_MUL: return pair(&r);
    case GR_OP_SCALE:
    case GR_OP_SOFTMAX: return same(&r);
    case GR_OP_GATHER_ROWS: return gather_rows(&r);
    case GR_OP_MASK_BITS: return mask_bits(&r);
    case GR_OP_TOPK: return topk(&r);
    case GR_OP_CAST: return cast(&r);
    case GR_OP_COPY: return copy(&r);
    default: return refuse(&r, "no shape rule");
    }
}
