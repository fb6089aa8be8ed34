// SPDX-License-Identifier: Apache-2.0
// unpack.h: one unpacker a dtype, in the words of vec_avx2.h or vec_avx512.h, which come first.
//
// An unpacker turns one vector's rows (CPU_LANES of them, `stride` bytes apart) into unsigned bytes,
// lane by lane: vector w[j] of a block of 32 holds values 4j to 4j+3 of every row. It reads the
// file's own blocks.
#ifndef GREGALE_BACKENDS_CPU_UNPACK_H
#define GREGALE_BACKENDS_CPU_UNPACK_H

#include "kernels/kernels.h"

typedef struct cpu_unpacker {
    uint32_t share; // blocks that one fetch serves: 1, 2 or 4
    // Scales and offsets of `blocks` blocks of 32, [group][CPU_PANEL].
    void (*factors)(const uint8_t *rows, uint64_t stride, uint32_t blocks, float *s, float *c);
    // What blocks [block, block+share) are made from: up to 24 vectors.
    void (*fetch)(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw);
    // Block `which` of them.
    void (*pick)(const cpu_vi *raw, uint32_t which, cpu_vi w[8]);
} cpu_unpacker;

// ---- Q4_0 and Q4_1: low nibbles are values 0-15, high ones 16-31

CPU_INLINE void q4_0_factors(const uint8_t *rows, uint64_t stride, uint32_t blocks, float *s, float *c) {
    (void)c;
    for (uint32_t b = 0; b < blocks; b++)
        cpu_storef(s + b * CPU_PANEL, cpu_halves(rows + b * 18, stride));
}
CPU_INLINE void q4_0_fetch(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw) {
    cpu_weave(rows + block * 18 + 2, stride, raw);
}
CPU_INLINE void q4_1_factors(const uint8_t *rows, uint64_t stride, uint32_t blocks, float *s, float *c) {
    for (uint32_t b = 0; b < blocks; b++)
        cpu_storef(s + b * CPU_PANEL, cpu_halves(rows + b * 20, stride));
    for (uint32_t b = 0; b < blocks; b++)
        cpu_storef(c + b * CPU_PANEL, cpu_halves(rows + b * 20 + 2, stride));
}
CPU_INLINE void q4_1_fetch(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw) {
    cpu_weave(rows + block * 20 + 4, stride, raw);
}
CPU_INLINE void q4_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    const cpu_vi low = cpu_set8(15);
    (void)which;
    CPU_UNROLL
    for (int j = 0; j < 4; j++) {
        w[j] = cpu_and(raw[j], low);
        w[4 + j] = cpu_and(cpu_srl(raw[j], 4), low);
    }
}

// ---- Q8_0

CPU_INLINE void q8_0_factors(const uint8_t *rows, uint64_t stride, uint32_t blocks, float *s, float *c) {
    (void)c;
    for (uint32_t b = 0; b < blocks; b++)
        cpu_storef(s + b * CPU_PANEL, cpu_halves(rows + b * 34, stride));
}
CPU_INLINE void q8_0_fetch(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw) {
    cpu_weave(rows + block * 34 + 2, stride, raw);
    cpu_weave(rows + block * 34 + 18, stride, raw + 4);
}
CPU_INLINE void q8_0_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    (void)which;
    CPU_UNROLL
    for (int j = 0; j < 8; j++)
        w[j] = cpu_xor(raw[j], cpu_set8((char)0x80));
}

// ---- Q4_K and Q5_K: d, dmin, eight scales and minima of six bits (see kscale.h)

