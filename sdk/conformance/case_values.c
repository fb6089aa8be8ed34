// SPDX-License-Identifier: Apache-2.0
// case_values.c: NaN, infinities, very large and very small numbers. A NaN that an output depends on
// must show in it, and nowhere else: a backend that swallows one hides a broken model.
#include <math.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

enum { KINDS = 6 };
static const struct {
    const char *name;
    float value;
} kinds[KINDS] = {{"NaN", NAN},    {"+infinity", INFINITY}, {"-infinity", -INFINITY},
                  {"30000", 3e4f}, {"1e-40", 1e-40f},       {"-0", -0.0f}};
static const uint32_t row_counts[] = {1, 9};

// Puts one special value into every other row of an input, at a random place of it.
static void plant(cf_rig *rig, uint32_t input, uint32_t rows, uint32_t width, float value) {
    for (uint32_t t = 0; t < rows; t += 2)
        ((float *)rig->data[input])[t * width + cf_below(&rig->random, width)] = value;
    rig->special = true;
}

static void matmul(cf_suite *suite, gr_dtype dtype, uint32_t rows, uint32_t kind) {
    enum { N = 48, K = 512 };
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "VALUES MATMUL %s M=%u %s", gr_dtype_name(dtype), rows,
             kinds[kind].name);
    if (!cf_rig_begin(&rig, suite, "VALUES", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, K, 1.0);
    uint32_t w = cf_rig_weight(&rig, dtype, N, K, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, N);
    plant(&rig, x, rows, K, kinds[kind].value);
    cf_rig_node(&rig, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

// Bytes from a block's beginning to its scale, an F16; 0 and no block: the value itself.
static uint32_t scale_offset(gr_dtype dtype) {
    switch (dtype) {
    case GR_DTYPE_Q2_K: return offsetof(gr_block_q2_k, d);
    case GR_DTYPE_Q3_K: return offsetof(gr_block_q3_k, d);
    case GR_DTYPE_Q6_K: return offsetof(gr_block_q6_k, d);
    default: return 0;
    }
}

// A weight with a NaN in row 3: that column of every output is NaN, the others are not.
static void weight(cf_suite *suite, gr_dtype dtype, gr_op op) {
    enum { N = 16, K = 512, ROW = 3 };
    static const uint16_t not_a_half = 0x7e00, not_a_bfloat = 0x7fc0;
    static const float not_a_number = NAN;
    cf_rig rig;
    char name[96];
    bool embed = op == GR_OP_EMBED;
    snprintf(name, sizeof name, "VALUES %s %s with NaN in the weight", embed ? "EMBED" : "MATMUL",
             gr_dtype_name(dtype));
    if (!cf_rig_begin(&rig, suite, "VALUES", name, 5, 0))
        return;
    for (uint32_t t = 0; t < 5; t++)
        ((int32_t *)(uintptr_t)rig.step.tokens)[t] = (int32_t)t;
    uint32_t w = cf_rig_weight(&rig, dtype, N, K, CF_NONE);
    uint32_t x =
        embed ? cf_rig_field(&rig, GR_STEP_TOKENS, CF_NONE) : cf_rig_input(&rig, GR_DIM_T, K, 1.0);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, embed ? K : N);
    uint8_t *at = (uint8_t *)rig.data[w] + ROW * gr_dtype_row_bytes(dtype, K) + scale_offset(dtype);
    if (dtype == GR_DTYPE_F32)
        memcpy(at, &not_a_number, sizeof not_a_number);
    else
        memcpy(at, dtype == GR_DTYPE_BF16 ? &not_a_bfloat : &not_a_half, sizeof not_a_half);
    rig.special = true;
    cf_rig_node(&rig, op, &no_attrs, 2, embed ? (uint32_t[]){w, x} : (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

static void pointwise(cf_suite *suite, gr_op op, const char *op_name, const void *attrs,
                      uint32_t inputs, uint32_t rows, uint32_t kind) {
    enum { D = 67 };
    cf_rig rig;
    char name[96];
    uint32_t in[2];
    snprintf(name, sizeof name, "VALUES %s T=%u %s", op_name, rows, kinds[kind].name);
    if (!cf_rig_begin(&rig, suite, "VALUES", name, rows, 0))
        return;
    for (uint32_t i = 0; i < 2; i++)
        in[i] = op == GR_OP_RMS_NORM && i ? cf_rig_weight(&rig, GR_DTYPE_F32, D, CF_NONE, CF_NONE)
                                          : cf_rig_input(&rig, GR_DIM_T, D, 1.0);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, D);
    plant(&rig, in[0], rows, D, kinds[kind].value);
    cf_rig_node(&rig, op, attrs, inputs, in, 1, &y);
    cf_rig_finish(&rig);
}

static void pointwise_all(cf_suite *suite, uint32_t rows, uint32_t kind) {
    static const char *const glu_names[] = {"GLU silu", "GLU gelu", "GLU gelu tanh", "GLU relu"};
    gr_attrs_scale scale = {.struct_size = sizeof scale, .factor = 0.125f};
    gr_attrs_norm norm = {.struct_size = sizeof norm, .eps = 1e-5f};
    pointwise(suite, GR_OP_ADD, "ADD", &no_attrs, 2, rows, kind);
    pointwise(suite, GR_OP_MUL, "MUL", &no_attrs, 2, rows, kind);
    pointwise(suite, GR_OP_SCALE, "SCALE", &scale, 1, rows, kind);
    pointwise(suite, GR_OP_SOFTMAX, "SOFTMAX", &no_attrs, 1, rows, kind);
    pointwise(suite, GR_OP_RMS_NORM, "RMS_NORM", &norm, 2, rows, kind);
    for (gr_activation a = GR_ACTIVATION_SILU; a <= GR_ACTIVATION_RELU; a++) {
        gr_attrs_glu glu = {.struct_size = sizeof glu, .activation = a};
        pointwise(suite, GR_OP_GLU, glu_names[a], &glu, 2, rows, kind);
    }
}

// `part`: 0 in q, 1 in k, 2 in v. A NaN in a key or value spoils the rows that see it.
static void attention(cf_suite *suite, gr_dtype dtype, uint32_t rows, uint32_t part,
                      uint32_t kind) {
    enum { HEADS = 4, KV = 2, DIM = 64, WINDOW = 6 };
    static const char *const parts[] = {"q", "k", "v"};
    static const uint32_t widths[] = {HEADS * DIM, KV * DIM, KV * DIM};
    cf_rig rig;
    char name[96];
    uint32_t in[3];
    snprintf(name, sizeof name, "VALUES ATTENTION %s T=%u %s in %s", gr_dtype_name(dtype), rows,
             kinds[kind].name, parts[part]);
    if (!cf_rig_begin(&rig, suite, "VALUES", name, rows, 0))
        return;
    cf_rig_sequences(&rig, 1, &rows, (int32_t[]){21});
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = 1,
                       .page_tokens = 8,
                       .kv_heads = KV,
                       .k_dim = DIM,
                       .v_dim = DIM,
                       .dtype = dtype};
    gr_attrs_attention attrs = {.struct_size = sizeof attrs,
                                .heads = HEADS,
                                .kv_heads = KV,
                                .k_dim = DIM,
                                .v_dim = DIM,
                                .window = WINDOW,
                                .scale = 0.125f};
    if (!cf_rig_cache(&rig, &desc, WINDOW)) {
        cf_rig_end(&rig);
        return;
    }
    for (uint32_t i = 0; i < 3; i++)
        in[i] = cf_rig_input(&rig, GR_DIM_T, widths[i], 1.0);
    uint32_t empty = cf_rig_state(&rig), full = cf_rig_state(&rig);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, HEADS * DIM);
    plant(&rig, in[part], 1, widths[part],
          kinds[kind].value); // in the first row: later ones see it
    cf_rig_node(&rig, GR_OP_KV_WRITE, &attrs, 3, (uint32_t[]){in[1], in[2], empty}, 1, &full);
    cf_rig_node(&rig, GR_OP_ATTENTION, &attrs, 2, (uint32_t[]){in[0], full}, 1, &y);
    cf_rig_finish(&rig);
}

void cf_cases_values(cf_suite *suite) {
    static const gr_dtype caches[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    for (uint32_t r = 0; r < 2; r++) {
        for (uint32_t kind = 0; kind < KINDS; kind++) {
            for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++)
                matmul(suite, cf_weight_dtypes[d], row_counts[r], kind);
            pointwise_all(suite, row_counts[r], kind);
        }
        for (uint32_t part = 0; part < 3; part++) {
            for (uint32_t d = 0; d < sizeof caches / sizeof caches[0]; d++)
                attention(suite, caches[d], row_counts[r], part, 0);
            attention(suite, GR_DTYPE_F32, row_counts[r], part, 3);
        }
    }
    for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++) {
        weight(suite, cf_weight_dtypes[d], GR_OP_EMBED);
        weight(suite, cf_weight_dtypes[d], GR_OP_MATMUL);
    }
}
