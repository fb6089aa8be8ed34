// SPDX-License-Identifier: Apache-2.0
// BF16 weights against F32 activations.
#include "kernels/f32x8_neon.h"
#include "kernels/dot_float.h"

void dot_bf16_neon(const cpu_dot_float_args *args) {
    cpu_dot_float(args, 2, cpu_load_bf16, cpu_one_bf16);
}
