// SPDX-License-Identifier: Apache-2.0
// Placement: which device runs each node of a small model, for devices that refuse or emulate this
// or that.
#include "fixtures.h"
#include "host/internal.h"

enum { DIM = 256, HEADS = 8, KV_HEADS = 2, HEAD = 32, FFN = 512, VOCABULARY = 512, LAYERS = 3 };

// ---- A model of three layers ----

static bool find_tensor(void *context, const char *name, gr_dtype *out_dtype, uint32_t *out_rank,
                        int64_t out_dims[GR_MAX_RANK]) {
    static const struct {
        const char *name;
        int64_t rows, columns;
    } tensors[] = {{"embed", VOCABULARY, DIM},
                   {"wq", DIM, DIM},
                   {"wk", KV_HEADS * HEAD, DIM},
                   {"wv", KV_HEADS * HEAD, DIM},
                   {"wo", DIM, DIM},
                   {"gate", FFN, DIM},
                   {"up", FFN, DIM},
                   {"down", DIM, FFN},
                   {"head", VOCABULARY, DIM}};
    gr_dtype weights = *(const gr_dtype *)context;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        if (!strncmp(name, tensors[i].name, strlen(tensors[i].name))) {
            *out_dtype = weights;
            *out_rank = 2;
            out_dims[0] = tensors[i].rows;
            out_dims[1] = tensors[i].columns;
            return true;
        }
    }
    *out_dtype = GR_DTYPE_F32;
    *out_rank = 1;
    out_dims[0] = DIM; // norms
    return true;
}

static uint32_t matrix(gr_builder *b, const char *name, int64_t rows, int64_t columns) {
    return gr_build_weight(b, name, 2, (int64_t[]){rows, columns});
}

static uint32_t norm(gr_builder *b, const char *name) {
    return gr_build_weight(b, name, 1, (int64_t[]){DIM});
}

static uint32_t add_layer(gr_builder *b, uint32_t x, int32_t layer) {
    static double inv_freq[HEAD / 2];
    static gr_attrs_rope rope = {.struct_size = sizeof rope,
                                 .head_dim = HEAD,
                                 .rotary_dim = HEAD,
                                 .magnitude = 1,
                                 .inv_freq = inv_freq};
    gr_attrs_attention *attention = gr_build_alloc(b, sizeof *attention);
    *attention = (gr_attrs_attention){.struct_size = sizeof *attention,
                                      .cache_layer = (uint32_t)layer,
                                      .heads = HEADS,
                                      .kv_heads = KV_HEADS,
                                      .k_dim = HEAD,
                                      .v_dim = HEAD,
                                      .scale = 0.2f};
    gr_attrs_block block = {.struct_size = sizeof block,
                            .eps = 1e-5f,
                            .rope_q = &rope,
                            .rope_k = &rope,
                            .attention = attention};
    gr_build_layer(b, layer);
    gr_attention_operands operands = {.x = x,
                                      .norm = norm(b, "norm1"),
                                      .wq = matrix(b, "wq", DIM, DIM),
                                      .wk = matrix(b, "wk", KV_HEADS * HEAD, DIM),
                                      .wv = matrix(b, "wv", KV_HEADS * HEAD, DIM),
                                      .bq = GR_VALUE_NONE,
                                      .bk = GR_VALUE_NONE,
                                      .bv = GR_VALUE_NONE,
                                      .positions = gr_build_step_field(b, GR_STEP_POSITIONS),
                                      .state = gr_build_state(b, attention),
                                      .q_norm = GR_VALUE_NONE,
                                      .k_norm = GR_VALUE_NONE,
                                      .wo = matrix(b, "wo", DIM, DIM),
                                      .bo = GR_VALUE_NONE};
    uint32_t written;
    x = gr_build_attention_block(b, &operands, &block, &written);
    return gr_build_ffn_block(b, x, norm(b, "norm2"), matrix(b, "gate", FFN, DIM),
                              matrix(b, "up", FFN, DIM), matrix(b, "down", DIM, FFN), &block);
}

