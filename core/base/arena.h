// SPDX-License-Identifier: Apache-2.0
// arena.h: many small allocations that die together. Inside the core. One thread an arena.
#ifndef GREGALE_BASE_ARENA_H
#define GREGALE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct gr_arena_block gr_arena_block;

// All zero is an empty arena.
typedef struct gr_arena {
    gr_arena_block *blocks;
    uint64_t bytes; // handed out so far
} gr_arena;

// Returns zeroed memory aligned to 16, valid until gr_arena_deinit; NULL when there is none.
void *gr_arena_alloc(gr_arena *arena, uint64_t bytes);
// Copies `bytes` bytes and ends them with a NUL; NULL when there is no memory.
char *gr_arena_string(gr_arena *arena, const char *text, size_t bytes);
void gr_arena_deinit(gr_arena *arena);

#endif
