// SPDX-License-Identifier: Apache-2.0
// What a move promises of the logits behind it: fed with the tokens of the run that stayed, they are within the
// bound of both devices' precision classes, and the likeliest token is the same wherever the first is ahead of
// the second by more than twice that. Prints the largest distance by pair of devices.
#include <math.h>

#include "engine/shadow.h"
#include "fixture.h"

enum { PROMPT = 12, TOKENS = 150 };

typedef struct record {
    float *logits; // [TOKENS][vocab]
    uint64_t first;
} record;

static void keep(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    const record *r = context;
    memcpy(r->logits + (position - r->first) * vocab, logits, vocab * sizeof *logits);
}

static void append(gr_session *session, const int32_t *tokens, size_t count, record *out) {
    out->first = session->tokens.count;
    OK(gr_session_append_observed(session, tokens, count, keep, out, error));
}

// The run that stays: what it says, seeded, behind a few given tokens.
static void answer(gr_model *model, int32_t *tokens, record *out) {
    const gr_generate_options wanted = {.struct_size = sizeof wanted,
                                        .max_tokens = TOKENS - PROMPT,
                                        .seed = 11,
                                        .ignore_end = 1,
                                        .sampler = "temperature(1)"};
    gr_request *request = NULL;
    gr_request_info info = {.struct_size = sizeof info};
    fill_tokens(tokens, PROMPT, 3, vocab_of(model));
    gr_session *says = begin(model, 200, tokens, PROMPT), *stays = NULL;
    OK(gr_session_generate(says, &wanted, NULL, NULL, &request, error));
    gr_request_info_get(request, &info);
    memcpy(tokens + PROMPT, info.tokens, (TOKENS - PROMPT) * sizeof *tokens);
    OK(gr_session_create(model, NULL, &stays, error));
    append(stays, tokens, TOKENS, out);
    gr_request_release(request);
    gr_session_release(says);
    gr_session_release(stays);
}

typedef struct outcome {
    double largest, bound;
    uint32_t compared, agreed;
} outcome;

static double lead_of(const float *logits, uint32_t vocab) {
    uint32_t best = gr_shadow_best(logits, vocab);
    double second = -INFINITY;
    for (uint32_t i = 0; i < vocab; i++)
        second = i == best ? second : fmax(second, (double)logits[i]);
    return (double)logits[best] - second;
}

static void compare(const float *here, const float *there, uint32_t vocab, outcome *out) {
    double apart = gr_shadow_distance(here, there, vocab);
    bool agree = gr_shadow_best(here, vocab) == gr_shadow_best(there, vocab);
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        mean += (double)here[i] / vocab;
        squares += (double)here[i] * here[i] / vocab;
    }
    if (lead_of(here, vocab) > 2 * out->bound * sqrt(squares - mean * mean))
        assert_true(agree);
    out->largest = fmax(out->largest, apart);
    out->compared++;
    out->agreed += agree;
}

static outcome moved(gr_model *model, const char *to, const int32_t *tokens, const record *stayed, uint32_t after) {
    uint32_t vocab = vocab_of(model);
    const gr_move_options unchecked = {.struct_size = sizeof unchecked, .no_check = 1};
    record there = {.logits = calloc((size_t)TOKENS * vocab, sizeof *there.logits)};
    gr_session *session = begin(model, 200, tokens, after);
    logits_of(session);
    gr_site *from = gr_site_retain(session->site);
    OK(gr_session_move(session, to, &unchecked, NULL, error));
    outcome out = {.bound = gr_shadow_bound(from, session->site)};
    gr_site_release(from);
    append(session, tokens + after, TOKENS - after, &there);
    for (uint32_t i = after; i < TOKENS; i++)
        compare(stayed->logits + (size_t)i * vocab, there.logits + (size_t)(i - after) * vocab, vocab, &out);
    gr_session_release(session);
    free(there.logits);
    return out;
}

