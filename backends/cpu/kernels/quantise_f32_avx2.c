// SPDX-License-Identifier: Apache-2.0
// Activations to 8 bits.
#include "kernels/f32x8_avx2.h"
#include "kernels/quantise.h"

void quantise_f32_avx2(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                       uint64_t stride) {
    cpu_quantise_f32(x, first, n, row, stride);
}
