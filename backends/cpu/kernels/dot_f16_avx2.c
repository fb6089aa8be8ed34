// SPDX-License-Identifier: Apache-2.0
// F16 weights against F32 activations.
#include "kernels/f32x8_avx2.h"
#include "kernels/dot_float.h"

void dot_f16_avx2(const cpu_dot_float_args *args) {
    cpu_dot_float(args, 2, cpu_load_f16, cpu_one_f16);
}
