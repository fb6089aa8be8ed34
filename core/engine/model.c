// SPDX-License-Identifier: Apache-2.0
// model.c: from a file to something that can be stepped: source, tokenizer, graph, devices, weights, cache.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

static bool report(const gr_model_options *options, double fraction, const char *what) {
    return !options->progress || options->progress(options->progress_context, fraction, what);
}

// ---- Devices: the wanted one first, then every other with host memory, best first, to fall back on.

static gr_status add_device(gr_model *model, uint32_t index, gr_error *error) {
    gr_model_device *device = &model->devices[model->device_count];
    gr_status status = gr_registry_open(model->engine->registry, index, &device->opened, error);
    if (status == GR_OK)
        model->device_count++;
    return status;
}

static gr_status open_devices(gr_model *model, const char *name, gr_error *error) {
    gr_registry *registry = model->engine->registry;
    uint32_t wanted = 0;
    bool any = !name || strcmp(name, "auto") == 0; // then the best that holds the weights
    gr_status status = any ? gr_registry_best(registry, gr_model_file_bytes(model->source->file), &wanted, error)
                           : gr_registry_find(registry, name, &wanted, error);
    if (status == GR_OK)
        status = add_device(model, wanted, error);
    if (status == GR_OK && model->engine->deterministic &&
        !(model->devices[0].opened->facts.flags & GR_DEVICE_BATCH_INVARIANT))
        status = gr_fail(error, GR_ERROR_UNSUPPORTED, "engine",
                         "device %s was asked for bits that ignore batching and does not promise them",
                         model->devices[0].opened->name);
    for (uint32_t i = 0; status == GR_OK && i < gr_registry_device_count(registry); i++) {
        bool host = gr_registry_device(registry, i)->facts.flags & GR_DEVICE_HOST_MEMORY;
        if (i != wanted && host && model->device_count < GR_MAX_MODEL_DEVICES)
            add_device(model, i, NULL); // a fallback that will not open is no loss
    }
    return status;
}

static gr_status place(gr_model *model, gr_error *error) {
    const gr_opened_device *opened[GR_MAX_MODEL_DEVICES];
    for (uint32_t i = 0; i < model->device_count; i++)
        opened[i] = model->devices[i].opened;
    return gr_placement_create(model->graph, opened, model->device_count, model->engine->no_fusion, &model->placement,
                               error);
}

static gr_status ready_device(gr_model *model, gr_model_device *device, gr_error *error) {
    const gr_backend *backend = device->opened->backend;
    uint32_t weights = gr_graph_weight_count(model->graph);
    device->used = true;
    device->weights = calloc(weights ? weights : 1, sizeof *device->weights);
    if (!device->weights)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for weights");
    gr_status status = backend->queue_create(device->opened->device, model->engine->team, &device->queue, error);
    if (status == GR_OK)
        status = backend->fence_create(device->opened->device, &device->fence, error);
    return status;
}

// ---- Weights: each is imported by the devices whose nodes read it.

static gr_status import_weight(gr_model *model, gr_model_device *device, uint32_t index, gr_error *error) {
    const gr_graph_weight *weight = gr_graph_weight_at(model->graph, index);
    const gr_tensor_info *tensor = gr_model_file_tensor(model->source->file, weight->name);
    if (device->weights[index])
        return GR_OK;
    gr_weight_desc desc = {.struct_size = sizeof desc,
                           .dtype = tensor->dtype,
                           .rank = tensor->rank,
                           .consumer = weight->consumer,
                           .data = tensor->data,
                           .bytes = tensor->bytes,
                           .name = weight->name};
    memcpy(desc.dims, tensor->dims, sizeof desc.dims);
    gr_weight_info info = {.struct_size = sizeof info};
    gr_status status = device->opened->backend->weight_import(device->opened->device, &desc, &device->weights[index],
                                                              &info, error);
    model->weight_bytes += tensor->bytes;
    model->resident_bytes += info.device_bytes + (info.aliases_source ? tensor->bytes : 0);
    return status;
}

// `progress` counts the weights imported so far.
static gr_status import_segment(gr_model *model, const gr_plan_segment *segment, const gr_model_options *options,
                                uint32_t *progress, gr_error *error) {
    gr_model_device *device = &model->devices[segment->device];
    gr_status status = device->used ? GR_OK : ready_device(model, device, error);
    for (uint32_t i = 0; status == GR_OK && i < segment->segment.node_count; i++) {
        const gr_node *node = gr_segment_node(&segment->segment, i);
        for (uint32_t j = 0; status == GR_OK && (node->flags & GR_NODE_RUN) && j < node->in_count; j++) {
            if (node->in[j] == GR_VALUE_NONE)
                continue;
            const gr_value *value = gr_segment_value(&segment->segment, node->in[j]);
            if (value->kind != GR_VALUE_WEIGHT)
                continue;
            status = import_weight(model, device, value->index, error);
            double share = fmin(1, (double)++*progress / gr_graph_weight_count(model->graph));
            if (status == GR_OK && !report(options, 0.1 + 0.8 * share, "weights"))
                status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "loading was cancelled");
        }
    }
    return status;
}

