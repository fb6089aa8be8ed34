// SPDX-License-Identifier: Apache-2.0
// exp.h: exp of eight floats, in the words of f32x8_avx2.h or f32x8_neon.h, which come first.
#ifndef GREGALE_BACKENDS_CPU_EXP_H
#define GREGALE_BACKENDS_CPU_EXP_H

// exp(x) = 2^n * e^r with n = round(x/ln 2), |r| <= ln 2 / 2, and e^r by its Taylor polynomial of
// degree 7 (the next term is below 6e-9). NaN stays NaN.
CPU_INLINE cpu_f32x8 f32x8_exp(cpu_f32x8 x) {
    static const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    x = f32x8_min(f32x8_set(129.0f), f32x8_max(f32x8_set(-150.0f), x));
    const cpu_f32x8 n = f32x8_round(f32x8_mul(x, f32x8_set(1.44269504f)));
    cpu_f32x8 r = f32x8_fnma(n, f32x8_set(0.693359375f), x);
    r = f32x8_fnma(n, f32x8_set(-2.12194440e-4f), r);
    cpu_f32x8 p = f32x8_set(1.0f / 5040);
    CPU_UNROLL
    for (uint32_t i = 0; i < 7; i++)
        p = f32x8_fma(p, r, f32x8_set(terms[i]));
    return f32x8_scale(p, n);
}

// The same for x <= 0, for less: never below 2^-126, and the next term is 1.2e-7. Adding 1.5 * 2^23
// rounds to a whole number, which then stands in the last bits.
CPU_INLINE cpu_f32x8 f32x8_exp_down(cpu_f32x8 x) {
    static const float terms[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    const cpu_f32x8 big = f32x8_set(12582912.0f + 127.0f);
    x = f32x8_max(f32x8_set(-87.0f), x);
    const cpu_f32x8 n = f32x8_fma(x, f32x8_set(1.44269504f), big);
    const cpu_f32x8 r = f32x8_fnma(f32x8_sub(n, big), f32x8_set(0.693147181f), x);
    cpu_f32x8 p = f32x8_set(1.0f / 720);
    CPU_UNROLL
    for (uint32_t i = 0; i < 6; i++)
        p = f32x8_fma(p, r, f32x8_set(terms[i]));
    return f32x8_mul(p, f32x8_exponent(n));
}

#endif
