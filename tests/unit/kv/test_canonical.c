// SPDX-License-Identifier: Apache-2.0
// What sequences hold, read and written in canonical form: any positions, in any type, whatever the pages; and
// sequences resumed from it in a cache with other pages, another reserve and another type.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gregale/sdk.h"
#include "kv/transfer.h"
#include "tensor/convert.h"

enum { HEADS = 3, K_DIM = 32, V_DIM = 64, LAYERS = 4, LENGTH = 61 };
static const uint32_t windows[LAYERS] = {0, 20, 0, 7}; // three groups

struct gr_device {
    const gr_host *host;
};

static void *memory_alloc(const gr_host *host, uint64_t bytes) {
    (void)host;
    return calloc(1, (size_t)bytes + 1);
}

static void memory_free(const gr_host *host, void *memory, uint64_t bytes) {
    (void)host;
    (void)bytes;
    free(memory);
}

static const gr_host host = {.struct_size = sizeof host, .memory_alloc = memory_alloc, .memory_free = memory_free};
static gr_device device = {&host};
static const gr_backend backend = {.struct_size = sizeof backend,
                                   .name = "memory",
                                   .kv_create = gr_host_kv_create,
                                   .kv_destroy = gr_host_kv_destroy,
                                   .kv_resize = gr_host_kv_resize,
                                   .kv_page_bytes = gr_host_kv_page_bytes,
                                   .kv_copy_page = gr_host_kv_copy_page,
                                   .kv_read = gr_host_kv_read,
                                   .kv_write = gr_host_kv_write};
static const gr_opened_device opened = {.backend = &backend, .device = &device, .name = "memory"};

static gr_kv_cache *make_cache(gr_dtype dtype, uint32_t page_tokens, uint32_t reserve, uint64_t limit) {
    gr_kv_layer_desc layers[LAYERS];
    const gr_kv_cache_options options = {
        .page_tokens = page_tokens, .reserve = reserve, .dtype = dtype, .limit_bytes = limit};
    gr_kv_cache *cache;
    for (uint32_t i = 0; i < LAYERS; i++)
        layers[i] = (gr_kv_layer_desc){
            .device = &opened, .window = windows[i], .kv_heads = HEADS, .k_dim = K_DIM, .v_dim = V_DIM};
    assert_int_equal(gr_kv_cache_create(layers, LAYERS, &options, &cache, NULL), GR_OK);
    return cache;
}

static uint32_t values_of(uint32_t part) {
    return HEADS * (part ? V_DIM : K_DIM);
}

// What every cache type holds exactly: whole numbers that a block of Q8_0 scales by a power of two.
static float number_at(uint32_t layer, uint32_t part, uint64_t position, uint32_t i) {
    if (i % 32 == 0)
        return 127;
    return (float)((layer * 7 + part * 3 + position * 11 + i * 5) % 255) - 127;
}

static void fill(uint32_t layer, uint32_t part, uint64_t begin, uint64_t count, float *out) {
    for (uint64_t p = 0; p < count; p++)
        for (uint32_t i = 0; i < values_of(part); i++)
            out[p * values_of(part) + i] = number_at(layer, part, begin + p, i);
}

static void write_all(gr_kv_seq *seq, uint64_t begin, uint64_t end) {
    static float numbers[LENGTH * HEADS * V_DIM];
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t from = gr_kv_seq_begin(seq, layer) > begin ? gr_kv_seq_begin(seq, layer) : begin;
            fill(layer, part, from, end - from, numbers);
            assert_int_equal(gr_kv_seq_write(seq, layer, part, from, end - from, GR_DTYPE_F32, numbers, NULL), GR_OK);
        }
    }
}

// A sequence of LENGTH positions that grew piece by piece, its windows rolling.
static void grow(gr_kv_cache *cache, gr_kv_seq *seq) {
    assert_int_equal(gr_kv_seq_init(cache, seq, NULL), GR_OK);
    for (uint64_t at = 0, count; at < LENGTH; at += count) {
        count = at % 3 + 1 < LENGTH - at ? at % 3 + 1 : LENGTH - at;
        assert_int_equal(gr_kv_seq_reserve(seq, count, NULL), GR_OK);
        gr_kv_seq_commit(seq, count);
        write_all(seq, at, at + count);
    }
}

