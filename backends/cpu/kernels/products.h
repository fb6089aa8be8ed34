// SPDX-License-Identifier: Apache-2.0
// products.h: products of block-quantised weights and 8-bit activations, in the words of a
// vec_ISA.h, which comes first with unpack.h. Two kernels share every step below, so they give the
// same bits: one multiplies a tile in memory with any number of activation rows, the other unpacks
// a packed panel in registers for up to four.
#ifndef GREGALE_BACKENDS_CPU_PRODUCTS_H
#define GREGALE_BACKENDS_CPU_PRODUCTS_H

#include "kernels/kernels.h"
#include "kernels/tile.h"

#define CPU_PARTS (CPU_PANEL / CPU_LANES) // vectors side by side in a panel

// Whether the sums of CPU_TILE_TOKENS rows and the dots of a group fit the registers together.
#define CPU_KEEPS_SUMS (CPU_LANES == 16)

// Whether dots may start from a number of their own.
#define CPU_STARTS (CPU_KEEPS_SUMS && CPU_DELAY == 0)

#ifndef CPU_MUL_ADD_WORD // four activations are the same in a vector as in memory
CPU_INLINE void cpu_mul_add_word(cpu_vi *sum, cpu_vi w, const int8_t *x, cpu_vi four) {
    (void)x;
    cpu_mul_add(sum, w, four);
}
#endif

#ifndef CPU_SIGNED_BITS // signed tiles would gain nothing
#define CPU_SIGNED_BITS 9
CPU_INLINE cpu_vi cpu_magnitude(cpu_vi w) {
    return w;
}
CPU_INLINE cpu_vi cpu_mul_signed(cpu_vi magnitude, cpu_vi w, cpu_vi x) {
    (void)w;
    return cpu_mul(magnitude, x);
}
CPU_INLINE void cpu_add_signed(cpu_vi *sum, cpu_vi products) {
    cpu_add_products(sum, products);
}
#endif

// Whether tiles of this form hold signed weights, q - zero: for each four values of the rows, first
// the magnitudes, then the weights.
CPU_INLINE bool cpu_signed(const cpu_dtype_form form) {
    return form.bits >= CPU_SIGNED_BITS;
}

CPU_INLINE void cpu_add(const bool is_signed, cpu_vi *sum, cpu_vi products) {
    if (is_signed)
        cpu_add_signed(sum, products);
    else
        cpu_add_products(sum, products);
}

