// SPDX-License-Identifier: Apache-2.0
// Layers of one model on several devices: what is said, where they lie, and that answers stay the same.
#include "engine/split.h"
#include "fixture.h"

static uint32_t layers_on(const gr_model *model, const char *device) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < gr_graph_cache_layer_count(model->graph); i++) {
        uint32_t d = gr_placement_cache_device(model->site->placement, i);
        count += strcmp(model->site->devices[d].opened->name, device) == 0;
    }
    return count;
}

static void same_as_whole(const char *path, const char *spec, uint32_t on_ref) {
    gr_model *whole = load_alone(path, (gr_model_options){.device = "ref", .page_tokens = 8});
    gr_model *split = load_alone(path, (gr_model_options){.device = spec, .page_tokens = 8, .chunk = 16});
    int32_t tokens[90];
    fill_tokens(tokens, 90, 4, vocab_of(whole));
    gr_session *a = begin(whole, 100, tokens, 90), *b = begin(split, 100, tokens, 90);
    assert_memory_equal(logits_of(a), logits_of(b), vocab_of(whole) * sizeof(float));
    assert_int_equal(layers_on(split, "ref"), on_ref);
    assert_string_equal(gr_session_device(b), split->site->name);
    gr_session_release(a);
    gr_session_release(b);
    gr_model_release(whole);
    gr_model_release(split);
}

static void layers_lie_where_they_were_put(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("wlist-gqa2"), (gr_model_options){.device = "ref"});
    uint32_t layers = model->source->hparams.layers;
    gr_model_release(model);
    assert_true(layers >= 2);
    char spec[64];
    for (uint32_t first = 1; first < layers; first++) {
        snprintf(spec, sizeof spec, "ref:%u,far:%u", first, layers - first);
        same_as_whole(SMALL("wlist-gqa2"), spec, first);
        snprintf(spec, sizeof spec, "far,ref:%u", first);
        same_as_whole(SMALL("wlist-gqa2"), spec, first);
    }
}

static void a_split_moves(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.device = "ref", .page_tokens = 8});
    int32_t tokens[90];
    fill_tokens(tokens, 90, 4, vocab_of(model));
    gr_session *stays = begin(model, 100, tokens, 90), *moves = begin(model, 100, tokens, 60);
    logits_of(stays);
    logits_of(moves);
    OK(gr_session_move(moves, "far,ref:1", NULL, NULL, error));
    OK(gr_session_append_tokens(moves, tokens + 60, 15, error));
    logits_of(moves);
    OK(gr_session_move(moves, "ref:1,far", NULL, NULL, error));
    OK(gr_session_append_tokens(moves, tokens + 75, 15, error));
    assert_memory_equal(logits_of(moves), logits_of(stays), vocab_of(model) * sizeof(float));
    gr_session_release(stays);
    gr_session_release(moves);
    gr_model_release(model);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *spec, *says;
        gr_status status;
    } cases[] = {{"ref:1,nowhere:1", "no device is called nowhere", GR_ERROR_NOT_FOUND},
                 {"ref:1,ref:1", "twice", GR_ERROR_INVALID_ARGUMENT},
                 {"ref:1000000,far", "the model has", GR_ERROR_INVALID_ARGUMENT},
                 {"ref:1", "the model has", GR_ERROR_INVALID_ARGUMENT},
                 {"ref,far", "the model has", GR_ERROR_INVALID_ARGUMENT},
                 {"ref:x,far", "expected a number of layers", GR_ERROR_INVALID_ARGUMENT},
                 {"ref:0,far", "no layers", GR_ERROR_INVALID_ARGUMENT},
                 {":3,far", "expected DEVICE:LAYERS", GR_ERROR_INVALID_ARGUMENT},
                 {",", "expected DEVICE:LAYERS", GR_ERROR_INVALID_ARGUMENT}};
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.device = "ref"});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_split split;
        gr_error_init(error);
        assert_int_equal(gr_split_parse(model, cases[i].spec, &split, error), cases[i].status);
        if (!strstr(error->message, cases[i].says))
            fail_msg("%s: %s", cases[i].spec, error->message);
    }
    gr_model_release(model);
}

// Free memory of made-up devices decides.
static void memory_decides(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("full-gqa4"), (gr_model_options){.device = "ref"});
    gr_registry *registry = model->engine->registry;
    uint32_t layers = model->source->hparams.layers, count = gr_registry_device_count(registry);
    gr_split all, split;
    for (uint32_t i = 0; i < count; i++)
        ((gr_device_entry *)(uintptr_t)gr_registry_device(registry, i))->facts.memory_free_bytes = 1000;
    assert_int_equal(gr_split_parse(model, "split", &all, error), GR_ERROR_OUT_OF_MEMORY);
    uint64_t *first = &((gr_device_entry *)(uintptr_t)gr_registry_device(registry, 0))->facts.memory_free_bytes;
    for (*first = 1000; gr_split_parse(model, "split", &all, NULL) != GR_OK; *first += *first / 2)
        ; // until one holds them all
    assert_int_equal(all.count, 1);
    *first = *first / layers;
    ((gr_device_entry *)(uintptr_t)gr_registry_device(registry, 1))->facts.memory_free_bytes = UINT64_C(1) << 40;
    OK(gr_split_parse(model, "split", &split, error));
    uint32_t sum = 0;
    for (uint32_t i = 0; i < split.count; i++)
        sum += split.layers[i];
    assert_int_equal(sum, layers);
    assert_int_equal(split.devices[split.count - 1], 1);
    assert_true(split.layers[0] < layers || split.count == 1);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers_lie_where_they_were_put), cmocka_unit_test(a_split_moves),
                                       cmocka_unit_test(nonsense_is_refused), cmocka_unit_test(memory_decides)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
