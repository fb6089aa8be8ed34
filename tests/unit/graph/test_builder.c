// SPDX-License-Identifier: Apache-2.0
// Building graphs: structure of decompositions, interning, errors that name what is wrong.
#include "graphs.h"

#include "graph/builder.h"

static void test_op_table_is_whole(void **state) {
    (void)state;
    assert_null(gr_op_info_find(0));
    assert_null(gr_op_info_find(17));
    assert_null(gr_op_info_find(GR_OP_LIMIT));
    const gr_op_info *info = gr_op_info_find(GR_OP_QKV);
    assert_string_equal(info->name, "QKV");
    assert_true(info->composite);
    assert_int_equal(info->min_in, 10);
    assert_int_equal(info->max_in, 12);
    assert_int_equal(info->attrs_bytes, sizeof(gr_attrs_block));
    for (gr_op op = 0; op < GR_OP_LIMIT; op++)
        if ((info = gr_op_info_find(op))) {
            assert_true(info->max_in <= GR_NODE_MAX_IN);
            assert_true(info->max_out <= GR_NODE_MAX_OUT);
        }
}

static void expect_ops(const gr_graph *graph, const gr_op *ops, const uint32_t *subtrees,
                       uint32_t count) {
    const gr_segment *segment = gr_graph_segment(graph);
    assert_int_equal(segment->node_count, count);
    for (uint32_t i = 0; i < count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        assert_int_equal(node->op, ops[i]);
        assert_int_equal(node->subtree, subtrees[i]);
        assert_int_equal(node->flags, 0);
        assert_int_equal(node->struct_size, sizeof *node);
    }
}

static void test_decoder_decomposes_in_preorder(void **state) {
    (void)state;
    static const gr_op ops[] = {
        GR_OP_EMBED,     GR_OP_ATTN_BLOCK,  GR_OP_QKV,         GR_OP_RMS_NORM,  GR_OP_MATMUL,
        GR_OP_MATMUL,    GR_OP_MATMUL,      GR_OP_ROPE,        GR_OP_ROPE,      GR_OP_KV_WRITE,
        GR_OP_ATTENTION, GR_OP_MATMUL,      GR_OP_ADD,         GR_OP_FFN_BLOCK, GR_OP_GATED_FFN,
        GR_OP_RMS_NORM,  GR_OP_MATMUL,      GR_OP_MATMUL,      GR_OP_GLU,       GR_OP_MATMUL,
        GR_OP_ADD,       GR_OP_GATHER_ROWS, GR_OP_NORM_MATMUL, GR_OP_RMS_NORM,  GR_OP_MATMUL};
    static const uint32_t subtrees[] = {0, 11, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                        7, 5,  0, 0, 0, 0, 0, 0, 0, 2, 0, 0};
    gr_graph *graph = decoder(1, false);
    expect_ops(graph, ops, subtrees, sizeof ops / sizeof ops[0]);
    gr_graph_destroy(graph);
}

static void test_composite_outputs_are_its_subtrees(void **state) {
    (void)state;
    gr_graph *graph = decoder(3, true);
    const gr_segment *segment = gr_graph_segment(graph);
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        for (uint32_t o = 0; node->subtree && o < node->out_count; o++) {
            uint32_t found = 0;
            for (uint32_t j = i + 1; j <= i + node->subtree; j++) {
                const gr_node *inner = gr_segment_node(segment, j);
                assert_true(j + inner->subtree <= i + node->subtree);
                for (uint32_t k = 0; !inner->subtree && k < inner->out_count; k++)
                    found += inner->out[k] == node->out[o];
            }
            assert_int_equal(found, 1);
        }
    }
    gr_graph_destroy(graph);
}

// Every value a primitive makes is made once, and before it is read.
static void test_graph_is_single_assignment(void **state) {
    (void)state;
    gr_graph *graph = decoder(2, true);
    const gr_segment *segment = gr_graph_segment(graph);
    bool *made = calloc(segment->value_count, sizeof *made);
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        for (uint32_t j = 0; !node->subtree && j < node->in_count; j++)
            if (node->in[j] != GR_VALUE_NONE &&
                gr_segment_value(segment, node->in[j])->kind == GR_VALUE_ACTIVATION)
                assert_true(made[node->in[j]]);
        for (uint32_t j = 0; !node->subtree && j < node->out_count; j++) {
            assert_false(made[node->out[j]]);
            made[node->out[j]] = true;
        }
    }
    free(made);
    gr_graph_destroy(graph);
}

