// SPDX-License-Identifier: Apache-2.0
// arena.c: blocks of growing size in a list; each allocation is a bump in the newest.
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

struct gr_arena_block {
    gr_arena_block *next;
    uint64_t used, capacity;
    _Alignas(16) unsigned char data[];
};

static gr_arena_block *add_block(gr_arena *arena, uint64_t bytes) {
    uint64_t capacity = arena->blocks ? arena->blocks->capacity * 2 : 4096;
    if (capacity > UINT64_C(1) << 20)
        capacity = UINT64_C(1) << 20;
    if (capacity < bytes)
        capacity = bytes;
    if (capacity > SIZE_MAX - sizeof(gr_arena_block))
        return NULL;
    gr_arena_block *block = calloc(1, sizeof *block + (size_t)capacity);
    if (!block)
        return NULL;
    block->capacity = capacity;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *gr_arena_alloc(gr_arena *arena, uint64_t bytes) {
    if (bytes > UINT64_MAX - 16)
        return NULL;
    bytes = gr_align_up(bytes ? bytes : 1, 16);
    gr_arena_block *block = arena->blocks;
    if (!block || bytes > block->capacity - block->used)
        block = add_block(arena, bytes);
    if (!block)
        return NULL;
    void *memory = block->data + block->used;
    block->used += bytes;
    arena->bytes += bytes;
    return memory;
}

char *gr_arena_string(gr_arena *arena, const char *text, size_t bytes) {
    char *copy = bytes < SIZE_MAX ? gr_arena_alloc(arena, (uint64_t)bytes + 1) : NULL;
    if (!copy)
        return NULL;
    if (bytes)
        memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    return copy;
}

void gr_arena_deinit(gr_arena *arena) {
    while (arena->blocks) {
        gr_arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    arena->bytes = 0;
}
