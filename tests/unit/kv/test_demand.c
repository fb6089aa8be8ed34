// SPDX-License-Identifier: Apache-2.0
// What is said before pages are taken is what taking them shows.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kv/demand.h"
#include "kv/pool.h"
#include "tests/unit/kv/fake_backend.h"

enum { PAGE = 8, GROUPS = 3 };

typedef struct fixture {
    gr_device device;
    gr_opened_device opened;
    gr_kv_cache *cache;
    gr_error error;
    uint64_t random;
} fixture;

static uint32_t draw(fixture *f, uint32_t below) {
    f->random = f->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(f->random >> 33) % below;
}

// A layer without a window and two with windows of their own; a page of each is 4 KiB.
static void set_up(fixture *f, uint32_t reserve, const uint32_t windows[GROUPS], uint64_t limit) {
    const gr_kv_cache_options options = {
        .page_tokens = PAGE, .reserve = reserve, .dtype = GR_DTYPE_F16, .limit_bytes = limit};
    gr_kv_layer_desc layers[GROUPS];
    uint64_t random = f->random;
    memset(f, 0, sizeof *f);
    gr_error_init(&f->error);
    f->random = random;
    f->opened = (gr_opened_device){.backend = &fake_backend, .device = &f->device, .name = "fake"};
    for (uint32_t g = 0; g < GROUPS; g++)
        layers[g] = (gr_kv_layer_desc){
            .device = &f->opened, .window = windows[g], .kv_heads = 1, .k_dim = 128, .v_dim = 128};
    assert_int_equal(gr_kv_cache_create(layers, GROUPS, &options, &f->cache, &f->error), GR_OK);
}

static gr_kv_seq begin(fixture *f) {
    gr_kv_seq seq;
    assert_int_equal(gr_kv_seq_init(f->cache, &seq, &f->error), GR_OK);
    return seq;
}

static void feed(fixture *f, gr_kv_seq *seq, uint64_t count) {
    if (gr_kv_seq_reserve(seq, count, &f->error) != GR_OK)
        fail_msg("%s", f->error.message);
    gr_kv_seq_commit(seq, count);
}

// Over windows, reserves and chunks: the demand is what is held at most, or little more; the least that was
// said is what one by one comes to.
static void a_demand_is_what_is_taken(void **state) {
    fixture f = {.random = 1};
    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        const uint32_t windows[GROUPS] = {0, 1 + draw(&f, 60), 61 + draw(&f, 60)};
        uint64_t begun = draw(&f, 200), length = begun + 1 + draw(&f, 200), chunk = round % 3 ? 1 + draw(&f, 40) : 1, most[GROUPS] = {0};
        set_up(&f, draw(&f, 30), windows, 0);
        gr_kv_seq seq = begin(&f);
        while (seq.length < begun)
            feed(&f, &seq, begun - seq.length < chunk ? begun - seq.length : chunk);
        uint32_t held[GROUPS];
        for (uint32_t g = 0; g < GROUPS; g++)
            held[g] = seq.groups[g].count;
        gr_kv_demand_clear(f.cache);
        gr_kv_demand_add(&seq, length, chunk);
        uint64_t least = gr_kv_least_bytes(f.cache, length), last = 0;
        while (seq.length < length) {
            uint64_t count = length - seq.length < chunk ? length - seq.length : chunk;
            assert_int_equal(gr_kv_seq_reserve(&seq, count, &f.error), GR_OK);
            for (uint32_t g = 0; g < GROUPS; g++)
                most[g] = seq.groups[g].count > most[g] ? seq.groups[g].count : most[g];
            last = gr_kv_cache_bytes_used(f.cache);
            gr_kv_seq_commit(&seq, count);
        }
        for (uint32_t g = 0; g < GROUPS; g++) {
            int64_t taken = most[g] > held[g] ? (int64_t)(most[g] - held[g]) : 0;
            assert_true(f.cache->groups[g].wanted >= taken && f.cache->groups[g].wanted <= taken + 2);
        }
        assert_true(chunk == 1 ? least == last : least <= last);
        gr_kv_seq_deinit(&seq);
        gr_kv_cache_destroy(f.cache);
    }
}

// As many positions as are said to fit can be reserved, and not one more.
static void room_is_exact(void **state) {
    fixture f = {.random = 2};
    (void)state;
    for (uint32_t round = 0; round < 500; round++) {
        const uint32_t windows[GROUPS] = {0, 1 + draw(&f, 30), 31 + draw(&f, 30)};
        set_up(&f, draw(&f, 20), windows, (40 + draw(&f, 40)) * (uint64_t)4096);
        gr_kv_seq seq = begin(&f), other;
        for (uint32_t i = draw(&f, 9); i > 0; i--)
            feed(&f, &seq, 1 + draw(&f, 8));
        assert_int_equal(gr_kv_seq_fork(&seq, &other, &f.error), GR_OK);
        feed(&f, &seq, draw(&f, 20)); // perhaps the last page is shared
        uint64_t count = 1 + draw(&f, 300), room = gr_kv_demand_room(&other, count);
        if (room)
            assert_int_equal(gr_kv_seq_reserve(&other, room, &f.error), GR_OK);
        gr_kv_seq_abandon(&other);
        if (room < count)
            assert_int_equal(gr_kv_seq_reserve(&other, room + 1, &f.error), GR_ERROR_OUT_OF_MEMORY);
        assert_null(gr_kv_cache_culprit(f.cache)); // it was the limit
        gr_kv_seq_deinit(&seq);
        gr_kv_seq_deinit(&other);
        gr_kv_cache_destroy(f.cache);
    }
}

