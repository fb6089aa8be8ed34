// SPDX-License-Identifier: Apache-2.0
// case_pointwise.c: RMS_NORM, ROPE, GLU, ADD, MUL, SCALE, SOFTMAX.
#include <math.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

static void norm(cf_suite *suite, uint32_t rows, uint32_t d, uint32_t groups, double scale) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "RMS_NORM T=%u D=%u groups=%u scale=%g", rows, d, groups, scale);
    if (!cf_rig_begin(&rig, suite, "RMS_NORM", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, d * groups, scale);
    uint32_t w = cf_rig_weight(&rig, GR_DTYPE_F32, d, CF_NONE, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, d * groups);
    gr_attrs_norm attrs = {.struct_size = sizeof attrs, .eps = 1e-5f};
    cf_rig_node(&rig, GR_OP_RMS_NORM, &attrs, 2, (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

static void rope(cf_suite *suite, uint32_t rows, uint32_t heads, uint32_t head_dim, uint32_t rotary,
                 gr_rope_pairing pairing, int32_t position) {
    cf_rig rig;
    char name[128];
    snprintf(name, sizeof name, "ROPE T=%u heads=%u dim=%u rotary=%u %s at %d", rows, heads,
             head_dim, rotary, pairing == GR_ROPE_HALF ? "half" : "interleaved", position);
    if (!cf_rig_begin(&rig, suite, "ROPE", name, rows, 0))
        return;
    cf_rig_sequences(&rig, 1, &rows, &position);
    double inv_freq[128];
    for (uint32_t i = 0; i < rotary / 2; i++)
        inv_freq[i] = pow(10000.0, -2.0 * i / rotary);
    gr_attrs_rope attrs = {.struct_size = sizeof attrs,
                           .head_dim = head_dim,
                           .rotary_dim = rotary,
                           .pairing = pairing,
                           .magnitude = rotary == head_dim ? 1.0f : 1.25f,
                           .inv_freq = inv_freq};
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, heads * head_dim, 1.0);
    uint32_t positions = cf_rig_field(&rig, GR_STEP_POSITIONS, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, heads * head_dim);
    cf_rig_node(&rig, GR_OP_ROPE, &attrs, 2, (uint32_t[]){x, positions}, 1, &y);
    cf_rig_finish(&rig);
}

static void elementwise(cf_suite *suite, gr_op op, const char *op_name, const void *attrs,
                        const char *detail, uint32_t rows, uint32_t d, double scale) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "%s%s T=%u D=%u", op_name, detail, rows, d);
    if (!cf_rig_begin(&rig, suite, op_name, name, rows, 0))
        return;
    uint32_t count = op == GR_OP_SCALE || op == GR_OP_SOFTMAX ? 1 : 2, in[2];
    for (uint32_t i = 0; i < count; i++)
        in[i] = cf_rig_input(&rig, GR_DIM_T, d, scale);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, d);
    cf_rig_node(&rig, op, attrs, count, in, 1, &y);
    cf_rig_finish(&rig);
}

static void softmax_masked(cf_suite *suite) {
    cf_rig rig;
    if (!cf_rig_begin(&rig, suite, "SOFTMAX", "SOFTMAX with -infinity, one row of nothing else", 3,
                      0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, 41, 5.0),
             y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, 41);
    float *data = rig.data[x];
    for (uint32_t i = 0; i < 3 * 41; i++) {
        if (i / 41 == 1 || (i / 41 == 2 && i % 3))
            data[i] = -INFINITY;
    }
    cf_rig_node(&rig, GR_OP_SOFTMAX, &no_attrs, 1, &x, 1, &y);
    cf_rig_finish(&rig);
}

static void elementwise_all(cf_suite *suite, uint32_t rows, uint32_t d) {
    static const char *const names[] = {" silu", " gelu", " gelu-tanh", " relu"};
    gr_attrs_scale scale = {.struct_size = sizeof scale, .factor = -0.37f};
    elementwise(suite, GR_OP_ADD, "ADD", &no_attrs, "", rows, d, 1.0);
    elementwise(suite, GR_OP_MUL, "MUL", &no_attrs, "", rows, d, 1.0);
    elementwise(suite, GR_OP_SCALE, "SCALE", &scale, "", rows, d, 1.0);
    elementwise(suite, GR_OP_SOFTMAX, "SOFTMAX", &no_attrs, "", rows, d, 4.0);
    for (uint32_t kind = 0; kind < 4; kind++) {
        gr_attrs_glu glu = {.struct_size = sizeof glu, .activation = kind};
        elementwise(suite, GR_OP_GLU, "GLU", &glu, names[kind], rows, d, 3.0);
    }
}

void cf_cases_pointwise(cf_suite *suite) {
    for (uint32_t r = 0; r < CF_ROW_COUNTS; r++) {
        uint32_t rows = cf_row_counts[r];
        norm(suite, rows, 64, 1, 1.0);
        norm(suite, rows, 33, 4, 30.0);
        norm(suite, rows, 1000, 1, 2e-3); // eps weighs as much as the values
        rope(suite, rows, 3, 64, 64, GR_ROPE_INTERLEAVED, 5);
        rope(suite, rows, 2, 64, 64, GR_ROPE_HALF, 0);
        rope(suite, rows, 2, 80, 32, GR_ROPE_HALF, 4095);
        rope(suite, rows, 1, 128, 128, GR_ROPE_INTERLEAVED, 131071);
        rope(suite, rows, 1, 128, 64, GR_ROPE_INTERLEAVED, 1000003);
        elementwise_all(suite, rows, 1);
        elementwise_all(suite, rows, 67);
        elementwise_all(suite, rows, 256);
    }
    softmax_masked(suite);
}
