// SPDX-License-Identifier: Apache-2.0
// Forks, rewinds and anchors: wherever a session went, its logits on ref are, bit for bit, those of
// a new session with its tokens.
#include <strings.h>

#include "fixture.h"

static gr_model *small_model(void) {
    return load_alone(SMALL("w16-gqa1"),
                      (gr_model_options){.page_tokens = 8, .rewind_reserve = 8, .chunk = 32});
}

static void forks_share_and_part(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8});
    gr_session *forks[3];
    int32_t tokens[60];
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *session = begin(model, 100, tokens, 29); // three full pages and five positions
    logits_of(session);
    uint64_t alone = gr_kv_cache_bytes_used(model->site->cache);
    assert_int_equal(stats_of(session).shared_pages, 0);
    for (uint32_t i = 0; i < 3; i++)
        OK(gr_session_fork(session, &forks[i], error));
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), alone);
    assert_int_equal(stats_of(session).shared_pages, 4);
    assert_int_equal(stats_of(session).own_bytes, 0);
    assert_memory_equal(logits_of(forks[0]), logits_of(session), vocab_of(model) * sizeof(float));
    for (uint32_t i = 0; i < 3; i++)
        OK(gr_session_append_tokens(forks[i], tokens + 29 + i, 10 + i, error));
    for (uint32_t i = 0; i < 3; i++)
        same_as_fresh(forks[i]);
    assert_int_equal(stats_of(forks[0]).shared_pages, 3); // the full ones
    assert_int_equal(stats_of(session).shared_pages, 3);
    OK(gr_session_append_tokens(session, tokens + 40, 9, error));
    same_as_fresh(session);
    gr_session_release(session);
    for (uint32_t i = 0; i < 3; i++) {
        OK(gr_session_append_tokens(forks[i], tokens + 50, 1, error));
        same_as_fresh(forks[i]);
        gr_session_release(forks[i]);
    }
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), 0);
    gr_model_release(model);
}

// A fork taken while tokens wait evaluates them itself.
static void a_fork_takes_waiting_tokens_along(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *fork;
    int32_t tokens[50];
    fill_tokens(tokens, 50, 2, vocab_of(model));
    gr_session *session = begin(model, 100, tokens, 20);
    logits_of(session);
    OK(gr_session_append_tokens(session, tokens + 20, 15, error));
    OK(gr_session_fork(session, &fork, error));
    assert_int_equal(gr_session_waiting(fork), 15);
    same_as_fresh(fork);
    same_as_fresh(session);
    gr_session_release(session);
    gr_session_release(fork);
    gr_model_release(model);
}

// Window 16, reserve 8: going back 7 keeps the cache, far back replays.
static void rewinds_near_and_far(void **state) {
    (void)state;
    gr_model *model = small_model();
    int32_t tokens[200];
    fill_tokens(tokens, 200, 3, vocab_of(model));
    gr_session *session = begin(model, 250, tokens, 120);
    logits_of(session);
    assert_true(stats_of(session).evicted_pages > 0);
    for (uint32_t back = 0; back < 8; back++) {
        uint64_t to = 120 - back;
        assert_true(gr_session_can_rewind(session, to));
        OK(gr_session_rewind(session, to, error));
        assert_true(gr_session_evaluated(session) + 1 >= to);
        same_as_fresh(session);
        OK(gr_session_append_tokens(session, tokens + to, back, error));
        same_as_fresh(session);
    }
    static const uint64_t far[] = {60, 33, 16, 5};
    for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
        assert_false(gr_session_can_rewind(session, far[i]));
        OK(gr_session_rewind(session, far[i], error));
        assert_int_equal(gr_session_evaluated(session), 0);
        same_as_fresh(session);
        OK(gr_session_append_tokens(session, tokens + far[i], 120 - far[i], error));
        same_as_fresh(session);
    }
    OK(gr_session_rewind(session, 0, error));
    OK(gr_session_append_tokens(session, tokens + 50, 70, error));
    same_as_fresh(session);
    assert_int_equal(gr_session_rewind(session, 71, NULL), GR_ERROR_OUT_OF_RANGE);
    gr_session_release(session);
    gr_model_release(model);
}

