// SPDX-License-Identifier: Apache-2.0
#include "plugins/tokenizer/common/index.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

// Differs from run to run where addresses or clocks do; nothing that is computed depends on it.
static uint64_t make_seed(const void *where) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    return mix((uint64_t)(uintptr_t)where) ^
           mix((uint64_t)now.tv_nsec + ((uint64_t)now.tv_sec << 30));
}

// A power of two that leaves at least two slots in five free; 0 when there is none.
static size_t slots_for(size_t count) {
    size_t slots = 16;
    if (count > SIZE_MAX / 256)
        return 0;
    while (slots / 5 * 3 < count)
        slots *= 2;
    return slots;
}

static uint64_t hash_bytes(uint64_t seed, const char *bytes, size_t size) {
    uint64_t hash = seed ^ (size * UINT64_C(0x9e3779b97f4a7c15)), word;
    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        hash = mix(hash ^ word);
    }
    word = 0;
    for (size_t i = 0; i < size; i++)
        word = word << 8 | (uint8_t)bytes[i];
    return mix(hash ^ word);
}

gr_status gr_piece_index_init(gr_piece_index *index, const gr_str *pieces, size_t count) {
    *index = (gr_piece_index){.pieces = pieces};
    size_t slots = slots_for(count);
    index->slots = slots ? malloc(slots * sizeof *index->slots) : NULL;
    if (!index->slots)
        return GR_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < slots; i++)
        index->slots[i] = (gr_piece_slot){0, GR_TOKEN_NONE};
    index->mask = slots - 1;
    index->seed = make_seed(index->slots);
    return GR_OK;
}

// The slot that holds these bytes, or the free one where they would go.
static gr_piece_slot *piece_slot(const gr_piece_index *index, const char *bytes, size_t size,
                                 uint64_t hash) {
    for (size_t at = (size_t)hash & index->mask;; at = (at + 1) & index->mask) {
        gr_piece_slot *slot = &index->slots[at];
        if (slot->token == GR_TOKEN_NONE)
            return slot;
        const gr_str *piece = &index->pieces[slot->token];
        if (slot->hash == (uint32_t)(hash >> 32) && piece->size == size &&
            !memcmp(piece->data, bytes, size))
            return slot;
    }
}

void gr_piece_index_add(gr_piece_index *index, gr_token token) {
    const gr_str *piece = &index->pieces[token];
    if (!piece->size)
        return;
    uint64_t hash = hash_bytes(index->seed, piece->data, piece->size);
    gr_piece_slot *slot = piece_slot(index, piece->data, piece->size, hash);
    if (slot->token != GR_TOKEN_NONE)
        return;
    *slot = (gr_piece_slot){(uint32_t)(hash >> 32), token};
    if (piece->size > index->longest)
        index->longest = piece->size;
}

gr_token gr_piece_index_find(const gr_piece_index *index, const char *bytes, size_t size) {
    if (!size || size > index->longest)
        return GR_TOKEN_NONE;
    return piece_slot(index, bytes, size, hash_bytes(index->seed, bytes, size))->token;
}

void gr_piece_index_deinit(gr_piece_index *index) {
    free(index->slots);
    *index = (gr_piece_index){0};
}

gr_status gr_pair_index_init(gr_pair_index *index, size_t count) {
    *index = (gr_pair_index){0};
    size_t slots = slots_for(count);
    index->slots = slots ? malloc(slots * sizeof *index->slots) : NULL;
    if (!index->slots)
        return GR_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < slots; i++)
        index->slots[i] = (gr_pair_slot){.left = GR_TOKEN_NONE};
    index->mask = slots - 1;
    index->seed = make_seed(index->slots);
    return GR_OK;
}

static gr_pair_slot *pair_slot(const gr_pair_index *index, gr_token left, gr_token right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t at = (size_t)mix(key ^ index->seed) & index->mask;; at = (at + 1) & index->mask) {
        gr_pair_slot *slot = &index->slots[at];
        if (slot->left == GR_TOKEN_NONE || (slot->left == left && slot->right == right))
            return slot;
    }
}

void gr_pair_index_add(gr_pair_index *index, gr_token left, gr_token right, uint32_t rank,
                       gr_token merged) {
    gr_pair_slot *slot = pair_slot(index, left, right);
    if (slot->left == GR_TOKEN_NONE)
        *slot = (gr_pair_slot){left, right, rank, merged};
}

const gr_pair_slot *gr_pair_index_find(const gr_pair_index *index, gr_token left, gr_token right) {
    const gr_pair_slot *slot = pair_slot(index, left, right);
    return slot->left == GR_TOKEN_NONE ? NULL : slot;
}

void gr_pair_index_deinit(gr_pair_index *index) {
    free(index->slots);
    *index = (gr_pair_index){0};
}
