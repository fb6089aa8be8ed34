// SPDX-License-Identifier: Apache-2.0
#include "trial.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/embedded.h"

extern const gr_embedded gr_embedded_golden[];

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

gr_precision cf_trial_class(const cf_trial *t) {
    const gr_model *model = t->model;
    gr_precision worst = GR_PRECISION_F32;
    for (uint32_t s = 0; s < model->site_count; s++) {
        gr_placement *placement = model->sites[s]->placement;
        for (uint32_t i = 0; i < gr_graph_segment(model->graph)->node_count; i++) {
            const gr_support *support = gr_placement_support(placement, i);
            if (gr_placement_choose(placement, i) >= 0 && support->precision > worst)
                worst = support->precision;
        }
    }
    return worst;
}

static gr_status load(cf_trial *t, const char *path, const char *golden, const cf_way *how, gr_error *error) {
    const char *const directories[] = {t->suite->scratch, NULL};
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
    gr_status status = gr_engine_create(&options, &t->engine, error);
    if (status == GR_OK)
        status = gr_model_load(t->engine, path, &wanted, &t->model, error);
    if (status == GR_OK)
        status = gr_model_file_open(golden, &t->golden, error);
    if (status == GR_OK && !gr_meta_get_f64(t->golden, "golden.tolerance", &t->tolerance))
        status = gr_fail(error, GR_ERROR_CORRUPT, "conformance", "%s: no tolerance", golden);
    return status;
}

// Whether any node of the model runs on the suite's device: the engine puts what it refuses elsewhere.
static bool takes_part(const cf_trial *t) {
    const gr_site *site = t->model->site;
    for (uint32_t i = 0; i < gr_graph_segment(t->model->graph)->node_count; i++) {
        int32_t device = gr_placement_choose(site->placement, i);
        if (device >= 0 && !strcmp(site->devices[device].opened->backend->name, t->suite->backend->name))
            return true;
    }
    return false;
}

bool cf_trial_open(cf_trial *t, const char *model, const cf_way *how) {
    char path[512], golden[512], name[64];
    gr_error error;
    gr_error_init(&error);
    snprintf(name, sizeof name, "models/%s.gguf", model);
    bool good = unpack(t->suite, name, path, sizeof path) && link_plugin(t->suite);
    snprintf(name, sizeof name, "models/%s.golden.gguf", model);
    if (!good || !unpack(t->suite, name, golden, sizeof golden)) {
        cf_fail(t->suite, t->name, "%s: cannot be written to", t->suite->scratch);
        return false;
    }
    gr_status status = load(t, path, golden, how, &error);
    if (status == GR_ERROR_UNSUPPORTED)
        cf_skip(t->suite, t->name, false, error.message);
    else if (status != GR_OK)
        cf_fail(t->suite, t->name, "%s", error.message);
    else if (!takes_part(t))
        cf_skip(t->suite, t->name, true, "the device takes no node of the model");
    else
        return true;
    return false;
}

void cf_trial_close(cf_trial *t) {
    gr_model_file_close(t->golden);
    gr_model_release(t->model);
    gr_engine_release(t->engine);
}

const char *cf_trial_other(const cf_trial *t) {
    const gr_registry *registry = t->engine->registry;
    const char *other = NULL;
    for (uint32_t i = 0; i < gr_registry_device_count(registry); i++) {
        const gr_device_entry *entry = gr_registry_device(registry, i);
        if (!strcmp(entry->backend->name, t->suite->backend->name))
            continue;
        if (!other || entry->facts.kind == GR_DEVICE_REFERENCE)
            other = entry->name;
    }
    return other;
}

static const gr_tensor_info *tensor(const cf_trial *t, uint32_t prompt, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "case.%u.%s", prompt, name);
    return gr_model_file_tensor(t->golden, full);
}

uint32_t cf_trial_prompts(const cf_trial *t) {
    double prompts = 0;
    gr_meta_get_f64(t->golden, "golden.cases", &prompts);
    return (uint32_t)prompts;
}

const int32_t *cf_trial_tokens(const cf_trial *t, uint32_t prompt, uint64_t *out_count) {
    const gr_tensor_info *tokens = tensor(t, prompt, "tokens");
    *out_count = (uint64_t)tokens->dims[0];
    return tokens->data;
}

// ---- Logits ----

cf_logits cf_logits_make(const cf_trial *t, uint32_t prompt) {
    cf_logits l = {.vocab = t->model->source->hparams.vocab};
    cf_trial_tokens(t, prompt, &l.count);
    size_t bytes = l.count * l.vocab * sizeof *l.data;
    l.data = malloc(bytes);
    if (l.data)
        memset(l.data, 0xff, bytes); // NaN
    return l;
}

void cf_logits_free(cf_logits *l) {
    free(l->data);
}

static void keep(void *context, uint64_t position, const float *row, uint32_t vocab) {
    cf_logits *l = context;
    if (position < l->count && vocab == l->vocab)
        memcpy(l->data + position * vocab, row, vocab * sizeof *row);
}

gr_status cf_trial_feed(const cf_trial *t, gr_session *session, uint32_t prompt, uint64_t from, uint64_t to,
                        cf_logits *l, gr_error *error) {
    uint64_t count;
    const int32_t *tokens = cf_trial_tokens(t, prompt, &count);
    if (!l->data)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "conformance", "no memory for logits");
    return gr_session_append_observed(session, tokens + from, to - from, keep, l, error);
}

gr_status cf_trial_whole(const cf_trial *t, uint32_t prompt, cf_logits *out, gr_error *error) {
    gr_session *session = NULL;
    *out = cf_logits_make(t, prompt);
    gr_status status = gr_session_create(t->model, NULL, &session, error);
    if (status == GR_OK)
        status = cf_trial_feed(t, session, prompt, 0, out->count, out, error);
    gr_session_release(session);
    return status;
}

// Over the positions that the golden holds; NaN counts as infinite.
static double distance(const cf_trial *t, uint32_t prompt, const cf_logits *l) {
    const gr_tensor_info *positions = tensor(t, prompt, "positions"), *expected = tensor(t, prompt, "logits");
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

void cf_trial_judge(const cf_trial *t, uint32_t prompt, const cf_logits *l, gr_precision least) {
    gr_precision class = cf_trial_class(t);
    class = class > least ? class : least;
    double allowed = t->tolerance * sqrt(cf_limit(class) / cf_limit(GR_PRECISION_F32));
    double off = distance(t, prompt, l);
    if (!(off / allowed <= t->suite->worst))
        t->suite->worst = off / allowed;
    if (off <= allowed)
        cf_pass(t->suite, t->name);
    else
        cf_fail(t->suite, t->name, "prompt %u: a logit is off by %.2g, allowed %.2g", prompt, off, allowed);
}
