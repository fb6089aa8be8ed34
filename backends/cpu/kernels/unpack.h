// SPDX-License-Identifier: Apache-2.0
// unpack.h: one unpacker a dtype, in the words of a vec_ISA.h, which comes first.
//
// An unpacker turns one vector's rows (CPU_LANES of them) into bytes, lane by lane: vector
// w[j] of a block of 32 holds values 4j to 4j+3 of every row. It reads the file's own bytes, four a
// lane: either from rows, weaving 16 bytes of each at a time, or from a packed panel, where the same
// bytes of sixteen rows already lie side by side.
//
// A packed panel takes as many bytes as its rows do. Each chunk of 256 values begins with the F16
// values that do not fill a word (the scale of Q4_0, Q8_0 and Q6_K), sixteen rows each; then come the
// words of four bytes, word by word, sixteen rows each. Packing moves bytes and changes none.
#ifndef GREGALE_BACKENDS_CPU_UNPACK_H
#define GREGALE_BACKENDS_CPU_UNPACK_H

#include "kernels/kernels.h"

// Where one vector's rows lie, from the current chunk of 256 values on.
typedef struct cpu_source {
    bool packed;         // a constant where this is inlined
    const uint8_t *rows; // in the file's form, `stride` apart
    uint64_t stride;
    const uint8_t *words, *halves; // of a packed panel
} cpu_source;

// Four words of every row: word `word` and the next three, which stand at byte `at` of the row.
CPU_INLINE void cpu_take(const cpu_source *from, uint64_t at, uint64_t word, cpu_vi out[4]) {
    if (!from->packed) {
        cpu_weave(from->rows + at, from->stride, out);
        return;
    }
    CPU_UNROLL
    for (uint32_t j = 0; j < 4; j++)
        out[j] = cpu_load(from->words + (word + j) * CPU_PANEL * 4);
}

// The F16 at byte `at` of every row, which is the packed panel's number `half`.
CPU_INLINE cpu_vf cpu_take_half(const cpu_source *from, uint64_t at, uint64_t half) {
    return from->packed ? cpu_load_halves(from->halves + half * CPU_PANEL * 2)
                       : cpu_halves(from->rows + at, from->stride);
}

typedef struct cpu_unpacker {
    uint32_t share; // blocks that one fetch serves: 1, 2 or 4
    uint32_t words, halves; // of one row's block of the format (see above)
    // Scales and offsets of `blocks` blocks of 32, [group][CPU_PANEL].
    void (*factors)(const cpu_source *from, uint32_t blocks, float *s, float *c);
    // What blocks [block, block+share) are made from: up to 24 vectors.
    void (*fetch)(const cpu_source *from, uint32_t block, cpu_vi *raw);
    // Block `which` of them.
    void (*pick)(const cpu_vi *raw, uint32_t which, cpu_vi w[8]);
    // Packs the rows' words and halves of one block of the format.
    void (*pack)(const cpu_source *from, uint8_t *words, uint8_t *halves);
} cpu_unpacker;

CPU_INLINE void cpu_pack_words(const cpu_source *from, uint64_t at, uint32_t count, uint8_t *to) {
    for (uint32_t i = 0; i < count; i += 4) {
        cpu_vi v[4];
        cpu_weave(from->rows + at + i * 4, from->stride, v);
        CPU_UNROLL
        for (uint32_t j = 0; j < 4; j++)
            cpu_store(to + (i + j) * CPU_PANEL * 4, v[j]);
    }
}
CPU_INLINE void cpu_pack_half(const cpu_source *from, uint64_t at, uint8_t *to) {
    for (uint32_t r = 0; r < CPU_LANES; r++)
        memcpy(to + 2 * r, from->rows + r * from->stride + at, 2);
}

// ---- Q4_0 and Q4_1: low nibbles are values 0-15, high ones 16-31

