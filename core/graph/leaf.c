// SPDX-License-Identifier: Apache-2.0
// leaf.c: the values a graph starts from (weights by name, step fields, cache states) and its
// outputs.
#include <stdlib.h>
#include <string.h>

#include "graph/builder.h"

// ---- Weights: one value a name, found again through a hash table

static uint32_t hash_name(const char *name) { // FNV-1a
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

// The slot that holds `name`, or the free one where it belongs. The table is never full.
static uint32_t *name_slot(const gr_builder *builder, const char *name) {
    uint32_t mask = builder->names_size - 1, at = hash_name(name) & mask;
    while (builder->names[at] && strcmp(builder->graph->weights[builder->names[at] - 1].name, name))
        at = (at + 1) & mask;
    return &builder->names[at];
}

static bool names_reserve(gr_builder *builder) {
    if (builder->names && builder->graph->weight_count < builder->names_size / 2)
        return true;
    uint32_t size = builder->names ? builder->names_size * 2 : 256;
    uint32_t *names = calloc(size, sizeof *names);
    if (!names)
        return gr_builder_fail(builder, GR_ERROR_OUT_OF_MEMORY, "no memory for the graph");
    free(builder->names);
    builder->names = names;
    builder->names_size = size;
    for (uint32_t i = 0; i < builder->graph->weight_count; i++)
        *name_slot(builder, builder->graph->weights[i].name) = i + 1;
    return true;
}

static bool dims_equal(uint32_t a_rank, const int64_t *a, uint32_t b_rank, const int64_t *b) {
    return a_rank == b_rank && !memcmp(a, b, a_rank * sizeof *a);
}

static bool check_weight(gr_builder *builder, const char *name, const gr_value *found,
                         uint32_t rank, const int64_t *dims) {
    char expected[192], got[192];
    gr_value wanted = {.kind = GR_VALUE_ACTIVATION, .dtype = found->dtype, .rank = rank};
    memcpy(wanted.dims, dims, rank * sizeof *dims);
    gr_value shape = *found;
    shape.kind = GR_VALUE_ACTIVATION; // so that its text has no name
    gr_value_text(builder->graph, &shape, got, sizeof got);
    if (!dims_equal(found->rank, found->dims, rank, dims))
        return gr_builder_fail(builder, GR_ERROR_CORRUPT, "tensor %s is %s, expected %s", name, got,
                               gr_value_text(builder->graph, &wanted, expected, sizeof expected));
    for (uint32_t i = 0; i < rank; i++)
        if (dims[i] < 0)
            return gr_builder_fail(builder, GR_ERROR_CORRUPT, "tensor %s has a negative size",
                                   name);
    if (!gr_dtype_block(found->dtype))
        return gr_builder_fail(builder, GR_ERROR_UNSUPPORTED, "tensor %s has unknown dtype %u",
                               name, found->dtype);
    if (rank && dims[rank - 1] % gr_dtype_block(found->dtype))
        return gr_builder_fail(builder, GR_ERROR_CORRUPT,
                               "tensor %s is %s: its rows are no whole number of %u-blocks", name,
                               got, gr_dtype_block(found->dtype));
    return true;
}

static uint32_t add_weight(gr_builder *builder, const char *name, uint32_t rank,
                           const int64_t *dims) {
    gr_graph *graph = builder->graph;
    gr_value found = {.kind = GR_VALUE_WEIGHT, .index = graph->weight_count};
    if (!builder->lookup ||
        !builder->lookup(builder->context, name, &found.dtype, &found.rank, found.dims)) {
        gr_builder_fail(builder, GR_ERROR_CORRUPT, "tensor %s is missing", name);
        return GR_VALUE_NONE;
    }
    if (found.rank > GR_MAX_RANK) {
        gr_builder_fail(builder, GR_ERROR_CORRUPT, "tensor %s has %u dimensions", name, found.rank);
        return GR_VALUE_NONE;
    }
    if (!check_weight(builder, name, &found, rank, dims))
        return GR_VALUE_NONE;
    char *copy = gr_builder_copy(builder, name, strlen(name) + 1);
    if (!copy || !gr_builder_grow(builder, (void **)&graph->weights, graph->weight_count,
                                  &graph->weight_capacity, sizeof *graph->weights))
        return GR_VALUE_NONE;
    graph->weights[graph->weight_count] = (gr_graph_weight){.name = copy, .dtype = found.dtype};
    uint32_t value = gr_builder_value(builder, &found);
    if (value != GR_VALUE_NONE)
        graph->weights[graph->weight_count++].value = value;
    return value;
}

uint32_t gr_build_weight(gr_builder *builder, const char *name, uint32_t rank,
                         const int64_t *dims) {
    if (builder->status != GR_OK || !builder->graph || !names_reserve(builder))
        return GR_VALUE_NONE;
    if (rank > GR_MAX_RANK) {
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT,
                        "tensor %s is asked for with %u dimensions", name, rank);
        return GR_VALUE_NONE;
    }
    uint32_t *slot = name_slot(builder, name);
    if (*slot) {
        uint32_t value = builder->graph->weights[*slot - 1].value;
        return check_weight(builder, name, &builder->graph->values[value], rank, dims)
                   ? value
                   : GR_VALUE_NONE;
    }
    uint32_t value = add_weight(builder, name, rank, dims);
    if (value != GR_VALUE_NONE)
        *slot = builder->graph->weight_count;
    return value;
}

