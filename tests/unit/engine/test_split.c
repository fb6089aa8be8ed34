// SPDX-License-Identifier: Apache-2.0
// Layers of one model on several devices: what is said, where they lie, and that answers stay the same.
#include "engine/split.h"
#include "fault.h"

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

// Forks, anchors and a cache that rolled go along, and share on the other side what they shared.
static void a_family_moves_between_splits(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("wlist-gqa2"), (gr_model_options){.device = "ref:1,far", .page_tokens = 8});
    int32_t tokens[120];
    uint64_t anchor;
    gr_session *fork = NULL;
    fill_tokens(tokens, 120, 5, vocab_of(model));
    gr_session *session = begin(model, 200, tokens, 64);
    OK(gr_session_anchor(session, &anchor, error));
    OK(gr_session_append_tokens(session, tokens + 64, 48, error)); // whole pages: others are copied for each holder
    logits_of(session);
    OK(gr_session_fork(session, &fork, error));
    uint64_t bytes = gr_kv_cache_bytes_used(model->site->cache);
    OK(gr_model_move(model, "far,ref:1", NULL, NULL, error));
    assert_int_equal(model->site_count, 1);
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), bytes);
    OK(gr_session_append_tokens(fork, tokens + 112, 8, error));
    same_as_fresh(fork);
    OK(gr_session_rewind(session, anchor, error));
    assert_true(gr_session_evaluated(session) >= anchor - 1);
    same_as_fresh(session);
    gr_session_release(fork);
    gr_session_release(session);
    gr_model_release(model);
}

// One of the devices is lost, before or in the middle of its half of a step: answers go on on what is left.
static void a_half_is_lost(const char *lost, const char *left, uint32_t after, fault_call call, gr_status why) {
    enum { ALL = 3, PROMPT = 40 };
    const gr_model_options options = {.device = "ref:1,far", .page_tokens = 8, .chunk = 16};
    gr_model *calm = load_watched(SMALL("wlist-gqa2"), options, 0), *model = load_watched(SMALL("wlist-gqa2"), options, 0);
    int32_t tokens[PROMPT + ALL];
    gr_session *a[ALL], *b[ALL];
    gr_request *expected[ALL], *found[ALL];
    fill_tokens(tokens, PROMPT + ALL, 3, vocab_of(model));
    plant(model->engine, lost, call, after, why);
    for (uint32_t i = 0; i < ALL; i++) {
        a[i] = begin(calm, 100, tokens + i, PROMPT);
        b[i] = begin(model, 100, tokens + i, PROMPT);
        expected[i] = answer(a[i], 30, i + 1);
        found[i] = answer(b[i], 30, i + 1);
    }
    for (uint32_t i = 0; i < ALL; i++) {
        gr_request_info x = finish_answer(a[i], expected[i]), y = finish_answer(b[i], found[i]);
        assert_int_equal(y.stop_reason, GR_STOP_LIMIT);
        assert_memory_equal(x.tokens, y.tokens, x.generated_tokens * sizeof *x.tokens);
        assert_string_equal(x.text, y.text);
        assert_string_equal(gr_session_device(b[i]), left);
        gr_request_release(expected[i]);
        gr_request_release(found[i]);
        gr_session_release(a[i]);
        gr_session_release(b[i]);
    }
    assert_int_equal(seen.events, 1);
    assert_string_equal(seen.device, lost);
    assert_string_equal(seen.next, left);
    assert_string_equal(gr_site_name(model->site), left);
    assert_int_equal(model->site_count, 1);
    cure_all();
    gr_model_release(calm);
    gr_model_release(model);
}

static void the_rest_goes_on(void **state) {
    (void)state;
    for (uint32_t after = 0; after < 12; after += 5) {
        a_half_is_lost("far", "ref", after, AT_STEP, GR_ERROR_DEVICE_LOST);
        a_half_is_lost("ref", "far", after, AT_STEP, GR_ERROR_DEVICE_LOST);
    }
    a_half_is_lost("far", "ref", 0, AT_RESIZE, GR_ERROR_OUT_OF_MEMORY);
    a_half_is_lost("far", "ref", 1, AT_RESIZE, GR_ERROR_DEVICE_LOST);
}

