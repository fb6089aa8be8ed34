// SPDX-License-Identifier: Apache-2.0
// BF16 weights against F32 activations.
#include <string.h>

#include "kernels/dot_float_baseline.h"

static float load(const uint8_t *row, uint64_t i) {
    uint16_t value;
    memcpy(&value, row + i * sizeof value, sizeof value);
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

void dot_bf16_baseline(const cpu_dot_float_args *args) {
    cpu_dot_float(args, load);
}
