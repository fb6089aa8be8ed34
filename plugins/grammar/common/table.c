// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/table.h"

#include <stdlib.h>
#include <string.h>

bool gr_grow(void *array, uint32_t *capacity, size_t count, size_t size) {
    void **data = array;
    if (count <= *capacity)
        return true;
    size_t wanted = (size_t)*capacity * 2 + 16;
    wanted = wanted < count ? count : wanted;
    void *grown = wanted < UINT32_MAX ? realloc(*data, wanted * size) : NULL;
    if (!grown)
        return false;
    *data = grown;
    *capacity = (uint32_t)wanted;
    return true;
}

// ---- Pairs

static uint64_t pair_key(uint32_t a, uint32_t b) {
    return (uint64_t)a << 32 | b;
}

static uint32_t pair_slot(const gr_pair_table *table, uint64_t key) {
    uint32_t slot = (uint32_t)gr_mix(key) & (table->capacity - 1);
    while (table->values[slot] != GR_TABLE_FULL && table->keys[slot] != key)
        slot = (slot + 1) & (table->capacity - 1);
    return slot;
}

uint32_t gr_pair_find(const gr_pair_table *table, uint32_t a, uint32_t b) {
    return table->capacity ? table->values[pair_slot(table, pair_key(a, b))] : GR_TABLE_FULL;
}

static bool pair_grow(gr_pair_table *table) {
    gr_pair_table grown = {.count = table->count,
                           .capacity = table->capacity ? table->capacity * 2 : 64};
    grown.keys = malloc(grown.capacity * sizeof *grown.keys);
    grown.values = malloc(grown.capacity * sizeof *grown.values);
    if (!grown.keys || !grown.values) {
        gr_pair_deinit(&grown);
        return false;
    }
    memset(grown.values, 0xFF, grown.capacity * sizeof *grown.values);
    for (uint32_t i = 0; i < table->capacity; i++)
        if (table->values[i] != GR_TABLE_FULL) {
            uint32_t slot = pair_slot(&grown, table->keys[i]);
            grown.keys[slot] = table->keys[i];
            grown.values[slot] = table->values[i];
        }
    gr_pair_deinit(table);
    *table = grown;
    return true;
}

bool gr_pair_add(gr_pair_table *table, uint32_t a, uint32_t b, uint32_t value) {
    if (table->count + 1 > table->capacity / 4 * 3 && !pair_grow(table))
        return false;
    uint32_t slot = pair_slot(table, pair_key(a, b));
    table->keys[slot] = pair_key(a, b);
    table->values[slot] = value;
    table->count++;
    return true;
}

void gr_pair_deinit(gr_pair_table *table) {
    free(table->keys);
    free(table->values);
    *table = (gr_pair_table){0};
}

// ---- Lists

static uint64_t list_hash(const uint32_t *items, size_t count) {
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++)
        hash = gr_mix(hash ^ items[i]);
    return hash;
}

static bool lists_grow(gr_list_table *table) {
    uint32_t count = table->slot_count ? table->slot_count * 2 : 64;
    uint32_t *slots = malloc(count * sizeof *slots);
    if (!slots)
        return false;
    memset(slots, 0xFF, count * sizeof *slots);
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t slot = (uint32_t)table->hashes[i] & (count - 1);
        while (slots[slot] != GR_TABLE_FULL)
            slot = (slot + 1) & (count - 1);
        slots[slot] = i;
    }
    free(table->slots);
    table->slots = slots;
    table->slot_count = count;
    return true;
}

static bool list_room(gr_list_table *table, size_t count) {
    size_t wanted = table->item_count + count;
    if (table->count + 1 > table->slot_count / 4 * 3 && !lists_grow(table))
        return false;
    if (wanted > table->item_capacity) {
        size_t capacity = wanted * 2 + 64;
        uint32_t *items = realloc(table->items, capacity * sizeof *items);
        if (!items)
            return false;
        table->items = items;
        table->item_capacity = capacity;
    }
    if (table->count + 2 <= table->capacity)
        return true;
    uint32_t capacity = table->capacity * 2 + 64;
    size_t *starts = realloc(table->starts, capacity * sizeof *starts);
    if (!starts)
        return false;
    table->starts = starts;
    uint64_t *hashes = realloc(table->hashes, capacity * sizeof *hashes);
    if (!hashes)
        return false;
    table->hashes = hashes;
    table->capacity = capacity;
    table->starts[0] = 0;
    return true;
}

static bool list_equals(const gr_list_table *table, uint32_t index, const uint32_t *items,
                        size_t count) {
    size_t found;
    const uint32_t *other = gr_list_get(table, index, &found);
    return found == count && (!count || memcmp(other, items, count * sizeof *items) == 0);
}

uint32_t gr_list_intern(gr_list_table *table, const uint32_t *items, size_t count, bool *out_new) {
    uint64_t hash = list_hash(items, count);
    if (out_new)
        *out_new = false;
    if (!list_room(table, count))
        return GR_TABLE_FULL;
    uint32_t slot = (uint32_t)hash & (table->slot_count - 1);
    for (; table->slots[slot] != GR_TABLE_FULL; slot = (slot + 1) & (table->slot_count - 1)) {
        uint32_t index = table->slots[slot];
        if (table->hashes[index] == hash && list_equals(table, index, items, count))
            return index;
    }
    if (count)
        memcpy(table->items + table->item_count, items, count * sizeof *items);
    table->item_count += count;
    table->hashes[table->count] = hash;
    table->slots[slot] = table->count++;
    table->starts[table->count] = table->item_count;
    if (out_new)
        *out_new = true;
    return table->count - 1;
}

size_t gr_list_bytes(const gr_list_table *table) {
    return table->item_capacity * sizeof *table->items +
           table->capacity * (sizeof *table->starts + sizeof *table->hashes) +
           table->slot_count * sizeof *table->slots;
}

void gr_list_deinit(gr_list_table *table) {
    free(table->items);
    free(table->starts);
    free(table->slots);
    free(table->hashes);
    *table = (gr_list_table){0};
}
