// SPDX-License-Identifier: Apache-2.0
// case_golden.c: dtypes against an implementation that nobody here wrote: tests/golden/dtypes.gguf
// holds blocks
// ("q4_k.blocks") and what the gguf package makes of them ("q4_k.values"). The suite's own decoder
// must agree to the last bit, the backend's EMBED and MATMUL within their class. Beside it
// rope.gguf holds frequency tables of transformers with cosines and sines up to position 131071 and
// beyond.
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "suite.h"

extern const gr_embedded gr_embedded_golden[];

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

// One type's part of the file.
typedef struct golden {
    gr_dtype dtype;
    uint64_t values;
    const uint8_t *blocks;
    const uint8_t *expected; // F32, perhaps unaligned
} golden;

// The file's bytes, which are compiled in; NULL when it is not there.
static const uint8_t *load(const char *name, uint64_t *out_size) {
    for (const gr_embedded *file = gr_embedded_golden; file->name; file++) {
        if (!strcmp(file->name, name)) {
            *out_size = file->size;
            return file->data;
        }
    }
    *out_size = 0;
    return NULL;
}

static bool find(const uint8_t *data, uint64_t size, gr_dtype dtype, golden *out) {
    char name[32];
    size_t length = (size_t)snprintf(name, sizeof name, "%s", gr_dtype_name(dtype));
    for (size_t i = 0; i < length; i++)
        name[i] = (char)tolower((unsigned char)name[i]);
    out->dtype = dtype;
    snprintf(name + length, sizeof name - length, ".blocks");
    uint64_t count = 0;
    out->blocks = cf_gguf_array(data, size, name, dtype, &count);
    snprintf(name + length, sizeof name - length, ".values");
    out->expected = cf_gguf_array(data, size, name, GR_DTYPE_F32, &out->values);
    return out->blocks && out->expected && out->values % 256 == 0 && out->values == count;
}

static float expected_value(const golden *g, uint64_t i) {
    float value;
    memcpy(&value, g->expected + i * sizeof value, sizeof value);
    return value;
}

static void suite_itself(cf_suite *suite, const golden *g) {
    char name[96];
    uint64_t wrong = 0;
    snprintf(name, sizeof name, "GOLDEN %s in the suite", gr_dtype_name(g->dtype));
    if (!cf_case_begin(suite, name))
        return;
    double *mine = calloc(g->values, sizeof *mine);
    if (mine)
        cf_decode(g->dtype, g->blocks, g->values, mine, CF_PLANT_NONE);
    for (uint64_t i = 0; i < g->values && mine; i++)
        wrong += (float)mine[i] != expected_value(g, i);
    if (wrong || !mine)
        cf_fail(suite, name, "%llu of %llu values differ", (unsigned long long)wrong,
                (unsigned long long)g->values);
    else
        cf_pass(suite, name);
    free(mine);
    cf_case_end(suite);
}

// The golden's values replace what the suite itself would make of the blocks.
static void expect(cf_rig *rig, uint32_t weight, const golden *g) {
    double *exact = cf_rig_alloc(rig, g->values * sizeof *exact);
    memcpy(rig->data[weight], g->blocks, gr_dtype_row_bytes(g->dtype, g->values));
    for (uint64_t i = 0; i < g->values; i++)
        exact[i] = (double)expected_value(g, i);
    rig->exact[weight] = exact;
}