static void test_blocks_share_attributes_with_their_parts(void **state) {
    (void)state;
    gr_graph *graph = decoder(2, true);
    const gr_segment *segment = gr_graph_segment(graph);
    const gr_attrs_block *block = NULL;
    const double *table = NULL;
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        if (node->op == GR_OP_ATTN_BLOCK)
            block = node->attrs;
        if (node->op == GR_OP_ROPE) {
            const gr_attrs_rope *rope = node->attrs;
            assert_ptr_equal(rope, block->rope_q);
            assert_true(!table || table == rope->inv_freq); // both layers read one table
            table = rope->inv_freq;
        }
        if (node->op == GR_OP_ATTENTION || node->op == GR_OP_KV_WRITE)
            assert_ptr_equal(node->attrs, block->attention);
        assert_int_equal(*(const uint32_t *)node->attrs, gr_op_info_find(node->op)->attrs_bytes);
    }
    assert_ptr_not_equal(table, rope_attrs().inv_freq);
    assert_memory_equal(table, rope_attrs().inv_freq, HEAD_DIM / 2 * sizeof *table);
    gr_graph_destroy(graph);
}

static void test_optional_operands(void **state) {
    (void)state;
    gr_graph *graph = decoder(1, true);
    const gr_segment *segment = gr_graph_segment(graph);
    const gr_node *block = gr_segment_node(segment, 1), *qkv = gr_segment_node(segment, 2);
    assert_int_equal(block->in_count, 13); // no bias behind Wo
    assert_int_equal(qkv->in_count, 12);
    assert_int_equal(qkv->in[7], GR_VALUE_NONE);
    assert_int_equal(qkv->subtree, 9); // two norms more
    assert_int_equal(gr_segment_node(segment, 7)->op, GR_OP_RMS_NORM);
    assert_int_equal(gr_segment_node(segment, 4)->in_count, 3);
    assert_int_equal(gr_segment_node(segment, 6)->in_count, 2); // v has no bias
    gr_graph_destroy(graph);
}

static void test_weights_are_interned_and_know_their_reader(void **state) {
    (void)state;
    gr_graph *graph = decoder(40, false);
    assert_int_equal(gr_graph_weight_count(graph), 40 * 9 + 2);
    for (uint32_t i = 0; i < gr_graph_weight_count(graph); i++) {
        const gr_graph_weight *w = gr_graph_weight_at(graph, i);
        const gr_value *value = gr_segment_value(gr_graph_segment(graph), w->value);
        assert_int_equal(value->kind, GR_VALUE_WEIGHT);
        assert_int_equal(value->index, i);
        assert_int_equal(value->dtype, w->dtype);
        assert_int_equal(w->consumer, strstr(w->name, "norm") || strstr(w->name, "final")
                                          ? GR_OP_RMS_NORM
                                          : GR_OP_MATMUL);
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(w->name, gr_graph_weight_at(graph, j)->name);
    }
    assert_string_equal(gr_graph_weight_at(graph, 0)->name,
                        "embed/96x64/Q8_0"); // read by EMBED as well
    assert_null(gr_graph_weight_at(graph, 40 * 9 + 2));
    assert_int_equal(gr_graph_cache_layer_count(graph), 40);
    assert_int_equal(gr_graph_cache_layer(graph, 39)->cache_layer, 39);
    assert_null(gr_graph_cache_layer(graph, 40));
    assert_int_equal(gr_graph_output_count(graph), 1);
    assert_string_equal(gr_graph_output_at(graph, 0)->name, "logits");
    gr_graph_destroy(graph);
}

static uint32_t input(gr_builder *b, const char *table) {
    return gr_build_embed(b, weight(b, table), gr_build_step_field(b, GR_STEP_TOKENS));
}