// Exact dots of one group: w[step][part], or signed weights, with x[t][4*step..], into dots[t][part]. A product is added
// CPU_DELAY activation rows after it was started: this order keeps the multipliers busy. With `from`, the dots of x[t] go on
// from *from[t]: where a run holds a whole group and products are added at once (CPU_STARTS).
CPU_INLINE void cpu_dot_group(const cpu_vi *w, const uint32_t parts, const int8_t *const *x, const int32_t *const *from,
                              const uint32_t tokens, const cpu_dtype_form form, const bool is_signed,
                              cpu_vi dots[][CPU_PARTS]) {
    const uint32_t steps = form.group / 4, planes = is_signed ? 1 : cpu_planes(form.bits);
    const uint32_t run = !is_signed && cpu_run(form.bits) < steps ? cpu_run(form.bits) : steps;
    CPU_UNROLL
    for (uint32_t plane = 0; plane < planes; plane++) {
        cpu_vi sums[CPU_TILE_TOKENS][CPU_PARTS], products[CPU_DELAY + 1][CPU_PARTS];
        cpu_vi v[CPU_PARTS], u[CPU_PARTS];
        CPU_UNROLL
        for (uint32_t i = 0; i < steps * tokens + CPU_DELAY; i++) {
            const uint32_t s = i / tokens, t = i % tokens;
            if (i + 1 > CPU_DELAY) { // add the product of i - CPU_DELAY
                const uint32_t j = i - CPU_DELAY, js = j / tokens, jt = j % tokens;
                CPU_UNROLL
                for (uint32_t p = 0; p < parts; p++) {
                    cpu_vi *sum = &sums[jt][p];
                    if (CPU_DELAY && js % run)
                        cpu_add(is_signed, sum, products[j % (CPU_DELAY + 1)][p]);
                    else if (CPU_DELAY)
                        *sum = products[j % (CPU_DELAY + 1)][p];
                }
            }
            if (i < steps * tokens) {
                CPU_UNROLL
                for (uint32_t p = 0; p < parts && t == 0; p++) {
                    v[p] = w[(is_signed ? 2 * s : s) * parts + p];
                    u[p] = is_signed ? w[(2 * s + 1) * parts + p] : v[p];
                    if (planes == 2)
                        v[p] = cpu_and(plane ? cpu_srl(v[p], 4) : v[p], cpu_set8(15));
                }
                const cpu_vi four = cpu_four(x[t] + 4 * s);
                CPU_UNROLL
                for (uint32_t p = 0; p < parts; p++) {
                    if (CPU_DELAY)
                        products[i % (CPU_DELAY + 1)][p] =
                            is_signed ? cpu_mul_signed(v[p], u[p], four) : cpu_mul(v[p], four);
                    else {
                        if (s % run == 0)
                            sums[t][p] = cpu_set32(from ? *from[t] : 0);
                        cpu_mul_add_word(&sums[t][p], v[p], x[t] + 4 * s, four);
                    }
                }
            }
            if (i + 1 > CPU_DELAY && (i - CPU_DELAY) / tokens % run == run - 1) {
                const uint32_t j = i - CPU_DELAY, js = j / tokens, jt = j % tokens;
                CPU_UNROLL
                for (uint32_t p = 0; p < parts; p++) {
                    cpu_vi closed = is_signed ? sums[jt][p] : cpu_close(sums[jt][p]);
                    if (plane)
                        closed = cpu_sll(closed, 4);
                    dots[jt][p] = plane || js >= run ? cpu_add32(dots[jt][p], closed) : closed;
                }
            }
        }
    }
}

// What a product needs to know about a group of one activation row, or of a remainder.
typedef struct cpu_group {
    const int8_t *q;
    const float *scale, *total32;
    const int32_t *sum32;
    const int16_t *sum16;
} cpu_group;

CPU_INLINE cpu_group cpu_group_of(const cpu_quantised *a, uint32_t g, const cpu_dtype_form form) {
    const uint32_t b = g * form.group / 32;
    return (cpu_group){a->q + g * form.group, a->scale + b, a->total32 + b, a->sum32 + b,
                       a->sum16 + g};
}
CPU_INLINE cpu_group cpu_group_rest(const cpu_remainder *a, uint32_t half,
                                    const cpu_dtype_form form) {
    return (cpu_group){a->q + half * form.group, &a->scale, &a->total32, &a->sum32,
                       a->sum16 + half};
}

// Adds a group's dots of one activation row to the running sums: see kernels.h. `zeroed` dots are those of the weights
// without their zero.
CPU_INLINE void cpu_dot_apply(const cpu_vi *dots, const uint32_t parts, const cpu_group *x,
                              const cpu_dtype_form form, const bool zeroed, const cpu_vf *s,
                              const cpu_vf *c, cpu_vf *sums) {
    const uint32_t bias = zeroed ? 0 : cpu_zero(form.zero);
    const int32_t sum = form.group == 32 ? *x->sum32 : *x->sum16;
    const cpu_vf scale = cpu_setf(*x->scale);
    cpu_vi zero = cpu_set32(sum);
    cpu_vf total = scale;
    if (bias)
        zero = cpu_sll(zero, __builtin_ctz(bias));
    if (form.offset)
        total = cpu_setf(form.group == 32 ? *x->total32 : *x->scale * (float)sum);
    CPU_UNROLL
    for (uint32_t p = 0; p < parts; p++) {
        cpu_vi dot = bias ? cpu_sub32(dots[p], zero) : dots[p];
        sums[p] = cpu_fma(cpu_mulf(cpu_to_float(dot), scale), s[p], sums[p]);
        if (form.offset)
            sums[p] = cpu_fma(total, c[p], sums[p]);
    }
}

// ---- A tile against any number of rows

