// SPDX-License-Identifier: Apache-2.0
// weights.c: the graph of a model, its weights found by name in the file. A tensor that no node
// reads is refused: it means that the architecture knows less than the file.
#include <string.h>

#include "model/file.h"
#include "model/model.h"

// What the builder's questions are answered from.
typedef struct weight_source {
    const gr_model_file *file;
    const gr_tensor_info *unfit; // the first asked for whose dtype no node can read
} weight_source;

// Vectors (norms, biases) are F32; matrices any type that has a product.
static bool dtype_serves(const gr_tensor_info *tensor) {
    if (tensor->rank == 1)
        return tensor->dtype == GR_DTYPE_F32;
    return tensor->dtype != GR_DTYPE_I8 && tensor->dtype != GR_DTYPE_I32 &&
           tensor->dtype != GR_DTYPE_F64;
}

static bool look_up(void *context, const char *name, gr_dtype *out_dtype, uint32_t *out_rank,
                    int64_t out_dims[GR_MAX_RANK]) {
    weight_source *weights = context;
    const gr_tensor_info *tensor = gr_model_file_tensor(weights->file, name);
    if (!tensor)
        return false;
    if (!weights->unfit && !dtype_serves(tensor))
        weights->unfit = tensor;
    *out_dtype = tensor->dtype;
    *out_rank = tensor->rank;
    memcpy(out_dims, tensor->dims, sizeof tensor->dims);
    return true;
}

static gr_status refuse_dtype(const weight_source *weights, gr_error *error) {
    const gr_tensor_info *tensor = weights->unfit;
    return gr_fail(error, GR_ERROR_UNSUPPORTED, "model", "%s: tensor '%.*s': expected %s, found %s",
                   gr_path_tail(weights->file->path), (int)tensor->name.size, tensor->name.data,
                   tensor->rank == 1 ? "F32" : "a type that matrices may have",
                   gr_dtype_name(tensor->dtype));
}

static bool graph_reads(const gr_graph *graph, gr_str name) {
    for (uint32_t i = 0; i < gr_graph_weight_count(graph); i++) {
        const char *weight = gr_graph_weight_at(graph, i)->name;
        if (strlen(weight) == name.size && memcmp(weight, name.data, name.size) == 0)
            return true;
    }
    return false;
}

// The graph's weights all exist in the file, so counting tells whether one is left over; looking
// for it takes at most as many steps as the graph has weights.
static gr_status check_leftovers(const gr_model_source *source, const gr_graph *graph,
                                 gr_error *error) {
    const char *factors = source->hparams.rope.factors_tensor;
    uint32_t used = gr_graph_weight_count(graph) + (factors ? 1 : 0);
    if (gr_model_file_tensor_count(source->file) <= used)
        return GR_OK;
    for (uint32_t i = 0; i < gr_model_file_tensor_count(source->file); i++) {
        gr_str name = gr_model_file_tensor_at(source->file, i)->name;
        bool is_factors =
            factors && strlen(factors) == name.size && memcmp(factors, name.data, name.size) == 0;
        if (!is_factors && !graph_reads(graph, name))
            return gr_fail(
                error, GR_ERROR_UNSUPPORTED, "model",
                "%s: tensor '%.*s': expected tensors of a %s decoder alone, found one that it "
                "does not read",
                gr_path_tail(source->file->path), (int)(name.size < 96 ? name.size : 96), name.data,
                source->arch->name);
    }
    return GR_OK;
}

// Says which file an error of the builder is about.
static gr_status name_file(const gr_model_source *source, gr_status status, gr_error *error) {
    char text[sizeof error->message];
    if (status == GR_OK || !error || strstr(error->message, gr_path_tail(source->file->path)))
        return status;
    memcpy(text, error->message, sizeof text);
    text[sizeof text - 1] = '\0';
    return gr_fail(error, status, "model", "%s: %s", gr_path_tail(source->file->path), text);
}

gr_status gr_model_source_graph(const gr_model_source *source, gr_graph **out_graph,
                                gr_error *error) {
    gr_builder *builder = NULL;
    gr_graph *graph = NULL;
    weight_source weights = {.file = source->file};
    *out_graph = NULL;
    gr_status status = gr_builder_create(look_up, &weights, &builder, error);
    if (status == GR_OK) {
        source->arch->build(builder, &source->hparams);
        status = gr_builder_finish(builder, &graph, error);
    }
    gr_builder_destroy(builder);
    if (weights.unfit)
        status = refuse_dtype(&weights, error);
    if (status == GR_OK)
        status = check_leftovers(source, graph, error);
    if (status != GR_OK) {
        gr_graph_destroy(graph);
        return name_file(source, status, error);
    }
    *out_graph = graph;
    return GR_OK;
}