// Logits behind a token that was taken back are forgotten, also when another one stands there while the rest
// still waits.
static void logits_of_other_tokens_are_forgotten(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.chunk = 32});
    int32_t tokens[200];
    bool worked;
    fill_tokens(tokens, 200, 9, vocab_of(model));
    gr_session *session = begin(model, 250, tokens, 100);
    logits_of(session);
    OK(gr_session_rewind(session, 41, error));
    OK(gr_session_append_tokens(session, tokens + 100, 80, error));
    while (gr_session_evaluated(session) < 100) // 40, 72, 104
        OK(gr_engine_step(model->engine, &worked, error));
    assert_true(gr_session_waiting(session) > 0 && gr_session_can_rewind(session, 100));
    OK(gr_session_rewind(session, 100, error));
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// An anchor lets a branch return however far it went, and changes no number.
static void anchors_hold(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *fork;
    int32_t tokens[200];
    uint64_t position;
    fill_tokens(tokens, 200, 4, vocab_of(model));
    gr_session *session = begin(model, 250, tokens, 45);
    OK(gr_session_anchor(session, &position, error));
    assert_int_equal(position, 45);
    OK(gr_session_append_tokens(session, tokens + 45, 100, error));
    same_as_fresh(session);
    OK(gr_session_fork(session, &fork, error));
    gr_session *both[] = {session, fork};
    for (uint32_t i = 0; i < 2; i++) {
        OK(gr_session_rewind(both[i], 45, error));
        assert_true(gr_session_evaluated(both[i]) >= 44); // at most the last token again
        same_as_fresh(both[i]);
        OK(gr_session_append_tokens(both[i], tokens + 90 + i, 60, error));
        same_as_fresh(both[i]);
    }
    OK(gr_session_rewind(session, 50, error)); // behind the anchor: five to evaluate
    assert_int_equal(gr_session_evaluated(session), 45);
    same_as_fresh(session);
    OK(gr_session_anchor_drop(session, 45, error));
    assert_int_equal(gr_session_anchor_drop(session, 45, NULL), GR_ERROR_NOT_FOUND);
    OK(gr_session_append_tokens(session, tokens + 90, 60, error));
    logits_of(session);
    assert_false(gr_session_can_rewind(session, 45));
    gr_session_release(session);
    OK(gr_session_rewind(fork, 45, error));
    assert_true(gr_session_evaluated(fork) >= 44);
    gr_session_release(fork);
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), 0);
    gr_model_release(model);
}

static void run_both(gr_session *rolled, gr_session *whole, const int32_t *tokens, size_t count) {
    OK(gr_session_append_tokens(rolled, tokens, count, error));
    OK(gr_session_append_tokens(whole, tokens, count, error));
    assert_memory_equal(logits_of(rolled), logits_of(whole),
                        vocab_of(rolled->model) * sizeof(float));
}

// Window 64: 400 tokens through a cache that rolls and through one that keeps everything,
// in chunks and one by one, agree bit for bit at every stop.
static void a_rolled_cache_changes_no_bit(void **state) {
    (void)state;
    enum { TOKENS = 400 };
    static const char path[] = SMALL("w64-gqa8");
    gr_model *rolling = load_alone(
        path, (gr_model_options){.page_tokens = 16, .rewind_reserve = 1, .chunk = 48});
    gr_model *keeping = load_alone(
        path, (gr_model_options){.page_tokens = 64, .rewind_reserve = 1u << 20, .chunk = 48});
    int32_t tokens[TOKENS];
    size_t fed = 0;
    fill_tokens(tokens, TOKENS, 5, vocab_of(rolling));
    gr_session *rolled = begin(rolling, 512, NULL, 0), *whole = begin(keeping, 512, NULL, 0);
    static const size_t pieces[] = {40, 24, 1, 1, 60, 3, 48, 1};
    for (size_t i = 0; fed < TOKENS; i++) {
        size_t count = pieces[i % (sizeof pieces / sizeof pieces[0])];
        count = count < TOKENS - fed ? count : TOKENS - fed;
        run_both(rolled, whole, tokens + fed, count);
        fed += count;
    }
    gr_session_stats a = stats_of(rolled), b = stats_of(whole);
    assert_true(a.evicted_pages > 0 && a.resident_positions < 64 + 1 + 2 * 16);
    assert_int_equal(b.evicted_pages, 0);
    assert_int_equal(b.resident_positions, TOKENS);
    assert_true(a.cache_bytes * 4 <= a.full_bytes);
    gr_session_release(rolled);
    gr_session_release(whole);
    gr_model_release(rolling);
    gr_model_release(keeping);
}

