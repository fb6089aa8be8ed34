// SPDX-License-Identifier: Apache-2.0
// kernels.h: the table of inner functions, filled with plain C first and then overridden by ISA.
//
// Every kernel's result for one row depends on that row alone: how many rows go through a call, or
// at which place among them, changes no bit.
//
// Products of block-quantised weights. Sixteen weight rows make a panel. Up to 256 values of each
// become unsigned bytes q with a scale (and perhaps an offset) a group of 16 or 32, woven so that
// each lane of a vector belongs to one row. Activations are 8-bit integers with an F32 scale a
// block of 32. For each group in ascending order, with dot the exact sum of (q - zero) * activation
// and total the activation scale times the sum of the group's activations:
//   sum = fma(dot * activation scale, weight scale, sum), then fma(total, weight offset, sum).
// Some blocks of activations have a remainder, what their rounding left over, as another block of
// 8-bit integers; its products follow those of the chunk of 256 values, block by block.
#ifndef GREGALE_BACKENDS_CPU_KERNELS_H
#define GREGALE_BACKENDS_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gregale/dtype.h"
#include "gregale/topology.h"

#define CPU_PANEL 16       // weight rows in a panel
#define CPU_CHUNK 256      // values of a row at once
#define CPU_COLUMNS 16     // positions, or dimensions, in a panel of the cache
#define CPU_FLOAT_ROWS 4   // weight rows and
#define CPU_FLOAT_TOKENS 4 // activation rows in one dot_float call

// What a dtype looks like as bytes: w = s*(q - zero), plus c when it has offsets.
typedef struct cpu_dtype_form {
    uint32_t group; // values under one scale: 16 or 32; 0 for types that are not made of bytes
    uint32_t bits;  // q < 2^bits
    uint32_t zero;
    bool offset;
} cpu_dtype_form;

// One line a form that some dtype has: group, bits, zero, offset.
#define CPU_FORMS(X)                                                                               \
    X(32, 4, 8, false)                                                                             \
    X(32, 4, 0, true)                                                                              \
    X(32, 5, 16, false)                                                                            \
    X(32, 5, 0, true)                                                                              \
    X(32, 8, 128, false)                                                                           \
    X(16, 4, 0, true)                                                                              \
    X(16, 4, 4, false)                                                                             \
    X(16, 6, 32, false)

static inline cpu_dtype_form cpu_dtype_form_of(gr_dtype dtype) {
    switch (dtype) {
    case GR_DTYPE_Q4_0: return (cpu_dtype_form){32, 4, 8, false};
    case GR_DTYPE_Q4_1:
    case GR_DTYPE_Q4_K: return (cpu_dtype_form){32, 4, 0, true};
    case GR_DTYPE_Q5_0: return (cpu_dtype_form){32, 5, 16, false};
    case GR_DTYPE_Q5_1:
    case GR_DTYPE_Q5_K: return (cpu_dtype_form){32, 5, 0, true};
    case GR_DTYPE_Q8_0:
    case GR_DTYPE_IQ4_NL:
    case GR_DTYPE_IQ4_XS: return (cpu_dtype_form){32, 8, 128, false};
    case GR_DTYPE_Q2_K: return (cpu_dtype_form){16, 4, 0, true};
    case GR_DTYPE_Q3_K: return (cpu_dtype_form){16, 4, 4, false};
    case GR_DTYPE_Q6_K: return (cpu_dtype_form){16, 6, 32, false};
    default: return (cpu_dtype_form){0, 0, 0, false};
    }
}

// Expands n values (whole blocks, n <= 256) of one weight row to signed integers q - zero: value i
// is s[i/group*16]*q[i], plus c[i/group*16] when the type has offsets.
typedef void (*cpu_expand)(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c);

// A panel's values at one chunk of K. 64-byte aligned.
typedef struct cpu_tile {
    uint8_t q[CPU_PANEL * CPU_CHUNK * 2];  // [n/4][16][4], or as cpu_signed (products.h) says
    float s[CPU_PANEL * (CPU_CHUNK / 16)]; // [group][16]
    float c[CPU_PANEL * (CPU_CHUNK / 16)];
} cpu_tile;

