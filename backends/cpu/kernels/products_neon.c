// SPDX-License-Identifier: Apache-2.0
// Products of block-quantised weights, for NEON.
#include "kernels/vec_neon.h"
#include "kernels/unpack.h"
#include "kernels/products.h"

void cpu_products_neon(cpu_kernels *kernels) {
    cpu_products_fill(kernels, "neon");
}
