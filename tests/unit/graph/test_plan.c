// SPDX-License-Identifier: Apache-2.0
// Plans: what runs, how it is cut, and where values lie. Random graphs are executed on paper, each
// device with a memory of its own, to see that no value is lost before its last reader.
#include "graphs.h"

typedef struct plan_case {
    gr_graph *graph;
    gr_plan *plan;
    int32_t *device; // [nodes] what the chooser answers
} plan_case;

static int32_t choose(void *context, uint32_t index) {
    return ((const int32_t *)context)[index];
}

static int32_t choose_first(void *context, uint32_t index) {
    (void)context;
    (void)index;
    return 0;
}

static gr_plan *plan_of(const gr_graph *graph, gr_node_chooser chooser, void *context,
                        bool no_fusion, uint32_t rows) {
    gr_plan *plan = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_plan_create(graph, chooser, context, no_fusion, rows, 2, 1, &plan, &error) != GR_OK)
        fail_msg("%s", error.message);
    return plan;
}

// ---- Walking what a backend walks

typedef void (*visitor)(void *context, uint32_t segment, const gr_node *node, bool runs);

static void walk(const gr_plan *plan, visitor visit, void *context) {
    for (uint32_t s = 0; s < gr_plan_segment_count(plan); s++) {
        const gr_segment *segment = &gr_plan_segment_at(plan, s)->segment;
        for (uint32_t i = 0; i < segment->node_count;) {
            const gr_node *node = gr_segment_node(segment, i);
            bool runs = node->flags & GR_NODE_RUN;
            assert_true(node->subtree < segment->node_count - i);
            visit(context, s, node, runs);
            i += runs ? 1 + node->subtree : 1;
        }
    }
}

// ---- Execution on paper: each 64 bytes of a memory remember which value they hold

enum { DEVICES = 3, HOST = DEVICES };

typedef struct paper {
    const plan_case *c;
    uint64_t granules;
    uint32_t *memory[DEVICES + 1];
    uint32_t segment; // being executed; UINT32_MAX before the first
    uint32_t rows;
} paper;

static uint64_t granules_of(const paper *p, uint32_t value) {
    const gr_value *v = gr_segment_value(gr_graph_segment(p->c->graph), value);
    return (gr_value_elements(v, p->rows, 2, 1) * gr_dtype_block_bytes(v->dtype) + 63) / 64;
}

static bool is_activation(const paper *p, uint32_t value) {
    return value != GR_VALUE_NONE &&
           gr_segment_value(gr_graph_segment(p->c->graph), value)->kind == GR_VALUE_ACTIVATION;
}

static void fill(paper *p, uint32_t device, uint32_t value) {
    uint64_t offset = gr_plan_offset(p->c->plan, value), count = granules_of(p, value);
    assert_true(offset != GR_NO_OFFSET);
    assert_int_equal(offset % 64, 0);
    assert_true(offset / 64 + count <= p->granules);
    for (uint64_t i = 0; i < count; i++)
        p->memory[device][offset / 64 + i] = value;
}

static void expect_intact(paper *p, uint32_t device, uint32_t value) {
    uint64_t offset = gr_plan_offset(p->c->plan, value), count = granules_of(p, value);
    assert_true(offset != GR_NO_OFFSET);
    for (uint64_t i = 0; i < count; i++)
        if (p->memory[device][offset / 64 + i] != value)
            fail_msg("value %u was overwritten by %u", value, p->memory[device][offset / 64 + i]);
}

// Copies what crosses a segment's border, as the engine does for devices with their own memory.
static void cross(paper *p, uint32_t index, gr_value_flags direction) {
    const gr_plan_segment *segment = gr_plan_segment_at(p->c->plan, index);
    for (uint32_t v = 0; v < segment->segment.value_count; v++) {
        if (!(gr_segment_value(&segment->segment, v)->flags & direction))
            continue;
        bool in = direction == GR_VALUE_IMPORT;
        expect_intact(p, in ? HOST : segment->device, v);
        fill(p, in ? segment->device : HOST, v);
    }
}

