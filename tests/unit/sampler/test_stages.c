// SPDX-License-Identifier: Apache-2.0
// Each stage against arithmetic done by hand.
#include "stage.h"

static const double quarters[4] = {0.5, 0.25, 0.125, 0.125};

static void test_greedy_takes_the_first_of_equals(void **state) {
    (void)state;
    stage_test t;
    stage_make(&t, "greedy", NULL, 0);
    stage_apply(&t, (const float[]){1, 3, 2, 3}, 4);
    assert_int_equal(t.left.selected, 1);
    stage_expect(&t, 1 << 1);
}

static void test_temperature_divides(void **state) {
    (void)state;
    stage_test t;
    stage_make(&t, "temperature", &NUMBER("value", 0.5), 1);
    stage_apply(&t, (const float[]){1, -3, 0}, 3);
    expect_near(stage_find(&t, 0)->logit, 2, 0);
    expect_near(stage_find(&t, 1)->logit, -6, 0);
    stage_make(&t, "temperature", &NUMBER("value", 0), 1);
    stage_apply(&t, (const float[]){0, -3, 0}, 3);
    stage_expect(&t, 1 << 0);
    // So cold that the quotients overflow: the best is still the best.
    stage_make(&t, "temperature", &NUMBER("value", 1e-300), 1);
    stage_apply(&t, (const float[]){19, 20, -3}, 3);
    stage_expect(&t, 1 << 1);
    stage_apply(&t, (const float[]){-20, -19, -30}, 3);
    stage_expect(&t, 1 << 1);
    // Cold enough to be greedy: ties go to the lower id, no draw decides between near ones.
    stage_make(&t, "temperature", &NUMBER("value", 1e-6), 1);
    stage_apply(&t, (const float[]){19, 20, 20, 19.999998f}, 4);
    stage_expect(&t, 1 << 1);
}

// Entropy of {0.9, 0.1} is 0.325083 nats, 0.468996 of log 2; so the temperature is 0.5 + 0.468996.
static void test_dynamic_temperature_follows_entropy(void **state) {
    (void)state;
    stage_test t;
    const gr_sampler_param params[] = {NUMBER("low", 0.5), NUMBER("high", 1.5)};
    stage_make(&t, "dynamic-temperature", params, 2);
    stage_apply_probabilities(&t, (const double[]){0.9, 0.1}, 2);
    expect_near(stage_find(&t, 1)->logit, log(0.1) / 0.968996, 1e-5);
    stage_apply_probabilities(&t, (const double[]){0.25, 0.25, 0.25, 0.25}, 4);
    expect_near(stage_find(&t, 2)->logit, log(0.25) / 1.5, 1e-6);
    const gr_sampler_param curved[] = {NUMBER("low", 0.5), NUMBER("high", 1.5),
                                       NUMBER("exponent", 2)};
    stage_make(&t, "dynamic-temperature", curved, 3);
    stage_apply_probabilities(&t, (const double[]){0.9, 0.1}, 2);
    expect_near(stage_find(&t, 1)->logit, log(0.1) / (0.5 + 0.468996 * 0.468996), 1e-5);
    stage_apply(&t, (const float[]){3}, 1);
    expect_near(stage_find(&t, 0)->logit, 3, 0);
}

static void test_top_k(void **state) {
    (void)state;
    stage_test t;
    stage_make(&t, "top-k", &NUMBER("k", 3), 1);
    stage_apply(&t, (const float[]){1, 5, 3, 5, 3, 0}, 6);
    stage_expect(&t, 1 << 1 | 1 << 3 | 1 << 2); // of the two threes the lower token
    assert_int_equal(t.left.data[0].token, 1);
    assert_int_equal(t.left.data[1].token, 3);
    assert_true(t.left.sorted);
    stage_make(&t, "top-k", &NUMBER("k", 0), 1);
    stage_apply(&t, (const float[]){1, 5, 3}, 3);
    stage_expect(&t, 7);
}

