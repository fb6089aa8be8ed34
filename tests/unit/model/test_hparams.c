// SPDX-License-Identifier: Apache-2.0
// Hyperparameters: what files say is read, defaults are those of the format, nonsense is refused by
// key.
#include "model_test.h"

#include <math.h>

// The bytes of entry `key` of a writer, from its type on; fails the test when there is none.
static uint8_t *entry(gguf_writer *writer, const char *key) {
    size_t size = strlen(key);
    for (size_t i = 8; i + size + 8 <= writer->meta.size; i++)
        if (memcmp(writer->meta.data + i, key, size) == 0 && writer->meta.data[i - 8] == size)
            return writer->meta.data + i + size;
    fail_msg("no key %s", key);
    return NULL;
}

static void set_u32(gguf_writer *writer, const char *key, uint32_t value) {
    uint8_t *bytes = entry(writer, key) + 4;
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
}

static void set_f32(gguf_writer *writer, const char *key, float value) {
    memcpy(entry(writer, key) + 4, &value, 4);
}

static void remove_key(gguf_writer *writer, const char *key) {
    entry(writer, key)[-1] = '~';
}

static gr_hparams read_good(gguf_writer *writer) {
    gr_model_source *source;
    gr_error error;
    if (open_source(writer, NULL, &source, &error) != GR_OK)
        fail_msg("%s", error.message);
    gr_hparams hparams = source->hparams;
    gr_model_source_close(source);
    gguf_writer_deinit(writer);
    return hparams;
}

static void start(gguf_writer *writer, const gguf_tiny *tiny) {
    static const gguf_tiny plain = {0};
    gguf_writer_init(writer);
    gguf_writer_tiny(writer, tiny ? tiny : &plain);
}

static void test_defaults_follow_the_format(void **state) {
    (void)state;
    gguf_writer writer;
    start(&writer, NULL);
    gr_hparams h = read_good(&writer);
    assert_string_equal(h.architecture, "llama");
    assert_string_equal(h.name, "tiny");
    assert_int_equal(h.layers, 2);
    assert_int_equal(h.dim, 64);
    assert_int_equal(h.ffn_dim, 96);
    assert_int_equal(h.heads, 4);
    assert_int_equal(h.kv_heads, 2);
    assert_int_equal(h.head_dim, 16);
    assert_int_equal(h.v_dim, 16);
    assert_int_equal(h.vocab, 96);
    assert_true(h.tied_embeddings);
    assert_false(h.window_known);
    assert_int_equal(h.window[0], 0);
    assert_true(h.rope.base == 10000.0);
    assert_int_equal(h.rope.rotary_dim, 16);
    assert_int_equal(h.rope.pairing, GR_ROPE_INTERLEAVED);
    assert_int_equal(h.rope.scaling, GR_ROPE_SCALING_NONE);
    assert_true(h.attention_scale == 0.25f);
    assert_true(fabsf(h.norm_eps - 1e-5f) < 1e-12f);
}

static void test_everything_stated_is_read(void **state) {
    (void)state;
    gguf_tiny tiny = {.architecture = "mistral3",
                      .head_dim = 24,
                      .kv_heads = 1,
                      .rope_base = 1e6f,
                      .untied = true};
    gguf_writer writer;
    start(&writer, &tiny);
    gguf_meta_u32(&writer, "mistral3.rope.dimension_count", 12);
    gguf_meta_f32(&writer, "mistral3.attention.scale", 0.125f);
    gguf_meta_string(&writer, "mistral3.rope.scaling.type", "yarn");
    gguf_meta_f32(&writer, "mistral3.rope.scaling.factor", 16);
    gguf_meta_u32(&writer, "mistral3.rope.scaling.original_context_length", 64);
    gguf_meta_f32(&writer, "mistral3.rope.scaling.yarn_beta_fast", 16);
    gguf_meta_f32(&writer, "mistral3.rope.scaling.yarn_beta_slow", 2);
    gguf_meta_f32(&writer, "mistral3.rope.scaling.yarn_log_multiplier", 1);
    gr_hparams h = read_good(&writer);
    assert_string_equal(h.architecture, "mistral3");
    assert_int_equal(h.head_dim, 24);
    assert_int_equal(h.v_dim, 24);
    assert_int_equal(h.kv_heads, 1);
    assert_false(h.tied_embeddings);
    assert_true(h.rope.base == 1e6);
    assert_int_equal(h.rope.rotary_dim, 12);
    assert_true(h.attention_scale == 0.125f);
    assert_int_equal(h.rope.scaling, GR_ROPE_SCALING_YARN);
    assert_true(h.rope.factor == 16 && h.rope.beta_fast == 16 && h.rope.beta_slow == 2);
    assert_int_equal(h.rope.original_context, 64);
    assert_true(fabs(h.rope.attention_factor - 1) < 1e-9); // both logarithms weigh the same
}