static gr_graph *model_of(gr_dtype weights) {
    gr_builder *b;
    gr_graph *graph;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_builder_create(find_tensor, &weights, &b, &error), GR_OK);
    gr_build_layer(b, -1);
    uint32_t x = gr_build_embed(b, matrix(b, "embed", VOCABULARY, DIM),
                                gr_build_step_field(b, GR_STEP_TOKENS));
    for (int32_t layer = 0; layer < LAYERS; layer++)
        x = add_layer(b, x, layer);
    gr_build_layer(b, -1);
    x = gr_build_gather_rows(b, x, gr_build_step_field(b, GR_STEP_OUTPUT_ROWS));
    x = gr_build_norm_matmul(b, x, norm(b, "norm"), matrix(b, "head", VOCABULARY, DIM),
                             GR_VALUE_NONE, 1e-5f);
    gr_build_output(b, "logits", x);
    if (gr_builder_finish(b, &graph, &error) != GR_OK)
        fail_msg("%s", error.message);
    gr_builder_destroy(b);
    return graph;
}

// ---- Devices that say what a test wants ----

typedef struct answers {
    uint8_t level[GR_OP_LIMIT]; // 0: as `others`; else level + 1
    gr_support_level others;
    int32_t layer_only; // refuses `refused_op` in this layer; -1: nowhere
    gr_op refused_op;
    bool nonsense;
} answers;

static void answer(gr_device *device, const gr_segment *segment, uint32_t index,
                   gr_support *out_support) {
    const answers *a = (const answers *)(const void *)device;
    const gr_node *node = gr_segment_node(segment, index);
    out_support->level = a->level[node->op] ? a->level[node->op] - 1u : a->others;
    if (a->layer_only >= 0 && node->layer == a->layer_only && node->op == a->refused_op)
        out_support->level = GR_SUPPORT_NO;
    if (a->nonsense) {
        out_support->level = 77;
        memset(out_support->reason, 'z', sizeof out_support->reason);
        return;
    }
    snprintf(out_support->reason, sizeof out_support->reason, "test says %u", out_support->level);
}

static const gr_backend backend = {.struct_size = sizeof backend,
                                   .name = "pretended",
                                   .op_limit = GR_OP_LIMIT,
                                   .dtype_limit = GR_DTYPE_LIMIT,
                                   .node_support = answer};

static gr_opened_device device_of(answers *a, const char *name) {
    gr_opened_device d = {.backend = &backend, .device = (gr_device *)(void *)a, .name = name};
    d.facts = (gr_device_facts){.struct_size = sizeof d.facts,
                                .flags = GR_DEVICE_HOST_MEMORY,
                                .bandwidth_bytes_per_second = 30000000000u,
                                .int8_operations_per_second = 900000000000u};
    return d;
}

static answers willing(void) {
    return (answers){.others = GR_SUPPORT_NATIVE, .layer_only = -1};
}

typedef struct scene {
    gr_graph *graph;
    answers a[3];
    gr_opened_device devices[3];
    const gr_opened_device *list[3];
    gr_placement *placement;
    gr_error error;
} scene;

static scene *scene_make(void) {
    scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    static const char *const names[] = {"wanted", "second", "third"};
    s->graph = model_of(GR_DTYPE_Q4_0);
    for (uint32_t i = 0; i < 3; i++) {
        s->a[i] = willing();
        s->devices[i] = device_of(&s->a[i], names[i]);
        s->list[i] = &s->devices[i];
    }
    gr_error_init(&s->error);
    return s;
}

static gr_status place(scene *s, uint32_t count, bool no_fusion) {
    gr_placement_destroy(s->placement);
    return gr_placement_create(s->graph, s->list, count, NULL, no_fusion, &s->placement, &s->error);
}

static void scene_drop(scene *s) {
    gr_placement_destroy(s->placement);
    gr_graph_destroy(s->graph);
    free(s);
}

static const gr_node *node_of(const scene *s, uint32_t index) {
    return gr_segment_node(gr_graph_segment(s->graph), index);
}

// Every primitive runs exactly once, in itself or in a composite; both parts of a cache are on one
// device.
static void check_whole(const scene *s) {
    const gr_segment *segment = gr_graph_segment(s->graph);
    for (uint32_t i = 0; i < segment->node_count;) {
        const gr_node *node = node_of(s, i);
        int32_t device = gr_placement_choose(s->placement, i);
        if (device < 0) {
            assert_true(node->subtree > 0);
            i++;
            continue;
        }
        for (uint32_t k = i; k <= i + node->subtree; k++) {
            const gr_node *part = node_of(s, k);
            const gr_attrs_attention *attrs = part->attrs;
            if (part->op == GR_OP_KV_WRITE || part->op == GR_OP_ATTENTION)
                assert_int_equal(gr_placement_cache_device(s->placement, attrs->cache_layer),
                                 device);
            if (k > i)
                assert_int_equal(gr_placement_choose(s->placement, k), -1);
        }
        i += 1 + node->subtree;
    }
}

