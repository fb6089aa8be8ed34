// SPDX-License-Identifier: Apache-2.0
// linked/arch.h: model architectures: from metadata to hyperparameters to a graph.
// Private to the project: linked in, not installed. Threads: pure functions of their arguments.
#ifndef GREGALE_LINKED_ARCH_H
#define GREGALE_LINKED_ARCH_H

#include <stdbool.h>

#include "gregale/linked/build.h"
#include "gregale/linked/format.h"
#include "gregale/ops.h"
#include "gregale/status.h"

#define GR_MAX_LAYERS 512

typedef uint32_t gr_rope_scaling;
enum { GR_ROPE_SCALING_NONE = 0, GR_ROPE_SCALING_LINEAR = 1, GR_ROPE_SCALING_LLAMA3 = 2, GR_ROPE_SCALING_YARN = 3 };

// Rotary embedding of a model; the tables that ROPE needs are made from it by gr_rope_table.
typedef struct gr_rope {
    double base;
    uint32_t rotary_dim;
    gr_rope_pairing pairing;
    gr_rope_scaling scaling;
    double factor;            // linear, llama3, yarn
    uint32_t original_context;
    double low_freq_factor, high_freq_factor; // llama3
    double beta_fast, beta_slow;              // yarn
    double attention_factor;                  // yarn; 0: derived from factor
    double extrapolation_factor;              // yarn; 1
    const char *factors_tensor;               // F32[rotary_dim/2] divisors ("rope_freqs.weight"), or NULL
    const float *factors;                     // its values, borrowed from the file; NULL without one
} gr_rope;

// What a decoder needs to know. Filled by an architecture, adjusted by presets and the user's options.
typedef struct gr_hparams {
    char architecture[32]; // "llama", "mistral": as the file says
    char name[96];         // general.name, for people
    uint32_t layers, dim, ffn_dim, vocab;
    uint32_t heads, kv_heads, head_dim, v_dim;
    uint32_t experts, experts_used; // 0: dense
    uint32_t context_train;
    float norm_eps;
    float attention_scale; // 1/sqrt(head_dim) unless the file says otherwise
    float softcap;
    gr_activation activation;
    gr_rope rope;
    bool tied_embeddings;              // output head shares the embedding table
    bool window_known;                 // the file stated a window (or its absence) itself
    uint32_t window[GR_MAX_LAYERS];    // per layer; 0: none
} gr_hparams;

// An architecture, linked in: `const gr_arch gr_arch_<name>` in plugins/arch/<name>/.
typedef struct gr_arch {
    uint32_t struct_size;
    const char *name;
    // Whether it serves this file (by general.architecture and what else it needs to know); the
    // highest answer above 0 wins.
    uint32_t (*match)(const gr_model_file *file);
    // Reads and checks hyperparameters; an error names the key, what was found and what is legal.
    gr_status (*read_hparams)(const gr_model_file *file, gr_hparams *out_hparams, gr_error *error);
    // Emits the graph. Weights are asked for by name and shape through the builder, whose sticky error
    // names what is missing.
    void (*build)(gr_builder *builder, const gr_hparams *hparams);
} gr_arch;

// Fills inv_freq[rotary_dim/2] (radians a position) and the magnitude for `rope`. `factors` is the
// F32 divisor table or NULL. Linear: 1/factor on every frequency. llama3: the piecewise rule of
// Llama 3.1. yarn: Peng et al. 2023, arXiv 2309.00071, NTK-by-parts.
void gr_rope_table(const gr_rope *rope, const float *factors, double *out_inv_freq, float *out_magnitude);

#endif