static void test_shape_errors_name_both_sides(void **state) {
    (void)state;
    const uint32_t none = GR_VALUE_NONE;
    gr_builder *b = builder_new();
    gr_build_layer(b, 7);
    gr_build_matmul(b, input(b, "e/8x64"), weight(b, "blk.7.wq/32x128/Q4_0"), none, none);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "layer 7", "MATMUL", "F32[T,64]",
                   "blk.7.wq/32x128/Q4_0", "Q4_0[32,128]", NULL);
    b = builder_new();
    gr_build_matmul(b, input(b, "e/8x64"), weight(b, "w/32x64"), weight(b, "b/31"), none);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "MATMUL", "bias", "F32[31]", "F32[32,64]", NULL);
    b = builder_new();
    gr_build_matmul(b, input(b, "e/8x64"), weight(b, "w/32x64"), none,
                    gr_build_step_field(b, GR_STEP_ROW_SEQ));
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "weight [E,N,K]", NULL);
    b = builder_new();
    gr_build_matmul(b, input(b, "e/8x64"), weight(b, "w/3x32x64"), none,
                    gr_build_step_field(b, GR_STEP_OUTPUT_ROWS));
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "I32[R]", "F32[T,64]", NULL);
    b = builder_new();
    gr_build_add(b, input(b, "e/8x64"), input(b, "f/8x32"));
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "ADD", "[T,64]", "[T,32]", NULL);
    b = builder_new();
    gr_build_rms_norm(b, input(b, "e/8x64"), weight(b, "n/48"), 1e-5f);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "RMS_NORM", "[T,64]", "[48]", NULL);
    b = builder_new();
    gr_build_rms_norm(b, input(b, "e/8x64"), weight(b, "n/64/F16"), 1e-5f);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "RMS_NORM", "F16[64]", "expected F32 [D]", NULL);
    b = builder_new();
    gr_build_add(b, input(b, "e/8x64"), none);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "ADD", "absent", NULL);
    b = builder_new();
    gr_build_add(b, input(b, "e/8x64"), 12345);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "ADD", "operand 1", NULL);
    b = builder_new();
    uint32_t values, indices;
    gr_build_topk(b, input(b, "e/8x64"), 65, &values, &indices);
    assert_int_equal(values, none);
    assert_int_equal(indices, none);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "TOPK", "[T,64]", NULL);
    b = builder_new();
    gr_build_cast(b, input(b, "e/8x64"), GR_DTYPE_Q4_0);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "CAST", NULL);
    b = builder_new();
    gr_build_mask_bits(b, input(b, "e/8x64"), gr_build_step_field(b, GR_STEP_MASK_BITS));
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "MASK_BITS", "[R,2]", "[T,64]", NULL);
    b = builder_new();
    gr_build_matmul(b, input(b, "e/8x64"), weight(b, "w/32x64/I32"), none, none);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "w/32x64/I32", "float or quantised", NULL);
    b = builder_new();
    input(b, "e/8x64");
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "no output", NULL);
    b = builder_new();
    gr_build_output(b, "logits", gr_build_step_field(b, GR_STEP_TOKENS));
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "output logits", NULL);
}

static void test_errors_inside_composites_name_them(void **state) {
    (void)state;
    const gr_attrs_attention attention = attention_attrs(0);
    const gr_attrs_rope rope = rope_attrs();
    const gr_attrs_block attrs = {sizeof attrs, 1e-5f, 0, 0, &rope, &rope, &attention};
    const uint32_t none = GR_VALUE_NONE;
    gr_builder *b = builder_new();
    uint32_t x = input(b, "e/8x64"), after;
    const gr_attention_operands operands = {x,
                                            weight(b, "n/64"),
                                            weight(b, "q/64x64"),
                                            weight(b, "wk/48x64"),
                                            weight(b, "v/32x64"),
                                            none,
                                            none,
                                            none,
                                            gr_build_step_field(b, GR_STEP_POSITIONS),
                                            gr_build_state(b, &attention),
                                            none,
                                            none,
                                            weight(b, "o/64x64"),
                                            none};
    assert_int_equal(gr_build_attention_block(b, &operands, &attrs, &after), none);
    assert_int_equal(after, none);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "ATTN_BLOCK: QKV: KV_WRITE", "F32[T,48]", NULL);
}

static void test_missing_and_misshapen_tensors(void **state) {
    (void)state;
    gr_builder *b = builder_new();
    assert_false(gr_build_has_weight(b, "plain"));
    assert_true(gr_build_has_weight(b, "w/4"));
    assert_int_equal(gr_build_weight(b, "plain", 1, (const int64_t[]){4}), GR_VALUE_NONE);
    expect_failure(b, GR_ERROR_CORRUPT, "tensor plain is missing", NULL);
    b = builder_new();
    gr_build_weight(b, "w/4x8", 2, (const int64_t[]){8, 4});
    expect_failure(b, GR_ERROR_CORRUPT, "w/4x8", "[4,8]", "[8,4]", NULL);
    b = builder_new();
    uint32_t first = weight(b, "w/4x8");
    assert_int_equal(weight(b, "w/4x8"), first);
    gr_build_weight(b, "w/4x8", 1, (const int64_t[]){32}); // known, asked for in another shape
    expect_failure(b, GR_ERROR_CORRUPT, "w/4x8", "[4,8]", "[32]", NULL);
    b = builder_new();
    weight(b, "w/4x30/Q4_0");
    expect_failure(b, GR_ERROR_CORRUPT, "w/4x30/Q4_0", "32", NULL);
    b = builder_new();
    weight(b, "w/4x32/?");
    expect_failure(b, GR_ERROR_UNSUPPORTED, "dtype 99", NULL);
    b = builder_new();
    weight(b, "w/-4x32");
    expect_failure(b, GR_ERROR_CORRUPT, "negative", NULL);
    b = builder_new();
    weight(b, "w/4611686018427387904x4611686018427387904");
    expect_failure(b, GR_ERROR_OUT_OF_RANGE, "overflows", NULL);
}