// One row's activations at one chunk of K. 64-byte aligned, six cache lines. Chunks stand apart so
// that the rows of one chunk lie side by side: [k/256][row].
typedef struct cpu_quantised {
    int8_t q[CPU_CHUNK]; // -127 to 127
    float scale[8];      // of each 32
    float total32[8];    // scale * sum of q
    int32_t sum32[8];    // sum of q
    int16_t sum16[16];
} cpu_quantised;

// What quantising left over of one block, its remainder: a cache line.
typedef struct cpu_remainder {
    int8_t q[32];
    float scale, total32;
    int32_t sum32;
    int16_t sum16[2];
    uint8_t unused[16];
} cpu_remainder;

// Rows of activations: row m's record of chunk c is records[c*stride + m]. When bit b of
// marks[c*stride + m] is set, its block b has the remainder rest[(c*stride + m)*8 + b].
typedef struct cpu_activations {
    cpu_quantised *records;
    cpu_remainder *rest;
    uint8_t *marks;
    uint64_t stride;
} cpu_activations;

// The remainders of one chunk, by blocks: count[b] of them from of[b*capacity] on.
typedef struct cpu_rest_item {
    const cpu_remainder *rest;
    uint32_t row;
} cpu_rest_item;
typedef struct cpu_rest_list {
    uint32_t count[8];
    uint32_t capacity;
    cpu_rest_item of[];
} cpu_rest_list;

// A tile against rows of activations, then against their remainders.
typedef struct cpu_dot_tile_args {
    const cpu_tile *tile;
    uint32_t blocks; // of 32 values in this tile, 1 to 8
    uint32_t tokens; // any number
    cpu_dtype_form form;
    const cpu_quantised *records; // of this chunk, row 0; the others follow
    const cpu_rest_list *rest;    // NULL: none
    float *sums;                  // [tokens][16], added to
    const uint8_t *ahead;         // read next: asked for meanwhile, 64 bytes at a time
    uint64_t ahead_bytes;
} cpu_dot_tile_args;

// Where a tile comes from: 16 rows in the file's form, `stride` bytes apart, or a packed panel.
typedef struct cpu_weave_args {
    const uint8_t *rows; // at the chunk
    uint64_t stride;
    const uint8_t *panel; // NULL: rows
    uint64_t chunk;       // of 256 values
    uint32_t blocks;      // of 32 values
} cpu_weave_args;

// A packed panel (unpack.h) against up to 4 rows of activations.
#define CPU_ROWS_TOKENS 4
typedef struct cpu_dot_packed_args {
    const uint8_t *panel;
    uint64_t k;
    uint32_t tokens; // 1 to 4
    cpu_activations x; // at chunk 0
    float *sums;     // [tokens][16], set
} cpu_dot_packed_args;

// Weight rows against activation rows, K values each: out[t*out_stride + r].
typedef struct cpu_dot_float_args {
    const uint8_t *weights;
    uint64_t weight_stride; // bytes
    const float *x;
    uint64_t x_stride; // values
    uint64_t k;
    uint32_t rows, tokens; // 1 to 4 each
    float *out;
    uint64_t out_stride; // values
} cpu_dot_float_args;

// A panel's weights at one chunk of K against many activation rows.
typedef struct cpu_mul_float_args {
    const uint8_t *weights; // at the chunk
    uint64_t weight_stride; // bytes
    uint32_t rows;          // of weights, 1 to 16
    uint32_t n;             // values of the chunk, a multiple of 8
    float *w;               // [16][256], written: the weights as F32
    const float *x;         // [tokens][x_stride], at the chunk
    uint64_t x_stride;
    uint32_t tokens;
    uint32_t ahead_rows, ahead_bytes; // `ahead_bytes` of each of `ahead_rows` weight rows that
    const uint8_t *ahead;             // come next are asked for meanwhile
    float *sums;                      // [tokens][16][8], added to
} cpu_mul_float_args;

// A panel of the cache (../page.c) and what it is multiplied with. Its sixteen columns are positions
// of keys, its rows their dimensions; or columns are dimensions of values, rows their positions:
//   F32, F16, BF16   [row][16]
//   Q8_0 keys        for 32 dimensions: [16] scales, then [32][16] bytes
//   Q8_0 values      [row][32] bytes, of which 16 are meant; scales[row] stand apart
typedef struct cpu_attend_args {
    const uint8_t *panel, *scales;
    const float *x; // [queries][x_stride], of which up to 15 numbers behind a row may be read
    float *sums;    // [queries][sums_stride]
    uint32_t queries, rows, x_stride, sums_stride;
    uint32_t ahead_step;  // bytes of it that are asked for with each row
    const uint8_t *ahead; // what is read next; the panel itself when nobody knows
} cpu_attend_args;

