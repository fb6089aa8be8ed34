// SPDX-License-Identifier: Apache-2.0
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "engine/site.h"
#include "graph/graph.h"

// ---- Files

gr_model_file *golden_open(const char *path) {
    gr_model_file *file = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_model_file_open(path, &file, &error) != GR_OK)
        fail_msg("%s", error.message);
    return file;
}

double golden_number(const gr_model_file *golden, const char *key) {
    double value = NAN;
    if (!gr_meta_get_f64(golden, key, &value))
        fail_msg("%s: no number %s", gr_model_file_path(golden), key);
    return value;
}

const gr_tensor_info *golden_tensor(const gr_model_file *golden, gr_dtype dtype, uint32_t index,
                                    const char *name) {
    char full[64];
    snprintf(full, sizeof full, "case.%u.%s", index, name);
    const gr_tensor_info *tensor = gr_model_file_tensor(golden, full);
    if (!tensor || tensor->dtype != dtype)
        fail_msg("%s: no %s of type %s", gr_model_file_path(golden), full, gr_dtype_name(dtype));
    return tensor;
}

// ---- Models

gr_engine *golden_engine(bool trace) {
    const gr_engine_options options = {
        .struct_size = sizeof options, .plugin_directories = test_directories, .trace = trace};
    gr_engine *engine = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_engine_create(&options, &engine, &error) != GR_OK)
        fail_msg("%s", error.message);
    return engine;
}

gr_model_options golden_options(const char *device, int64_t window, uint32_t chunk) {
    return (gr_model_options){.struct_size = sizeof(gr_model_options),
                              .device = device,
                              .sliding_window = window,
                              .has_sliding_window = window != GR_SLIDING_WINDOW_FROM_FILE,
                              .kv_dtype = GR_DTYPE_F32,
                              .has_kv_dtype = 1,
                              .chunk = chunk};
}

gr_model *golden_load(gr_engine *engine, const char *path, const gr_model_options *options) {
    gr_model *model = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_model_load(engine, path, options, &model, &error) != GR_OK)
        fail_msg("%s", error.message);
    return model;
}

// ---- Residual streams

static bool look_up(void *context, const char *name, gr_dtype *out_dtype, uint32_t *out_rank,
                    int64_t out_dims[GR_MAX_RANK]) {
    const gr_tensor_info *tensor = gr_model_file_tensor(context, name);
    if (!tensor)
        return false;
    *out_dtype = tensor->dtype;
    *out_rank = tensor->rank;
    memcpy(out_dims, tensor->dims, sizeof tensor->dims);
    return true;
}

// The same graph again, with the results of its FFN_BLOCK nodes as outputs "layer.0", "layer.1",
// ...
static gr_graph *graph_with_streams(const gr_model *model) {
    const gr_segment *segment = gr_graph_segment(model->graph);
    gr_builder *builder = NULL;
    gr_graph *graph = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_builder_create(look_up, model->source->file, &builder, &error) != GR_OK)
        fail_msg("%s", error.message);
    model->source->arch->build(builder, &model->source->hparams);
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        char name[32];
        snprintf(name, sizeof name, "layer.%d", node->layer);
        if (node->op == GR_OP_FFN_BLOCK)
            gr_build_output(builder, name, node->out[0]);
    }
    gr_status status = gr_builder_finish(builder, &graph, &error);
    gr_builder_destroy(builder);
    if (status != GR_OK)
        fail_msg("%s", error.message);
    return graph;
}

void golden_show_streams(gr_model *model) {
    const gr_opened_device *opened[GR_MAX_SITE_DEVICES];
    gr_error error;
    gr_error_init(&error);
    gr_graph *graph = graph_with_streams(model);
    gr_buckets_drop(model->site);
    gr_placement_destroy(model->site->placement);
    gr_graph_destroy(model->graph);
    model->graph = graph;
    uint32_t count = 0; // a site closes devices that it does not use
    for (; count < model->site->device_count && model->site->devices[count].opened; count++)
        opened[count] = model->site->devices[count].opened;
    if (gr_placement_create(graph, opened, count, NULL, model->engine->no_fusion,
                            &model->site->placement, &error) != GR_OK)
        fail_msg("%s", error.message);
}

