// SPDX-License-Identifier: Apache-2.0
// dot.c: a graph as Graphviz text: a box a primitive, a frame a composite, an edge a value.
#include <inttypes.h>
#include <string.h>

#include "base/strbuf.h"
#include "graph/builder.h"

// Quoted for dot: quotes and backslashes escaped, control characters replaced.
static void add_quoted(gr_strbuf *text, const char *label) {
    gr_strbuf_add(text, "\"", 1);
    for (; *label; label++) {
        char byte = (unsigned char)*label < 32 ? '?' : *label;
        if (byte == '"' || byte == '\\')
            gr_strbuf_add(text, "\\", 1);
        gr_strbuf_add(text, &byte, 1);
    }
    gr_strbuf_add(text, "\"", 1);
}

static void add_edges(gr_strbuf *text, const gr_graph *graph, const uint32_t *producer,
                      uint32_t index) {
    const gr_node *node = &graph->nodes[index];
    char label[192];
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] == GR_VALUE_NONE)
            continue;
        if (producer[node->in[i]] != UINT32_MAX)
            gr_strbuf_format(text, "  n%u -> n%u [label=", producer[node->in[i]], index);
        else
            gr_strbuf_format(text, "  v%u -> n%u [label=", node->in[i], index);
        add_quoted(text, gr_value_text(graph, &graph->values[node->in[i]], label, sizeof label));
        gr_strbuf_text(text, "];\n");
    }
}

static void add_nodes(gr_strbuf *text, const gr_graph *graph) {
    uint32_t ends[GR_MAX_NESTING], depth = 0;
    for (uint32_t i = 0; i <= graph->node_count; i++) {
        for (; depth && ends[depth - 1] == i; depth--)
            gr_strbuf_text(text, "  }\n");
        if (i == graph->node_count)
            break;
        const gr_node *node = &graph->nodes[i];
        const char *name = gr_op_info_find(node->op)->name;
        if (!node->subtree) {
            gr_strbuf_format(text, "  n%u [shape=box, label=\"%s\"];\n", i, name);
            continue;
        }
        gr_strbuf_format(text, "  subgraph cluster_%u { label=\"%s", i, name);
        if (node->layer >= 0)
            gr_strbuf_format(text, " layer %" PRId32, node->layer);
        gr_strbuf_text(text, "\";\n");
        ends[depth++] = i + 1 + node->subtree;
    }
}

static void add_leaves(gr_strbuf *text, const gr_graph *graph, const uint32_t *producer) {
    static const char *const fields[] = {"tokens", "positions", "row_seq", "output_rows",
                                         "mask_bits"};
    for (uint32_t i = 0; i < graph->value_count; i++) {
        const gr_value *value = &graph->values[i];
        char state[32];
        const char *label = state;
        snprintf(state, sizeof state, "cache %u", value->index);
        if (value->kind == GR_VALUE_ACTIVATION || producer[i] != UINT32_MAX)
            continue;
        if (value->kind == GR_VALUE_WEIGHT)
            label = graph->weights[value->index].name;
        else if (value->kind == GR_VALUE_STEP)
            label = fields[value->index];
        gr_strbuf_format(text, "  v%u [shape=ellipse, label=", i);
        add_quoted(text, label);
        gr_strbuf_text(text, "];\n");
    }
}

size_t gr_graph_dot(const gr_graph *graph, char *out_text, size_t capacity) {
    gr_strbuf text = {0};
    gr_arena arena = {0};
    uint32_t *producer = gr_arena_alloc(&arena, (uint64_t)graph->value_count * sizeof *producer);
    for (uint32_t i = 0; producer && i < graph->value_count; i++)
        producer[i] = UINT32_MAX;
    for (uint32_t i = 0; producer && i < graph->node_count; i++)
        for (uint32_t j = 0; !graph->nodes[i].subtree && j < graph->nodes[i].out_count; j++)
            producer[graph->nodes[i].out[j]] = i;
    gr_strbuf_text(&text, "digraph gregale {\n  rankdir=TB;\n");
    if (producer)
        add_leaves(&text, graph, producer);
    add_nodes(&text, graph);
    for (uint32_t i = 0; producer && i < graph->node_count; i++)
        if (!graph->nodes[i].subtree)
            add_edges(&text, graph, producer, i);
    for (uint32_t i = 0; producer && i < graph->output_count; i++) {
        gr_strbuf_format(&text, "  o%u [shape=doublecircle, label=", i);
        add_quoted(&text, graph->outputs[i].name);
        gr_strbuf_format(&text, "];\n  n%u -> o%u;\n", producer[graph->outputs[i].value], i);
    }
    gr_strbuf_text(&text, "}\n");
    size_t needed = producer && !text.failed ? text.size : 0;
    if (capacity) {
        size_t kept = needed < capacity ? needed : capacity - 1;
        if (kept)
            memcpy(out_text, text.data, kept);
        out_text[kept] = '\0';
    }
    gr_arena_deinit(&arena);
    gr_strbuf_deinit(&text);
    return needed;
}
