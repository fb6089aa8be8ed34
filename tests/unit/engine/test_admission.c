// SPDX-License-Identifier: Apache-2.0
// When cache pages do not suffice for all: who goes on, who waits, and that nobody's text shows it.
#include "admission_fixture.h"

// ---- Many answers at once, in a third of the memory that they would take

enum { MANY = 12, ANSWER = 30 };

static void run_many(gr_model *model, gr_session **sessions, gr_request **requests) {
    int32_t tokens[64];
    for (uint32_t i = 0; i < MANY; i++) {
        fill_tokens(tokens, 64, i, vocab_of(model));
        sessions[i] = begin_with(model, 0, tokens, 3 + 7 * i % 45);
        requests[i] = answer(sessions[i], ANSWER, 100 + i);
    }
    for (uint32_t i = 0; i < MANY; i++)
        finish(model, requests[i]);
}

static void many_finish(const char *path) {
    gr_model *free_model = limited(path, 0, CHUNK), *model;
    gr_session *calm[MANY], *pressed[MANY];
    gr_request *expected[MANY], *found[MANY];
    run_many(free_model, calm, expected);
    assert_int_equal(preemptions(calm, MANY), 0);
    model = limited(path, used(free_model) / page_bytes(path) / 3, CHUNK);
    run_many(model, pressed, found);
    print_message("%llu preemptions\n", (unsigned long long)preemptions(pressed, MANY));
    assert_true(preemptions(pressed, MANY) > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        same_answer(expected[i], found[i]);
        assert_memory_equal(logits_of(calm[i]), logits_of(pressed[i]), vocab_of(model) * sizeof(float));
        gr_request_release(expected[i]);
        gr_request_release(found[i]);
        gr_session_release(calm[i]);
        gr_session_release(pressed[i]);
    }
    assert_int_equal(used(model), 0);
    gr_model_release(free_model);
    gr_model_release(model);
}

static void many_finish_in_a_third(void **state) {
    (void)state;
    many_finish(SMALL("full-gqa4"));
    many_finish(SMALL("w8-gqa4"));
    many_finish(SMALL("wlist-gqa2"));
}

// ---- The order

static void higher_priority_goes_on(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 10, CHUNK);
    int32_t tokens[40];
    fill_tokens(tokens, 40, 1, vocab_of(model));
    gr_session *low = begin_with(model, -1, tokens, 40), *middle = begin_with(model, 0, tokens + 1, 20);
    gr_request *slow = answer(low, 20, 1), *later = answer(middle, 20, 2);
    for (uint32_t i = 0; i < 8; i++)
        step(model);
    assert_true(gr_session_evaluated(low) >= 40 && gr_session_evaluated(middle) >= 20);
    gr_session *high = begin_with(model, 7, tokens, 35);
    gr_request *fast = answer(high, 40, 3); // 75 positions: all ten pages
    while (!ended(fast)) {
        assert_false(ended(slow) || ended(later));
        assert_int_equal(stats_of(high).preemptions, 0);
        step(model);
    }
    assert_true(stats_of(low).preemptions && stats_of(middle).preemptions);
    while (!ended(later)) {
        assert_false(ended(slow));
        step(model);
    }
    finish(model, slow);
    assert_int_equal(info_of(slow).stop_reason, GR_STOP_LIMIT);
    assert_int_equal(stats_of(high).preemptions, 1); // idle, it went so that somebody could go on
    as_if_alone(high);
    gr_request_release(slow);
    gr_request_release(later);
    gr_request_release(fast);
    gr_session_release(low);
    gr_session_release(middle);
    gr_session_release(high);
    gr_model_release(model);
}

// An idle session of higher priority stays as long as anybody can be served without its pages.
static void higher_priority_keeps_its_pages(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 10, CHUNK);
    gr_request *requests[3];
    gr_session *sessions[3];
    int32_t tokens[40];
    fill_tokens(tokens, 40, 1, vocab_of(model));
    gr_session *high = begin_with(model, 1, tokens, 25);
    logits_of(high);
    for (uint32_t i = 0; i < 3; i++) { // six pages for three times four
        sessions[i] = begin_with(model, 0, tokens + i, 10);
        requests[i] = answer(sessions[i], 20, i + 1);
    }
    for (uint32_t i = 0; i < 3; i++)
        finish(model, requests[i]);
    assert_true(preemptions(sessions, 3) > 0);
    assert_int_equal(stats_of(high).preemptions, 0);
    for (uint32_t i = 0; i < 3; i++) {
        gr_request_release(requests[i]);
        gr_session_release(sessions[i]);
    }
    gr_session_release(high);
    gr_model_release(model);
}

