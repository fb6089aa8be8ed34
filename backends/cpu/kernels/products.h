// SPDX-License-Identifier: Apache-2.0
// products.h: products of block-quantised weights and 8-bit activations, in the words of vec_avx2.h or
// vec_avx512.h, which come first with unpack.h. Two kernels share every step below, so they give the
// same bits: one multiplies a tile in memory with any number of activation rows, the other unpacks
// a packed panel in registers for up to four.
#ifndef GREGALE_BACKENDS_CPU_PRODUCTS_H
#define GREGALE_BACKENDS_CPU_PRODUCTS_H

#include "kernels/kernels.h"

#define CPU_PARTS (CPU_PANEL / CPU_LANES) // vectors side by side in a panel

// Exact dots of one group: w[step][part] with x[t][4*step..], into dots[t][part]. A product is added
// CPU_DELAY activation rows after it was started: this order keeps the multipliers busy.
CPU_INLINE void cpu_dot_group(const cpu_vi *w, const uint32_t parts, const int8_t *const *x,
                              const uint32_t tokens, const cpu_dtype_form form,
                              cpu_vi dots[][CPU_PARTS]) {
    const uint32_t steps = form.group / 4, planes = cpu_planes(form.bits);
    const uint32_t run = cpu_run(form.bits) < steps ? cpu_run(form.bits) : steps;
    CPU_UNROLL
    for (uint32_t plane = 0; plane < planes; plane++) {
        cpu_vi sums[CPU_TILE_TOKENS][CPU_PARTS], products[CPU_DELAY + 1][CPU_PARTS], v[CPU_PARTS];
        CPU_UNROLL
        for (uint32_t i = 0; i < steps * tokens + CPU_DELAY; i++) {
            const uint32_t s = i / tokens, t = i % tokens;
            if (i + 1 > CPU_DELAY) { // add the product of i - CPU_DELAY
                const uint32_t j = i - CPU_DELAY, js = j / tokens, jt = j % tokens;
                CPU_UNROLL
                for (uint32_t p = 0; p < parts; p++) {
                    cpu_vi *sum = &sums[jt][p];
                    if (CPU_DELAY && js % run)
                        cpu_add_products(sum, products[j % (CPU_DELAY + 1)][p]);
                    else if (CPU_DELAY)
                        *sum = products[j % (CPU_DELAY + 1)][p];
                }
            }
            if (i < steps * tokens) {
                CPU_UNROLL
                for (uint32_t p = 0; p < parts && t == 0; p++) {
                    v[p] = w[s * parts + p];
                    if (planes == 2)
                        v[p] = cpu_and(plane ? cpu_srl(v[p], 4) : v[p], cpu_set8(15));
                }
                const cpu_vi four = cpu_four(x[t] + 4 * s);
                CPU_UNROLL
                for (uint32_t p = 0; p < parts; p++) {
                    if (CPU_DELAY)
                        products[i % (CPU_DELAY + 1)][p] = cpu_mul(v[p], four);
                    else if (s % run)
                        cpu_mul_add(&sums[t][p], v[p], four);
                    else
                        sums[t][p] = cpu_mul(v[p], four);
                }
            }
            if (i + 1 > CPU_DELAY && (i - CPU_DELAY) / tokens % run == run - 1) {
                const uint32_t j = i - CPU_DELAY, js = j / tokens, jt = j % tokens;
                CPU_UNROLL
                for (uint32_t p = 0; p < parts; p++) {
                    cpu_vi closed = cpu_close(sums[jt][p]);
                    if (plane)
                        closed = cpu_sll(closed, 4);
                    dots[jt][p] = plane || js >= run ? cpu_add32(dots[jt][p], closed) : closed;
                }
            }
        }
    }
}

// Adds a group's dots of one activation row to the running sums: see kernels.h.
CPU_INLINE void cpu_dot_apply(const cpu_vi *dots, const uint32_t parts, const cpu_quantised *a,
                              const uint32_t group, const cpu_dtype_form form, const cpu_vf *s,
                              const cpu_vf *c, cpu_vf *sums) {
    const uint32_t block = form.group == 32 ? group : group / 2;
    const int32_t sum = form.group == 32 ? a->sum32[block] : a->sum16[group];
    const cpu_vf scale = cpu_setf(a->scale[block]);
    const uint32_t bias = cpu_zero(form.zero);
    cpu_vi zero = cpu_set32(sum);
    cpu_vf total = scale;
    if (bias)
        zero = cpu_sll(zero, __builtin_ctz(bias));
    if (form.offset)
        total = cpu_setf(form.group == 32 ? a->total32[block] : a->scale[block] * (float)sum);
    CPU_UNROLL
    for (uint32_t p = 0; p < parts; p++) {
        cpu_vi dot = bias ? cpu_sub32(dots[p], zero) : dots[p];
        sums[p] = cpu_fma(cpu_mulf(cpu_to_float(dot), scale), s[p], sums[p]);
        if (form.offset)
            sums[p] = cpu_fma(total, c[p], sums[p]);
    }
}

