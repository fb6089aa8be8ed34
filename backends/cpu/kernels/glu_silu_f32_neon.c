// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up.
#include "kernels/f32x8_neon.h"
#include "kernels/glu_silu.h"
#include "kernels/kernels.h"

void glu_silu_f32_neon(const float *gate, const float *up, uint64_t n, float *out) {
    cpu_glu_silu(gate, up, n, out);
}
