// SPDX-License-Identifier: Apache-2.0
// From a file to a graph: every tensor is read exactly once, or the model is refused by the
// tensor's name.
#include "model_test.h"

static gr_status graph_of(const gguf_writer *writer, gr_graph **out_graph, gr_error *error) {
    gr_model_source *source;
    if (open_source(writer, NULL, &source, error) != GR_OK)
        fail_msg("%s", error->message);
    gr_status status = gr_model_source_graph(source, out_graph, error);
    gr_model_source_close(source); // the graph borrows nothing from it
    return status;
}

static gr_graph *good_graph(const gguf_writer *writer) {
    gr_graph *graph;
    gr_error error;
    if (graph_of(writer, &graph, &error) != GR_OK)
        fail_msg("%s", error.message);
    return graph;
}

static const gr_value *output(const gr_graph *graph, const char *name) {
    for (uint32_t i = 0; i < gr_graph_output_count(graph); i++)
        if (strcmp(gr_graph_output_at(graph, i)->name, name) == 0)
            return gr_segment_value(gr_graph_segment(graph), gr_graph_output_at(graph, i)->value);
    fail_msg("no output %s", name);
    return NULL;
}

static uint32_t count_ops(const gr_graph *graph, gr_op op) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < gr_graph_segment(graph)->node_count; i++)
        count += gr_segment_node(gr_graph_segment(graph), i)->op == op;
    return count;
}

static gguf_writer tiny_writer(const gguf_tiny *tiny) {
    gguf_writer writer;
    gguf_writer_init(&writer);
    gguf_writer_tiny(&writer, tiny);
    return writer;
}

static void test_a_tied_model_becomes_a_graph(void **state) {
    (void)state;
    gguf_tiny tiny = {.layers = 3, .window = 16};
    gguf_writer writer = tiny_writer(&tiny);
    gr_graph *graph = good_graph(&writer);
    assert_int_equal(gr_graph_weight_count(graph), 1 + 3 * 9 + 1);
    assert_int_equal(gr_graph_cache_layer_count(graph), 3);
    const gr_attrs_attention *attention = gr_graph_cache_layer(graph, 2);
    assert_int_equal(attention->window, 16);
    assert_int_equal(attention->heads, 4);
    assert_int_equal(attention->kv_heads, 2);
    assert_int_equal(attention->k_dim, 16);
    assert_true(attention->scale == 0.25f);
    assert_int_equal(output(graph, "logits")->dims[0], GR_DIM_R);
    assert_int_equal(output(graph, "logits")->dims[1], 96);
    assert_int_equal(output(graph, "hidden")->dims[1], 64);
    assert_int_equal(count_ops(graph, GR_OP_ATTN_BLOCK), 3);
    assert_int_equal(count_ops(graph, GR_OP_FFN_BLOCK), 3);
    assert_int_equal(count_ops(graph, GR_OP_MATMUL), 3 * 7 + 1);
    assert_int_equal(count_ops(graph, GR_OP_ROPE), 3 * 2);
    assert_int_equal(count_ops(graph, GR_OP_GATHER_ROWS), 1);
    gr_graph_destroy(graph);
    gguf_writer_deinit(&writer);
}

static void test_every_optional_part_is_taken(void **state) {
    (void)state;
    static const char *const names[] = {"blk.0.attn_q.bias",        "blk.0.attn_k.bias",
                                        "blk.0.attn_v.bias",        "blk.0.attn_output.bias",
                                        "blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight",
                                        "rope_freqs.weight"};
    static const int64_t sizes[] = {96, 24, 24, 64, 24, 24, 12};
    float ones[96];
    gguf_tiny tiny = {
        .architecture = "mistral", .layers = 1, .kv_heads = 1, .head_dim = 24, .untied = true};
    gguf_writer writer = tiny_writer(&tiny);
    for (int i = 0; i < 96; i++)
        ones[i] = 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        gguf_tensor(&writer, names[i], GR_DTYPE_F32, 1, &sizes[i], ones);
    gr_graph *graph = good_graph(&writer);
    assert_int_equal(gr_graph_weight_count(graph), 3 + 9 + 6);
    assert_int_equal(gr_graph_cache_layer(graph, 0)->k_dim, 24);
    gr_graph_destroy(graph);
    gguf_writer_deinit(&writer);
}

