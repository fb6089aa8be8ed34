// SPDX-License-Identifier: Apache-2.0
// Rotation of the pairs of one head by tables of cosines and sines; the compiler makes the vectors.
#include "kernels/kernels.h"

void rope_half_f32_avx2(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                        float *out) {
    for (uint32_t i = 0; i < pairs; i++) {
        float a = x[i], b = x[i + pairs];
        out[i] = a * cosine[i] - b * sine[i];
        out[i + pairs] = a * sine[i] + b * cosine[i];
    }
}

void rope_interleaved_f32_avx2(const float *x, const float *cosine, const float *sine,
                               uint32_t pairs, float *out) {
    for (uint32_t i = 0; i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        out[2 * i] = a * cosine[i] - b * sine[i];
        out[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
}
