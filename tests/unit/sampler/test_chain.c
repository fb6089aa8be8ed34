// SPDX-License-Identifier: Apache-2.0
// Chains: order, text, errors that say what is legal, copies, masks, and logits that are no
// numbers.
#include <locale.h>

#include "stage.h"

static gr_sampler_chain *chain_new(void) {
    gr_sampler_chain *chain = NULL;
    assert_int_equal(gr_sampler_chain_create(&chain, NULL), GR_OK);
    return chain;
}

static gr_sampler_chain *chain_of(const char *text) {
    gr_sampler_chain *chain = chain_new();
    gr_error error;
    gr_error_init(&error);
    if (gr_sampler_chain_parse(chain, text, &error) != GR_OK)
        fail_msg("'%s': %s", text, error.message);
    return chain;
}

static const char *describe(const gr_sampler_chain *chain) {
    static char text[4096];
    assert_true(gr_sampler_chain_describe(chain, text, sizeof text) < sizeof text);
    return text;
}

static void test_every_kind_is_linked_and_documented(void **state) {
    (void)state;
    static const char *const names[] = {
        "greedy",    "temperature", "dynamic-temperature", "top-k", "top-p",
        "min-p",     "typical",     "top-n-sigma",         "xtc",   "dry",
        "penalties", "mirostat",    "logit-bias"};
    size_t count = 0;
    for (const gr_sampler_type *const *type = gr_sampler_types(); *type; type++, count++) {
        assert_int_equal((*type)->struct_size, sizeof **type);
        assert_true(strlen((*type)->help) > 10);
        for (const gr_sampler_param_spec *spec = (*type)->params; spec && spec->name; spec++) {
            assert_true(strlen(spec->help) > 2);
            if (!spec->is_text)
                assert_true(spec->minimum <= spec->initial && spec->initial <= spec->maximum);
        }
    }
    assert_int_equal(count, sizeof names / sizeof names[0]);
    for (size_t i = 0; i < count; i++) { // and each works without parameters
        gr_sampler_chain *chain = chain_of(names[i]);
        static const float logits[3] = {0, 20, -3};
        const gr_sampler_context context = {0};
        assert_int_equal(gr_sampler_chain_sample(chain, &context, logits, 3, NULL, NULL), 1);
        gr_sampler_chain_destroy(chain);
    }
}