typedef struct cpu_kernels {
    const char *isa;     // of most of them: "baseline", "avx2", "avx512", "neon"
    const char *dot_isa; // of products: "avx512vnni"; NULL: none, weights are expanded to F32
    gr_cpu_features features;

    cpu_expand expand[GR_DTYPE_LIMIT];
    // Tiles: by the dtype's own unpacker (NULL: none), or from expanded rows [16][256].
    void (*weave[GR_DTYPE_LIMIT])(const cpu_weave_args *args, cpu_tile *tile);
    void (*weave_bytes)(const int8_t *rows, uint32_t blocks, cpu_dtype_form form, uint8_t *tile);
    void (*dot_tile)(const cpu_dot_tile_args *args);
    // A thread calls them before its first and after its last dot_tile of a run; NULL: nothing is to be done.
    void (*tiles_begin)(void);
    void (*tiles_end)(void);
    // Packs 16 rows of k values; products for few activation rows, with the same bits as dot_tile
    // gives.
    void (*pack[GR_DTYPE_LIMIT])(const uint8_t *rows, uint64_t stride, uint64_t k, uint8_t *panel);
    void (*dot_packed[GR_DTYPE_LIMIT])(const cpu_dot_packed_args *args);
    // Values [first, first+n) of a row, x, into its records at every `stride`; whole blocks of 32.
    void (*quantise)(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                     uint64_t stride);

    void (*dot[GR_DTYPE_LIMIT])(const cpu_dot_float_args *args); // NULL: to be expanded first
    // For many activation rows; the same bits as the dots give. NULL: none.
    void (*mul[GR_DTYPE_LIMIT])(const cpu_mul_float_args *args);
    // out[i] = the sum of eight lanes, in the order of the dots; count a multiple of 4
    void (*add_lanes)(const float *sums, uint32_t count, float *out);

    void (*f16_to_f32)(const uint16_t *from, uint64_t n, float *to);
    void (*bf16_to_f32)(const uint16_t *from, uint64_t n, float *to);
    void (*i8_to_f32)(const int8_t *from, uint32_t n, float s, float c, float *to); // s*q + c
    void (*f32_to_f16)(const float *from, uint64_t n, uint16_t *to);
    void (*f32_to_bf16)(const float *from, uint64_t n, uint16_t *to);

    void (*rms_norm)(const float *x, const float *weight, uint64_t n, float eps, float *out);
    // x and out hold pairs apart by rotary/2 (half), or neighbours (interleaved); table
    // [pairs][cos, sin].
    void (*rope_half)(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                      float *out);
    void (*rope_interleaved)(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                             float *out);
    void (*glu_silu)(const float *gate, const float *up, uint64_t n, float *out);

    // Attention, by the cache's dtype. sums[i][c] = the sum over rows j of x[i][j] * panel[j][c], in
    // ascending order; of values, added to what sums[i][c] was.
    void (*attend_keys[GR_DTYPE_LIMIT])(const cpu_attend_args *args);
    void (*attend_values[GR_DTYPE_LIMIT])(const cpu_attend_args *args);
    // The largest of n scores, -infinity when n is 0; NaN when one is.
    float (*attend_largest)(const float *s, uint32_t n);
    // s[i] = exp(s[i] - largest); returns the sum.
    float (*attend_exp)(float *s, uint32_t n, float largest);
} cpu_kernels;

// Fills the table for what `features` and `isa` (a name below; NULL: the best) allow.
void cpu_kernels_init(gr_cpu_features features, const char *isa, cpu_kernels *out_kernels);
// The names of this architecture, "baseline" first, the best last; NULL after it.
const char *cpu_isa_name(unsigned level);
// Whether `isa` is one of those names, empty or NULL.
bool cpu_isa_known(const char *isa);

// ---- One function a file; each is the table's entry of that name ----

