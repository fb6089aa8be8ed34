// SPDX-License-Identifier: Apache-2.0
// dtype_k.c: the "k" family: 256 values, two levels of scales: Q2_K to Q6_K (layouts:
// gregale/dtype.h).
#include "ref.h"

// Sixteen groups of 16 values; a byte of `scales` holds a 4-bit scale and a 4-bit minimum. Within
// each half of 128 values, 32 bytes of qs hold four layers of 2 bits.
void ref_decode_q2_k(const void *source, uint64_t n, float *out) {
    const gr_block_q2_k *block = source;
    for (uint64_t i = 0; i < n; i += 256, block++, out += 256) {
        float d = ref_half_to_float(block->d), dmin = ref_half_to_float(block->dmin);
        for (int j = 0; j < 256; j++) {
            int half = j / 128, layer = j % 128 / 32, byte = j % 32;
            int scale = block->scales[j / 16];
            int q = block->qs[half * 32 + byte] >> (2 * layer) & 3;
            out[j] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
        }
    }
}

// Scale `group` of 16: six bits, low four in bytes 0-7, high two in bytes 8-11; biased by 32.
static int q3_scale(const uint8_t *scales, int group) {
    int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    int high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
    return (low | high << 4) - 32;
}

// As Q2_K, with a third bit in hmask: bit (half*4+layer) of byte j%32; where it is 0, 4 is taken
// off.
void ref_decode_q3_k(const void *source, uint64_t n, float *out) {
    const gr_block_q3_k *block = source;
    for (uint64_t i = 0; i < n; i += 256, block++, out += 256) {
        float d = ref_half_to_float(block->d);
        for (int j = 0; j < 256; j++) {
            int half = j / 128, layer = j % 128 / 32, byte = j % 32;
            int q = block->qs[half * 32 + byte] >> (2 * layer) & 3;
            if (!(block->hmask[byte] >> (half * 4 + layer) & 1))
                q -= 4;
            out[j] = d * (float)q3_scale(block->scales, j / 16) * (float)q;
        }
    }
}

// Scale and minimum `group` of 8, six bits each, packed into 12 bytes (Q4_K and Q5_K).
static void k_scale_min(const uint8_t *scales, int group, float *out_scale, float *out_min) {
    int scale, min;
    if (group < 4) {
        scale = scales[group] & 63;
        min = scales[group + 4] & 63;
    } else {
        scale = (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
        min = scales[group + 4] >> 4 | scales[group] >> 6 << 4;
    }
    *out_scale = (float)scale;
    *out_min = (float)min;
}

// Eight groups of 32; 32 bytes of qs hold two groups, low nibbles first.
void ref_decode_q4_k(const void *source, uint64_t n, float *out) {
    const gr_block_q4_k *block = source;
    for (uint64_t i = 0; i < n; i += 256, block++) {
        float d = ref_half_to_float(block->d), dmin = ref_half_to_float(block->dmin);
        for (int group = 0; group < 8; group++) {
            float scale, min;
            k_scale_min(block->scales, group, &scale, &min);
            for (int j = 0; j < 32; j++) {
                int q = block->qs[group / 2 * 32 + j] >> (group % 2 * 4) & 15;
                *out++ = d * scale * (float)q - dmin * min;
            }
        }
    }
}

// As Q4_K; bit `group` of qh[j] is the fifth bit.
void ref_decode_q5_k(const void *source, uint64_t n, float *out) {
    const gr_block_q5_k *block = source;
    for (uint64_t i = 0; i < n; i += 256, block++) {
        float d = ref_half_to_float(block->d), dmin = ref_half_to_float(block->dmin);
        for (int group = 0; group < 8; group++) {
            float scale, min;
            k_scale_min(block->scales, group, &scale, &min);
            for (int j = 0; j < 32; j++) {
                int q = block->qs[group / 2 * 32 + j] >> (group % 2 * 4) & 15;
                q |= (block->qh[j] >> group & 1) << 4;
                *out++ = d * scale * (float)q - dmin * min;
            }
        }
    }
}

// Sixteen groups of 16 with signed 8-bit scales. Within each half of 128 values, quarter 0 and 1
// take the low nibbles of 64 bytes of ql, quarter 2 and 3 the high ones; two more bits come from
// qh.
void ref_decode_q6_k(const void *source, uint64_t n, float *out) {
    const gr_block_q6_k *block = source;
    for (uint64_t i = 0; i < n; i += 256, block++, out += 256) {
        float d = ref_half_to_float(block->d);
        for (int j = 0; j < 256; j++) {
            int half = j / 128, quarter = j % 128 / 32, byte = j % 32;
            int low = block->ql[half * 64 + quarter % 2 * 32 + byte] >> (quarter / 2 * 4) & 15;
            int high = block->qh[half * 32 + byte] >> (2 * quarter) & 3;
            out[j] = d * (float)block->scales[j / 16] * (float)((low | high << 4) - 32);
        }
    }
}