// Three answers that fit one at a time. Whoever has ended one stands behind those who wait.
static void equals_go_by_age_of_their_work(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 10, CHUNK);
    gr_session *sessions[3];
    gr_request *requests[4];
    int32_t tokens[40];
    fill_tokens(tokens, 40, 1, vocab_of(model));
    for (uint32_t i = 0; i < 3; i++) {
        sessions[i] = begin_with(model, 0, tokens + i, 30);
        requests[i] = answer(sessions[i], 40, i + 1);
        step(model);
    }
    while (!ended(requests[0])) {
        assert_int_equal(stats_of(sessions[0]).preemptions, 0);
        step(model);
    }
    OK(gr_session_rewind(sessions[0], 10, error));
    requests[3] = answer(sessions[0], 60, 4);
    for (uint32_t i = 1; i < 4; i++)
        while (!ended(requests[i])) {
            for (uint32_t j = i + 1; j < 4; j++)
                assert_false(ended(requests[j]));
            step(model);
        }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(info_of(requests[i]).stop_reason, GR_STOP_LIMIT);
        gr_request_release(requests[i]);
    }
    for (uint32_t i = 0; i < 3; i++)
        gr_session_release(sessions[i]);
    gr_model_release(model);
}

// In a step that is full the one of higher priority has its row, the others take turns.
static void a_full_step_goes_by_priority(void **state) {
    (void)state;
    enum { ALL = 5, FIRST = 3 };
    gr_model *model = limited(SMALL("full-gqa4"), 0, 2);
    gr_session *sessions[ALL];
    for (uint32_t i = 0; i < ALL; i++)
        sessions[i] = begin_with(model, i == FIRST, (int32_t[]){1}, 1);
    for (uint32_t round = 1; round <= 8; round++) {
        step(model);
        assert_int_equal(gr_session_evaluated(sessions[FIRST]), round);
        OK(gr_session_append_tokens(sessions[FIRST], (int32_t[]){5}, 1, error));
    }
    for (uint32_t i = 0; i < ALL; i++) {
        assert_true(gr_session_evaluated(sessions[i]) >= 1);
        gr_session_release(sessions[i]);
    }
    gr_model_release(model);
}

// ---- Who goes

// An idle session goes before those who work, the longest idle first; it stays idle, with its logits.
static void idle_ones_go_first(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 10, CHUNK);
    size_t bytes = vocab_of(model) * sizeof(float);
    int32_t tokens[60];
    bool worked;
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *first = begin_with(model, 0, tokens, 30);
    float *before = malloc(bytes);
    assert_non_null(before);
    memcpy(before, logits_of(first), bytes);
    gr_session *second = begin_with(model, 0, tokens + 1, 30);
    logits_of(second);
    gr_session *worker = begin_with(model, 0, tokens + 2, 20);
    logits_of(worker);
    assert_int_equal(stats_of(first).preemptions, 1);
    assert_int_equal(stats_of(second).preemptions + stats_of(worker).preemptions, 0);
    OK(gr_engine_step(model->engine, &worked, error));
    assert_false(worked || gr_session_pending(first));
    assert_int_equal(gr_session_evaluated(first), 0);
    assert_memory_equal(first->logits, before, bytes);
    OK(gr_session_append_tokens(first, tokens + 30, 1, error));
    logits_of(first);
    assert_int_equal(stats_of(second).preemptions, 1);
    assert_int_equal(stats_of(worker).preemptions, 0);
    as_if_alone(first);
    as_if_alone(second);
    free(before);
    gr_session_release(first);
    gr_session_release(second);
    gr_session_release(worker);
    assert_int_equal(used(model), 0);
    gr_model_release(model);
}

