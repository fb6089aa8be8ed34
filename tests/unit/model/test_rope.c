// SPDX-License-Identifier: Apache-2.0
// Frequency tables against those of transformers 5.23.0 (modeling_rope_utils, computed there in
// F32): the goldens, and one more case written out.
#include "model_test.h"

#include <math.h>

typedef struct expected_pair {
    uint32_t index;
    double inv_freq;
} expected_pair;

static const gr_rope yarn_narrow = {.base = 10000,
                                    .rotary_dim = 64,
                                    .scaling = GR_ROPE_SCALING_YARN,
                                    .factor = 8,
                                    .original_context = 8192,
                                    .beta_fast = 16,
                                    .beta_slow = 2,
                                    .extrapolation_factor = 1,
                                    .attention_factor = 1.25};
static const expected_pair yarn_narrow_pairs[] = {{0, 1},
                                                  {1, 0.749894202},
                                                  {8, 0.100000001},
                                                  {16, 0.00890624989},
                                                  {20, 0.00143290719},
                                                  {24, 0.000125000006},
                                                  {28, 3.95284733e-05},
                                                  {31, 1.66690188e-05}};

static const gr_rope llama3 = {.base = 500000,
                               .rotary_dim = 128,
                               .scaling = GR_ROPE_SCALING_LLAMA3,
                               .factor = 8,
                               .original_context = 8192,
                               .low_freq_factor = 1,
                               .high_freq_factor = 4};

static void check(const gr_rope *rope, const expected_pair *pairs, size_t count, double magnitude) {
    double table[64];
    float found;
    gr_rope_table(rope, NULL, table, &found);
    assert_true(fabs(found - magnitude) < 1e-6);
    for (size_t i = 0; i < count; i++)
        if (fabs(table[pairs[i].index] / pairs[i].inv_freq - 1) > 1e-6)
            fail_msg("pair %u: expected %.9g, found %.9g", pairs[i].index, pairs[i].inv_freq,
                     table[pairs[i].index]);
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// The goldens leave the magnitude to the rule; here the file sets it.
static void test_a_stated_magnitude_stands(void **state) {
    (void)state;
    check(&yarn_narrow, yarn_narrow_pairs, COUNT(yarn_narrow_pairs), 1.25);
}

// A table of divisors, made by the rule of Llama 3.1, gives what the rule gives.
static void test_factors_stand_for_the_rule(void **state) {
    (void)state;
    gr_rope plain = llama3;
    double unscaled[64], ruled[64], divided[64];
    float factors[64], magnitude;
    plain.scaling = GR_ROPE_SCALING_NONE;
    gr_rope_table(&plain, NULL, unscaled, &magnitude);
    gr_rope_table(&llama3, NULL, ruled, &magnitude);
    for (int i = 0; i < 64; i++)
        factors[i] = (float)(unscaled[i] / ruled[i]);
    gr_rope_table(&plain, factors, divided, &magnitude);
    for (int i = 0; i < 64; i++)
        assert_true(fabs(divided[i] / ruled[i] - 1) < 1e-6);
}

// Whatever a file says, tables stay finite.
static void test_extremes_stay_finite(void **state) {
    (void)state;
    const gr_rope extremes[] = {{.base = 1.0001,
                                 .rotary_dim = 128,
                                 .scaling = GR_ROPE_SCALING_YARN,
                                 .factor = 1e6,
                                 .original_context = 1,
                                 .beta_fast = 1e-3,
                                 .beta_slow = 1e6,
                                 .extrapolation_factor = 0},
                                {.base = 1e15,
                                 .rotary_dim = 2,
                                 .scaling = GR_ROPE_SCALING_YARN,
                                 .factor = 1,
                                 .original_context = 1u << 30,
                                 .beta_fast = 1e6,
                                 .beta_slow = 1e-3,
                                 .extrapolation_factor = 1},
                                {.base = 1e15,
                                 .rotary_dim = 128,
                                 .scaling = GR_ROPE_SCALING_LLAMA3,
                                 .factor = 1e-6,
                                 .original_context = 1u << 30,
                                 .low_freq_factor = 1e-6,
                                 .high_freq_factor = 1e6}};
    for (size_t e = 0; e < COUNT(extremes); e++) {
        double table[64];
        float magnitude;
        gr_rope_table(&extremes[e], NULL, table, &magnitude);
        assert_true(isfinite(magnitude));
        for (uint32_t i = 0; i < extremes[e].rotary_dim / 2; i++)
            assert_true(isfinite(table[i]) && table[i] >= 0);
    }
}

// Value `suffix` of a golden case, or 0.
static double case_number(const gr_model_file *file, uint32_t index, const char *suffix) {
    char key[64];
    double value = 0;
    snprintf(key, sizeof key, "case.%u.%s", index, suffix);
    gr_meta_get_f64(file, key, &value);
    return value;
}

static gr_rope case_rope(const gr_model_file *file, uint32_t index) {
    static const char *const types[] = {"none", "linear", "llama3", "yarn"};
    char key[64];
    gr_str type = {0};
    gr_rope rope = {.base = case_number(file, index, "base"),
                    .rotary_dim = (uint32_t)case_number(file, index, "head_dim"),
                    .factor = case_number(file, index, "factor"),
                    .original_context = (uint32_t)case_number(file, index, "original_context"),
                    .beta_fast = case_number(file, index, "beta_fast"),
                    .beta_slow = case_number(file, index, "beta_slow"),
                    .low_freq_factor = case_number(file, index, "low_freq_factor"),
                    .high_freq_factor = case_number(file, index, "high_freq_factor"),
                    .extrapolation_factor = 1,
                    .scaling = UINT32_MAX};
    snprintf(key, sizeof key, "case.%u.type", index);
    assert_true(gr_meta_get_string(file, key, &type));
    for (uint32_t i = 0; i < 4; i++)
        if (type.size == strlen(types[i]) && memcmp(type.data, types[i], type.size) == 0)
            rope.scaling = i;
    assert_true(rope.scaling != UINT32_MAX);
    return rope;
}

static void test_tables_agree_with_the_goldens(void **state) {
    (void)state;
    gr_model_file *file;
    gr_error error;
    uint32_t cases = 0;
    if (gr_model_file_open(GREGALE_SOURCE_DIR "/tests/golden/rope.gguf", &file, &error) != GR_OK)
        fail_msg("%s", error.message);
    assert_true(gr_meta_get_u32(file, "golden.cases", &cases) && cases >= 8);
    for (uint32_t c = 0; c < cases; c++) {
        char name[64];
        double table[64];
        float magnitude;
        gr_rope rope = case_rope(file, c);
        snprintf(name, sizeof name, "case.%u.inverse_frequencies", c);
        const gr_tensor_info *expected = gr_model_file_tensor(file, name);
        assert_non_null(expected);
        assert_true(expected->dims[0] == rope.rotary_dim / 2 && expected->dims[0] <= 64);
        gr_rope_table(&rope, NULL, table, &magnitude);
        assert_true(fabs(magnitude - case_number(file, c, "gain")) < 1e-6);
        for (int64_t i = 0; i < expected->dims[0]; i++) {
            double value = ((const float *)expected->data)[i];
            if (fabs(table[i] / value - 1) > 2e-6)
                fail_msg("case %u pair %d: expected %.9g, found %.9g", c, (int)i, value, table[i]);
        }
    }
    gr_model_file_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stated_magnitude_stands),
        cmocka_unit_test(test_tables_agree_with_the_goldens),
        cmocka_unit_test(test_factors_stand_for_the_rule),
        cmocka_unit_test(test_extremes_stay_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