// ---- A tile against any number of rows

CPU_INLINE void cpu_tile_rows(const cpu_dot_tile_args *args, const cpu_quantised *a, float *sums,
                              const uint32_t tokens, const cpu_dtype_form form) {
    const uint32_t parts = CPU_PARTS, groups = args->blocks * 32 / form.group;
    const cpu_vi *w = (const cpu_vi *)(const void *)args->tile->q;
    for (uint32_t g = 0; g < groups; g++, w += form.group / 4 * parts) {
        const int8_t *x[CPU_TILE_TOKENS];
        cpu_vi dots[CPU_TILE_TOKENS][CPU_PARTS];
        cpu_vf s[CPU_PARTS], c[CPU_PARTS];
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++)
            x[t] = a[t].q + g * form.group;
        cpu_dot_group(w, parts, x, tokens, form, dots);
        CPU_UNROLL
        for (uint32_t p = 0; p < parts; p++) {
            s[p] = cpu_loadf(args->tile->s + g * CPU_PANEL + p * CPU_LANES);
            c[p] = form.offset ? cpu_loadf(args->tile->c + g * CPU_PANEL + p * CPU_LANES) : s[p];
        }
        CPU_UNROLL
        for (uint32_t t = 0; t < tokens; t++) {
            float *at = sums + t * CPU_PANEL;
            cpu_vf v[CPU_PARTS];
            CPU_UNROLL
            for (uint32_t p = 0; p < parts; p++)
                v[p] = cpu_loadf(at + p * CPU_LANES);
            cpu_dot_apply(dots[t], parts, &a[t], g, form, s, c, v);
            CPU_UNROLL
            for (uint32_t p = 0; p < parts; p++)
                cpu_storef(at + p * CPU_LANES, v[p]);
        }
    }
}

CPU_INLINE void cpu_tile_body(const cpu_dot_tile_args *args, const cpu_dtype_form form) {
    const cpu_quantised *a = args->activations;
    float *sums = args->sums;
    uint32_t left = args->tokens;
    for (; left >= CPU_TILE_TOKENS; left -= CPU_TILE_TOKENS, a += CPU_TILE_TOKENS,
                                    sums += CPU_TILE_TOKENS * CPU_PANEL)
        cpu_tile_rows(args, a, sums, CPU_TILE_TOKENS, form);
    if (left >= 4 && CPU_TILE_TOKENS > 4) {
        cpu_tile_rows(args, a, sums, 4, form);
        left -= 4, a += 4, sums += 4 * CPU_PANEL;
    }
    switch (left) {
    case 1: cpu_tile_rows(args, a, sums, 1, form); break;
    case 2: cpu_tile_rows(args, a, sums, 2, form); break;
    case 3: cpu_tile_rows(args, a, sums, 3, form); break;
    default: break;
    }
}

// One instance a form that some dtype has.
CPU_INLINE void cpu_tile_dot(const cpu_dot_tile_args *args) {
    const cpu_dtype_form f = args->form;
#define CPU_FORM(group_, bits_, zero_, offset_)                                                    \
    if (f.group == group_ && f.bits == bits_ && f.offset == offset_) {                             \
        cpu_tile_body(args, (cpu_dtype_form){group_, bits_, zero_, offset_});                      \
        return;                                                                                    \
    }
    CPU_FORMS(CPU_FORM)
#undef CPU_FORM
}

// ---- A packed panel against up to four rows

#define CPU_AHEAD 2048 // bytes asked for before they are needed

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

