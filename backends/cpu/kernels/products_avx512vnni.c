// SPDX-License-Identifier: Apache-2.0
// Products of block-quantised weights, for AVX-512 with VNNI.
#include "kernels/vec_avx512.h"
#include "kernels/unpack.h"
#include "kernels/products.h"

void cpu_products_avx512vnni(cpu_kernels *kernels) {
    cpu_products_fill(kernels, "avx512vnni");
}

void cpu_dot_tile_avx512vnni(const cpu_dot_tile_args *args) {
    dot_tile(args);
}
