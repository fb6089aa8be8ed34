// SPDX-License-Identifier: Apache-2.0
// composite.c: the composites and what they are made of. A composite's node comes first, then its
// decomposition in preorder; its outputs are the very values that the decomposition ends with.
#include "graph/builder.h"

typedef gr_attention_operands operands;

// The operand list of QKV, which ATTN_BLOCK's begins with.
enum { QKV_OPERANDS = 12 };
static void list_qkv(const operands *o, uint32_t *in) {
    const uint32_t list[QKV_OPERANDS] = {o->x,         o->norm,  o->wq,     o->wk,
                                         o->wv,        o->bq,    o->bk,     o->bv,
                                         o->positions, o->state, o->q_norm, o->k_norm};
    for (uint32_t i = 0; i < QKV_OPERANDS; i++)
        in[i] = list[i];
}

// Attributes as the graph's own, so that the primitives below carry the very same structs. A
// composite inside another is given the graph's own already.
static const gr_attrs_block *own_block(gr_builder *builder, const gr_attrs_block *attrs) {
    if (builder->open_count)
        return attrs;
    gr_attrs_block *copy = gr_builder_attrs(builder, attrs, sizeof *attrs);
    if (!copy)
        return NULL;
    copy->rope_q = gr_builder_rope(builder, attrs->rope_q);
    copy->rope_k =
        attrs->rope_k == attrs->rope_q ? copy->rope_q : gr_builder_rope(builder, attrs->rope_k);
    copy->attention = gr_builder_attention(builder, attrs->attention);
    return builder->status == GR_OK ? copy : NULL;
}

static bool attention_given(gr_builder *builder, gr_op op, const gr_attrs_block *attrs) {
    return (attrs && attrs->attention) ||
           gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT,
                           "%s: the attention attributes are missing", gr_op_info_find(op)->name);
}

uint32_t gr_build_norm_matmul(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t weight,
                              uint32_t bias, float eps) {
    const gr_attrs_norm attrs = {sizeof attrs, eps};
    gr_builder_begin(builder, GR_OP_NORM_MATMUL, gr_builder_attrs(builder, &attrs, sizeof attrs), 4,
                     (const uint32_t[]){x, norm, weight, bias});
    uint32_t y = gr_build_rms_norm(builder, x, norm, eps);
    y = gr_build_matmul(builder, y, weight, bias, GR_VALUE_NONE);
    gr_builder_end(builder, 1, &y);
    return y;
}

// One of q, k, v: the product, then its own norm and rotation where the model has them.
static uint32_t project(gr_builder *builder, uint32_t x, uint32_t weight, uint32_t bias) {
    return gr_build_matmul(builder, x, weight, bias, GR_VALUE_NONE);
}

static uint32_t norm_heads(gr_builder *builder, uint32_t x, uint32_t norm, float eps) {
    return norm == GR_VALUE_NONE ? x : gr_build_rms_norm(builder, x, norm, eps);
}

static uint32_t rotate(gr_builder *builder, uint32_t x, uint32_t positions,
                       const gr_attrs_rope *rope) {
    return rope ? gr_build_rope(builder, x, positions, rope) : x;
}

uint32_t gr_build_qkv(gr_builder *builder, const operands *o, const gr_attrs_block *attrs,
                      uint32_t *out_state) {
    uint32_t in[QKV_OPERANDS];
    *out_state = GR_VALUE_NONE;
    if (!attention_given(builder, GR_OP_QKV, attrs) || !(attrs = own_block(builder, attrs)))
        return GR_VALUE_NONE;
    list_qkv(o, in);
    gr_builder_begin(builder, GR_OP_QKV, attrs, QKV_OPERANDS, in);
    uint32_t x = gr_build_rms_norm(builder, o->x, o->norm, attrs->eps);
    uint32_t q = project(builder, x, o->wq, o->bq);
    uint32_t k = project(builder, x, o->wk, o->bk);
    uint32_t v = project(builder, x, o->wv, o->bv);
    q = norm_heads(builder, q, o->q_norm, attrs->eps);
    k = norm_heads(builder, k, o->k_norm, attrs->eps);
    q = rotate(builder, q, o->positions, attrs->rope_q);
    k = rotate(builder, k, o->positions, attrs->rope_k);
    *out_state = gr_build_kv_write(builder, k, v, o->state, attrs->attention);
    gr_builder_end(builder, 2, (const uint32_t[]){q, *out_state});
    return q;
}

uint32_t gr_build_attention_block(gr_builder *builder, const operands *o,
                                  const gr_attrs_block *attrs, uint32_t *out_state) {
    uint32_t in[QKV_OPERANDS + 2] = {0};
    *out_state = GR_VALUE_NONE;
    if (!attention_given(builder, GR_OP_ATTN_BLOCK, attrs) || !(attrs = own_block(builder, attrs)))
        return GR_VALUE_NONE;
    list_qkv(o, in);
    in[QKV_OPERANDS] = o->wo;
    in[QKV_OPERANDS + 1] = o->bo;
    gr_builder_begin(builder, GR_OP_ATTN_BLOCK, attrs, QKV_OPERANDS + 2, in);
    uint32_t y = gr_build_qkv(builder, o, attrs, out_state);
    y = gr_build_attention(builder, y, *out_state, attrs->attention);
    y = gr_build_matmul(builder, y, o->wo, o->bo, GR_VALUE_NONE);
    y = gr_build_add(builder, o->x, y);
    gr_builder_end(builder, 2, (const uint32_t[]){y, *out_state});
    return y;
}

uint32_t gr_build_gated_ffn(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t gate,
                            uint32_t up, uint32_t down, const gr_attrs_block *attrs) {
    if (!(attrs = own_block(builder, attrs)))
        return GR_VALUE_NONE;
    gr_builder_begin(builder, GR_OP_GATED_FFN, attrs, 5,
                     (const uint32_t[]){x, norm, gate, up, down});
    uint32_t h = gr_build_rms_norm(builder, x, norm, attrs->eps);
    uint32_t g = gr_build_matmul(builder, h, gate, GR_VALUE_NONE, GR_VALUE_NONE);
    uint32_t u = gr_build_matmul(builder, h, up, GR_VALUE_NONE, GR_VALUE_NONE);
    uint32_t y = gr_build_glu(builder, g, u, attrs->activation);
    y = gr_build_matmul(builder, y, down, GR_VALUE_NONE, GR_VALUE_NONE);
    gr_builder_end(builder, 1, &y);
    return y;
}

uint32_t gr_build_ffn_block(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t gate,
                            uint32_t up, uint32_t down, const gr_attrs_block *attrs) {
    if (!(attrs = own_block(builder, attrs)))
        return GR_VALUE_NONE;
    gr_builder_begin(builder, GR_OP_FFN_BLOCK, attrs, 5,
                     (const uint32_t[]){x, norm, gate, up, down});
    uint32_t y = gr_build_gated_ffn(builder, x, norm, gate, up, down, attrs);
    y = gr_build_add(builder, x, y);
    gr_builder_end(builder, 1, &y);
    return y;
}