// One chunk of one vector's rows.
CPU_INLINE void cpu_packed_chunk(const cpu_source *from, const cpu_quantised *a, uint32_t blocks,
                                 const uint32_t tokens, const cpu_unpacker *u, gr_dtype dtype,
                                 cpu_vf *sums) {
    const cpu_dtype_form form = cpu_dtype_form_of(dtype);
    const uint64_t each = cpu_packed_bytes(u, dtype, 8) / 8 * u->share;
    float s[CPU_PANEL * 16], c[CPU_PANEL * 16];
    u->factors(from, blocks, s, c);
    const uint8_t *ahead = from->words + CPU_AHEAD;
    for (uint32_t first = 0; first < blocks; first += u->share, ahead += each) {
        cpu_vi raw[24];
        u->fetch(from, first, raw);
        for (uint64_t i = 0; i < each; i += 64)
            __builtin_prefetch((const void *)((uintptr_t)ahead + i), 0, 3);
        CPU_UNROLL
        for (uint32_t which = 0; which < u->share; which++) {
            cpu_vi w[8];
            u->pick(raw, which, w);
            CPU_UNROLL
            for (uint32_t h = 0; h < 32 / form.group; h++) {
                const uint32_t g = (first + which) * (32 / form.group) + h;
                const int8_t *x[CPU_ROWS_TOKENS];
                cpu_vi dots[CPU_ROWS_TOKENS][CPU_PARTS];
                CPU_UNROLL
                for (uint32_t t = 0; t < tokens; t++)
                    x[t] = a[t].q + g * form.group;
                cpu_dot_group(w + h * (form.group / 4), 1, x, tokens, form, dots);
                const cpu_vf sv = cpu_loadf(s + g * CPU_PANEL);
                const cpu_vf cv = form.offset ? cpu_loadf(c + g * CPU_PANEL) : sv;
                CPU_UNROLL
                for (uint32_t t = 0; t < tokens; t++)
                    cpu_dot_apply(dots[t], 1, &a[t], g, form, &sv, &cv, &sums[t]);
            }
        }
    }
}

CPU_INLINE void cpu_packed_rows(const cpu_dot_packed_args *args, const uint32_t tokens,
                                const cpu_unpacker *u, gr_dtype dtype) {
    const uint8_t *chunk = args->panel;
    const cpu_quantised *a = args->activations;
    for (uint32_t i = 0; i < tokens * CPU_PANEL; i++)
        args->sums[i] = 0.0f;
    for (uint64_t at = 0; at < args->k; at += CPU_CHUNK, a += args->stride) {
        const uint32_t blocks = args->k - at < CPU_CHUNK ? (uint32_t)(args->k - at) / 32 : 8;
        for (uint32_t lane = 0; lane < CPU_PANEL; lane += CPU_LANES) {
            const cpu_source from = cpu_packed_source(chunk, lane, blocks, u, dtype);
            cpu_vf sums[CPU_ROWS_TOKENS];
            CPU_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                sums[t] = cpu_loadf(args->sums + t * CPU_PANEL + lane);
            cpu_packed_chunk(&from, a, blocks, tokens, u, dtype, sums);
            CPU_UNROLL
            for (uint32_t t = 0; t < tokens; t++)
                cpu_storef(args->sums + t * CPU_PANEL + lane, sums[t]);
        }
        chunk += cpu_packed_bytes(u, dtype, 8);
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

CPU_INLINE void cpu_weave_tile(const cpu_weave_args *args, cpu_tile *tile, const bool packed,
                               const cpu_unpacker *u, gr_dtype dtype) {
    const uint32_t parts = CPU_PARTS;
    cpu_vi *q = (cpu_vi *)(void *)tile->q;
    for (uint32_t part = 0; part < parts; part++) {
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
                CPU_UNROLL
                for (uint32_t j = 0; j < 8; j++)
                    q[((first + which) * 8 + j) * parts + part] = w[j];
            }
        }
    }
}

// The same from rows that an expander has made: q + zero, [16][CPU_CHUNK].
CPU_INLINE void cpu_bytes_weave(const int8_t *bytes, uint32_t blocks, int zero, uint8_t *tile) {
    const uint32_t parts = CPU_PARTS;
    const cpu_vi bias = cpu_set8((char)cpu_zero((uint32_t)zero));
    cpu_vi *q = (cpu_vi *)(void *)tile;
    CPU_UNROLL
    for (uint32_t part = 0; part < parts; part++) {
        const uint8_t *rows = (const uint8_t *)bytes + part * CPU_LANES * CPU_CHUNK;
        for (uint32_t b = 0; b < blocks; b++) {
            cpu_vi w[8];
            cpu_weave(rows + b * 32, CPU_CHUNK, w);
            cpu_weave(rows + b * 32 + 16, CPU_CHUNK, w + 4);
            CPU_UNROLL
            for (uint32_t j = 0; j < 8; j++)
                q[(b * 8 + j) * parts + part] = cpu_add8(w[j], bias);
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
    cpu_tile_dot(args);
}

static void weave_bytes(const int8_t *rows, uint32_t blocks, int zero, uint8_t *tile) {
    cpu_bytes_weave(rows, blocks, zero, tile);
}

CPU_INLINE void cpu_products_fill(cpu_kernels *kernels, const char *isa) {
    kernels->dot_isa = isa;
    kernels->dot_tile = dot_tile;
    kernels->weave_bytes = weave_bytes;
    CPU_UNPACKERS(CPU_FILL_DTYPE)
}

#endif