static void test_rope_scaling_is_read(void **state) {
    (void)state;
    gguf_writer writer;
    float factors[8] = {1, 1, 1, 1, 2, 4, 8, 8};
    int64_t dims[1] = {8};
    start(&writer, NULL);
    gguf_meta_f32(&writer, "llama.rope.scale_linear", 4);
    gr_hparams h = read_good(&writer);
    assert_int_equal(h.rope.scaling, GR_ROPE_SCALING_LINEAR);
    assert_true(h.rope.factor == 4);

    start(&writer, NULL);
    gguf_meta_string(&writer, "llama.rope.scaling.type", "llama3");
    gguf_meta_f32(&writer, "llama.rope.scaling.factor", 8);
    gguf_meta_u32(&writer, "llama.rope.scaling.original_context_length", 128);
    h = read_good(&writer);
    assert_int_equal(h.rope.scaling, GR_ROPE_SCALING_LLAMA3);
    assert_true(h.rope.low_freq_factor == 1 && h.rope.high_freq_factor == 4);

    start(&writer, NULL);
    gguf_tensor(&writer, "rope_freqs.weight", GR_DTYPE_F32, 1, dims, factors);
    h = read_good(&writer);
    assert_int_equal(h.rope.scaling, GR_ROPE_SCALING_NONE);
    assert_string_equal(h.rope.factors_tensor, "rope_freqs.weight");
}

static void test_windows_in_each_spelling(void **state) {
    (void)state;
    gguf_writer writer;
    const uint32_t list[3] = {8, 0, 24};
    const uint8_t pattern[3] = {1, 0, 1};
    gguf_tiny three = {.layers = 3, .window = 16}, four = {.layers = 4, .window = 16};
    gguf_tiny stated_none = {.window = -1};
    start(&writer, &three);
    gr_hparams h = read_good(&writer);
    assert_true(h.window_known && h.window[0] == 16 && h.window[2] == 16 && h.window[3] == 0);

    start(&writer, &stated_none);
    h = read_good(&writer);
    assert_true(h.window_known && h.window[0] == 0);

    three.window = 0;
    start(&writer, &three);
    gguf_meta_array(&writer, "llama.attention.sliding_window", GGUF_U32, 3, list, 4);
    h = read_good(&writer);
    assert_true(h.window_known && h.window[0] == 8 && h.window[1] == 0 && h.window[2] == 24);

    three.window = 16;
    start(&writer, &three);
    gguf_meta_array(&writer, "llama.attention.sliding_window_pattern", GGUF_BOOL, 3, pattern, 1);
    h = read_good(&writer);
    assert_true(h.window[0] == 16 && h.window[1] == 0 && h.window[2] == 16);

    start(&writer, &four);
    gguf_meta_u32(&writer, "llama.attention.sliding_window_pattern", 2);
    h = read_good(&writer);
    assert_true(h.window[0] == 16 && h.window[1] == 0 && h.window[2] == 16 && h.window[3] == 0);
}

// ---- Nonsense ----

