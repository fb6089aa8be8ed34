// SPDX-License-Identifier: Apache-2.0
// describe.c: what a model is, and its tokens, for those who ask.
#include <string.h>
#include <strings.h>

#include "engine/site.h"

static const struct cache_type {
    const char *name;
    gr_dtype dtype;
} cache_types[] = {{"f32", GR_DTYPE_F32}, {"f16", GR_DTYPE_F16}, {"bf16", GR_DTYPE_BF16}, {"q8_0", GR_DTYPE_Q8_0}};

bool gr_cache_type_find(const char *name, gr_dtype *out_dtype) {
    for (size_t i = 0; i < sizeof cache_types / sizeof cache_types[0]; i++) {
        if (strcasecmp(cache_types[i].name, name) == 0) {
            *out_dtype = cache_types[i].dtype;
            return true;
        }
    }
    return false;
}

static const char *cache_type_name(gr_dtype dtype) {
    for (size_t i = 0; i < sizeof cache_types / sizeof cache_types[0]; i++)
        if (cache_types[i].dtype == dtype)
            return cache_types[i].name;
    return "";
}

static void describe_window(const gr_hparams *hparams, gr_model_info *info) {
    for (uint32_t i = 0; i < hparams->layers; i++) {
        uint32_t window = hparams->window[i];
        info->window_min = i == 0 || window < info->window_min ? window : info->window_min;
        info->window_max = window > info->window_max ? window : info->window_max;
        info->windowed_layers += window != 0;
    }
}

static uint64_t count_parameters(const gr_model_file *file) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < gr_model_file_tensor_count(file); i++) {
        const gr_tensor_info *tensor = gr_model_file_tensor_at(file, i);
        count += tensor->bytes / gr_dtype_block_bytes(tensor->dtype) * gr_dtype_block(tensor->dtype);
    }
    return count;
}

gr_status gr_model_info_get(const gr_model *model, gr_model_info *out_info) {
    const gr_hparams *hparams = &model->source->hparams;
    uint32_t size = out_info->struct_size;
    gr_model_info info = {.struct_size = size,
                          .layers = hparams->layers,
                          .dim = hparams->dim,
                          .ffn_dim = hparams->ffn_dim,
                          .heads = hparams->heads,
                          .kv_heads = hparams->kv_heads,
                          .head_dim = hparams->head_dim,
                          .vocab = hparams->vocab,
                          .context_train = hparams->context_train,
                          .path = gr_model_file_path(model->source->file),
                          .name = hparams->name,
                          .architecture = hparams->architecture,
                          .tokenizer = model->tokenizer->type->name,
                          .chat_format = model->chat_format ? model->chat_format->name : "",
                          .device = gr_site_name(model->site),
                          .notice = model->source->notice,
                          .parameters = count_parameters(model->source->file),
                          .weight_bytes = model->site->weight_bytes,
                          .resident_bytes = model->site->resident_bytes,
                          .cache_type = cache_type_name(gr_kv_cache_dtype(model->site->cache))};
    describe_window(hparams, &info);
    gr_model_file_fingerprint(model->source->file, info.fingerprint);
    memcpy(out_info, &info, size < sizeof info ? size : sizeof info);
    return GR_OK;
}

gr_status gr_model_tokenize(const gr_model *model, const char *text, size_t bytes, bool special, bool parse_control,
                            int32_t *out_tokens, size_t capacity, size_t *out_count, gr_error *error) {
    gr_tokens tokens = {0};
    gr_encode_flags flags = (special ? GR_ENCODE_SPECIAL : 0u) | (parse_control ? GR_ENCODE_PARSE_CONTROL : 0u);
    *out_count = 0;
    gr_status status = gr_tokenizer_encode(model->tokenizer, (gr_str){text, bytes}, flags, &tokens, error);
    if (status == GR_OK) {
        size_t count = tokens.count < capacity ? tokens.count : capacity;
        if (count)
            memcpy(out_tokens, tokens.data, count * sizeof *out_tokens);
        *out_count = tokens.count;
    }
    gr_tokens_deinit(&tokens);
    return status;
}

size_t gr_model_piece(const gr_model *model, int32_t token, bool render_control, char *out_bytes, size_t capacity) {
    return gr_tokenizer_piece(model->tokenizer, token, render_control, out_bytes, capacity);
}

bool gr_model_is_end(const gr_model *model, int32_t token) {
    return gr_tokenizer_is_end(model->tokenizer, token);
}
