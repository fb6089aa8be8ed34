// SPDX-License-Identifier: Apache-2.0
// limit_loops.c: written in assembly, so that no compiler reorders, spills or drops anything. Each loop has enough
// independent sums to hide the latency of its multiply. Every operand is the byte 0x3b repeated: as a number of any
// of the types it is an ordinary one, small enough that float sums stay finite.
#include "cli/limit_loops.h"

static const uint32_t operand = 0x3b3b3b3b;

#define TIMES_4(F) F(0) F(1) F(2) F(3)
#define TIMES_8(F) TIMES_4(F) F(4) F(5) F(6) F(7)
#define TIMES_12(F) TIMES_8(F) F(8) F(9) F(10) F(11)
#define TIMES_16(F) TIMES_12(F) F(12) F(13) F(14) F(15)

// A function of `turns` turns of `body`, between `before`, which sets sums and operands, and `after`. %0 counts, %1 is
// the operand.
#define LOOP(name, attributes, before, body, after, ...)                                                                \
    attributes static void name(uint64_t turns) {                                                                       \
        __asm__ volatile(before ".p2align 5\n1:\n" body NEXT_TURN after : "+r"(turns) : OPERAND : "cc", __VA_ARGS__);    \
    }

#if defined(__x86_64__)
// ---- x86-64. Sums in 0 to 11 (AVX-512: 15), operands in 14 and 15 (30 and 31), the rest is scratch.

#define NEXT_TURN "dec %0\njnz 1b\n"
#define OPERAND "m"(operand)
#define CLOBBERED                                                                                                       \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
        "xmm14", "xmm15"

#define XMM(n) "%%xmm" #n
#define YMM(n) "%%ymm" #n
#define ZMM(n) "%%zmm" #n
#define ZERO_X(n) "pxor " XMM(n) "," XMM(n) "\n"
#define ZERO_Y(n) "vpxor " YMM(n) "," YMM(n) "," YMM(n) "\n"
#define ZERO_Z(n) "vpxord " ZMM(n) "," ZMM(n) "," ZMM(n) "\n"
#define OPERANDS_X "movd %1,%%xmm14\npshufd $0,%%xmm14,%%xmm14\nmovdqa %%xmm14,%%xmm15\n"
#define OPERANDS_Y "vpbroadcastd %1,%%ymm14\nvpbroadcastd %1,%%ymm15\n"
#define OPERANDS_Z "vpbroadcastd %1,%%zmm30\nvpbroadcastd %1,%%zmm31\n"

// Products of whole bytes by vpmaddubsw: sums of two fit 16 bits, of four do not, so each is widened at once.
#define BYTES(R, sum, scratch)                                                                                          \
    "vpmaddubsw " R(14) "," R(15) "," R(scratch) "\nvpmaddwd " R(scratch) "," R(15) "," R(scratch) "\nvpaddd "          \
    R(scratch) "," R(sum) "," R(sum) "\n"
#define BYTES_8(R)                                                                                                      \
    BYTES(R, 0, 8) BYTES(R, 1, 9) BYTES(R, 2, 10) BYTES(R, 3, 11) BYTES(R, 4, 8) BYTES(R, 5, 9) BYTES(R, 6, 10)         \
    BYTES(R, 7, 11)
// Products with 4-bit numbers: 8 * 2 * 15 * 127 fits 16 bits, so eight are added before one is widened. Of many orders
// tried on Zen 3, additions in pairs, four multiplies behind, came closest to the limit of the multipliers (88 %).
#define MULTIPLY(R, n) "vpmaddubsw " R(14) "," R(15) "," R(n) "\n"
#define ADD(R, scratch, sum) "vpaddw " R(scratch) "," R(sum) "," R(sum) "\n"
#define PAIR(R, next, next2, done, done2, sum, sum2)                                                                    \
    MULTIPLY(R, next) MULTIPLY(R, next2) ADD(R, done, sum) ADD(R, done2, sum2)
