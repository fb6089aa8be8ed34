// SPDX-License-Identifier: Apache-2.0
// case_model.c: whole small models through the engine. Their logits, teacher-forced, are those that
// transformers computed (tests/golden), however the prompt is cut, fused or not; where the device
// declares it, in the same bits.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/embedded.h"
#include "suite.h"
#include "engine/site.h"

extern const gr_embedded gr_embedded_golden[];

// Window 8, 4:1 heads; window 64, 8:1; windows 8, none, 16, none; window 16 and yarn.
static const char *const models[] = {"w8-gqa4", "w64-gqa8", "wlist-gqa2", "yarn-w16-gqa2"};

// One way to feed a prompt.
typedef struct way {
    const char *name;
    uint32_t chunk, page_tokens, reserve; // 0: the engine's own
    bool no_fusion;
} way;

static const way ways[] = {
    {.name = "whole"},
    {.name = "unfused", .no_fusion = true},
    {.name = "in chunks of 7, on small pages", .chunk = 7, .page_tokens = 4, .reserve = 1},
    {.name = "token by token, on small pages", .chunk = 1, .page_tokens = 4, .reserve = 1},
};

// ---- Files ----

// Writes an embedded file into the scratch folder, once, and gives its path.
static bool unpack(const cf_suite *suite, const char *name, char *path, size_t capacity) {
    const char *leaf = strrchr(name, '/') + 1;
    char unfinished[512];
    snprintf(path, capacity, "%s/%s", suite->scratch, leaf);
    if (!access(path, R_OK))
        return true;
    for (const gr_embedded *file = gr_embedded_golden; file->name; file++) {
        if (strcmp(file->name, name))
            continue;
        snprintf(unfinished, sizeof unfinished, "%s.part", path);
        FILE *out = fopen(unfinished, "wb");
        bool good = out && fwrite(file->data, 1, file->size, out) == file->size;
        return (!out || !fclose(out)) && good && !rename(unfinished, path);
    }
    return false;
}

// A folder that holds this plugin alone, as the engine looks for plugins.
static bool link_plugin(const cf_suite *suite) {
    char real[4096], path[512];
    snprintf(path, sizeof path, "%s/gregale-backend-%s.so", suite->scratch, suite->backend->name);
    return realpath(suite->path, real) && (!symlink(real, path) || errno == EEXIST);
}

// ---- One model ----

typedef struct trial {
    cf_suite *suite;
    const char *name;
    gr_engine *engine;
    gr_model *model;
    gr_model_file *golden;
    double allowed; // largest difference of a logit
} trial;

// The loosest class that a node of the model was given.
static gr_precision loosest(const gr_model *model) {
    gr_precision worst = GR_PRECISION_F32;
    for (uint32_t i = 0; i < gr_graph_segment(model->graph)->node_count; i++) {
        const gr_support *support = gr_placement_support(model->site->placement, i);
        if (gr_placement_choose(model->site->placement, i) >= 0 && support->precision > worst)
            worst = support->precision;
    }
    return worst;
}

// Loads a model on the device; false with a failure or a skip said.
static bool trial_open(trial *t, const char *model, const way *how) {
    const char *const directories[] = {t->suite->scratch, NULL};
    char path[512], golden[512], name[64];
    gr_error error;
    gr_error_init(&error);
    snprintf(name, sizeof name, "models/%s.gguf", model);
    bool good = unpack(t->suite, name, path, sizeof path) && link_plugin(t->suite);
    snprintf(name, sizeof name, "models/%s.golden.gguf", model);
    good = good && unpack(t->suite, name, golden, sizeof golden);
    if (!good) {
        cf_fail(t->suite, t->name, "%s: cannot be written to", t->suite->scratch);
        return false;
    }
    const gr_engine_options options = {.struct_size = sizeof options,
                                       .threads = 2,
                                       .plugin_directories = directories,
                                       .no_fusion = how->no_fusion};
    const gr_model_options wanted = {.struct_size = sizeof wanted,
                                     .device = t->suite->facts.name,
                                     .has_kv_dtype = 1,
                                     .chunk = how->chunk,
                                     .page_tokens = how->page_tokens,
                                     .rewind_reserve = how->reserve};
    gr_status status = gr_engine_create(&options, &t->engine, &error);
    if (status == GR_OK)
        status = gr_model_load(t->engine, path, &wanted, &t->model, &error);
    if (status == GR_OK)
        status = gr_model_file_open(golden, &t->golden, &error);
    if (status == GR_ERROR_UNSUPPORTED)
        cf_skip(t->suite, t->name, false, error.message);
    else if (status != GR_OK)
        cf_fail(t->suite, t->name, "%s", error.message);
    double tolerance = 0;
    if (status != GR_OK || !gr_meta_get_f64(t->golden, "golden.tolerance", &tolerance))
        return false;
    t->allowed = tolerance * sqrt(cf_limit(loosest(t->model)) / cf_limit(GR_PRECISION_F32));
    return true;
}

static void trial_close(trial *t) {
    gr_model_file_close(t->golden);
    gr_model_release(t->model);
    gr_engine_release(t->engine);
}

