// SPDX-License-Identifier: Apache-2.0
// Presets: a Mistral-7B file without its window gets it back, and nobody else does. The files have
// the real shapes and no numbers: holes on disk.
#include "model_test.h"

static const gguf_tiny mistral = {.name = "mistralai_mistral-7b-v0.1",
                                  .layers = 32,
                                  .dim = 4096,
                                  .ffn_dim = 14336,
                                  .heads = 32,
                                  .kv_heads = 8,
                                  .vocab = 32000,
                                  .context = 32768,
                                  .rope_base = 10000,
                                  .untied = true,
                                  .no_numbers = true,
                                  .dtype = GR_DTYPE_Q4_0};

static gr_model_source *open_tiny(const gguf_tiny *tiny, const gr_model_overrides *overrides) {
    gguf_writer writer;
    gr_model_source *source;
    gr_error error;
    gguf_writer_init(&writer);
    gguf_writer_tiny(&writer, tiny);
    if (open_source(&writer, overrides, &source, &error) != GR_OK)
        fail_msg("%s", error.message);
    gguf_writer_deinit(&writer);
    return source;
}

// Expects window `window` on all layers and `notice` in the notice ("" for none).
static void expect(const gguf_tiny *tiny, const gr_model_overrides *overrides, const char *preset,
                   uint32_t window, const char *notice) {
    gr_model_source *source = open_tiny(tiny, overrides);
    for (uint32_t i = 0; i < source->hparams.layers; i++)
        assert_int_equal(source->hparams.window[i], window);
    if (preset)
        assert_string_equal(source->preset, preset);
    else
        assert_null(source->preset);
    if (*notice ? !strstr(source->notice, notice) : source->notice[0])
        fail_msg("expected '%s' in '%s'", notice, source->notice);
    gr_model_source_close(source);
}

static void test_v01_gets_its_window_back(void **state) {
    (void)state;
    gguf_tiny t = mistral;
    expect(&t, NULL, "Mistral-7B-v0.1", 4096,
           "sliding window 4096 restored (Mistral-7B-v0.1: the file states none; --sliding-window "
           "off to disable)");
    t.name = "Mistral 7B Instruct v0.1";
    expect(&t, NULL, "Mistral-7B-Instruct-v0.1", 4096, "restored (Mistral-7B-Instruct-v0.1:");
}

static void test_derivatives_are_known_by_shape(void **state) {
    (void)state;
    gguf_tiny t = mistral;
    t.name = "OpenHermes-2.5";
    t.vocab = 32002;
    expect(&t, NULL, "Mistral-7B-v0.1", 4096, "restored (shape and rope base of Mistral-7B-v0.1:");
}

static void test_v02_and_v03_have_no_window(void **state) {
    (void)state;
    gguf_tiny t = mistral;
    t.name = "mistralai_mistral-7b-instruct-v0.2";
    t.rope_base = 1e6f;
    expect(&t, NULL, "Mistral-7B-Instruct-v0.2", 0, "");
    t.name = "Mistral-7B-v0.2";
    expect(&t, NULL, "Mistral-7B-v0.2", 0, "");
    t.vocab = 32768;
    t.name = "Mistral-7B-Instruct-v0.3";
    expect(&t, NULL, "Mistral-7B-Instruct-v0.3", 0, "");
    t.name = "Mistral-7B-v0.3";
    expect(&t, NULL, "Mistral-7B-v0.3", 0, "");
    t.name = "something else";
    expect(&t, NULL, NULL, 0, "");
}

static void test_one_fact_off_and_nothing_is_restored(void **state) {
    (void)state;
    gguf_tiny t = mistral;
    t.layers = 31;
    expect(&t, NULL, NULL, 0, "");
    t = mistral;
    t.kv_heads = 32;
    expect(&t, NULL, NULL, 0, "");
    t = mistral;
    t.rope_base = 500000;
    expect(&t, NULL, NULL, 0, "");
    t = mistral;
    t.vocab = 128256;
    expect(&t, NULL, NULL, 0, "");
    t = mistral; // calls itself v0.2, whatever its rope base says
    t.name = "Mistral-7B-Instruct-v0.2";
    expect(&t, NULL, NULL, 0, "");
}

