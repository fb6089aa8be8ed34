// SPDX-License-Identifier: Apache-2.0
// The table of services that plugins call: memory, clock, log, trace, team; and letting a hung team
// go.
#include <pthread.h>
#include <stdatomic.h>

#include "fixtures.h"
#include "host/internal.h"

static char last_line[256];
static gr_log_level last_level;

static void keep_line(void *context, gr_log_level level, const char *line) {
    (void)context;
    last_level = level;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void test_memory_is_aligned_zero_and_returns(void **state) {
    (void)state;
    static const uint64_t sizes[] = {
        0, 1, 63, 65, 4095, 1 << 20, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20};
    gr_services s;
    gr_services_init(&s, "test", NULL, NULL, NULL);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            unsigned char *memory = s.table.memory_alloc(&s.table, sizes[i]);
            assert_non_null(memory);
            assert_int_equal((uintptr_t)memory % 64, 0);
            for (uint64_t k = 0; k < sizes[i]; k += 61)
                assert_int_equal(memory[k], 0);
            memset(memory, 0xEE, (size_t)sizes[i]);
            s.table.memory_free(&s.table, memory, sizes[i]);
        }
    }
    assert_null(s.table.memory_alloc(&s.table, UINT64_MAX));
    assert_null(s.table.memory_alloc(&s.table, UINT64_MAX / 2));
    s.table.memory_free(&s.table, NULL, 100);
    s.table.memory_free(&s.table, NULL, 100 << 20);
}

static void test_log_lines_carry_the_name(void **state) {
    (void)state;
    gr_services s;
    gr_log log = {.sink = keep_line, .level = GR_LOG_INFO};
    gr_services_init(&s, "test", &log, NULL, NULL);
    s.table.log(&s.table, GR_LOG_WARN, "something");
    assert_string_equal(last_line, "test: something");
    assert_int_equal(last_level, GR_LOG_WARN);
    s.table.log(&s.table, GR_LOG_DEBUG, "too quiet");
    assert_string_equal(last_line, "test: something");
    s.table.log(&s.table, GR_LOG_ERROR, NULL);
    assert_string_equal(last_line, "test: ");
}

static void see_event(void *context, const char *category, const char *op_name,
                      const gr_trace_event *event) {
    gr_trace_event *seen = context;
    assert_string_equal(category, "test");
    assert_string_equal(op_name, event->op == GR_OP_MATMUL ? "MATMUL" : "?");
    *seen = *event;
}

static void test_trace_takes_shorter_events(void **state) {
    (void)state;
    gr_services s;
    gr_trace *trace;
    gr_trace_event seen = {0};
    assert_int_equal(gr_trace_create(&trace, NULL), GR_OK);
    gr_services_init(&s, "test", NULL, trace, NULL);
    assert_true(s.table.trace_enabled(&s.table));
    gr_trace_event event = {
        .struct_size = sizeof event, .op = GR_OP_MATMUL, .rows = 3, .bytes = 100, .operations = 7};
    s.table.trace(&s.table, &event);
    gr_trace_visit(trace, see_event, &seen);
    assert_int_equal(seen.operations, 7);
    event.struct_size = offsetof(gr_trace_event, operations); // an older plugin
    event.op = 12345;
    s.table.trace(&s.table, &event);
    gr_trace_visit(trace, see_event, &seen);
    assert_int_equal(seen.bytes, 100);
    assert_int_equal(seen.operations, 0);
    event.struct_size = 0;
    s.table.trace(&s.table, &event);
    s.table.trace(&s.table, NULL);
    assert_int_equal(gr_trace_count(trace), 2);
    gr_trace_destroy(trace);
    gr_services_init(&s, "test", NULL, NULL, NULL);
    assert_false(s.table.trace_enabled(&s.table));
    s.table.trace(&s.table, &event);
}

static void test_table_tells_its_version(void **state) {
    (void)state;
    gr_topology *t = machine(MACHINE("smt"));
    gr_services s;
    gr_services_init(&s, "test", NULL, NULL, t);
    assert_int_equal(s.table.struct_size, sizeof(gr_host));
    assert_int_equal(s.table.abi_major, GR_ABI_MAJOR);
    assert_ptr_equal(s.table.topology, t);
    assert_null(s.table.get_extension(&s.table, "nobody.knows"));
    uint64_t before = s.table.now_ns(&s.table);
    usleep(1000);
    assert_true(s.table.now_ns(&s.table) - before >= 1000000);
    gr_topology_destroy(t);
}

// ---- What a failed call left behind ----

static void test_errors_of_plugins_are_made_sound(void **state) {
    (void)state;
    gr_error error;
    memset(&error, 'A', sizeof error); // nothing ends
    assert_int_equal(gr_abi_settle_error(GR_ERROR_BUSY, &error), GR_ERROR_BUSY);
    assert_int_equal(error.code, GR_ERROR_BUSY);
    assert_int_equal(error.struct_size, sizeof error);
    assert_int_equal(strnlen(error.message, sizeof error.message), sizeof error.message - 1);
    assert_int_equal(strnlen(error.origin, sizeof error.origin), sizeof error.origin - 1);
    gr_fail(&error, GR_OK, "\033", "%s", "a\033[31m\007b\xc3\xa9 \x80\xc2\x9b\xc3");
    gr_abi_settle_error(-77, &error);
    assert_int_equal(error.code, -77);
    assert_string_equal(error.origin, "?");
    assert_string_equal(error.message, "a?[31m?b\xc3\xa9 ????");
    gr_error_init(&error);
    gr_abi_settle_error(GR_ERROR_OUT_OF_MEMORY, &error);
    assert_string_equal(error.message, "out of memory");
    gr_error_init(&error);
    assert_int_equal(gr_abi_settle_error(GR_OK, &error), GR_OK);
    assert_string_equal(error.message, "");
    assert_int_equal(gr_abi_settle_error(GR_ERROR_IO, NULL), GR_ERROR_IO);
}

// ---- A worker that hangs ----

static gr_team *hung_team; // reachable on purpose: an abandoned team is never freed
static _Atomic int release, entered, left;

static void hang(const gr_worker *worker, void *argument) {
    (void)argument;
    atomic_fetch_add(&entered, 1);
    while (worker->id && !atomic_load(&release))
        usleep(500);
    atomic_fetch_add(&left, 1);
}

static void *run_hanging(void *argument) {
    gr_team_run(argument, hang, NULL);
    return NULL;
}

static void test_a_hung_team_can_be_abandoned(void **state) {
    (void)state;
    gr_topology *t = machine(NULL);
    pthread_t runner;
    assert_int_equal(gr_team_create(t, 3, &hung_team, NULL), GR_OK);
    assert_int_equal(pthread_create(&runner, NULL, run_hanging, hung_team), 0);
    while (atomic_load(&entered) < 3)
        usleep(500);
    gr_team_abandon(hung_team); // returns although two workers hang
    assert_int_equal(atomic_load(&left), 1);
    atomic_store(&release, 1);
    pthread_join(runner, NULL);
    assert_int_equal(atomic_load(&left), 3);
    usleep(20000); // let the let-go threads end before the process does
    gr_team_abandon(NULL);
    gr_topology_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_aligned_zero_and_returns),
        cmocka_unit_test(test_log_lines_carry_the_name),
        cmocka_unit_test(test_trace_takes_shorter_events),
        cmocka_unit_test(test_table_tells_its_version),
        cmocka_unit_test(test_errors_of_plugins_are_made_sound),
        cmocka_unit_test(test_a_hung_team_can_be_abandoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