// Group g of the tile, whose weights start at w, with x[t], added to v[t].
CPU_INLINE void cpu_tile_group(const cpu_tile *tile, uint32_t g, const cpu_vi *w,
                               const cpu_group *x, const int32_t *const *from, cpu_vf v[][CPU_PARTS],
                               const uint32_t tokens, const cpu_dtype_form form) {
    const uint32_t parts = CPU_PARTS;
    const int8_t *q[CPU_TILE_TOKENS];
    cpu_vi dots[CPU_TILE_TOKENS][CPU_PARTS];
    cpu_vf s[CPU_PARTS], c[CPU_PARTS];
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        q[t] = x[t].q;
    cpu_dot_group(w, parts, q, from, tokens, form, cpu_signed(form), dots);
    CPU_UNROLL
    for (uint32_t p = 0; p < parts; p++) {
        s[p] = cpu_loadf(tile->s + g * CPU_PANEL + p * CPU_LANES);
        c[p] = form.offset ? cpu_loadf(tile->c + g * CPU_PANEL + p * CPU_LANES) : s[p];
    }
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        cpu_dot_apply(dots[t], parts, &x[t], form, from || cpu_signed(form), s, c, v[t]);
}

// The running sums of rows, whose numbers are the weight rows' of a panel.
CPU_INLINE void cpu_sums_load(float *const *sums, const uint32_t tokens, cpu_vf v[][CPU_PARTS]) {
    const uint32_t parts = CPU_PARTS;
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        CPU_UNROLL
        for (uint32_t p = 0; p < parts; p++)
            v[t][p] = cpu_loadf(sums[t] + p * CPU_LANES);
    }
}
CPU_INLINE void cpu_sums_store(cpu_vf v[][CPU_PARTS], const uint32_t tokens, float *const *sums) {
    const uint32_t parts = CPU_PARTS;
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++) {
        CPU_UNROLL
        for (uint32_t p = 0; p < parts; p++)
            cpu_storef(sums[t] + p * CPU_LANES, v[t][p]);
    }
}

// The vectors of one group in a tile.
CPU_INLINE uint32_t cpu_group_vectors(const cpu_dtype_form form) {
    return form.group / 4 * (cpu_signed(form) ? 2 : 1) * CPU_PARTS;
}

CPU_INLINE void cpu_tile_rows(const cpu_dot_tile_args *args, const cpu_quantised *a, float *to, cpu_ahead *ahead,
                              const uint32_t tokens, const cpu_dtype_form form) {
    const cpu_vi *w = (const cpu_vi *)(const void *)args->tile->q;
    const uint32_t groups = cpu_tile_groups(args, form);
    float *sums[CPU_TILE_TOKENS];
    cpu_vf v[CPU_TILE_TOKENS][CPU_PARTS];
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        sums[t] = to + t * CPU_PANEL;
    if (CPU_KEEPS_SUMS)
        cpu_sums_load(sums, tokens, v);
    const bool starts = CPU_STARTS && form.zero;
    int32_t start[CPU_TILE_TOKENS][CPU_CHUNK / 16];
    if (starts) {
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            cpu_starts(a + t, groups, form, start[t]);
    }
    for (uint32_t g = 0; g < groups; g++, w += cpu_group_vectors(form)) {
        cpu_ahead_turn(ahead);
        cpu_group x[CPU_TILE_TOKENS];
        const int32_t *from[CPU_TILE_TOKENS];
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            x[t] = cpu_group_of(a + t, g, form);
            from[t] = &start[t][g];
        }
        if (!CPU_KEEPS_SUMS)
            cpu_sums_load(sums, tokens, v);
        cpu_tile_group(args->tile, g, w, x, starts ? from : NULL, v, tokens, form);
        if (!CPU_KEEPS_SUMS)
            cpu_sums_store(v, tokens, sums);
    }
    if (CPU_KEEPS_SUMS)
        cpu_sums_store(v, tokens, sums);
}

