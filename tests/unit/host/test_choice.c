// SPDX-License-Identifier: Apache-2.0
// Which device "auto" means: facts decide, and changing one flips the choice; names and order do
// not.
#include "base/os.h"
#include "fixtures.h"
#include "host/internal.h"

static gr_cpu_features vnni = GR_CPU_AVX2 | GR_CPU_AVX512 | GR_CPU_AVX512_VNNI, plain = GR_CPU_AVX2;

static gr_registry *registry_on(const char *const *directories, gr_topology_options topology) {
    gr_registry *registry;
    gr_error error;
    gr_error_init(&error);
    gr_registry_options options = {
        .directories = directories, .only_explicit = true, .topology = topology};
    if (gr_registry_create(&options, &registry, &error) != GR_OK)
        fail_msg("%s", error.message);
    return registry;
}

// What is chosen on a machine, by the device's own name.
static void expect_choice(const char *xml_path, const gr_cpu_features *features,
                          const char *cgroup_root, const char *expected) {
    static const char *const directories[] = {PLUGINS("machine"), NULL};
    gr_registry *r = registry_on(directories, (gr_topology_options){.xml_path = xml_path,
                                                                    .features = features,
                                                                    .cgroup_root = cgroup_root});
    assert_string_equal(gr_registry_device(r, 0)->facts.name, expected);
    assert_true(gr_registry_device(r, 0)->score_reason[0] != '\0');
    gr_registry_destroy(r);
}

static void test_a_pci_device_flips_the_choice(void **state) {
    (void)state;
    expect_choice(MACHINE("smt"), &vnni, NULL, "processor");
    expect_choice(MACHINE("gpu"), &vnni, NULL, "accelerator");
}

static void test_a_feature_flips_the_choice(void **state) {
    (void)state;
    expect_choice(MACHINE("smt"), &vnni, NULL, "processor");
    expect_choice(MACHINE("smt"), &plain, NULL, "steady");
}

static void test_a_numa_node_flips_the_choice(void **state) {
    (void)state;
    expect_choice(MACHINE("caches"), &plain, NULL, "steady");  // 8 cores, one node: 50 GB/s
    expect_choice(MACHINE("numa"), &plain, NULL, "processor"); // 8 cores, two nodes: 100 GB/s
}

static void test_a_quota_flips_the_choice(void **state) {
    (void)state;
    char root[64];
    scratch_make(root);
    scratch_write(root, "proc-self-cgroup", "0::/\n");
    scratch_write(root, "cpu.max", "400000 100000");
    expect_choice(MACHINE("smt"), &vnni, root, "processor");
    scratch_write(root, "cpu.max", "100000 100000");
    expect_choice(MACHINE("smt"), &vnni, root, "steady");
    scratch_remove(root);
}

static void test_memory_needed_flips_the_choice(void **state) {
    (void)state;
    static const char *const directories[] = {PLUGINS("machine"), NULL};
    uint32_t index;
    gr_error error;
    gr_error_init(&error);
    gr_registry *r = registry_on(
        directories, (gr_topology_options){.xml_path = MACHINE("gpu"), .features = &vnni});
    assert_int_equal(gr_registry_best(r, UINT64_C(4) << 30, &index, &error), GR_OK);
    assert_string_equal(gr_registry_device(r, index)->name, "accelerator");
    assert_int_equal(gr_registry_best(r, UINT64_C(12) << 30, &index, &error),
                     GR_OK); // it has 8 GiB
    assert_string_equal(gr_registry_device(r, index)->name, "processor");
    assert_int_equal(gr_registry_best(r, UINT64_C(64) << 30, &index, &error),
                     GR_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "16.00 GiB"));
    gr_registry_destroy(r);
}

static void test_a_fallback_comes_last_whatever_it_claims(void **state) {
    (void)state;
    static const char *const directories[] = {PLUGINS("machine"), NULL};
    gr_registry *r = registry_on(
        directories, (gr_topology_options){.xml_path = MACHINE("gpu"), .features = &plain});
    uint32_t last = gr_registry_device_count(r) - 1;
    assert_string_equal(gr_registry_device(r, last)->name, "fallback");
    assert_true(gr_registry_device(r, last)->score < gr_registry_device(r, last - 1)->score);
    gr_registry_destroy(r);
}

// The same three devices under other plugin and file names, and in both orders of directories.
static void test_names_and_load_order_decide_nothing(void **state) {
    (void)state;
    static const char *const orders[][3] = {{PLUGINS("machine"), PLUGINS("renamed"), NULL},
                                            {PLUGINS("renamed"), PLUGINS("machine"), NULL},
                                            {PLUGINS("renamed"), NULL, NULL}};
    static const struct {
        const char *machine, *expected;
        const gr_cpu_features *features;
    } cases[] = {{MACHINE("smt"), "processor", &vnni},
                 {MACHINE("smt"), "steady", &plain},
                 {MACHINE("gpu"), "accelerator", &plain}};
    for (size_t o = 0; o < 3; o++) {
        for (size_t c = 0; c < 3; c++) {
            gr_registry *r =
                registry_on(orders[o], (gr_topology_options){.xml_path = cases[c].machine,
                                                             .features = cases[c].features});
            assert_string_equal(gr_registry_device(r, 0)->facts.name, cases[c].expected);
            gr_registry_destroy(r);
        }
    }
}

