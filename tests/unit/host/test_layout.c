// SPDX-License-Identifier: Apache-2.0
// Which processors a team gets on made-up machines.
#include "fixtures.h"

// Compares the system numbers of the processors chosen with `expected`.
static void expect(const gr_topology *t, uint32_t threads, uint32_t count,
                   const uint32_t *expected) {
    uint32_t cpus[64] = {0};
    assert_int_equal(gr_team_layout(t, threads, cpus, 64), count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(t->cpus[cpus[i]].os_index, expected[i]);
}
#define EXPECT(topology, threads, ...)                                              \
    expect(topology, threads, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), \
           (uint32_t[]){__VA_ARGS__})

static void test_own_cores_before_siblings(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("smt"));
    EXPECT(t, 0, 0, 2, 4, 6);
    EXPECT(t, 2, 0, 2);
    EXPECT(t, 5, 0, 1, 2, 4, 6);
    EXPECT(t, 8, 0, 1, 2, 3, 4, 5, 6, 7);
    EXPECT(t, 100, 0, 1, 2, 3, 4, 5, 6, 7);
    gr_topology_destroy(t);
}

static void test_capacity_is_kept(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("smt"));
    uint32_t cpus[3] = {7, 7, 7};
    assert_int_equal(gr_team_layout(t, 8, cpus, 2), 2);
    assert_int_equal(cpus[2], 7);
    gr_topology_destroy(t);
}

static void test_numa_nodes_share_the_load(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("numa"));
    EXPECT(t, 0, 0, 2, 4, 6, 8, 10, 12, 14);
    EXPECT(t, 2, 0, 8);
    EXPECT(t, 4, 0, 2, 8, 10); // two a node, neighbours together
    EXPECT(t, 5, 0, 2, 4, 8, 10);
    gr_topology_destroy(t);
    t = machine(MACHINE("wide"));
    EXPECT(t, 4, 0, 10, 20, 30);
    EXPECT(t, 10, 0, 1, 2, 10, 11, 12, 20, 21, 30, 31);
    gr_topology_destroy(t);
    t = machine(MACHINE("uneven"));
    EXPECT(t, 4, 0, 2, 4, 5); // two a node, although the second node has fewer caches
    gr_topology_destroy(t);
}

static void test_caches_share_the_load(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("caches"));
    EXPECT(t, 4, 0, 1, 4, 5);
    gr_topology_destroy(t);
}

static void test_fast_cores_first(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("hybrid"));
    EXPECT(t, 0, 0, 2, 4, 6);                   // fast cores alone, being half of all
    EXPECT(t, 6, 0, 2, 4, 6, 8, 10);            // then slow cores
    EXPECT(t, 9, 0, 1, 2, 4, 6, 8, 10, 12, 14); // siblings last
    gr_topology_destroy(t);
    t = machine(MACHINE("fast-last")); // wherever they are numbered
    EXPECT(t, 0, 8, 10, 12, 14);
    EXPECT(t, 2, 8, 10);
    EXPECT(t, 5, 0, 8, 10, 12, 14);
    gr_topology_destroy(t);
}

static void test_one_fast_core_does_not_idle_the_rest(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("one-fast"));
    EXPECT(t, 0, 0, 2, 4, 6, 8);
    EXPECT(t, 1, 0);
    gr_topology_destroy(t);
}

static void test_cpuset_is_never_left(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("cpuset"));
    EXPECT(t, 0, 2, 4);
    EXPECT(t, 64, 2, 3, 4, 5);
    gr_topology_destroy(t);
}

static uint32_t workers_with_quota(const char *cpu_max) {
    char root[64];
    uint32_t cpus[64];
    scratch_make(root);
    scratch_write(root, "proc-self-cgroup", "0::/\n");
    scratch_write(root, "cpu.max", cpu_max);
    gr_topology *t =
        machine_with((gr_topology_options){.xml_path = MACHINE("smt"), .cgroup_root = root});
    uint32_t count = gr_team_layout(t, 0, cpus, 64);
    assert_int_equal(gr_team_layout(t, 4, cpus, 64), 4); // who asks for a number gets it
    gr_topology_destroy(t);
    scratch_remove(root);
    return count;
}

static void test_quota(void **state) {
    (void)state;
    assert_int_equal(workers_with_quota("max 100000"), 4);
    assert_int_equal(workers_with_quota("800000 100000"), 4);
    assert_int_equal(workers_with_quota("300000 100000"), 3);
    assert_int_equal(workers_with_quota("250000 100000"), 2);
    assert_int_equal(workers_with_quota("190000 100000"), 2);
    assert_int_equal(workers_with_quota("50000 100000"), 1);
    assert_int_equal(workers_with_quota("1 100000"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_cores_before_siblings),
        cmocka_unit_test(test_capacity_is_kept),
        cmocka_unit_test(test_numa_nodes_share_the_load),
        cmocka_unit_test(test_caches_share_the_load),
        cmocka_unit_test(test_fast_cores_first),
        cmocka_unit_test(test_one_fast_core_does_not_idle_the_rest),
        cmocka_unit_test(test_cpuset_is_never_left),
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
