// SPDX-License-Identifier: Apache-2.0
// Many activation rows against a panel of float weights.
#include "kernels/f32x8_neon.h"
#include "kernels/mul_float.h"

void mul_f32_neon(const cpu_mul_float_args *args) {
    cpu_mul_float(args, cpu_load_f32);
}

void mul_f16_neon(const cpu_mul_float_args *args) {
    cpu_mul_float(args, cpu_load_f16);
}

void mul_bf16_neon(const cpu_mul_float_args *args) {
    cpu_mul_float(args, cpu_load_bf16);
}

void add_lanes_neon(const float *sums, uint32_t count, float *out) {
    cpu_add_lanes(sums, count, out);
}
