// SPDX-License-Identifier: Apache-2.0
// How an answer is steered: guesses that change nothing, strings that never come, healed prompts, guidance.
#include <math.h>

#include "fixture.h"
#include "gregale/linked/sampler.h"

static const char verse[] = "In the beginning God created the heaven and the earth. In the beginning God created the";

static gr_session *begin_text(gr_model *model, const char *text) {
    gr_session *session = NULL;
    OK(gr_session_create(model, NULL, &session, error));
    OK(gr_session_append_text(session, text, strlen(text), error));
    return session;
}

static gr_request *answer(gr_session *session, gr_generate_options options) {
    gr_request *request = NULL;
    options.struct_size = sizeof options;
    options.seed = options.seed ? options.seed : 11;
    OK(gr_session_generate(session, &options, NULL, NULL, &request, error));
    return request;
}

// The same text, tokens and log-probabilities with and without guesses; and the session is left the same.
static void guesses_change_nothing(gr_model *model, const char *prompt, gr_generate_options options, gr_session *draft,
                                   uint32_t *out_right) {
    gr_session *plain = begin_text(model, prompt), *guessing = begin_text(model, prompt);
    gr_request *a = answer(plain, options);
    options.guesses = 7;
    options.draft = draft;
    gr_request *b = answer(guessing, options);
    gr_request_info one = info_of(a), other = info_of(b);
    assert_string_equal(one.text, other.text);
    assert_int_equal(one.stop_reason, other.stop_reason);
    assert_int_equal(one.generated_tokens, other.generated_tokens);
    assert_memory_equal(one.tokens, other.tokens, one.generated_tokens * sizeof *one.tokens);
    assert_memory_equal(one.log_probabilities, other.log_probabilities, one.generated_tokens * sizeof(double));
    size_t left, right;
    const int32_t *x = gr_session_tokens(plain, &left), *y = gr_session_tokens(guessing, &right);
    assert_int_equal(left, right);
    assert_memory_equal(x, y, left * sizeof *x);
    assert_memory_equal(logits_of(plain), logits_of(guessing), vocab_of(model) * sizeof(float));
    *out_right += other.guessed_right;
    gr_request_release(a);
    gr_request_release(b);
    gr_session_release(plain);
    gr_session_release(guessing);
}

static void guesses_from_the_text(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    static const char *const stops[] = {"earth", NULL};
    uint32_t right = 0;
    for (uint64_t seed = 1; seed <= sampled(6); seed++) {
        guesses_change_nothing(model, verse, (gr_generate_options){.max_tokens = 40, .seed = seed, .sampler = "greedy"}, NULL, &right);
        guesses_change_nothing(model, verse, (gr_generate_options){.max_tokens = 40, .seed = seed}, NULL, &right);
        guesses_change_nothing(model, verse,
                               (gr_generate_options){.max_tokens = 60, .seed = seed, .stop = stops,
                                                     .sampler = "penalties(repeat=1.2);temperature(0.6)"},
                               NULL, &right);
    }
    assert_true(right > 3 * sampled(6)); // it was tried, too
    gr_model_release(model);
}

static void guesses_of_another_model(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    const gr_model_options options = {.struct_size = sizeof options, .device = test_device(), .kv_dtype = GR_DTYPE_F32, .has_kv_dtype = 1};
    gr_model *other = load(model->engine, BREEZE, &options);
    gr_session *draft = begin_text(other, "something else altogether");
    uint32_t right = 0;
    guesses_change_nothing(model, verse, (gr_generate_options){.max_tokens = 30, .sampler = "greedy"}, draft, &right);
    assert_true(right >= 20); // the same weights: nearly all
    guesses_change_nothing(model, verse, (gr_generate_options){.max_tokens = 30, .seed = 3}, draft, &right);
    gr_session_release(draft);
    gr_model_release(other);
    gr_model_release(model);
}

static void guesses_end_at_limits(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    uint32_t right = 0;
    for (uint32_t most = 1; most < 12; most++)
        guesses_change_nothing(model, verse, (gr_generate_options){.max_tokens = most, .sampler = "greedy"}, NULL, &right);
    gr_session *session = NULL;
    gr_session_options small = {.struct_size = sizeof small, .context = 48};
    OK(gr_session_create(model, &small, &session, error));
    OK(gr_session_append_text(session, verse, strlen(verse), error));
    gr_request *request = answer(session, (gr_generate_options){.guesses = 7, .sampler = "greedy", .ignore_end = 1});
    assert_int_equal(info_of(request).stop_reason, GR_STOP_CONTEXT);
    size_t count;
    gr_session_tokens(session, &count);
    assert_int_equal(count, 48);
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
}

