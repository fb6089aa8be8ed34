// SPDX-License-Identifier: Apache-2.0
// composite.c: the blocks that a backend may run whole, each with its decomposition. A composite's results
// are the very values that its decomposition yields, so that lowering changes no other node.
#include "graph/internal.h"

uint32_t gr_build_norm_matmul(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t weight, uint32_t bias, float eps) {
    const gr_attrs_norm attrs = {sizeof attrs, eps};
    uint32_t node = gr_builder_open(builder, GR_OP_NORM_MATMUL, (uint32_t[]){x, norm, weight, bias}, 4, &attrs, sizeof attrs);
    uint32_t y = gr_build_rms_norm(builder, x, norm, eps);
    y = gr_build_matmul(builder, y, weight, bias, GR_VALUE_NONE);
    gr_builder_close(builder, node, &y, 1);
    return y;
}

// Normalises the heads of q or k where the model does, then rotates.
static uint32_t norm_and_rotate(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t positions, float eps,
                                const gr_attrs_rope *rope) {
    if (norm != GR_VALUE_NONE)
        x = gr_build_rms_norm(builder, x, norm, eps);
    return rope ? gr_build_rope(builder, x, positions, rope) : x;
}

static uint32_t qkv(gr_builder *builder, const gr_attention_operands *o, const gr_attrs_block *attrs, uint32_t *out_state) {
    const uint32_t in[] = {o->x,  o->norm, o->wq,        o->wk,    o->wv,     o->bq,
                           o->bk, o->bv,   o->positions, o->state, o->q_norm, o->k_norm};
    uint32_t node = gr_builder_open(builder, GR_OP_QKV, in, 12, attrs, sizeof *attrs);
    uint32_t y = gr_build_rms_norm(builder, o->x, o->norm, attrs->eps);
    uint32_t q = gr_build_matmul(builder, y, o->wq, o->bq, GR_VALUE_NONE);
    uint32_t k = gr_build_matmul(builder, y, o->wk, o->bk, GR_VALUE_NONE);
    uint32_t v = gr_build_matmul(builder, y, o->wv, o->bv, GR_VALUE_NONE);
    q = norm_and_rotate(builder, q, o->q_norm, o->positions, attrs->eps, attrs->rope_q);
    k = norm_and_rotate(builder, k, o->k_norm, o->positions, attrs->eps, attrs->rope_k);
    *out_state = gr_build_kv_write(builder, k, v, o->state, attrs->attention);
    gr_builder_close(builder, node, (uint32_t[]){q, *out_state}, 2);
    return q;
}

// Copies what a block's attributes point to into the graph.
static gr_attrs_block keep(gr_builder *builder, const gr_attrs_block *attrs) {
    gr_attrs_block kept = *attrs;
    gr_attrs_rope *q = attrs->rope_q ? gr_build_alloc(builder, sizeof *q) : NULL;
    gr_attrs_rope *k = attrs->rope_k ? gr_build_alloc(builder, sizeof *k) : NULL;
    gr_attrs_attention *attention = gr_build_alloc(builder, sizeof *attention);
    if (q)
        *q = *attrs->rope_q;
    if (k)
        *k = *attrs->rope_k;
    if (attention)
        *attention = *attrs->attention;
    kept.rope_q = q;
    kept.rope_k = k;
    kept.attention = attention;
    return kept;
}

uint32_t gr_build_attention_block(gr_builder *builder, const gr_attention_operands *o, const gr_attrs_block *attrs,
                                  uint32_t *out_state) {
    const uint32_t in[] = {o->x,  o->norm,      o->wq,    o->wk,     o->wv,     o->bq, o->bk,
                           o->bv, o->positions, o->state, o->q_norm, o->k_norm, o->wo, o->bo};
    *out_state = GR_VALUE_NONE;
    if (builder->status != GR_OK)
        return GR_VALUE_NONE;
    const gr_attrs_block kept = keep(builder, attrs);
    if (builder->status != GR_OK)
        return GR_VALUE_NONE;
    uint32_t node = gr_builder_open(builder, GR_OP_ATTN_BLOCK, in, 14, &kept, sizeof kept);
    uint32_t q = qkv(builder, o, &kept, out_state);
    uint32_t y = gr_build_attention(builder, q, *out_state, kept.attention);
    y = gr_build_matmul(builder, y, o->wo, o->bo, GR_VALUE_NONE);
    y = gr_build_add(builder, o->x, y);
    gr_builder_close(builder, node, (uint32_t[]){y, *out_state}, 2);
    return y;
}

static uint32_t gated_ffn(gr_builder *builder, const uint32_t in[5], const gr_attrs_block *attrs) {
    uint32_t node = gr_builder_open(builder, GR_OP_GATED_FFN, in, 5, attrs, sizeof *attrs);
    uint32_t y = gr_build_rms_norm(builder, in[0], in[1], attrs->eps);
    uint32_t gate = gr_build_matmul(builder, y, in[2], GR_VALUE_NONE, GR_VALUE_NONE);
    uint32_t up = gr_build_matmul(builder, y, in[3], GR_VALUE_NONE, GR_VALUE_NONE);
    y = gr_build_glu(builder, gate, up, attrs->activation);
    y = gr_build_matmul(builder, y, in[4], GR_VALUE_NONE, GR_VALUE_NONE);
    gr_builder_close(builder, node, &y, 1);
    return y;
}

uint32_t gr_build_ffn_block(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t gate, uint32_t up, uint32_t down,
                            const gr_attrs_block *attrs) {
    const uint32_t in[] = {x, norm, gate, up, down};
    uint32_t node = gr_builder_open(builder, GR_OP_FFN_BLOCK, in, 5, attrs, sizeof *attrs);
    uint32_t y = gated_ffn(builder, in, attrs);
    y = gr_build_add(builder, x, y);
    gr_builder_close(builder, node, &y, 1);
    return y;
}
