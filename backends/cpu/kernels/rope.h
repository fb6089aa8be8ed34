// SPDX-License-Identifier: Apache-2.0
// rope.h: rotation of the pairs of one head by tables of cosines and sines, in the words of
// f32x8_avx2.h or f32x8_neon.h, which come first. x and out may be one.
#ifndef GREGALE_BACKENDS_CPU_ROPE_H
#define GREGALE_BACKENDS_CPU_ROPE_H

CPU_INLINE void cpu_turn8(cpu_f32x8 *a, cpu_f32x8 *b, const float *cosine, const float *sine) {
    const cpu_f32x8 c = f32x8_load(cosine), s = f32x8_load(sine), x = *a, y = *b;
    *a = f32x8_sub(f32x8_mul(x, c), f32x8_mul(y, s));
    *b = f32x8_add(f32x8_mul(x, s), f32x8_mul(y, c));
}

CPU_INLINE void cpu_rope_half(const float *x, const float *cosine, const float *sine,
                              uint32_t pairs, float *out) {
    uint32_t i = 0;
    for (; i + 8 <= pairs; i += 8) {
        cpu_f32x8 a = f32x8_load(x + i), b = f32x8_load(x + pairs + i);
        cpu_turn8(&a, &b, cosine + i, sine + i);
        f32x8_store(out + i, a);
        f32x8_store(out + pairs + i, b);
    }
    for (; i < pairs; i++) {
        const float a = x[i], b = x[i + pairs];
        out[i] = a * cosine[i] - b * sine[i];
        out[i + pairs] = a * sine[i] + b * cosine[i];
    }
}

CPU_INLINE void cpu_rope_interleaved(const float *x, const float *cosine, const float *sine,
                                     uint32_t pairs, float *out) {
    uint32_t i = 0;
    for (; i + 8 <= pairs; i += 8) {
        cpu_f32x8 a, b;
        f32x8_load_pairs(x + 2 * i, &a, &b);
        cpu_turn8(&a, &b, cosine + i, sine + i);
        f32x8_store_pairs(out + 2 * i, a, b);
    }
    for (; i < pairs; i++) {
        const float a = x[2 * i], b = x[2 * i + 1];
        out[2 * i] = a * cosine[i] - b * sine[i];
        out[2 * i + 1] = a * sine[i] + b * cosine[i];
    }
}

#endif