static void test_scaled_rope_is_another_model(void **state) {
    (void)state;
    gguf_writer writer;
    gr_model_source *source;
    gr_error error;
    gguf_writer_init(&writer);
    gguf_writer_tiny(&writer, &mistral);
    gguf_meta_string(&writer, "llama.rope.scaling.type", "yarn");
    gguf_meta_f32(&writer, "llama.rope.scaling.factor", 8);
    assert_int_equal(open_source(&writer, NULL, &source, &error), GR_OK);
    assert_int_equal(source->hparams.window[0], 0);
    assert_null(source->preset);
    gr_model_source_close(source);
    gguf_writer_deinit(&writer);
}

static void test_what_the_file_states_stands(void **state) {
    (void)state;
    gguf_tiny t = mistral;
    t.window = -1;
    expect(&t, NULL, "Mistral-7B-v0.1", 0, "");
    t.window = 1024;
    expect(&t, NULL, "Mistral-7B-v0.1", 1024, "");
}

static void test_the_user_decides(void **state) {
    (void)state;
    gguf_tiny t = mistral;
    gr_model_overrides off = {.sliding_window = 0}, narrow = {.sliding_window = 256},
                       as_file = {.sliding_window = GR_WINDOW_FROM_FILE};
    expect(&t, &off, "Mistral-7B-v0.1", 0, "");
    expect(&t, &narrow, "Mistral-7B-v0.1", 256, "");
    expect(&t, &as_file, "Mistral-7B-v0.1", 4096, "restored");
    t.window = 1024;
    expect(&t, &narrow, "Mistral-7B-v0.1", 256, "");
}

static void test_a_window_out_of_range_is_refused(void **state) {
    (void)state;
    gguf_tiny tiny = {0};
    gguf_writer writer;
    gr_model_source *source;
    gr_error error;
    gr_model_overrides wrong = {.sliding_window = -2};
    gguf_writer_init(&writer);
    gguf_writer_tiny(&writer, &tiny);
    assert_int_equal(open_source(&writer, &wrong, &source, &error), GR_ERROR_INVALID_ARGUMENT);
    assert_says(&error, "sliding window: expected 0 (off) to 2147483647, found -2");
    assert_null(source);
    gguf_writer_deinit(&writer);
}

// The figures of a 4096 window at page 64 and reserve 64: 66 pages a layer against 128 and 512.
static void test_cache_bytes_roll(void **state) {
    (void)state;
    gr_model_source *source = open_tiny(&mistral, NULL);
    const uint64_t page = 64 * 8 * (128 + 128) * 2;
    uint64_t bytes, full;
    gr_model_cache_bytes(&source->hparams, 8192, GR_DTYPE_F16, 64, 64, &bytes, &full);
    assert_int_equal(bytes, 32 * 66 * page);
    assert_int_equal(full, UINT64_C(1) << 30);
    assert_true(bytes * 100 <= full * 52);
    gr_model_cache_bytes(&source->hparams, 32768, GR_DTYPE_F16, 64, 64, &bytes, &full);
    assert_int_equal(bytes, 32 * 66 * page);
    assert_int_equal(full, UINT64_C(4) << 30);
    assert_true(bytes * 100 <= full * 14);
    gr_model_cache_bytes(&source->hparams, 100, GR_DTYPE_F16, 64, 64, &bytes, &full);
    assert_int_equal(bytes, full);
    assert_int_equal(full, 32 * 2 * page);
    gr_model_cache_bytes(&source->hparams, 0, GR_DTYPE_F16, 64, 64, &bytes, &full);
    assert_true(bytes == 0 && full == 0);
    gr_model_cache_bytes(&source->hparams, UINT64_MAX, GR_DTYPE_F32, 1, 64, &bytes, &full);
    assert_true(full == UINT64_MAX && bytes < UINT64_MAX);
    source->hparams.window[5] = 0; // one layer without a window
    gr_model_cache_bytes(&source->hparams, 32768, GR_DTYPE_F16, 64, 64, &bytes, &full);
    assert_int_equal(bytes, (31 * 66 + 512) * page);
    gr_model_source_close(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v01_gets_its_window_back),
        cmocka_unit_test(test_derivatives_are_known_by_shape),
        cmocka_unit_test(test_v02_and_v03_have_no_window),
        cmocka_unit_test(test_one_fact_off_and_nothing_is_restored),
        cmocka_unit_test(test_scaled_rope_is_another_model),
        cmocka_unit_test(test_what_the_file_states_stands),
        cmocka_unit_test(test_the_user_decides),
        cmocka_unit_test(test_a_window_out_of_range_is_refused),
        cmocka_unit_test(test_cache_bytes_roll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
