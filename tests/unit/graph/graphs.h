// SPDX-License-Identifier: Apache-2.0
// graphs.h: small graphs for tests. A weight's name tells its own shape: "q/64x32/Q8_0" is [64,32].
#ifndef GREGALE_TESTS_GRAPHS_H
#define GREGALE_TESTS_GRAPHS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"

static inline bool lookup_by_name(void *context, const char *name, gr_dtype *out_dtype,
                                  uint32_t *out_rank, int64_t out_dims[GR_MAX_RANK]) {
    const char *slash = strchr(name, '/');
    (void)context;
    *out_dtype = GR_DTYPE_F32;
    *out_rank = 0;
    if (!slash)
        return false;
    char *at = (char *)(uintptr_t)slash + 1;
    while (*out_rank < GR_MAX_RANK) {
        out_dims[(*out_rank)++] = strtoll(at, &at, 10);
        if (*at != 'x')
            break;
        at++;
    }
    for (gr_dtype dtype = 0; *at == '/' && dtype < GR_DTYPE_LIMIT; dtype++)
        if (!strcmp(at + 1, gr_dtype_name(dtype)))
            *out_dtype = dtype;
    if (*at == '/' && at[1] == '?')
        *out_dtype = 99;
    return true;
}

// Asks for the weight that the name describes.
static inline uint32_t weight(gr_builder *builder, const char *name) {
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK];
    assert_true(lookup_by_name(NULL, name, &dtype, &rank, dims));
    return gr_build_weight(builder, name, rank, dims);
}

static inline gr_builder *builder_new(void) {
    gr_builder *builder = NULL;
    assert_int_equal(gr_builder_create(lookup_by_name, NULL, &builder, NULL), GR_OK);
    return builder;
}

static inline gr_graph *finish(gr_builder *builder) {
    gr_graph *graph = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_builder_finish(builder, &graph, &error) != GR_OK)
        fail_msg("%s: %s", error.origin, error.message);
    gr_builder_destroy(builder);
    return graph;
}

// The builder must have failed with `code` and a message that has each of the parts (ends with
// NULL).
static inline void expect_failure(gr_builder *builder, gr_status code, ...) {
    gr_graph *graph = (gr_graph *)1;
    gr_error error;
    const char *part;
    va_list parts;
    gr_error_init(&error);
    assert_int_equal(gr_builder_finish(builder, &graph, &error), code);
    assert_null(graph);
    va_start(parts, code);
    while ((part = va_arg(parts, const char *)))
        if (!strstr(error.message, part))
            fail_msg("\"%s\" does not say \"%s\"", error.message, part);
    va_end(parts);
    gr_builder_destroy(builder);
}

enum { DIM = 64, FFN = 128, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 16 };

static inline gr_attrs_attention attention_attrs(uint32_t layer) {
    return (gr_attrs_attention){
        sizeof(gr_attrs_attention), layer, HEADS, KV_HEADS, HEAD_DIM, HEAD_DIM, 0, 0, 0.25f, 0};
}

static inline gr_attrs_rope rope_attrs(void) {
    static const double frequencies[HEAD_DIM / 2] = {1, 0.5, 0.25, 0.125, 0.1, 0.05, 0.02, 0.01};
    return (gr_attrs_rope){
        sizeof(gr_attrs_rope), HEAD_DIM, HEAD_DIM, GR_ROPE_HALF, 1, 0, frequencies};
}

// A decoder of `layers` layers over the widths above; with `biases`, q and k norms and biases too.
static inline gr_graph *decoder(uint32_t layers, bool extras) {
    gr_builder *b = builder_new();
    uint32_t tokens = gr_build_step_field(b, GR_STEP_TOKENS),
             positions = gr_build_step_field(b, GR_STEP_POSITIONS);
    uint32_t none = GR_VALUE_NONE;
    uint32_t x = gr_build_embed(b, weight(b, "embed/96x64/Q8_0"), tokens);
    for (uint32_t i = 0; i < layers; i++) {
        const gr_attrs_attention attention = attention_attrs(i);
        const gr_attrs_rope rope = rope_attrs();
        const gr_attrs_block attrs = {sizeof attrs, 1e-5f, GR_ACTIVATION_SILU, 0,
                                      &rope,        &rope, &attention};
        char names[9][32];
        static const char *const shapes[9] = {"norm%u/64",      "q%u/64x64/Q8_0", "k%u/32x64/Q8_0",
                                              "v%u/32x64/Q4_0", "o%u/64x64",      "fnorm%u/64",
                                              "gate%u/128x64",  "up%u/128x64",    "down%u/64x128"};
        for (int n = 0; n < 9; n++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(names[n], sizeof names[n], shapes[n], i);
#pragma GCC diagnostic pop
        }
        gr_build_layer(b, (int32_t)i);
        const gr_attention_operands operands = {x,
                                                weight(b, names[0]),
                                                weight(b, names[1]),
                                                weight(b, names[2]),
                                                weight(b, names[3]),
                                                extras ? weight(b, "bq/64") : none,
                                                extras ? weight(b, "bk/32") : none,
                                                none,
                                                positions,
                                                gr_build_state(b, &attention),
                                                extras ? weight(b, "qn/16") : none,
                                                extras ? weight(b, "kn/16") : none,
                                                weight(b, names[4]),
                                                none};
        uint32_t state;
        x = gr_build_attention_block(b, &operands, &attrs, &state);
        x = gr_build_ffn_block(b, x, weight(b, names[5]), weight(b, names[6]), weight(b, names[7]),
                               weight(b, names[8]), &attrs);
    }
    gr_build_layer(b, -1);
    x = gr_build_gather_rows(b, x, gr_build_step_field(b, GR_STEP_OUTPUT_ROWS));
    x = gr_build_norm_matmul(b, x, weight(b, "final/64"), weight(b, "embed/96x64/Q8_0"), none,
                             1e-5f);
    gr_build_output(b, "logits", x);
    return finish(b);
}

#endif
