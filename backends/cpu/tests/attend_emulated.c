// SPDX-License-Identifier: Apache-2.0
// The products of attention for AVX-512 with their intrinsics in plain C: cpu_attend_emulated.
#define CPU_EMULATED
#include "kernels/attend_avx512.c"
