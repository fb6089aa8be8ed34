// SPDX-License-Identifier: Apache-2.0
// The snapshot of a machine: processors, kinds, caches, memory, limits, features, PCI devices.
#include "fixtures.h"
#include "host/internal.h"

static void test_smt_machine(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("smt"));
    assert_int_equal(t->cpu_count, 8);
    assert_int_equal(t->core_count, 4);
    assert_int_equal(t->numa_count, 1);
    assert_int_equal(t->fake, 1);
    assert_int_equal(t->memory_bytes, 17179869184);
    assert_int_equal(t->memory_limit_bytes, 17179869184);
    for (uint32_t i = 0; i < t->cpu_count; i++) {
        assert_int_equal(t->cpus[i].os_index, i);
        assert_int_equal(t->cpus[i].core, i / 2);
        assert_int_equal(t->cpus[i].smt_rank, i % 2);
        assert_int_equal(t->cpus[i].l3_group, 0);
        assert_int_equal(t->cpus[i].kind, 0);
    }
    gr_topology_destroy(t);
}

static void test_caches(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("smt"));
    static const struct {
        uint32_t level, sharers, instances;
        uint64_t bytes;
    } expected[] = {{1, 2, 4, 32768}, {2, 2, 4, 1048576}, {3, 8, 1, 33554432}};
    assert_int_equal(t->cache_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(t->caches[i].level, expected[i].level);
        assert_int_equal(t->caches[i].sharers, expected[i].sharers);
        assert_int_equal(t->caches[i].instances, expected[i].instances);
        assert_int_equal(t->caches[i].bytes, expected[i].bytes);
        assert_int_equal(t->caches[i].line_bytes, 64);
    }
    gr_topology_destroy(t);
}

static void test_numa_machine(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("numa"));
    assert_int_equal(t->cpu_count, 16);
    assert_int_equal(t->numa_count, 2);
    assert_int_equal(t->memory_bytes, 2 * 34359738368);
    for (uint32_t i = 0; i < 16; i++) {
        assert_int_equal(t->cpus[i].numa_node, i / 8);
        assert_int_equal(t->cpus[i].l3_group, i / 8);
    }
    gr_topology_destroy(t);
}

static void test_kinds_rank_fast_cores_higher(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("hybrid"));
    assert_int_equal(t->cpu_count, 12);
    assert_int_equal(t->core_count, 8);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(t->cpus[i].kind, t->cpus[i].os_index < 8 ? 1 : 0);
    gr_topology_destroy(t);
}

static void test_cpuset_hides_what_may_not_be_used(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("cpuset"));
    assert_int_equal(t->cpu_count, 4);
    assert_int_equal(t->core_count, 2);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(t->cpus[i].os_index, i + 2);
    gr_topology_destroy(t);
}

static void test_pci_only_when_asked(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("gpu"));
    assert_null(t->pci_devices);
    gr_topology_destroy(t);
    t = machine_with((gr_topology_options){.xml_path = MACHINE("gpu"), .pci = true});
    assert_int_equal(t->pci_count, 1);
    assert_int_equal(t->pci_devices[0].vendor_id, 0x10de);
    assert_int_equal(t->pci_devices[0].device_id, 0x2330);
    assert_int_equal(t->pci_devices[0].bus, 1);
    assert_int_equal(t->pci_devices[0].class_id, 0x0302);
    gr_topology_destroy(t);
}

static void test_this_machine(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    assert_int_equal(t->fake, 0);
    assert_in_range(t->cpu_count, 1, 1 << 16);
    assert_in_range(t->core_count, 1, t->cpu_count);
    assert_true(t->memory_bytes > 0);
    assert_in_range(t->memory_limit_bytes, 1, t->memory_bytes);
    assert_int_equal(t->cpu_features, gr_cpu_features_read());
    gr_topology_destroy(t);
}

static void test_files_that_are_no_topology(void **state) {
    (void)state;
    static const char *const texts[] = {"", "<topology", "not xml at all",
                                        "<?xml version=\"1.0\"?><a/>",
                                        "<topology version=\"2.0\"></topology>"};
    char scratch[64], path[128];
    scratch_make(scratch);
    snprintf(path, sizeof path, "%s/t.xml", scratch);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        gr_topology *t = (gr_topology *)&t;
        gr_error error;
        gr_error_init(&error);
        scratch_write(scratch, "t.xml", texts[i]);
        gr_topology_options options = {.xml_path = path};
        assert_int_equal(gr_topology_create(&options, &t, &error), GR_ERROR_CORRUPT);
        assert_null(t);
        assert_non_null(strstr(error.message, path));
    }
    scratch_remove(scratch);
}

// ---- Control groups ----

static gr_cgroup_limits limits_of(const char *root) {
    gr_cgroup_limits limits;
    gr_cgroup_read(root, &limits);
    return limits;
}

static void test_cgroup_v2_smallest_on_the_way_up(void **state) {
    (void)state;
    char root[64];
    scratch_make(root);
    scratch_write(root, "proc-self-cgroup", "0::/a/b\n");
    scratch_write(root, "a/b/cpu.max", "max 100000\n");
    scratch_write(root, "a/b/memory.max", "8589934592\n");
    assert_int_equal(limits_of(root).cpu_quota_milli, 0);
    scratch_write(root, "a/cpu.max", "250000 100000\n");
    assert_int_equal(limits_of(root).cpu_quota_milli, 2500);
    scratch_write(root, "cpu.max", "150000 100000\n");
    scratch_write(root, "a/memory.max", "max\n");
    assert_int_equal(limits_of(root).cpu_quota_milli, 1500);
    assert_int_equal(limits_of(root).memory_bytes, 8589934592);
    scratch_write(root, "a/b/c/cpu.max", "1000 100000\n"); // below us: not ours
    assert_int_equal(limits_of(root).cpu_quota_milli, 1500);
    gr_topology *t =
        machine_with((gr_topology_options){.xml_path = MACHINE("smt"), .cgroup_root = root});
    assert_int_equal(t->cpu_quota_milli, 1500);
    assert_int_equal(t->memory_limit_bytes, 8589934592);
    assert_int_equal(t->memory_bytes, 17179869184);
    gr_topology_destroy(t);
    scratch_remove(root);
}