static void test_top_p(void **state) {
    (void)state;
    stage_test t;
    static const struct {
        double p;
        uint64_t left;
    } cases[] = {{0, 1}, {0.49, 1}, {0.51, 3}, {0.74, 3}, {0.76, 7}, {0.9, 15}, {1, 15}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stage_make(&t, "top-p", &NUMBER("p", cases[i].p), 1);
        stage_apply_probabilities(&t, quarters, 4);
        stage_expect(&t, cases[i].left);
    }
}

static void test_min_p(void **state) {
    (void)state;
    stage_test t;
    stage_make(&t, "min-p", &NUMBER("p", 0.3), 1);
    stage_apply_probabilities(&t, quarters, 4);
    stage_expect(&t, 3);
    stage_make(&t, "min-p", &NUMBER("p", 0.2), 1);
    stage_apply_probabilities(&t, quarters, 4);
    stage_expect(&t, 15);
    stage_make(&t, "min-p", &NUMBER("p", 1), 1);
    stage_apply_probabilities(&t, quarters, 4);
    stage_expect(&t, 1);
    stage_make(&t, "min-p", &NUMBER("p", 0), 1);
    stage_apply(&t, (const float[]){1, -1000}, 2);
    stage_expect(&t, 3);
}

// Entropy 1.0889 nats; surprises 0.5108, 1.6094, 2.3026, 2.3026: the second token is the nearest.
static void test_typical_prefers_the_expected_surprise(void **state) {
    (void)state;
    static const double probabilities[] = {0.6, 0.2, 0.1, 0.1};
    stage_test t;
    stage_make(&t, "typical", &NUMBER("p", 0.15), 1);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 1 << 1);
    stage_make(&t, "typical", &NUMBER("p", 0.5), 1);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 3);
    stage_make(&t, "typical", &NUMBER("p", 0.85), 1);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 7);
    stage_make(&t, "typical", &NUMBER("p", 1), 1);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 15);
}

// Mean 0, variance (16+9+0+9+16)/5 = 10.
static void test_top_n_sigma(void **state) {
    (void)state;
    static const float logits[] = {4, 3, 0, -3, -4};
    stage_test t;
    stage_make(&t, "top-n-sigma", &NUMBER("n", 1), 1);
    stage_apply(&t, logits, 5);
    stage_expect(&t, 3);
    stage_make(&t, "top-n-sigma", &NUMBER("n", 1.3), 1);
    stage_apply(&t, logits, 5);
    stage_expect(&t, 7);
    stage_make(&t, "top-n-sigma", &NUMBER("n", 0), 1);
    stage_apply(&t, logits, 5);
    stage_expect(&t, 1);
    stage_make(&t, "top-n-sigma", &NUMBER("n", 100), 1);
    stage_apply(&t, (const float[]){4, -INFINITY, 3}, 3); // as a harsh penalty leaves it
    stage_expect(&t, 5);
}

static void test_xtc_drops_all_but_the_last_top_choice(void **state) {
    (void)state;
    static const double probabilities[] = {0.1, 0.4, 0.2, 0.3};
    stage_test t;
    const gr_sampler_param always[] = {NUMBER("probability", 1), NUMBER("threshold", 0.15)};
    const gr_sampler_param lone[] = {NUMBER("probability", 1), NUMBER("threshold", 0.35)};
    const gr_sampler_param never[] = {NUMBER("probability", 0), NUMBER("threshold", 0.15)};
    const gr_sampler_param often[] = {NUMBER("probability", 0.3), NUMBER("threshold", 0.15)};
    stage_make(&t, "xtc", always, 2);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 1 << 2 | 1 << 0);
    stage_make(&t, "xtc", lone, 2);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 15);
    stage_make(&t, "xtc", never, 2);
    stage_apply_probabilities(&t, probabilities, 4);
    stage_expect(&t, 15);
    stage_make(&t, "xtc", often, 2);
    int dropped = 0;
    for (t.context.position = 0; t.context.position < 4000; t.context.position++) {
        stage_apply_probabilities(&t, probabilities, 4);
        dropped += t.left.count == 2;
    }
    expect_near(dropped / 4000.0, 0.3, 0.03); // four standard deviations
}