static void within(const char *path, const char *from, const char *to) {
    static const uint32_t places[] = {PROMPT, 70, TOKENS - 1};
    gr_model *model = load_alone(path, (gr_model_options){.device = from, .page_tokens = 16, .chunk = 32});
    record stayed = {.logits = calloc((size_t)TOKENS * vocab_of(model), sizeof *stayed.logits)};
    int32_t tokens[TOKENS];
    answer(model, tokens, &stayed);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        outcome found = moved(model, to, tokens, &stayed, places[i]);
        print_message("%s, %s to %s at %u: %u compared, %u agree, %.3g of %.3g\n", strrchr(path, '/') + 1, from, to, places[i],
                      found.compared, found.agreed, found.largest, found.bound);
        assert_true(found.largest <= found.bound);
    }
    free(stayed.logits);
    gr_model_release(model);
}

static void all_ways(const char *path) {
    const char *const devices[] = {test_device(), "cpu"};
    for (int i = 0; i < 2; i++)
        within(path, devices[i], devices[!i]);
}

static void float_weights(void **state) {
    (void)state;
    all_ways(SMALL("full-gqa4"));
    all_ways(SMALL("w8-gqa4"));
    all_ways(SMALL("wlist-gqa2"));
    all_ways(SMALL("yarn-w16-gqa2"));
    all_ways(GREGALE_SOURCE_DIR "/configs/models/breeze/breeze-f16.gguf");
}

static void block_quantised_weights(void **state) {
    (void)state;
    all_ways(BREEZE);
}

// ref and far compute alike: nothing at all may differ.
static void equal_devices(void **state) {
    (void)state;
    const char *to = strcmp(test_device(), "ref") ? "ref" : "far";
    gr_model *model = load_alone(BREEZE, (gr_model_options){.page_tokens = 16, .chunk = 32});
    record stayed = {.logits = calloc((size_t)TOKENS * vocab_of(model), sizeof *stayed.logits)};
    int32_t tokens[TOKENS];
    answer(model, tokens, &stayed);
    outcome found = moved(model, to, tokens, &stayed, 40);
    assert_true(found.largest == 0 && found.compared == TOKENS - 40);
    free(stayed.logits);
    gr_model_release(model);
}

// A mistake that the bounds are there to find: a window that is one position short.
static void a_wrong_window_is_out_of_bounds(void **state) {
    (void)state;
    static const struct {
        const char *path;
        uint32_t window;
    } cases[] = {{SMALL("w8-gqa4"), 8}, {GREGALE_SOURCE_DIR "/configs/models/breeze/breeze-f16.gguf", 64}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        gr_model *right = load_alone(cases[c].path, (gr_model_options){.device = "cpu", .chunk = 32});
        gr_model *wrong = load_alone(cases[c].path, (gr_model_options){.device = "cpu",
                                                                       .chunk = 32,
                                                                       .has_sliding_window = 1,
                                                                       .sliding_window = cases[c].window - 1});
        uint32_t vocab = vocab_of(right);
        int32_t tokens[TOKENS];
        record a = {.logits = calloc((size_t)TOKENS * vocab, sizeof *a.logits)};
        record b = {.logits = calloc((size_t)TOKENS * vocab, sizeof *b.logits)};
        gr_session *session = NULL;
        outcome found = {.bound = gr_shadow_bound(right->site, right->site)};
        answer(right, tokens, &a);
        OK(gr_session_create(wrong, NULL, &session, error));
        append(session, tokens, TOKENS, &b);
        for (uint32_t i = 0; i < TOKENS; i++)
            found.largest = fmax(found.largest, gr_shadow_distance(a.logits + (size_t)i * vocab, b.logits + (size_t)i * vocab, vocab));
        print_message("%s, a window of %u: %.3g of %.3g\n", strrchr(cases[c].path, '/') + 1, cases[c].window - 1, found.largest,
                      found.bound);
        assert_true(found.largest > found.bound);
        gr_session_release(session);
        free(a.logits);
        free(b.logits);
        gr_model_release(right);
        gr_model_release(wrong);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_weights),
        cmocka_unit_test(block_quantised_weights),
        cmocka_unit_test(equal_devices),
        cmocka_unit_test(a_wrong_window_is_out_of_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