static void execute_node(void *context, uint32_t segment, const gr_node *node, bool runs) {
    paper *p = context;
    uint32_t device = gr_plan_segment_at(p->c->plan, segment)->device;
    if (segment != p->segment) {
        if (p->segment != UINT32_MAX)
            cross(p, p->segment, GR_VALUE_EXPORT);
        cross(p, segment, GR_VALUE_IMPORT);
        p->segment = segment;
    }
    if (!runs)
        return;
    for (uint32_t i = 0; i < node->in_count; i++)
        if (is_activation(p, node->in[i]))
            expect_intact(p, device, node->in[i]);
    for (uint32_t i = 0; i < node->out_count; i++)
        if (is_activation(p, node->out[i]))
            fill(p, device, node->out[i]);
    for (uint32_t i = 0; i < node->in_count; i++) // no output lies on an input
        if (is_activation(p, node->in[i]))
            expect_intact(p, device, node->in[i]);
}

static void execute(const plan_case *c, uint32_t rows) {
    paper p = {
        .c = c, .granules = gr_plan_arena_bytes(c->plan) / 64, .segment = UINT32_MAX, .rows = rows};
    for (uint32_t d = 0; d <= DEVICES; d++) {
        p.memory[d] = malloc((p.granules + 1) * sizeof **p.memory);
        memset(p.memory[d], 0xFF, (p.granules + 1) * sizeof **p.memory);
    }
    walk(c->plan, execute_node, &p);
    if (p.segment != UINT32_MAX)
        cross(&p, p.segment, GR_VALUE_EXPORT);
    for (uint32_t i = 0; i < gr_graph_output_count(c->graph); i++)
        expect_intact(&p, HOST, gr_graph_output_at(c->graph, i)->value);
    for (uint32_t d = 0; d <= DEVICES; d++)
        free(p.memory[d]);
}

// ---- Structure: every primitive runs once, inside one run node, in order

typedef struct coverage {
    const gr_graph *graph;
    uint32_t next; // node of the graph expected next
    bool no_fusion;
} coverage;

static void cover_node(void *context, uint32_t segment, const gr_node *node, bool runs) {
    coverage *c = context;
    const gr_segment *graph = gr_graph_segment(c->graph);
    (void)segment;
    if (!runs)
        return;
    assert_false(c->no_fusion && node->subtree);
    // Composites above that were taken apart are passed over.
    while (c->next < graph->node_count && gr_segment_node(graph, c->next)->out != node->out) {
        assert_true(gr_segment_node(graph, c->next)->subtree > 0);
        c->next++;
    }
    assert_true(c->next < graph->node_count);
    c->next += 1 + node->subtree;
}

static void expect_structure(const plan_case *c, bool no_fusion) {
    coverage seen = {.graph = c->graph, .no_fusion = no_fusion};
    walk(c->plan, cover_node, &seen);
    assert_int_equal(seen.next, gr_graph_segment(c->graph)->node_count);
    for (uint32_t s = 1; s < gr_plan_segment_count(c->plan); s++)
        assert_int_not_equal(gr_plan_segment_at(c->plan, s)->device,
                             gr_plan_segment_at(c->plan, s - 1)->device);
}

// Only what a running node writes has a place.
static void expect_offsets(const plan_case *c) {
    const gr_segment *graph = gr_graph_segment(c->graph);
    bool *stored = calloc(graph->value_count, sizeof *stored);
    for (uint32_t s = 0; s < gr_plan_segment_count(c->plan); s++) {
        const gr_segment *segment = &gr_plan_segment_at(c->plan, s)->segment;
        assert_int_equal(segment->value_count, graph->value_count);
        for (uint32_t i = 0; i < segment->node_count; i++) {
            const gr_node *node = gr_segment_node(segment, i);
            for (uint32_t o = 0; (node->flags & GR_NODE_RUN) && o < node->out_count; o++)
                stored[node->out[o]] =
                    gr_segment_value(graph, node->out[o])->kind == GR_VALUE_ACTIVATION;
        }
    }
    for (uint32_t v = 0; v < graph->value_count; v++) {
        assert_int_equal(gr_plan_offset(c->plan, v) != GR_NO_OFFSET, stored[v]);
        for (uint32_t s = 0; s < gr_plan_segment_count(c->plan); s++) {
            const gr_value *value = gr_segment_value(&gr_plan_segment_at(c->plan, s)->segment, v);
            assert_int_equal(value->offset, gr_plan_offset(c->plan, v));
            if (!stored[v])
                assert_int_equal(value->flags, 0);
        }
    }
    free(stored);
}