// A stop token, in the middle of a step's guesses too, leaves logits behind the last token, and pages that others may
// be appended to.
static void guesses_end_at_stop_tokens(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    const gr_generate_options greedy = {.max_tokens = 24, .sampler = "greedy", .ignore_end = 1, .raw = 1};
    gr_session *session = begin_text(model, verse);
    gr_request *whole = answer(session, greedy);
    gr_request_info info = info_of(whole);
    uint32_t right = 0;
    const uint32_t every = info.generated_tokens / sampled(info.generated_tokens);
    for (uint32_t i = 0; i < info.generated_tokens; i += every) {
        gr_generate_options options = greedy;
        options.stop_tokens = &info.tokens[i];
        options.stop_token_count = 1;
        guesses_change_nothing(model, verse, options, NULL, &right);
        gr_session *guessing = begin_text(model, verse);
        options.guesses = 7;
        gr_request_release(answer(guessing, options));
        OK(gr_session_append_tokens(guessing, info.tokens, (i + 5) % 8, error));
        gr_generate_options next = greedy;
        next.max_tokens = 1;
        gr_request_release(answer(guessing, next));
        same_as_fresh(guessing);
        gr_session_release(guessing);
    }
    gr_request_release(whole);
    gr_session_release(session);
    gr_model_release(model);
}

// In the middle of an answer nobody sees what is guessed: not those who read the log, nor forks, nor anchors.
static void guesses_are_nobodys_tokens(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16, .rewind_reserve = 16});
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = 24, .sampler = "greedy", .ignore_end = 1, .raw = 1, .guesses = 6};
    gr_session *session = begin_text(model, verse);
    gr_request *request = NULL;
    uint64_t anchors[2];
    uint32_t guessed = 0, count = 0;
    size_t before, now;
    bool worked = true;
    gr_session_tokens(session, &before);
    OK(gr_request_start(session, &options, &request, error));
    while (worked) {
        OK(gr_engine_step(model->engine, &worked, error));
        gr_request_info info = info_of(request);
        const int32_t *tokens = gr_session_tokens(session, &now);
        assert_int_equal(now, before + info.generated_tokens);
        assert_memory_equal(tokens + before, info.tokens, info.generated_tokens * sizeof *tokens);
        assert_true(gr_session_evaluated(session) <= now);
        if (info.guessed == guessed)
            continue;
        guessed = info.guessed;
        gr_session *fork = NULL;
        OK(gr_session_fork(session, &fork, error));
        gr_session_tokens(fork, &now);
        assert_int_equal(now, before + info.generated_tokens);
        same_as_fresh(fork);
        gr_session_release(fork);
        if (count < 2)
            OK(gr_session_anchor(session, &anchors[count++], error));
    }
    assert_int_equal(count, 2);
    while (count--) {
        gr_session_tokens(session, &now);
        assert_true(anchors[count] < now);
        OK(gr_session_rewind(session, anchors[count], error));
        same_as_fresh(session);
    }
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
}

static void banned_strings_never_come(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    static const char *const banned[] = {"the", "God", "earth. A", "\n", NULL};
    uint32_t rewinds = 0;
    for (uint64_t seed = 1; seed <= sampled(8); seed++) {
        gr_session *session = begin_text(model, verse);
        gr_request *request =
            answer(session, (gr_generate_options){.max_tokens = 50, .seed = seed, .banned = banned, .ignore_end = 1,
                                                  .guesses = seed % 2 ? 5 : 0});
        gr_request_info info = info_of(request);
        for (size_t i = 0; banned[i]; i++)
            assert_null(strstr(info.text, banned[i]));
        assert_int_equal(info.generated_tokens, 50);
        rewinds += info.rewinds;
        size_t count;
        const int32_t *tokens = gr_session_tokens(session, &count);
        assert_memory_equal(tokens + count - 50, info.tokens, 50 * sizeof *tokens);
        gr_request_release(request);
        same_as_fresh(session);
        gr_session_release(session);
    }
    assert_true(rewinds > 5);
    gr_model_release(model);
}

static bool collect(void *context, const char *text, size_t bytes) {
    strncat(context, text, bytes);
    return true;
}

