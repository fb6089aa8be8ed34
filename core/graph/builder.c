// SPDX-License-Identifier: Apache-2.0
// builder.c: appending values and nodes. Invariant: every value an appended node reads has a lower index
// than those it produces, so the node order is an execution order.
#include <stdlib.h>
#include <string.h>

#include "graph/internal.h"

void gr_build_fail(gr_builder *builder, gr_status code, const char *format, ...) {
    va_list arguments;
    if (builder->status != GR_OK)
        return;
    builder->status = builder->error.code = code;
    snprintf(builder->error.origin, sizeof builder->error.origin, "graph");
    va_start(arguments, format);
    vsnprintf(builder->error.message, sizeof builder->error.message, format, arguments);
    va_end(arguments);
}

static void out_of_memory(gr_builder *builder) {
    gr_build_fail(builder, GR_ERROR_OUT_OF_MEMORY, "no memory for the graph");
}

// Makes room for one more element; false with the sticky error.
static bool grow(gr_builder *builder, void **array, uint32_t count, uint32_t *capacity, size_t size) {
    if (builder->status != GR_OK)
        return false;
    if (count < *capacity)
        return true;
    uint32_t more = *capacity * 2 + 32;
    void *data = realloc(*array, more * size);
    if (!data) {
        out_of_memory(builder);
        return false;
    }
    *array = data;
    *capacity = more;
    return true;
}

gr_status gr_builder_create(gr_weight_lookup lookup, void *context, gr_builder **out_builder, gr_error *error) {
    *out_builder = NULL;
    gr_builder *builder = calloc(1, sizeof *builder);
    gr_graph *graph = calloc(1, sizeof *graph);
    if (!builder || !graph) {
        free(builder);
        free(graph);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph", "no memory for a graph");
    }
    *builder = (gr_builder){.graph = graph, .lookup = lookup, .lookup_context = context, .layer = -1};
    gr_error_init(&builder->error);
    *out_builder = builder;
    return GR_OK;
}

void gr_builder_destroy(gr_builder *builder) {
    if (!builder)
        return;
    gr_graph_destroy(builder->graph);
    free(builder);
}

gr_status gr_builder_finish(gr_builder *builder, gr_graph **out_graph, gr_error *error) {
    gr_graph *graph = builder->graph;
    *out_graph = NULL;
    if (builder->status == GR_OK && !graph)
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "the graph was handed over already");
    if (builder->status == GR_OK && !graph->output_count)
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "the graph has no output");
    if (builder->status != GR_OK)
        return gr_fail(error, builder->status, builder->error.origin, "%s", builder->error.message);
    graph->segment = (gr_segment){.struct_size = sizeof graph->segment,
                                  .value_count = graph->value_count,
                                  .value_stride = sizeof *graph->values,
                                  .node_count = graph->node_count,
                                  .node_stride = sizeof *graph->nodes,
                                  .values = graph->values,
                                  .nodes = graph->nodes};
    builder->graph = NULL;
    *out_graph = graph;
    return GR_OK;
}

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

// ---- Values

uint32_t gr_builder_value(gr_builder *builder, const gr_value *value) {
    gr_graph *graph = builder->graph;
    if (!grow(builder, (void **)&graph->values, graph->value_count, &graph->value_capacity, sizeof *graph->values))
        return GR_VALUE_NONE;
    gr_value *kept = &graph->values[graph->value_count];
    *kept = *value;
    kept->struct_size = sizeof *kept;
    kept->offset = GR_NO_OFFSET;
    for (uint32_t i = kept->rank; i < GR_MAX_RANK; i++)
        kept->dims[i] = 1;
    return graph->value_count++;
}

void *gr_build_alloc(gr_builder *builder, size_t bytes) {
    void *memory = builder->status == GR_OK ? gr_arena_alloc(&builder->graph->arena, bytes) : NULL;
    if (!memory)
        out_of_memory(builder);
    return memory;
}

bool gr_build_has_weight(const gr_builder *builder, const char *name) {
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK];
    return builder->lookup(builder->lookup_context, name, &dtype, &rank, dims);
}

static void shape_text(char *text, size_t capacity, uint32_t rank, const int64_t *dims) {
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < rank && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%lld", i ? " x " : "", (long long)dims[i]);
}