#define CPU_DECLARE_EXPAND(name)                                                                   \
    void name(const uint8_t *source, uint32_t n, int8_t *q, float *s, float *c)
CPU_DECLARE_EXPAND(expand_q4_0_baseline);
CPU_DECLARE_EXPAND(expand_q4_1_baseline);
CPU_DECLARE_EXPAND(expand_q5_0_baseline);
CPU_DECLARE_EXPAND(expand_q5_1_baseline);
CPU_DECLARE_EXPAND(expand_q8_0_baseline);
CPU_DECLARE_EXPAND(expand_q2_k_baseline);
CPU_DECLARE_EXPAND(expand_q3_k_baseline);
CPU_DECLARE_EXPAND(expand_q4_k_baseline);
CPU_DECLARE_EXPAND(expand_q5_k_baseline);
CPU_DECLARE_EXPAND(expand_q6_k_baseline);
CPU_DECLARE_EXPAND(expand_iq4_nl_baseline);
CPU_DECLARE_EXPAND(expand_iq4_xs_baseline);
CPU_DECLARE_EXPAND(expand_q4_0_avx2);
CPU_DECLARE_EXPAND(expand_q4_1_avx2);
CPU_DECLARE_EXPAND(expand_q5_0_avx2);
CPU_DECLARE_EXPAND(expand_q5_1_avx2);
CPU_DECLARE_EXPAND(expand_q8_0_avx2);
CPU_DECLARE_EXPAND(expand_q4_k_avx2);
CPU_DECLARE_EXPAND(expand_q5_k_avx2);
CPU_DECLARE_EXPAND(expand_q6_k_avx2);
CPU_DECLARE_EXPAND(expand_iq4_nl_avx2);
CPU_DECLARE_EXPAND(expand_iq4_xs_avx2);
#undef CPU_DECLARE_EXPAND

void quantise_f32_baseline(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                           uint64_t stride);
void quantise_f32_avx2(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                       uint64_t stride);
void quantise_f32_neon(const float *x, uint64_t first, uint64_t n, cpu_quantised *row,
                       uint64_t stride);
// weave, weave_bytes, pack, dot_tile, dot_packed and dot_isa of one ISA, from the templates in products.h.
void cpu_products_avx2(cpu_kernels *kernels);
void cpu_products_avxvnni(cpu_kernels *kernels);
void cpu_products_avx512vnni(cpu_kernels *kernels);
void cpu_dot_tile_avx512vnni(const cpu_dot_tile_args *args);
void cpu_products_avx512amx(cpu_kernels *kernels); // what differs from avx512vnni alone
void cpu_products_neon(cpu_kernels *kernels);
void cpu_products_neondot(cpu_kernels *kernels);
void cpu_products_emulated(cpu_kernels *kernels); // AVX-512 in plain C, in tests
void cpu_products_amx_emulated(cpu_kernels *kernels);
void cpu_dot_tile_emulated(const cpu_dot_tile_args *args);
void cpu_products_avxvnni_emulated(cpu_kernels *kernels);
void dot_f32_baseline(const cpu_dot_float_args *args);
void dot_f16_baseline(const cpu_dot_float_args *args);
void dot_bf16_baseline(const cpu_dot_float_args *args);
void dot_f32_avx2(const cpu_dot_float_args *args);
void dot_f32_neon(const cpu_dot_float_args *args);
void dot_f16_avx2(const cpu_dot_float_args *args);
void dot_f16_neon(const cpu_dot_float_args *args);
void dot_bf16_avx2(const cpu_dot_float_args *args);
void dot_bf16_neon(const cpu_dot_float_args *args);
void mul_f32_avx2(const cpu_mul_float_args *args);
void mul_f16_avx2(const cpu_mul_float_args *args);
void mul_bf16_avx2(const cpu_mul_float_args *args);
void mul_f32_neon(const cpu_mul_float_args *args);
void mul_f16_neon(const cpu_mul_float_args *args);
void mul_bf16_neon(const cpu_mul_float_args *args);
void add_lanes_avx2(const float *sums, uint32_t count, float *out);
void add_lanes_neon(const float *sums, uint32_t count, float *out);
void dot_f32_avx512(const cpu_dot_float_args *args);
void dot_f16_avx512(const cpu_dot_float_args *args);
void dot_bf16_avx512(const cpu_dot_float_args *args);
void f16_to_f32_baseline(const uint16_t *from, uint64_t n, float *to);
void f16_to_f32_avx2(const uint16_t *from, uint64_t n, float *to);
void f16_to_f32_neon(const uint16_t *from, uint64_t n, float *to);
void f16_to_f32_avx512(const uint16_t *from, uint64_t n, float *to);
void bf16_to_f32_avx512(const uint16_t *from, uint64_t n, float *to);
void bf16_to_f32_avx2(const uint16_t *from, uint64_t n, float *to);
void bf16_to_f32_neon(const uint16_t *from, uint64_t n, float *to);
void bf16_to_f32_baseline(const uint16_t *from, uint64_t n, float *to);
void i8_to_f32_baseline(const int8_t *from, uint32_t n, float s, float c, float *to);
void i8_to_f32_avx2(const int8_t *from, uint32_t n, float s, float c, float *to);
void i8_to_f32_neon(const int8_t *from, uint32_t n, float s, float c, float *to);
void f32_to_f16_baseline(const float *from, uint64_t n, uint16_t *to);
void f32_to_f16_avx2(const float *from, uint64_t n, uint16_t *to);
void f32_to_f16_neon(const float *from, uint64_t n, uint16_t *to);
void f32_to_bf16_baseline(const float *from, uint64_t n, uint16_t *to);
void rms_norm_f32_baseline(const float *x, const float *weight, uint64_t n, float eps, float *out);
void rms_norm_f32_avx2(const float *x, const float *weight, uint64_t n, float eps, float *out);
void rms_norm_f32_neon(const float *x, const float *weight, uint64_t n, float eps, float *out);
void rope_half_f32_baseline(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                            float *out);
void rope_interleaved_f32_baseline(const float *x, const float *cosine, const float *sine,
                                   uint32_t pairs, float *out);
