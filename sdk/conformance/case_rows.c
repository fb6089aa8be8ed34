// SPDX-License-Identifier: Apache-2.0
// case_rows.c: ops that move or select: EMBED, GATHER_ROWS, MASK_BITS, TOPK, CAST, COPY.
#include <math.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

static void embed(cf_suite *suite, gr_dtype dtype, uint32_t rows, uint32_t vocabulary, uint32_t d) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "EMBED %s V=%u T=%u", gr_dtype_name(dtype), vocabulary, rows);
    if (!cf_rig_begin(&rig, suite, "EMBED", name, rows, 0))
        return;
    const uint32_t edges[] = {vocabulary - 1, 0, 65535, 65536}; // those that the table has
    for (uint32_t t = 0; t < rows; t++)
        ((int32_t *)(uintptr_t)rig.step.tokens)[t] = t < 4 && edges[t] < vocabulary
                                                         ? (int32_t)edges[t]
                                                         : (int32_t)cf_below(&rig.random, vocabulary);
    uint32_t table = cf_rig_weight(&rig, dtype, vocabulary, d, CF_NONE);
    uint32_t tokens = cf_rig_field(&rig, GR_STEP_TOKENS, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, d);
    cf_rig_node(&rig, GR_OP_EMBED, &no_attrs, 2, (uint32_t[]){table, tokens}, 1, &y);
    cf_rig_finish(&rig);
}

static void gather(cf_suite *suite, uint32_t rows, uint32_t outputs, uint32_t d) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "GATHER_ROWS T=%u R=%u D=%u", rows, outputs, d);
    if (!cf_rig_begin(&rig, suite, "GATHER_ROWS", name, rows, outputs))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, d, 1.0);
    uint32_t index = cf_rig_field(&rig, GR_STEP_OUTPUT_ROWS, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_R, d);
    cf_rig_node(&rig, GR_OP_GATHER_ROWS, &no_attrs, 2, (uint32_t[]){x, index}, 1, &y);
    cf_rig_finish(&rig);
}

static void mask(cf_suite *suite, uint32_t outputs, uint32_t v) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "MASK_BITS R=%u V=%u", outputs, v);
    if (!cf_rig_begin(&rig, suite, "MASK_BITS", name, 4, outputs))
        return;
    uint32_t words = (v + 31) / 32;
    int32_t *bits = cf_rig_alloc(&rig, (uint64_t)(outputs + 1) * words * sizeof *bits);
    for (uint32_t i = 0; i < outputs * words; i++)
        bits[i] = (int32_t)cf_next(&rig.random);
    rig.step.mask_bits = bits;
    uint32_t x = cf_rig_input(&rig, GR_DIM_R, v, 3.0),
             field = cf_rig_field(&rig, GR_STEP_MASK_BITS, words);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_R, v);
    cf_rig_node(&rig, GR_OP_MASK_BITS, &no_attrs, 2, (uint32_t[]){x, field}, 1, &y);
    cf_rig_finish(&rig);
}

static void topk(cf_suite *suite, uint32_t rows, uint32_t n, uint32_t k, bool ties) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "TOPK M=%u N=%u k=%u%s", rows, n, k, ties ? " ties" : "");
    if (!cf_rig_begin(&rig, suite, "TOPK", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, n, 4.0);
    float *data = rig.data[x];
    for (uint64_t i = 0; i < (uint64_t)rows * n && ties; i++)
        data[i] = roundf(data[i]) + 0.0f;
    for (uint32_t i = 0; i < rows && ties; i++)
        data[i * n + cf_below(&rig.random, n)] = -INFINITY;
    uint32_t y[] = {cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, k),
                    cf_rig_value(&rig, GR_DTYPE_I32, GR_DIM_T, k)};
    gr_attrs_topk attrs = {.struct_size = sizeof attrs, .k = k};
    cf_rig_node(&rig, GR_OP_TOPK, &attrs, 1, &x, 2, y);
    cf_rig_finish(&rig);
}

// Values that test rounding: ties, subnormals, overflow, infinities, and what is no number.
static float awkward(cf_random *random, uint32_t i) {
    static const float list[] = {
        0.0f,           -0.0f,          65504.0f, 65519.0f,  65520.0f,        1e6f,
        -1e6f,          0x1p-14f,       0x1p-24f, 0x1p-25f,  0x1.8p-25f,      0x1.ffcp-15f,
        1.00048828125f, 1.00146484375f, INFINITY, -INFINITY, 0x1.fffffep127f, 0x1p-130f,
        1.00390625f,    1.01171875f,    3.0e-39f, NAN};
    if (i < sizeof list / sizeof list[0])
        return list[i];
    return (float)(cf_normal(random) * exp2(cf_uniform(random, -30, 18)));
}

static void cast(cf_suite *suite, gr_dtype dtype, uint32_t rows) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "CAST F32 to %s and back T=%u", gr_dtype_name(dtype), rows);
    if (!cf_rig_begin(&rig, suite, "CAST", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, 67, 1.0);
    for (uint32_t i = 0; i < rows * 67; i++)
        ((float *)rig.data[x])[i] = awkward(&rig.random, i);
    uint32_t narrow = cf_rig_value(&rig, dtype, GR_DIM_T, 67),
             wide = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, 67);
    gr_attrs_cast to = {.struct_size = sizeof to, .dtype = dtype};
    gr_attrs_cast back = {.struct_size = sizeof back, .dtype = GR_DTYPE_F32};
    cf_rig_node(&rig, GR_OP_CAST, &to, 1, &x, 1, &narrow);
    cf_rig_node(&rig, GR_OP_CAST, &back, 1, &narrow, 1, &wide);
    cf_rig_finish(&rig);
}

static void copy(cf_suite *suite, uint32_t rows, uint32_t d) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "COPY T=%u D=%u", rows, d);
    if (!cf_rig_begin(&rig, suite, "COPY", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, d, 1.0),
             y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, d);
    cf_rig_node(&rig, GR_OP_COPY, &no_attrs, 1, &x, 1, &y);
    cf_rig_finish(&rig);
}

void cf_cases_rows(cf_suite *suite) {
    for (uint32_t r = 0; r < CF_ROW_COUNTS; r++) {
        uint32_t rows = cf_row_counts[r];
        for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++)
            embed(suite, cf_weight_dtypes[d], rows, 61, gr_dtype_block(cf_weight_dtypes[d]) == 1 ? 37 : 512);
        gather(suite, rows, rows ? 1 : 0, 64);
        gather(suite, rows, rows / 2, 33);
        mask(suite, rows, 100);
        mask(suite, rows, 32 * (r + 1));
        topk(suite, rows, 1, 1, false);
        topk(suite, rows, 50, 8, true);
        topk(suite, rows, 333, 40, false);
        topk(suite, rows, 20, 20, true);
        cast(suite, GR_DTYPE_F16, rows);
        cast(suite, GR_DTYPE_BF16, rows);
        copy(suite, rows, 1);
        copy(suite, rows, 65);
    }
    embed(suite, GR_DTYPE_F16, 8, 70000, 32);
    embed(suite, GR_DTYPE_Q8_0, 8, 70000, 32);
}