static void test_first_failure_sticks(void **state) {
    (void)state;
    gr_builder *b = builder_new();
    uint32_t x = input(b, "e/8x64");
    gr_build_fail(b, GR_ERROR_CORRUPT, "the model has %d heads", 3);
    assert_int_equal(gr_build_add(b, x, x), GR_VALUE_NONE);
    assert_null(gr_build_alloc(b, 8));
    gr_build_fail(b, GR_ERROR_IO, "later");
    expect_failure(b, GR_ERROR_CORRUPT, "the model has 3 heads", NULL);
}

static void test_unknown_op_is_refused(void **state) {
    (void)state;
    gr_builder *b = builder_new();
    uint32_t x = input(b, "e/8x64"), out[GR_NODE_MAX_OUT];
    gr_builder_node(b, 17, NULL, 1, &x, out);
    assert_int_equal(out[0], GR_VALUE_NONE);
    expect_failure(b, GR_ERROR_UNSUPPORTED, "op 17", NULL);
    b = builder_new();
    x = input(b, "e/8x64");
    gr_builder_node(b, GR_OP_QKV, NULL, 1, &x, out);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "QKV takes 10 to 12", NULL);
}

static void test_states_are_used_in_order(void **state) {
    (void)state;
    const gr_attrs_attention attrs = attention_attrs(0), second = attention_attrs(1);
    gr_attrs_attention other = attrs;
    gr_builder *b = builder_new();
    uint32_t kv = input(b, "e/8x32"), q = input(b, "f/8x64"), old = gr_build_state(b, &attrs);
    uint32_t now = gr_build_kv_write(b, kv, kv, old, &attrs);
    assert_int_not_equal(gr_build_attention(b, q, now, &attrs), GR_VALUE_NONE);
    gr_build_attention(b, q, old, &attrs);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "ATTENTION", "written again", NULL);
    b = builder_new();
    gr_build_state(b, &second);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "cache layer 1", "0 is next", NULL);
    b = builder_new();
    q = input(b, "f/8x64");
    other.window = 8;
    gr_build_attention(b, q, gr_build_state(b, &attrs), &other);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "ATTENTION", "window", NULL);
    b = builder_new();
    q = input(b, "f/8x64");
    other = attrs;
    other.kv_heads = 3;
    gr_build_attention(b, q, gr_build_state(b, &attrs), &other);
    expect_failure(b, GR_ERROR_INVALID_ARGUMENT, "heads is no multiple", NULL);
}

static void test_every_primitive_builds(void **state) {
    (void)state;
    gr_builder *b = builder_new();
    gr_attrs_attention dense = attention_attrs(0);
    dense.flags = GR_ATTENTION_DENSE;
    const gr_attrs_rope rope = rope_attrs();
    uint32_t values, indices, kv = input(b, "f/8x32"), x = input(b, "e/8x64");
    x = gr_build_rope(b, x, gr_build_step_field(b, GR_STEP_POSITIONS), &rope);
    x = gr_build_attention_dense(b, x, kv, kv, &dense);
    x = gr_build_mul(b, gr_build_scale(b, x, 2), gr_build_softmax(b, x));
    x = gr_build_glu(b, x, gr_build_copy(b, x), GR_ACTIVATION_RELU);
    x = gr_build_cast(b, gr_build_cast(b, x, GR_DTYPE_BF16), GR_DTYPE_F32);
    gr_build_topk(b, x, 1, &values, &indices);
    x = gr_build_matmul(b, x, weight(b, "w/8x33x64/Q4_1"), weight(b, "b/8x33"), indices);
    x = gr_build_gather_rows(b, x, gr_build_step_field(b, GR_STEP_OUTPUT_ROWS));
    x = gr_build_mask_bits(b, x, gr_build_step_field(b, GR_STEP_MASK_BITS));
    gr_build_output(b, "masked", x);
    gr_graph *graph = finish(b);
    const gr_value *value = gr_segment_value(gr_graph_segment(graph), x);
    assert_int_equal(value->dims[0], GR_DIM_R);
    assert_int_equal(value->dims[1], 33);
    const gr_node *last =
        gr_segment_node(gr_graph_segment(graph), gr_graph_segment(graph)->node_count - 1);
    assert_int_equal(gr_segment_value(gr_graph_segment(graph), last->in[1])->dims[1],
                     2); // 33 bits, two words
    gr_graph_destroy(graph);
}

