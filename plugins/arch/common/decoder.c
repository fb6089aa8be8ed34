// SPDX-License-Identifier: Apache-2.0
// decoder.c: the graph of a Llama-like decoder, written as blocks. Weight names are GGUF's.
#include "plugins/arch/common/decoder.h"

// What every layer shares while the graph is written.
typedef struct decoder {
    gr_builder *builder;
    const gr_hparams *hparams;
    const gr_attrs_rope *rope;
    uint32_t positions;
} decoder;

// The weight "blk.<layer>.<name>", of rank 1 when `columns` is 0.
static uint32_t layer_weight(const decoder *d, uint32_t layer, const char *name, int64_t rows,
                             int64_t columns) {
    char full[64];
    int64_t dims[2] = {rows, columns};
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    return gr_build_weight(d->builder, full, columns ? 2 : 1, dims);
}

// The same, or GR_VALUE_NONE when the file has no such tensor.
static uint32_t optional_vector(const decoder *d, uint32_t layer, const char *name, int64_t size) {
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    return gr_build_has_weight(d->builder, full) ? layer_weight(d, layer, name, size, 0)
                                                 : GR_VALUE_NONE;
}

static const gr_attrs_rope *make_rope(gr_builder *builder, const gr_hparams *hparams) {
    const gr_rope *rope = &hparams->rope;
    gr_attrs_rope *attrs = gr_build_alloc(builder, sizeof *attrs);
    double *table = gr_build_alloc(builder, rope->rotary_dim / 2 * sizeof *table);
    if (!attrs || !table)
        return NULL;
    *attrs = (gr_attrs_rope){.struct_size = sizeof *attrs,
                             .head_dim = hparams->head_dim,
                             .rotary_dim = rope->rotary_dim,
                             .pairing = rope->pairing,
                             .inv_freq = table};
    gr_rope_table(rope, rope->factors, table, &attrs->magnitude);
    return attrs;
}

static const gr_attrs_attention *make_attention(const decoder *d, uint32_t layer) {
    const gr_hparams *h = d->hparams;
    gr_attrs_attention *attrs = gr_build_alloc(d->builder, sizeof *attrs);
    if (!attrs)
        return NULL;
    *attrs = (gr_attrs_attention){.struct_size = sizeof *attrs,
                                  .cache_layer = layer,
                                  .heads = h->heads,
                                  .kv_heads = h->kv_heads,
                                  .k_dim = h->head_dim,
                                  .v_dim = h->v_dim,
                                  .window = h->window[layer],
                                  .scale = h->attention_scale,
                                  .softcap = h->softcap};
    return attrs;
}

static uint32_t build_attention(const decoder *d, uint32_t layer, uint32_t x,
                                const gr_attrs_block *attrs) {
    const gr_hparams *h = d->hparams;
    int64_t q = (int64_t)h->heads * h->head_dim, k = (int64_t)h->kv_heads * h->head_dim;
    int64_t v = (int64_t)h->kv_heads * h->v_dim, o = (int64_t)h->heads * h->v_dim;
    uint32_t state;
    gr_attention_operands operands = {
        .x = x,
        .norm = layer_weight(d, layer, "attn_norm.weight", h->dim, 0),
        .wq = layer_weight(d, layer, "attn_q.weight", q, h->dim),
        .wk = layer_weight(d, layer, "attn_k.weight", k, h->dim),
        .wv = layer_weight(d, layer, "attn_v.weight", v, h->dim),
        .bq = optional_vector(d, layer, "attn_q.bias", q),
        .bk = optional_vector(d, layer, "attn_k.bias", k),
        .bv = optional_vector(d, layer, "attn_v.bias", v),
        .positions = d->positions,
        .state = gr_build_state(d->builder, attrs->attention),
        .q_norm = optional_vector(d, layer, "attn_q_norm.weight", h->head_dim),
        .k_norm = optional_vector(d, layer, "attn_k_norm.weight", h->head_dim),
        .wo = layer_weight(d, layer, "attn_output.weight", h->dim, o),
        .bo = optional_vector(d, layer, "attn_output.bias", h->dim),
    };
    return gr_build_attention_block(d->builder, &operands, attrs, &state);
}

static uint32_t build_layer(const decoder *d, uint32_t layer, uint32_t x) {
    const gr_hparams *h = d->hparams;
    gr_attrs_block *attrs = gr_build_alloc(d->builder, 2 * sizeof *attrs);
    const gr_attrs_attention *attention = make_attention(d, layer);
    if (!attrs || !attention)
        return GR_VALUE_NONE;
    attrs[0] = (gr_attrs_block){.struct_size = sizeof *attrs,
                                .eps = h->norm_eps,
                                .rope_q = d->rope,
                                .rope_k = d->rope,
                                .attention = attention};
    attrs[1] = (gr_attrs_block){
        .struct_size = sizeof *attrs, .eps = h->norm_eps, .activation = h->activation};
    gr_build_layer(d->builder, (int32_t)layer);
    x = build_attention(d, layer, x, &attrs[0]);
    return gr_build_ffn_block(d->builder, x, layer_weight(d, layer, "ffn_norm.weight", h->dim, 0),
                              layer_weight(d, layer, "ffn_gate.weight", h->ffn_dim, h->dim),
                              layer_weight(d, layer, "ffn_up.weight", h->ffn_dim, h->dim),
                              layer_weight(d, layer, "ffn_down.weight", h->dim, h->ffn_dim),
                              &attrs[1]);
}

// The head sees output rows alone: they are gathered first, then normed.
static void build_head(gr_builder *builder, const gr_hparams *h, uint32_t x, uint32_t table) {
    int64_t dims[2] = {h->vocab, h->dim}, norm_dims[1] = {h->dim};
    uint32_t norm = gr_build_weight(builder, "output_norm.weight", 1, norm_dims);
    uint32_t head = h->tied_embeddings ? table : gr_build_weight(builder, "output.weight", 2, dims);
    x = gr_build_gather_rows(builder, x, gr_build_step_field(builder, GR_STEP_OUTPUT_ROWS));
    gr_build_output(builder, "logits",
                    gr_build_norm_matmul(builder, x, norm, head, GR_VALUE_NONE, h->norm_eps));
    gr_build_output(builder, "hidden", gr_build_rms_norm(builder, x, norm, h->norm_eps));
}

void decoder_build(gr_builder *builder, const gr_hparams *hparams) {
    decoder d = {.builder = builder, .hparams = hparams, .rope = make_rope(builder, hparams)};
    int64_t dims[2] = {hparams->vocab, hparams->dim};
    if (!d.rope)
        return;
    uint32_t table = gr_build_weight(builder, "token_embd.weight", 2, dims);
    d.positions = gr_build_step_field(builder, GR_STEP_POSITIONS);
    gr_build_layer(builder, -1);
    uint32_t x = gr_build_embed(builder, table, gr_build_step_field(builder, GR_STEP_TOKENS));
    for (uint32_t layer = 0; layer < hparams->layers && x != GR_VALUE_NONE; layer++)
        x = build_layer(&d, layer, x);
    gr_build_layer(builder, -1);
    build_head(builder, hparams, x, table);
}