static void test_penalties_by_hand(void **state) {
    (void)state;
    static const gr_token history[] = {3, 1, 1, 2};
    static const float logits[] = {1, 2, -1, 1};
    const gr_sampler_param params[] = {NUMBER("repeat", 2), NUMBER("frequency", 0.5),
                                       NUMBER("presence", 0.25), NUMBER("last_n", 3)};
    stage_test t;
    stage_make(&t, "penalties", params, 4);
    t.context.history = history;
    t.context.history_count = 4;
    stage_apply(&t, logits, 4);
    expect_near(stage_find(&t, 0)->logit, 1, 0);
    expect_near(stage_find(&t, 1)->logit, 2.0 / 2 - (2 * 0.5 + 0.25), 1e-6);
    expect_near(stage_find(&t, 2)->logit, -1.0 * 2 - (0.5 + 0.25), 1e-6);
    expect_near(stage_find(&t, 3)->logit, 1, 0); // beyond last_n
    stage_make(&t, "penalties", params, 3);      // last_n is 64: token 3 counts
    t.context.history = history;
    t.context.history_count = 4;
    stage_apply(&t, logits, 4);
    expect_near(stage_find(&t, 3)->logit, 1.0 / 2 - 0.75, 1e-6);
    stage_make(&t, "penalties", NULL, 0);
    t.context.history = history;
    t.context.history_count = 4;
    stage_apply(&t, logits, 4);
    expect_near(stage_find(&t, 1)->logit, 2, 0);
}

// A tokenizer whose tokens 2 and 6 are a line break and "a: "; the rest are letters.
static size_t piece(const gr_tokenizer *tokenizer, gr_token token, bool render_control,
                    char *out_bytes, size_t capacity) {
    const char *text = token == 2 ? "\n" : token == 6 ? "a: " : "x";
    (void)tokenizer;
    (void)render_control;
    memcpy(out_bytes, text, strlen(text) < capacity ? strlen(text) : capacity);
    return strlen(text);
}

static double dry_penalty(const gr_sampler_param *params, size_t count,
                          const gr_tokenizer *tokenizer, const gr_token *history,
                          size_t history_count, gr_token token) {
    static const float logits[8] = {0};
    stage_test t;
    stage_make(&t, "dry", params, count);
    t.context.history = history;
    t.context.history_count = history_count;
    t.context.tokenizer = tokenizer;
    stage_apply(&t, logits, 8);
    return -stage_find(&t, token)->logit;
}

static void test_dry_by_hand(void **state) {
    (void)state;
    static const gr_token history[] = {1, 2, 3, 4, 1, 2, 3}; // "1 2 3" was followed by 4
    const gr_sampler_param strong[] = {NUMBER("multiplier", 2), NUMBER("base", 3)};
    const gr_sampler_param patient[] = {NUMBER("allowed_length", 4)},
                           exact[] = {NUMBER("allowed_length", 3)};
    const gr_sampler_param recent[] = {NUMBER("last_n", 3)};
    expect_near(dry_penalty(NULL, 0, NULL, history, 7, 4), 0.8 * 1.75, 1e-6);
    expect_near(dry_penalty(strong, 2, NULL, history, 7, 4), 2 * 3, 1e-6);
    expect_near(dry_penalty(exact, 1, NULL, history, 7, 4), 0.8, 1e-6);
    expect_near(dry_penalty(patient, 1, NULL, history, 7, 4), 0, 0);
    expect_near(dry_penalty(recent, 1, NULL, history, 7, 4), 0, 0);
    expect_near(dry_penalty(NULL, 0, NULL, history, 7, 2), 0, 0);
    expect_near(dry_penalty(NULL, 0, NULL, NULL, 0, 4), 0, 0);
    // The longest of several runs counts.
    static const gr_token twice[] = {2, 3, 5, 1, 2, 3, 5, 0, 1, 2, 3};
    expect_near(dry_penalty(NULL, 0, NULL, twice, 11, 5), 0.8 * 1.75, 1e-6);
    // Forty tokens of one kind: a run of 39, whose penalty is still finite.
    gr_token same[40];
    for (int i = 0; i < 40; i++)
        same[i] = 7;
    expect_near(dry_penalty(NULL, 0, NULL, same, 40, 7) / (0.8 * pow(1.75, 37)), 1, 1e-6);
}

