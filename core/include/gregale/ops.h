// SPDX-License-Identifier: Apache-2.0
// ops.h: the operations a model is made of, and their attributes. Operand order is in ops.def.
// For backend authors and architectures. Self-contained, C11 and C++17. Pure data: any thread.
//
// Common rules. Accumulate in F32 or better unless the declared precision class says otherwise. No
// implicit broadcasting. A size of zero is a successful no-op. Shapes list the outermost dimension
// first; a weight W[N,K] holds N rows of K contiguous values (for quantised types, of K/block blocks).
#ifndef GREGALE_OPS_H
#define GREGALE_OPS_H

#include "gregale/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t gr_op;
enum {
#define GR_OP(number, name, level, min_in, max_in, min_out, max_out, attrs, backward) \
    GR_OP_##name = number,
#include "gregale/ops.def"
#undef GR_OP
    GR_OP_LIMIT = 128
};

// Every attribute struct starts with its size (see "Evolution" in backend.h).
typedef struct gr_attrs_none {
    uint32_t struct_size;
} gr_attrs_none;

// y = x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019, arXiv 1910.07467).
typedef struct gr_attrs_norm {
    uint32_t struct_size;
    float eps;
} gr_attrs_norm;

typedef uint32_t gr_rope_pairing;
enum {
    GR_ROPE_INTERLEAVED = 0, // pairs (0,1), (2,3), ...
    GR_ROPE_HALF = 1         // pairs (i, i + rotary_dim/2)
};

// Rotates the first rotary_dim values of each head (Su et al. 2021, arXiv 2104.09864). Pair i at
// position p turns by p * inv_freq[i], the product taken in F64, and is scaled by `magnitude`.
// The table holds every scaling rule (linear, llama3, yarn), so a backend implements none of them.
typedef struct gr_attrs_rope {
    uint32_t struct_size;
    uint32_t head_dim;
    uint32_t rotary_dim;
    gr_rope_pairing pairing;
    float magnitude;        // 1 except for yarn
    uint32_t reserved;
    const double *inv_freq; // [rotary_dim/2], borrowed from the segment
} gr_attrs_rope;

typedef uint32_t gr_attention_flags;
enum {
    GR_ATTENTION_BIDIRECTIONAL = 1u << 0, // not causal: |p-k| replaces p-k below
    GR_ATTENTION_DENSE = 1u << 1          // k and v operands instead of the paged state
};

// Query at position p of a sequence sees the key at position k of the same sequence iff
// 0 <= p-k, and p-k < window when window is not 0. Query head h reads KV head h / (heads/kv_heads).
// Scores are q.k * scale, then softcap*tanh(s/softcap) when softcap is not 0, then softmax. A query
// with no visible key yields zeros. There is no mask tensor.
typedef struct gr_attrs_attention {
    uint32_t struct_size;
    uint32_t cache_layer; // index into gr_program_desc.cache_layers
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t k_dim; // of one head
    uint32_t v_dim;
    uint32_t window; // 0: no window
    gr_attention_flags flags;
    float scale;
    float softcap;
} gr_attrs_attention;

typedef uint32_t gr_activation;
enum {
    GR_ACTIVATION_SILU = 0, // x * sigmoid(x)
    GR_ACTIVATION_GELU = 1, // exact, by erf
    GR_ACTIVATION_GELU_TANH = 2,
    GR_ACTIVATION_RELU = 3
};

typedef struct gr_attrs_glu {
    uint32_t struct_size;
    gr_activation activation;
} gr_attrs_glu;

typedef struct gr_attrs_scale {
    uint32_t struct_size;
    float factor;
} gr_attrs_scale;

// The k largest of each row, descending; equal values by lower index first.
typedef struct gr_attrs_topk {
    uint32_t struct_size;
    uint32_t k;
} gr_attrs_topk;

typedef struct gr_attrs_cast {
    uint32_t struct_size;
    gr_dtype dtype; // F32, F16 or BF16; round to nearest even
} gr_attrs_cast;

// Attributes of the block composites; the pointers lead to the same structs that the primitives of
// the decomposition carry, and are NULL where a block has no such part.
typedef struct gr_attrs_block {
    uint32_t struct_size;
    float eps;
    gr_activation activation;
    uint32_t reserved;
    const gr_attrs_rope *rope_q;
    const gr_attrs_rope *rope_k;
    const gr_attrs_attention *attention;
} gr_attrs_block;

#ifdef __cplusplus
}
#endif
#endif
