// SPDX-License-Identifier: Apache-2.0
// Random numbers and what is drawn with them.
#include "stage.h"

// Known answers of Random123 1.14 (kat_vectors), philox4x32 with 10 rounds.
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        uint32_t out[4];
        gr_philox(answers[i].counter, answers[i].key, out);
        assert_memory_equal(out, answers[i].out, sizeof out);
    }
}

static void test_uniform_is_keyed(void **state) {
    (void)state;
    double u = gr_random_uniform(1, 2, 3);
    assert_true(u == gr_random_uniform(1, 2, 3));
    assert_true(u != gr_random_uniform(2, 2, 3));
    assert_true(u != gr_random_uniform(UINT64_C(1) << 32 | 1, 2, 3));
    assert_true(u != gr_random_uniform(1, 3, 3));
    assert_true(u != gr_random_uniform(1, UINT64_C(1) << 32 | 2, 3));
    assert_true(u != gr_random_uniform(1, 2, 4));
}

// Chi-square statistic of `counts` against `shares`.
static double chi_square(const unsigned *counts, const double *shares, size_t bins,
                         unsigned draws) {
    double sum = 0;
    for (size_t i = 0; i < bins; i++)
        sum +=
            (counts[i] - shares[i] * draws) * (counts[i] - shares[i] * draws) / (shares[i] * draws);
    return sum;
}

static void test_uniform_fills_the_interval(void **state) {
    (void)state;
    unsigned counts[64] = {0};
    double shares[64];
    for (uint64_t i = 0; i < 64000; i++) {
        double u = gr_random_uniform(99, i, 0);
        assert_true(u >= 0 && u < 1);
        counts[(int)(u * 64)]++;
    }
    for (int i = 0; i < 64; i++)
        shares[i] = 1.0 / 64;
    assert_true(chi_square(counts, shares, 64, 64000) < 103.4); // 63 degrees of freedom, p = 0.001
}

static gr_sampler_chain *chain_of(const char *text) {
    gr_sampler_chain *chain;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_sampler_chain_create(&chain, &error), GR_OK);
    if (gr_sampler_chain_parse(chain, text, &error) != GR_OK)
        fail_msg("%s", error.message);
    return chain;
}

// Draws with `text` must follow `shares`, the log-probabilities those of the logits.
static void expect_shares(const char *text, const float *logits, const double *shares, size_t count,
                          double limit) {
    enum { DRAWS = 20000 };
    unsigned counts[STAGE_MAX] = {0};
    double sum = 0;
    gr_sampler_chain *chain = chain_of(text);
    for (size_t i = 0; i < count; i++)
        sum += exp(logits[i]);
    for (uint64_t position = 0; position < DRAWS; position++) {
        const gr_sampler_context context = {.seed = 7, .position = position};
        double log_probability;
        gr_token token =
            gr_sampler_chain_sample(chain, &context, logits, count, NULL, &log_probability);
        assert_in_range(token, 0, count - 1);
        assert_true(shares[token] > 0);
        expect_near(log_probability, logits[token] - log(sum), 1e-9);
        counts[token]++;
    }
    unsigned kept = 0;
    double kept_shares[STAGE_MAX];
    for (size_t i = 0; i < count; i++)
        if (shares[i] > 0) {
            counts[kept] = counts[i];
            kept_shares[kept++] = shares[i];
        }
    double statistic = chi_square(counts, kept_shares, kept, DRAWS);
    if (statistic > limit)
        fail_msg("%s: chi-square is %g", text, statistic);
    gr_sampler_chain_destroy(chain);
}

static void test_draws_follow_the_distribution(void **state) {
    (void)state;
    static const float logits[8] = {0.5f, -1, 2, 0, 1.5f, -2, 1, 0.25f};
    double sum = 0, squared = 0, top = 0, shares[8], sharp[8], best[8];
    for (int i = 0; i < 8; i++) {
        sum += exp(logits[i]);
        squared += exp(2 * logits[i]);
    }
    for (int i = 0; i < 8; i++) {
        shares[i] = exp(logits[i]) / sum;
        sharp[i] = exp(2 * logits[i]) / squared;
        best[i] = i == 2 || i == 4 || i == 6 ? exp(logits[i]) : 0;
        top += best[i];
    }
    for (int i = 0; i < 8; i++)
        best[i] /= top;
    expect_shares("", logits, shares, 8, 24.3); // 7 degrees of freedom, p = 0.001
    expect_shares("temperature(0.5)", logits, sharp, 8, 24.3);
    expect_shares("top-k(3)", logits, best, 8, 13.8); // 2
}