// ---- Random graphs

static uint32_t random_below(uint32_t *seed, uint32_t limit) { // xorshift32
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed % limit;
}

// Values of three widths, joined at random; several readers, dead ends and more than one output.
static gr_graph *random_graph(uint32_t *seed, uint32_t count) {
    static const char *const tables[] = {"e0/8x64", "e1/8x128", "e2/8x64"}, *const norms[] = {
                                                                                "n/64", "m/128"};
    static const char *const products[2][2] = {{"a/64x64", "b/128x64"}, {"c/64x128", "d/128x128"}};
    const gr_attrs_block ffn = {sizeof ffn, 1e-5f, 0, 0, NULL, NULL, NULL};
    gr_builder *b = builder_new();
    uint32_t pool[2][400], sizes[2] = {0, 0};
    for (int i = 0; i < 3; i++) {
        int wide = i == 1;
        pool[wide][sizes[wide]++] =
            gr_build_embed(b, weight(b, tables[i]), gr_build_step_field(b, GR_STEP_TOKENS));
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t wide = random_below(seed, 2), kind = random_below(seed, 6), to = wide;
        uint32_t x = pool[wide][random_below(seed, sizes[wide])],
                 y = pool[wide][random_below(seed, sizes[wide])], z;
        uint32_t values, indices;
        if (random_below(seed, 2)) // chains as well as wide joins
            x = pool[wide][sizes[wide] - 1];
        switch (kind) {
        case 0: z = gr_build_add(b, x, y); break;
        case 1: z = gr_build_scale(b, x, 2); break;
        case 2:
            to = random_below(seed, 2);
            z = gr_build_norm_matmul(b, x, weight(b, norms[wide]), weight(b, products[wide][to]),
                                     GR_VALUE_NONE, 0);
            break;
        case 3: z = gr_build_glu(b, x, y, GR_ACTIVATION_SILU); break;
        case 4:
            gr_build_topk(b, x, 3, &values, &indices); // nobody reads either
            z = gr_build_rms_norm(b, x, weight(b, norms[wide]), 0);
            break;
        default:
            z = wide ? gr_build_mul(b, x, y)
                     : gr_build_ffn_block(b, x, weight(b, "n/64"), weight(b, "g/128x64"),
                                          weight(b, "u/128x64"), weight(b, "w/64x128"), &ffn);
        }
        pool[to][sizes[to]++] = z;
        if (random_below(seed, 12) == 0)
            gr_build_output(b, "middle", z);
    }
    gr_build_output(b, "narrow", pool[0][sizes[0] - 1]);
    gr_build_output(b, "wide", pool[1][sizes[1] - 1]);
    return finish(b);
}

static void random_choice(plan_case *c, uint32_t *seed) {
    const gr_segment *segment = gr_graph_segment(c->graph);
    int32_t device = 0;
    c->device = calloc(segment->node_count, sizeof *c->device);
    for (uint32_t i = 0; i < segment->node_count; i++) {
        bool composite = gr_segment_node(segment, i)->subtree > 0;
        if (random_below(seed, 4) == 0)
            device = (int32_t)random_below(seed, DEVICES);
        c->device[i] = composite && random_below(seed, 2) ? -1 : device;
    }
}

static void test_random_graphs_keep_every_value(void **state) {
    (void)state;
    for (uint32_t round = 1; round <= 120; round++) {
        uint32_t seed = round * 2654435761u;
        uint32_t rows = random_below(&seed, 9); // 0 rows too
        bool no_fusion = random_below(&seed, 4) == 0;
        plan_case c = {.graph = random_graph(&seed, 5 + random_below(&seed, 60))};
        random_choice(&c, &seed);
        c.plan = plan_of(c.graph, choose, c.device, no_fusion, rows);
        expect_structure(&c, no_fusion);
        expect_offsets(&c);
        execute(&c, rows);
        gr_plan_destroy(c.plan);
        gr_graph_destroy(c.graph);
        free(c.device);
    }
}

