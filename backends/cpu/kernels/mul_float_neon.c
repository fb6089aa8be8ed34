// SPDX-License-Identifier: Apache-2.0
// Many activation rows against a panel of float weights.
#include "kernels/f32x8_neon.h"
#include "kernels/mul_float.h"

void mul_float_neon(const cpu_mul_float_args *args) {
    cpu_mul_float(args);
}

void add_lanes_neon(const float *sums, uint32_t count, float *out) {
    cpu_add_lanes(sums, count, out);
}