// How many nodes of `op` run on `device`.
static uint32_t count_on(const scene *s, gr_op op, int32_t device) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < gr_graph_segment(s->graph)->node_count; i++)
        count += node_of(s, i)->op == op && gr_placement_choose(s->placement, i) == device;
    return count;
}

static uint32_t total_on(const scene *s, int32_t device) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < gr_graph_segment(s->graph)->node_count; i++)
        count += gr_placement_choose(s->placement, i) == device;
    return count;
}

static void test_composites_are_taken_whole(void **state) {
    (void)state;
    scene *s = scene_make();
    assert_int_equal(place(s, 3, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_ATTN_BLOCK, 0), LAYERS);
    assert_int_equal(count_on(s, GR_OP_FFN_BLOCK, 0), LAYERS);
    assert_int_equal(count_on(s, GR_OP_NORM_MATMUL, 0), 1);
    assert_int_equal(count_on(s, GR_OP_MATMUL, 0), 0);
    scene_drop(s);
}

static void test_no_fusion_takes_primitives(void **state) {
    (void)state;
    scene *s = scene_make();
    assert_int_equal(place(s, 1, true), GR_OK);
    check_whole(s);
    for (uint32_t i = 0; i < gr_graph_segment(s->graph)->node_count; i++)
        assert_int_equal(gr_placement_choose(s->placement, i), node_of(s, i)->subtree ? -1 : 0);
    scene_drop(s);
}

static void test_a_refused_composite_is_taken_apart(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].level[GR_OP_ATTN_BLOCK] = GR_SUPPORT_NO + 1;
    assert_int_equal(place(s, 3, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_QKV, 0), LAYERS);
    assert_int_equal(count_on(s, GR_OP_ATTENTION, 0), LAYERS);
    assert_int_equal(count_on(s, GR_OP_FFN_BLOCK, 0), LAYERS);
    assert_int_equal(total_on(s, 1) + total_on(s, 2), 0); // the wanted device can do all of it
    scene_drop(s);
}

static void test_an_emulated_composite_loses_to_native_parts(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].level[GR_OP_FFN_BLOCK] = GR_SUPPORT_EMULATED + 1;
    assert_int_equal(place(s, 1, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_FFN_BLOCK, 0), 0);
    assert_int_equal(count_on(s, GR_OP_GATED_FFN, 0), LAYERS);
    // But where parts can't be had, emulation is better than nothing.
    s->a[0].level[GR_OP_GATED_FFN] = s->a[0].level[GR_OP_GLU] = GR_SUPPORT_NO + 1;
    assert_int_equal(place(s, 1, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_FFN_BLOCK, 0), LAYERS);
    scene_drop(s);
}

static void test_only_refused_nodes_move(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].level[GR_OP_GATHER_ROWS] = GR_SUPPORT_NO + 1;
    s->devices[1].facts.bandwidth_bytes_per_second *= 50; // faster, yet not wanted
    s->devices[1].facts.int8_operations_per_second *= 50;
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(total_on(s, 1), 1);
    assert_int_equal(count_on(s, GR_OP_GATHER_ROWS, 1), 1);
    assert_string_equal(gr_placement_support(s->placement, 0)->reason, "test says 2");
    scene_drop(s);
}

static void test_the_faster_stand_in_is_taken(void **state) {
    (void)state;
    for (uint32_t fast = 1; fast <= 2; fast++) {
        scene *s = scene_make();
        s->a[0].level[GR_OP_NORM_MATMUL] = s->a[0].level[GR_OP_MATMUL] = GR_SUPPORT_NO + 1;
        s->devices[fast].facts.bandwidth_bytes_per_second *= 10;
        s->devices[fast].facts.int8_operations_per_second *= 10;
        assert_int_equal(place(s, 3, false), GR_OK);
        check_whole(s);
        assert_int_equal(count_on(s, GR_OP_NORM_MATMUL, (int32_t)fast), 1);
        scene_drop(s);
    }
}

