// SPDX-License-Identifier: Apache-2.0
// silu(gate) * up.
#include <math.h>

#include "kernels/kernels.h"

void glu_silu_f32_baseline(const float *gate, const float *up, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}
