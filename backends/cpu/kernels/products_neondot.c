// SPDX-License-Identifier: Apache-2.0
// Products of block-quantised weights, for NEON with dot products.
#define CPU_DOTPROD
#include "kernels/vec_neon.h"
#include "kernels/unpack.h"
#include "kernels/products.h"

void cpu_products_neondot(cpu_kernels *kernels) {
    cpu_products_fill(kernels, "neondot");
}