#define PAIRS_6(R)                                                                                                      \
    PAIR(R, 12, 13, 8, 9, 0, 1) PAIR(R, 8, 9, 10, 11, 2, 3) PAIR(R, 10, 11, 12, 13, 0, 1)                               \
    PAIR(R, 12, 13, 8, 9, 2, 3) PAIR(R, 8, 9, 10, 11, 0, 1) PAIR(R, 10, 11, 12, 13, 2, 3)
#define WIDEN(R, narrow, sum) "vpmaddwd " R(narrow) "," R(15) "," R(narrow) "\nvpaddd " R(narrow) "," R(sum) "," R(sum) "\n"
#define NIBBLES_32(R)                                                                                                   \
    MULTIPLY(R, 0) MULTIPLY(R, 1) MULTIPLY(R, 2) MULTIPLY(R, 3)                                                         \
    MULTIPLY(R, 8) MULTIPLY(R, 9) MULTIPLY(R, 10) MULTIPLY(R, 11) PAIRS_6(R) PAIRS_6(R)                                 \
    ADD(R, 8, 0) ADD(R, 9, 1) ADD(R, 10, 2) ADD(R, 11, 3)                                                               \
    WIDEN(R, 0, 4) WIDEN(R, 1, 5) WIDEN(R, 2, 6) WIDEN(R, 3, 7)

#define WORDS_X(n) "movdqa %%xmm14,%%xmm13\npmaddwd %%xmm15,%%xmm13\npaddd %%xmm13," XMM(n) "\n"
#define FLOATS_X(n) "movaps %%xmm14,%%xmm13\nmulps %%xmm15,%%xmm13\naddps %%xmm13," XMM(n) "\n"
#define FLOATS_Y(n) "vfmadd231ps %%ymm14,%%ymm15," YMM(n) "\n"
#define FLOATS_Z(n) "vfmadd231ps %%zmm30,%%zmm31," ZMM(n) "\n"
#define VNNI_Y(n) "%{vex%} vpdpbusd %%ymm14,%%ymm15," YMM(n) "\n"
#define VNNI_Z(n) "vpdpbusd %%zmm30,%%zmm31," ZMM(n) "\n"
#define BF16_Z(n) "vdpbf16ps %%zmm30,%%zmm31," ZMM(n) "\n"

#define SSE2_LOOP(name, body) LOOP(name, , TIMES_12(ZERO_X) OPERANDS_X, body, "", CLOBBERED)
#define AVX_LOOP(name, target_name, before, body, ...)                                                                  \
    LOOP(name, __attribute__((target(target_name))), before, body, "vzeroupper\n", __VA_ARGS__)
#define AVX2_LOOP(name, body) AVX_LOOP(name, "avx2", TIMES_12(ZERO_Y) OPERANDS_Y, body, CLOBBERED)
#define AVX512_LOOP(name, body)                                                                                         \
    AVX_LOOP(name, "avx512f", TIMES_16(ZERO_Z) OPERANDS_Z, body, CLOBBERED, "xmm30", "xmm31")
// With operands in 14 and 15 too.
#define AVX512_LOW_LOOP(name, body)                                                                                     \
    AVX_LOOP(name, "avx512f", TIMES_12(ZERO_Z) "vpbroadcastd %1,%%zmm14\nvpbroadcastd %1,%%zmm15\n", body, CLOBBERED)

SSE2_LOOP(int8_sse2, TIMES_12(WORDS_X))
SSE2_LOOP(f32_sse2, TIMES_12(FLOATS_X))
AVX2_LOOP(int8_avx_vnni, TIMES_12(VNNI_Y))
AVX2_LOOP(int8_avx2, BYTES_8(YMM))
AVX2_LOOP(int4_avx2, NIBBLES_32(YMM))
AVX2_LOOP(f32_avx2, TIMES_12(FLOATS_Y))
AVX512_LOW_LOOP(int8_avx512, BYTES_8(ZMM))
AVX512_LOW_LOOP(int4_avx512, NIBBLES_32(ZMM))
AVX512_LOOP(int8_avx512_vnni, TIMES_16(VNNI_Z))
AVX512_LOOP(bf16_avx512, TIMES_16(BF16_Z))
AVX512_LOOP(f32_avx512, TIMES_16(FLOATS_Z))

