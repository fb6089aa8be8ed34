// SPDX-License-Identifier: Apache-2.0
// gguf_tiny.c: a whole small decoder with numbers that depend on nothing but its description.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"

// SplitMix64 (Steele et al. 2014), as a number in [-1, 1).
static float next_number(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (float)((double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0);
}

typedef struct tiny_context {
    gguf_writer *writer;
    const gguf_tiny *tiny;
    uint64_t state;
} tiny_context;

static void add_matrix(tiny_context *c, const char *name, int64_t rows, int64_t columns) {
    int64_t dims[2] = {rows, columns};
    float *numbers = NULL;
    if (!c->tiny->no_numbers && c->tiny->dtype == GR_DTYPE_F32) {
        numbers = malloc((size_t)(rows * columns) * sizeof *numbers);
        for (int64_t i = 0; numbers && i < rows * columns; i++)
            numbers[i] = next_number(&c->state) * 1.7f / sqrtf((float)columns);
    }
    gguf_tensor(c->writer, name, c->tiny->dtype, 2, dims, numbers);
    free(numbers);
}

static void add_norm(tiny_context *c, const char *name, int64_t size) {
    float *numbers = c->tiny->no_numbers ? NULL : malloc((size_t)size * sizeof *numbers);
    for (int64_t i = 0; numbers && i < size; i++)
        numbers[i] = 1.0f + 0.1f * next_number(&c->state);
    gguf_tensor(c->writer, name, GR_DTYPE_F32, 1, &size, numbers);
    free(numbers);
}

static void add_key(tiny_context *c, const char *suffix, uint32_t value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", c->tiny->architecture, suffix);
    gguf_meta_u32(c->writer, key, value);
}

static void add_float_key(tiny_context *c, const char *suffix, float value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", c->tiny->architecture, suffix);
    gguf_meta_f32(c->writer, key, value);
}

static void add_metadata(tiny_context *c) {
    const gguf_tiny *t = c->tiny;
    gguf_meta_string(c->writer, "general.architecture", t->architecture);
    gguf_meta_string(c->writer, "general.name", t->name);
    add_key(c, "block_count", t->layers);
    add_key(c, "context_length", t->context);
    add_key(c, "embedding_length", t->dim);
    add_key(c, "feed_forward_length", t->ffn_dim);
    add_key(c, "attention.head_count", t->heads);
    add_key(c, "attention.head_count_kv", t->kv_heads);
    if (t->head_dim * t->heads != t->dim) {
        add_key(c, "attention.key_length", t->head_dim);
        add_key(c, "attention.value_length", t->head_dim);
    }
    add_float_key(c, "attention.layer_norm_rms_epsilon", 1e-5f);
    if (t->rope_base > 0)
        add_float_key(c, "rope.freq_base", t->rope_base);
    if (t->window)
        add_key(c, "attention.sliding_window", t->window < 0 ? 0 : (uint32_t)t->window);
}

static void add_layer(tiny_context *c, uint32_t layer) {
    const gguf_tiny *t = c->tiny;
    int64_t q = (int64_t)t->heads * t->head_dim, k = (int64_t)t->kv_heads * t->head_dim;
    const struct {
        const char *name;
        int64_t rows, columns; // columns 0: a norm
    } parts[] = {{"attn_norm", t->dim, 0},
                 {"attn_q", q, t->dim},
                 {"attn_k", k, t->dim},
                 {"attn_v", k, t->dim},
                 {"attn_output", t->dim, q},
                 {"ffn_norm", t->dim, 0},
                 {"ffn_gate", t->ffn_dim, t->dim},
                 {"ffn_up", t->ffn_dim, t->dim},
                 {"ffn_down", t->dim, t->ffn_dim}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, parts[i].name);
        if (parts[i].columns)
            add_matrix(c, name, parts[i].rows, parts[i].columns);
        else
            add_norm(c, name, parts[i].rows);
    }
}

static void set_default(uint32_t *field, uint32_t value) {
    if (!*field)
        *field = value;
}

void gguf_writer_tiny(gguf_writer *writer, const gguf_tiny *tiny) {
    gguf_tiny t = *tiny;
    tiny_context c = {.writer = writer, .tiny = &t, .state = t.seed};
    t.architecture = t.architecture ? t.architecture : "llama";
    t.name = t.name ? t.name : "tiny";
    set_default(&t.layers, 2);
    set_default(&t.dim, 64);
    set_default(&t.ffn_dim, 96);
    set_default(&t.heads, 4);
    set_default(&t.kv_heads, 2);
    set_default(&t.head_dim, t.dim / t.heads);
    set_default(&t.vocab, 96);
    set_default(&t.context, 256);
    add_metadata(&c);
    add_matrix(&c, "token_embd.weight", t.vocab, t.dim);
    for (uint32_t layer = 0; layer < t.layers; layer++)
        add_layer(&c, layer);
    add_norm(&c, "output_norm.weight", t.dim);
    if (t.untied)
        add_matrix(&c, "output.weight", t.vocab, t.dim);
}