static bool check_weight(gr_builder *builder, const char *name, uint32_t rank, const int64_t *dims, gr_value *value) {
    uint32_t found_rank = 0;
    char wanted[96], found[96];
    if (!builder->lookup(builder->lookup_context, name, &value->dtype, &found_rank, value->dims)) {
        gr_build_fail(builder, GR_ERROR_CORRUPT, "tensor '%s' is missing", name);
        return false;
    }
    bool same = found_rank == rank;
    for (uint32_t i = 0; same && i < rank; i++)
        same = value->dims[i] == dims[i];
    if (!same) {
        shape_text(wanted, sizeof wanted, rank, dims);
        shape_text(found, sizeof found, found_rank, value->dims);
        gr_build_fail(builder, GR_ERROR_CORRUPT, "tensor '%s': expected shape %s, found %s", name, wanted, found);
    }
    return same;
}

uint32_t gr_build_weight(gr_builder *builder, const char *name, uint32_t rank, const int64_t *dims) {
    if (builder->status != GR_OK)
        return GR_VALUE_NONE;
    gr_graph *graph = builder->graph;
    gr_value value = {.kind = GR_VALUE_WEIGHT, .rank = rank, .index = graph->weight_count};
    if (!check_weight(builder, name, rank, dims, &value))
        return GR_VALUE_NONE;
    for (uint32_t i = 0; i < graph->weight_count; i++)
        if (strcmp(graph->weights[i].name, name) == 0)
            return graph->weights[i].value;
    char *kept = gr_arena_string(&graph->arena, name, strlen(name));
    if (!kept)
        out_of_memory(builder);
    if (!grow(builder, (void **)&graph->weights, graph->weight_count, &graph->weight_capacity, sizeof *graph->weights))
        return GR_VALUE_NONE;
    uint32_t index = gr_builder_value(builder, &value);
    if (index != GR_VALUE_NONE)
        graph->weights[graph->weight_count++] = (gr_graph_weight){.name = kept, .value = index, .dtype = value.dtype};
    return index;
}

uint32_t gr_build_step_field(gr_builder *builder, gr_step_field field) {
    static const int64_t sizes[] = {GR_DIM_T, GR_DIM_T, GR_DIM_T, GR_DIM_R, GR_DIM_R};
    if (builder->status != GR_OK)
        return GR_VALUE_NONE;
    if (field > GR_STEP_MASK_BITS) {
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "step field %u does not exist", field);
        return GR_VALUE_NONE;
    }
    for (uint32_t i = 0; i < builder->graph->value_count; i++)
        if (builder->graph->values[i].kind == GR_VALUE_STEP && builder->graph->values[i].index == field)
            return i;
    const gr_value value = {.kind = GR_VALUE_STEP, .dtype = GR_DTYPE_I32, .index = field, .rank = 1, .dims = {sizes[field]}};
    return gr_builder_value(builder, &value);
}

uint32_t gr_build_state(gr_builder *builder, const gr_attrs_attention *attrs) {
    gr_graph *graph = builder->graph;
    if (builder->status == GR_OK && attrs->cache_layer != graph->cache_layer_count)
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "cache layer %u declared out of order: the next is %u",
                      attrs->cache_layer, graph->cache_layer_count);
    gr_attrs_attention *kept = builder->status == GR_OK ? gr_build_alloc(builder, sizeof *kept) : NULL;
    if (!kept || !grow(builder, (void **)&graph->cache_layers, graph->cache_layer_count, &graph->cache_layer_capacity,
                       sizeof *graph->cache_layers))
        return GR_VALUE_NONE;
    *kept = *attrs;
    graph->cache_layers[graph->cache_layer_count++] = kept;
    const gr_value value = {.kind = GR_VALUE_STATE, .dtype = GR_DTYPE_F32, .index = attrs->cache_layer};
    return gr_builder_value(builder, &value);
}

void gr_build_layer(gr_builder *builder, int32_t layer) {
    builder->layer = layer;
}

void gr_build_output(gr_builder *builder, const char *name, uint32_t value) {
    gr_graph *graph = builder->graph;
    if (builder->status != GR_OK ||
        !grow(builder, (void **)&graph->outputs, graph->output_count, &graph->output_capacity, sizeof *graph->outputs))
        return;
    char *kept = gr_arena_string(&graph->arena, name, strlen(name));
    if (!kept || value >= graph->value_count || graph->values[value].kind != GR_VALUE_ACTIVATION)
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "output '%s' is not an activation", name);
    else
        graph->outputs[graph->output_count++] = (gr_graph_output){kept, value};
}

// ---- Nodes