static void a_prompt_is_cut_first(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 8, 64);
    int32_t tokens[60];
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *idle = begin_with(model, 0, tokens, 37);
    logits_of(idle);
    gr_session *prompt = begin_with(model, 0, tokens, 60);
    step(model);
    assert_int_equal(gr_session_evaluated(prompt), 24);
    assert_int_equal(stats_of(idle).preemptions, 0);
    step(model);
    assert_int_equal(gr_session_evaluated(prompt), 60);
    assert_int_equal(stats_of(idle).preemptions, 1);
    gr_session_release(idle);
    gr_session_release(prompt);
    gr_model_release(model);
}

// Who would not fit alone is told at once, and nobody goes for it.
static void nobody_goes_in_vain(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 6, CHUNK);
    int32_t tokens[60];
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *idle = begin_with(model, 0, tokens, 20), *long_one = begin_with(model, 0, tokens, 60);
    gr_error_init(error);
    assert_int_equal(gr_session_evaluate(long_one, NULL, NULL, error), GR_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(error->message, "limit"));
    assert_int_equal(gr_session_evaluated(long_one), 24); // what fitted stays
    assert_int_equal(stats_of(idle).preemptions, 0);
    OK(gr_session_rewind(long_one, 48, error));
    as_if_alone(long_one);
    assert_int_equal(stats_of(idle).preemptions, 1);
    gr_session_release(idle);
    gr_session_release(long_one);
    gr_model_release(model);
}

// ---- Answers that need more than one session

// Two answers, each with a guide or a draft of its own, on one model: together twelve times ten tokens and more.
static void run_pairs(gr_model *model, bool guided, gr_session **sessions, gr_request **requests) {
    int32_t tokens[40];
    for (uint32_t i = 0; i < 4; i++) {
        fill_tokens(tokens, 40, i, vocab_of(model));
        memcpy(tokens + 20, tokens, 20 * sizeof *tokens); // so that there is something to guess
        sessions[i] = begin_with(model, 0, tokens, 30 + i);
    }
    for (uint32_t i = 0; i < 2; i++) {
        const gr_generate_options options = {.struct_size = sizeof options,
                                             .max_tokens = 30,
                                             .seed = i + 1,
                                             .ignore_end = 1,
                                             .guide = guided ? sessions[i + 2] : NULL,
                                             .guidance = 1.5,
                                             .draft = guided ? NULL : sessions[i + 2],
                                             .guesses = guided ? 0 : 4};
        OK(gr_request_start(sessions[i], &options, &requests[i], error));
    }
    for (uint32_t i = 0; i < 2; i++)
        finish(model, requests[i]);
}

