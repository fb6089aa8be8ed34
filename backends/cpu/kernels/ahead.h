// SPDX-License-Identifier: Apache-2.0
// ahead.h: what is read next, asked for while a tile is multiplied: an equal share in each group's turn.
#ifndef GREGALE_BACKENDS_CPU_AHEAD_H
#define GREGALE_BACKENDS_CPU_AHEAD_H

#include "kernels/inline.h"
#include "kernels/kernels.h"

typedef struct cpu_ahead {
    const uint8_t *next, *end;
    uint32_t share;
} cpu_ahead;

// For `passes` passes over the groups of the tile.
CPU_INLINE cpu_ahead cpu_tile_ahead(const cpu_dot_tile_args *args, uint32_t passes, const cpu_dtype_form form) {
    const uint64_t turns = (uint64_t)passes * args->blocks * (32 / form.group), lines = (args->ahead_bytes + 63) / 64;
    return (cpu_ahead){args->ahead, args->ahead + args->ahead_bytes, turns ? (uint32_t)((lines + turns - 1) / turns) * 64 : 0};
}

CPU_INLINE void cpu_ahead_turn(cpu_ahead *ahead) {
    if (ahead->next < ahead->end) {
        for (uint32_t i = 0; i < ahead->share; i += 64)
            __builtin_prefetch(ahead->next + i, 0, 3);
        ahead->next += ahead->share;
    }
}

#endif