static uint32_t next_random(uint32_t *seed) { // xorshift32
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static gr_candidate *random_candidates(size_t count, double spread, uint32_t seed) {
    gr_candidate *data = malloc(count * sizeof *data);
    for (size_t i = 0; i < count; i++) // few distinct values, so that there are ties
        data[i] = (gr_candidate){.token = (gr_token)i,
                                 .logit = (float)(next_random(&seed) % 1000 / 1000.0 * spread)};
    return data;
}

// Drawing sorts no more than it needs; the result is that of sorting everything.
static void test_lazy_draw_equals_full_sort(void **state) {
    (void)state;
    for (uint32_t round = 1; round < 40; round++) {
        size_t count = 1 + round * round * 13;
        gr_candidate *data = random_candidates(count, round % 2 ? 20 : 2, round * 977);
        gr_candidate *full = random_candidates(count, round % 2 ? 20 : 2, round * 977);
        gr_candidates lazy = {.data = data, .count = count},
                      sorted = {.data = full, .count = count};
        double u = gr_random_uniform(round, 0, 0), running = 0, total = 0;
        size_t expected = 0;
        gr_candidates_sort(&sorted);
        for (size_t i = 0; i < count; i++)
            total += exp((double)full[i].logit - full[0].logit);
        while (expected < count &&
               (running += exp((double)full[expected].logit - full[0].logit)) <= u * total)
            expected++;
        assert_int_equal(gr_candidates_draw(&lazy, u), full[expected].token);
        free(data);
        free(full);
    }
}

static void test_top_k_equals_full_sort(void **state) {
    (void)state;
    for (uint32_t round = 1; round < 30; round++) {
        size_t count = 1 + round * 331, k = 1 + round * round % 400;
        gr_candidate *data = random_candidates(count, 5, round),
                     *full = random_candidates(count, 5, round);
        gr_candidates some = {.data = data, .count = count}, all = {.data = full, .count = count};
        gr_candidates_keep(&some, k);
        gr_candidates_sort(&some);
        gr_candidates_sort(&all);
        assert_int_equal(some.count, k < count ? k : count);
        for (size_t i = 0; i < some.count; i++)
            assert_int_equal(some.data[i].token, all.data[i].token);
        free(data);
        free(full);
    }
}

// Enough candidates for the radix sort, in no order, with ties, both zeros and both infinities.
static void test_sort_orders_anything(void **state) {
    (void)state;
    static const float special[] = {0.0f,   -0.0f,   INFINITY, -INFINITY,
                                    1e-45f, -1e-45f, 3e38f,    -3e38f};
    for (uint32_t round = 1; round < 12; round++) {
        size_t count = 900 * round;
        uint32_t seed = round * 7919;
        gr_candidate *data = random_candidates(count, 3, seed);
        gr_candidates c = {.data = data, .count = count};
        bool *seen = calloc(count, sizeof *seen);
        for (size_t i = 0; i < count; i++) {
            size_t other = next_random(&seed) % count;
            gr_candidate t = data[i];
            t.logit = next_random(&seed) % 3 ? t.logit - 1.5f : special[next_random(&seed) % 8];
            data[i] = data[other];
            data[other] = t;
        }
        gr_candidates_sort(&c);
        for (size_t i = 0; i < count; i++) {
            seen[data[i].token] = true;
            assert_true(i == 0 || data[i - 1].logit > data[i].logit ||
                        (data[i - 1].logit == data[i].logit && data[i - 1].token < data[i].token));
        }
        for (size_t i = 0; i < count; i++)
            assert_true(seen[i]);
        free(seen);
        free(data);
    }
}

static void test_softmax_adds_up(void **state) {
    (void)state;
    gr_candidate data[4] = {{0, 1000, 0}, {1, 999, 0}, {2, -INFINITY, 0}, {3, 1000, 0}};
    gr_candidates c = {.data = data, .count = 4};
    gr_candidates_softmax(&c);
    double rest = exp(-1.0);
    assert_int_equal(data[1].token, 3);
    expect_near(data[0].probability, 1 / (2 + rest), 1e-7);
    expect_near(data[2].probability, rest / (2 + rest), 1e-7);
    expect_near(data[3].probability, 0, 0);
    gr_candidate infinite[3] = {{0, 1, 0}, {1, INFINITY, 0}, {2, INFINITY, 0}};
    c = (gr_candidates){.data = infinite, .count = 3};
    gr_candidates_softmax(&c);
    expect_near(infinite[1].probability, 0.5, 0);
    expect_near(infinite[2].probability, 0, 0);
    gr_candidate hopeless[2] = {{0, -INFINITY, 0}, {1, -INFINITY, 0}};
    c = (gr_candidates){.data = hopeless, .count = 2};
    gr_candidates_softmax(&c);
    expect_near(hopeless[0].probability, 0.5, 0);
    assert_int_equal(gr_candidates_draw(&c, 0.75), 1);
}

// On a Zipf-like distribution mirostat holds the mean surprise of what it draws near its target.
static void test_mirostat_holds_its_target(void **state) {
    (void)state;
    enum { VOCAB = 2000, STEPS = 3000 };
    const gr_sampler_param params[] = {NUMBER("tau", 4), NUMBER("eta", 0.1)};
    gr_candidate *data = malloc(VOCAB * sizeof *data);
    double surprise = 0;
    stage_test t;
    stage_make(&t, "mirostat", params, 2);
    for (t.context.position = 0; t.context.position < STEPS; t.context.position++) {
        for (int i = 0; i < VOCAB; i++)
            data[i] = (gr_candidate){.token = i, .logit = -0.6f * logf(1.0f + (float)i)};
        t.left = (gr_candidates){.data = data, .count = VOCAB, .selected = GR_TOKEN_NONE};
        t.type->apply(t.state, &t.context, &t.left);
        surprise -= log2(stage_find(&t, t.left.selected)->probability);
        t.type->accept(t.state, &t.context, &t.left, t.left.selected);
    }
    expect_near(surprise / STEPS, 4, 0.1);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_uniform_is_keyed),
        cmocka_unit_test(test_uniform_fills_the_interval),
        cmocka_unit_test(test_draws_follow_the_distribution),
        cmocka_unit_test(test_lazy_draw_equals_full_sort),
        cmocka_unit_test(test_top_k_equals_full_sort),
        cmocka_unit_test(test_sort_orders_anything),
        cmocka_unit_test(test_softmax_adds_up),
        cmocka_unit_test(test_mirostat_holds_its_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