// Each of the pair may lose its pages while it waits for the other, and they do not do so in turns for ever.
static void pairs(bool guided, uint32_t pages) {
    gr_model *calm = limited(SMALL("full-gqa4"), 0, CHUNK), *model = limited(SMALL("full-gqa4"), pages, CHUNK);
    gr_session *a[4], *b[4];
    gr_request *expected[2], *found[2];
    run_pairs(calm, guided, a, expected);
    run_pairs(model, guided, b, found);
    assert_true(preemptions(b, 4) > 0);
    for (uint32_t i = 0; i < 2; i++) {
        same_answer(expected[i], found[i]);
        gr_request_release(expected[i]);
        gr_request_release(found[i]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        gr_session_release(a[i]);
        gr_session_release(b[i]);
    }
    assert_int_equal(used(model), 0);
    gr_model_release(calm);
    gr_model_release(model);
}

static void guided_answers_finish(void **state) {
    (void)state;
    pairs(true, 20); // one pair and a bit
    pairs(true, 10); // one session and a bit
}

static void guessed_answers_finish(void **state) {
    (void)state;
    pairs(false, 20);
    pairs(false, 10);
}

// ---- Forks and anchors

// Pages that two share are free when both let go; whoever has pages of its own goes before them.
static void a_family_goes_together(void **state) {
    (void)state;
    for (uint32_t other = 0; other < 2; other++) {
        gr_model *model = limited(SMALL("full-gqa4"), 10, CHUNK);
        int32_t tokens[60];
        gr_session *fork = NULL, *third = NULL;
        fill_tokens(tokens, 60, 1, vocab_of(model));
        gr_session *parent = begin_with(model, 0, tokens, 32), *apart = NULL;
        logits_of(parent);
        OK(gr_session_fork(parent, &fork, error));
        OK(gr_session_fork(fork, &third, error));
        if (other) {
            apart = begin_with(model, 0, tokens + 1, 20);
            logits_of(apart);
        }
        gr_session *worker = begin_with(model, 0, tokens + 2, 50);
        logits_of(worker);
        assert_int_equal(stats_of(parent).preemptions, other ? gr_session_evaluated(parent) == 0 : 1);
        assert_int_equal(stats_of(parent).preemptions, stats_of(fork).preemptions);
        assert_int_equal(stats_of(parent).preemptions, stats_of(third).preemptions);
        if (other)
            assert_int_equal(stats_of(apart).preemptions, 1);
        as_if_alone(fork);
        as_if_alone(parent);
        as_if_alone(third);
        gr_session_release(third);
        gr_session_release(apart);
        gr_session_release(parent);
        gr_session_release(fork);
        gr_session_release(worker);
        assert_int_equal(used(model), 0);
        gr_model_release(model);
    }
}

// A fork that shares all it has with whoever needs more does not go: nothing would be free.
static void what_is_shared_with_the_needy_stays(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("full-gqa4"), 8, CHUNK);
    int32_t tokens[60];
    gr_session *fork = NULL;
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *high = begin_with(model, 1, tokens + 1, 16), *needy = begin_with(model, 0, tokens, 32);
    logits_of(high);
    logits_of(needy);
    OK(gr_session_fork(needy, &fork, error));
    OK(gr_session_append_tokens(needy, tokens + 32, 20, error));
    as_if_alone(needy);
    assert_int_equal(stats_of(fork).preemptions, 0);
    assert_int_equal(stats_of(high).preemptions, 1);
    as_if_alone(fork);
    gr_session_release(high);
    gr_session_release(needy);
    gr_session_release(fork);
    gr_model_release(model);
}

// The anchors of whoever goes keep their places; those of whoever needs pages go before it fails.
static void anchors_lose_pages_alone(void **state) {
    (void)state;
    gr_model *model = limited(SMALL("w8-gqa4"), 6, PAGE);
    int32_t tokens[120];
    uint64_t anchor;
    fill_tokens(tokens, 120, 1, vocab_of(model));
    gr_session *session = begin_with(model, 0, tokens, 20);
    OK(gr_session_anchor(session, &anchor, error));
    OK(gr_session_append_tokens(session, tokens + 20, 60, error));
    as_if_alone(session);
    assert_int_equal(stats_of(session).preemptions, 0);
    OK(gr_session_rewind(session, anchor, error));
    as_if_alone(session);
    OK(gr_session_anchor_drop(session, anchor, error));
    OK(gr_session_anchor(session, &anchor, error));
    OK(gr_session_append_tokens(session, tokens + 50, 20, error));
    as_if_alone(session);
    gr_session *worker = begin_with(model, 0, tokens, 80);
    logits_of(worker);
    assert_int_equal(stats_of(session).preemptions, 1);
    OK(gr_session_rewind(session, anchor, error));
    as_if_alone(session);
    gr_session_release(session);
    gr_session_release(worker);
    assert_int_equal(used(model), 0);
    gr_model_release(model);
}

// Spread over several devices, a session has no other that computes alike.
static const char *other_or_skip(void) {
    if (getenv("GREGALE_FAR_REFUSE"))
        skip();
    return other_device();
}

// ---- A device without memory for more pages

static struct cap {
    gr_backend table;
    const gr_backend *real;
    gr_opened_device *device;
    gr_kv_group *group;
    uint32_t most_pages, crowded; // more cannot be had; beside more than so many no step runs; 0: no matter
} cap;

static gr_status capped_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *e) {
    return cap.most_pages && pages > cap.most_pages
               ? gr_fail(e, GR_ERROR_OUT_OF_MEMORY, "test", "planted: %u pages", pages)
               : cap.real->kv_resize(device, kv, pages, e);
}