#define AVX2 (GR_CPU_AVX2 | GR_CPU_FMA)
// The fastest first within a kind.
static const gr_limit_loop loops[] = {
    {GR_LIMIT_INT8, "AVX-512 VNNI: vpdpbusd", 16 * 128, int8_avx512_vnni, GR_CPU_AVX512_VNNI},
    {GR_LIMIT_INT8, "AVX-512: vpmaddubsw, vpmaddwd, vpaddd", 8 * 128, int8_avx512, GR_CPU_AVX512},
    {GR_LIMIT_INT8, "AVX-VNNI: vpdpbusd", 12 * 64, int8_avx_vnni, GR_CPU_AVX_VNNI},
    {GR_LIMIT_INT8, "AVX2: vpmaddubsw, vpmaddwd, vpaddd", 8 * 64, int8_avx2, AVX2},
    {GR_LIMIT_INT8, "SSE2: pmaddwd, paddd on widened bytes", 12 * 16, int8_sse2, 0},
    {GR_LIMIT_INT4, "AVX-512 VNNI: vpdpbusd", 16 * 128, int8_avx512_vnni, GR_CPU_AVX512_VNNI},
    {GR_LIMIT_INT4, "AVX-512: 8 vpmaddubsw, 7 vpaddw, vpmaddwd, vpaddd", 32 * 128, int4_avx512, GR_CPU_AVX512},
    {GR_LIMIT_INT4, "AVX-VNNI: vpdpbusd", 12 * 64, int8_avx_vnni, GR_CPU_AVX_VNNI},
    {GR_LIMIT_INT4, "AVX2: 8 vpmaddubsw, 7 vpaddw, vpmaddwd, vpaddd", 32 * 64, int4_avx2, AVX2},
    {GR_LIMIT_BF16, "AVX-512 BF16: vdpbf16ps", 16 * 64, bf16_avx512, GR_CPU_AVX512_BF16},
    {GR_LIMIT_F32, "AVX-512: vfmadd231ps", 16 * 32, f32_avx512, GR_CPU_AVX512},
    {GR_LIMIT_F32, "AVX2: vfmadd231ps", 12 * 16, f32_avx2, AVX2},
    {GR_LIMIT_F32, "SSE: mulps, addps", 12 * 8, f32_sse2, 0},
};
#define LOOP_COUNT (sizeof loops / sizeof *loops)

#elif defined(__aarch64__)
// ---- AArch64. Sums in v0 to v15, operands in v30 and v31, v16 is scratch.

#define NEXT_TURN "subs %0, %0, #1\nb.ne 1b\n"
#define OPERAND "r"(operand)

#define V(n, form) "v" #n "." form
#define ZERO(n) "movi " V(n, "4s") ", #0\n"

#define NEON_LOOP(name, body)                                                                                           \
    LOOP(name, , TIMES_16(ZERO) "dup v30.4s, %w1\ndup v31.4s, %w1\n", body, "", "v0", "v1", "v2", "v3", "v4", "v5",     \
         "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v30", "v31")
// By number, since not every assembler knows them without being told of an architecture: sdot and smmla of
// vN.4s, v30.16b, v31.16b, and bfmmla of vN.4s, v30.8h, v31.8h.
#define DOT(n) ".inst 0x4e9f97c0 + " #n "\n"
#define MATRIX(n) ".inst 0x4e9fa7c0 + " #n "\n"
#define BF16_MATRIX(n) ".inst 0x6e5fefc0 + " #n "\n"
#define FLOATS(n) "fmla " V(n, "4s") ", v30.4s, v31.4s\n"
#define BYTES(n) "smull v16.8h, v30.8b, v31.8b\nsmlal2 v16.8h, v30.16b, v31.16b\nsadalp " V(n, "4s") ", v16.8h\n"