// Whatever a composite's parts touch is intact when the last of them has run.
static void test_parts_of_a_composite_can_be_fused(void **state) {
    (void)state;
    gr_graph *graph = decoder(3, true);
    gr_plan *plan = plan_of(graph, choose_first, NULL, true, 5);
    const gr_segment *segment = &gr_plan_segment_at(plan, 0)->segment;
    for (uint32_t i = 0; i < segment->node_count; i++) {
        uint32_t subtree = gr_segment_node(segment, i)->subtree;
        for (uint32_t j = i + 1; j <= i + subtree; j++)
            for (uint32_t k = i + 1; k <= i + subtree; k++) {
                const gr_node *reader = gr_segment_node(segment, j),
                              *writer = gr_segment_node(segment, k);
                for (uint32_t a = 0; a < reader->in_count; a++)
                    for (uint32_t o = 0; o < writer->out_count; o++) {
                        if (reader->in[a] == GR_VALUE_NONE || reader->in[a] == writer->out[o])
                            continue;
                        const gr_value *x = gr_segment_value(segment, reader->in[a]);
                        const gr_value *y = gr_segment_value(segment, writer->out[o]);
                        if (x->offset == GR_NO_OFFSET || y->offset == GR_NO_OFFSET)
                            continue;
                        uint64_t x_end = x->offset + gr_value_elements(x, 5, 2, 1) * 4;
                        uint64_t y_end = y->offset + gr_value_elements(y, 5, 2, 1) * 4;
                        assert_true(x_end <= y->offset || y_end <= x->offset);
                    }
            }
    }
    gr_plan_destroy(plan);
    gr_graph_destroy(graph);
}

static void test_arena_reuses_bytes(void **state) {
    (void)state;
    gr_graph *small = decoder(1, false), *large = decoder(20, false);
    gr_plan *a = plan_of(small, choose_first, NULL, true, 64),
            *b = plan_of(large, choose_first, NULL, true, 64);
    assert_true(gr_plan_arena_bytes(a) > 0);
    assert_int_equal(gr_plan_arena_bytes(a), gr_plan_arena_bytes(b)); // depth costs nothing
    gr_plan_destroy(b);
    b = plan_of(large, choose_first, NULL, false, 64);
    assert_true(gr_plan_arena_bytes(b) <=
                3 * 64 * 64 * 4 + 4096); // whole blocks: the residual and little else
    gr_plan_destroy(a);
    gr_plan_destroy(b);
    gr_graph_destroy(small);
    gr_graph_destroy(large);
}

static void count_run(void *context, uint32_t segment, const gr_node *node, bool runs) {
    (void)segment;
    uint32_t *counts = context; // run primitives, run composites, others
    counts[!runs ? 2 : node->subtree ? 1 : 0]++;
}

static void test_fusion_is_a_choice(void **state) {
    (void)state;
    gr_graph *graph = decoder(2, false);
    uint32_t fused[3] = {0}, apart[3] = {0};
    gr_plan *plan = plan_of(graph, choose_first, NULL, false, 4);
    walk(plan, count_run, fused);
    gr_plan_destroy(plan);
    plan = plan_of(graph, choose_first, NULL, true, 4);
    walk(plan, count_run, apart);
    assert_int_equal(fused[0], 2); // EMBED, GATHER_ROWS
    assert_int_equal(fused[1], 5);
    assert_int_equal(fused[2], 0);
    assert_int_equal(apart[0], 1 + 2 * (10 - 1 + 1 + 6) + 1 + 2);
    assert_int_equal(apart[1], 0);
    assert_int_equal(apart[2], 2 * 4 + 1); // the composites stay visible around their parts
    gr_plan_destroy(plan);
    gr_graph_destroy(graph);
}