static void backend(cf_suite *suite, const golden *g, gr_op op) {
    cf_rig rig;
    char name[96];
    uint32_t k = 256, n = (uint32_t)(g->values / k);
    bool embed = op == GR_OP_EMBED;
    snprintf(name, sizeof name, "GOLDEN %s by %s", gr_dtype_name(g->dtype),
             embed ? "EMBED" : "MATMUL");
    if (!cf_rig_begin(&rig, suite, "GOLDEN", name, n, 0))
        return;
    for (uint32_t t = 0; t < n; t++)
        ((int32_t *)(uintptr_t)rig.step.tokens)[t] = (int32_t)t;
    uint32_t w = cf_rig_weight(&rig, g->dtype, n, k, CF_NONE);
    expect(&rig, w, g);
    uint32_t x =
        embed ? cf_rig_field(&rig, GR_STEP_TOKENS, CF_NONE) : cf_rig_input(&rig, GR_DIM_T, k, 1.0);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, embed ? k : n);
    cf_rig_node(&rig, op, &no_attrs, 2, embed ? (uint32_t[]){w, x} : (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

// One frequency table: [pairs] frequencies, positions, cosines and sines [position][pair].
typedef struct table {
    uint64_t pairs, positions;
    const uint8_t *frequency, *position, *cosine, *sine;
} table;

static bool find_table(const uint8_t *data, uint64_t size, uint32_t index, table *out) {
    char name[64];
    uint64_t cosines = 0, sines = 0;
    snprintf(name, sizeof name, "case.%u.inverse_frequencies", index);
    out->frequency = cf_gguf_array(data, size, name, GR_DTYPE_F32, &out->pairs);
    snprintf(name, sizeof name, "case.%u.positions", index);
    out->position = cf_gguf_array(data, size, name, GR_DTYPE_I32, &out->positions);
    snprintf(name, sizeof name, "case.%u.cos", index);
    out->cosine = cf_gguf_array(data, size, name, GR_DTYPE_F32, &cosines);
    snprintf(name, sizeof name, "case.%u.sin", index);
    out->sine = cf_gguf_array(data, size, name, GR_DTYPE_F32, &sines);
    return out->frequency && out->position && out->cosine && out->sine && out->pairs &&
           out->pairs <= 128 && out->positions && cosines == out->pairs * out->positions &&
           sines == cosines;
}

static float number(const uint8_t *array, uint64_t i) {
    float value;
    memcpy(&value, array + i * sizeof value, sizeof value);
    return value;
}

// Turns (1, 0) at every position: the result is the golden's (cosine, sine).
static void rope(cf_suite *suite, const table *t, uint32_t index, gr_rope_pairing pairing) {
    cf_rig rig;
    char name[96];
    double inv_freq[128];
    uint32_t pairs = (uint32_t)t->pairs, rows = (uint32_t)t->positions;
    snprintf(name, sizeof name, "GOLDEN ROPE table %u %s", index,
             pairing == GR_ROPE_HALF ? "half" : "interleaved");
    if (!cf_rig_begin(&rig, suite, "GOLDEN", name, rows, 0))
        return;
    for (uint32_t i = 0; i < pairs; i++)
        inv_freq[i] = (double)number(t->frequency, i);
    gr_attrs_rope attrs = {.struct_size = sizeof attrs,
                           .head_dim = 2 * pairs,
                           .rotary_dim = 2 * pairs,
                           .pairing = pairing,
                           .inv_freq = inv_freq,
                           .magnitude = hypotf(number(t->cosine, 0), number(t->sine, 0))};
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, 2 * pairs, 0.0),
             y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, 2 * pairs);
    uint32_t positions = cf_rig_value(&rig, GR_DTYPE_I32, GR_DIM_T, CF_NONE);
    rig.data[positions] = cf_rig_alloc(&rig, rows * sizeof(int32_t));
    memcpy(rig.data[positions], t->position, rows * sizeof(int32_t));
    double *exact = cf_rig_alloc(&rig, (uint64_t)rows * 2 * pairs * sizeof *exact);
    for (uint32_t i = 0; i < rows * pairs; i++) {
        uint32_t at = i / pairs * 2 * pairs + (pairing == GR_ROPE_HALF ? i % pairs : i % pairs * 2);
        ((float *)rig.data[x])[at] = 1.0f;
        exact[at] = (double)number(t->cosine, i);
        exact[at + (pairing == GR_ROPE_HALF ? pairs : 1)] = (double)number(t->sine, i);
    }
    cf_rig_node(&rig, GR_OP_ROPE, &attrs, 2, (uint32_t[]){x, positions}, 1, &y);
    char why[256] = "";
    if (cf_rig_run(&rig)) {
        rig.exact[y] = exact;
        if (cf_compare(&rig, y, why, sizeof why))
            cf_pass(suite, name);
        else
            cf_fail(suite, name, "%s", why);
    }
    cf_rig_end(&rig);
}

static void ropes(cf_suite *suite) {
    uint64_t size;
    const uint8_t *data = load("rope.gguf", &size);
    table t;
    for (uint32_t i = 0; find_table(data, size, i, &t); i++) {
        rope(suite, &t, i, GR_ROPE_INTERLEAVED);
        rope(suite, &t, i, GR_ROPE_HALF);
    }
}

// Nothing passes by being absent.
static void whole(cf_suite *suite) {
    uint64_t size;
    golden g;
    table t;
    const uint8_t *data = load("rope.gguf", &size);
    bool found = data && find_table(data, size, 0, &t);
    data = load("dtypes.gguf", &size);
    for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++)
        found = found && find(data, size, cf_weight_dtypes[d], &g);
    if (!cf_case_begin(suite, "GOLDEN every dtype and a table of ROPE are there"))
        return;
    if (found)
        cf_pass(suite, "GOLDEN");
    else
        cf_fail(suite, "GOLDEN", "not so");
    cf_case_end(suite);
}

void cf_cases_golden(cf_suite *suite) {
    uint64_t size;
    golden g;
    if (!cf_wanted(suite, "GOLDEN"))
        return;
    whole(suite);
    ropes(suite);
    const uint8_t *data = load("dtypes.gguf", &size);
    for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++) {
        if (!find(data, size, cf_weight_dtypes[d], &g))
            continue;
        suite_itself(suite, &g);
        backend(suite, &g, GR_OP_EMBED);
        backend(suite, &g, GR_OP_MATMUL);
    }
}
