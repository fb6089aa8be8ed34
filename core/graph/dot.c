// SPDX-License-Identifier: Apache-2.0
// dot.c: a graph as Graphviz text, composites as boxes around their decomposition.
#include "base/strbuf.h"
#include "graph/graph.h"

#include <string.h>

static void write_node(gr_strbuf *text, const gr_segment *segment, uint32_t index) {
    const gr_node *node = gr_segment_node(segment, index);
    const char *name = gr_op_info_find(node->op)->name;
    if (node->subtree) {
        gr_strbuf_format(text, "subgraph cluster_%u { label=\"%s\";\n", index, name);
        return;
    }
    gr_strbuf_format(text, "n%u [label=\"%s\"];\n", index, name);
    for (uint32_t i = 0; i < node->in_count; i++)
        if (node->in[i] != GR_VALUE_NONE)
            gr_strbuf_format(text, "v%u -> n%u;\n", node->in[i], index);
    for (uint32_t i = 0; i < node->out_count; i++)
        gr_strbuf_format(text, "n%u -> v%u;\n", index, node->out[i]);
}

static void write_range(gr_strbuf *text, const gr_segment *segment, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end;) {
        uint32_t subtree = gr_segment_node(segment, i)->subtree;
        write_node(text, segment, i);
        if (subtree) {
            write_range(text, segment, i + 1, i + 1 + subtree);
            gr_strbuf_text(text, "}\n");
        }
        i += 1 + subtree;
    }
}

size_t gr_graph_dot(const gr_graph *graph, char *out_text, size_t capacity) {
    gr_strbuf text = {0};
    const gr_segment *segment = gr_graph_segment(graph);
    gr_strbuf_text(&text, "digraph model {\nnode [shape=box];\n");
    write_range(&text, segment, 0, segment->node_count);
    gr_strbuf_text(&text, "}\n");
    size_t size = text.size;
    if (capacity) {
        size_t count = size < capacity ? size : capacity - 1;
        memcpy(out_text, gr_strbuf_cstr(&text), count);
        out_text[count] = '\0';
    }
    gr_strbuf_deinit(&text);
    return size;
}
