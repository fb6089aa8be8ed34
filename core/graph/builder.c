// SPDX-License-Identifier: Apache-2.0
// builder.c: growing a graph: memory, the sticky error, values, nodes, and composites being opened.
#include "graph/builder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

gr_status gr_builder_create(gr_weight_lookup lookup, void *context, gr_builder **out_builder,
                            gr_error *error) {
    *out_builder = NULL;
    gr_builder *builder = calloc(1, sizeof *builder);
    gr_graph *graph = calloc(1, sizeof *graph);
    if (!builder || !graph) {
        free(builder);
        free(graph);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "graph", "no memory for a graph");
    }
    builder->graph = graph;
    builder->lookup = lookup;
    builder->context = context;
    builder->layer = -1;
    gr_error_init(&builder->error);
    for (size_t i = 0; i < sizeof builder->step_fields / sizeof builder->step_fields[0]; i++)
        builder->step_fields[i] = GR_VALUE_NONE;
    *out_builder = builder;
    return GR_OK;
}

void gr_builder_destroy(gr_builder *builder) {
    if (!builder)
        return;
    gr_graph_destroy(builder->graph);
    free(builder->names);
    free(builder->states);
    free(builder);
}

gr_status gr_builder_finish(gr_builder *builder, gr_graph **out_graph, gr_error *error) {
    *out_graph = NULL;
    if (builder->status == GR_OK && !builder->graph)
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT, "the graph was handed over before");
    if (builder->status == GR_OK && !builder->graph->output_count)
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT, "the graph has no output");
    if (builder->status != GR_OK)
        return gr_fail(error, builder->status, builder->error.origin, "%s", builder->error.message);
    gr_graph *graph = builder->graph;
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

// ---- The sticky error

// Where the builder is, for messages: "layer 3: ATTN_BLOCK: QKV: ".
static void add_place(const gr_builder *builder, char *text, size_t capacity) {
    size_t used = 0;
    text[0] = '\0';
    if (builder->layer >= 0)
        used = (size_t)snprintf(text, capacity, "layer %d: ", builder->layer);
    for (uint32_t i = 0; i < builder->open_count && used < capacity; i++) {
        const gr_op_info *info = gr_op_info_find(builder->graph->nodes[builder->open[i]].op);
        used += (size_t)snprintf(text + used, capacity - used, "%s: ", info->name);
    }
}

static bool fail_list(gr_builder *builder, gr_status code, const char *origin, const char *place,
                      const char *format, va_list arguments) {
    char message[sizeof builder->error.message];
    if (builder->status != GR_OK)
        return false;
    vsnprintf(message, sizeof message, format, arguments);
    builder->status = code;
    gr_fail(&builder->error, code, origin, "%s%s", place, message);
    return false;
}

bool gr_builder_fail(gr_builder *builder, gr_status code, const char *format, ...) {
    char place[128] = "";
    va_list arguments;
    if (builder->graph)
        add_place(builder, place, sizeof place);
    va_start(arguments, format);
    fail_list(builder, code, "graph", place, format, arguments);
    va_end(arguments);
    return false;
}

void gr_build_fail(gr_builder *builder, gr_status code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail_list(builder, code == GR_OK ? GR_ERROR_INTERNAL : code, "arch", "", format, arguments);
    va_end(arguments);
}

static bool usable(gr_builder *builder) {
    if (builder->status == GR_OK && !builder->graph)
        gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT, "the graph was handed over before");
    return builder->status == GR_OK;
}

// ---- Memory

void *gr_builder_alloc(gr_builder *builder, uint64_t bytes) {
    void *memory = usable(builder) ? gr_arena_alloc(&builder->graph->arena, bytes) : NULL;
    if (!memory)
        gr_builder_fail(builder, GR_ERROR_OUT_OF_MEMORY, "no memory for the graph");
    return memory;
}

void *gr_build_alloc(gr_builder *builder, size_t bytes) {
    return gr_builder_alloc(builder, bytes);
}

void *gr_builder_copy(gr_builder *builder, const void *source, uint64_t bytes) {
    void *copy = gr_builder_alloc(builder, bytes);
    if (copy && bytes)
        memcpy(copy, source, (size_t)bytes);
    return copy;
}

