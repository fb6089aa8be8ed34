// SPDX-License-Identifier: Apache-2.0
// bench_work.c: what a prompt and a step of decoding have to compute and to read, from the graph alone.
#include "cli/bench.h"
#include "model/model.h"

static double smaller(double a, double b) {
    return a < b ? a : b;
}

// Which limit holds for products with weights of this type and activations of 8 bits, or 16 where weights are floats.
gr_limit_kind gr_bench_limit_kind(gr_dtype dtype) {
    switch (dtype) {
    case GR_DTYPE_Q4_0:
    case GR_DTYPE_Q4_1:
    case GR_DTYPE_Q2_K:
    case GR_DTYPE_Q3_K:
    case GR_DTYPE_Q4_K: return GR_LIMIT_INT4;
    case GR_DTYPE_F16:
    case GR_DTYPE_BF16: return GR_LIMIT_BF16;
    case GR_DTYPE_F32:
    case GR_DTYPE_F64: return GR_LIMIT_F32;
    default: return GR_LIMIT_INT8;
    }
}

static double weight_bytes(const gr_value *value, uint64_t rows) {
    uint64_t count = 1;
    for (uint32_t i = rows ? 1 : 0; i < value->rank; i++)
        count *= (uint64_t)value->dims[i];
    count *= rows ? rows : 1;
    return (double)(count / gr_dtype_block(value->dtype) * gr_dtype_block_bytes(value->dtype));
}

static void add_weights(const gr_segment *segment, const gr_node *node, const gr_bench_plan *plan, gr_bench_work *work) {
    for (uint32_t i = 0; i < node->in_count; i++) {
        const gr_value *value = node->in[i] == GR_VALUE_NONE ? NULL : gr_segment_value(segment, node->in[i]);
        if (value && value->kind == GR_VALUE_WEIGHT)
            work->weight_bytes += weight_bytes(value, node->op == GR_OP_EMBED ? plan->batch : 0);
    }
}

static void add_products(const gr_segment *segment, uint32_t index, const gr_bench_plan *plan, gr_bench_work *work) {
    const gr_node *node = gr_segment_node(segment, index);
    const gr_value *weights = gr_segment_value(segment, node->in[1]);
    uint64_t bytes, operations;
    gr_node_cost(segment, index, plan->batch, plan->batch, 0, &bytes, &operations);
    work->decode_products += (double)operations;
    gr_node_cost(segment, index, plan->prompt, 1, 0, &bytes, &operations);
    if (plan->prompt)
        work->prefill_products[gr_bench_limit_kind(weights->dtype)] += (double)operations;
}

// The sum over positions from `begin` of the keys each sees: itself and those before, at most `window` of them.
static double pairs(uint64_t begin, uint64_t count, uint64_t window) {
    double sum = 0;
    for (uint64_t i = begin; i < begin + count; i++)
        sum += window ? smaller((double)(i + 1), (double)window) : (double)(i + 1);
    return sum;
}

static void add_attention(const gr_segment *segment, uint32_t index, const gr_bench_plan *plan, gr_dtype cache_type,
                          gr_bench_work *work) {
    const gr_attrs_attention *attrs = gr_segment_node(segment, index)->attrs;
    uint64_t bytes, none, operations;
    gr_node_cost(segment, index, 1, 1, 0, &bytes, &none);
    gr_node_cost(segment, index, 1, 1, 1, &bytes, &operations); // of one query and one key
    bytes = attrs->kv_heads * (gr_dtype_row_bytes(cache_type, attrs->k_dim) + gr_dtype_row_bytes(cache_type, attrs->v_dim));
    uint64_t steps = plan->gen > 1 ? plan->gen - 1 : 1, depth = plan->depth ? plan->depth : 1;
    double visible = pairs(depth, steps, attrs->window) / (double)steps * plan->batch;
    work->cache_bytes += visible * (double)bytes;
    work->decode_attention += visible * (double)(operations - none);
    work->prefill_attention += pairs(0, plan->prompt, attrs->window) * (double)(operations - none);
}

gr_status gr_bench_count(const char *path, const gr_cli_options *options, const gr_bench_plan *plan, gr_bench_work *out_work,
                         gr_error *error) {
    gr_model_source *source = NULL;
    gr_graph *graph = NULL;
    const gr_model_overrides overrides = {.sliding_window =
                                              options->has_sliding_window ? options->sliding_window : GR_WINDOW_FROM_FILE};
    *out_work = (gr_bench_work){0};
    gr_status status = gr_model_source_open(path, &overrides, &source, error);
    if (status == GR_OK)
        status = gr_model_source_graph(source, &graph, error);
    const gr_segment *segment = status == GR_OK ? gr_graph_segment(graph) : NULL;
    for (uint32_t i = 0; segment && i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        if (node->subtree) // a composite: its primitives follow
            continue;
        add_weights(segment, node, plan, out_work);
        if (node->op == GR_OP_MATMUL)
            add_products(segment, i, plan, out_work);
        else if (node->op == GR_OP_ATTENTION)
            add_attention(segment, i, plan, options->cache_type, out_work);
    }
    gr_graph_destroy(graph);
    gr_model_source_close(source);
    return status;
}

double gr_bench_prefill_products(const gr_bench_work *work) {
    double sum = 0;
    for (int kind = 0; kind < GR_LIMIT_KINDS; kind++)
        sum += work->prefill_products[kind];
    return sum;
}

double gr_bench_least_seconds(const gr_bench_work *work, const gr_limits *limits) {
    double seconds = 0;
    for (int kind = 0; kind < GR_LIMIT_KINDS; kind++) {
        if (work->prefill_products[kind] <= 0)
            continue;
        if (limits->products[kind].rate <= 0)
            return 0;
        seconds += work->prefill_products[kind] / limits->products[kind].rate;
    }
    return seconds;
}
