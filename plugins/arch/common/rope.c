// SPDX-License-Identifier: Apache-2.0
// rope.c: rotary embedding keys. GGUF files of this family store Q and K rows permuted so that
// pairs are neighbours (interleaved), whatever the original checkpoint did.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "plugins/arch/common/rope.h"

static const char factors_name[] = "rope_freqs.weight";

static bool text_is(gr_str text, const char *word) {
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static gr_rope_scaling read_scaling(arch_keys *keys, double factor) {
    gr_str name;
    const gr_meta *meta = arch_keys_find(keys, "rope.scaling.type");
    if (!meta)
        return factor != 1.0 ? GR_ROPE_SCALING_LINEAR : GR_ROPE_SCALING_NONE;
    name = meta->type == GR_META_STRING ? meta->value.string : (gr_str){"?", 1};
    if (text_is(name, "none") || text_is(name, ""))
        return GR_ROPE_SCALING_NONE;
    if (text_is(name, "linear"))
        return factor != 1.0 ? GR_ROPE_SCALING_LINEAR : GR_ROPE_SCALING_NONE;
    if (text_is(name, "llama3"))
        return GR_ROPE_SCALING_LLAMA3;
    if (text_is(name, "yarn"))
        return GR_ROPE_SCALING_YARN;
    arch_keys_fail(keys, GR_ERROR_UNSUPPORTED, "rope.scaling.type",
                   "expected none, linear, llama3 or yarn, found another rule");
    return GR_ROPE_SCALING_NONE;
}

// Magnitude of YaRN: 0.1 ln(factor) + 1 (Peng et al. 2023, section 3.4), divided by the same with a
// weight m before the logarithm where the file gives one, times the file's own multipliers.
static double read_attention_factor(arch_keys *keys, double factor) {
    double log_factor = factor > 1.0 ? log(factor) : 0.0;
    double weight = arch_keys_f64(keys, "rope.scaling.yarn_log_multiplier", 0, 100, 0);
    double own = arch_keys_f64(keys, "rope.scaling.attn_factor", 1e-6, 1e6, 1);
    double own_yarn = arch_keys_f64(keys, "rope.scaling.yarn_attn_factor", 1e-6, 1e6, 1);
    if (weight == 0 && own == 1 && own_yarn == 1)
        return 0; // derived from the factor
    return (0.1 * log_factor + 1) / (weight > 0 ? 0.1 * weight * log_factor + 1 : 1) * own *
           own_yarn;
}

static void read_yarn(arch_keys *keys, gr_rope *rope) {
    rope->beta_fast = arch_keys_f64(keys, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    rope->beta_slow = arch_keys_f64(keys, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
    rope->extrapolation_factor = arch_keys_f64(keys, "rope.scaling.yarn_ext_factor", 0, 1, 1);
    rope->attention_factor = read_attention_factor(keys, rope->factor);
}

static void read_llama3(arch_keys *keys, gr_rope *rope) {
    rope->low_freq_factor = arch_keys_f64(keys, "rope.scaling.low_freq_factor", 1e-6, 1e6, 1);
    rope->high_freq_factor = arch_keys_f64(keys, "rope.scaling.high_freq_factor", 1e-6, 1e6, 4);
    if (rope->high_freq_factor <= rope->low_freq_factor)
        arch_keys_fail(keys, GR_ERROR_CORRUPT, "rope.scaling.high_freq_factor",
                       "expected more than low_freq_factor %g, found %g", rope->low_freq_factor,
                       rope->high_freq_factor);
}

// Converters write the rule of Llama 3.1 out as a table of divisors, which then stands for the
// rule.
static void read_factors(arch_keys *keys, gr_rope *rope) {
    const gr_tensor_info *tensor = gr_model_file_tensor(keys->file, factors_name);
    uint32_t pairs = rope->rotary_dim / 2;
    if (!tensor || keys->status != GR_OK)
        return;
    bool good = tensor->dtype == GR_DTYPE_F32 && tensor->rank == 1 && tensor->dims[0] == pairs;
    for (uint32_t i = 0; good && i < pairs; i++) {
        float factor = ((const float *)tensor->data)[i];
        good = isfinite(factor) && factor > 0;
    }
    if (!good) {
        keys->status = gr_fail(keys->error, GR_ERROR_CORRUPT, "arch",
                               "%s: tensor '%s': expected %" PRIu32
                               " positive numbers in F32, found other data",
                               keys->path, factors_name, pairs);
        return;
    }
    rope->factors_tensor = factors_name;
    rope->factors = tensor->data;
    if (rope->scaling == GR_ROPE_SCALING_LLAMA3)
        rope->scaling = GR_ROPE_SCALING_NONE;
}

gr_status decoder_read_rope(arch_keys *keys, gr_hparams *hparams) {
    gr_rope *rope = &hparams->rope;
    rope->base = arch_keys_f64(keys, "rope.freq_base", 1.0001, 1e15, 10000);
    rope->rotary_dim =
        arch_keys_u32(keys, "rope.dimension_count", 2, hparams->head_dim, false, hparams->head_dim);
    rope->pairing = GR_ROPE_INTERLEAVED;
    if (rope->rotary_dim % 2)
        arch_keys_fail(keys, GR_ERROR_CORRUPT, "rope.dimension_count",
                       "expected an even number, found %" PRIu32, rope->rotary_dim);
    double factor = arch_keys_f64(keys, "rope.scaling.factor", 0, 1e6, 0);
    if (factor == 0)
        factor = arch_keys_f64(keys, "rope.scale_linear", 0, 1e6, 0);
    rope->factor = factor == 0 ? 1 : factor;
    rope->scaling = read_scaling(keys, rope->factor);
    rope->original_context = arch_keys_u32(keys, "rope.scaling.original_context_length", 1,
                                           1u << 30, false, hparams->context_train);
    if (rope->scaling == GR_ROPE_SCALING_YARN)
        read_yarn(keys, rope);
    else if (rope->scaling == GR_ROPE_SCALING_LLAMA3)
        read_llama3(keys, rope);
    read_factors(keys, rope);
    return keys->status;
}