static double score_of(gr_device_facts facts) {
    gr_device_entry entry = {.facts = facts};
    gr_strbuf reason = {0};
    gr_score_device(&entry, &reason);
    assert_true(reason.size > 0);
    gr_strbuf_deinit(&reason);
    return entry.score;
}

// Every fact that is better makes the score better, unless the other one is the bottleneck.
static void test_score_grows_with_each_fact(void **state) {
    (void)state;
    gr_device_facts base = {.bandwidth_bytes_per_second = 30000000000u,
                            .int8_operations_per_second = 900000000000u};
    gr_device_facts more = base;
    more.bandwidth_bytes_per_second *= 2;
    assert_true(score_of(more) > score_of(base));
    more = base;
    more.int8_operations_per_second *= 2;
    assert_true(score_of(more) > score_of(base));
    more = base;
    more.f16_operations_per_second = 5000000000000u; // the faster class counts
    assert_true(score_of(more) > score_of(base));
    assert_true(score_of(base) > score_of((gr_device_facts){0})); // unknown is not fast
    // The roofline by hand: 512 tokens at 900e9/14e9 a second, 128 at 30e9/4e9.
    double seconds = 512 * 14e9 / 900e9 + 128 * 4e9 / 30e9;
    assert_true(score_of(base) > 0.999 * 640 / seconds && score_of(base) < 1.001 * 640 / seconds);
}

static void test_why_as_text_and_json(void **state) {
    (void)state;
    static const char *const directories[] = {PLUGINS("machine"), PLUGINS("renamed"), NULL};
    gr_registry *r = registry_on(
        directories, (gr_topology_options){.xml_path = MACHINE("hybrid"), .features = &vnni});
    gr_strbuf text = {0}, json = {0};
    assert_int_equal(gr_registry_why(r, false, &text, NULL), GR_OK);
    assert_int_equal(gr_registry_why(r, true, &json, NULL), GR_OK);
    static const char *const in_text[] = {"8 cores, 12 threads",
                                          "kinds     4 fast cores, 4 slow\n",
                                          "1 of L3 32768 KiB",
                                          "pci       no device that computes",
                                          "threads   by default on processors 0 2 4 6\n",
                                          "avx512-vnni",
                                          "accepted  processor 1.0",
                                          "comes after every other device",
                                          "choice    processor: the best score",
                                          "read from a file"};
    for (size_t i = 0; i < sizeof in_text / sizeof in_text[0]; i++) {
        if (!strstr(text.data, in_text[i]))
            fail_msg("no \"%s\" in:\n%s", in_text[i], text.data);
    }
    assert_non_null(
        strstr(json.data, "\"choice\":{\"device\":\"processor\",\"reason\":\"the best score\"}"));
    assert_non_null(strstr(json.data, "\"fake\":true"));
    assert_non_null(strstr(json.data, "\"cores_by_kind\":[4,4]"));
    assert_non_null(strstr(json.data, "\"default_threads_on\":[0,2,4,6]"));
    gr_strbuf_deinit(&text);
    gr_strbuf_deinit(&json);
    gr_registry_destroy(r);
}

static void test_why_names_what_a_plugin_asked_for(void **state) {
    (void)state;
    static const char *const with[] = {PLUGINS("machine"), NULL}, *const without[] = {PLUGINS("second"), NULL};
    gr_strbuf text = {0};
    gr_registry *r = registry_on(with, (gr_topology_options){.xml_path = MACHINE("gpu")});
    gr_registry_why(r, false, &text, NULL);
    assert_non_null(strstr(text.data, "pci       10de:2330 at 0000:01:00.0"));
    gr_registry_destroy(r);
    gr_strbuf_deinit(&text);
    r = registry_on(without, (gr_topology_options){.xml_path = MACHINE("gpu")});
    gr_registry_why(r, false, &text, NULL);
    assert_non_null(strstr(text.data, "pci       not looked at"));
    gr_registry_destroy(r);
    gr_strbuf_deinit(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pci_device_flips_the_choice),
        cmocka_unit_test(test_a_feature_flips_the_choice),
        cmocka_unit_test(test_a_numa_node_flips_the_choice),
        cmocka_unit_test(test_a_quota_flips_the_choice),
        cmocka_unit_test(test_memory_needed_flips_the_choice),
        cmocka_unit_test(test_a_fallback_comes_last_whatever_it_claims),
        cmocka_unit_test(test_names_and_load_order_decide_nothing),
        cmocka_unit_test(test_score_grows_with_each_fact),
        cmocka_unit_test(test_why_as_text_and_json),
        cmocka_unit_test(test_why_names_what_a_plugin_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
