// SPDX-License-Identifier: Apache-2.0
// case_invariance.c: where a device declares GR_DEVICE_BATCH_INVARIANT: the same bits for a row in
// any batch, chunk and bucket. A batch is run once, then single rows of it, on whichever team
// comes.
#include <math.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

static void verdict(cf_rig *one, bool ran, const float *expected, uint32_t value, uint64_t width) {
    if (!ran)
        return;
    if (memcmp(one->after + one->values[value].offset, expected, width * sizeof *expected))
        cf_fail(one->suite, one->name, "the row's bits differ from those in the batch");
    else
        cf_pass(one->suite, one->name);
}

// A product of `rows` rows with given weights (NULL: random); returns the output's value.
static bool product(cf_rig *rig, cf_suite *suite, const char *name, gr_dtype dtype, uint32_t rows,
                    uint32_t n, uint32_t k, const void *x, const void *w) {
    if (!cf_rig_begin(rig, suite, "INVARIANCE", name, rows, 0))
        return false;
    cf_rig_input(rig, GR_DIM_T, k, 1.0);
    cf_rig_weight(rig, dtype, n, k, CF_NONE);
    cf_rig_value(rig, GR_DTYPE_F32, GR_DIM_T, n);
    if (x)
        memcpy(rig->data[0], x, (uint64_t)rows * k * sizeof(float));
    if (w)
        memcpy(rig->data[1], w, gr_dtype_row_bytes(dtype, (uint64_t)n * k));
    cf_rig_node(rig, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){0, 1}, 1, (uint32_t[]){2});
    return true;
}

static void matmul(cf_suite *suite, gr_dtype dtype) {
    enum { ROWS = 19, N = 70, K = 768 };
    cf_rig batch, one;
    char name[96];
    snprintf(name, sizeof name, "INVARIANCE MATMUL %s", gr_dtype_name(dtype));
    if (!product(&batch, suite, name, dtype, ROWS, N, K, NULL, NULL))
        return;
    bool ran = cf_rig_run(&batch);
    for (uint32_t t = 0; t < ROWS && ran; t += 3) {
        uint32_t rows = t % 2 ? 1 : 2; // 19 rows in chunks of one and two
        rows = t + rows > ROWS ? 1 : rows;
        snprintf(name, sizeof name, "INVARIANCE MATMUL %s row %u of a chunk of %u",
                 gr_dtype_name(dtype), t, rows);
        const float *x = (const float *)batch.data[0] + t * K;
        if (product(&one, suite, name, dtype, rows, N, K, x, batch.data[1])) {
            const float *y =
                (const float *)(const void *)(batch.after + batch.values[2].offset) + t * N;
            verdict(&one, cf_rig_run(&one), y, 2, (uint64_t)rows * N);
            cf_rig_end(&one);
        }
    }
    cf_rig_end(&batch);
}

// A program may lay its weights out anew while it runs (96 rows are whole panels of any width there
// is): that shows in no bit.
static void matmul_again(cf_suite *suite, gr_dtype dtype, uint32_t rows) {
    enum { N = 96, K = 768, AGAIN = 15 };
    cf_rig once, often;
    char name[96];
    snprintf(name, sizeof name, "INVARIANCE MATMUL %s of %u rows", gr_dtype_name(dtype), rows);
    if (!product(&once, suite, name, dtype, rows, N, K, NULL, NULL))
        return;
    bool ran = cf_rig_run(&once);
    snprintf(name, sizeof name, "INVARIANCE MATMUL %s of %u rows, again", gr_dtype_name(dtype), rows);
    if (product(&often, suite, name, dtype, rows, N, K, once.data[0], once.data[1])) {
        often.again = AGAIN;
        const float *y = (const float *)(const void *)(once.after + once.values[2].offset);
        verdict(&often, ran && cf_rig_run(&often), y, 2, (uint64_t)rows * N);
        cf_rig_end(&often);
    }
    cf_rig_end(&once);
}

enum { A_HEADS = 4, A_KV = 2, A_DIM = 64, A_WINDOW = 21 };

static bool attention(cf_rig *rig, cf_suite *suite, const char *name, gr_dtype dtype, uint32_t seqs,
                      const uint32_t *rows, const int32_t *past, uint32_t fork,
                      const gr_attrs_attention *attrs) {
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = 1,
                       .page_tokens = 8,
                       .kv_heads = A_KV,
                       .k_dim = A_DIM,
                       .v_dim = A_DIM,
                       .dtype = dtype};
    if (!cf_rig_begin(rig, suite, "INVARIANCE", name, rows[0], 0))
        return false;
    cf_rig_sequences(rig, seqs, rows, past);
    rig->cache.forks[0] = rig->cache.forks[1] = fork;
    if (!cf_rig_cache(rig, &desc, attrs->window)) {
        cf_rig_end(rig);
        return false;
    }
    cf_rig_input(rig, GR_DIM_T, A_HEADS * A_DIM, 2.0);
    cf_rig_input(rig, GR_DIM_T, A_KV * A_DIM, 1.0);
    cf_rig_input(rig, GR_DIM_T, A_KV * A_DIM, 1.0);
    cf_rig_value(rig, GR_DTYPE_F32, GR_DIM_T, A_HEADS * A_DIM);
    cf_rig_state(rig);
    cf_rig_state(rig);
    cf_rig_node(rig, GR_OP_KV_WRITE, attrs, 3, (uint32_t[]){1, 2, 4}, 1, (uint32_t[]){5});
    cf_rig_node(rig, GR_OP_ATTENTION, attrs, 2, (uint32_t[]){0, 5}, 1, (uint32_t[]){3});
    return true;
}