CPU_INLINE void q4_0_factors(const cpu_source *from, uint32_t blocks, float *s, float *c) {
    (void)c;
    for (uint32_t b = 0; b < blocks; b++)
        cpu_storef(s + b * CPU_PANEL, cpu_take_half(from, b * 18, b));
}
CPU_INLINE void q4_0_fetch(const cpu_source *from, uint32_t block, cpu_vi *raw) {
    cpu_take(from, block * 18 + 2, block * 4, raw);
}
CPU_INLINE void q4_0_pack(const cpu_source *from, uint8_t *words, uint8_t *halves) {
    cpu_pack_half(from, 0, halves);
    cpu_pack_words(from, 2, 4, words);
}
// Scale and offset are one word, the first.
CPU_INLINE void q4_1_factors(const cpu_source *from, uint32_t blocks, float *s, float *c) {
    for (uint32_t b = 0; b < blocks; b++) {
        cpu_vi v;
        if (from->packed) {
            v = cpu_load(from->words + b * 5 * CPU_PANEL * 4);
        } else {
            cpu_storef(s + b * CPU_PANEL, cpu_halves(from->rows + b * 20, from->stride));
            cpu_storef(c + b * CPU_PANEL, cpu_halves(from->rows + b * 20 + 2, from->stride));
            continue;
        }
        cpu_storef(s + b * CPU_PANEL, cpu_low_halves(v));
        cpu_storef(c + b * CPU_PANEL, cpu_low_halves(cpu_srl(v, 16)));
    }
}
CPU_INLINE void q4_1_fetch(const cpu_source *from, uint32_t block, cpu_vi *raw) {
    cpu_take(from, block * 20 + 4, block * 5 + 1, raw);
}
CPU_INLINE void q4_1_pack(const cpu_source *from, uint8_t *words, uint8_t *halves) {
    (void)halves;
    cpu_vi v[4];
    cpu_pack_words(from, 4, 4, words + CPU_PANEL * 4);
    cpu_weave(from->rows, from->stride, v);
    cpu_store(words, v[0]);
}
CPU_INLINE void q4_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    const cpu_vi low = cpu_set8(15);
    (void)which;
    CPU_UNROLL
    for (uint32_t j = 0; j < 4; j++) {
        w[j] = cpu_and(raw[j], low);
        w[4 + j] = cpu_and(cpu_srl(raw[j], 4), low);
    }
}

// ---- Q8_0

CPU_INLINE void q8_0_factors(const cpu_source *from, uint32_t blocks, float *s, float *c) {
    (void)c;
    for (uint32_t b = 0; b < blocks; b++)
        cpu_storef(s + b * CPU_PANEL, cpu_take_half(from, b * 34, b));
}
CPU_INLINE void q8_0_fetch(const cpu_source *from, uint32_t block, cpu_vi *raw) {
    cpu_take(from, block * 34 + 2, block * 8, raw);
    cpu_take(from, block * 34 + 18, block * 8 + 4, raw + 4);
}
CPU_INLINE void q8_0_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    (void)which;
    CPU_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        w[j] = cpu_add8(raw[j], cpu_set8((char)cpu_zero(128)));
}
CPU_INLINE void q8_0_pack(const cpu_source *from, uint8_t *words, uint8_t *halves) {
    cpu_pack_half(from, 0, halves);
    cpu_pack_words(from, 2, 8, words);
}

// ---- Q4_K and Q5_K: d, dmin, eight scales and minima of six bits (see kscale.h)

// The scale or minimum of group `g`, from the words that hold four of each.
CPU_INLINE cpu_vf k_byte(const cpu_vi words[2], uint32_t g) {
    cpu_vi v = g % 4 == 3 ? words[g / 4] : cpu_sll(words[g / 4], 24 - 8 * (int)(g % 4));
    return cpu_to_float(cpu_srl(v, 24));
}
CPU_INLINE void q4_k_factors(const cpu_source *from, uint32_t blocks, float *s, float *c) {
    const cpu_vi six = cpu_set8(0x3f), four = cpu_set8(0x0f), two = cpu_set8(0x30);
    cpu_vi h[4];
    (void)blocks; // always eight
    cpu_take(from, 0, 0, h);
    const cpu_vf d = cpu_low_halves(h[0]), dmin = cpu_negf(cpu_low_halves(cpu_srl(h[0], 16)));
    const cpu_vi scales[2] = {
        cpu_and(h[1], six), cpu_or(cpu_and(h[3], four), cpu_and(cpu_srl(h[1], 2), two))};
    const cpu_vi minima[2] = {cpu_and(h[2], six), cpu_or(cpu_and(cpu_srl(h[3], 4), four),
                                                         cpu_and(cpu_srl(h[2], 2), two))};
    CPU_UNROLL
    for (uint32_t g = 0; g < 8; g++) {
        cpu_storef(s + g * CPU_PANEL, cpu_mulf(k_byte(scales, g), d));
        cpu_storef(c + g * CPU_PANEL, cpu_mulf(k_byte(minima, g), dmin));
    }
}
// 32 bytes hold two blocks: low nibbles, then high ones.
CPU_INLINE void q4_k_fetch(const cpu_source *from, uint32_t block, cpu_vi *raw) {
    cpu_take(from, 16 + block * 16, 4 + block * 4, raw);
    cpu_take(from, 32 + block * 16, 8 + block * 4, raw + 4);
}
CPU_INLINE void q4_k_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    CPU_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        w[j] = cpu_and(which ? cpu_srl(raw[j], 4) : raw[j], cpu_set8(15));
}
CPU_INLINE void q4_k_pack(const cpu_source *from, uint8_t *words, uint8_t *halves) {
    (void)halves;
    cpu_pack_words(from, 0, 36, words);
}
// Bit b of the 32 bytes at 16 is the fifth bit of block b.
CPU_INLINE void q5_k_fetch(const cpu_source *from, uint32_t block, cpu_vi *raw) {
    cpu_take(from, 48 + block * 16, 12 + block * 4, raw);
    cpu_take(from, 64 + block * 16, 16 + block * 4, raw + 4);
    cpu_take(from, 16, 4, raw + 8);
    cpu_take(from, 32, 8, raw + 12);
    CPU_UNROLL
    for (uint32_t j = 0; j < 8; j++)
        raw[8 + j] = cpu_srl(raw[8 + j], (int)block);
}
CPU_INLINE void q5_k_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    CPU_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        cpu_vi high = which ? cpu_sll(raw[8 + j], 3) : cpu_sll(raw[8 + j], 4);
        w[j] = cpu_or(cpu_and(which ? cpu_srl(raw[j], 4) : raw[j], cpu_set8(15)),
                      cpu_and(high, cpu_set8(16)));
    }
}
CPU_INLINE void q5_k_pack(const cpu_source *from, uint8_t *words, uint8_t *halves) {
    (void)halves;
    cpu_pack_words(from, 0, 44, words);
}

