// SPDX-License-Identifier: Apache-2.0
// hparams.c: hyperparameters of a Llama-like decoder. A key that would change the arithmetic in a
// way the graph does not follow is refused by name: a model is right or is not run.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "plugins/arch/common/decoder.h"
#include "plugins/arch/common/keys.h"
#include "plugins/arch/common/rope.h"

enum {
    MAX_DIM = 1 << 18,
    MAX_FFN = 1 << 20,
    MAX_HEADS = 1024,
    MAX_HEAD_DIM = 1024,
    MAX_CONTEXT = 1 << 30
};

bool decoder_architecture_is(const gr_model_file *file, const char *name) {
    gr_str architecture;
    return gr_meta_get_string(file, "general.architecture", &architecture) &&
           architecture.size == strlen(name) &&
           memcmp(architecture.data, name, architecture.size) == 0;
}

// Copies general.name for people: control characters out, cut at a whole character.
static void read_name(const gr_model_file *file, gr_hparams *hparams) {
    gr_str name = {0};
    size_t size = 0;
    gr_meta_get_string(file, "general.name", &name);
    for (; size < name.size && size + 1 < sizeof hparams->name; size++) {
        unsigned char byte = (unsigned char)name.data[size];
        bool control =
            byte < 0x20 || byte == 0x7f ||
            (byte == 0xc2 && size + 1 < name.size && (unsigned char)name.data[size + 1] < 0xa0);
        hparams->name[size] = control ? '?' : (char)byte;
    }
    if (size < name.size)
        while (size && ((unsigned char)name.data[size] & 0xc0) == 0x80)
            size--;
    hparams->name[size] = '\0';
}

static void read_shape(arch_keys *keys, gr_hparams *hparams) {
    hparams->layers = arch_keys_u32(keys, "block_count", 1, GR_MAX_LAYERS, true, 1);
    hparams->dim = arch_keys_u32(keys, "embedding_length", 1, MAX_DIM, true, 1);
    hparams->ffn_dim = arch_keys_uniform(keys, "feed_forward_length", 1, MAX_FFN, true, 1);
    hparams->heads = arch_keys_uniform(keys, "attention.head_count", 1, MAX_HEADS, true, 1);
    hparams->kv_heads =
        arch_keys_uniform(keys, "attention.head_count_kv", 1, MAX_HEADS, false, hparams->heads);
    hparams->context_train = arch_keys_u32(keys, "context_length", 1, MAX_CONTEXT, true, 1);
    hparams->experts = arch_keys_u32(keys, "expert_count", 0, 65536, false, 0);
    hparams->experts_used = arch_keys_u32(keys, "expert_used_count", 0, 65536, false, 0);
    if (keys->status != GR_OK)
        return;
    if (hparams->heads % hparams->kv_heads)
        arch_keys_fail(keys, GR_ERROR_CORRUPT, "attention.head_count_kv",
                       "expected a divisor of the %" PRIu32 " query heads, found %" PRIu32,
                       hparams->heads, hparams->kv_heads);
    if (hparams->experts)
        arch_keys_fail(keys, GR_ERROR_UNSUPPORTED, "expert_count",
                       "expected a dense model (0), found a mixture of %" PRIu32 " experts",
                       hparams->experts);
}

static void read_head_dims(arch_keys *keys, gr_hparams *hparams) {
    bool divides = hparams->dim % hparams->heads == 0;
    uint32_t derived = divides ? hparams->dim / hparams->heads : 0;
    hparams->head_dim =
        arch_keys_u32(keys, "attention.key_length", 1, MAX_HEAD_DIM, false, derived);
    hparams->v_dim = arch_keys_u32(keys, "attention.value_length", 1, MAX_HEAD_DIM, false, derived);
    if (keys->status == GR_OK && (!hparams->head_dim || !hparams->v_dim))
        arch_keys_fail(keys, GR_ERROR_CORRUPT, "attention.head_count",
                       "expected a divisor of the dimension %" PRIu32
                       ", or key_length and value_length, found %" PRIu32,
                       hparams->dim, hparams->heads);
    if (keys->status == GR_OK &&
        (hparams->head_dim > MAX_HEAD_DIM || hparams->v_dim > MAX_HEAD_DIM))
        arch_keys_fail(keys, GR_ERROR_UNSUPPORTED, "attention.head_count",
                       "expected heads of at most %d values, found %" PRIu32, (int)MAX_HEAD_DIM,
                       derived);
}