static void test_a_cache_is_never_split(void **state) {
    (void)state;
    static const gr_op composites[] = {GR_OP_ATTN_BLOCK, GR_OP_QKV};
    static const gr_op halves[] = {GR_OP_KV_WRITE, GR_OP_ATTENTION};
    for (uint32_t h = 0; h < 2; h++) {
        scene *s = scene_make();
        for (uint32_t i = 0; i < 2; i++)
            s->a[0].level[composites[i]] = GR_SUPPORT_NO + 1;
        s->a[0].layer_only = 1;
        s->a[0].refused_op = halves[h];
        assert_int_equal(place(s, 2, false), GR_OK);
        check_whole(s);
        assert_int_equal(gr_placement_cache_device(s->placement, 0), 0);
        assert_int_equal(gr_placement_cache_device(s->placement, 1), 1);
        assert_int_equal(gr_placement_cache_device(s->placement, 2), 0);
        scene_drop(s);
    }
}

static void test_a_composite_covers_cache_ops_it_contains(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].level[GR_OP_KV_WRITE] =
        GR_SUPPORT_NO + 1; // but QKV and ATTN_BLOCK write the cache themselves
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_ATTN_BLOCK, 0), LAYERS);
    s->a[0].level[GR_OP_ATTN_BLOCK] = GR_SUPPORT_NO + 1;
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_QKV, 0), LAYERS);
    assert_int_equal(count_on(s, GR_OP_ATTENTION, 0), LAYERS);
    assert_int_equal(place(s, 2, true), GR_OK); // unfused, the cache has to go
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_KV_WRITE, 1), LAYERS);
    assert_int_equal(count_on(s, GR_OP_ATTENTION, 1), LAYERS);
    assert_int_equal(count_on(s, GR_OP_GLU, 0), LAYERS);
    scene_drop(s);
}

static void test_split_cache_support_is_an_error(void **state) {
    (void)state;
    scene *s = scene_make();
    for (uint32_t d = 0; d < 2; d++)
        s->a[d].level[GR_OP_ATTN_BLOCK] = s->a[d].level[GR_OP_QKV] = GR_SUPPORT_NO + 1;
    s->a[0].level[GR_OP_KV_WRITE] = GR_SUPPORT_NO + 1;
    s->a[1].level[GR_OP_ATTENTION] = GR_SUPPORT_NO + 1;
    assert_int_equal(place(s, 2, false), GR_ERROR_UNSUPPORTED);
    assert_null(s->placement);
    assert_non_null(strstr(s->error.message, "cache layer 0"));
    assert_non_null(strstr(s->error.message, "wanted refuses KV_WRITE"));
    assert_non_null(strstr(s->error.message, "second refuses ATTENTION"));
    scene_drop(s);
}

static void test_error_names_node_and_reasons(void **state) {
    (void)state;
    scene *s = scene_make();
    for (uint32_t d = 0; d < 2; d++) {
        s->a[d].level[GR_OP_FFN_BLOCK] = s->a[d].level[GR_OP_GATED_FFN] = GR_SUPPORT_NO + 1;
        s->a[d].layer_only = 2;
        s->a[d].refused_op = GR_OP_GLU;
    }
    assert_int_equal(place(s, 2, false), GR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(s->error.message, "GLU of layer 2"));
    assert_non_null(strstr(s->error.message, "wanted: test says 0"));
    assert_non_null(strstr(s->error.message, "second: test says 0"));
    scene_drop(s);
}

static void test_the_host_enforces_declared_limits(void **state) {
    (void)state;
    scene *s = scene_make();
    gr_backend old = backend;
    s->devices[0].backend = &old;
    old.op_limit = GR_OP_NORM_MATMUL; // knows no composite, whatever it answers
    assert_int_equal(place(s, 1, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_MATMUL, 0), LAYERS * 7 + 1);
    old.op_limit = GR_OP_LIMIT;
    old.dtype_limit = GR_DTYPE_Q4_0; // knows F32 and F16 only
    assert_int_equal(place(s, 1, false), GR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(s->error.message, "newer than the plugin"));
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_EMBED, 1), 1);
    scene_drop(s);
}

static void test_nonsense_answers_mean_no(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].nonsense = true;
    assert_int_equal(place(s, 1, false), GR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(s->error.message, "level that does not exist"));
    assert_int_equal(place(s, 2, false), GR_OK);
    assert_int_equal(total_on(s, 0), 0);
    scene_drop(s);
}