void *gr_builder_attrs(gr_builder *builder, const void *attrs, uint32_t bytes) {
    void *copy = attrs ? gr_builder_copy(builder, attrs, bytes) : NULL;
    if (copy)
        memcpy(copy, &bytes, sizeof bytes); // struct_size stands first
    return copy;
}

bool gr_builder_grow(gr_builder *builder, void **array, uint32_t count, uint32_t *capacity,
                     size_t size) {
    if (count < *capacity)
        return true;
    uint64_t wanted = *capacity ? (uint64_t)*capacity * 2 : 32;
    void *grown = wanted < UINT32_MAX / 2 && wanted <= SIZE_MAX / size
                      ? realloc(*array, (size_t)wanted * size)
                      : NULL;
    if (!grown)
        return gr_builder_fail(builder, GR_ERROR_OUT_OF_MEMORY, "no memory for the graph");
    *array = grown;
    *capacity = (uint32_t)wanted;
    return true;
}

// The inverse frequencies as the graph's own, shared with every equal table.
static const double *copy_frequencies(gr_builder *builder, const double *inv_freq, uint32_t count) {
    uint64_t bytes = (uint64_t)count * sizeof *inv_freq;
    for (const gr_rope_copy *known = builder->ropes; known; known = known->next)
        if (known->count == count && !memcmp(known->inv_freq, inv_freq, (size_t)bytes))
            return known->inv_freq;
    gr_rope_copy *entry = gr_builder_alloc(builder, sizeof *entry);
    const double *copy = entry ? gr_builder_copy(builder, inv_freq, bytes) : NULL;
    if (!copy)
        return NULL;
    *entry = (gr_rope_copy){.next = builder->ropes, .count = count, .inv_freq = copy};
    builder->ropes = entry;
    return copy;
}

const gr_attrs_attention *gr_builder_attention(gr_builder *builder,
                                               const gr_attrs_attention *attrs) {
    return builder->open_count ? attrs : gr_builder_attrs(builder, attrs, sizeof *attrs);
}

const gr_attrs_rope *gr_builder_rope(gr_builder *builder, const gr_attrs_rope *attrs) {
    if (builder->open_count)
        return attrs;
    gr_attrs_rope *copy = gr_builder_attrs(builder, attrs, sizeof *attrs);
    if (copy && copy->inv_freq && copy->rotary_dim / 2)
        copy->inv_freq = copy_frequencies(builder, copy->inv_freq, copy->rotary_dim / 2);
    return copy;
}

// ---- Values and nodes

// Whether the bytes of a value stay countable at any step size.
static bool size_ok(const gr_value *value) {
    uint64_t elements = 1;
    for (uint32_t i = 0; i < value->rank; i++) {
        uint64_t dim = value->dims[i] < 0 ? UINT32_MAX : (uint64_t)value->dims[i];
        if (!gr_mul_u64(elements, dim, &elements))
            return false;
    }
    return elements <= UINT64_MAX / 16;
}

uint32_t gr_builder_value(gr_builder *builder, const gr_value *like) {
    gr_graph *graph = builder->graph;
    char text[192];
    if (!usable(builder))
        return GR_VALUE_NONE;
    if (!size_ok(like)) {
        gr_builder_fail(builder, GR_ERROR_OUT_OF_RANGE, "the size of %s overflows",
                        gr_value_text(graph, like, text, sizeof text));
        return GR_VALUE_NONE;
    }
    if (!gr_builder_grow(builder, (void **)&graph->values, graph->value_count,
                         &graph->value_capacity, sizeof *graph->values))
        return GR_VALUE_NONE;
    gr_value *value = &graph->values[graph->value_count];
    *value = *like;
    value->struct_size = sizeof *value;
    value->flags = 0;
    value->offset = GR_NO_OFFSET;
    for (uint32_t i = value->rank; i < GR_MAX_RANK; i++)
        value->dims[i] = 1;
    return graph->value_count++;
}

