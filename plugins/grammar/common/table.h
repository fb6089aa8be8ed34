// SPDX-License-Identifier: Apache-2.0
// table.h: two hash tables over numbers, on which the rest stands: from a pair to a number, and
// from a list of numbers to its own index. Inside plugins/grammar. One thread a table.
//
// Zero one to begin. A failed allocation gives GR_TABLE_FULL and leaves the table as it was.
#ifndef GREGALE_GRAMMAR_TABLE_H
#define GREGALE_GRAMMAR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GR_TABLE_FULL UINT32_MAX

static inline uint64_t gr_mix(uint64_t x) { // the finaliser of MurmurHash3
    x = (x ^ (x >> 33)) * UINT64_C(0xFF51AFD7ED558CCD);
    x = (x ^ (x >> 33)) * UINT64_C(0xC4CEB9FE1A85EC53);
    return x ^ (x >> 33);
}

// ---- Pairs

typedef struct gr_pair_table {
    uint64_t *keys;
    uint32_t *values; // GR_TABLE_FULL: the slot is free
    uint32_t count, capacity;
} gr_pair_table;

// The value at (a, b), or GR_TABLE_FULL.
uint32_t gr_pair_find(const gr_pair_table *table, uint32_t a, uint32_t b);
// Adds a pair that is not there yet. False without memory.
bool gr_pair_add(gr_pair_table *table, uint32_t a, uint32_t b, uint32_t value);
void gr_pair_deinit(gr_pair_table *table);

// ---- Lists

typedef struct gr_list_table {
    uint32_t *items;
    size_t item_count, item_capacity;
    size_t *starts; // [count + 1]
    uint32_t *slots; // of list indices
    uint64_t *hashes;
    uint32_t count, capacity, slot_count;
} gr_list_table;

// The index of the list, which is added where it is new; *out_new says so (may be NULL).
uint32_t gr_list_intern(gr_list_table *table, const uint32_t *items, size_t count, bool *out_new);
static inline const uint32_t *gr_list_get(const gr_list_table *table, uint32_t index,
                                          size_t *out_count) {
    *out_count = table->starts[index + 1] - table->starts[index];
    return table->items + table->starts[index];
}
size_t gr_list_bytes(const gr_list_table *table);
void gr_list_deinit(gr_list_table *table);

// ---- Arrays

// Makes room for `count` entries of `size` bytes in an array of *capacity. False without memory.
bool gr_grow(void *array, uint32_t *capacity, size_t count, size_t size);

#endif
