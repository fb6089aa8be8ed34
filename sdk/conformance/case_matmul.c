// SPDX-License-Identifier: Apache-2.0
// case_matmul.c: MATMUL: every dtype and row count, edges of blocks, bias, experts, activations as models have them.
#include <math.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

static uint32_t pick(cf_random *random, const uint32_t *list, uint32_t count) {
    return list[cf_below(random, count)];
}

static uint32_t pick_k(cf_random *random, gr_dtype dtype, bool deep) {
    static const uint32_t k1[] = {1, 7, 33, 64, 256, 300}, k32[] = {32, 96, 256, 544, 576},
                          k256[] = {256, 512, 768, 1024};
    uint32_t k = gr_dtype_block(dtype) == 1    ? pick(random, k1, 6)
                 : gr_dtype_block(dtype) == 32 ? pick(random, k32, 5)
                                               : pick(random, k256, 4);
    return deep && gr_dtype_block(dtype) > 1 ? k * (1 + cf_below(random, 4)) : k;
}

static uint32_t pick_n(cf_random *random, bool deep) {
    static const uint32_t list[] = {1, 2, 3, 15, 16, 17, 31, 48, 64, 100};
    return pick(random, list, 10) + (deep ? cf_below(random, 400) : 0);
}

// How activations are spread, all with a standard deviation of 1 but for the outliers.
typedef enum spread_kind { GAUSSIAN, LAPLACE, OUTLIERS, SPREADS } spread_kind;
static const char *const spread_names[SPREADS] = {"", " Laplace", " outliers"};

// One product of random values.
static void product(cf_suite *suite, gr_dtype dtype, uint32_t rows, uint32_t take, bool bias) {
    cf_rig rig;
    char name[96];
    cf_random sizes = {suite->seed * 77 + dtype * 1000 + rows * 10 + take};
    uint32_t k = pick_k(&sizes, dtype, suite->deep), n = pick_n(&sizes, suite->deep);
    snprintf(name, sizeof name, "MATMUL %s M=%u N=%u K=%u%s #%u", gr_dtype_name(dtype), rows, n, k,
             bias ? " bias" : "", take);
    if (!cf_rig_begin(&rig, suite, "MATMUL", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, k, cf_uniform(&rig.random, 0.1, 3.0));
    uint32_t w = cf_rig_weight(&rig, dtype, n, k, CF_NONE);
    uint32_t b = bias ? cf_rig_weight(&rig, GR_DTYPE_F32, n, CF_NONE, CF_NONE) : GR_VALUE_NONE;
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, n);
    cf_rig_node(&rig, GR_OP_MATMUL, &no_attrs, bias ? 3 : 2, (uint32_t[]){x, w, b}, 1, &y);
    cf_rig_finish(&rig);
}

static void fill_spread(cf_random *random, spread_kind spread, float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        x[i] = (float)(spread == LAPLACE ? cf_laplace(random) : cf_normal(random));
    for (uint64_t i = 0; i < count && spread == OUTLIERS; i += 512)
        x[i + cf_below(random, 512)] = cf_below(random, 2) ? 30.0f : -30.0f;
}