// Gives `one` the past that row t of the batch has, and the row itself.
static bool take_row(cf_rig *one, cf_rig *batch, uint32_t t) {
    uint32_t seq = (uint32_t)batch->step.row_seq[t], page, slot;
    for (uint32_t part = 0; part < 2; part++) {
        for (int64_t p = 0; p < one->past[0]; p++) {
            if (cf_rig_cache_slot(one, 0, p, &page, &slot) &&
                cf_rig_cache_slot(batch, seq, p, &page, &slot) &&
                !cf_rig_cache_copy(batch, seq, one, 0, p, part))
                return false;
        }
        memcpy(one->data[1 + part], (const float *)batch->data[1 + part] + t * A_KV * A_DIM,
               A_KV * A_DIM * sizeof(float));
    }
    memcpy(one->data[0], (const float *)batch->data[0] + t * A_HEADS * A_DIM,
           A_HEADS * A_DIM * sizeof(float));
    return true;
}

// Every `stride`-th row of a batch that has been run, alone.
static void rows_alone(cf_suite *suite, cf_rig *batch, const gr_attrs_attention *attrs,
                       uint32_t stride) {
    for (uint32_t t = 0; t < batch->step.rows; t += stride) {
        char name[192];
        cf_rig one;
        snprintf(name, sizeof name, "%.160s row %u alone", batch->name, t);
        if (!attention(&one, suite, name, batch->cache.desc.dtype, 1, (uint32_t[]){1},
                       &batch->step.positions[t], 0, attrs))
            continue;
        const float *y = (const float *)(const void *)(batch->after + batch->values[3].offset) +
                         t * A_HEADS * A_DIM;
        if (take_row(&one, batch, t))
            verdict(&one, cf_rig_run(&one), y, 3, A_HEADS * A_DIM);
        else
            cf_fail(suite, name, "the cache cannot be copied by kv_read and kv_write");
        cf_rig_end(&one);
    }
}

static void attention_rows(cf_suite *suite, gr_dtype dtype, uint32_t window) {
    gr_attrs_attention attrs = {.struct_size = sizeof attrs,
                                .heads = A_HEADS,
                                .kv_heads = A_KV,
                                .k_dim = A_DIM,
                                .v_dim = A_DIM,
                                .window = window,
                                .scale = 0.125f};
    cf_rig batch;
    char name[96];
    snprintf(name, sizeof name, "INVARIANCE ATTENTION %s W=%u", gr_dtype_name(dtype), window);
    if (!attention(&batch, suite, name, dtype, 1, (uint32_t[]){30}, (int32_t[]){11}, 0, &attrs))
        return;
    if (cf_rig_run(&batch))
        rows_alone(suite, &batch, &attrs, 4);
    cf_rig_end(&batch);
}

// Forks of one prefix, whose pages may be read once for all of them: as if each were alone.
static void attention_forks(cf_suite *suite, gr_dtype dtype, uint32_t window) {
    static const uint32_t rows[] = {1, 1, 7, 1, 2};
    static const int32_t past[] = {541, 560, 523, 530, 600};
    gr_attrs_attention attrs = {.struct_size = sizeof attrs,
                                .heads = A_HEADS,
                                .kv_heads = A_KV,
                                .k_dim = A_DIM,
                                .v_dim = A_DIM,
                                .window = window,
                                .scale = 0.125f};
    cf_rig batch;
    char name[96];
    snprintf(name, sizeof name, "INVARIANCE ATTENTION forks %s W=%u", gr_dtype_name(dtype), window);
    if (!attention(&batch, suite, name, dtype, 5, rows, past, 522, &attrs))
        return;
    if (cf_rig_run(&batch))
        rows_alone(suite, &batch, &attrs, 1);
    cf_rig_end(&batch);
}

void cf_cases_invariance(cf_suite *suite) {
    if (!cf_wanted(suite, "INVARIANCE"))
        return;
    if (!(suite->facts.flags & GR_DEVICE_BATCH_INVARIANT)) {
        if (cf_case_begin(suite, "INVARIANCE")) {
            cf_skip(suite, "INVARIANCE", false, "the device does not declare it");
            cf_case_end(suite);
        }
        return;
    }
    for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++) {
        matmul(suite, cf_weight_dtypes[d]);
        matmul_again(suite, cf_weight_dtypes[d], 1);
        matmul_again(suite, cf_weight_dtypes[d], 7);
    }
    static const gr_dtype caches[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    for (uint32_t d = 0; d < 4; d++) {
        attention_rows(suite, caches[d], d % 2 ? 0 : A_WINDOW);
        attention_forks(suite, caches[d], d % 2 ? 300 : 0);
    }
}