// The scale or minimum of group `g`, from the words that hold four of each.
CPU_INLINE cpu_vf k_byte(const cpu_vi words[2], uint32_t g) {
    cpu_vi v = g % 4 == 3 ? words[g / 4] : cpu_sll(words[g / 4], 24 - 8 * (int)(g % 4));
    return cpu_to_float(cpu_srl(v, 24));
}
CPU_INLINE void q4_k_factors(const uint8_t *rows, uint64_t stride, uint32_t blocks, float *s, float *c) {
    const cpu_vi six = cpu_set8(0x3f), four = cpu_set8(0x0f), two = cpu_set8(0x30);
    cpu_vi h[4];
    (void)blocks; // always eight
    cpu_weave(rows, stride, h);
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
CPU_INLINE void q4_k_fetch(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw) {
    cpu_weave(rows + 16 + block * 16, stride, raw);
    cpu_weave(rows + 32 + block * 16, stride, raw + 4);
}
CPU_INLINE void q4_k_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    CPU_UNROLL
    for (int j = 0; j < 8; j++)
        w[j] = cpu_and(which ? cpu_srl(raw[j], 4) : raw[j], cpu_set8(15));
}
// Bit b of the 32 bytes at 16 is the fifth bit of block b.
CPU_INLINE void q5_k_fetch(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw) {
    cpu_weave(rows + 48 + block * 16, stride, raw);
    cpu_weave(rows + 64 + block * 16, stride, raw + 4);
    cpu_weave(rows + 16, stride, raw + 8);
    cpu_weave(rows + 32, stride, raw + 12);
    for (int j = 8; j < 16; j++)
        raw[j] = cpu_srl(raw[j], (int)block);
}
CPU_INLINE void q5_k_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    CPU_UNROLL
    for (int j = 0; j < 8; j++) {
        cpu_vi high = which ? cpu_sll(raw[8 + j], 3) : cpu_sll(raw[8 + j], 4);
        w[j] = cpu_or(cpu_and(which ? cpu_srl(raw[j], 4) : raw[j], cpu_set8(15)),
                      cpu_and(high, cpu_set8(16)));
    }
}

// ---- Q6_K: 128 low nibbles' bytes, 64 of high pairs, 16 scales, d

CPU_INLINE void q6_k_factors(const uint8_t *rows, uint64_t stride, uint32_t blocks, float *s, float *c) {
    cpu_vi scales[4];
    (void)blocks;
    (void)c;
    cpu_weave(rows + offsetof(gr_block_q6_k, scales), stride, scales);
    const cpu_vf d = cpu_halves(rows + offsetof(gr_block_q6_k, d), stride);
    CPU_UNROLL
    for (uint32_t g = 0; g < 16; g++) {
        cpu_vi v = cpu_sra(cpu_sll(scales[g / 4], 24 - 8 * (int)(g % 4)), 24);
        cpu_storef(s + g * CPU_PANEL, cpu_mulf(cpu_to_float(v), d));
    }
}
// Half a block, 128 values: 64 bytes of low nibbles, 32 of high pairs.
CPU_INLINE void q6_k_fetch(const uint8_t *rows, uint64_t stride, uint32_t block, cpu_vi *raw) {
    CPU_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        cpu_weave(rows + block * 16 + i * 16, stride, raw + 4 * i);
    for (uint32_t i = 0; i < 2; i++)
        cpu_weave(rows + offsetof(gr_block_q6_k, qh) + block * 8 + i * 16, stride, raw + 16 + 4 * i);
}
CPU_INLINE void q6_k_pick(const cpu_vi *raw, uint32_t which, cpu_vi w[8]) {
    CPU_UNROLL
    for (int j = 0; j < 8; j++) {
        cpu_vi low = raw[which % 2 * 8 + (uint32_t)j], high = raw[16 + j];
        if (which >= 2)
            low = cpu_srl(low, 4);
        high = which == 0   ? cpu_sll(high, 4)
               : which == 1 ? cpu_sll(high, 2)
               : which == 2 ? high
                            : cpu_srl(high, 2);
        w[j] = cpu_or(cpu_and(low, cpu_set8(15)), cpu_and(high, cpu_set8(0x30)));
    }
}

// One line a dtype that is unpacked in registers: name, dtype, share, factors, fetch, pick.
#define CPU_UNPACKERS(X)                                                \
    X(q4_0, GR_DTYPE_Q4_0, 1, q4_0_factors, q4_0_fetch, q4_pick)        \
    X(q4_1, GR_DTYPE_Q4_1, 1, q4_1_factors, q4_1_fetch, q4_pick)        \
    X(q8_0, GR_DTYPE_Q8_0, 1, q8_0_factors, q8_0_fetch, q8_0_pick)      \
    X(q4_k, GR_DTYPE_Q4_K, 2, q4_k_factors, q4_k_fetch, q4_k_pick)      \
    X(q5_k, GR_DTYPE_Q5_K, 2, q4_k_factors, q5_k_fetch, q5_k_pick)      \
    X(q6_k, GR_DTYPE_Q6_K, 4, q6_k_factors, q6_k_fetch, q6_k_pick)

#endif