// The class a backend declares holds for activations as models have them: Gaussian ones, Laplace's
// longer tails, and one in 512 that is 30 times as large as the others. An outlier takes the
// resolution of whatever shares its scale: a block of 32 stays within the class, a row does not.
static void class_holds(cf_suite *suite, gr_dtype dtype, uint32_t rows, spread_kind spread) {
    enum { K = 1024, N = 48 };
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "MATMUL %s M=%u class%s", gr_dtype_name(dtype), rows,
             spread_names[spread]);
    if (!cf_rig_begin(&rig, suite, "MATMUL", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, K, 0.0);
    fill_spread(&rig.random, spread, rig.data[x], (uint64_t)rows * K);
    rig.outliers = spread == OUTLIERS;
    uint32_t w = cf_rig_weight(&rig, dtype, N, K, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, N);
    cf_rig_node(&rig, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

// One-hot rows at the edges of blocks: each output row is one column of W, and a column lost,
// doubled or swapped shows as a whole row wrong. `single`: the edges share one row, as decoding has.
static void needles(cf_suite *suite, gr_dtype dtype, uint32_t k, uint32_t n, bool single) {
    cf_rig rig;
    char name[96];
    const uint32_t edges[] = {0,   1,   15,  16,   31,   32,   63,   64,    127,
                              128, 255, 256, 1023, 1024, 4095, 4096, k - 2, k - 1};
    uint32_t rows = 0;
    snprintf(name, sizeof name, "MATMUL %s one-hot%s N=%u K=%u", gr_dtype_name(dtype), single ? " M=1" : "", n, k);
    for (uint32_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        rows += edges[i] < k;
    if (!cf_rig_begin(&rig, suite, "MATMUL", name, single ? 1 : rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, k, 0.0), row = 0;
    for (uint32_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        if (edges[i] < k)
            ((float *)rig.data[x])[(single ? 0 : row++ * k) + edges[i]] = 1.0f;
    }
    uint32_t w = cf_rig_weight(&rig, dtype, n, k, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, n);
    cf_rig_node(&rig, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

static void experts(cf_suite *suite, gr_dtype dtype, uint32_t rows, bool bias) {
    cf_rig rig;
    char name[96];
    uint32_t k = gr_dtype_block(dtype) == 256 ? 512 : 96, n = 20, count = 5;
    snprintf(name, sizeof name, "MATMUL %s experts M=%u%s", gr_dtype_name(dtype), rows,
             bias ? " bias" : "");
    if (!cf_rig_begin(&rig, suite, "MATMUL", name, rows, 0))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, k, 1.0);
    uint32_t w = cf_rig_weight(&rig, dtype, count, n, k);
    uint32_t b = bias ? cf_rig_weight(&rig, GR_DTYPE_F32, count, n, CF_NONE) : GR_VALUE_NONE;
    uint32_t index = cf_rig_value(&rig, GR_DTYPE_I32, GR_DIM_T, CF_NONE);
    int32_t *chosen = cf_rig_alloc(&rig, (rows + 1) * sizeof *chosen);
    for (uint32_t i = 0; i < rows; i++)
        chosen[i] = (int32_t)cf_below(&rig.random, count);
    rig.data[index] = chosen;
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, n);
    cf_rig_node(&rig, GR_OP_MATMUL, &no_attrs, 4, (uint32_t[]){x, w, b, index}, 1, &y);
    cf_rig_finish(&rig);
}

// The output head: rows are the step's output rows.
static void head(cf_suite *suite, uint32_t outputs) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "MATMUL Q6_K on R=%u output rows", outputs);
    if (!cf_rig_begin(&rig, suite, "MATMUL", name, 9, outputs))
        return;
    uint32_t x = cf_rig_input(&rig, GR_DIM_R, 256, 1.0);
    uint32_t w = cf_rig_weight(&rig, GR_DTYPE_Q6_K, 65, 256, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_R, 65);
    cf_rig_node(&rig, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

void cf_cases_matmul(cf_suite *suite) {
    static const uint32_t tiles[] = {7, 15, 16, 31, 32}; // and one less; 8, 17 and 33 are among the others
    for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++) {
        gr_dtype dtype = cf_weight_dtypes[d];
        for (uint32_t r = 0; r < CF_ROW_COUNTS; r++) {
            for (uint32_t take = 0; take < (suite->deep ? 6 : 2); take++)
                product(suite, dtype, cf_row_counts[r], take, take % 2 == 1);
        }
        for (uint32_t i = d % 2; i < 5; i += suite->deep ? 1 : 2)
            product(suite, dtype, tiles[i], i % 2, i % 2 == 0);
        for (spread_kind spread = GAUSSIAN; spread < SPREADS; spread++) {
            class_holds(suite, dtype, 1, spread);
            class_holds(suite, dtype, 64, spread);
        }
        needles(suite, dtype, 768, 33, false);
        needles(suite, dtype, 256, 16, false);
        experts(suite, dtype, 1, false);
        experts(suite, dtype, 17, d % 2 == 0);
    }
    // Of a size as models have it: the other shapes would all fit a tile of a few hundred.
    static const gr_dtype large[] = {GR_DTYPE_Q4_K, GR_DTYPE_F16};
    for (uint32_t d = 0; d < 2; d++) {
        for (uint32_t single = 0; single < 2; single++) {
            needles(suite, large[d], 14336, 33, single);
            needles(suite, large[d], 256, 4099, single);
        }
    }
    head(suite, 0);
    head(suite, 1);
    head(suite, 3);
}
