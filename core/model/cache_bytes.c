// SPDX-License-Identifier: Apache-2.0
// cache_bytes.c: what a conversation will take, known before anything is loaded.
#include "base/checked.h"
#include "model/model.h"

// Bytes of one page of one layer: K and V of every KV head, each head in whole blocks.
static uint64_t page_bytes(const gr_hparams *hparams, gr_dtype kv_dtype, uint32_t page_tokens) {
    uint64_t block = gr_dtype_block(kv_dtype), bytes = 0;
    const uint32_t dims[2] = {hparams->head_dim, hparams->v_dim};
    if (!block)
        return 0;
    for (int i = 0; i < 2; i++)
        bytes +=
            hparams->kv_heads * ((dims[i] + block - 1) / block * gr_dtype_block_bytes(kv_dtype));
    return bytes * page_tokens; // at most 2^10 heads * 2^10 values * 8 bytes * 2^32 tokens
}

static uint64_t saturating_product(uint64_t a, uint64_t b) {
    uint64_t product = UINT64_MAX;
    gr_mul_u64(a, b, &product);
    return product;
}

static uint64_t pages_for(uint64_t tokens, uint32_t page_tokens) {
    return tokens / page_tokens + (tokens % page_tokens != 0);
}

void gr_model_cache_bytes(const gr_hparams *hparams, uint64_t context, gr_dtype kv_dtype,
                          uint32_t page_tokens, uint32_t reserve, uint64_t *out_bytes,
                          uint64_t *out_full_bytes) {
    uint64_t pages = 0, full = pages_for(context, page_tokens);
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        uint64_t window = hparams->window[layer];
        uint64_t rolling = window ? pages_for(window + reserve, page_tokens) + 1 : full;
        uint64_t sum = UINT64_MAX;
        gr_add_u64(pages, rolling < full ? rolling : full, &sum);
        pages = sum;
    }
    uint64_t page = page_bytes(hparams, kv_dtype, page_tokens);
    *out_bytes = saturating_product(pages, page);
    *out_full_bytes = saturating_product(saturating_product(full, hparams->layers), page);
}