// `tokens` remainders of block b.
CPU_INLINE void cpu_tile_rest(const cpu_dot_tile_args *args, uint32_t b, const cpu_rest_item *of,
                              const uint32_t tokens, const cpu_dtype_form form) {
    const uint32_t halves = 32 / form.group;
    const cpu_vi *w =
        (const cpu_vi *)(const void *)args->tile->q + b * halves * cpu_group_vectors(form);
    CPU_UNROLL
    for (uint32_t h = 0; h < halves; h++, w += cpu_group_vectors(form)) {
        cpu_group x[CPU_TILE_TOKENS];
        float *sums[CPU_TILE_TOKENS];
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            x[t] = cpu_group_rest(of[t].rest, h, form);
            sums[t] = args->sums + of[t].row * CPU_PANEL;
        }
        cpu_vf v[CPU_TILE_TOKENS][CPU_PARTS];
        cpu_sums_load(sums, tokens, v);
        cpu_tile_group(args->tile, b * halves + h, w, x, NULL, v, tokens, form);
        cpu_sums_store(v, tokens, sums);
    }
}

CPU_INLINE void cpu_tile_body(const cpu_dot_tile_args *args, const cpu_dtype_form form) {
    const cpu_quantised *a = args->records;
    float *sums = args->sums;
    uint32_t left = args->tokens;
    cpu_ahead ahead = cpu_tile_ahead(args, (left + CPU_TILE_TOKENS - 1) / CPU_TILE_TOKENS, form);
    for (; left >= CPU_TILE_TOKENS; left -= CPU_TILE_TOKENS, a += CPU_TILE_TOKENS,
                                    sums += CPU_TILE_TOKENS * CPU_PANEL)
        cpu_tile_rows(args, a, sums, &ahead, CPU_TILE_TOKENS, form);
    if (left >= 4 && CPU_TILE_TOKENS > 4) {
        cpu_tile_rows(args, a, sums, &ahead, 4, form);
        left -= 4, a += 4, sums += 4 * CPU_PANEL;
    }
    switch (left) {
    case 1: cpu_tile_rows(args, a, sums, &ahead, 1, form); break;
    case 2: cpu_tile_rows(args, a, sums, &ahead, 2, form); break;
    case 3: cpu_tile_rows(args, a, sums, &ahead, 3, form); break;
    default: break;
    }
    for (uint32_t b = 0; args->rest && b < args->blocks; b++) {
        const cpu_rest_item *of = args->rest->of + b * args->rest->capacity;
        for (left = args->rest->count[b]; left >= 4; left -= 4, of += 4)
            cpu_tile_rest(args, b, of, 4, form);
        for (; left; left--, of++)
            cpu_tile_rest(args, b, of, 1, form);
    }
}

// ---- A packed panel against up to four rows

// Bytes between a line that is multiplied and the one that is asked for: every line is asked for once, an equal share
// in each vector's turn.
#define CPU_AHEAD 3328

// Bytes of the words, and of the halves, of `blocks` blocks of 32 of a panel.
CPU_INLINE uint64_t cpu_words_bytes(const cpu_unpacker *u, gr_dtype dtype, uint64_t blocks) {
    return blocks * 32 / gr_dtype_block(dtype) * u->words * CPU_PANEL * 4;
}
CPU_INLINE uint64_t cpu_halves_bytes(const cpu_unpacker *u, gr_dtype dtype, uint64_t blocks) {
    return blocks * 32 / gr_dtype_block(dtype) * u->halves * CPU_PANEL * 2;
}
CPU_INLINE uint64_t cpu_packed_bytes(const cpu_unpacker *u, gr_dtype dtype, uint64_t blocks) {
    return cpu_halves_bytes(u, dtype, blocks) + cpu_words_bytes(u, dtype, blocks);
}
// A chunk of a packed panel, from row `lane` on.
CPU_INLINE cpu_source cpu_packed_source(const uint8_t *chunk, uint32_t lane, uint32_t blocks,
                                        const cpu_unpacker *u, gr_dtype dtype) {
    return (cpu_source){.packed = true,
                        .halves = chunk + lane * 2,
                        .words = chunk + cpu_halves_bytes(u, dtype, blocks) + lane * 4};
}

