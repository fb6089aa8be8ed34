// SPDX-License-Identifier: Apache-2.0
// The worker team: everyone enters once a run, nobody passes a barrier early, sleepers are woken.
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/os.h"
#include "fixtures.h"

enum { WORKERS_MAX = 40, ROUNDS = 200 };

typedef struct record {
    _Atomic uint32_t entered[WORKERS_MAX];
    uint32_t plain[WORKERS_MAX]; // written without atomics: the barrier alone orders these
    uint32_t rounds;
    _Atomic uint32_t wrong;
    uint64_t nap_ns;
} record;

static gr_team *team_of(const gr_topology *topology, uint32_t threads) {
    gr_team *team;
    gr_error error;
    gr_error_init(&error);
    if (gr_team_create(topology, threads, &team, &error) != GR_OK)
        fail_msg("%s", error.message);
    return team;
}

static void nap(uint64_t ns) {
    uint64_t end = gr_os_now_ns() + ns;
    while (gr_os_now_ns() < end)
        usleep(200);
}

static void enter(const gr_worker *worker, void *argument) {
    record *r = argument;
    atomic_fetch_add(&r->entered[worker->id], 1);
}

static void test_everyone_enters_once_a_run(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    for (uint32_t threads = 1; threads <= 5; threads++) {
        gr_team *team = team_of(t, threads);
        record r = {0};
        assert_int_equal(gr_team_size(team), threads);
        for (uint32_t i = 0; i < ROUNDS; i++)
            gr_team_run(team, enter, &r);
        for (uint32_t i = 0; i < WORKERS_MAX; i++)
            assert_int_equal(r.entered[i], i < threads ? ROUNDS : 0);
        gr_team_destroy(team);
    }
    gr_topology_destroy(t);
}

// Each worker writes its own word, and after the barrier reads all the others'.
static void exchange(const gr_worker *worker, void *argument) {
    record *r = argument;
    for (uint32_t round = 1; round <= r->rounds; round++) {
        r->plain[worker->id] = round;
        if (r->nap_ns && round % worker->count == worker->id)
            nap(r->nap_ns); // a late one: the others must go to sleep and be woken
        gr_team_barrier(worker);
        for (uint32_t i = 0; i < worker->count; i++)
            if (r->plain[i] != round)
                atomic_fetch_add(&r->wrong, 1);
        gr_team_barrier(worker);
    }
}

static void check_barrier_on(const char *xml, uint32_t threads, uint32_t rounds, uint64_t nap_ns) {
    gr_topology *t = machine(xml);
    gr_team *team = team_of(t, threads);
    record r = {.rounds = rounds, .nap_ns = nap_ns};
    gr_team_run(team, exchange, &r);
    gr_team_run(team, exchange, &r); // the barrier's counter goes on between runs
    assert_int_equal(r.wrong, 0);
    for (uint32_t i = 0; i < threads; i++)
        assert_int_equal(r.plain[i], rounds);
    gr_team_destroy(team);
    gr_topology_destroy(t);
}

static void check_barrier(uint32_t threads, uint32_t rounds, uint64_t nap_ns) {
    check_barrier_on(NULL, threads, rounds, nap_ns);
}

static void test_barrier_orders_plain_memory(void **state) {
    (void)state;
    check_barrier(1, ROUNDS, 0);
    check_barrier(2, 5000, 0);
}

static void test_barrier_with_more_workers_than_processors(void **state) {
    (void)state;
    check_barrier(7, 100, 0);
}

// Workers of several caches: gates above gates, of one, of unequal and of many workers.
static void test_barrier_over_caches(void **state) {
    (void)state;
    check_barrier_on(MACHINE("numa"), 2, 200, 0);
    check_barrier_on(MACHINE("uneven"), 5, 100, 0);
    check_barrier_on(MACHINE("numa"), 16, 40, 0);
    check_barrier_on(MACHINE("wide"), 40, 20, 0); // ten a cache: two gates each
    check_barrier_on(MACHINE("wide"), 9, 36, 1000000);
}

static void test_barrier_wakes_sleepers(void **state) {
    (void)state;
    check_barrier(2, 12, 2000000);
    check_barrier(3, 12, 2000000);
}

