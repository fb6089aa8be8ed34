// SPDX-License-Identifier: Apache-2.0
// The products with tile registers, their intrinsics in plain C: cpu_products_amx_emulated.
#define CPU_EMULATED
#include "kernels/products_avx512amx.c"
