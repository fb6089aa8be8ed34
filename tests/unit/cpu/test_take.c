// SPDX-License-Identifier: Apache-2.0
// How units of work are allotted: groups on made-up machines, own shares first, every unit once.
#include <stdatomic.h>

#include "base/os.h"
#include "inside.h"

// ---- Groups and shares

static void check_groups(const char *xml, uint32_t threads, uint32_t count, const uint32_t *sizes) {
    inside in;
    cpu_call call = {0};
    inside_open(&in, xml, threads, &call, 1);
    assert_int_equal(in.queue->group_count, count);
    for (uint32_t i = 0, first = 0; i < count; first += sizes[i++]) {
        assert_int_equal(in.queue->groups[i].first, first);
        assert_int_equal(in.queue->groups[i].count, sizes[i]);
        for (uint32_t id = first; id < first + sizes[i]; id++)
            assert_int_equal(cpu_group_of(in.queue, id), i);
    }
    inside_close(&in);
}
#define GROUPS(name, threads, ...)                                                     \
    check_groups(MACHINE(name), threads, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), \
                 (uint32_t[]){__VA_ARGS__})

static void test_groups_follow_caches(void **state) {
    (void)state;
    GROUPS("smt", 3, 3);
    GROUPS("numa", 2, 1, 1);
    GROUPS("numa", 5, 3, 2);
    GROUPS("numa", 16, 8, 8);
    GROUPS("caches", 6, 3, 3);
    GROUPS("uneven", 6, 2, 2, 2); // two caches on the first node
    GROUPS("wide", 40, 5, 5, 5, 5, 5, 5, 5, 5); // ten a cache are two groups
}

static void test_groups_name_their_node(void **state) {
    (void)state;
    inside in;
    cpu_call call = {0};
    inside_open(&in, MACHINE("wide"), 40, &call, 1);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(in.queue->groups[i].numa_node, i / 2);
    inside_close(&in);
}

static void test_shares_join(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, 3, 39, 40, 41, 1000};
    inside in;
    cpu_call call = {0};
    inside_open(&in, MACHINE("wide"), 40, &call, 1);
    for (uint32_t working = 1; working <= 40; working += 3) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            uint64_t begin, end, last = 0;
            for (uint32_t g = 0; g < in.queue->group_count; g++) {
                cpu_group_share(&in.queue->groups[g], working, sizes[i], &begin, &end);
                assert_int_equal(begin, last);
                assert_true(end >= begin);
                if (in.queue->groups[g].first >= working)
                    assert_int_equal(begin, end);
                last = end;
            }
            assert_int_equal(last, sizes[i]);
        }
    }
    inside_close(&in);
}

// ---- Alone: the order in which one worker takes

static void test_own_share_comes_first(void **state) {
    (void)state;
    enum { UNITS = 83, EACH = 3 };
    inside in;
    cpu_call call = {0};
    inside_open(&in, MACHINE("numa"), 4, &call, 1);
    cpu_task task = inside_task(&in, 3, NULL);
    uint64_t begin, end, at, half = (UNITS + EACH - 1) / EACH / 2 * EACH;
    cpu_allotment units;
    cpu_allot(&call, &task, UNITS, EACH, &units);
    for (at = half; at < UNITS; at = end) { // the second node's, in order
        assert_true(cpu_take(&units, &begin, &end));
        assert_int_equal(begin, at);
        assert_int_equal(end, at + EACH < UNITS ? at + EACH : UNITS);
    }
    for (at = 0; at < half; at = end) { // then the first node's
        assert_true(cpu_take(&units, &begin, &end));
        assert_int_equal(begin, at);
    }
    assert_false(cpu_take(&units, &begin, &end));
    inside_close(&in);
}