static void test_run_wakes_sleeping_workers(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    gr_team *team = team_of(t, 2);
    record r = {0};
    for (uint32_t i = 0; i < 10; i++) {
        nap(3000000); // longer than they spin
        gr_team_run(team, enter, &r);
    }
    assert_int_equal(r.entered[1], 10);
    gr_team_destroy(team);
    gr_topology_destroy(t);
}

static void slow_worker(const gr_worker *worker, void *argument) {
    if (worker->id)
        nap(5000000);
    enter(worker, argument);
}

static void test_caller_waits_for_slow_workers(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    gr_team *team = team_of(t, 3);
    record r = {0};
    for (uint32_t i = 1; i <= 3; i++) {
        gr_team_run(team, slow_worker, &r);
        assert_int_equal(r.entered[1], i);
        assert_int_equal(r.entered[2], i);
    }
    gr_team_destroy(team);
    gr_topology_destroy(t);
}

static void look_at_seat(const gr_worker *worker, void *argument) {
    gr_worker *seats = argument;
    seats[worker->id] = *worker;
}

static void test_workers_know_their_place(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("numa"));
    gr_team *team = team_of(t, 4);
    gr_worker seats[4] = {{0}};
    gr_team_run(team, look_at_seat, seats);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(seats[i].id, i);
        assert_int_equal(seats[i].count, 4);
        assert_int_equal(seats[i].numa_node, i / 2);
        assert_int_equal(seats[i].l3_group, i / 2);
    }
    gr_team_destroy(team);
    gr_topology_destroy(t);
}

#ifdef __linux__
static void look_at_processors(const gr_worker *worker, void *argument) {
    cpu_set_t *allowed = argument;
    assert_int_equal(sched_getaffinity(0, sizeof *allowed, &allowed[worker->id]), 0);
}

// In a process that was started with one processor to run on.
static void test_in_bounds(void **state) {
    (void)state;
    cpu_set_t one, found[3];
    assert_int_equal(sched_getaffinity(0, sizeof one, &one), 0);
    assert_int_equal(CPU_COUNT(&one), 1);
    gr_topology *t = machine(NULL);
    assert_int_equal(t->cpu_count, 1);
    assert_true(CPU_ISSET(t->cpus[0].os_index, &one));
    gr_team *team = team_of(t, 3);
    gr_team_run(team, look_at_processors, found);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(CPU_EQUAL(&found[i], &one));
    gr_team_destroy(team);
    gr_topology_destroy(t);
}

static void test_affinity_is_kept(void **state) {
    (void)state;
    cpu_set_t before, one;
    int last = 0, status = -1;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    for (int i = 0; i < CPU_SETSIZE; i++)
        last = CPU_ISSET(i, &before) ? i : last;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    pid_t child = fork();
    if (!child) {
        sched_setaffinity(0, sizeof one, &one);
        execl("/proc/self/exe", "unit-host-team", "in-bounds", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}
#endif

static void test_bad_sizes(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    gr_team *team = (gr_team *)t;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_team_create(t, 1000000, &team, &error), GR_ERROR_OUT_OF_RANGE);
    assert_null(team);
    assert_int_equal(error.code, GR_ERROR_OUT_OF_RANGE);
    gr_team_destroy(NULL);
    gr_topology_destroy(t);
}

static void test_teams_come_and_go(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    for (uint32_t i = 0; i < 30; i++) {
        gr_team *team = team_of(t, 1 + i % 4);
        record r = {0};
        if (i % 3)
            gr_team_run(team, enter, &r);
        gr_team_destroy(team); // some never ran
    }
    gr_topology_destroy(t);
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
#ifdef __linux__
    const struct CMUnitTest bounded[] = {cmocka_unit_test(test_in_bounds)};
    if (argc > 1 && !strcmp(argv[1], "in-bounds"))
        return cmocka_run_group_tests(bounded, NULL, NULL);
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everyone_enters_once_a_run),
        cmocka_unit_test(test_barrier_orders_plain_memory),
        cmocka_unit_test(test_barrier_with_more_workers_than_processors),
        cmocka_unit_test(test_barrier_over_caches),
        cmocka_unit_test(test_barrier_wakes_sleepers),
        cmocka_unit_test(test_run_wakes_sleeping_workers),
        cmocka_unit_test(test_caller_waits_for_slow_workers),
        cmocka_unit_test(test_workers_know_their_place),
#ifdef __linux__
        cmocka_unit_test(test_affinity_is_kept),
#endif
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_teams_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
