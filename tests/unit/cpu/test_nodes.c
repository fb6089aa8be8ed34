// SPDX-License-Identifier: Apache-2.0
// The shipped model on made-up machines of several NUMA nodes: the same logits, bit for bit, as from one
// thread, from raw panels and packed ones.
#include "../engine/fixture.h"

#define MACHINE(name) GREGALE_SOURCE_DIR "/tests/data/topology/" name ".xml"

enum { PROMPT = 16, TOKENS = 14, STEPS = TOKENS + 1 };

// Logits of the prompt and of each token behind it.
static void run(const char *xml, uint32_t threads, float *logits, uint32_t vocab) {
    static const char *const directories[] = {GREGALE_BINARY_DIR "/backends", NULL};
    const gr_engine_options options = {.struct_size = sizeof options,
                                       .threads = threads,
                                       .plugin_directories = directories,
                                       .topology_xml = xml};
    const gr_model_options wanted = {.struct_size = sizeof wanted, .device = "cpu"};
    gr_engine *engine = NULL;
    int32_t tokens[PROMPT + TOKENS];
    const float *row;
    uint32_t count;
    OK(gr_engine_create(&options, &engine, error));
    assert_int_equal(gr_engine_threads(engine), threads);
    gr_model *model = load(engine, BREEZE, &wanted);
    assert_int_equal(vocab_of(model), vocab);
    fill_tokens(tokens, PROMPT + TOKENS, 3, vocab);
    gr_session *session = begin(model, 256, tokens, PROMPT);
    for (uint32_t i = 0; i < STEPS; i++) {
        if (i)
            OK(gr_session_append_tokens(session, &tokens[PROMPT + i - 1], 1, error));
        OK(gr_session_logits(session, &row, &count, NULL, error));
        memcpy(logits + (size_t)i * vocab, row, vocab * sizeof *row);
    }
    gr_session_release(session);
    gr_model_release(model);
    gr_engine_release(engine);
}

static void test_nodes_change_no_bit(void **state) {
    (void)state;
    enum { VOCAB = 2048 };
    static const struct {
        const char *xml;
        uint32_t threads;
    } machines[] = {{MACHINE("numa"), 4}, {MACHINE("wide"), 12}};
    float *one = calloc((size_t)2 * STEPS * VOCAB, sizeof *one), *other = one + STEPS * VOCAB;
    assert_non_null(one);
    run(NULL, 1, one, VOCAB);
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        run(machines[i].xml, machines[i].threads, other, VOCAB);
        assert_memory_equal(one, other, (size_t)STEPS * VOCAB * sizeof *one);
    }
    free(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nodes_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
