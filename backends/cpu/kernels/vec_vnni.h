// SPDX-License-Identifier: Apache-2.0
// vec_vnni.h: what vec_avx512.h, vec_avx2.h with AVX-VNNI and vec_neon.h with dot products say alike:
// cpu_mul_add multiplies four bytes of a lane and adds them in 32 bits, so that nothing overflows.
#ifndef GREGALE_BACKENDS_CPU_VEC_VNNI_H
#define GREGALE_BACKENDS_CPU_VEC_VNNI_H

#define CPU_DELAY 0

CPU_INLINE uint32_t cpu_planes(uint32_t bits) {
    (void)bits;
    return 1;
}
CPU_INLINE uint32_t cpu_run(uint32_t bits) {
    (void)bits;
    return 8;
}
CPU_INLINE cpu_vi cpu_mul(cpu_vi w, cpu_vi x) {
    cpu_vi sum = cpu_set32(0);
    cpu_mul_add(&sum, w, x);
    return sum;
}
CPU_INLINE void cpu_add_products(cpu_vi *sum, cpu_vi products) {
    *sum = cpu_add32(*sum, products);
}
CPU_INLINE cpu_vi cpu_close(cpu_vi sum) {
    return sum;
}

#endif
