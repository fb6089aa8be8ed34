// SPDX-License-Identifier: Apache-2.0
// graph.c: reading a finished graph.
#include <stdlib.h>

#include "base/checked.h"
#include "graph/builder.h"

void gr_graph_destroy(gr_graph *graph) {
    if (!graph)
        return;
    gr_arena_deinit(&graph->arena);
    free(graph->values);
    free(graph->nodes);
    free(graph->weights);
    free(graph->outputs);
    free(graph->cache_layers);
    free(graph);
}

const gr_segment *gr_graph_segment(const gr_graph *graph) {
    return &graph->segment;
}

uint32_t gr_graph_weight_count(const gr_graph *graph) {
    return graph->weight_count;
}

const gr_graph_weight *gr_graph_weight_at(const gr_graph *graph, uint32_t index) {
    return index < graph->weight_count ? &graph->weights[index] : NULL;
}

uint32_t gr_graph_output_count(const gr_graph *graph) {
    return graph->output_count;
}

const gr_graph_output *gr_graph_output_at(const gr_graph *graph, uint32_t index) {
    return index < graph->output_count ? &graph->outputs[index] : NULL;
}

uint32_t gr_graph_cache_layer_count(const gr_graph *graph) {
    return graph->cache_layer_count;
}

const gr_attrs_attention *gr_graph_cache_layer(const gr_graph *graph, uint32_t index) {
    return index < graph->cache_layer_count ? graph->cache_layers[index] : NULL;
}

static uint64_t dim_size(int64_t dim, uint32_t rows, uint32_t seqs, uint32_t outputs) {
    switch (dim) {
    case GR_DIM_T: return rows;
    case GR_DIM_S: return seqs;
    case GR_DIM_R: return outputs;
    default: return dim < 0 ? 0 : (uint64_t)dim;
    }
}

uint64_t gr_value_elements(const gr_value *value, uint32_t rows, uint32_t seqs, uint32_t outputs) {
    uint64_t elements = value->kind == GR_VALUE_STATE ? 0 : 1;
    for (uint32_t i = 0; i < value->rank && i < GR_MAX_RANK; i++)
        if (!gr_mul_u64(elements, dim_size(value->dims[i], rows, seqs, outputs), &elements))
            return UINT64_MAX;
    return elements;
}

const char *gr_value_text(const gr_graph *graph, const gr_value *value, char *text,
                          size_t capacity) {
    static const char *const symbols[] = {"T", "S", "R"};
    size_t used = 0;
    text[0] = '\0';
    if (value->kind == GR_VALUE_STATE) {
        snprintf(text, capacity, "the state of cache layer %u", value->index);
        return text;
    }
    // A name may be long and hostile: it is cut so that the shape still fits.
    if (value->kind == GR_VALUE_WEIGHT && value->index < graph->weight_count)
        used = (size_t)snprintf(text, capacity, "%.64s ", graph->weights[value->index].name);
    used += (size_t)snprintf(text + used, used < capacity ? capacity - used : 0, "%s[",
                             gr_dtype_name(value->dtype));
    for (uint32_t i = 0; i < value->rank && used < capacity; i++) {
        const char *comma = i ? "," : "";
        int64_t dim = value->dims[i];
        used +=
            dim < 0 && dim >= GR_DIM_R
                ? (size_t)snprintf(text + used, capacity - used, "%s%s", comma, symbols[-1 - dim])
                : (size_t)snprintf(text + used, capacity - used, "%s%lld", comma, (long long)dim);
    }
    if (used < capacity)
        snprintf(text + used, capacity - used, "]");
    return text;
}