static void no_layers(gguf_writer *w) {
    set_u32(w, "llama.block_count", 0);
}
static void many_layers(gguf_writer *w) {
    set_u32(w, "llama.block_count", 513);
}
static void layers_absent(gguf_writer *w) {
    remove_key(w, "llama.block_count");
}
static void layers_as_float(gguf_writer *w) {
    entry(w, "llama.block_count")[0] = GGUF_F32;
}
static void no_heads(gguf_writer *w) {
    set_u32(w, "llama.attention.head_count", 0);
}
static void heads_do_not_divide(gguf_writer *w) {
    set_u32(w, "llama.attention.head_count", 6);
}
static void kv_heads_do_not_divide(gguf_writer *w) {
    set_u32(w, "llama.attention.head_count_kv", 3);
}
static void dim_disagrees(gguf_writer *w) {
    set_u32(w, "llama.embedding_length", 128);
}
static void no_eps(gguf_writer *w) {
    remove_key(w, "llama.attention.layer_norm_rms_epsilon");
}
static void nan_eps(gguf_writer *w) {
    set_f32(w, "llama.attention.layer_norm_rms_epsilon", NAN);
}
static void negative_eps(gguf_writer *w) {
    set_f32(w, "llama.attention.layer_norm_rms_epsilon", -1);
}
static void no_context(gguf_writer *w) {
    remove_key(w, "llama.context_length");
}
static void no_architecture(gguf_writer *w) {
    remove_key(w, "general.architecture");
}
static void other_architecture(gguf_writer *w) {
    memcpy(entry(w, "general.architecture") + 12, "gemma", 5);
}
static void no_embedding(gguf_writer *w) {
    w->tensors[0].name[0] = 'x';
}
static void experts(gguf_writer *w) {
    gguf_meta_u32(w, "llama.expert_count", 8);
}
static void odd_rotary(gguf_writer *w) {
    gguf_meta_u32(w, "llama.rope.dimension_count", 7);
}
static void wide_rotary(gguf_writer *w) {
    gguf_meta_u32(w, "llama.rope.dimension_count", 32);
}
static void inf_base(gguf_writer *w) {
    gguf_meta_f32(w, "llama.rope.freq_base", INFINITY);
}
static void zero_base(gguf_writer *w) {
    gguf_meta_f32(w, "llama.rope.freq_base", 0);
}
static void unknown_scaling(gguf_writer *w) {
    gguf_meta_string(w, "llama.rope.scaling.type", "longrope");
}
static void scaling_no_text(gguf_writer *w) {
    gguf_meta_u32(w, "llama.rope.scaling.type", 2);
}
static void vocab_disagrees(gguf_writer *w) {
    gguf_meta_u32(w, "llama.vocab_size", 95);
}
static void negative_window(gguf_writer *w) {
    gguf_meta_number(w, "llama.attention.sliding_window", GGUF_I32, (uint32_t)-1);
}
static void short_window_list(gguf_writer *w) {
    gguf_meta_array(w, "llama.attention.sliding_window", GGUF_U32, 1, "\1\0\0", 4);
}
static void bad_window_list(gguf_writer *w) {
    gguf_meta_array(w, "llama.attention.sliding_window", GGUF_I8, 2, "\4\377", 1);
}
static void text_window(gguf_writer *w) {
    gguf_meta_string(w, "llama.attention.sliding_window", "4096");
}
static void logit_scale(gguf_writer *w) {
    gguf_meta_f32(w, "llama.logit_scale", 0.5f);
}
static void temperature(gguf_writer *w) {
    gguf_meta_f32(w, "llama.attention.temperature_scale", 0.1f);
}
static void not_causal(gguf_writer *w) {
    gguf_meta_bool(w, "llama.attention.causal", false);
}
static void per_layer_heads(gguf_writer *w) {
    remove_key(w, "llama.attention.head_count_kv");
    gguf_meta_array(w, "llama.attention.head_count_kv", GGUF_U8, 2, "\1\2", 1);
}
static void bad_factors(gguf_writer *w) {
    static const int64_t dims[1] = {8};
    gguf_tensor(w, "rope_freqs.weight", GR_DTYPE_F32, 1, dims, NULL); // zeros
}
static void short_factors(gguf_writer *w) {
    static const int64_t dims[1] = {4};
    static const float ones[4] = {1, 1, 1, 1};
    gguf_tensor(w, "rope_freqs.weight", GR_DTYPE_F32, 1, dims, ones);
}