// Every piece of what is resident reads as what was written, in every type.
static void check_contents(const gr_kv_seq *seq, gr_dtype dtype) {
    static float expected[LENGTH * HEADS * V_DIM], got[LENGTH * HEADS * V_DIM];
    static _Alignas(16) char raw[sizeof got];
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t first = gr_kv_seq_begin(seq, layer);
            for (uint64_t count = 0; count <= seq->length - first; count = count * 2 + 1) {
                uint64_t begin = seq->length - count, values = count * values_of(part);
                fill(layer, part, begin, count, expected);
                assert_int_equal(gr_kv_seq_read(seq, layer, part, begin, count, dtype, raw, NULL), GR_OK);
                assert_int_equal(gr_tensor_dequantise_row(dtype, raw, values, got), GR_OK);
                assert_memory_equal(got, expected, values * sizeof *got);
                assert_int_equal(values / gr_dtype_block(dtype) * gr_dtype_block_bytes(dtype),
                                 count * gr_kv_position_bytes(seq->cache, layer, part, dtype));
            }
        }
    }
}

static const gr_dtype types[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
enum { TYPES = sizeof types / sizeof types[0] };

static void what_is_written_is_read_in_every_type(void **state) {
    (void)state;
    for (int stored = 0; stored < TYPES; stored++) {
        gr_kv_cache *cache = make_cache(types[stored], 8, 4, 0);
        gr_kv_seq seq;
        grow(cache, &seq);
        for (int read = 0; read < TYPES; read++)
            check_contents(&seq, types[read]);
        gr_kv_seq_deinit(&seq);
        gr_kv_cache_destroy(cache);
    }
}

static void nothing_outside_is_touched(void **state) {
    (void)state;
    gr_kv_cache *cache = make_cache(GR_DTYPE_F32, 8, 4, 0);
    gr_kv_seq seq;
    float one[HEADS * V_DIM];
    grow(cache, &seq);
    uint64_t first = gr_kv_seq_begin(&seq, 3);
    assert_true(first > 0 && gr_kv_seq_begin(&seq, 0) == 0);
    assert_int_equal(gr_kv_seq_read(&seq, 3, 0, first - 1, 1, GR_DTYPE_F32, one, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_kv_seq_read(&seq, 0, 0, LENGTH, 1, GR_DTYPE_F32, one, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_kv_seq_read(&seq, 0, 0, 1, UINT64_MAX, GR_DTYPE_F32, one, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_kv_seq_write(&seq, 0, 2, 0, 1, GR_DTYPE_F32, one, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_kv_seq_write(&seq, LAYERS, 0, 0, 1, GR_DTYPE_F32, one, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_kv_seq_read(&seq, 0, 0, 0, 1, GR_DTYPE_I32, one, NULL), GR_ERROR_UNSUPPORTED);
    assert_int_equal(gr_kv_position_bytes(cache, 0, 0, GR_DTYPE_Q4_K), 0); // a head of 32 is no block of 256
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(cache);
}

// ---- Resuming

static uint32_t group_of(const gr_kv_cache *cache, uint32_t layer) {
    uint32_t count;
    return gr_kv_cache_layers(cache, &count)[layer].group;
}

// Moves a sequence to another cache through `dtype`.
static void carry(const gr_kv_seq *from, gr_kv_cache *to, gr_dtype dtype, gr_kv_seq *out) {
    static _Alignas(16) char raw[LENGTH * HEADS * V_DIM * 4];
    uint64_t begins[LAYERS];
    for (uint32_t i = 0; i < LAYERS; i++)
        begins[group_of(to, i)] = gr_kv_seq_begin(from, i);
    assert_int_equal(gr_kv_seq_init(to, out, NULL), GR_OK);
    assert_int_equal(gr_kv_seq_resume(out, begins, from->length, NULL), GR_OK);
    for (uint32_t i = 0; i < LAYERS; i++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t begin = gr_kv_seq_begin(out, i), count = from->length - begin;
            assert_int_equal(gr_kv_seq_read(from, i, part, begin, count, dtype, raw, NULL), GR_OK);
            assert_int_equal(gr_kv_seq_write(out, i, part, begin, count, dtype, raw, NULL), GR_OK);
        }
    }
}

// It holds what a query at its end sees, no more than the first did, and it goes on, forks and rolls as any other.
static void check_resumed(const gr_kv_seq *from, gr_kv_seq *seq, gr_dtype dtype) {
    gr_kv_seq fork;
    gr_kv_seq_stats stats;
    assert_true(gr_kv_seq_can_truncate(seq, seq->length));
    for (uint64_t length = 0; length < seq->length; length++)
        assert_true(!gr_kv_seq_can_truncate(seq, length) || gr_kv_seq_can_truncate(from, length));
    for (uint32_t i = 0; i < LAYERS; i++)
        assert_true(gr_kv_seq_begin(seq, i) >= gr_kv_seq_begin(from, i));
    check_contents(seq, dtype);
    gr_kv_seq_stats_get(seq, &stats);
    assert_int_equal(stats.resident_positions, seq->length);
    assert_int_equal(gr_kv_seq_fork(seq, &fork, NULL), GR_OK);
    for (uint32_t i = 0; i < LAYERS; i++)
        assert_int_equal(gr_kv_seq_begin(&fork, i), gr_kv_seq_begin(seq, i));
    assert_int_equal(gr_kv_seq_reserve(&fork, 1, NULL), GR_OK);
    gr_kv_seq_commit(&fork, 1);
    write_all(&fork, LENGTH, LENGTH + 1);
    check_contents(seq, dtype);
    gr_kv_seq_deinit(&fork);
}

static void resumed_in_other_pages(void **state) {
    (void)state;
    static const uint32_t pages[] = {1, 4, 8, 32}, reserves[] = {1, 4, 40};
    gr_kv_cache *cache = make_cache(GR_DTYPE_F16, 8, 4, 0);
    gr_kv_seq seq, other;
    grow(cache, &seq);
    for (int p = 0; p < 4; p++) {
        for (int r = 0; r < 3; r++) {
            for (int t = 0; t < TYPES; t++) {
                gr_kv_cache *target = make_cache(types[t], pages[p], reserves[r], 0);
                carry(&seq, target, types[(t + p + r) % TYPES], &other);
                check_resumed(&seq, &other, GR_DTYPE_F32);
                if (pages[p] == 1 && reserves[r] == 1) // what this cache would have let go is not taken
                    assert_int_equal(gr_kv_seq_begin(&other, 3), LENGTH - 7 - 1);
                gr_kv_seq_truncate(&other, 0);
                assert_int_equal(gr_kv_seq_begin(&other, 3), 0);
                assert_int_equal(gr_kv_cache_bytes_used(target), 0);
                gr_kv_seq_deinit(&other);
                gr_kv_cache_destroy(target);
            }
        }
    }
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(cache);
}

// A sequence that begins within a page does not claim the slots before.
static void slots_that_hold_nothing_are_not_resident(void **state) {
    (void)state;
    gr_kv_cache *cache = make_cache(GR_DTYPE_F32, 16, 64, 0);
    gr_kv_seq seq;
    const uint64_t begins[3] = {0, 20, 35};
    assert_int_equal(gr_kv_seq_init(cache, &seq, NULL), GR_OK);
    assert_int_equal(gr_kv_seq_resume(&seq, begins, 41, NULL), GR_OK);
    assert_int_equal(gr_kv_seq_begin(&seq, 1), 20);
    assert_int_equal(gr_kv_seq_begin(&seq, 3), 35);
    assert_true(gr_kv_seq_can_truncate(&seq, 41));  // windows of 20 and 7: positions 22 and 35
    assert_false(gr_kv_seq_can_truncate(&seq, 40)); // 34, which was never written
    gr_kv_cache *other = make_cache(GR_DTYPE_F32, 16, 64, 0); // nor does one that was moved
    gr_kv_transfer *transfer;
    gr_kv_seq moved;
    assert_int_equal(gr_kv_transfer_create(cache, other, &transfer, NULL), GR_OK);
    assert_int_equal(gr_kv_transfer_take(transfer, &seq, &moved, NULL), GR_OK);
    assert_int_equal(gr_kv_seq_begin(&moved, 3), 35);
    assert_true(gr_kv_seq_can_truncate(&moved, 41));
    assert_false(gr_kv_seq_can_truncate(&moved, 40));
    gr_kv_transfer_destroy(transfer);
    gr_kv_seq_deinit(&moved);
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(other);
    gr_kv_cache_destroy(cache);
}

static void without_memory_nothing_changes(void **state) {
    (void)state;
    gr_kv_cache *cache = make_cache(GR_DTYPE_F32, 8, 4, 100000);
    gr_kv_seq seq;
    const uint64_t begins[3] = {0, 3, 3};
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_kv_seq_init(cache, &seq, NULL), GR_OK);
    assert_int_equal(gr_kv_seq_resume(&seq, begins, 60, &error), GR_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "limit"));
    assert_int_equal(seq.length, 0);
    for (uint32_t i = 0; i < LAYERS; i++)
        assert_int_equal(gr_kv_seq_begin(&seq, i), 0);
    assert_int_equal(gr_kv_cache_bytes_used(cache), 0);
    assert_int_equal(gr_kv_seq_reserve(&seq, 8, NULL), GR_OK); // as if nothing had been
    gr_kv_seq_commit(&seq, 8);
    write_all(&seq, 0, 8);
    check_contents(&seq, GR_DTYPE_F32);
    gr_kv_seq_deinit(&seq);
    gr_kv_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_in_every_type),
        cmocka_unit_test(nothing_outside_is_touched),
        cmocka_unit_test(resumed_in_other_pages),
        cmocka_unit_test(slots_that_hold_nothing_are_not_resident),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
