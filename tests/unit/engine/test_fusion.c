// SPDX-License-Identifier: Apache-2.0
// Fusion changes no bit: composites that a device runs whole give the logits of their parts,
// however the tokens are cut into steps. And where nothing can be fused, the host takes them apart.
#include "fixture.h"

enum { TOKENS = 100 }; // past breeze's window

static gr_model *load_on_cpu(const char *path, bool no_fusion) {
    const gr_model_options options = {.struct_size = sizeof options, .device = "cpu", .chunk = 48};
    gr_engine *engine = open_engine(false);
    engine->no_fusion = no_fusion;
    gr_model *model = load(engine, path, &options);
    gr_engine_release(engine);
    return model;
}

// Nodes of `op` that run whole.
static uint32_t whole(const gr_model *model, gr_op op) {
    const gr_segment *segment = gr_graph_segment(model->graph);
    uint32_t count = 0;
    for (uint32_t i = 0; i < segment->node_count; i++)
        count += gr_segment_node(segment, i)->op == op &&
                 gr_placement_choose(model->site->placement, i) >= 0;
    return count;
}

// Feeds both models in steps of `piece` tokens; after every step their logits are the same.
static void same_logits(gr_model *a, gr_model *b, size_t piece) {
    int32_t tokens[TOKENS];
    fill_tokens(tokens, TOKENS, 5, vocab_of(a));
    gr_session *one = begin(a, 128, tokens, 1), *other = begin(b, 128, tokens, 1);
    for (size_t fed = 1; fed < TOKENS; fed += piece) {
        size_t count = TOKENS - fed < piece ? TOKENS - fed : piece;
        OK(gr_session_append_tokens(one, tokens + fed, count, error));
        OK(gr_session_append_tokens(other, tokens + fed, count, error));
        assert_memory_equal(logits_of(one), logits_of(other), vocab_of(a) * sizeof(float));
    }
    same_as_fresh(one); // whole chunks give what small steps gave
    gr_session_release(one);
    gr_session_release(other);
}

static void fused_gives_the_bits_of_unfused(void **state) {
    (void)state;
    gr_model *fused = load_on_cpu(BREEZE, false), *apart = load_on_cpu(BREEZE, true);
    uint32_t layers = fused->source->hparams.layers, blocks = whole(fused, GR_OP_FFN_BLOCK);
    assert_int_equal(whole(apart, GR_OP_FFN_BLOCK) + whole(apart, GR_OP_ATTN_BLOCK), 0);
    if (blocks) { // not in plain C
        assert_int_equal(blocks, layers);
        assert_int_equal(whole(fused, GR_OP_ATTN_BLOCK), layers);
        assert_int_equal(whole(fused, GR_OP_NORM_MATMUL), 1);
    }
    same_logits(fused, apart, 1);
    same_logits(fused, apart, 7);
    same_logits(fused, apart, TOKENS);
    gr_model_release(fused);
    gr_model_release(apart);
    if (!blocks)
        skip();
}

static void float_weights_are_taken_apart(void **state) {
    (void)state;
    gr_model *model = load_on_cpu(SMALL("w8-gqa4"), false);
    assert_int_equal(whole(model, GR_OP_FFN_BLOCK) + whole(model, GR_OP_ATTN_BLOCK), 0);
    assert_true(whole(model, GR_OP_MATMUL) > 0);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_gives_the_bits_of_unfused),
        cmocka_unit_test(float_weights_are_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