// Appends a node without outputs. Trailing absent operands are dropped.
static gr_node *add_node(gr_builder *builder, gr_op op, const void *attrs, uint32_t in_count,
                         const uint32_t *in) {
    static const gr_attrs_none none = {sizeof none};
    gr_graph *graph = builder->graph;
    const gr_op_info *info = gr_op_info_find(op);
    while (in_count > info->min_in && in[in_count - 1] == GR_VALUE_NONE)
        in_count--;
    uint32_t *operands = gr_builder_copy(builder, in, (uint64_t)in_count * sizeof *in);
    if (!operands || !gr_builder_grow(builder, (void **)&graph->nodes, graph->node_count,
                                      &graph->node_capacity, sizeof *graph->nodes))
        return NULL;
    gr_node *node = &graph->nodes[graph->node_count];
    *node = (gr_node){.struct_size = sizeof *node,
                      .op = op,
                      .in_count = in_count,
                      .in = operands,
                      .attrs = attrs ? attrs : &none,
                      .layer = builder->layer};
    graph->node_count++;
    return node;
}

static bool operands_ok(gr_builder *builder, gr_op op, uint32_t in_count, const uint32_t *in) {
    const gr_op_info *info = gr_op_info_find(op);
    if (!usable(builder))
        return false;
    if (!info)
        return gr_builder_fail(builder, GR_ERROR_UNSUPPORTED, "op %u is unknown", op);
    if (in_count < info->min_in || in_count > info->max_in)
        return gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT,
                               "%s takes %u to %u operands, not %u", info->name, info->min_in,
                               info->max_in, in_count);
    for (uint32_t i = 0; i < in_count; i++)
        if (in[i] != GR_VALUE_NONE && in[i] >= builder->graph->value_count)
            return gr_builder_fail(builder, GR_ERROR_INVALID_ARGUMENT,
                                   "%s: operand %u is no value of this graph", info->name, i);
    return true;
}

void gr_builder_node(gr_builder *builder, gr_op op, const void *attrs, uint32_t in_count,
                     const uint32_t *in, uint32_t *out) {
    const gr_op_info *info = gr_op_info_find(op);
    gr_shape_call call = {.builder = builder, .op = op, .in_count = in_count, .attrs = attrs};
    uint32_t out_count = info ? info->max_out : 1;
    for (uint32_t i = 0; i < out_count; i++)
        out[i] = GR_VALUE_NONE;
    if (!operands_ok(builder, op, in_count, in))
        return;
    for (uint32_t i = 0; i < in_count; i++)
        call.in[i] = in[i] == GR_VALUE_NONE ? NULL : &builder->graph->values[in[i]];
    if (!gr_shape_infer(&call))
        return;
    uint32_t *results = gr_builder_alloc(builder, (uint64_t)out_count * sizeof *out);
    for (uint32_t i = 0; results && i < out_count; i++)
        results[i] = gr_builder_value(builder, &call.out[i]);
    gr_node *node = usable(builder) ? add_node(builder, op, attrs, in_count, in) : NULL;
    if (!node)
        return;
    node->out_count = out_count;
    node->out = results;
    memcpy(out, results, out_count * sizeof *out);
}

void gr_builder_begin(gr_builder *builder, gr_op op, const void *attrs, uint32_t in_count,
                      const uint32_t *in) {
    if (!operands_ok(builder, op, in_count, in))
        return;
    if (builder->open_count == GR_MAX_NESTING) {
        gr_builder_fail(builder, GR_ERROR_INTERNAL, "composites nest deeper than %d",
                        GR_MAX_NESTING);
        return;
    }
    if (add_node(builder, op, attrs, in_count, in))
        builder->open[builder->open_count++] = builder->graph->node_count - 1;
}

void gr_builder_end(gr_builder *builder, uint32_t out_count, const uint32_t *out) {
    if (!usable(builder))
        return;
    assert(builder->open_count > 0);
    uint32_t index = builder->open[--builder->open_count];
    uint32_t *results = gr_builder_copy(builder, out, (uint64_t)out_count * sizeof *out);
    if (!results)
        return;
    gr_node *node = &builder->graph->nodes[index];
    node->out = results;
    node->out_count = out_count;
    node->subtree = builder->graph->node_count - index - 1;
}