// Group g of one vector's rows, w, with x[t].
CPU_INLINE void cpu_packed_group(const cpu_vi *w, const float *s, const float *c,
                                 const cpu_group *x, const uint32_t tokens,
                                 const cpu_dtype_form form, cpu_vf *sums) {
    const int8_t *q[CPU_ROWS_TOKENS];
    cpu_vi dots[CPU_ROWS_TOKENS][CPU_PARTS];
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        q[t] = x[t].q;
    cpu_dot_group(w, 1, q, NULL, tokens, form, false, dots);
    const cpu_vf sv = cpu_loadf(s);
    const cpu_vf cv = form.offset ? cpu_loadf(c) : sv;
    CPU_UNROLL
    for (uint32_t t = 0; t < tokens; t++)
        cpu_dot_apply(dots[t], 1, &x[t], form, false, &sv, &cv, &sums[t]);
}

// The factors of one chunk of one vector's rows, [group][CPU_PANEL].
typedef struct cpu_factors {
    float s[CPU_PANEL * 16], c[CPU_PANEL * 16];
} cpu_factors;

// One chunk of one vector's rows.
CPU_INLINE void cpu_packed_chunk(const cpu_source *from, const uint8_t *next, const cpu_factors *factors,
                                 const cpu_quantised *a, uint32_t blocks, const uint32_t tokens,
                                 const cpu_unpacker *u, gr_dtype dtype, cpu_vf *sums) {
    const cpu_dtype_form form = cpu_dtype_form_of(dtype);
    const uint64_t each = cpu_packed_bytes(u, dtype, 8) / 8 * u->share / CPU_PARTS;
    for (uint32_t first = 0; first < blocks; first += u->share, next += each) {
        cpu_vi raw[24];
        u->fetch(from, first, raw);
        for (uint64_t i = 0; i < each; i += 64)
            __builtin_prefetch((const void *)((uintptr_t)next + i), 0, 3);
        CPU_UNROLL
        for (uint32_t which = 0; which < u->share; which++) {
            cpu_vi w[8];
            u->pick(raw, which, w);
            CPU_UNROLL
            for (uint32_t h = 0; h < 32 / form.group; h++) {
                const uint32_t g = (first + which) * (32 / form.group) + h;
                cpu_group x[CPU_ROWS_TOKENS];
                CPU_UNROLL
                for (uint32_t t = 0; t < tokens; t++)
                    x[t] = cpu_group_of(a + t, g, form);
                cpu_packed_group(w + h * (form.group / 4), factors->s + g * CPU_PANEL,
                                 factors->c + g * CPU_PANEL, x, tokens, form, sums);
            }
        }
    }
}

// The remainders of one row's chunk, of the blocks in `marks`.
CPU_INLINE void cpu_packed_rest(const cpu_source *from, const cpu_factors *factors,
                                const cpu_remainder *rest, uint32_t marks, const cpu_unpacker *u,
                                gr_dtype dtype, cpu_vf *sum) {
    const cpu_dtype_form form = cpu_dtype_form_of(dtype);
    for (uint32_t first = 0; marks >> first; first += u->share) {
        cpu_vi raw[24];
        if (!(marks >> first & ((1u << u->share) - 1)))
            continue;
        u->fetch(from, first, raw);
        CPU_UNROLL
        for (uint32_t which = 0; which < u->share; which++) {
            cpu_vi w[8];
            if (!(marks >> (first + which) & 1))
                continue;
            u->pick(raw, which, w);
            CPU_UNROLL
            for (uint32_t h = 0; h < 32 / form.group; h++) {
                const uint32_t g = (first + which) * (32 / form.group) + h;
                const cpu_group x = cpu_group_rest(&rest[first + which], h, form);
                cpu_packed_group(w + h * (form.group / 4), factors->s + g * CPU_PANEL,
                                 factors->c + g * CPU_PANEL, &x, 1, form, sum);
            }
        }
    }
}