static void test_cgroup_v1(void **state) {
    (void)state;
    char root[64];
    scratch_make(root);
    scratch_write(root, "proc-self-cgroup", "5:memory:/m\n4:cpu,cpuacct:/c/d\n3:cpuset:/\n");
    scratch_write(root, "cpu,cpuacct/c/cpu.cfs_quota_us", "300000\n");
    scratch_write(root, "cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
    scratch_write(root, "cpu,cpuacct/c/d/cpu.cfs_quota_us", "-1\n");
    scratch_write(root, "cpu,cpuacct/c/d/cpu.cfs_period_us", "100000\n");
    scratch_write(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(limits_of(root).cpu_quota_milli, 3000);
    assert_int_equal(limits_of(root).memory_bytes, 0);
    scratch_write(root, "memory/m/memory.limit_in_bytes", "1073741824\n");
    assert_int_equal(limits_of(root).memory_bytes, 1073741824);
    scratch_remove(root);
}

static void test_cgroup_nonsense_is_no_limit(void **state) {
    (void)state;
    static const char *const lists[] = {"", "\n", "0::", "0::/../../etc", "::::", "x", "0:/\n1\n:"};
    char root[64];
    scratch_make(root);
    scratch_write(root, "cpu.max", "-5 100000\n");
    scratch_write(root, "memory.max", "many\n");
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        scratch_write(root, "proc-self-cgroup", lists[i]);
        assert_int_equal(limits_of(root).cpu_quota_milli, 0);
        assert_int_equal(limits_of(root).memory_bytes, 0);
    }
    scratch_write(root, "cpu.max", "9223372036854775807 1\n");
    scratch_write(root, "proc-self-cgroup", "0::/\n");
    assert_int_equal(limits_of(root).cpu_quota_milli, 0);
    scratch_write(root, "cpu.max", "1 100000\n");
    assert_int_equal(limits_of(root).cpu_quota_milli, 1); // never rounded down to "none"
    scratch_remove(root);
}

// ---- Features ----

static const gr_cpuid_words everything = {.leaf1_ecx = UINT32_MAX,
                                          .leaf7_ebx = UINT32_MAX,
                                          .leaf7_ecx = UINT32_MAX,
                                          .leaf7_edx = UINT32_MAX,
                                          .leaf7_1_eax = UINT32_MAX,
                                          .xcr0 = UINT64_MAX};

static void test_features_need_the_system(void **state) {
    (void)state;
    gr_cpuid_words w = everything;
    gr_cpu_features all = gr_cpuid_decode(&w);
    assert_true(all & GR_CPU_AVX512_BF16);
    assert_true(all & GR_CPU_AMX_INT8);
    w.xcr0 = 0x7; // YMM saved, ZMM and tiles not
    gr_cpu_features ymm = gr_cpuid_decode(&w);
    assert_true(ymm & GR_CPU_AVX2);
    assert_false(ymm & (GR_CPU_AVX512 | GR_CPU_AVX512_VNNI | GR_CPU_AVX512_BF16 | GR_CPU_AMX_TILE));
    w.xcr0 = 0x3; // only SSE state
    assert_false(gr_cpuid_decode(&w) & (GR_CPU_AVX | GR_CPU_AVX2 | GR_CPU_FMA | GR_CPU_F16C));
    w.xcr0 = 0x67; // YMM, half of ZMM
    assert_false(gr_cpuid_decode(&w) & GR_CPU_AVX512);
    w = everything;
    w.leaf1_ecx &= ~(1u << 27); // XSAVE off: XCR0 means nothing
    assert_int_equal(gr_cpuid_decode(&w) & ~(GR_CPU_SSE42 | GR_CPU_BMI2), 0);
}

static void test_avx512_needs_all_five(void **state) {
    (void)state;
    static const unsigned parts[] = {16, 17, 28, 30, 31};
    for (size_t i = 0; i < 5; i++) {
        gr_cpuid_words w = everything;
        w.leaf7_ebx &= ~(1u << parts[i]);
        assert_false(gr_cpuid_decode(&w) & (GR_CPU_AVX512 | GR_CPU_AVX512_VNNI));
        assert_true(gr_cpuid_decode(&w) & GR_CPU_AVX2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smt_machine),
        cmocka_unit_test(test_caches),
        cmocka_unit_test(test_numa_machine),
        cmocka_unit_test(test_kinds_rank_fast_cores_higher),
        cmocka_unit_test(test_cpuset_hides_what_may_not_be_used),
        cmocka_unit_test(test_pci_only_when_asked),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_files_that_are_no_topology),
        cmocka_unit_test(test_cgroup_v2_smallest_on_the_way_up),
        cmocka_unit_test(test_cgroup_v1),
        cmocka_unit_test(test_cgroup_nonsense_is_no_limit),
        cmocka_unit_test(test_features_need_the_system),
        cmocka_unit_test(test_avx512_needs_all_five),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
