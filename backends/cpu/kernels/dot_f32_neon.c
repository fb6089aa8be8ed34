// SPDX-License-Identifier: Apache-2.0
// F32 weights against F32 activations.
#include "kernels/f32x8_neon.h"
#include "kernels/dot_float.h"

void dot_f32_neon(const cpu_dot_float_args *args) {
    cpu_dot_float(args, 4, cpu_load_f32, cpu_one_f32);
}