static gr_status crowded_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *e) {
    return cap.crowded && cap.group->pages > cap.crowded
               ? gr_fail(e, GR_ERROR_OUT_OF_MEMORY, "test", "planted: beside %u pages", cap.group->pages)
               : cap.real->submit(device, queue, submit, e);
}

// The device that has the model's cache.
static void plant_cap(gr_model *model, uint32_t most_pages, uint32_t crowded) {
    const gr_site *site = model->site;
    cap = (struct cap){.most_pages = most_pages, .crowded = crowded, .group = &site->cache->groups[0]};
    cap.device = (gr_opened_device *)(uintptr_t)site->devices[gr_placement_cache_device(site->placement, 0)].opened;
    cap.real = cap.device->backend;
    cap.table = *cap.real;
    cap.table.kv_resize = capped_resize;
    cap.table.submit = crowded_submit;
    cap.device->backend = &cap.table;
}

// Without a limit that anybody set, what the device gives is the limit.
static void a_full_device_is_a_limit(void **state) {
    (void)state;
    gr_model *calm = limited(SMALL("full-gqa4"), 0, CHUNK), *model = limited(SMALL("full-gqa4"), 0, CHUNK);
    gr_session *a[MANY], *b[MANY];
    gr_request *expected[MANY], *found[MANY];
    run_many(calm, a, expected);
    plant_cap(model, (uint32_t)(used(calm) / page_bytes(SMALL("full-gqa4")) / 3), 0);
    run_many(model, b, found);
    assert_true(preemptions(b, MANY) > 0);
    assert_true(used(model) <= cap.most_pages * page_bytes(SMALL("full-gqa4")));
    for (uint32_t i = 0; i < MANY; i++) {
        same_answer(expected[i], found[i]);
        gr_request_release(expected[i]);
        gr_request_release(found[i]);
        gr_session_release(a[i]);
        gr_session_release(b[i]);
    }
    assert_int_equal(used(model), 0);
    cap.device->backend = cap.real;
    gr_model_release(calm);
    gr_model_release(model);
}

// Four answers of 90 positions, 12 pages each. A device short of memory is left when nobody's cache can make
// room for the foremost session, not before.
static void short_of_memory(uint32_t most_pages, uint32_t crowded, bool leaves) {
    enum { ALL = 4, PROMPT = 50 };
    const gr_model_options options = {.page_tokens = PAGE, .chunk = CHUNK};
    gr_model *models[] = {load_watched(SMALL("full-gqa4"), options, 0), load_watched(SMALL("full-gqa4"), options, 0)};
    gr_session *sessions[ALL + 1];
    gr_request *requests[ALL + 1];
    int32_t tokens[PROMPT];
    const char *other = other_device();
    fill_tokens(tokens, PROMPT, 2, vocab_of(models[0]));
    plant_cap(models[1], most_pages, crowded);
    for (uint32_t i = 0; i <= ALL; i++) {
        sessions[i] = begin(models[i < ALL], 300, tokens, PROMPT);
        requests[i] = answer(sessions[i], 40, 9);
    }
    for (uint32_t i = ALL + 1; i-- > 0;) {
        finish(models[i < ALL], requests[i]);
        same_answer(requests[ALL], requests[i]);
    }
    assert_int_equal(seen.events, leaves);
    assert_int_equal(seen.status, leaves ? GR_ERROR_OUT_OF_MEMORY : GR_OK);
    assert_true(preemptions(sessions, ALL) > 0 || leaves);
    for (uint32_t i = 0; i <= ALL; i++) {
        assert_string_equal(gr_session_device(sessions[i]), leaves && i < ALL ? other : test_device());
        gr_request_release(requests[i]);
        gr_session_release(sessions[i]);
    }
    cap.device->backend = cap.real;
    gr_model_release(models[0]);
    gr_model_release(models[1]);
}

static void others_make_room_before_a_device_is_left(void **state) {
    (void)state;
    other_or_skip();
    short_of_memory(30, 0, false); // two and a half
    short_of_memory(13, 0, false); // one
    short_of_memory(7, 0, true);   // not one
    short_of_memory(0, 30, false);
    short_of_memory(0, 20, false);
    short_of_memory(0, 6, true);
}