// What was shown in pieces is the text: nothing was shown and taken back.
static void nothing_banned_is_shown(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    static const char *const banned[] = {"and the", NULL};
    for (uint64_t seed = 1; seed <= sampled(5); seed++) {
        char shown[4096] = "";
        gr_session *session = begin_text(model, verse);
        gr_request *request = NULL;
        const gr_generate_options options = {
            .struct_size = sizeof options, .max_tokens = 60, .seed = seed, .banned = banned, .ignore_end = 1};
        OK(gr_session_generate(session, &options, collect, shown, &request, error));
        assert_string_equal(shown, info_of(request).text);
        gr_request_release(request);
        gr_session_release(session);
    }
    gr_model_release(model);
}

// "the hea" goes on to "heaven" though the prompt's last token ends in the middle of it.
static void a_healed_prompt_goes_on(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    const char *prompt = "In the beginning God created the hea";
    gr_session *session = begin_text(model, prompt);
    size_t before, count;
    gr_session_tokens(session, &before);
    gr_request *request = answer(session, (gr_generate_options){.max_tokens = 6, .sampler = "greedy", .heal = 1});
    gr_request_info info = info_of(request);
    const int32_t *tokens = gr_session_tokens(session, &count);
    char text[512] = "", piece[64];
    for (size_t i = 0; i < count; i++) {
        size_t bytes = gr_model_piece(model, tokens[i], false, piece, sizeof piece);
        strncat(text, piece, bytes);
    }
    char expected[512];
    snprintf(expected, sizeof expected, "%s%s", prompt, info.text);
    assert_non_null(strstr(text, expected));
    assert_int_equal(info.prompt_tokens, before - 1);
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
}

static void guidance_is_what_it_says(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    uint32_t vocab = vocab_of(model);
    gr_session *with = begin_text(model, verse), *without = begin_text(model, "And"), *plain = begin_text(model, verse);
    gr_request *alone = answer(plain, (gr_generate_options){.max_tokens = 20, .sampler = "greedy"});
    // guidance 1 is no guidance
    gr_session *guide = begin_text(model, "And"), *same = begin_text(model, verse);
    gr_request *one = answer(same, (gr_generate_options){.max_tokens = 20, .sampler = "greedy", .guide = guide, .guidance = 1});
    assert_string_equal(info_of(alone).text, info_of(one).text);
    const float *own = logits_of(with), *other = logits_of(without);
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (other[i] + 3.0f * (own[i] - other[i]) > other[best] + 3.0f * (own[best] - other[best]))
            best = i;
    gr_request *three = answer(with, (gr_generate_options){.max_tokens = 1, .sampler = "greedy", .guide = without, .guidance = 3});
    assert_int_equal(info_of(three).tokens[0], best);
    size_t count;
    const int32_t *tokens = gr_session_tokens(without, &count);
    assert_int_equal(tokens[count - 1], best); // the guide has it too
    gr_request_release(alone);
    gr_request_release(one);
    gr_request_release(three);
    gr_session_release(with);
    gr_session_release(without);
    gr_session_release(plain);
    gr_session_release(guide);
    gr_session_release(same);
    gr_model_release(model);
}

static gr_request *guided(gr_session *session, gr_session *guide, gr_status expected) {
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = 4, .raw = 1, .guide = guide, .guidance = 1.5};
    gr_request *request = NULL;
    gr_error_init(error);
    if (gr_request_start(session, &options, &request, error) != expected)
        fail_msg("%s", error->message);
    return request;
}

// The guide's text does not fit the cache: its answer ends, and says why; asked again it does so again.
static void an_answer_ends_with_its_guide(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16, .cache_bytes = 512 << 10});
    gr_session *session = begin_text(model, verse), *guide = begin_text(model, verse);
    int32_t tokens[3000];
    fill_tokens(tokens, 3000, 1, vocab_of(model));
    OK(gr_session_append_tokens(guide, tokens, 3000, error));
    for (int i = 0; i < 2; i++) {
        gr_request *request = guided(session, guide, GR_OK);
        const char *text;
        size_t bytes;
        bool worked, done;
        for (uint32_t s = 0; s < 1000 && info_of(request).stop_reason == GR_STOP_NONE; s++)
            gr_engine_step(model->engine, &worked, NULL);
        assert_int_equal(info_of(request).stop_reason, GR_STOP_ERROR);
        assert_int_equal(gr_request_read(request, &text, &bytes, &done, error), GR_ERROR_OUT_OF_MEMORY);
        assert_null(session->request);
        gr_request_release(request);
    }
    gr_session_release(guide);
    gr_session_release(session);
    gr_model_release(model);
}