static void read_vocab(arch_keys *keys, gr_hparams *hparams) {
    const gr_tensor_info *table = gr_model_file_tensor(keys->file, "token_embd.weight");
    const gr_meta *tokens = gr_model_file_meta(keys->file, "tokenizer.ggml.tokens");
    if (keys->status != GR_OK)
        return;
    if (!table || table->rank != 2 || table->dims[1] != hparams->dim ||
        table->dims[0] > INT32_MAX) {
        keys->status =
            gr_fail(keys->error, table ? GR_ERROR_CORRUPT : GR_ERROR_NOT_FOUND, "arch",
                    "%s: tensor 'token_embd.weight': expected [vocabulary, %" PRIu32 "], found %s",
                    keys->path, hparams->dim, table ? "another shape" : "no such tensor");
        return;
    }
    hparams->vocab = (uint32_t)table->dims[0];
    uint32_t stated = arch_keys_u32(keys, "vocab_size", 1, INT32_MAX, false, hparams->vocab);
    if (stated != hparams->vocab)
        arch_keys_fail(keys, GR_ERROR_CORRUPT, "vocab_size",
                       "expected the %" PRIu32 " rows of token_embd.weight, found %" PRIu32,
                       hparams->vocab, stated);
    if (keys->status == GR_OK && tokens && tokens->type == GR_META_ARRAY &&
        tokens->value.array.count > hparams->vocab)
        keys->status = gr_fail(keys->error, GR_ERROR_CORRUPT, "arch",
                               "%s: tokenizer.ggml.tokens: expected at most the %" PRIu32
                               " rows of token_embd.weight, found %" PRIu64 " tokens",
                               keys->path, hparams->vocab, tokens->value.array.count);
    hparams->tied_embeddings = gr_model_file_tensor(keys->file, "output.weight") == NULL;
}

static void read_numbers(arch_keys *keys, gr_hparams *hparams) {
    static const char eps[] = "attention.layer_norm_rms_epsilon";
    if (keys->status == GR_OK && !arch_keys_find(keys, eps))
        arch_keys_fail(keys, GR_ERROR_CORRUPT, eps, "expected a number, found no such key");
    hparams->norm_eps = (float)arch_keys_f64(keys, eps, 1e-12, 0.1, 1e-5);
    double scale = arch_keys_f64(keys, "attention.scale", 0, 1e6, 0);
    hparams->attention_scale = (float)(scale > 0 ? scale : 1.0 / sqrt((double)hparams->head_dim));
    hparams->softcap = (float)arch_keys_f64(keys, "attn_logit_softcapping", 0, 1e6, 0);
    hparams->activation = GR_ACTIVATION_SILU;
}

// Keys that change the arithmetic, with the value at which they do not (and 0, which means absent).
static void refuse_unknown_arithmetic(arch_keys *keys) {
    static const struct {
        const char *suffix;
        double neutral;
    } must_be[] = {{"embedding_scale", 1},
                   {"residual_scale", 1},
                   {"logit_scale", 1},
                   {"attention.temperature_scale", 0},
                   {"final_logit_softcapping", 0},
                   {"attention.clamp_kqv", 0},
                   {"attention.max_alibi_bias", 0},
                   {"leading_dense_block_count", 0}};
    bool causal = true;
    char key[64];
    for (size_t i = 0; i < sizeof must_be / sizeof must_be[0]; i++) {
        double value = arch_keys_f64(keys, must_be[i].suffix, -1e30, 1e30, 0);
        if (value != 0 && value != must_be[i].neutral)
            arch_keys_fail(keys, GR_ERROR_UNSUPPORTED, must_be[i].suffix,
                           "expected %g, the only value this build can follow, found %g",
                           must_be[i].neutral, value);
    }
    snprintf(key, sizeof key, "%s.attention.causal", keys->architecture);
    if (gr_meta_get_bool(keys->file, key, &causal) && !causal)
        arch_keys_fail(keys, GR_ERROR_UNSUPPORTED, "attention.causal",
                       "expected true, found false");
}