CPU_INLINE void cpu_packed_rows(const cpu_dot_packed_args *args, const uint32_t tokens,
                                const cpu_unpacker *u, gr_dtype dtype) {
    const uint8_t *chunk = args->panel, *marks = args->x.marks;
    const cpu_quantised *records = args->x.records;
    const cpu_remainder *rest = args->x.rest;
    const uint64_t bytes = cpu_packed_bytes(u, dtype, 8);
    for (uint32_t i = 0; i < tokens * CPU_PANEL; i++)
        args->sums[i] = 0.0f;
    for (uint64_t at = 0; at < args->k; at += CPU_CHUNK) {
        const uint32_t blocks = args->k - at < CPU_CHUNK ? (uint32_t)(args->k - at) / 32 : 8;
        for (uint32_t lane = 0; lane < CPU_PANEL; lane += CPU_LANES) {
            const cpu_source from = cpu_packed_source(chunk, lane, blocks, u, dtype);
            cpu_factors factors;
            cpu_vf sums[CPU_ROWS_TOKENS];
            u->factors(&from, blocks, factors.s, factors.c);
            CPU_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                sums[t] = cpu_loadf(args->sums + t * CPU_PANEL + lane);
            cpu_packed_chunk(&from, chunk + CPU_AHEAD + bytes / CPU_PANEL * lane, &factors, records, blocks,
                             tokens, u, dtype, sums);
            CPU_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                cpu_storef(args->sums + t * CPU_PANEL + lane, sums[t]);
            for (uint32_t t = 0; t < tokens; t++) {
                if (!marks[t])
                    continue;
                cpu_vf sum = cpu_loadf(args->sums + t * CPU_PANEL + lane);
                cpu_packed_rest(&from, &factors, rest + t * 8, marks[t], u, dtype, &sum);
                cpu_storef(args->sums + t * CPU_PANEL + lane, sum);
            }
        }
        chunk += bytes;
        records += args->x.stride;
        rest += args->x.stride * 8;
        marks += args->x.stride;
    }
}

CPU_INLINE void cpu_packed_dot(const cpu_dot_packed_args *args, const cpu_unpacker *u,
                               gr_dtype dtype) {
    switch (args->tokens) {
    case 1: cpu_packed_rows(args, 1, u, dtype); break;
    case 2: cpu_packed_rows(args, 2, u, dtype); break;
    case 3: cpu_packed_rows(args, 3, u, dtype); break;
    default: cpu_packed_rows(args, 4, u, dtype); break;
    }
}

// ---- Packing, and a chunk of a panel into a tile

CPU_INLINE void cpu_pack_panel(const uint8_t *rows, uint64_t stride, uint64_t k, uint8_t *panel,
                               const cpu_unpacker *u, gr_dtype dtype) {
    const uint32_t each = gr_dtype_block(dtype);
    for (uint64_t at = 0; at < k; at += CPU_CHUNK) {
        const uint32_t n = k - at < CPU_CHUNK ? (uint32_t)(k - at) : CPU_CHUNK;
        uint8_t *words = panel + cpu_halves_bytes(u, dtype, n / 32);
        for (uint32_t b = 0; b < n / each; b++, rows += gr_dtype_block_bytes(dtype)) {
            for (uint32_t lane = 0; lane < CPU_PANEL; lane += CPU_LANES) {
                const cpu_source from = {.rows = rows + lane * stride, .stride = stride};
                u->pack(&from, words + b * u->words * CPU_PANEL * 4 + lane * 4,
                        panel + b * u->halves * CPU_PANEL * 2 + lane * 2);
            }
        }
        panel += cpu_packed_bytes(u, dtype, n / 32);
    }
}

// One vector's rows of block b into the tile.
CPU_INLINE void cpu_tile_block(const cpu_vi w[8], uint32_t b, uint32_t part,
                               const cpu_dtype_form form, uint8_t *tile) {
    const uint32_t parts = CPU_PARTS;
    cpu_vi *q = (cpu_vi *)(void *)tile;
    CPU_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        if (!cpu_signed(form)) {
            q[(b * 8 + j) * parts + part] = w[j];
            continue;
        }
        const cpu_vi v = cpu_add8(w[j], cpu_set8((char)-(int)cpu_zero(form.zero)));
        q[(b * 8 + j) * 2 * parts + part] = cpu_magnitude(v);
        q[((b * 8 + j) * 2 + 1) * parts + part] = v;
    }
}