bool gr_build_has_weight(const gr_builder *builder, const char *name) {
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK];
    return builder->lookup && builder->lookup(builder->context, name, &dtype, &rank, dims);
}

// ---- Step fields and states

uint32_t gr_build_step_field(gr_builder *builder, gr_step_field field) {
    static const int64_t rows[] = {GR_DIM_T, GR_DIM_T, GR_DIM_T, GR_DIM_R, GR_DIM_R};
    if (field > GR_STEP_MASK_BITS) {
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT, "step field %u is unknown", field);
        return GR_VALUE_NONE;
    }
    if (builder->status != GR_OK || builder->step_fields[field] != GR_VALUE_NONE)
        return builder->status == GR_OK ? builder->step_fields[field] : GR_VALUE_NONE;
    gr_value value = {.kind = GR_VALUE_STEP,
                      .dtype = GR_DTYPE_I32,
                      .index = field,
                      .rank = 1,
                      .dims = {rows[field]}};
    if (field == GR_STEP_MASK_BITS)
        value.rank = 2; // the second size is set by the MASK_BITS that reads it
    builder->step_fields[field] = gr_builder_value(builder, &value);
    return builder->step_fields[field];
}

uint32_t gr_build_state(gr_builder *builder, const gr_attrs_attention *attrs) {
    gr_graph *graph = builder->graph;
    gr_value value = {.kind = GR_VALUE_STATE, .dtype = GR_DTYPE_F32, .index = attrs->cache_layer};
    if (builder->status != GR_OK || !graph)
        return GR_VALUE_NONE;
    if (attrs->cache_layer != graph->cache_layer_count) {
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT,
                        "cache layer %u is asked for, %u is next", attrs->cache_layer,
                        graph->cache_layer_count);
        return GR_VALUE_NONE;
    }
    const gr_attrs_attention *copy = gr_builder_attrs(builder, attrs, sizeof *attrs);
    if (!copy ||
        !gr_builder_grow(builder, (void **)&graph->cache_layers, graph->cache_layer_count,
                         &graph->cache_layer_capacity, sizeof *graph->cache_layers) ||
        !gr_builder_grow(builder, (void **)&builder->states, graph->cache_layer_count,
                         &builder->state_capacity, sizeof *builder->states))
        return GR_VALUE_NONE;
    uint32_t state = gr_builder_value(builder, &value);
    if (state == GR_VALUE_NONE)
        return GR_VALUE_NONE;
    builder->states[graph->cache_layer_count] = state;
    graph->cache_layers[graph->cache_layer_count++] = copy;
    return state;
}

// ---- Outputs

void gr_build_layer(gr_builder *builder, int32_t layer) {
    builder->layer = layer < 0 ? -1 : layer;
}

void gr_build_output(gr_builder *builder, const char *name, uint32_t value) {
    gr_graph *graph = builder->graph;
    if (builder->status != GR_OK || !graph)
        return;
    if (value >= graph->value_count || graph->values[value].kind != GR_VALUE_ACTIVATION) {
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT, "output %s is not a computed value",
                        name);
        return;
    }
    char *copy = gr_builder_copy(builder, name, strlen(name) + 1);
    if (!copy || !gr_builder_grow(builder, (void **)&graph->outputs, graph->output_count,
                                  &graph->output_capacity, sizeof *graph->outputs))
        return;
    graph->outputs[graph->output_count++] = (gr_graph_output){.name = copy, .value = value};
}