// A plan for one row tells which device reads which weight; the choice is the same for every bucket.
static gr_status import_weights(gr_model *model, const gr_model_options *options, gr_error *error) {
    gr_plan *plan = NULL;
    gr_status status = gr_plan_create(model->graph, gr_placement_choose, model->placement, model->engine->no_fusion, 1,
                                      1, 1, &plan, error);
    uint32_t count = status == GR_OK ? gr_plan_segment_count(plan) : 0, progress = 0;
    for (uint32_t i = 0; status == GR_OK && i < count; i++)
        status = import_segment(model, gr_plan_segment_at(plan, i), options, &progress, error);
    gr_plan_destroy(plan);
    return status;
}

// ---- Cache

static gr_status create_cache(gr_model *model, const gr_model_options *options, gr_error *error) {
    uint32_t count = gr_graph_cache_layer_count(model->graph);
    gr_kv_layer_desc *layers = calloc(count ? count : 1, sizeof *layers);
    const gr_kv_cache_options wanted = {.page_tokens = model->page_tokens,
                                        .reserve = options->rewind_reserve ? options->rewind_reserve : 64,
                                        .dtype = options->has_kv_dtype ? options->kv_dtype : GR_DTYPE_F16,
                                        .limit_bytes = options->cache_bytes};
    if (!layers)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for the cache");
    for (uint32_t i = 0; i < count; i++) {
        const gr_attrs_attention *attrs = gr_graph_cache_layer(model->graph, i);
        layers[i] = (gr_kv_layer_desc){.device = model->devices[gr_placement_cache_device(model->placement, i)].opened,
                                       .window = attrs->window,
                                       .kv_heads = attrs->kv_heads,
                                       .k_dim = attrs->k_dim,
                                       .v_dim = attrs->v_dim};
    }
    gr_status status = gr_kv_cache_create(layers, count, &wanted, &model->cache, error);
    free(layers);
    return status;
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

static gr_status find_logits(gr_model *model, gr_error *error) {
    for (uint32_t i = 0; i < gr_graph_output_count(model->graph); i++) {
        const gr_graph_output *output = gr_graph_output_at(model->graph, i);
        if (strcmp(output->name, "logits") == 0) {
            model->logits_value = output->value;
            return GR_OK;
        }
    }
    return gr_fail(error, GR_ERROR_INTERNAL, "engine", "the graph has no output called logits");
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
    return status == GR_OK ? find_logits(model, error) : status;
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

static gr_status load(gr_model *model, const char *path, const gr_model_options *options, gr_error *error) {
    gr_bucket *bucket;
    gr_status status = open_source(model, path, options, error);
    if (status == GR_OK && !report(options, 0.1, "file"))
        status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "loading was cancelled");
    if (status == GR_OK)
        status = open_devices(model, options->device, error);
    if (status == GR_OK)
        status = place(model, error);
    if (status == GR_OK)
        status = import_weights(model, options, error);
    if (status == GR_OK)
        status = create_cache(model, options, error);
    if (status == GR_OK)
        status = gr_bucket_get(model, 1, &bucket, error);
    if (status == GR_OK)
        status = join_engine(model, error);
    if (status == GR_OK && !report(options, 1.0, "ready"))
        status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "loading was cancelled");
    return status;
}

gr_status gr_model_load(gr_engine *engine, const char *path, const gr_model_options *options, gr_model **out_model,
                        gr_error *error) {
    static const gr_model_options defaults = {.struct_size = sizeof defaults};
    *out_model = NULL;
    if (!options)
        options = &defaults;
    gr_model *model = calloc(1, sizeof *model);
    if (!model)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a model");
    model->references = 1;
    model->engine = gr_engine_retain(engine);
    model->chunk = options->chunk ? options->chunk : 512;
    model->page_tokens = options->page_tokens ? options->page_tokens : 64;
    model->max_pages = GR_DEFAULT_CONTEXT / model->page_tokens + 2;
    gr_status status = load(model, path, options, error);
    if (status != GR_OK) {
        gr_model_release(model);
        return status;
    }
    *out_model = model;
    return GR_OK;
}

gr_model *gr_model_retain(gr_model *model) {
    model->references++;
    return model;
}

static void release_device(gr_model *model, gr_model_device *device) {
    const gr_backend *backend = device->opened->backend;
    for (uint32_t i = 0; device->weights && i < gr_graph_weight_count(model->graph); i++)
        if (device->weights[i])
            backend->weight_destroy(device->opened->device, device->weights[i]);
    free(device->weights);
    if (device->scratch)
        backend->buffer_destroy(device->opened->device, device->scratch);
    if (device->fence)
        backend->fence_destroy(device->opened->device, device->fence);
    if (device->queue)
        backend->queue_destroy(device->opened->device, device->queue);
    gr_registry_close(model->engine->registry, device->opened);
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
    gr_buckets_drop(model);
    gr_kv_cache_destroy(model->cache);
    for (uint32_t i = 0; i < model->device_count; i++)
        release_device(model, &model->devices[i]);
    gr_placement_destroy(model->placement);
    gr_graph_destroy(model->graph);
    gr_tokenizer_destroy(model->tokenizer);
    gr_model_source_close(model->source);
    free(model->sessions);
    gr_engine_release(model->engine);
    free(model);
}