// Nor does an answer wait for ever for a guide that an engine of its own would step.
static void an_answer_does_not_wait_for_nothing(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    gr_model *elsewhere = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    gr_session *session = begin_text(model, verse), *guide = begin_text(elsewhere, "And");
    gr_request *request = NULL;
    const gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 4, .guide = guide, .guidance = 1.5};
    assert_int_equal(gr_session_generate(session, &options, NULL, NULL, &request, error), GR_ERROR_INTERNAL);
    assert_non_null(strstr(error->message, "nothing is left to do"));
    gr_request_release(request);
    gr_session_release(guide);
    gr_session_release(session);
    gr_model_release(model);
    gr_model_release(elsewhere);
}

static void a_guide_has_one_answer(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    gr_session *session = begin_text(model, verse), *other = begin_text(model, "Then"), *guide = begin_text(model, "And");
    gr_request *request = guided(session, guide, GR_OK);
    assert_null(guided(other, guide, GR_ERROR_BUSY));
    assert_null(guided(guide, other, GR_ERROR_BUSY));
    gr_request_release(request);
    request = guided(guide, other, GR_OK);
    assert_null(guided(session, guide, GR_ERROR_BUSY)); // it is generating
    gr_request_release(request);
    gr_request_release(guided(session, guide, GR_OK));
    gr_session_release(guide);
    gr_session_release(other);
    gr_session_release(session);
    gr_model_release(model);
}

static void likely_tokens_are_noted(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16});
    gr_session *session = begin_text(model, verse);
    gr_request *request = answer(session, (gr_generate_options){.max_tokens = 10, .sampler = "greedy", .top_tokens = 5});
    gr_request_info info = info_of(request);
    for (uint32_t i = 0; i < info.generated_tokens; i++) {
        const gr_token_choice *top = info.top + i * 5;
        assert_int_equal(top[0].token, info.tokens[i]);
        assert_true(fabs(top[0].log_probability - info.log_probabilities[i]) < 1e-9);
        for (uint32_t j = 1; j < 5; j++)
            assert_true(top[j].log_probability <= top[j - 1].log_probability && top[j].token != top[j - 1].token);
    }
    gr_request_release(request);
    gr_session_release(session);
    gr_model_release(model);
}

// Beside the plain definition, for logits with equals, NaN and infinities among them.
static void the_likeliest_come_in_order(void **state) {
    (void)state;
    enum { VOCAB = 61 };
    float logits[VOCAB];
    gr_token_choice top[VOCAB + 5];
    for (uint32_t round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < VOCAB; i++) {
            uint32_t drawn = (uint32_t)(gr_random_uniform(round, i, 0) * 30);
            logits[i] = drawn == 0 && round % 2 ? NAN : drawn == 1 ? -INFINITY : drawn == 2 && round % 4 == 3 ? INFINITY : (float)drawn;
        }
        const size_t most = round % (VOCAB + 5), count = most < VOCAB ? most : VOCAB;
        assert_int_equal(gr_logits_top(logits, VOCAB, most, top), count);
        for (size_t i = 0; i < count; i++) {
            size_t before = 0; // which tokens come before this one
            const int32_t token = top[i].token;
            const float logit = isnan(logits[token]) ? -INFINITY : logits[token];
            for (int32_t other = 0; other < VOCAB; other++)
                before += logits[other] > logit || (other < token && (logits[other] == logit ||
                          (logit == -INFINITY && isnan(logits[other]))));
            assert_int_equal(before, i);
            assert_true(top[i].log_probability == gr_logits_log_probability(logits, VOCAB, token));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_are_nobodys_tokens),
        cmocka_unit_test(guesses_from_the_text),   cmocka_unit_test(guesses_of_another_model),
        cmocka_unit_test(guesses_end_at_limits),   cmocka_unit_test(guesses_end_at_stop_tokens),
        cmocka_unit_test(banned_strings_never_come),
        cmocka_unit_test(nothing_banned_is_shown), cmocka_unit_test(a_healed_prompt_goes_on),
        cmocka_unit_test(an_answer_ends_with_its_guide), cmocka_unit_test(an_answer_does_not_wait_for_nothing),
        cmocka_unit_test(a_guide_has_one_answer),
        cmocka_unit_test(guidance_is_what_it_says), cmocka_unit_test(likely_tokens_are_noted),
        cmocka_unit_test(the_likeliest_come_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