NEON_LOOP(int8_matrix, TIMES_16(MATRIX))
NEON_LOOP(int8_dot, TIMES_16(DOT))
NEON_LOOP(int8_neon, TIMES_16(BYTES))
NEON_LOOP(bf16_matrix, TIMES_16(BF16_MATRIX))
NEON_LOOP(f32_neon, TIMES_16(FLOATS))

static const gr_limit_loop loops[] = {
    {GR_LIMIT_INT8, "I8MM: smmla", 16 * 64, int8_matrix, GR_CPU_NEON_I8MM},
    {GR_LIMIT_INT8, "dot product: sdot", 16 * 32, int8_dot, GR_CPU_NEON_DOTPROD},
    {GR_LIMIT_INT8, "NEON: smull, smlal2, sadalp", 16 * 32, int8_neon, GR_CPU_NEON},
    {GR_LIMIT_BF16, "BF16: bfmmla", 16 * 32, bf16_matrix, GR_CPU_NEON_BF16},
    {GR_LIMIT_F32, "NEON: fmla", 16 * 8, f32_neon, GR_CPU_NEON},
};
#define LOOP_COUNT (sizeof loops / sizeof *loops)

#else
static const gr_limit_loop loops[1];
#define LOOP_COUNT 0
#endif

const gr_limit_loop *gr_limit_loop_find(gr_limit_kind kind, gr_cpu_features features) {
    for (size_t i = 0; i < LOOP_COUNT; i++)
        if (loops[i].kind == kind && (loops[i].needs & ~features) == 0)
            return &loops[i];
    if (kind == GR_LIMIT_INT4)
        return gr_limit_loop_find(GR_LIMIT_INT8, features);
    return kind == GR_LIMIT_BF16 ? gr_limit_loop_find(GR_LIMIT_F32, features) : NULL;
}

// ---- Reading. A stream advances by 256 bytes a turn, through four sums.

#define READ_LOOP(name, attributes, width)                                                                              \
    attributes static uint64_t name(const unsigned char *data, size_t bytes, unsigned streams, size_t ahead) {          \
        typedef uint64_t vector __attribute__((vector_size(width), aligned(width)));                                    \
        vector a = {0}, b = {0}, c = {0}, d = {0};                                                                      \
        size_t part = bytes / streams;                                                                                  \
        for (size_t at = 0; at < part; at += 256)                                                                       \
            for (unsigned s = 0; s < streams; s++) {                                                                    \
                const vector *from = (const vector *)(const void *)(data + s * part + at);                              \
                for (size_t line = 0; ahead && line < 256; line += 64)                                                  \
                    __builtin_prefetch(data + s * part + at + ahead + line);                                            \
                for (size_t i = 0; i < 256 / width; i += 4)                                                             \
                    a ^= from[i], b ^= from[i + 1], c ^= from[i + 2], d ^= from[i + 3];                                 \
            }                                                                                                           \
        a ^= b ^ c ^ d;                                                                                                 \
        return a[0] ^ a[1];                                                                                             \
    }

READ_LOOP(read_16, , 16)
#if defined(__x86_64__)
READ_LOOP(read_32, __attribute__((target("avx2"))), 32)
READ_LOOP(read_64, __attribute__((target("avx512f"))), 64)
#endif

gr_read_loop gr_read_loop_find(gr_cpu_features features, const char **out_name) {
    (void)features;
#if defined(__x86_64__)
    if (features & GR_CPU_AVX512)
        return *out_name = "64-byte loads", read_64;
    if (features & GR_CPU_AVX2)
        return *out_name = "32-byte loads", read_32;
#endif
    *out_name = "16-byte loads";
    return read_16;
}