void rope_half_f32_avx2(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                        float *out);
void rope_half_f32_neon(const float *x, const float *cosine, const float *sine, uint32_t pairs,
                        float *out);
void rope_interleaved_f32_avx2(const float *x, const float *cosine, const float *sine,
                               uint32_t pairs, float *out);
void rope_interleaved_f32_neon(const float *x, const float *cosine, const float *sine,
                               uint32_t pairs, float *out);
void glu_silu_f32_baseline(const float *gate, const float *up, uint64_t n, float *out);
void glu_silu_f32_avx2(const float *gate, const float *up, uint64_t n, float *out);
void glu_silu_f32_neon(const float *gate, const float *up, uint64_t n, float *out);
void glu_silu_f32_avx512(const float *gate, const float *up, uint64_t n, float *out);
void attend_keys_f32_baseline(const cpu_attend_args *args);
void attend_keys_f16_baseline(const cpu_attend_args *args);
void attend_keys_bf16_baseline(const cpu_attend_args *args);
void attend_keys_q8_0_baseline(const cpu_attend_args *args);
void attend_values_f32_baseline(const cpu_attend_args *args);
void attend_values_f16_baseline(const cpu_attend_args *args);
void attend_values_bf16_baseline(const cpu_attend_args *args);
void attend_values_q8_0_baseline(const cpu_attend_args *args);
// attend_keys and attend_values of one ISA, from the template in attend.h.
void cpu_attend_avx2(cpu_kernels *kernels);
void cpu_attend_neon(cpu_kernels *kernels);
void cpu_attend_avx512(cpu_kernels *kernels);
void cpu_attend_emulated(cpu_kernels *kernels); // AVX-512 in plain C, in tests
float attend_largest_f32_baseline(const float *s, uint32_t n);
float attend_largest_f32_avx2(const float *s, uint32_t n);
float attend_largest_f32_neon(const float *s, uint32_t n);
float attend_exp_f32_baseline(float *s, uint32_t n, float largest);
float attend_exp_f32_avx2(float *s, uint32_t n, float largest);
float attend_exp_f32_neon(float *s, uint32_t n, float largest);
float attend_exp_f32_avx512(float *s, uint32_t n, float largest);

// ---- half.h's numbers, for anyone ----
float cpu_half_to_float(uint16_t half);
uint16_t cpu_float_to_half(float value);

#endif
