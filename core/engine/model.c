// SPDX-License-Identifier: Apache-2.0
// model.c: from a file to something that can be stepped: source, tokenizer, graph, and a first site to run on.
#include <stdlib.h>
#include <string.h>

#include "engine/site.h"

static bool report(const gr_model_options *options, double fraction, const char *what) {
    return !options->progress || options->progress(options->progress_context, fraction, what);
}

// ---- Loading

static gr_status choose_chat_format(gr_model *model, const char *name, gr_error *error) {
    model->chat_format = name ? gr_chat_format_find(name) : gr_chat_format_detect(model->source->file, model->tokenizer);
    if (!name || model->chat_format)
        return GR_OK;
    gr_strbuf known = {0};
    for (const gr_chat_format *const *format = gr_chat_formats(); *format; format++)
        gr_strbuf_format(&known, "%s%s", known.size ? ", " : "", (*format)->name);
    gr_status status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "no chat format is called '%s'; there are: %s", name,
                               gr_strbuf_cstr(&known));
    gr_strbuf_deinit(&known);
    return status;
}

static uint32_t find_output(const gr_graph *graph, const char *name) {
    for (uint32_t i = 0; i < gr_graph_output_count(graph); i++)
        if (strcmp(gr_graph_output_at(graph, i)->name, name) == 0)
            return gr_graph_output_at(graph, i)->value;
    return GR_VALUE_NONE;
}

static gr_status find_outputs(gr_model *model, gr_error *error) {
    model->logits_value = find_output(model->graph, "logits");
    model->hidden_value = find_output(model->graph, "hidden");
    return model->logits_value != GR_VALUE_NONE
               ? GR_OK
               : gr_fail(error, GR_ERROR_INTERNAL, "engine", "the graph has no output called logits");
}

static gr_status open_source(gr_model *model, const char *path, const gr_model_options *options, gr_error *error) {
    const gr_model_overrides overrides = {
        .sliding_window = options->has_sliding_window ? options->sliding_window : GR_WINDOW_FROM_FILE};
    gr_status status = gr_model_source_open(path, &overrides, &model->source, error);
    if (status == GR_OK)
        status = gr_tokenizer_create(model->source->file, &model->tokenizer, error);
    if (status == GR_OK && model->tokenizer->vocab.size > model->source->hparams.vocab)
        status = gr_fail(error, GR_ERROR_CORRUPT, "engine", "%s: the tokenizer has %u tokens, the model %u", path,
                         model->tokenizer->vocab.size, model->source->hparams.vocab);
    if (status == GR_OK)
        status = choose_chat_format(model, options->chat_format, error);
    if (status == GR_OK)
        status = gr_model_source_graph(model->source, &model->graph, error);
    return status == GR_OK ? find_outputs(model, error) : status;
}

static gr_status join_engine(gr_model *model, gr_error *error) {
    gr_engine *engine = model->engine;
    if (engine->model_count == engine->model_capacity) {
        uint32_t capacity = engine->model_capacity * 2 + 4;
        gr_model **models = realloc(engine->models, capacity * sizeof *models);
        if (!models)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a model");
        engine->models = models;
        engine->model_capacity = capacity;
    }
    engine->models[engine->model_count++] = model;
    return GR_OK;
}

static bool report_weights(void *context, double fraction) {
    return report(context, 0.1 + 0.8 * fraction, "weights");
}

static gr_status settle(gr_model *model, const gr_model_options *options, gr_error *error) {
    gr_status status = gr_site_open(model, options->device, &model->site, error);
    if (status == GR_OK)
        status = gr_site_import(model->site, report_weights, (void *)(uintptr_t)options, error);
    if (status == GR_OK)
        status = gr_site_ready(model->site, error);
    return status;
}

static gr_status load(gr_model *model, const char *path, const gr_model_options *options, gr_error *error) {
    gr_status status = open_source(model, path, options, error);
    if (status == GR_OK && !report(options, 0.1, "file"))
        status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "loading was cancelled");
    if (status == GR_OK)
        status = settle(model, options, error);
    if (status == GR_OK)
        status = join_engine(model, error);
    if (status == GR_OK && !report(options, 1.0, "ready"))
        status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "loading was cancelled");
    return status;
}

static gr_status create(gr_engine *engine, const gr_model_options *options, gr_model **out_model, gr_error *error) {
    gr_model *model = *out_model = calloc(1, sizeof *model);
    if (!model)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a model");
    model->references = 1;
    model->engine = gr_engine_retain(engine);
    model->chunk = options->chunk ? options->chunk : 512;
    model->page_tokens = options->page_tokens ? options->page_tokens : 64;
    model->max_pages = GR_DEFAULT_CONTEXT / model->page_tokens + 2;
    model->cache_options =
        (gr_kv_cache_options){.page_tokens = model->page_tokens,
                              .reserve = options->rewind_reserve ? options->rewind_reserve : 64,
                              .dtype = options->has_kv_dtype ? options->kv_dtype : GR_DTYPE_F16,
                              .limit_bytes = options->cache_bytes};
    return GR_OK;
}

gr_status gr_model_load(gr_engine *engine, const char *path, const gr_model_options *options, gr_model **out_model,
                        gr_error *error) {
    gr_model_options wanted = {.struct_size = sizeof wanted};
    gr_take_options(&wanted, sizeof wanted, options);
    gr_status status = create(engine, &wanted, out_model, error);
    if (status == GR_OK)
        status = load(*out_model, path, &wanted, error);
    if (status != GR_OK) {
        gr_model_release(*out_model);
        *out_model = NULL;
    }
    return status;
}

gr_status gr_model_place(gr_engine *engine, const char *path, const gr_model_options *options, char **out_devices,
                         gr_error *error) {
    gr_model *model;
    gr_split split;
    gr_strbuf text = {0};
    gr_model_options wanted = {.struct_size = sizeof wanted};
    gr_take_options(&wanted, sizeof wanted, options);
    *out_devices = NULL;
    gr_status status = create(engine, &wanted, &model, error);
    if (status == GR_OK)
        status = open_source(model, path, &wanted, error);
    if (status == GR_OK)
        status = gr_split_parse(model, wanted.device, &split, error);
    if (status == GR_OK)
        gr_split_describe(model, &split, &text);
    if (status == GR_OK && text.failed)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a text");
    if (status == GR_OK)
        *out_devices = text.data;
    else
        gr_strbuf_deinit(&text);
    gr_model_release(model);
    return status;
}

gr_model *gr_model_retain(gr_model *model) {
    model->references++;
    return model;
}

static void leave_engine(gr_model *model) {
    gr_engine *engine = model->engine;
    for (uint32_t i = 0; i < engine->model_count; i++)
        if (engine->models[i] == model)
            engine->models[i] = engine->models[--engine->model_count];
}

void gr_model_release(gr_model *model) {
    if (!model || --model->references)
        return;
    leave_engine(model);
    gr_grammars_drop(model);
    gr_site_release(model->site);
    free(model->sites);
    gr_graph_destroy(model->graph);
    gr_tokenizer_destroy(model->tokenizer);
    gr_model_source_close(model->source);
    free(model->sessions);
    gr_engine_release(model->engine);
    free(model);
}