// A device that has less than was asked for gives what it has, and is asked again.
static void a_full_device_is_known(void **state) {
    static const uint32_t windows[GROUPS] = {0, 0, 0};
    fixture f = {0};
    (void)state;
    set_up(&f, 8, windows, 0);
    gr_kv_seq seq = begin(&f);
    feed(&f, &seq, 1);
    f.device.fail_resize_above = 20;
    assert_false(gr_kv_demand_is_bounded(f.cache));
    assert_int_equal(gr_kv_demand_room(&seq, 1000), 1000);
    assert_int_equal(gr_kv_seq_reserve(&seq, 1000, &f.error), GR_ERROR_OUT_OF_MEMORY);
    assert_ptr_equal(gr_kv_cache_culprit(f.cache), &f.opened);
    assert_true(gr_kv_demand_is_bounded(f.cache));
    uint64_t room = gr_kv_demand_room(&seq, 1000);
    assert_true(room >= 10 * PAGE && room < 20 * PAGE);
    feed(&f, &seq, room);
    assert_int_equal(gr_kv_demand_room(&seq, 1), 0);
    f.device.fail_resize_above = 0;
    feed(&f, &seq, 1);
    assert_false(gr_kv_demand_is_bounded(f.cache));
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(f.cache);
}

// Pages of a family count when the last of it is taken out; putting it back leaves everything as it was.
static void shared_pages_count_once(void **state) {
    static const uint32_t windows[GROUPS] = {0, 0, 0};
    fixture f = {0};
    gr_kv_seq fork;
    (void)state;
    set_up(&f, 8, windows, 0);
    gr_kv_seq seq = begin(&f);
    feed(&f, &seq, 3 * PAGE);
    assert_int_equal(gr_kv_seq_fork(&seq, &fork, &f.error), GR_OK);
    feed(&f, &fork, 1);
    for (uint32_t both = 0; both < 2; both++) {
        gr_kv_demand_clear(f.cache);
        gr_kv_demand_take_out(&seq);
        assert_false(gr_kv_demand_frees(f.cache));
        if (both)
            gr_kv_demand_take_out(&fork);
        assert_int_equal(f.cache->groups[0].wanted, both ? -4 : 0);
        assert_int_equal(gr_kv_demand_frees(f.cache), both);
        if (both)
            gr_kv_demand_put_back(&fork);
        gr_kv_demand_put_back(&seq);
    }
    gr_kv_seq_deinit(&fork);
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), 9 * (uint64_t)4096);
    assert_false(gr_kv_seq_is_empty(&seq));
    gr_kv_seq_truncate(&seq, 0);
    assert_true(gr_kv_seq_is_empty(&seq));
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), 0);
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(f.cache);
}

// Trimming gives the end of the pools back, keeps what is in use, and the pools can grow again.
static void trimming_keeps_what_is_used(void **state) {
    static const uint32_t windows[GROUPS] = {0, 0, 0};
    fixture f = {0};
    (void)state;
    set_up(&f, 8, windows, 0);
    gr_kv_seq kept = begin(&f), gone = begin(&f);
    feed(&f, &kept, 3 * PAGE);
    feed(&f, &gone, 40 * PAGE);
    feed(&f, &kept, PAGE); // beyond what the other has
    gr_kv *kv = f.cache->groups[0].pools[0].kv;
    for (uint64_t i = 0; i < kept.length; i++)
        *fake_slot(&kept, kv, 0, i) = (int64_t)i;
    uint64_t freed = gr_kv_cache_trim(f.cache);
    assert_int_equal(kv->pages, 44);
    assert_true(freed > 0 && freed % 4096 == 0);
    gr_kv_seq_deinit(&gone);
    assert_int_equal(gr_kv_cache_trim(f.cache), 0); // the last page is in use
    gr_kv_seq_truncate(&kept, 3 * PAGE);
    assert_int_equal(gr_kv_cache_trim(f.cache), 3 * 41 * (uint64_t)4096);
    assert_int_equal(kv->pages, 3);
    feed(&f, &kept, 20 * PAGE);
    for (uint64_t i = 0; i < 3 * PAGE; i++)
        assert_int_equal(*fake_slot(&kept, kv, 0, i), i);
    gr_kv_seq_deinit(&kept);
    assert_int_equal(gr_kv_cache_bytes_used(f.cache), 0);
    gr_kv_cache_destroy(f.cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_demand_is_what_is_taken),  cmocka_unit_test(room_is_exact),
        cmocka_unit_test(a_full_device_is_known),     cmocka_unit_test(shared_pages_count_once),
        cmocka_unit_test(trimming_keeps_what_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