// ---- Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 scales, d

CPU_INLINE void q6_k_factors(const cpu_source *from, uint32_t blocks, float *s, float *c) {
    cpu_vi scales[4];
    (void)blocks;
    (void)c;
    cpu_take(from, offsetof(gr_block_q6_k, scales), 48, scales);
    const cpu_vf d = cpu_take_half(from, offsetof(gr_block_q6_k, d), 0);
    CPU_UNROLL
    for (uint32_t g = 0; g < 16; g++) {
        cpu_vi v = cpu_sra(cpu_sll(scales[g / 4], 24 - 8 * (int)(g % 4)), 24);
        cpu_storef(s + g * CPU_PANEL, cpu_mulf(cpu_to_float(v), d));
    }
}
// Half a block, 128 values: 64 bytes of low nibbles, 32 of high pairs.
CPU_INLINE void q6_k_fetch(const cpu_source *from, uint32_t block, cpu_vi *raw) {
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        cpu_take(from, block * 16 + i * 16, block * 4 + i * 4, raw + 4 * i);
    CPU_UNROLL
    for (uint32_t i = 0; i < 2; i++)
        cpu_take(from, offsetof(gr_block_q6_k, qh) + block * 8 + i * 16, 32 + block * 2 + i * 4,
                 raw + 16 + 4 * i);
}
CPU_INLINE void q6_k_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    CPU_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
        cpu_vi low = raw[which % 2 * 8 + j], high = raw[16 + j];
        if (which >= 2)
            low = cpu_srl(low, 4);
        high = which == 0   ? cpu_sll(high, 4)
               : which == 1 ? cpu_sll(high, 2)
               : which == 2 ? high
                            : cpu_srl(high, 2);
        w[j] = cpu_or(cpu_and(low, cpu_set8(15)), cpu_and(high, cpu_set8(0x30)));
    }
}
CPU_INLINE void q6_k_pack(const cpu_source *from, uint8_t *words, uint8_t *halves) {
    cpu_pack_words(from, 0, 52, words);
    cpu_pack_half(from, offsetof(gr_block_q6_k, d), halves);
}

// One line a dtype that is unpacked in registers: name, dtype, blocks a fetch serves, words and
// halves of a block of the format, and the functions above.
#define CPU_UNPACKERS(X)                                                                           \
    X(q4_0, GR_DTYPE_Q4_0, 1, 4, 1, q4_0_factors, q4_0_fetch, q4_pick, q4_0_pack)                  \
    X(q4_1, GR_DTYPE_Q4_1, 1, 5, 0, q4_1_factors, q4_1_fetch, q4_pick, q4_1_pack)                  \
    X(q8_0, GR_DTYPE_Q8_0, 1, 8, 1, q8_0_factors, q8_0_fetch, q8_0_pick, q8_0_pack)                \
    X(q4_k, GR_DTYPE_Q4_K, 2, 36, 0, q4_k_factors, q4_k_fetch, q4_k_pick, q4_k_pack)               \
    X(q5_k, GR_DTYPE_Q5_K, 2, 44, 0, q4_k_factors, q5_k_fetch, q5_k_pick, q5_k_pack)               \
    X(q6_k, GR_DTYPE_Q6_K, 4, 52, 1, q6_k_factors, q6_k_fetch, q6_k_pick, q6_k_pack)

#endif
