// SPDX-License-Identifier: Apache-2.0
// Products of block-quantised weights, for AVX2.
#include "kernels/vec_avx2.h"
#include "kernels/unpack.h"
#include "kernels/products.h"

void cpu_products_avx2(cpu_kernels *kernels) {
    cpu_products_fill(kernels, "avx2");
}
