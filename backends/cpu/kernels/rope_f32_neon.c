// SPDX-License-Identifier: Apache-2.0
// Rotation of the pairs of one head by tables of cosines and sines.
#include "kernels/f32x8_neon.h"
#include "kernels/kernels.h"
#include "kernels/rope.h"

void rope_half_f32_neon(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                        float *out) {
    cpu_rope_half(x, cosine, sine, pairs, out);
}

void rope_interleaved_f32_neon(const float *x, const float *cosine, const float *sine,
                               uint32_t pairs, float *out) {
    cpu_rope_interleaved(x, cosine, sine, pairs, out);
}
