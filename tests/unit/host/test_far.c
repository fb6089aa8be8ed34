// SPDX-License-Identifier: Apache-2.0
// far keeps what it promises: it is as distant as a device, and a host that forgets it is told.
#include "bench.h"

static void bench_open(bench *b, const char *delay_us, const char *memory) {
    setenv("GREGALE_FAR_DELAY_US", delay_us, 1);
    setenv("GREGALE_FAR_MEMORY", memory, 1);
    bench_make(b, GREGALE_BINARY_DIR "/tests/far", "far");
    assert_true(b->table[0] != b->table[0]); // overwritten: the device has its own
}

static const char *const long_delay = "60000000", *const plenty = "1000000000";

// No handle is an address: in canonical form the upper bits of one are all equal.
static void handles_are_no_addresses(void **state) {
    (void)state;
    bench b;
    bench_open(&b, "0", plenty);
    const void *const handles[] = {b.device, b.weight, b.kv, b.arena, b.program, b.queue, b.fence};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        uint64_t upper = (uint64_t)(uintptr_t)handles[i] >> 47;
        assert_true(upper != 0 && upper != 0x1ffff);
    }
    gr_buffer *buffer = (gr_buffer *)&b;
    assert_null(b.backend->buffer_map(b.device, b.arena));
    assert_int_equal(b.backend->buffer_import(b.device, &b, sizeof b, &buffer, NULL),
                     GR_ERROR_UNSUPPORTED);
    assert_null(buffer);
    bench_close(&b);
}

// Nothing runs until somebody waits; meanwhile what the step uses is not to be touched.
static void work_stands_until_waited_for(void **state) {
    (void)state;
    bench b;
    float rows[ROWS * WIDTH];
    bench_open(&b, long_delay, plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    usleep(20000);
    assert_int_equal(wait(&b, 1, 0), GR_ERROR_TIMEOUT);
    assert_int_equal(b.backend->buffer_read(b.device, NULL, b.arena, 0, rows, BYTES, NULL),
                     GR_ERROR_INVALID_ARGUMENT);
    b.tokens[0] = 2; // the step block is read when the step runs
    assert_int_equal(wait(&b, 1, UINT64_MAX), GR_OK);
    assert_int_equal(b.backend->buffer_read(b.device, NULL, b.arena, 0, rows, BYTES, NULL), GR_OK);
    assert_true(rows[0] == 2 * WIDTH && rows[WIDTH] == 2 * WIDTH && rows[2 * WIDTH] == WIDTH);
    b.tokens[0] = 3;
    assert_int_equal(submit(&b, 2), GR_OK);
    assert_int_equal(b.backend->buffer_read(b.device, b.queue, b.arena, 0, rows, BYTES, NULL),
                     GR_OK); // ordered behind the step
    assert_true(rows[0] == 3 * WIDTH);
    bench_close(&b);
}

static void a_delay_ends_by_itself(void **state) {
    (void)state;
    bench b;
    bench_open(&b, "2000", plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    for (int i = 0; i < 5000 && wait(&b, 1, 0) != GR_OK; i++)
        usleep(1000);
    assert_int_equal(wait(&b, 1, 0), GR_OK);
    bench_close(&b);
}

static gr_kv_region slot(uint32_t page) {
    return (gr_kv_region){
        .struct_size = sizeof(gr_kv_region), .layer = 1, .page = page, .slot = 1, .count = 1};
}

static void page_copies_are_queued(void **state) {
    (void)state;
    bench b;
    float in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {0};
    bench_open(&b, long_delay, plenty);
    gr_kv_region from = slot(0), to = slot(2);
    assert_int_equal(
        b.backend->kv_write(b.device, NULL, b.kv, &from, GR_DTYPE_F32, in, sizeof in, NULL), GR_OK);
    assert_int_equal(b.backend->kv_copy_page(b.device, b.queue, b.kv, 0, 2, 4, NULL), GR_OK);
    assert_int_equal(b.backend->kv_resize(b.device, b.kv, 9, NULL), GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        b.backend->kv_read(b.device, b.queue, b.kv, &to, GR_DTYPE_F32, out, sizeof out, NULL),
        GR_OK);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(b.backend->kv_resize(b.device, b.kv, 9, NULL), GR_OK);
    bench_close(&b);
}

static void memory_ends(void **state) {
    (void)state;
    bench b;
    gr_buffer *half = NULL, *more = NULL;
    bench_open(&b, "0", "100000");
    assert_int_equal(b.backend->buffer_alloc(b.device, 60000, &half, NULL), GR_OK);
    assert_int_equal(b.backend->buffer_alloc(b.device, 60000, &more, NULL), GR_ERROR_OUT_OF_MEMORY);
    assert_null(more);
    assert_int_equal(b.backend->kv_resize(b.device, b.kv, 1000, NULL), GR_ERROR_OUT_OF_MEMORY);
    b.backend->buffer_destroy(b.device, half);
    assert_int_equal(b.backend->buffer_alloc(b.device, 60000, &more, NULL), GR_OK);
    b.backend->buffer_destroy(b.device, more);
    assert_int_equal(submit(&b, 1), GR_OK); // what failed changed nothing
    assert_int_equal(wait(&b, 1, UINT64_MAX), GR_OK);
    bench_close(&b);
}

static void is_lost(bench *b) {
    gr_buffer *buffer = NULL;
    assert_int_equal(b->backend->buffer_alloc(b->device, 64, &buffer, NULL), GR_ERROR_DEVICE_LOST);
    assert_int_equal(submit(b, 9), GR_ERROR_DEVICE_LOST);
    assert_int_equal(wait(b, 9, UINT64_MAX), GR_ERROR_DEVICE_LOST);
}

static void a_lying_step_loses_the_device(void **state) {
    (void)state;
    bench b;
    bench_open(&b, long_delay, plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    b.tokens[1] = VOCABULARY;
    assert_int_equal(wait(&b, 1, UINT64_MAX), GR_ERROR_DEVICE_LOST);
    is_lost(&b);
    bench_close(&b);
}

static void destroying_what_is_in_flight_loses_the_device(void **state) {
    (void)state;
    bench b;
    bench_open(&b, long_delay, plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    b.backend->buffer_destroy(b.device, b.arena);
    b.arena = NULL;
    assert_int_equal(wait(&b, 1, 0), GR_OK); // it was let finish
    is_lost(&b);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_are_no_addresses),
        cmocka_unit_test(work_stands_until_waited_for),
        cmocka_unit_test(a_delay_ends_by_itself),
        cmocka_unit_test(page_copies_are_queued),
        cmocka_unit_test(memory_ends),
        cmocka_unit_test(a_lying_step_loses_the_device),
        cmocka_unit_test(destroying_what_is_in_flight_loses_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
