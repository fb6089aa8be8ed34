// SPDX-License-Identifier: Apache-2.0
// At random: what happens to sessions under a limit happens to their twins without.
#include "admission_fixture.h"

enum { SLOTS = 12, LONGEST = 120, TIGHT = 24 };

typedef struct twins {
    gr_session *sessions[2]; // free, and pressed
    gr_request *requests[2];
} twins;

typedef struct world {
    gr_model *models[2];
    twins slots[SLOTS];
    uint64_t random, preempted, answers;
} world;

static uint32_t draw(world *w, uint32_t below) {
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33) % below;
}

static size_t length_of(const twins *t) {
    size_t count;
    gr_session_tokens(t->sessions[0], &count);
    return count;
}

static void settle(world *w, twins *t) {
    if (!t->requests[0])
        return;
    for (uint32_t i = 0; i < 2; i++)
        finish(w->models[i], t->requests[i]);
    same_answer(t->requests[0], t->requests[1]);
    for (uint32_t i = 0; i < 2; i++) {
        gr_request_release(t->requests[i]);
        t->requests[i] = NULL;
    }
    w->answers++;
}

static void drop(world *w, twins *t) {
    w->preempted += stats_of(t->sessions[1]).preemptions;
    assert_int_equal(stats_of(t->sessions[0]).preemptions, 0);
    for (uint32_t i = 0; i < 2; i++) {
        gr_request_release(t->requests[i]);
        gr_session_release(t->sessions[i]);
    }
    *t = (twins){0};
}

static void make(world *w, uint32_t slot) {
    int32_t tokens[40];
    uint32_t count = 1 + draw(w, 40);
    int32_t priority = (int32_t)draw(w, 3) - 1;
    fill_tokens(tokens, count, draw(w, 1000), vocab_of(w->models[0]));
    for (uint32_t i = 0; i < 2; i++)
        w->slots[slot].sessions[i] = begin_with(w->models[i], priority, tokens, count);
}

static void append(world *w, twins *t) {
    int32_t tokens[12];
    uint32_t count = 1 + draw(w, 12);
    settle(w, t);
    if (length_of(t) + count > LONGEST)
        return;
    fill_tokens(tokens, count, draw(w, 1000), vocab_of(w->models[0]));
    for (uint32_t i = 0; i < 2; i++)
        OK(gr_session_append_tokens(t->sessions[i], tokens, count, error));
}

static void begin_answer(world *w, twins *t) {
    uint32_t count = 1 + draw(w, 30);
    uint64_t seed = 1 + draw(w, 1000000);
    settle(w, t);
    if (length_of(t) + count > LONGEST)
        return;
    for (uint32_t i = 0; i < 2; i++)
        t->requests[i] = answer(t->sessions[i], count, seed);
}

static void fork_into(world *w, twins *from, twins *to) {
    settle(w, from);
    for (uint32_t i = 0; i < 2; i++)
        OK(gr_session_fork(from->sessions[i], &to->sessions[i], error));
}

static void go_back(world *w, twins *t) {
    settle(w, t);
    uint64_t to = draw(w, (uint32_t)length_of(t) + 1);
    for (uint32_t i = 0; i < 2; i++)
        OK(gr_session_rewind(t->sessions[i], to, error));
}

static void pin(world *w, twins *t) {
    uint64_t at;
    settle(w, t);
    for (uint32_t i = 0; i < 2; i++)
        OK(gr_session_anchor(t->sessions[i], &at, error));
}

static void score(world *w, twins *t) {
    int32_t tokens[5];
    double found[2][5];
    settle(w, t);
    fill_tokens(tokens, 5, draw(w, 1000), vocab_of(w->models[0]));
    for (uint32_t i = 0; i < 2; i++)
        OK(gr_session_score(t->sessions[i], tokens, 5, found[i], error));
    assert_memory_equal(found[0] + 1, found[1] + 1, 4 * sizeof(double));
}

static void compare(world *w, twins *t) {
    settle(w, t);
    if (length_of(t))
        assert_memory_equal(logits_of(t->sessions[0]), logits_of(t->sessions[1]),
                            vocab_of(w->models[0]) * sizeof(float));
}

static void happen(world *w) {
    uint32_t slot = draw(w, SLOTS), other = draw(w, SLOTS);
    twins *t = &w->slots[slot];
    if (!t->sessions[0]) {
        make(w, slot);
        return;
    }
    switch (draw(w, 16)) {
    case 0: drop(w, t); break;
    case 1: go_back(w, t); break;
    case 2: score(w, t); break;
    case 3: compare(w, t); break;
    case 4: pin(w, t); break;
    case 5:
    case 6:
        if (!w->slots[other].sessions[0])
            fork_into(w, t, &w->slots[other]);
        break;
    case 7:
    case 8:
    case 9: append(w, t); break;
    default: begin_answer(w, t);
    }
}

static uint64_t at_random(const char *path, uint64_t seed, uint32_t rounds) {
    world w = {.random = seed, .models = {limited(path, 0, CHUNK), limited(path, TIGHT, CHUNK)}};
    bool worked;
    for (uint32_t round = 0; round < rounds; round++) {
        happen(&w);
        for (uint32_t steps = draw(&w, 4); steps; steps--) {
            OK(gr_engine_step(w.models[0]->engine, &worked, error));
            step(w.models[1]);
        }
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (!w.slots[slot].sessions[0])
            continue;
        compare(&w, &w.slots[slot]);
        drop(&w, &w.slots[slot]);
    }
    print_message("seed %llu: %llu answers, %llu preemptions\n", (unsigned long long)seed, (unsigned long long)w.answers,
                  (unsigned long long)w.preempted);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(used(w.models[i]), 0);
        gr_model_release(w.models[i]);
    }
    return w.preempted;
}

static void random_lives_agree(void **state) {
    const char *given = getenv("GREGALE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    uint32_t rounds = getenv("GREGALE_FAR_REFUSE") ? 60 : sampled_deep(400, 4000);
    (void)state;
    assert_true(at_random(SMALL("full-gqa4"), seed, rounds) + at_random(SMALL("wlist-gqa2"), seed + 1, rounds) +
                    at_random(SMALL("w8-gqa4"), seed + 2, rounds) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_lives_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