static const struct {
    void (*spoil)(gguf_writer *writer);
    gr_status status;
    const char *says;
} nonsense[] = {
    {no_layers, GR_ERROR_CORRUPT, "llama.block_count: expected 1 to 512, found 0"},
    {many_layers, GR_ERROR_CORRUPT, "llama.block_count: expected 1 to 512, found 513"},
    {layers_absent, GR_ERROR_CORRUPT, "llama.block_count: expected 1 to 512, found no such key"},
    {layers_as_float, GR_ERROR_CORRUPT, "llama.block_count: expected 1 to 512, found 2.8"},
    {no_heads, GR_ERROR_CORRUPT, "llama.attention.head_count: expected 1 to 1024, found 0"},
    {heads_do_not_divide, GR_ERROR_CORRUPT,
     "llama.attention.head_count: expected a divisor of the dimension 64"},
    {kv_heads_do_not_divide, GR_ERROR_CORRUPT,
     "head_count_kv: expected a divisor of the 4 query heads, found 3"},
    {dim_disagrees, GR_ERROR_CORRUPT,
     "tensor 'token_embd.weight': expected [vocabulary, 128], found another shape"},
    {no_eps, GR_ERROR_CORRUPT, "layer_norm_rms_epsilon: expected a number, found no such key"},
    {nan_eps, GR_ERROR_CORRUPT,
     "layer_norm_rms_epsilon: expected a number from 1e-12 to 0.1, found nan"},
    {negative_eps, GR_ERROR_CORRUPT, "found -1"},
    {no_context, GR_ERROR_CORRUPT, "llama.context_length"},
    {no_architecture, GR_ERROR_CORRUPT,
     "general.architecture: expected one of llama, mistral, found none"},
    {other_architecture, GR_ERROR_UNSUPPORTED, "expected one of llama, mistral, found 'gemma'"},
    {no_embedding, GR_ERROR_NOT_FOUND, "tensor 'token_embd.weight'"},
    {experts, GR_ERROR_UNSUPPORTED,
     "llama.expert_count: expected a dense model (0), found a mixture of 8 experts"},
    {odd_rotary, GR_ERROR_CORRUPT, "llama.rope.dimension_count: expected an even number, found 7"},
    {wide_rotary, GR_ERROR_CORRUPT, "llama.rope.dimension_count: expected 2 to 16, found 32"},
    {inf_base, GR_ERROR_CORRUPT,
     "llama.rope.freq_base: expected a number from 1.0001 to 1e+15, found inf"},
    {zero_base, GR_ERROR_CORRUPT, "llama.rope.freq_base"},
    {unknown_scaling, GR_ERROR_UNSUPPORTED,
     "llama.rope.scaling.type: expected none, linear, llama3 or yarn"},
    {scaling_no_text, GR_ERROR_UNSUPPORTED, "llama.rope.scaling.type"},
    {vocab_disagrees, GR_ERROR_CORRUPT,
     "llama.vocab_size: expected the 96 rows of token_embd.weight, found 95"},
    {negative_window, GR_ERROR_CORRUPT,
     "llama.attention.sliding_window: expected 0 to 1073741824, found -1"},
    {short_window_list, GR_ERROR_CORRUPT,
     "llama.attention.sliding_window: expected 2 entries, found 1"},
    {bad_window_list, GR_ERROR_CORRUPT,
     "layer 1: expected a whole number from 0 to 1073741824, found -1"},
    {text_window, GR_ERROR_CORRUPT, "found a string"},
    {logit_scale, GR_ERROR_UNSUPPORTED,
     "llama.logit_scale: expected 1, the only value this build can follow, found 0.5"},
    {temperature, GR_ERROR_UNSUPPORTED, "llama.attention.temperature_scale: expected 0"},
    {not_causal, GR_ERROR_UNSUPPORTED, "llama.attention.causal: expected true, found false"},
    {per_layer_heads, GR_ERROR_UNSUPPORTED,
     "expected one value for all layers, found a list with 1 and 2"},
    {bad_factors, GR_ERROR_CORRUPT,
     "tensor 'rope_freqs.weight': expected 8 positive numbers in F32"},
    {short_factors, GR_ERROR_CORRUPT, "tensor 'rope_freqs.weight': expected 8"},
};

static void test_nonsense_is_refused_by_key(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        gguf_writer writer;
        gr_model_source *source = (gr_model_source *)&writer;
        gr_error error;
        start(&writer, NULL);
        nonsense[i].spoil(&writer);
        gr_status status = open_source(&writer, NULL, &source, &error);
        assert_says(&error, nonsense[i].says);
        assert_int_equal(status, nonsense[i].status);
        assert_null(source);
        gguf_writer_deinit(&writer);
    }
}

static void test_too_many_tokens_are_refused(void **state) {
    (void)state;
    const char *tokens[97];
    gguf_writer writer;
    gr_model_source *source;
    gr_error error;
    for (int i = 0; i < 97; i++)
        tokens[i] = "t";
    start(&writer, NULL);
    gguf_meta_strings(&writer, "tokenizer.ggml.tokens", 97, tokens);
    assert_int_equal(open_source(&writer, NULL, &source, &error), GR_ERROR_CORRUPT);
    assert_says(
        &error,
        "tokenizer.ggml.tokens: expected at most the 96 rows of token_embd.weight, found 97");
    gguf_writer_deinit(&writer);
}

static void test_names_are_made_safe_to_show(void **state) {
    (void)state;
    char name[200] = "a\033[31m\302\233b";
    gguf_tiny tiny = {.name = name};
    gguf_writer writer;
    start(&writer, &tiny);
    gr_hparams h = read_good(&writer);
    assert_string_equal(h.name, "a?[31m?\233b");
    memset(name, 'x', 94);
    strcpy(name + 94, "\303\244"); // a-umlaut across the cut
    start(&writer, &tiny);
    h = read_good(&writer);
    assert_int_equal(strlen(h.name), 94);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_follow_the_format),
        cmocka_unit_test(test_everything_stated_is_read),
        cmocka_unit_test(test_rope_scaling_is_read),
        cmocka_unit_test(test_windows_in_each_spelling),
        cmocka_unit_test(test_nonsense_is_refused_by_key),
        cmocka_unit_test(test_too_many_tokens_are_refused),
        cmocka_unit_test(test_names_are_made_safe_to_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