// Whether layer `layer` has the window, by attention.sliding_window_pattern: a list with one truth
// a layer, or a number n: every n-th layer looks at everything (0: none does).
static bool pattern_has(arch_keys *keys, const gr_meta *pattern, uint32_t layer) {
    if (!pattern)
        return true;
    if (pattern->type == GR_META_ARRAY)
        return gr_meta_array_i64(pattern, layer) != 0;
    uint32_t period =
        arch_keys_u32(keys, "attention.sliding_window_pattern", 0, GR_MAX_LAYERS, false, 0);
    return period == 0 || layer % period < period - 1;
}

static void read_window(arch_keys *keys, gr_hparams *hparams) {
    static const char suffix[] = "attention.sliding_window",
                      of_layers[] = "attention.sliding_window_pattern";
    const gr_meta *meta = arch_keys_find(keys, suffix), *pattern = arch_keys_find(keys, of_layers);
    if (!meta || keys->status != GR_OK)
        return;
    if (pattern && pattern->type == GR_META_ARRAY && pattern->value.array.count != hparams->layers)
        arch_keys_fail(keys, GR_ERROR_CORRUPT, of_layers,
                       "expected %" PRIu32 " entries, found %" PRIu64, hparams->layers,
                       pattern->value.array.count);
    bool list = meta->type == GR_META_ARRAY;
    if (list && meta->value.array.count != hparams->layers)
        arch_keys_fail(keys, GR_ERROR_CORRUPT, suffix,
                       "expected %" PRIu32 " entries, found %" PRIu64, hparams->layers,
                       meta->value.array.count);
    uint32_t all = list ? 0 : arch_keys_u32(keys, suffix, 0, MAX_CONTEXT, true, 0);
    for (uint32_t i = 0; i < hparams->layers && keys->status == GR_OK; i++) {
        int64_t window = list ? gr_meta_array_i64(meta, i) : all;
        if (window < 0 || window > MAX_CONTEXT ||
            (list &&
             (meta->value.array.type == GR_META_STRING || meta->value.array.type == GR_META_F64)))
            arch_keys_fail(keys, GR_ERROR_CORRUPT, suffix,
                           "layer %" PRIu32
                           ": expected a whole number from 0 to %d, found %" PRId64,
                           i, (int)MAX_CONTEXT, window);
        hparams->window[i] = pattern_has(keys, pattern, i) ? (uint32_t)window : 0;
    }
    hparams->window_known = true;
}

gr_status decoder_read_hparams(const gr_model_file *file, gr_hparams *out_hparams,
                               gr_error *error) {
    arch_keys keys;
    memset(out_hparams, 0, sizeof *out_hparams);
    if (arch_keys_init(&keys, file, error) != GR_OK)
        return keys.status;
    memcpy(out_hparams->architecture, keys.architecture, sizeof out_hparams->architecture);
    read_name(file, out_hparams);
    read_shape(&keys, out_hparams);
    if (keys.status == GR_OK)
        read_head_dims(&keys, out_hparams);
    read_vocab(&keys, out_hparams);
    if (keys.status == GR_OK) {
        read_numbers(&keys, out_hparams);
        refuse_unknown_arithmetic(&keys);
        decoder_read_rope(&keys, out_hparams);
        read_window(&keys, out_hparams);
    }
    return keys.status;
}
