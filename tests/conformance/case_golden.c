// SPDX-License-Identifier: Apache-2.0
// case_golden.c: dtypes against an implementation that nobody here wrote: golden/dtypes.bin holds blocks and
// what the gguf package makes of them (golden/make.py). The suite's own decoder must agree to the last bit,
// the backend's EMBED and MATMUL within their class.
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

// One type's part of the file.
typedef struct golden {
    uint32_t dtype, values, bytes;
    const uint8_t *blocks, *expected;
} golden;

static uint8_t *load(const char *path, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    *out_size = 0;
    if (!file)
        return NULL;
    if (!fseek(file, 0, SEEK_END) && ftell(file) > 8 && (data = malloc((size_t)ftell(file))) != NULL) {
        size_t size = (size_t)ftell(file);
        rewind(file);
        *out_size = fread(data, 1, size, file);
    }
    fclose(file);
    return data;
}

// Reads the part at *at, which moves behind it; false at the end or when the file is cut.
static bool next(const uint8_t *data, size_t size, size_t *at, golden *out) {
    if (size - *at < 12)
        return false;
    memcpy(out, data + *at, 12);
    size_t left = size - *at - 12;
    if (out->bytes != gr_dtype_row_bytes(out->dtype, out->values) || out->bytes > left ||
        out->values > (left - out->bytes) / sizeof(float))
        return false;
    out->blocks = data + *at + 12;
    out->expected = out->blocks + out->bytes;
    *at += 12 + out->bytes + out->values * sizeof(float);
    return true;
}

static void suite_itself(cf_suite *suite, const golden *g) {
    char name[96];
    snprintf(name, sizeof name, "GOLDEN %s in the suite", gr_dtype_name(g->dtype));
    double *mine = malloc(g->values * sizeof *mine);
    uint32_t wrong = mine ? 0 : 1;
    if (mine)
        cf_decode(g->dtype, g->blocks, g->values, mine, CF_PLANT_NONE);
    for (uint32_t i = 0; i < g->values && mine; i++) {
        float expected;
        memcpy(&expected, g->expected + i * sizeof expected, sizeof expected);
        wrong += (float)mine[i] != expected;
    }
    if (wrong)
        cf_fail(suite, name, "%u of %u values differ", wrong, g->values);
    else
        cf_pass(suite, name);
    free(mine);
}

// The golden's values replace what the suite itself would make of the blocks.
static void expect(cf_rig *rig, uint32_t weight, const golden *g) {
    double *exact = cf_rig_alloc(rig, g->values * sizeof *exact);
    memcpy(rig->data[weight], g->blocks, g->bytes);
    for (uint32_t i = 0; i < g->values; i++) {
        float value;
        memcpy(&value, g->expected + i * sizeof value, sizeof value);
        exact[i] = (double)value;
    }
    rig->exact[weight] = exact;
}

static void backend(cf_suite *suite, const golden *g, gr_op op) {
    cf_rig rig;
    char name[96];
    uint32_t k = 256, n = g->values / k;
    bool embed = op == GR_OP_EMBED;
    snprintf(name, sizeof name, "GOLDEN %s by %s", gr_dtype_name(g->dtype), embed ? "EMBED" : "MATMUL");
    if (!cf_rig_begin(&rig, suite, "GOLDEN", name, n, 0))
        return;
    for (uint32_t t = 0; t < n; t++)
        ((int32_t *)(uintptr_t)rig.step.tokens)[t] = (int32_t)t;
    uint32_t w = cf_rig_weight(&rig, g->dtype, n, k, CF_NONE);
    expect(&rig, w, g);
    uint32_t x = embed ? cf_rig_field(&rig, GR_STEP_TOKENS, CF_NONE) : cf_rig_input(&rig, GR_DIM_T, k, 1.0);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, embed ? k : n);
    cf_rig_node(&rig, op, &no_attrs, 2, embed ? (uint32_t[]){w, x} : (uint32_t[]){x, w}, 1, &y);
    cf_rig_finish(&rig);
}

void cf_cases_golden(cf_suite *suite) {
    size_t size, at = 8;
    golden g;
    uint32_t count = 0, found = 0;
    if (!cf_wanted(suite, "GOLDEN"))
        return;
    uint8_t *data = load(suite->golden, &size);
    if (!data || size < 8 || memcmp(data, "GRDT", 4)) {
        cf_fail(suite, "GOLDEN", "%s cannot be read (--golden FILE names another place)", suite->golden);
        free(data);
        return;
    }
    memcpy(&count, data + 4, sizeof count);
    for (; next(data, size, &at, &g); found++) {
        suite_itself(suite, &g);
        backend(suite, &g, GR_OP_EMBED);
        backend(suite, &g, GR_OP_MATMUL);
    }
    if (found != count || at != size)
        cf_fail(suite, "GOLDEN", "%s: %u of %u types can be read", suite->golden, found, count);
    free(data);
}
