// SPDX-License-Identifier: Apache-2.0
// rows.c: rows of numbers between F32 and any other dtype.
#include "cpu.h"

bool cpu_can_decode(gr_dtype dtype) {
    return gr_dtype_block(dtype) != 0;
}

static void decode_blocks(const cpu_kernels *kernels, gr_dtype dtype, const uint8_t *source,
                          uint64_t n, float *out) {
    cpu_dtype_form form = cpu_dtype_form_of(dtype);
    int8_t q[CPU_CHUNK];
    float s[CPU_CHUNK / 16 * CPU_PANEL], c[CPU_CHUNK / 16 * CPU_PANEL];
    while (n) {
        uint32_t here = n < CPU_CHUNK ? (uint32_t)n : CPU_CHUNK;
        kernels->expand[dtype](source, here, q, s, c);
        for (uint32_t g = 0; g < here / form.group; g++, out += form.group)
            kernels->i8_to_f32(q + g * form.group, form.group, s[g * CPU_PANEL],
                               form.offset ? c[g * CPU_PANEL] : 0.0f, out);
        source += gr_dtype_row_bytes(dtype, here);
        n -= here;
    }
}

void cpu_decode_row(const cpu_kernels *kernels, gr_dtype dtype, const uint8_t *source, uint64_t n,
                    float *out) {
    const void *from = source;
    if (!n)
        return;
    switch (dtype) {
    case GR_DTYPE_F32: memcpy(out, from, n * sizeof *out); return;
    case GR_DTYPE_F16: kernels->f16_to_f32(from, n, out); return;
    case GR_DTYPE_BF16: kernels->bf16_to_f32(from, n, out); return;
    case GR_DTYPE_F64:
        for (uint64_t i = 0; i < n; i++)
            out[i] = (float)((const double *)from)[i];
        return;
    case GR_DTYPE_I32:
        for (uint64_t i = 0; i < n; i++)
            out[i] = (float)((const int32_t *)from)[i];
        return;
    case GR_DTYPE_I8:
        for (uint64_t i = 0; i < n; i++)
            out[i] = (float)((const int8_t *)from)[i];
        return;
    default: decode_blocks(kernels, dtype, source, n, out);
    }
}

void cpu_encode_row(const cpu_kernels *kernels, gr_dtype dtype, const float *source, uint64_t n,
                    uint8_t *out) {
    void *to = out;
    if (!n)
        return;
    switch (dtype) {
    case GR_DTYPE_F32: memcpy(to, source, n * sizeof *source); return;
    case GR_DTYPE_F16: kernels->f32_to_f16(source, n, to); return;
    case GR_DTYPE_BF16: kernels->f32_to_bf16(source, n, to); return;
    default: gr_encode_q8_0(source, n, to);
    }
}