static void test_the_shipped_model_has_its_window(void **state) {
    (void)state;
    static const char *const files[] = {"breeze-f16.gguf", "breeze-q8_0.gguf"};
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        gr_model_source *source;
        gr_graph *graph;
        gr_error error;
        snprintf(path, sizeof path, "%s/configs/models/breeze/%s", GREGALE_SOURCE_DIR, files[i]);
        assert_int_equal(gr_model_source_open(path, NULL, &source, &error), GR_OK);
        assert_int_equal(gr_model_source_graph(source, &graph, &error), GR_OK);
        for (uint32_t layer = 0; layer < gr_graph_cache_layer_count(graph); layer++)
            assert_int_equal(gr_graph_cache_layer(graph, layer)->window, 64);
        assert_string_equal(source->notice, "");
        gr_graph_destroy(graph);
        gr_model_source_close(source);
    }
}

// The golden checkpoints, with the windows of their first two layers as tests/golden/README.md
// lists them.
static void test_golden_models_become_graphs(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t layers, first, second;
        gr_rope_scaling scaling;
        bool tied;
    } goldens[] = {{"w8-gqa4", 3, 8, 8, GR_ROPE_SCALING_NONE, true},
                   {"w16-gqa1", 2, 16, 16, GR_ROPE_SCALING_NONE, false},
                   {"w64-gqa8", 2, 64, 64, GR_ROPE_SCALING_NONE, false},
                   {"wlist-gqa2", 4, 8, 0, GR_ROPE_SCALING_NONE, true},
                   {"wpattern-gqa4", 2, 8, 0, GR_ROPE_SCALING_NONE, true},
                   {"full-gqa4", 2, 0, 0, GR_ROPE_SCALING_NONE, false},
                   {"linear-w16-gqa8", 2, 16, 16, GR_ROPE_SCALING_LINEAR, true},
                   {"llama3-full-gqa4", 2, 0, 0, GR_ROPE_SCALING_NONE, true},
                   {"yarn-w16-gqa2", 2, 16, 16, GR_ROPE_SCALING_YARN, true}};
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        char path[512];
        gr_model_source *source;
        gr_graph *graph = NULL;
        gr_error error;
        snprintf(path, sizeof path, "%s/tests/golden/models/%s.gguf", GREGALE_SOURCE_DIR,
                 goldens[i].name);
        if (gr_model_source_open(path, NULL, &source, &error) != GR_OK ||
            gr_model_source_graph(source, &graph, &error) != GR_OK)
            fail_msg("%s", error.message);
        assert_int_equal(gr_graph_cache_layer_count(graph), goldens[i].layers);
        assert_int_equal(gr_graph_cache_layer(graph, 0)->window, goldens[i].first);
        assert_int_equal(gr_graph_cache_layer(graph, 1)->window, goldens[i].second);
        assert_int_equal(source->hparams.rope.scaling, goldens[i].scaling);
        assert_int_equal(source->hparams.tied_embeddings, goldens[i].tied);
        assert_true(!source->hparams.rope.factors == (strncmp(goldens[i].name, "llama3", 6) != 0));
        gr_graph_destroy(graph);
        gr_model_source_close(source);
    }
}

