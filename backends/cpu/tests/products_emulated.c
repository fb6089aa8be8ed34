// SPDX-License-Identifier: Apache-2.0
// The AVX-512 products with their intrinsics in plain C: cpu_products_emulated.
#define CPU_EMULATED
#include "kernels/products_avx512vnni.c"