CPU_INLINE void cpu_weave_tile(const cpu_weave_args *args, cpu_tile *tile, const bool packed,
                               const cpu_unpacker *u, gr_dtype dtype) {
    for (uint32_t part = 0; part < CPU_PARTS; part++) {
        const uint32_t lane = part * CPU_LANES;
        const cpu_source from =
            packed ? cpu_packed_source(args->panel + args->chunk * cpu_packed_bytes(u, dtype, 8),
                                       lane, args->blocks, u, dtype)
                   : (cpu_source){.rows = args->rows + lane * args->stride, .stride = args->stride};
        u->factors(&from, args->blocks, tile->s + lane, tile->c + lane);
        for (uint32_t first = 0; first < args->blocks; first += u->share) {
            cpu_vi raw[24];
            u->fetch(&from, first, raw);
            CPU_UNROLL
            for (uint32_t which = 0; which < u->share; which++) {
                cpu_vi w[8];
                u->pick(raw, which, w);
                cpu_tile_block(w, first + which, part, cpu_dtype_form_of(dtype), tile->q);
            }
        }
    }
}

// The same from rows that an expander has made: q - zero, [16][CPU_CHUNK].
CPU_INLINE void cpu_bytes_weave(const int8_t *bytes, uint32_t blocks, const cpu_dtype_form form,
                                uint8_t *tile) {
    const cpu_vi bias = cpu_set8((char)cpu_zero(form.zero));
    CPU_UNROLL
    for (uint32_t part = 0; part < CPU_PARTS; part++) {
        const uint8_t *rows = (const uint8_t *)bytes + part * CPU_LANES * CPU_CHUNK;
        for (uint32_t b = 0; b < blocks; b++) {
            cpu_vi w[8];
            cpu_weave(rows + b * 32, CPU_CHUNK, w);
            cpu_weave(rows + b * 32 + 16, CPU_CHUNK, w + 4);
            CPU_UNROLL
            for (uint32_t j = 0; j < 8; j++)
                w[j] = cpu_add8(w[j], bias);
            if (cpu_signed(form))
                cpu_tile_block(w, b, part, form, tile);
            else // the same place, whatever the form
                cpu_tile_block(w, b, part, (cpu_dtype_form){0}, tile);
        }
    }
}

// ---- The table's entries, for one ISA

#define CPU_DEFINE_DTYPE(name, dtype, share, words, halves, factors, fetch, pick, pack)             \
    static const cpu_unpacker unpack_##name = {share, words, halves, factors, fetch, pick, pack};  \
    static void dot_##name(const cpu_dot_packed_args *args) {                                      \
        cpu_packed_dot(args, &unpack_##name, dtype);                                               \
    }                                                                                              \
    static void weave_##name(const cpu_weave_args *args, cpu_tile *tile) {                         \
        if (args->panel)                                                                           \
            cpu_weave_tile(args, tile, true, &unpack_##name, dtype);                               \
        else                                                                                       \
            cpu_weave_tile(args, tile, false, &unpack_##name, dtype);                              \
    }                                                                                              \
    static void pack_##name(const uint8_t *rows, uint64_t stride, uint64_t k, uint8_t *panel) {    \
        cpu_pack_panel(rows, stride, k, panel, &unpack_##name, dtype);                             \
    }
#define CPU_FILL_DTYPE(name, dtype, share, words, halves, factors, fetch, pick, packs)             \
    kernels->dot_packed[dtype] = dot_##name;                                                       \
    kernels->weave[dtype] = weave_##name;                                                          \
    kernels->pack[dtype] = pack_##name;

CPU_UNPACKERS(CPU_DEFINE_DTYPE)

static void dot_tile(const cpu_dot_tile_args *args) {
    cpu_tile_by_form(args, cpu_tile_body);
}

static void weave_bytes(const int8_t *rows, uint32_t blocks, cpu_dtype_form form, uint8_t *tile) {
    cpu_bytes_weave(rows, blocks, form, tile);
}

CPU_INLINE void cpu_products_fill(cpu_kernels *kernels, const char *isa) {
    kernels->dot_isa = isa;
    kernels->dot_tile = dot_tile;
    kernels->weave_bytes = weave_bytes;
    CPU_UNPACKERS(CPU_FILL_DTYPE)
}

#endif