static void test_text_makes_a_round_trip(void **state) {
    (void)state;
    static const struct {
        const char *text, *described;
    } cases[] = {
        {"", ""},
        {" ; ;", ""},
        {"greedy", "greedy"},
        {" greedy ( ) ;", "greedy"},
        {"penalties(repeat=1.1,last_n=64);top-k(40);top-p(0.95);temperature(0.7)",
         "penalties(repeat=1.1,last_n=64);top-k(k=40);top-p(p=0.95);temperature(value=0.7)"},
        {"min-p( p = 1e-7 )", "min-p(p=1e-07)"},
        {"temperature(0.30000000000000004)", "temperature(value=0.30000000000000004)"},
        {"temperature(\"0.5\")", "temperature(value=0.5)"},
        {"logit-bias(17:-inf 42:2.5)", "logit-bias(tokens=\"17:-inf 42:2.5\")"},
        {"dry(0.5, breakers=\"\\n\\\\\\\"\\t;),(=:\")",
         "dry(multiplier=0.5,breakers=\"\\n\\\\\\\"\\t;),(=:\")"},
        {"dry(breakers=\"\")", "dry(breakers=\"\")"},
        {"dry(breakers=\xc3\xa9)", "dry(breakers=\"\xc3\xa9\")"},
        {"xtc(0.5,threshold=0.2)\n;\tmirostat(5)",
         "xtc(probability=0.5,threshold=0.2);mirostat(tau=5,eta=0.1,mu=10)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_sampler_chain *chain = chain_of(cases[i].text);
        assert_string_equal(describe(chain), cases[i].described);
        gr_sampler_chain_destroy(chain);
        chain = chain_of(cases[i].described);
        assert_string_equal(describe(chain), cases[i].described);
        gr_sampler_chain_destroy(chain);
    }
}

static void test_describe_reports_what_it_needs(void **state) {
    (void)state;
    gr_sampler_chain *chain = chain_of("top-k(40);greedy");
    char small[8] = "xxxxxxx";
    assert_int_equal(gr_sampler_chain_describe(chain, NULL, 0), strlen("top-k(k=40);greedy"));
    assert_int_equal(gr_sampler_chain_describe(chain, small, sizeof small),
                     strlen("top-k(k=40);greedy"));
    assert_string_equal(small, "top-k(k");
    gr_sampler_chain_destroy(chain);
    gr_sampler_chain_destroy(NULL);
}

static void test_errors_say_what_is_legal(void **state) {
    (void)state;
    static const struct {
        const char *text;
        gr_status status;
        const char *says, *and_says;
    } cases[] = {
        {"top-q(3)", GR_ERROR_NOT_FOUND, "'top-q'", "top-p"},
        {"top-k(q=3)", GR_ERROR_NOT_FOUND, "'q'", "it has: k"},
        {"greedy(3)", GR_ERROR_INVALID_ARGUMENT, "greedy takes no parameter", "3"},
        {"greedy(k=3)", GR_ERROR_NOT_FOUND, "greedy has no parameter 'k'", "none"},
        {"top-p(1.5)", GR_ERROR_OUT_OF_RANGE, "from 0 to 1", "1.5"},
        {"top-p(nan)", GR_ERROR_OUT_OF_RANGE, "from 0 to 1", "nan"},
        {"temperature(-1)", GR_ERROR_OUT_OF_RANGE, "from 0 to 100", "-1"},
        {"temperature(warm)", GR_ERROR_INVALID_ARGUMENT, "must be a number", "warm"},
        {"temperature(0.7x)", GR_ERROR_INVALID_ARGUMENT, "must be a number", "0.7x"},
        {"temperature()x", GR_ERROR_INVALID_ARGUMENT, "expected ';'", "x"},
        {"temperature(1", GR_ERROR_INVALID_ARGUMENT, "',' or ')'", "at the end"},
        {"temperature(1,)", GR_ERROR_INVALID_ARGUMENT, "a value", "character 15"},
        {"temperature(1,2)", GR_ERROR_INVALID_ARGUMENT, "value is given twice", "temperature"},
        {"(1)", GR_ERROR_INVALID_ARGUMENT, "a name", "character 1"},
        {"top-k 40", GR_ERROR_INVALID_ARGUMENT, "expected ';'", "40"},
        {"dry(breakers=\"a", GR_ERROR_INVALID_ARGUMENT, "closing quote", "at the end"},
        {"dry(breakers=\"\\q\")", GR_ERROR_INVALID_ARGUMENT, "escapes", "q"},
        {"logit-bias(17)", GR_ERROR_INVALID_ARGUMENT, "token:bias", "'17'"},
        {"logit-bias(99999999999:1)", GR_ERROR_INVALID_ARGUMENT, "token:bias", "99999999999"},
        {"logit-bias(-4:1)", GR_ERROR_INVALID_ARGUMENT, "token:bias", "-4:1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_sampler_chain *chain = chain_of("top-k(40)");
        char text[200];
        gr_error error;
        gr_error_init(&error);
        snprintf(text, sizeof text, "min-p(0.1);%s", cases[i].text);
        if (strstr(cases[i].and_says, "character"))
            snprintf(text, sizeof text, "%s", cases[i].text);
        gr_status status = gr_sampler_chain_parse(chain, text, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].says) ||
            !strstr(error.message, cases[i].and_says))
            fail_msg("'%s': %d, %s", text, status, error.message);
        assert_string_equal(describe(chain), "top-k(k=40)"); // nothing half added
        gr_sampler_chain_destroy(chain);
    }
}

