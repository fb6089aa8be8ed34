// SPDX-License-Identifier: Apache-2.0
// tile.h: what every product of a tile needs, with vectors or with tile registers: a form that is a constant, where dots
// start, and what is read next. A vec_ISA.h comes first.
#ifndef GREGALE_BACKENDS_CPU_TILE_H
#define GREGALE_BACKENDS_CPU_TILE_H

#include "kernels/kernels.h"

// One instance of `body` a form that some dtype has.
CPU_INLINE void cpu_tile_by_form(const cpu_dot_tile_args *args,
                                 void (*const body)(const cpu_dot_tile_args *args, cpu_dtype_form form)) {
    const cpu_dtype_form f = args->form;
#define CPU_FORM(group_, bits_, zero_, offset_)                                                    \
    if (f.group == group_ && f.bits == bits_ && f.offset == offset_) {                             \
        body(args, (cpu_dtype_form){group_, bits_, zero_, offset_});                               \
        return;                                                                                    \
    }
    CPU_FORMS(CPU_FORM)
#undef CPU_FORM
}

CPU_INLINE uint32_t cpu_tile_groups(const cpu_dot_tile_args *args, const cpu_dtype_form form) {
    return args->blocks * (32 / form.group);
}

// What the dots of a row's groups start from, so that they are those of the weights without their zero. Groups behind the
// tile's last hold no numbers.
CPU_INLINE void cpu_starts(const cpu_quantised *a, uint32_t groups, const cpu_dtype_form form, int32_t *start) {
    for (uint32_t g = 0; g < groups; g++)
        start[g] = -(int32_t)cpu_zero(form.zero) * (form.group == 32 ? a->sum32[g] : a->sum16[g]);
}

// What is asked for meanwhile: an equal share in each group's turn.
typedef struct cpu_ahead {
    const uint8_t *next, *end;
    uint32_t share;
} cpu_ahead;

// For `passes` passes over the groups of the tile.
CPU_INLINE cpu_ahead cpu_tile_ahead(const cpu_dot_tile_args *args, uint32_t passes, const cpu_dtype_form form) {
    const uint64_t turns = (uint64_t)passes * cpu_tile_groups(args, form), lines = (args->ahead_bytes + 63) / 64;
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