static void test_dry_stops_at_breakers(void **state) {
    (void)state;
    static const gr_token history[] = {1, 2, 3, 4, 1, 2, 3}, ends[] = {1, 4, 3, 6, 1, 4, 3};
    const gr_tokenizer tokenizer = {.vocab = {.size = 8}, .piece = piece};
    const gr_sampler_param none[] = {TEXT("breakers", "")},
                           other[] = {TEXT("breakers", "\xc3\xa9!")};
    const gr_sampler_param letter[] = {TEXT("breakers", "x")};
    expect_near(dry_penalty(NULL, 0, &tokenizer, history, 7, 4), 0,
                0); // one token after the line break
    expect_near(dry_penalty(none, 1, &tokenizer, history, 7, 4), 0.8 * 1.75, 1e-6);
    expect_near(dry_penalty(other, 1, &tokenizer, history, 7, 4), 0.8 * 1.75, 1e-6);
    expect_near(dry_penalty(letter, 1, &tokenizer, history, 7, 4), 0, 0);
    expect_near(dry_penalty(NULL, 0, &tokenizer, ends, 7, 6), 0,
                0); // the repeat would end with ": "
    expect_near(dry_penalty(none, 1, &tokenizer, ends, 7, 6), 0.8 * 1.75, 1e-6);
}

// tau 1.05, so the bound is 2.1 bits: surprises 1 and 2 stay. With eta 1 the bound falls to 2.1 -
// (1.585 - 1.05) = 1.565 behind token 1 (1/3 of what is left), which leaves token 0 alone; behind
// token 0 it rises.
static void test_mirostat_learns(void **state) {
    (void)state;
    const gr_sampler_param params[] = {NUMBER("tau", 1.05), NUMBER("eta", 1)};
    bool seen[2] = {false, false};
    for (uint64_t position = 0; position < 40; position++) {
        stage_test t;
        stage_make(&t, "mirostat", params, 2);
        t.context.position = position;
        stage_apply_probabilities(&t, quarters, 4);
        stage_expect(&t, 3);
        gr_token token = t.left.selected;
        assert_true(token == 0 || token == 1);
        expect_near(stage_find(&t, token)->probability, token ? 1.0 / 3 : 2.0 / 3, 1e-6);
        seen[token] = true;
        t.type->accept(t.state, &t.context, &t.left, token);
        stage_apply_probabilities(&t, quarters, 4);
        stage_expect(&t, token ? 1 : 3);
    }
    assert_true(seen[0] && seen[1]);
}

static void test_logit_bias(void **state) {
    (void)state;
    stage_test t;
    stage_make(&t, "logit-bias", &TEXT("tokens", "1:-inf 3:2.5  3:0.5 900:1"), 1);
    stage_apply(&t, (const float[]){0, 9, 1, 1}, 4);
    stage_expect(&t, 1 | 4 | 8);
    expect_near(stage_find(&t, 3)->logit, 4, 1e-6);
    expect_near(stage_find(&t, 2)->logit, 1, 0);
    stage_end(&t);
    stage_make(&t, "logit-bias", &TEXT("tokens", "0:-inf 1:-inf"), 1);
    stage_apply(&t, (const float[]){2, 3}, 2); // all forbidden: the best must do
    stage_expect(&t, 2);
    stage_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_takes_the_first_of_equals),
        cmocka_unit_test(test_temperature_divides),
        cmocka_unit_test(test_dynamic_temperature_follows_entropy),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_typical_prefers_the_expected_surprise),
        cmocka_unit_test(test_top_n_sigma),
        cmocka_unit_test(test_xtc_drops_all_but_the_last_top_choice),
        cmocka_unit_test(test_penalties_by_hand),
        cmocka_unit_test(test_dry_by_hand),
        cmocka_unit_test(test_dry_stops_at_breakers),
        cmocka_unit_test(test_mirostat_learns),
        cmocka_unit_test(test_logit_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
