// SPDX-License-Identifier: Apache-2.0
// dtype_q.c: blocks of 32 values with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 (layouts:
// gregale/dtype.h).
#include "ref.h"

void ref_decode_q4_0(const void *source, uint64_t n, float *out) {
    const gr_block_q4_0 *block = source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = ref_half_to_float(block->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((block->qs[j] & 15) - 8);
            out[j + 16] = d * (float)((block->qs[j] >> 4) - 8);
        }
    }
}

void ref_decode_q4_1(const void *source, uint64_t n, float *out) {
    const gr_block_q4_1 *block = source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = ref_half_to_float(block->d), m = ref_half_to_float(block->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(block->qs[j] & 15) + m;
            out[j + 16] = d * (float)(block->qs[j] >> 4) + m;
        }
    }
}

// Value j of a 5-bit block: four bits from qs, the fifth is bit j of qh.
static int five_bits(const uint8_t *qs, const uint8_t *qh, int j) {
    int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
    return low | (qh[j / 8] >> (j % 8) & 1) << 4;
}

void ref_decode_q5_0(const void *source, uint64_t n, float *out) {
    const gr_block_q5_0 *block = source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = ref_half_to_float(block->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(five_bits(block->qs, block->qh, j) - 16);
    }
}

void ref_decode_q5_1(const void *source, uint64_t n, float *out) {
    const gr_block_q5_1 *block = source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = ref_half_to_float(block->d), m = ref_half_to_float(block->m);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)five_bits(block->qs, block->qh, j) + m;
    }
}

void ref_decode_q8_0(const void *source, uint64_t n, float *out) {
    const gr_block_q8_0 *block = source;
    for (uint64_t i = 0; i < n; i += 32, block++, out += 32) {
        float d = ref_half_to_float(block->d);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)block->qs[j];
    }
}