static void a_full_context_appends_nothing(void **state) {
    (void)state;
    gr_model *model = small_model();
    int32_t tokens[40];
    gr_error_init(error);
    fill_tokens(tokens, 40, 6, vocab_of(model));
    gr_session *session = begin(model, 24, tokens, 20);
    assert_int_equal(gr_session_append_tokens(session, tokens + 20, 5, error),
                     GR_ERROR_OUT_OF_RANGE);
    assert_non_null(strstr(error->message, "24"));
    size_t count;
    gr_session_tokens(session, &count);
    assert_int_equal(count, 20);
    OK(gr_session_append_tokens(session, tokens + 20, 4, error));
    same_as_fresh(session);
    assert_int_equal(gr_session_append_tokens(session, tokens, SIZE_MAX, NULL),
                     GR_ERROR_OUT_OF_RANGE);
    const int32_t bad[] = {-1, (int32_t)vocab_of(model)};
    OK(gr_session_rewind(session, 10, error));
    assert_int_equal(gr_session_append_tokens(session, &bad[0], 1, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_session_append_tokens(session, &bad[1], 1, NULL), GR_ERROR_OUT_OF_RANGE);
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// Log-probabilities asked for at once are those asked for one by one, and asking leaves no mark.
static void scores_agree_with_logits(void **state) {
    (void)state;
    enum { ASKED = 90 };
    gr_model *model = small_model();
    int32_t tokens[30 + ASKED];
    double at_once[ASKED];
    fill_tokens(tokens, 30 + ASKED, 7, vocab_of(model));
    gr_session *session = begin(model, 250, tokens, 30);
    OK(gr_session_score(session, tokens + 30, ASKED, at_once, error));
    size_t count;
    gr_session_tokens(session, &count);
    assert_int_equal(count, 30);
    for (size_t i = 0; i < ASKED; i++) {
        double expected = gr_log_probability(logits_of(session), vocab_of(model), tokens[30 + i]);
        assert_memory_equal(&at_once[i], &expected, sizeof expected);
        OK(gr_session_append_tokens(session, &tokens[30 + i], 1, error));
    }
    gr_session_release(session);
    gr_model_release(model);
}

typedef struct seen_rows {
    float *logits;
    uint64_t first, count;
    uint32_t vocab;
} seen_rows;

static void see_row(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    seen_rows *seen = context;
    assert_int_equal(position, seen->first + seen->count);
    assert_int_equal(vocab, seen->vocab);
    memcpy(seen->logits + seen->count++ * vocab, logits, vocab * sizeof *logits);
}

// An observer gets the logits behind each new token, in order, however many steps it takes, and
// those of none that were waiting or are replayed.
static void observers_see_each_new_row(void **state) {
    (void)state;
    enum { BEFORE = 60, KEPT = 20, NEW = 150 };
    gr_model *model = small_model();
    uint32_t vocab = vocab_of(model);
    int32_t tokens[KEPT + NEW];
    fill_tokens(tokens, KEPT + NEW, 8, vocab);
    gr_session *session = begin(model, 250, tokens, BEFORE);
    logits_of(session);
    OK(gr_session_rewind(session, KEPT, error)); // the window has rolled past: it is replayed
    seen_rows seen = {.first = KEPT, .vocab = vocab, .logits = calloc((size_t)NEW * vocab, sizeof(float))};
    assert_non_null(seen.logits);
    OK(gr_session_append_observed(session, tokens + KEPT, NEW, see_row, &seen, error));
    assert_int_equal(seen.count, NEW);
    gr_session *again = begin(model, 250, tokens, KEPT);
    for (size_t i = 0; i < NEW; i++) {
        OK(gr_session_append_tokens(again, &tokens[KEPT + i], 1, error));
        assert_memory_equal(seen.logits + i * vocab, logits_of(again), vocab * sizeof(float));
    }
    same_as_fresh(session);
    free(seen.logits);
    gr_session_release(session);
    gr_session_release(again);
    gr_model_release(model);
}

// Of every type, on both backends: the pages of a session take what `gregale info` said before.
static void the_cache_costs_what_was_said(void **state) {
    (void)state;
    static const char *const devices[] = {"ref", "cpu"}, *const names[] = {"f32", "F16", "bf16", "q8_0"};
    int32_t tokens[150];
    for (size_t i = 0; i < 8; i++) {
        gr_model_options options = {.device = devices[i / 4], .has_kv_dtype = 1};
        gr_model_info info = {.struct_size = sizeof info};
        uint64_t said, full;
        assert_true(gr_cache_type_find(names[i % 4], &options.kv_dtype));
        gr_model *model = load_alone(SMALL("full-gqa4"), options);
        gr_model_info_get(model, &info);
        assert_int_equal(strcasecmp(info.cache_type, names[i % 4]), 0);
        fill_tokens(tokens, 150, 3, vocab_of(model));
        gr_session *session = begin(model, 192, tokens, 150);
        OK(gr_session_evaluate(session, NULL, NULL, error));
        gr_model_cache_bytes(&model->source->hparams, 150, options.kv_dtype, 64, 64, &said, &full);
        assert_true(said && said == full);
        assert_int_equal(stats_of(session).cache_bytes, said);
        gr_session_release(session);
        gr_model_release(model);
    }
    gr_dtype dtype;
    assert_false(gr_cache_type_find("q4_0", &dtype));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forks_share_and_part),
        cmocka_unit_test(a_fork_takes_waiting_tokens_along),
        cmocka_unit_test(rewinds_near_and_far),
        cmocka_unit_test(logits_of_other_tokens_are_forgotten),
        cmocka_unit_test(anchors_hold),
        cmocka_unit_test(a_rolled_cache_changes_no_bit),
        cmocka_unit_test(a_full_context_appends_nothing),
        cmocka_unit_test(scores_agree_with_logits),
        cmocka_unit_test(observers_see_each_new_row),
        cmocka_unit_test(the_cache_costs_what_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