// ---- Beside moves

// A session that is on its way loses its pages on both sides, and arrives with none.
static void one_that_moves_may_go(void **state) {
    (void)state;
    const char *other = other_or_skip();
    gr_model *model = limited(SMALL("full-gqa4"), 8, CHUNK);
    int32_t tokens[60];
    gr_move *going = NULL;
    gr_move_info info = {.struct_size = sizeof info};
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *moves = begin_with(model, 0, tokens, 60);
    logits_of(moves);
    OK(gr_session_move_start(moves, other, NULL, &going, error));
    for (uint32_t i = 0; i < 100000 && info.stage < GR_MOVE_CHECK; i++) { // pages are copied then
        step(model);
        OK(gr_move_info_get(going, &info, error));
    }
    assert_int_equal(info.stage, GR_MOVE_CHECK);
    gr_session *worker = begin_with(model, 0, tokens + 1, 40);
    step(model);
    assert_int_equal(gr_session_evaluated(worker), CHUNK);
    assert_int_equal(stats_of(moves).preemptions, 1);
    assert_string_equal(gr_session_device(moves), other);
    assert_int_equal(gr_session_evaluated(moves), 0);
    for (uint32_t i = 0; i < 100000 && info.stage < GR_MOVE_DONE; i++) { // the place it left is torn down
        step(model);
        OK(gr_move_info_get(going, &info, error));
    }
    assert_int_equal(info.stage, GR_MOVE_DONE);
    assert_int_equal(used(model), stats_of(worker).cache_bytes);
    as_if_alone(worker);
    as_if_alone(moves);
    gr_move_release(going);
    gr_session_release(moves);
    gr_session_release(worker);
    gr_model_release(model);
}

// Whoever lives on a device comes before those who are about to.
static void a_move_gives_way(void **state) {
    (void)state;
    const char *other = other_or_skip();
    gr_model *model = limited(SMALL("full-gqa4"), 8, CHUNK);
    int32_t tokens[60];
    gr_move *going = NULL;
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = 1000};
    gr_move_info info = {.struct_size = sizeof info};
    fill_tokens(tokens, 60, 1, vocab_of(model));
    gr_session *lives = begin_with(model, 0, tokens, 22), *comes = begin_with(model, 0, tokens + 1, 30);
    OK(gr_session_move(lives, other, NULL, NULL, error));
    logits_of(comes);
    OK(gr_session_move_start(comes, other, &options, &going, error));
    for (uint32_t i = 0; i < 100000 && info.stage < GR_MOVE_SHADOW; i++) {
        step(model);
        OK(gr_move_info_get(going, &info, error));
    }
    assert_int_equal(info.stage, GR_MOVE_SHADOW);
    OK(gr_session_append_tokens(lives, tokens + 22, 38, error));
    as_if_alone(lives);
    assert_int_equal(gr_move_info_get(going, &info, error), GR_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(error->message, other));
    assert_string_equal(gr_session_device(comes), test_device());
    as_if_alone(comes);
    gr_move_release(going);
    gr_session_release(lives);
    gr_session_release(comes);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_finish_in_a_third),
        cmocka_unit_test(higher_priority_goes_on),
        cmocka_unit_test(higher_priority_keeps_its_pages),
        cmocka_unit_test(equals_go_by_age_of_their_work),
        cmocka_unit_test(a_full_step_goes_by_priority),
        cmocka_unit_test(idle_ones_go_first),
        cmocka_unit_test(a_prompt_is_cut_first),
        cmocka_unit_test(nobody_goes_in_vain),
        cmocka_unit_test(guided_answers_finish),
        cmocka_unit_test(guessed_answers_finish),
        cmocka_unit_test(a_family_goes_together),
        cmocka_unit_test(what_is_shared_with_the_needy_stays),
        cmocka_unit_test(anchors_lose_pages_alone),
        cmocka_unit_test(a_full_device_is_a_limit),
        cmocka_unit_test(others_make_room_before_a_device_is_left),
        cmocka_unit_test(one_that_moves_may_go),
        cmocka_unit_test(a_move_gives_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
