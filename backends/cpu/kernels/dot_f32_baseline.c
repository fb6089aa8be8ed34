// SPDX-License-Identifier: Apache-2.0
// F32 weights against F32 activations.
#include <string.h>

#include "kernels/dot_float_baseline.h"

static float load(const uint8_t *row, uint64_t i) {
    float value;
    memcpy(&value, row + i * sizeof value, sizeof value);
    return value;
}

void dot_f32_baseline(const cpu_dot_float_args *args) {
    cpu_dot_float(args, load);
}