static gr_node *append_node(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                            size_t attrs_bytes) {
    gr_graph *graph = builder->graph;
    if (!grow(builder, (void **)&graph->nodes, graph->node_count, &graph->node_capacity, sizeof *graph->nodes))
        return NULL;
    uint32_t *operands = gr_build_alloc(builder, (in_count + GR_MAX_RESULTS) * sizeof *operands);
    void *kept = gr_build_alloc(builder, attrs_bytes);
    if (!operands || !kept)
        return NULL;
    memcpy(operands, in, in_count * sizeof *operands);
    memcpy(kept, attrs, attrs_bytes);
    gr_node *node = &graph->nodes[graph->node_count++];
    *node = (gr_node){.struct_size = sizeof *node, .op = op, .in_count = in_count, .in = operands,
                      .out = operands + in_count, .attrs = kept, .layer = builder->layer};
    return node;
}

// Remembers for what a weight is used: MATMUL decides its layout even where EMBED reads it too.
static void note_consumer(gr_graph *graph, gr_op op, const uint32_t *in, uint32_t in_count) {
    for (uint32_t i = 0; i < in_count; i++) {
        if (in[i] == GR_VALUE_NONE || graph->values[in[i]].kind != GR_VALUE_WEIGHT)
            continue;
        gr_graph_weight *weight = &graph->weights[graph->values[in[i]].index];
        if (!weight->consumer || (op == GR_OP_MATMUL && i == 1))
            weight->consumer = op;
    }
}

static bool operands_exist(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count) {
    const gr_op_info *info = gr_op_info_find(op);
    if (builder->status != GR_OK)
        return false;
    if (!info || in_count < info->min_in || in_count > info->max_in) {
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "%s: wrong number of operands: %u", info ? info->name : "?", in_count);
        return false;
    }
    for (uint32_t i = 0; i < in_count; i++) {
        if (in[i] == GR_VALUE_NONE ? i >= info->min_in || info->composite || op == GR_OP_MATMUL : in[i] < builder->graph->value_count)
            continue;
        gr_build_fail(builder, GR_ERROR_INVALID_ARGUMENT, "%s: operand %u does not exist", info->name, i);
        return false;
    }
    return true;
}

bool gr_builder_primitive(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                          size_t attrs_bytes, uint32_t *out_values) {
    gr_value results[GR_MAX_RESULTS];
    uint32_t count = 0;
    out_values[0] = GR_VALUE_NONE;
    while (in_count && in[in_count - 1] == GR_VALUE_NONE)
        in_count--; // absent operands at the end are not listed
    if (!operands_exist(builder, op, in, in_count))
        return false;
    memset(results, 0, sizeof results);
    if (!gr_shape_infer(builder, op, in, in_count, attrs, results, &count))
        return false;
    gr_node *node = append_node(builder, op, in, in_count, attrs, attrs_bytes);
    if (!node)
        return false;
    uint32_t *out = (uint32_t *)(uintptr_t)node->out;
    node->out_count = count;
    note_consumer(builder->graph, op, in, in_count);
    for (uint32_t i = 0; i < count; i++)
        out_values[i] = out[i] = gr_builder_value(builder, &results[i]);
    return builder->status == GR_OK;
}

uint32_t gr_builder_open(gr_builder *builder, gr_op op, const uint32_t *in, uint32_t in_count, const void *attrs,
                         size_t attrs_bytes) {
    if (!operands_exist(builder, op, in, in_count) || !append_node(builder, op, in, in_count, attrs, attrs_bytes))
        return UINT32_MAX;
    return builder->graph->node_count - 1;
}

void gr_builder_close(gr_builder *builder, uint32_t index, const uint32_t *out, uint32_t out_count) {
    if (builder->status != GR_OK)
        return;
    gr_node *node = &builder->graph->nodes[index];
    memcpy((uint32_t *)(uintptr_t)node->out, out, out_count * sizeof *out);
    node->out_count = out_count;
    node->subtree = builder->graph->node_count - index - 1;
}

// ---- Reading a graph

const gr_segment *gr_graph_segment(const gr_graph *graph) {
    return &graph->segment;
}
uint32_t gr_graph_weight_count(const gr_graph *graph) {
    return graph->weight_count;
}
const gr_graph_weight *gr_graph_weight_at(const gr_graph *graph, uint32_t index) {
    return &graph->weights[index];
}
uint32_t gr_graph_output_count(const gr_graph *graph) {
    return graph->output_count;
}
const gr_graph_output *gr_graph_output_at(const gr_graph *graph, uint32_t index) {
    return &graph->outputs[index];
}
uint32_t gr_graph_cache_layer_count(const gr_graph *graph) {
    return graph->cache_layer_count;
}
const gr_attrs_attention *gr_graph_cache_layer(const gr_graph *graph, uint32_t index) {
    return graph->cache_layers[index];
}
