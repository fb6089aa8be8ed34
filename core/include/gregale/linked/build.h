// SPDX-License-Identifier: Apache-2.0
// linked/build.h: writing a model down as a graph. Private to the project: linked in, not installed.
// For architectures. Threads: one builder, one thread.
//
// Every gr_build_* call appends one node (a composite also its decomposition) and returns the index of
// its output value. The first failure sticks: later calls return GR_VALUE_NONE and do nothing, and the
// caller of the architecture reads the error once. Shapes are checked as nodes are appended, by the
// rules in core/graph/shape.c.
#ifndef GREGALE_LINKED_BUILD_H
#define GREGALE_LINKED_BUILD_H

#include <stdbool.h>

#include "gregale/ops.h"
#include "gregale/segment.h"
#include "gregale/status.h"

typedef struct gr_builder gr_builder;

// The weight named `name`, whose shape must be `dims` (rank entries, outermost first): a missing tensor
// or another shape fails the build with one line that names it. Asking twice gives the same value.
uint32_t gr_build_weight(gr_builder *builder, const char *name, uint32_t rank, const int64_t *dims);
// Whether the file has a tensor of that name.
bool gr_build_has_weight(const gr_builder *builder, const char *name);
// A field of the step block as a value.
uint32_t gr_build_step_field(gr_builder *builder, gr_step_field field);
// The cache of one layer before any write; `attrs` are those of its ATTENTION.
uint32_t gr_build_state(gr_builder *builder, const gr_attrs_attention *attrs);
// Memory that lives as long as the graph (for attrs and tables); NULL (and a sticky error) when none.
void *gr_build_alloc(gr_builder *builder, size_t bytes);
// Sets the layer that following nodes belong to; -1: none.
void gr_build_layer(gr_builder *builder, int32_t layer);
// Marks a value as a result that the engine reads.
void gr_build_output(gr_builder *builder, const char *name, uint32_t value);
// Records a failure in the architecture's own words.
GR_PRINTF(3, 4)
void gr_build_fail(gr_builder *builder, gr_status code, const char *format, ...);

uint32_t gr_build_embed(gr_builder *builder, uint32_t table, uint32_t tokens);
uint32_t gr_build_rms_norm(gr_builder *builder, uint32_t x, uint32_t weight, float eps);
uint32_t gr_build_matmul(gr_builder *builder, uint32_t x, uint32_t weight, uint32_t bias, uint32_t index);
uint32_t gr_build_rope(gr_builder *builder, uint32_t x, uint32_t positions, const gr_attrs_rope *attrs);
uint32_t gr_build_kv_write(gr_builder *builder, uint32_t k, uint32_t v, uint32_t state,
                           const gr_attrs_attention *attrs);
uint32_t gr_build_attention(gr_builder *builder, uint32_t q, uint32_t state, const gr_attrs_attention *attrs);
// Keys are the step's own rows; attrs->flags has GR_ATTENTION_DENSE.
uint32_t gr_build_attention_dense(gr_builder *builder, uint32_t q, uint32_t k, uint32_t v,
                                  const gr_attrs_attention *attrs);
uint32_t gr_build_glu(gr_builder *builder, uint32_t gate, uint32_t up, gr_activation activation);
uint32_t gr_build_add(gr_builder *builder, uint32_t a, uint32_t b);
uint32_t gr_build_mul(gr_builder *builder, uint32_t a, uint32_t b);
uint32_t gr_build_scale(gr_builder *builder, uint32_t x, float factor);
uint32_t gr_build_softmax(gr_builder *builder, uint32_t x);
uint32_t gr_build_gather_rows(gr_builder *builder, uint32_t x, uint32_t rows);
uint32_t gr_build_mask_bits(gr_builder *builder, uint32_t x, uint32_t bits);
void gr_build_topk(gr_builder *builder, uint32_t x, uint32_t k, uint32_t *out_values, uint32_t *out_indices);
uint32_t gr_build_cast(gr_builder *builder, uint32_t x, gr_dtype dtype);
uint32_t gr_build_copy(gr_builder *builder, uint32_t x);

// Operands of one attention block; absent ones are GR_VALUE_NONE.
typedef struct gr_attention_operands {
    uint32_t x, norm, wq, wk, wv, bq, bk, bv, positions, state, q_norm, k_norm, wo, bo;
} gr_attention_operands;

uint32_t gr_build_norm_matmul(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t weight, uint32_t bias,
                              float eps);
// The rotated queries; sets *out_state to the state with the step's keys and values. wo, bo are not read.
uint32_t gr_build_qkv(gr_builder *builder, const gr_attention_operands *operands, const gr_attrs_block *attrs,
                      uint32_t *out_state);
// Wdown(act(Wgate norm(x)) * Wup norm(x)).
uint32_t gr_build_gated_ffn(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t gate, uint32_t up,
                            uint32_t down, const gr_attrs_block *attrs);
// x + Wo attention(QKV(norm(x))); sets *out_state to the state after the write.
uint32_t gr_build_attention_block(gr_builder *builder, const gr_attention_operands *operands,
                                  const gr_attrs_block *attrs, uint32_t *out_state);
// x + Wdown(act(Wgate norm(x)) * Wup norm(x)).
uint32_t gr_build_ffn_block(gr_builder *builder, uint32_t x, uint32_t norm, uint32_t gate, uint32_t up,
                            uint32_t down, const gr_attrs_block *attrs);

#endif