// Pages of both halves come and go together, under a limit that holds a third of the answers.
static void a_split_has_one_limit(void **state) {
    enum { ALL = 6, PROMPT = 30 };
    const char *const specs[] = {"ref", "ref:1,far"};
    int32_t tokens[PROMPT + ALL];
    gr_request_info infos[2][ALL];
    gr_request *requests[2][ALL];
    gr_session *sessions[2][ALL];
    gr_model *models[2];
    uint64_t preemptions = 0, used = 0;
    (void)state;
    for (uint32_t m = 0; m < 2; m++) {
        models[m] = load_alone(SMALL("wlist-gqa2"), (gr_model_options){.device = specs[m],
                                                                       .page_tokens = 8,
                                                                       .chunk = 16,
                                                                       .cache_bytes = used / 3});
        fill_tokens(tokens, PROMPT + ALL, 3, vocab_of(models[m]));
        for (uint32_t i = 0; i < ALL; i++) {
            sessions[m][i] = begin(models[m], 100, tokens + i, PROMPT);
            requests[m][i] = answer(sessions[m][i], 30, i + 1);
        }
        for (uint32_t i = 0; i < ALL; i++)
            infos[m][i] = finish_answer(sessions[m][i], requests[m][i]);
        used = gr_kv_cache_bytes_used(models[m]->site->cache);
    }
    for (uint32_t i = 0; i < ALL; i++) {
        assert_int_equal(infos[1][i].stop_reason, GR_STOP_LIMIT);
        assert_memory_equal(infos[0][i].tokens, infos[1][i].tokens, infos[0][i].generated_tokens * sizeof(int32_t));
        preemptions += stats_of(sessions[1][i]).preemptions;
        for (uint32_t m = 0; m < 2; m++) {
            gr_request_release(requests[m][i]);
            gr_session_release(sessions[m][i]);
        }
    }
    assert_true(preemptions > 0);
    assert_int_equal(gr_kv_cache_bytes_used(models[1]->site->cache), 0);
    gr_model_release(models[0]);
    gr_model_release(models[1]);
}

// Without loading the model.
static void where_layers_would_lie(void **state) {
    static const struct {
        const char *spec, *lies;
    } cases[] = {{"ref", "ref"}, {"far,ref:1", "far:%u,ref:1"}, {"ref:1,far", "ref:1,far:%u"}};
    (void)state;
    gr_engine *engine = open_engine(false);
    gr_model *model = load_alone(SMALL("wlist-gqa2"), (gr_model_options){.device = "ref"});
    uint32_t rest = model->source->hparams.layers - 1;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const gr_model_options options = {.struct_size = sizeof options, .device = cases[i].spec};
        char *found, expected[64];
        OK(gr_model_place(engine, SMALL("wlist-gqa2"), &options, &found, error));
        snprintf(expected, sizeof expected, cases[i].lies, rest);
        assert_string_equal(found, expected);
        gr_text_free(found);
    }
    char *none;
    const gr_model_options nonsense = {.struct_size = sizeof nonsense, .device = "ref:1,far:1,"};
    assert_int_equal(gr_model_place(engine, SMALL("wlist-gqa2"), &nonsense, &none, error), GR_ERROR_INVALID_ARGUMENT);
    assert_null(none);
    gr_model_release(model);
    gr_engine_release(engine);
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
                 {"ref,far", "one may get the rest", GR_ERROR_INVALID_ARGUMENT},
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_lie_where_they_were_put),
        cmocka_unit_test(a_split_moves),
        cmocka_unit_test(a_family_moves_between_splits),
        cmocka_unit_test(the_rest_goes_on),
        cmocka_unit_test(a_split_has_one_limit),
        cmocka_unit_test(where_layers_would_lie),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(memory_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