static void test_calls_are_checked_like_text(void **state) {
    (void)state;
    gr_sampler_chain *chain = chain_new();
    const gr_sampler_param twice[] = {NUMBER("k", 1), NUMBER("k", 2)};
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_sampler_chain_add(chain, "top-k", &TEXT("k", "many"), 1, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "must be a number"));
    assert_int_equal(gr_sampler_chain_add(chain, "logit-bias", &NUMBER("tokens", 3), 1, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_sampler_chain_add(chain, "top-k", twice, 2, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_sampler_chain_add(chain, "top-k", &NUMBER("k", -1), 1, NULL),
                     GR_ERROR_OUT_OF_RANGE);
    for (int i = 0; i < 32; i++)
        assert_int_equal(gr_sampler_chain_add(chain, "top-k", NULL, 0, &error), GR_OK);
    assert_int_equal(gr_sampler_chain_add(chain, "top-k", NULL, 0, &error), GR_ERROR_OUT_OF_RANGE);
    gr_sampler_chain_destroy(chain);
}

static uint32_t next_random(uint32_t *seed) { // xorshift32
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

// Whatever is typed: an error, or a chain whose text reads back as itself.
static void test_random_text(void **state) {
    (void)state;
    static const char *const parts[] = {
        "top-k", "dry", "logit-bias", "temperature", "(",        ")",      ",",    ";",
        "=",     "\"",  "\\",         "k",           "breakers", "tokens", "1",    "0.5",
        ":",     " ",   "\n",         "-inf",        "nan",      "\xff",   "1e999"};
    uint32_t seed = 12345, accepted = 0;
    for (int round = 0; round < 30000; round++) {
        char text[256] = "";
        for (uint32_t i = next_random(&seed) % 12; i > 0; i--)
            strcat(text, parts[next_random(&seed) % (sizeof parts / sizeof parts[0])]);
        gr_sampler_chain *chain = chain_new();
        if (gr_sampler_chain_parse(chain, text, NULL) == GR_OK) {
            char first[4096];
            snprintf(first, sizeof first, "%s", describe(chain));
            gr_sampler_chain *again = chain_of(first);
            assert_string_equal(describe(again), first);
            gr_sampler_chain_destroy(again);
            accepted += first[0] != '\0';
        }
        gr_sampler_chain_destroy(chain);
    }
    assert_true(accepted > 100);
}

static gr_token sample(gr_sampler_chain *chain, uint64_t position, const float *logits,
                       size_t vocab, const uint32_t *allowed) {
    const gr_sampler_context context = {.seed = 11, .position = position};
    return gr_sampler_chain_sample(chain, &context, logits, vocab, allowed, NULL);
}

// Top-k before the temperature and after it keeps the same tokens; top-p does not.
static void test_order_is_the_users(void **state) {
    (void)state;
    static const float logits[] = {0, -0.6931472f, -1.3862944f, -2.0794415f}; // 8:4:2:1
    const char *orders[] = {"top-p(0.6);temperature(100)", "temperature(100);top-p(0.6)"};
    uint32_t seen[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        gr_sampler_chain *chain = chain_of(orders[i]);
        for (uint64_t position = 0; position < 200; position++)
            seen[i] |= 1u << sample(chain, position, logits, 4, NULL);
        gr_sampler_chain_destroy(chain);
    }
    assert_int_equal(seen[0], 3); // 8/15 does not reach 0.6, 12/15 does
    assert_int_equal(seen[1], 7); // all alike: three quarters are needed
}

// A chain that begins with top-k looks at parts of the vocabulary alone; with a stage before it that changes nothing, at all of it.
static void test_parts_of_a_vocabulary_say_the_same(void **state) {
    (void)state;
    enum { VOCAB = 5000 };
    static float logits[VOCAB];
    static const float odd[] = {NAN, INFINITY, -INFINITY, 9, 9};
    static const char *const chains[][2] = {{"top-k(1)", "temperature(1);top-k(1)"},
                                            {"top-k(7)", "temperature(1);top-k(7)"},
                                            {"greedy", "temperature(1);greedy"},
                                            {"top-k(40);top-p(0.9)", "temperature(1);top-k(40);top-p(0.9)"}};
    uint32_t seed = 5;
    for (int round = 0; round < 60; round++) {
        const size_t vocab = VOCAB - next_random(&seed) % 70, few = round % 3 == 2 ? 4900 : 0; // or hardly any number
        for (size_t i = 0; i < vocab; i++)
            logits[i] = i < few ? -INFINITY : (float)(next_random(&seed) % 600) / 64 - 5; // many are equal
        for (int i = 0; i < round % 9; i++)
            logits[next_random(&seed) % vocab] = odd[next_random(&seed) % (round % 2 ? 5 : 1)];
        for (size_t c = 0; c < sizeof chains / sizeof chains[0]; c++) {
            gr_sampler_chain *parts = chain_of(chains[c][0]), *whole = chain_of(chains[c][1]);
            for (uint64_t position = 0; position < 20; position++)
                assert_int_equal(sample(parts, position, logits, vocab, NULL), sample(whole, position, logits, vocab, NULL));
            gr_sampler_chain_destroy(parts);
            gr_sampler_chain_destroy(whole);
        }
    }
}

static void test_masks_are_kept(void **state) {
    (void)state;
    float logits[70];
    uint32_t allowed[3] = {0, 1u << 4, 1u << 1}, nothing[3] = {0}; // tokens 36 and 65
    bool seen[70] = {false};
    for (int i = 0; i < 70; i++)
        logits[i] = i == 3 ? 50 : 0;
    gr_sampler_chain *chain = chain_of("top-k(10)");
    for (uint64_t position = 0; position < 200; position++)
        seen[sample(chain, position, logits, 70, allowed)] = true;
    for (int i = 0; i < 70; i++)
        assert_int_equal(seen[i], i == 36 || i == 65);
    assert_int_equal(sample(chain, 0, logits, 70, nothing), GR_TOKEN_NONE);
    assert_int_equal(sample(chain, 0, logits, 0, NULL), GR_TOKEN_NONE);
    gr_sampler_chain_destroy(chain);
}

static void test_logits_that_are_no_numbers(void **state) {
    (void)state;
    static const float mixed[] = {NAN, 1, -INFINITY, 1, NAN}, hopeless[] = {NAN, -INFINITY, NAN};
    static const float infinite[] = {3, INFINITY, NAN, INFINITY};
    const char *chains[] = {"",
                            "greedy",
                            "temperature(0.01)",
                            "top-p(0.9)",
                            "min-p(0.1)",
                            "typical(0.5)",
                            "top-n-sigma(1)",
                            "mirostat",
                            "dynamic-temperature",
                            "xtc(1,threshold=0.1)"};
    uint32_t late[1] = {1u << 2};
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
        gr_sampler_chain *chain = chain_of(chains[i]);
        for (uint64_t position = 0; position < 50; position++) {
            gr_token token = sample(chain, position, mixed, 5, NULL);
            assert_true(token == 1 || token == 3);
            token = sample(chain, position, infinite, 4, NULL);
            assert_true(token == 1 || token == 3);
        }
        assert_int_equal(sample(chain, 0, hopeless, 3, NULL), 0); // the lowest legal one
        assert_int_equal(sample(chain, 0, hopeless, 3, late), 2);
        gr_sampler_chain_destroy(chain);
    }
    gr_sampler_chain *chain = chain_of("greedy");
    const gr_sampler_context context = {0};
    double log_probability = 0;
    gr_sampler_chain_sample(chain, &context, hopeless, 3, NULL, &log_probability);
    assert_true(log_probability == -INFINITY);
    gr_sampler_chain_sample(chain, &context, infinite, 4, NULL, &log_probability);
    expect_near(log_probability, log(0.5), 1e-12);
    gr_sampler_chain_sample(chain, &context, mixed, 5, NULL, &log_probability);
    expect_near(log_probability, log(0.5), 1e-12);
    gr_sampler_chain_destroy(chain);
}

// A copy goes on as the original would have; neither hears of the other.
static void test_clones_are_independent(void **state) {
    (void)state;
    enum { VOCAB = 300 };
    float logits[VOCAB];
    gr_token expected[60];
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -0.7f * logf(1.0f + (float)i);
    gr_sampler_chain *alone = chain_of("temperature(1.2);mirostat(3,eta=0.5)");
    gr_sampler_chain *original = chain_of("temperature(1.2);mirostat(3,eta=0.5)"), *copy = NULL;
    for (uint64_t p = 0; p < 60; p++)
        expected[p] = sample(alone, p, logits, VOCAB, NULL);
    for (uint64_t p = 0; p < 30; p++)
        assert_int_equal(sample(original, p, logits, VOCAB, NULL), expected[p]);
    assert_int_equal(gr_sampler_chain_clone(original, &copy, NULL), GR_OK);
    for (uint64_t p = 0; p < 25; p++)
        sample(original, 1000 + p, logits, VOCAB, NULL); // elsewhere
    gr_sampler_chain_destroy(original);
    for (uint64_t p = 30; p < 60; p++)
        assert_int_equal(sample(copy, p, logits, VOCAB, NULL), expected[p]);
    gr_sampler_chain_destroy(copy);
    gr_sampler_chain_destroy(alone);
}

// A chain written down in the middle and read again goes on as it would have.
static void test_text_holds_what_was_learnt(void **state) {
    (void)state;
    enum { VOCAB = 300 };
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -0.7f * logf(1.0f + (float)i);
    gr_sampler_chain *alone = chain_of("temperature(1.2);mirostat(3,eta=0.5)");
    gr_sampler_chain *fresh = chain_of("temperature(1.2);mirostat(3,eta=0.5)");
    for (uint64_t p = 0; p < 30; p++)
        sample(alone, p, logits, VOCAB, NULL);
    gr_sampler_chain *read = chain_of(describe(alone));
    uint32_t parted = 0;
    for (uint64_t p = 30; p < 90; p++) {
        gr_token expected = sample(alone, p, logits, VOCAB, NULL);
        assert_int_equal(sample(read, p, logits, VOCAB, NULL), expected);
        parted += sample(fresh, p, logits, VOCAB, NULL) != expected;
    }
    assert_true(parted > 0); // or the state made no difference
    gr_sampler_chain_destroy(alone);
    gr_sampler_chain_destroy(fresh);
    gr_sampler_chain_destroy(read);
}

static void test_numbers_ignore_the_locale(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    bool set = false;
    for (size_t i = 0; i < 4 && !set; i++)
        set = setlocale(LC_ALL, names[i]) != NULL;
    if (!set)
        skip(); // no such locale here
    gr_sampler_chain *chain = chain_of("top-p(0.95)");
    assert_string_equal(describe(chain), "top-p(p=0.95)");
    gr_sampler_chain_destroy(chain);
    setlocale(LC_ALL, "C");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_linked_and_documented),
        cmocka_unit_test(test_text_makes_a_round_trip),
        cmocka_unit_test(test_describe_reports_what_it_needs),
        cmocka_unit_test(test_errors_say_what_is_legal),
        cmocka_unit_test(test_calls_are_checked_like_text),
        cmocka_unit_test(test_random_text),
        cmocka_unit_test(test_order_is_the_users),
        cmocka_unit_test(test_parts_of_a_vocabulary_say_the_same),
        cmocka_unit_test(test_masks_are_kept),
        cmocka_unit_test(test_logits_that_are_no_numbers),
        cmocka_unit_test(test_clones_are_independent),
        cmocka_unit_test(test_text_holds_what_was_learnt),
        cmocka_unit_test(test_numbers_ignore_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