// Copies what the last step left of every stream: its rows stand at positions [begin, begin +
// rows).
static void keep_streams(gr_model *model, uint64_t begin, uint64_t rows, golden_view *view) {
    gr_bucket *bucket = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_bucket_get(model->site, (uint32_t)rows, &bucket, &error) != GR_OK)
        fail_msg("%s", error.message);
    for (uint32_t i = 0; i < gr_graph_output_count(model->graph); i++) {
        const gr_graph_output *output = gr_graph_output_at(model->graph, i);
        unsigned layer;
        if (sscanf(output->name, "layer.%u", &layer) != 1)
            continue;
        assert_true(layer < view->layers);
        if (!view->streams[layer])
            view->streams[layer] = calloc(view->count * view->dim, sizeof(float));
        assert_non_null(view->streams[layer]);
        memcpy(view->streams[layer] + begin * view->dim,
               (const char *)bucket->arena + gr_plan_offset(bucket->plan, output->value),
               rows * view->dim * sizeof(float));
    }
}

// ---- Feeding

static void keep_logits(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    golden_view *view = context;
    assert_true(position < view->count && vocab == view->vocab);
    memcpy(view->logits + position * vocab, logits, vocab * sizeof *logits);
}

static void step(gr_session *session, golden_view *view) {
    gr_error error;
    bool worked;
    uint64_t begin = session->pages.length;
    gr_error_init(&error);
    if (gr_engine_step(session->model->engine, &worked, &error) != GR_OK)
        fail_msg("%s", error.message);
    uint64_t rows = session->pages.length - begin;
    assert_true(worked && rows);
    view->steps++;
    view->largest_step = rows > view->largest_step ? (uint32_t)rows : view->largest_step;
    keep_streams(session->model, begin, rows, view);
}

void golden_feed(gr_model *model, const int32_t *tokens, uint64_t count, uint64_t piece,
                 bool all_logits, golden_view *out_view) {
    const gr_hparams *hparams = &model->source->hparams;
    gr_session *session = NULL;
    gr_error error;
    gr_error_init(&error);
    *out_view = (golden_view){
        .count = count, .vocab = hparams->vocab, .dim = hparams->dim, .layers = hparams->layers};
    assert_true(hparams->layers <= GOLDEN_MAX_LAYERS);
    out_view->logits = malloc(count * hparams->vocab * sizeof(float));
    assert_non_null(out_view->logits);
    for (uint64_t i = 0; i < count * hparams->vocab; i++)
        out_view->logits[i] = NAN;
    if (gr_session_create(model, NULL, &session, &error) != GR_OK)
        fail_msg("%s", error.message);
    session->hook = all_logits ? keep_logits : NULL;
    session->hook_context = out_view;
    for (uint64_t at = 0, size; at < count; at += size) {
        size = piece && piece < count - at ? piece : count - at;
        if (gr_session_append_tokens(session, tokens + at, size, &error) != GR_OK)
            fail_msg("%s", error.message);
        while (gr_session_waiting(session))
            step(session, out_view);
    }
    float *last = out_view->logits + (count - 1) * hparams->vocab;
    if (!all_logits)
        memcpy(last, session->logits, hparams->vocab * sizeof *last);
    assert_memory_equal(session->logits, last, hparams->vocab * sizeof *last);
    session->hook = NULL;
    gr_session_release(session);
}

void golden_view_deinit(golden_view *view) {
    free(view->logits);
    for (uint32_t i = 0; i < view->layers; i++)
        free(view->streams[i]);
    *view = (golden_view){0};
}

double golden_distance(const float *a, const float *b, uint64_t count) {
    double largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        double distance = fabs((double)a[i] - (double)b[i]);
        if (isnan(distance))
            return INFINITY;
        largest = distance > largest ? distance : largest;
    }
    return largest;
}
