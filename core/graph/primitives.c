// SPDX-License-Identifier: Apache-2.0
// primitives.c: gr_build_* of the primitives, one call an op.
#include "graph/internal.h"

static const gr_attrs_none none = {sizeof none};

static uint32_t append(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t count, const void *attrs, size_t bytes) {
    uint32_t out[GR_MAX_RESULTS];
    gr_builder_primitive(builder, op, in, count, attrs, bytes, out);
    return out[0];
}

uint32_t gr_build_embed(gr_builder *builder, uint32_t table, uint32_t tokens) {
    return append(builder, GR_OP_EMBED, (uint32_t[]){table, tokens}, 2, &none, sizeof none);
}
uint32_t gr_build_rms_norm(gr_builder *builder, uint32_t x, uint32_t weight, float eps) {
    const gr_attrs_norm attrs = {sizeof attrs, eps};
    return append(builder, GR_OP_RMS_NORM, (uint32_t[]){x, weight}, 2, &attrs, sizeof attrs);
}
uint32_t gr_build_matmul(gr_builder *builder, uint32_t x, uint32_t weight, uint32_t bias, uint32_t index) {
    return append(builder, GR_OP_MATMUL, (uint32_t[]){x, weight, bias, index}, 4, &none, sizeof none);
}
uint32_t gr_build_rope(gr_builder *builder, uint32_t x, uint32_t positions, const gr_attrs_rope *attrs) {
    return append(builder, GR_OP_ROPE, (uint32_t[]){x, positions}, 2, attrs, sizeof *attrs);
}
uint32_t gr_build_kv_write(gr_builder *builder, uint32_t k, uint32_t v, uint32_t state, const gr_attrs_attention *attrs) {
    return append(builder, GR_OP_KV_WRITE, (uint32_t[]){k, v, state}, 3, attrs, sizeof *attrs);
}
uint32_t gr_build_attention(gr_builder *builder, uint32_t q, uint32_t state, const gr_attrs_attention *attrs) {
    return append(builder, GR_OP_ATTENTION, (uint32_t[]){q, state}, 2, attrs, sizeof *attrs);
}
uint32_t gr_build_glu(gr_builder *builder, uint32_t gate, uint32_t up, gr_activation activation) {
    const gr_attrs_glu attrs = {sizeof attrs, activation};
    return append(builder, GR_OP_GLU, (uint32_t[]){gate, up}, 2, &attrs, sizeof attrs);
}
uint32_t gr_build_add(gr_builder *builder, uint32_t a, uint32_t b) {
    return append(builder, GR_OP_ADD, (uint32_t[]){a, b}, 2, &none, sizeof none);
}
uint32_t gr_build_mul(gr_builder *builder, uint32_t a, uint32_t b) {
    return append(builder, GR_OP_MUL, (uint32_t[]){a, b}, 2, &none, sizeof none);
}
uint32_t gr_build_scale(gr_builder *builder, uint32_t x, float factor) {
    const gr_attrs_scale attrs = {sizeof attrs, factor};
    return append(builder, GR_OP_SCALE, &x, 1, &attrs, sizeof attrs);
}
uint32_t gr_build_softmax(gr_builder *builder, uint32_t x) {
    return append(builder, GR_OP_SOFTMAX, &x, 1, &none, sizeof none);
}
uint32_t gr_build_gather_rows(gr_builder *builder, uint32_t x, uint32_t rows) {
    return append(builder, GR_OP_GATHER_ROWS, (uint32_t[]){x, rows}, 2, &none, sizeof none);
}
uint32_t gr_build_mask_bits(gr_builder *builder, uint32_t x, uint32_t bits) {
    return append(builder, GR_OP_MASK_BITS, (uint32_t[]){x, bits}, 2, &none, sizeof none);
}
void gr_build_topk(gr_builder *builder, uint32_t x, uint32_t k, uint32_t *out_values, uint32_t *out_indices) {
    const gr_attrs_topk attrs = {sizeof attrs, k};
    uint32_t out[GR_MAX_RESULTS] = {GR_VALUE_NONE, GR_VALUE_NONE};
    gr_builder_primitive(builder, GR_OP_TOPK, &x, 1, &attrs, sizeof attrs, out);
    *out_values = out[0];
    *out_indices = out[1];
}
uint32_t gr_build_cast(gr_builder *builder, uint32_t x, gr_dtype dtype) {
    const gr_attrs_cast attrs = {sizeof attrs, dtype};
    return append(builder, GR_OP_CAST, &x, 1, &attrs, sizeof attrs);
}
uint32_t gr_build_copy(gr_builder *builder, uint32_t x) {
    return append(builder, GR_OP_COPY, &x, 1, &none, sizeof none);
}