static const gr_tensor_info *tensor(const trial *t, uint32_t index, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "case.%u.%s", index, name);
    return gr_model_file_tensor(t->golden, full);
}

// ---- Logits ----

typedef struct logits {
    float *data; // [count][vocab]
    uint64_t count;
    uint32_t vocab;
} logits;

static void keep(void *context, uint64_t position, const float *row, uint32_t vocab) {
    logits *l = context;
    if (position < l->count && vocab == l->vocab)
        memcpy(l->data + position * vocab, row, vocab * sizeof *row);
}

// Logits behind every token of prompt `index`. Free with free(out->data).
static bool feed(const trial *t, uint32_t index, logits *out, gr_error *error) {
    const gr_tensor_info *tokens = tensor(t, index, "tokens");
    gr_session *session = NULL;
    *out = (logits){.count = (uint64_t)tokens->dims[0], .vocab = t->model->source->hparams.vocab};
    out->data = malloc(out->count * out->vocab * sizeof *out->data);
    if (!out->data)
        return false;
    memset(out->data, 0xff, out->count * out->vocab * sizeof *out->data); // NaN
    bool good =
        gr_session_create(t->model, NULL, &session, error) == GR_OK &&
        gr_session_append_observed(session, tokens->data, out->count, keep, out, error) == GR_OK;
    gr_session_release(session);
    return good;
}

// Largest difference from the golden over the positions that it holds; NaN counts as infinite.
static double distance(const trial *t, uint32_t index, const logits *l) {
    const gr_tensor_info *positions = tensor(t, index, "positions"),
                         *expected = tensor(t, index, "logits");
    const int32_t *at = positions->data;
    double largest = 0;
    for (int64_t p = 0; p < positions->dims[0]; p++) {
        for (uint32_t i = 0; i < l->vocab; i++) {
            double off = fabs((double)l->data[(uint64_t)at[p] * l->vocab + i] -
                              (double)((const float *)expected->data)[p * l->vocab + i]);
            largest = off <= largest ? largest : isnan(off) ? INFINITY : off;
        }
    }
    return largest;
}

static void judge(trial *t) {
    double cases = 0;
    gr_meta_get_f64(t->golden, "golden.cases", &cases);
    for (uint32_t i = 0; i < (uint32_t)cases; i++) {
        gr_error error;
        logits l;
        gr_error_init(&error);
        bool fed = feed(t, i, &l, &error);
        double off = fed ? distance(t, i, &l) : 0;
        free(l.data);
        if (!(off / t->allowed <= t->suite->worst))
            t->suite->worst = off / t->allowed;
        if (fed && off <= t->allowed)
            cf_pass(t->suite, t->name);
        else
            cf_fail(t->suite, t->name,
                    fed ? "prompt %u: a logit is off by %.2g, allowed %.2g"
                        : "prompt %u: not evaluated (%.0g, %.2g)",
                    i, off, t->allowed);
    }
}

static void model_case(cf_suite *suite, const char *model, const way *how) {
    char name[96];
    snprintf(name, sizeof name, "MODEL %s %s", model, how->name);
    trial t = {.suite = suite, .name = name};
    if (!cf_wanted(suite, "MODEL") || !cf_case_begin(suite, name))
        return;
    if (trial_open(&t, model, how))
        judge(&t);
    trial_close(&t);
    cf_case_end(suite);
}

// ---- The same bits, however it is cut ----

static void compare(trial *a, trial *b) {
    double cases = 0;
    gr_meta_get_f64(a->golden, "golden.cases", &cases);
    for (uint32_t i = 0; i < (uint32_t)cases; i++) {
        logits one, other;
        bool fed = feed(a, i, &one, NULL), same = false;
        if (feed(b, i, &other, NULL) && fed)
            same = !memcmp(one.data, other.data, one.count * one.vocab * sizeof *one.data);
        free(one.data);
        free(other.data);
        if (same)
            cf_pass(a->suite, a->name);
        else
            cf_fail(a->suite, a->name, "prompt %u: the bits of a logit differ", i);
    }
}

static void invariance(cf_suite *suite, const char *model, const way *how) {
    char name[96];
    snprintf(name, sizeof name, "MODEL %s same bits whole and %s", model, how->name);
    trial whole = {.suite = suite, .name = name}, cut = whole;
    if (!cf_wanted(suite, "MODEL") || !cf_case_begin(suite, name))
        return;
    if (!(suite->facts.flags & GR_DEVICE_BATCH_INVARIANT))
        cf_skip(suite, name, false, "the device does not declare it");
    else if (trial_open(&whole, model, &ways[0]) && trial_open(&cut, model, how))
        compare(&whole, &cut);
    trial_close(&whole);
    trial_close(&cut);
    cf_case_end(suite);
}

void cf_cases_model(cf_suite *suite) {
    enum { WAYS = sizeof ways / sizeof ways[0] };
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        for (size_t w = 0; w < WAYS; w++)
            model_case(suite, models[m], &ways[w]);
        invariance(suite, models[m], &ways[2]);
        invariance(suite, models[m], &ways[3]);
    }
}
