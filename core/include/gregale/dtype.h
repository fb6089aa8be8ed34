// SPDX-License-Identifier: Apache-2.0
// dtype.h: element types of tensors and the byte-exact blocks behind the quantised ones.
// For everyone. Self-contained, C11 and C++17. Pure data: any thread.
//
// Layouts follow the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md and the block
// definitions it refers to). Numbers are GGUF's own and permanent.
#ifndef GREGALE_DTYPE_H
#define GREGALE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t gr_dtype;
enum {
    GR_DTYPE_F32 = 0,
    GR_DTYPE_F16 = 1,
    GR_DTYPE_Q4_0 = 2,
    GR_DTYPE_Q4_1 = 3,
    GR_DTYPE_Q5_0 = 6,
    GR_DTYPE_Q5_1 = 7,
    GR_DTYPE_Q8_0 = 8,
    GR_DTYPE_Q2_K = 10,
    GR_DTYPE_Q3_K = 11,
    GR_DTYPE_Q4_K = 12,
    GR_DTYPE_Q5_K = 13,
    GR_DTYPE_Q6_K = 14,
    GR_DTYPE_IQ4_NL = 20,
    GR_DTYPE_IQ4_XS = 23,
    GR_DTYPE_I8 = 24,
    GR_DTYPE_I32 = 26,
    GR_DTYPE_F64 = 28,
    GR_DTYPE_BF16 = 30,
    GR_DTYPE_LIMIT = 31 // one past the last number used
};

// One row a type: X(name, elements in a block, bytes of a block).
#define GR_DTYPE_TABLE(X) \
    X(F32, 1, 4)          \
    X(F16, 1, 2)          \
    X(Q4_0, 32, 18)       \
    X(Q4_1, 32, 20)       \
    X(Q5_0, 32, 22)       \
    X(Q5_1, 32, 24)       \
    X(Q8_0, 32, 34)       \
    X(Q2_K, 256, 84)      \
    X(Q3_K, 256, 110)     \
    X(Q4_K, 256, 144)     \
    X(Q5_K, 256, 176)     \
    X(Q6_K, 256, 210)     \
    X(IQ4_NL, 32, 18)     \
    X(IQ4_XS, 256, 136)   \
    X(I8, 1, 1)           \
    X(I32, 1, 4)          \
    X(F64, 1, 8)          \
    X(BF16, 1, 2)

// Elements in one block of `dtype`; 0 when the type is unknown.
static inline uint32_t gr_dtype_block(gr_dtype dtype) {
    switch (dtype) {
#define X(name, elements, bytes) \
    case GR_DTYPE_##name: return elements;
        GR_DTYPE_TABLE(X)
#undef X
    default: return 0;
    }
}

// Bytes of one block of `dtype`; 0 when the type is unknown.
static inline uint32_t gr_dtype_block_bytes(gr_dtype dtype) {
    switch (dtype) {
#define X(name, elements, bytes) \
    case GR_DTYPE_##name: return bytes;
        GR_DTYPE_TABLE(X)
#undef X
    default: return 0;
    }
}

// Name of `dtype` ("Q4_K"); "?" when the type is unknown.
static inline const char *gr_dtype_name(gr_dtype dtype) {
    switch (dtype) {
#define X(name, elements, bytes) \
    case GR_DTYPE_##name: return #name;
        GR_DTYPE_TABLE(X)
#undef X
    default: return "?";
    }
}

// Bytes of a row of `elements` values, which must be a whole number of blocks; 0 when it is not,
// when the type is unknown, or when the size overflows.
static inline uint64_t gr_dtype_row_bytes(gr_dtype dtype, uint64_t elements) {
    uint64_t block = gr_dtype_block(dtype);
    uint64_t bytes = gr_dtype_block_bytes(dtype);
    if (!block || elements % block || elements / block > UINT64_MAX / bytes)
        return 0;
    return elements / block * bytes;
}

// Block layouts. All multi-byte fields little-endian; F16 scales are kept as raw bits.
// w = weight, q = stored integer, d = scale, m = minimum.
typedef struct gr_block_q4_0 { uint16_t d; uint8_t qs[16]; } gr_block_q4_0; // w=d(q-8); low nibbles 0-15
typedef struct gr_block_q4_1 { uint16_t d, m; uint8_t qs[16]; } gr_block_q4_1; // w=dq+m
typedef struct gr_block_q5_0 { uint16_t d; uint8_t qh[4], qs[16]; } gr_block_q5_0; // w=d(q-16)
typedef struct gr_block_q5_1 { uint16_t d, m; uint8_t qh[4], qs[16]; } gr_block_q5_1;
typedef struct gr_block_q8_0 { uint16_t d; int8_t qs[32]; } gr_block_q8_0;
typedef struct gr_block_q2_k { uint8_t scales[16], qs[64]; uint16_t d, dmin; } gr_block_q2_k;
typedef struct gr_block_q3_k { uint8_t hmask[32], qs[64], scales[12]; uint16_t d; } gr_block_q3_k;
typedef struct gr_block_q4_k { uint16_t d, dmin; uint8_t scales[12], qs[128]; } gr_block_q4_k;
typedef struct gr_block_q5_k { uint16_t d, dmin; uint8_t scales[12], qh[32], qs[128]; } gr_block_q5_k;
typedef struct gr_block_q6_k { uint8_t ql[128], qh[64]; int8_t scales[16]; uint16_t d; } gr_block_q6_k;
typedef struct gr_block_iq4_nl { uint16_t d; uint8_t qs[16]; } gr_block_iq4_nl;
typedef struct gr_block_iq4_xs { uint16_t d, scales_h; uint8_t scales_l[4], qs[128]; } gr_block_iq4_xs;

#ifdef __cplusplus
}
#endif
#endif