static gguf_writer_tensor *tensor(gguf_writer *writer, const char *name) {
    for (uint64_t i = 0; i < writer->tensor_count; i++)
        if (strcmp(writer->tensors[i].name, name) == 0)
            return &writer->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void missing(gguf_writer *w) {
    tensor(w, "blk.1.attn_k.weight")->name[4] = '7';
}
static void missing_norm(gguf_writer *w) {
    tensor(w, "output_norm.weight")->name[0] = 'x';
}
static void narrow(gguf_writer *w) {
    tensor(w, "blk.1.ffn_up.weight")->dims[1] = 95;
}
static void turned(gguf_writer *w) {
    uint64_t *dims = tensor(w, "blk.0.ffn_down.weight")->dims;
    dims[0] = 64;
    dims[1] = 96;
}
static void flat(gguf_writer *w) {
    gguf_writer_tensor *t = tensor(w, "blk.0.attn_q.weight");
    t->rank = 1;
    t->dims[0] = 64 * 64;
}
static void deep(gguf_writer *w) {
    gguf_writer_tensor *t = tensor(w, "blk.0.attn_q.weight");
    t->rank = 3;
    t->dims[2] = 1;
}
static void norm_in_f16(gguf_writer *w) {
    tensor(w, "blk.0.attn_norm.weight")->type = GR_DTYPE_F16;
}
static void matrix_in_i32(gguf_writer *w) {
    tensor(w, "blk.0.attn_v.weight")->type = GR_DTYPE_I32;
}
static void leftover(gguf_writer *w) {
    static const int64_t dims[1] = {64};
    gguf_tensor(w, "blk.0.attn_sinks.weight", GR_DTYPE_F32, 1, dims, NULL);
}
static void short_bias(gguf_writer *w) {
    static const int64_t dims[1] = {63};
    gguf_tensor(w, "blk.0.attn_q.bias", GR_DTYPE_F32, 1, dims, NULL);
}
static void wide_head(gguf_writer *w) {
    static const int64_t dims[2] = {97, 64};
    gguf_tensor(w, "output.weight", GR_DTYPE_F32, 2, dims, NULL);
}

static const struct {
    void (*spoil)(gguf_writer *writer);
    const char *tensor;
} spoiled[] = {{missing, "blk.1.attn_k.weight"},
               {missing_norm, "output_norm.weight"},
               {narrow, "blk.1.ffn_up.weight"},
               {turned, "blk.0.ffn_down.weight"},
               {flat, "blk.0.attn_q.weight"},
               {deep, "blk.0.attn_q.weight"},
               {norm_in_f16, "blk.0.attn_norm.weight"},
               {matrix_in_i32, "blk.0.attn_v.weight"},
               {leftover, "blk.0.attn_sinks.weight"},
               {short_bias, "blk.0.attn_q.bias"},
               {wide_head, "output.weight"}};

static void test_wrong_tensors_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof spoiled / sizeof spoiled[0]; i++) {
        gguf_tiny tiny = {0};
        gguf_writer writer = tiny_writer(&tiny);
        gr_graph *graph = (gr_graph *)&writer;
        gr_error error;
        spoiled[i].spoil(&writer);
        if (graph_of(&writer, &graph, &error) == GR_OK)
            fail_msg("case %zu: %s was accepted", i, spoiled[i].tensor);
        assert_null(graph);
        assert_says(&error, spoiled[i].tensor);
        assert_says(&error, "/tmp/gregale-model-");
        gguf_writer_deinit(&writer);
    }
}

// Every corruption of one byte of a small model either is refused or gives a graph; nothing
// crashes.
static void test_corrupted_models_never_crash(void **state) {
    (void)state;
    gguf_tiny tiny = {
        .layers = 1, .dim = 8, .ffn_dim = 8, .heads = 2, .kv_heads = 1, .vocab = 4, .window = 4};
    gguf_writer writer = tiny_writer(&tiny);
    size_t size, graphs = 0, refused = 0;
    uint8_t *bytes = gguf_writer_bytes(&writer, &size);
    for (size_t i = 0; i < 1400 && i < size; i++) {
        char path[64];
        gr_model_source *source;
        gr_graph *graph = NULL;
        gr_error error;
        uint8_t kept = bytes[i];
        bytes[i] = (uint8_t)(kept ^ (1u << (i % 8)));
        write_temporary(bytes, size, path);
        gr_error_init(&error);
        gr_status status = gr_model_source_open(path, NULL, &source, &error);
        if (status == GR_OK)
            status = gr_model_source_graph(source, &graph, &error);
        unlink(path);
        assert_true(status == GR_OK || error.message[0]);
        graphs += status == GR_OK;
        refused += status != GR_OK;
        gr_graph_destroy(graph);
        gr_model_source_close(source);
        bytes[i] = kept;
    }
    assert_true(graphs > 0 && refused > graphs);
    free(bytes);
    gguf_writer_deinit(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tied_model_becomes_a_graph),
        cmocka_unit_test(test_every_optional_part_is_taken),
        cmocka_unit_test(test_the_shipped_model_has_its_window),
        cmocka_unit_test(test_golden_models_become_graphs),
        cmocka_unit_test(test_wrong_tensors_are_named),
        cmocka_unit_test(test_corrupted_models_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
