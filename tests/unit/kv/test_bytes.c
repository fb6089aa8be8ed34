// SPDX-License-Identifier: Apache-2.0
// What the cache costs between steps, and when it says no.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/unit/kv/fake_backend.h"

typedef struct fixture {
    gr_device device;
    gr_opened_device opened;
    gr_kv_cache *cache;
    gr_error error;
} fixture;

enum { LAYERS = 32, PAGE = 64, RESERVE = 64, WINDOW = 4096 };

// Mistral-7B's shape: 32 layers, 8 KV heads of 128, F16, the first `windowed` of them with a
// window.
static void set_up(fixture *f, uint32_t window, uint32_t windowed, uint64_t limit) {
    gr_kv_layer_desc layers[LAYERS];
    const gr_kv_cache_options options = {
        .page_tokens = PAGE, .reserve = RESERVE, .dtype = GR_DTYPE_F16, .limit_bytes = limit};
    memset(f, 0, sizeof *f);
    gr_error_init(&f->error);
    f->opened = (gr_opened_device){.backend = &fake_backend, .device = &f->device, .name = "fake"};
    for (uint32_t i = 0; i < LAYERS; i++)
        layers[i] = (gr_kv_layer_desc){.device = &f->opened,
                                       .window = i < windowed ? window : 0,
                                       .kv_heads = 8,
                                       .k_dim = 128,
                                       .v_dim = 128};
    assert_int_equal(gr_kv_cache_create(layers, LAYERS, &options, &f->cache, &f->error), GR_OK);
}

static void grow(fixture *f, gr_kv_seq *seq, uint64_t length, uint64_t chunk) {
    while (seq->length < length) {
        uint64_t count = length - seq->length < chunk ? length - seq->length : chunk;
        if (gr_kv_seq_reserve(seq, count, &f->error) != GR_OK)
            fail_msg("%s", f->error.message);
        gr_kv_seq_commit(seq, count);
    }
}

// Bytes held after `length` positions came in chunks, as a share of what no window costs.
static double share(uint64_t length, uint64_t chunk, uint32_t windowed) {
    fixture f;
    gr_kv_seq seq;
    gr_kv_seq_stats stats;
    set_up(&f, WINDOW, windowed, 0);
    assert_int_equal(gr_kv_seq_init(f.cache, &seq, &f.error), GR_OK);
    grow(&f, &seq, length, chunk);
    gr_kv_seq_stats_get(&seq, &stats);
    uint64_t full = length / PAGE * PAGE * LAYERS * 8 * (128 + 128) * 2;
    assert_int_equal(stats.full_bytes, full);
    assert_int_equal(stats.bytes, gr_kv_cache_bytes_used(f.cache));
    assert_int_equal(stats.own_bytes, stats.bytes);
    assert_true(stats.resident_positions >=
                (length < WINDOW + RESERVE ? length : WINDOW + RESERVE));
    gr_kv_seq_deinit(&seq);
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), 0);
    gr_kv_cache_destroy(f.cache);
    return (double)stats.bytes / (double)full;
}

static void a_window_bounds_the_bytes(void **state) {
    (void)state;
    static const uint64_t chunks[] = {1, 7, 512};
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        double at_8192 = share(8192, chunks[i], LAYERS), at_32768 = share(32768, chunks[i], LAYERS);
        print_message("W=4096, page 64, reserve 64, chunk %llu: %.2f %% at 8192, %.2f %% at 32768 "
                      "positions\n",
                      (unsigned long long)chunks[i], 100 * at_8192, 100 * at_32768);
        assert_true(at_8192 <= 0.52);
        assert_true(at_32768 <= 0.14);
    }
}

// Between steps a window takes at most ceil((W + reserve) / page) + 1 pages, at every length.
static void never_more_pages_than_promised(void **state) {
    (void)state;
    fixture f;
    gr_kv_seq seq;
    set_up(&f, 100, LAYERS, 0);
    assert_int_equal(gr_kv_seq_init(f.cache, &seq, &f.error), GR_OK);
    for (uint64_t length = 1; length < 1000; length++) {
        grow(&f, &seq, length, 1);
        assert_true(seq.groups[0].count <= (100 + RESERVE + PAGE - 1) / PAGE + 1);
        assert_true(gr_kv_seq_can_truncate(&seq, length > RESERVE ? length - RESERVE : 0));
    }
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(f.cache);
}

// Half the layers windowed: groups with tables of their own, and a cost in between.
static void a_list_of_windows_has_a_table_each(void **state) {
    (void)state;
    double half = share(32768, 512, LAYERS / 2);
    fixture f;
    assert_true(half > 0.5 && half < 0.5 + 0.14 / 2);
    set_up(&f, WINDOW, LAYERS / 2, 0);
    assert_int_equal(gr_kv_cache_group_count(f.cache), 2);
    assert_int_equal(gr_kv_cache_group_window(f.cache, 0) + gr_kv_cache_group_window(f.cache, 1),
                     WINDOW);
    gr_kv_cache_destroy(f.cache);
}

static void no_window_keeps_everything(void **state) {
    (void)state;
    assert_true(share(8192, 512, 0) == 1.0);
}