// Two refused nodes with accepted ones between them: in shared memory going to and fro is cheaper
// than a block on the slower device; with copies in between it is not.
static void test_crossings_cost(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].level[GR_OP_FFN_BLOCK] = s->a[0].level[GR_OP_GATED_FFN] = GR_SUPPORT_NO + 1;
    s->a[0].level[GR_OP_GLU] = s->a[0].level[GR_OP_RMS_NORM] = GR_SUPPORT_NO + 1;
    s->devices[1].facts.bandwidth_bytes_per_second /= 5;
    s->devices[1].facts.int8_operations_per_second /= 5;
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_GLU, 1), LAYERS);
    assert_int_equal(count_on(s, GR_OP_RMS_NORM, 1), LAYERS);
    assert_int_equal(total_on(s, 1), 2 * LAYERS);
    s->devices[0].facts.flags = 0; // its memory is its own
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_FFN_BLOCK, 1) + count_on(s, GR_OP_GATED_FFN, 1), LAYERS);
    assert_int_equal(count_on(s, GR_OP_ATTN_BLOCK, 0), LAYERS);
    scene_drop(s);
}

static void test_emulation_moves_when_a_native_stand_in_is_near(void **state) {
    (void)state;
    scene *s = scene_make();
    s->a[0].level[GR_OP_NORM_MATMUL] = s->a[0].level[GR_OP_MATMUL] = GR_SUPPORT_EMULATED + 1;
    s->devices[1].facts.bandwidth_bytes_per_second *= 4;
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(count_on(s, GR_OP_NORM_MATMUL, 1), 1);
    s->devices[1].facts.bandwidth_bytes_per_second = 1000000000; // slower than emulation
    s->devices[1].facts.int8_operations_per_second = 10000000000;
    assert_int_equal(place(s, 2, false), GR_OK);
    assert_int_equal(count_on(s, GR_OP_NORM_MATMUL, 1), 0);
    scene_drop(s);
}

// What was chosen is what the graph's plan runs: same nodes, same devices, in order.
static void test_the_plan_follows(void **state) {
    (void)state;
    scene *s = scene_make();
    gr_plan *plan;
    s->a[0].level[GR_OP_FFN_BLOCK] = s->a[0].level[GR_OP_GATED_FFN] = GR_SUPPORT_NO + 1;
    s->a[0].level[GR_OP_GLU] = GR_SUPPORT_NO + 1;
    s->devices[1].facts.int8_operations_per_second /= 100;
    assert_int_equal(place(s, 2, false), GR_OK);
    check_whole(s);
    assert_int_equal(total_on(s, 1), LAYERS);
    assert_int_equal(gr_plan_create(s->graph, gr_placement_choose, s->placement, false, 8, 2, 2,
                                    &plan, &s->error),
                     GR_OK);
    uint32_t runs[2] = {0}, count = gr_plan_segment_count(plan);
    assert_int_equal(count, 2 * LAYERS + 1);
    for (uint32_t i = 0; i < count; i++) {
        const gr_plan_segment *part = gr_plan_segment_at(plan, i);
        assert_int_equal(part->device, i % 2);
        for (uint32_t n = 0; n < part->segment.node_count; n++)
            runs[part->device] += gr_segment_node(&part->segment, n)->flags & GR_NODE_RUN;
    }
    assert_int_equal(runs[0], total_on(s, 0));
    assert_int_equal(runs[1], total_on(s, 1));
    gr_plan_destroy(plan);
    scene_drop(s);
}

static void test_bad_counts(void **state) {
    (void)state;
    scene *s = scene_make();
    assert_int_equal(place(s, 0, false), GR_ERROR_OUT_OF_RANGE);
    assert_null(s->placement);
    assert_int_equal(gr_placement_create(s->graph, s->list, 17, NULL, false, &s->placement, &s->error),
                     GR_ERROR_OUT_OF_RANGE);
    scene_drop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_composites_are_taken_whole),
        cmocka_unit_test(test_no_fusion_takes_primitives),
        cmocka_unit_test(test_a_refused_composite_is_taken_apart),
        cmocka_unit_test(test_an_emulated_composite_loses_to_native_parts),
        cmocka_unit_test(test_only_refused_nodes_move),
        cmocka_unit_test(test_the_faster_stand_in_is_taken),
        cmocka_unit_test(test_a_cache_is_never_split),
        cmocka_unit_test(test_a_composite_covers_cache_ops_it_contains),
        cmocka_unit_test(test_split_cache_support_is_an_error),
        cmocka_unit_test(test_error_names_node_and_reasons),
        cmocka_unit_test(test_the_host_enforces_declared_limits),
        cmocka_unit_test(test_nonsense_answers_mean_no),
        cmocka_unit_test(test_crossings_cost),
        cmocka_unit_test(test_emulation_moves_when_a_native_stand_in_is_near),
        cmocka_unit_test(test_the_plan_follows),
        cmocka_unit_test(test_bad_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