// The second layer's attention goes elsewhere; three segments, and the residual stream crosses
// twice.
static void test_segments_are_cut_at_device_changes(void **state) {
    (void)state;
    gr_graph *graph = decoder(2, false);
    const gr_segment *segment = gr_graph_segment(graph);
    int32_t *devices = calloc(segment->node_count, sizeof *devices);
    uint32_t block = 0;
    for (uint32_t i = 0; i < segment->node_count; i++)
        if (gr_segment_node(segment, i)->op == GR_OP_ATTN_BLOCK &&
            gr_segment_node(segment, i)->layer == 1)
            block = i;
    devices[block] = -1; // taken apart, so that its parts decide
    devices[block + 1] = 1;
    for (uint32_t i = block + 2; i <= block + 9; i++)
        devices[i] = 1;
    plan_case c = {.graph = graph, .plan = plan_of(graph, choose, devices, false, 4)};
    assert_int_equal(gr_plan_segment_count(c.plan), 3);
    assert_null(gr_plan_segment_at(c.plan, 3));
    const gr_segment *middle = &gr_plan_segment_at(c.plan, 1)->segment;
    assert_int_equal(gr_segment_node(middle, 0)->op, GR_OP_QKV);
    assert_int_equal(middle->node_count, 1 + 7 + 1); // QKV whole, ATTENTION; no half of a block
    uint32_t imports = 0, exports = 0;
    for (uint32_t v = 0; v < middle->value_count; v++) {
        imports += !!(gr_segment_value(middle, v)->flags & GR_VALUE_IMPORT);
        exports += !!(gr_segment_value(middle, v)->flags & GR_VALUE_EXPORT);
    }
    assert_int_equal(imports, 1);
    assert_int_equal(exports, 1);
    expect_structure(&c, false);
    execute(&c, 4);
    gr_plan_destroy(c.plan);
    gr_graph_destroy(graph);
    free(devices);
}

static int32_t refuse_attention(void *context, uint32_t index) {
    const gr_graph *graph = context;
    const gr_node *node = gr_segment_node(gr_graph_segment(graph), index);
    return node->subtree || node->op == GR_OP_ATTENTION ? -1 : 0;
}

static void test_a_node_without_a_device_is_named(void **state) {
    (void)state;
    gr_graph *graph = decoder(2, false);
    gr_plan *plan = (gr_plan *)1;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_plan_create(graph, refuse_attention, graph, false, 4, 1, 1, &plan, &error),
                     GR_ERROR_UNSUPPORTED);
    assert_null(plan);
    assert_non_null(strstr(error.message, "ATTENTION"));
    assert_non_null(strstr(error.message, "layer 0"));
    gr_plan_destroy(NULL);
    gr_graph_destroy(graph);
}

static void test_sizes_that_overflow_are_refused(void **state) {
    (void)state;
    gr_builder *b = builder_new();
    uint32_t x =
        gr_build_embed(b, weight(b, "e/1x268435455"), gr_build_step_field(b, GR_STEP_TOKENS));
    for (int i = 0; i < 4; i++) {
        uint32_t y = gr_build_scale(b, x, 2);
        gr_build_output(b, "y", y);
        x = y;
    }
    gr_graph *graph = finish(b);
    gr_plan *plan;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(
        gr_plan_create(graph, choose_first, NULL, false, UINT32_MAX, 1, 1, &plan, &error),
        GR_ERROR_OUT_OF_RANGE);
    assert_non_null(strstr(error.message, "overflow"));
    gr_plan_destroy(plan);
    gr_graph_destroy(graph);
}

static void test_elements_of_a_value(void **state) {
    (void)state;
    gr_value value = {.kind = GR_VALUE_ACTIVATION, .rank = 2, .dims = {GR_DIM_T, 5, 1, 1}};
    assert_int_equal(gr_value_elements(&value, 3, 2, 1), 15);
    value.dims[0] = GR_DIM_S;
    assert_int_equal(gr_value_elements(&value, 3, 2, 1), 10);
    value.dims[0] = GR_DIM_R;
    assert_int_equal(gr_value_elements(&value, 3, 2, 1), 5);
    value.dims[1] = INT64_MAX;
    assert_int_equal(gr_value_elements(&value, 3, 2, 9), UINT64_MAX);
    value.kind = GR_VALUE_STATE;
    assert_int_equal(gr_value_elements(&value, 3, 2, 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_keep_every_value),
        cmocka_unit_test(test_parts_of_a_composite_can_be_fused),
        cmocka_unit_test(test_arena_reuses_bytes),
        cmocka_unit_test(test_fusion_is_a_choice),
        cmocka_unit_test(test_segments_are_cut_at_device_changes),
        cmocka_unit_test(test_a_node_without_a_device_is_named),
        cmocka_unit_test(test_sizes_that_overflow_are_refused),
        cmocka_unit_test(test_elements_of_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