// A refused reservation changes nothing, and what was there goes on.
static void a_limit_refuses_and_changes_nothing(void **state) {
    (void)state;
    const uint64_t page_bytes = (uint64_t)PAGE * LAYERS * 8 * 256 * 2;
    fixture f;
    gr_kv_seq seq, other;
    set_up(&f, 0, 0, 4 * page_bytes);
    assert_int_equal(gr_kv_seq_init(f.cache, &seq, &f.error), GR_OK);
    assert_int_equal(gr_kv_seq_init(f.cache, &other, &f.error), GR_OK);
    grow(&f, &seq, 3 * PAGE - 1, 100);
    grow(&f, &other, 1, 1);
    assert_int_equal(gr_kv_seq_reserve(&seq, 2, &f.error), GR_ERROR_OUT_OF_MEMORY);
    assert_int_equal(seq.groups[0].count, 3);
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), 4 * page_bytes);
    grow(&f, &seq, 3 * PAGE, 1); // the last page has room for one more
    grow(&f, &other, PAGE, 10);
    gr_kv_seq_deinit(&other);
    grow(&f, &seq, 4 * PAGE, 100); // and what the other gave back serves
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(f.cache);
}

// The same when the device has no more, and when a page cannot be copied.
static void a_device_that_fails_changes_nothing(void **state) {
    (void)state;
    fixture f;
    gr_kv_seq seq, fork;
    set_up(&f, 0, 0, 0);
    assert_int_equal(gr_kv_seq_init(f.cache, &seq, &f.error), GR_OK);
    grow(&f, &seq, 100, 100);
    f.device.fail_resize_above = 1;
    assert_int_equal(gr_kv_seq_reserve(&seq, 64 * PAGE, &f.error), GR_ERROR_OUT_OF_MEMORY);
    assert_int_equal(seq.groups[0].count, 2);
    assert_int_equal(gr_kv_seq_fork(&seq, &fork, &f.error), GR_OK);
    uint64_t used = gr_kv_cache_bytes_used(f.cache);
    int32_t shared = fork.groups[0].pages[1];
    f.device.fail_copy = true;
    assert_int_equal(gr_kv_seq_reserve(&fork, 1, &f.error), GR_ERROR_OUT_OF_MEMORY);
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), used);
    assert_int_equal(fork.groups[0].pages[1], shared);
    f.device.fail_copy = false;
    f.device.fail_resize_above = 0;
    grow(&f, &fork, 64 * PAGE, 500);
    assert_int_not_equal(fork.groups[0].pages[1], shared);
    assert_int_equal(seq.groups[0].pages[1], shared);
    gr_kv_seq_deinit(&seq);
    gr_kv_seq_deinit(&fork);
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), 0);
    gr_kv_cache_destroy(f.cache);
}

static void refuses_odd_pages(void **state) {
    (void)state;
    gr_device device = {0};
    const gr_opened_device opened = {.backend = &fake_backend, .device = &device};
    const gr_kv_layer_desc layer = {.device = &opened, .kv_heads = 1, .k_dim = 16, .v_dim = 16};
    static const uint32_t sizes[] = {0, 3, 48, 65};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const gr_kv_cache_options options = {
            .page_tokens = sizes[i], .reserve = 1, .dtype = GR_DTYPE_F16};
        gr_kv_cache *cache = (gr_kv_cache *)&device;
        assert_int_equal(gr_kv_cache_create(&layer, 1, &options, &cache, NULL),
                         GR_ERROR_INVALID_ARGUMENT);
        assert_null(cache);
    }
    gr_kv_cache_destroy(NULL);
}

// Types that a cache cannot have, heads that do not fit one, pages of an odd size: refused with a
// reason.
static void refusals(void **state) {
    (void)state;
    static const struct {
        gr_dtype dtype;
        uint32_t page, k_dim, v_dim;
        gr_status status;
        const char *says;
    } cases[] = {{GR_DTYPE_Q8_0, 64, 128, 64, GR_OK, ""},
                 {GR_DTYPE_Q8_0, 64, 80, 128, GR_ERROR_UNSUPPORTED, "multiple of 32"},
                 {GR_DTYPE_Q8_0, 64, 128, 16, GR_ERROR_UNSUPPORTED, "values of 16"},
                 {GR_DTYPE_Q4_K, 64, 256, 256, GR_ERROR_INVALID_ARGUMENT, "Q4_K"},
                 {GR_DTYPE_F16, 48, 128, 128, GR_ERROR_INVALID_ARGUMENT, "48"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_device device = {0};
        const gr_opened_device opened = {
            .backend = &fake_backend, .device = &device, .name = "fake"};
        const gr_kv_layer_desc layer = {
            .device = &opened, .kv_heads = 2, .k_dim = cases[i].k_dim, .v_dim = cases[i].v_dim};
        const gr_kv_cache_options options = {.page_tokens = cases[i].page, .dtype = cases[i].dtype};
        gr_kv_cache *cache;
        gr_error error;
        gr_error_init(&error);
        assert_int_equal(gr_kv_cache_create(&layer, 1, &options, &cache, &error), cases[i].status);
        assert_true(strstr(error.message, cases[i].says) && !cache == (cases[i].status != GR_OK));
        gr_kv_cache_destroy(cache);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_bounds_the_bytes),
        cmocka_unit_test(never_more_pages_than_promised),
        cmocka_unit_test(a_list_of_windows_has_a_table_each),
        cmocka_unit_test(no_window_keeps_everything),
        cmocka_unit_test(a_limit_refuses_and_changes_nothing),
        cmocka_unit_test(a_device_that_fails_changes_nothing),
        cmocka_unit_test(refuses_odd_pages),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