static void test_idle_workers_take_nothing(void **state) {
    (void)state;
    inside in;
    cpu_call call = {0};
    inside_open(&in, MACHINE("numa"), 4, &call, 1);
    in.program.threads = 3;
    cpu_task idle = inside_task(&in, 3, NULL), task = inside_task(&in, 0, NULL);
    uint64_t begin, end;
    cpu_allotment units;
    cpu_allot(&call, &idle, 10, 1, &units);
    assert_false(cpu_take(&units, &begin, &end));
    cpu_allot(&call, &task, 10, 1, &units);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(cpu_take(&units, &begin, &end));
    assert_false(cpu_take(&units, &begin, &end));
    inside_close(&in);
}

// ---- Together

enum { CALLS = 40, UNITS_MAX = 700, RUNS = 6 };

typedef struct work {
    inside in;
    cpu_call calls[CALLS];
    uint64_t units[CALLS], each[CALLS];
    _Atomic uint32_t taken[CALLS][UNITS_MAX];
    uint32_t plain[CALLS][UNITS_MAX]; // written by whoever took it, read beyond the barrier
    _Atomic uint32_t wrong;
} work;

// Two calls between barriers, as a program that calls the same three pairs over and over.
static void run_calls(const gr_worker *worker, void *argument) {
    work *w = argument;
    cpu_task task = inside_task(&w->in, worker->id, NULL);
    for (uint32_t c = 0; c < CALLS; c++) {
        uint64_t begin, end;
        cpu_allotment units;
        cpu_allot(&w->calls[c], &task, w->units[c], w->each[c], &units);
        while (cpu_take(&units, &begin, &end)) {
            for (; begin < end; begin++) {
                atomic_fetch_add_explicit(&w->taken[c][begin], 1, memory_order_relaxed);
                w->plain[c][begin]++;
            }
        }
        if (!w->calls[c].barrier)
            continue;
        gr_team_barrier(worker);
        for (uint64_t i = worker->id; i < w->units[c]; i += worker->count)
            if (w->plain[c][i] != w->taken[c][i])
                atomic_fetch_add(&w->wrong, 1);
    }
}

static void check_once(const char *xml, uint32_t threads, uint32_t stamp) {
    static const uint64_t units[] = {250, 0, 7, UNITS_MAX, 1, 64}, each[] = {1, 3, 1, 8, 2, 5};
    work *w = calloc(1, sizeof *w);
    assert_non_null(w);
    for (uint32_t c = 0; c < CALLS; c++) {
        w->calls[c] = (cpu_call){.ticket = c % 2, .barrier = c % 2 == 1};
        w->units[c] = units[c % 6];
        w->each[c] = each[c % 6];
    }
    inside_open(&w->in, xml, threads, w->calls, CALLS);
    w->in.queue->stamp = stamp ? stamp : w->in.queue->stamp;
    for (uint32_t run = 1; run <= RUNS; run++) {
        cpu_queue_begin(w->in.device.host, w->in.queue, &w->in.run);
        gr_team_run(w->in.team, run_calls, w);
        for (uint32_t c = 0; c < CALLS; c++) {
            for (uint32_t i = 0; i < UNITS_MAX; i++)
                assert_int_equal(w->taken[c][i], i < w->units[c] ? run : 0);
        }
    }
    assert_int_equal(w->wrong, 0);
    inside_close(&w->in);
    free(w);
}

static void test_every_unit_is_taken_once(void **state) {
    (void)state;
    check_once(NULL, 1, 0);
    check_once(NULL, 2, 0);
    check_once(MACHINE("numa"), 2, 0);
    check_once(MACHINE("uneven"), 5, 0);
    check_once(MACHINE("hybrid"), 12, 0);
    check_once(MACHINE("wide"), 40, 0);
}

static uint64_t take_all(inside *in, const cpu_call *call, uint64_t units) {
    cpu_task task = inside_task(in, 0, NULL);
    uint64_t begin, end, count = 0;
    cpu_allotment allotted;
    cpu_allot(call, &task, units, 1, &allotted);
    while (cpu_take(&allotted, &begin, &end))
        count++;
    return count;
}