static void test_dot_writes_nodes_and_frames(void **state) {
    (void)state;
    gr_graph *graph = decoder(1, false);
    char small[8], *text;
    size_t needed = gr_graph_dot(graph, NULL, 0);
    assert_true(needed > 1000);
    assert_int_equal(gr_graph_dot(graph, small, sizeof small), needed);
    assert_string_equal(small, "digraph");
    text = malloc(needed + 1);
    assert_int_equal(gr_graph_dot(graph, text, needed + 1), needed);
    assert_int_equal(strlen(text), needed);
    assert_non_null(strstr(text, "label=\"ATTN_BLOCK layer 0\""));
    assert_non_null(strstr(text, "label=\"KV_WRITE\""));
    int depth = 0;
    for (const char *at = text; *at; at++)
        depth += *at == '{' ? 1 : *at == '}' ? -1 : 0;
    assert_int_equal(depth, 0);
    free(text);
    gr_graph_destroy(graph);
    gr_graph_destroy(NULL);
    gr_builder_destroy(NULL);
}

static void test_cost_of_a_product(void **state) {
    (void)state;
    gr_graph *graph = decoder(1, false);
    const gr_segment *segment = gr_graph_segment(graph);
    uint64_t bytes, operations, sum_bytes = 0, sum_operations = 0;
    // Node 4 is x[T,64] times q [64,64] in Q8_0 (34 bytes a block of 32).
    gr_node_cost(segment, 4, 3, 1, 10, &bytes, &operations);
    assert_int_equal(operations, 2 * 3 * 64 * 64);
    assert_int_equal(bytes, 64 * 2 * 34 + 3 * 64 * 4 + 3 * 64 * 4);
    // Node 10 is attention over 10 visible keys: 4 heads, 2 of KV, 16 wide.
    gr_node_cost(segment, 10, 3, 1, 10, &bytes, &operations);
    assert_int_equal(operations, 2 * 3 * 10 * 4 * 32);
    assert_int_equal(bytes, 3 * 64 * 4 * 2 + 3 * 10 * 2 * 32 * 2);
    // An embedding reads one row a token, not the table.
    gr_node_cost(segment, 0, 3, 1, 10, &bytes, &operations);
    assert_int_equal(bytes, 3 * 68 + 3 * 4 + 3 * 64 * 4);
    for (uint32_t i = 2; i <= 12; i++) {
        if (i == 2)
            continue;
        gr_node_cost(segment, i, 3, 1, 10, &bytes, &operations);
        sum_bytes += bytes;
        sum_operations += operations;
    }
    gr_node_cost(segment, 1, 3, 1, 10, &bytes, &operations);
    assert_int_equal(bytes, sum_bytes);
    assert_int_equal(operations, sum_operations);
    gr_graph_destroy(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_op_table_is_whole),
        cmocka_unit_test(test_decoder_decomposes_in_preorder),
        cmocka_unit_test(test_composite_outputs_are_its_subtrees),
        cmocka_unit_test(test_graph_is_single_assignment),
        cmocka_unit_test(test_blocks_share_attributes_with_their_parts),
        cmocka_unit_test(test_optional_operands),
        cmocka_unit_test(test_weights_are_interned_and_know_their_reader),
        cmocka_unit_test(test_shape_errors_name_both_sides),
        cmocka_unit_test(test_errors_inside_composites_name_them),
        cmocka_unit_test(test_missing_and_misshapen_tensors),
        cmocka_unit_test(test_first_failure_sticks),
        cmocka_unit_test(test_unknown_op_is_refused),
        cmocka_unit_test(test_states_are_used_in_order),
        cmocka_unit_test(test_every_primitive_builds),
        cmocka_unit_test(test_dot_writes_nodes_and_frames),
        cmocka_unit_test(test_cost_of_a_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