// Stamps that come round again must not meet a ticket that still holds one of them.
static void test_stamps_begin_anew(void **state) {
    (void)state;
    inside in;
    cpu_call calls[2] = {{.ticket = 0}, {.ticket = 1}};
    inside_open(&in, NULL, 1, calls, 2);
    assert_int_equal(take_all(&in, &calls[1], 5), 5); // its ticket keeps the stamp
    uint32_t kept = in.run.stamp + 1;
    in.queue->stamp = UINT32_MAX;
    in.program.call_count = 1;
    for (uint32_t i = 0; in.queue->stamp != kept - 1 && i < 10; i++) {
        cpu_queue_begin(in.device.host, in.queue, &in.run);
        assert_int_equal(take_all(&in, &calls[0], 5), 5);
    }
    in.program.call_count = 2;
    in.queue->stamp = kept - 1;
    cpu_queue_begin(in.device.host, in.queue, &in.run);
    assert_int_equal(take_all(&in, &calls[1], 5), 5);
    inside_close(&in);
}

static void test_every_unit_is_taken_once_at_the_end_of_stamps(void **state) {
    (void)state;
    check_once(MACHINE("numa"), 4, UINT32_MAX - 2 * CALLS - 1);
    check_once(MACHINE("numa"), 4, UINT32_MAX - 2 * CALLS);
    check_once(MACHINE("numa"), 4, UINT32_MAX - 2 * CALLS + 1);
}

// ---- A slow worker

typedef struct crawl {
    inside in;
    cpu_call call;
    uint64_t units;
    uint32_t slow;
    _Atomic uint64_t done;
    _Atomic uint64_t taken_by_slow;
    _Atomic uint32_t gave_up;
} crawl;

// The slow one sits on its first unit until all the others are done.
static void crawl_along(const gr_worker *worker, void *argument) {
    crawl *c = argument;
    cpu_task task = inside_task(&c->in, worker->id, NULL);
    uint64_t begin, end, deadline = gr_os_now_ns() + UINT64_C(60000000000);
    while (worker->id != c->slow && !atomic_load(&c->taken_by_slow) && gr_os_now_ns() < deadline)
        usleep(100);
    cpu_allotment units;
    cpu_allot(&c->call, &task, c->units, 1, &units);
    while (cpu_take(&units, &begin, &end)) {
        if (worker->id == c->slow) {
            atomic_fetch_add(&c->taken_by_slow, 1);
            while (atomic_load(&c->done) < c->units - 1 && gr_os_now_ns() < deadline)
                usleep(100);
        }
        atomic_fetch_add(&c->done, 1);
    }
    if (gr_os_now_ns() >= deadline)
        atomic_fetch_add(&c->gave_up, 1);
}

static void check_slow(const char *xml, uint32_t threads, uint32_t slow) {
    crawl c = {.units = 101, .slow = slow};
    inside_open(&c.in, xml, threads, &c.call, 1);
    gr_team_run(c.in.team, crawl_along, &c);
    assert_int_equal(c.gave_up, 0);
    assert_int_equal(c.taken_by_slow, 1);
    assert_int_equal(c.done, c.units);
    inside_close(&c.in);
}

// Whether it is alone in its group or not, nobody waits for what it has not begun.
static void test_a_slow_worker_holds_nobody(void **state) {
    (void)state;
    check_slow(MACHINE("numa"), 2, 1);
    check_slow(MACHINE("numa"), 6, 0);
    check_slow(MACHINE("hybrid"), 8, 7); // a slow core of the same cache
    check_slow(MACHINE("wide"), 12, 11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_follow_caches),
        cmocka_unit_test(test_groups_name_their_node),
        cmocka_unit_test(test_shares_join),
        cmocka_unit_test(test_own_share_comes_first),
        cmocka_unit_test(test_idle_workers_take_nothing),
        cmocka_unit_test(test_every_unit_is_taken_once),
        cmocka_unit_test(test_every_unit_is_taken_once_at_the_end_of_stamps),
        cmocka_unit_test(test_stamps_begin_anew),
        cmocka_unit_test(test_a_slow_worker_holds_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
