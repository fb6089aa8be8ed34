// SPDX-License-Identifier: Apache-2.0
// Moves beside each other, and beside everything else that may happen to a session meanwhile.
#include "fault.h"

static gr_model *open_model(int32_t tokens[200], gr_session **out_session, uint32_t evaluated) {
    gr_model *model = load_watched(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 8, .chunk = 16}, 0);
    fill_tokens(tokens, 200, 5, vocab_of(model));
    *out_session = begin(model, 300, tokens, evaluated);
    logits_of(*out_session);
    return model;
}

static gr_move_info move_info_of(const gr_move *going) {
    gr_move_info info = {.struct_size = sizeof info};
    gr_move_info_get(going, &info, NULL);
    return info;
}

static void step(gr_model *model) {
    bool worked;
    gr_engine_step(model->engine, &worked, NULL);
}

// Steps until the move is over, or has come to `stage`.
static void go_to(gr_model *model, const gr_move *going, gr_move_stage stage) {
    for (uint32_t i = 0; i < 100000; i++) {
        gr_move_stage now = move_info_of(going).stage;
        if (now == stage || now == GR_MOVE_DONE || now == GR_MOVE_FAILED)
            return;
        step(model);
    }
    fail_msg("the move does not end");
}

static gr_move *start(gr_session *session, const char *device) {
    gr_move *going = NULL;
    OK(gr_session_move_start(session, device, NULL, &going, error));
    return going;
}

// The second waits for the weights of the first, or takes over when that is cancelled.
static void two_moves_to_one_place(void **state) {
    (void)state;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        int32_t tokens[200];
        gr_session *session;
        gr_model *model = open_model(tokens, &session, 50);
        gr_move *first = start(session, other_device()), *second = start(session, other_device());
        assert_int_equal(model->site_count, 2);
        if (cancelled)
            gr_move_release(first);
        go_to(model, second, GR_MOVE_DONE);
        assert_int_equal(move_info_of(second).stage, GR_MOVE_DONE);
        if (!cancelled) {
            go_to(model, first, GR_MOVE_DONE);
            assert_int_equal(move_info_of(first).stage, GR_MOVE_DONE);
            gr_move_release(first);
        }
        gr_move_release(second);
        assert_string_equal(gr_session_device(session), other_device());
        assert_int_equal(model->site_count, 2); // new sessions live where they did
        same_as_fresh(session);
        gr_session_release(session);
        assert_int_equal(model->site_count, 1);
        gr_model_release(model);
    }
}

static void two_moves_to_two_places(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    const gr_move_options unchecked = {.struct_size = sizeof unchecked, .no_check = 1};
    gr_move *first = start(session, other_device()), *second = NULL;
    OK(gr_session_move_start(session, "cpu", &unchecked, &second, error));
    go_to(model, first, GR_MOVE_DONE);
    go_to(model, second, GR_MOVE_DONE);
    assert_int_equal(move_info_of(first).stage, GR_MOVE_DONE);
    assert_int_equal(move_info_of(second).stage, GR_MOVE_DONE);
    const char *last = gr_session_device(session);
    assert_true(!strcmp(last, other_device()) || !strcmp(last, "cpu"));
    gr_move_release(first);
    gr_move_release(second);
    OK(gr_session_append_tokens(session, tokens + 50, 20, error));
    logits_of(session);
    gr_session_release(session);
    assert_int_equal(model->site_count, 1);
    gr_model_release(model);
}

static void a_session_moves_while_its_model_does(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    gr_session *other = begin(model, 300, tokens, 70);
    gr_move *all = NULL, *one = start(session, other_device());
    OK(gr_model_move_start(model, other_device(), NULL, &all, error));
    go_to(model, all, GR_MOVE_DONE);
    go_to(model, one, GR_MOVE_DONE);
    assert_int_equal(move_info_of(all).stage, GR_MOVE_DONE);
    assert_int_equal(move_info_of(one).stage, GR_MOVE_DONE);
    gr_move_release(all);
    gr_move_release(one);
    assert_int_equal(model->site_count, 1);
    assert_string_equal(gr_site_name(model->site), other_device());
    same_as_fresh(session);
    same_as_fresh(other);
    gr_session_release(session);
    gr_session_release(other);
    gr_model_release(model);
}

// Whoever made them lets go of everything but the move, which brings it to its end and then lets go too.
static void everything_is_let_go_of(void **state) {
    (void)state;
    for (gr_move_stage stage = GR_MOVE_PREPARE; stage <= GR_MOVE_DONE; stage++) {
        int32_t tokens[200];
        gr_session *session;
        gr_model *model = open_model(tokens, &session, 50);
        gr_move *going = start(session, other_device());
        go_to(model, going, stage);
        gr_session_release(session);
        gr_model_release(model);
        if (stage != GR_MOVE_COPY)
            go_to(model, going, GR_MOVE_DONE);
        gr_move_release(going);
    }
}

static void a_model_moves_though_its_sessions_end(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    gr_move *going = NULL;
    OK(gr_model_move_start(model, other_device(), NULL, &going, error));
    go_to(model, going, GR_MOVE_COPY);
    gr_session_release(session);
    go_to(model, going, GR_MOVE_DONE);
    assert_int_equal(move_info_of(going).stage, GR_MOVE_DONE);
    gr_move_release(going);
    assert_int_equal(model->site_count, 1);
    session = begin(model, 300, tokens, 20);
    assert_string_equal(gr_session_device(session), other_device());
    gr_session_release(session);
    gr_model_release(model);
}

// Requests end, by themselves or cancelled, and sessions go back, between any two slices.
static void a_request_is_cancelled(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    const gr_generate_options wanted = {.struct_size = sizeof wanted, .ignore_end = 1, .seed = 3};
    gr_request *request = NULL;
    OK(gr_request_start(session, &wanted, &request, error));
    gr_move *going = start(session, other_device());
    go_to(model, going, GR_MOVE_COPY);
    gr_request_cancel(request);
    go_to(model, going, GR_MOVE_DONE);
    assert_int_equal(move_info_of(going).stage, GR_MOVE_DONE);
    gr_request_release(request);
    gr_move_release(going);
    logits_of(session);
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// Goes back and on, all through the move.
static void it_goes_back_all_the_time(void **state) {
    (void)state;
    gr_model *model = load_watched(SMALL("full-gqa4"), (gr_model_options){.page_tokens = 8, .chunk = 16}, 0);
    int32_t tokens[200];
    fill_tokens(tokens, 200, 5, vocab_of(model));
    gr_session *session = begin(model, 300, tokens, 160);
    logits_of(session);
    gr_move *going = start(session, other_device());
    for (uint32_t i = 0; move_info_of(going).stage < GR_MOVE_DONE && i < 100000; i++) {
        if (i % 3 == 0) {
            uint64_t back = 100 + i * 7 % 50;
            OK(gr_session_rewind(session, back, error));
            OK(gr_session_append_tokens(session, tokens + i % 60, 160 - back, error));
        }
        step(model);
    }
    assert_int_equal(move_info_of(going).stage, GR_MOVE_DONE);
    gr_move_release(going);
    logits_of(session);
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// Rewound as far back as the cache holds: its last token cannot be evaluated again, so nothing is compared.
static void at_the_edge_of_the_reserve(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 200);
    uint64_t least = 200;
    while (gr_kv_seq_can_truncate(&session->pages, least - 1))
        least--;
    gr_kv_seq_truncate(&session->pages, least);
    OK(gr_session_move(session, other_device(), NULL, NULL, error));
    assert_string_equal(gr_session_device(session), other_device());
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// A longer context asks for longer page tables while the new device is being readied.
static void tables_grow_meanwhile(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    gr_move *going = start(session, other_device());
    gr_session *longer = begin(model, 50000, tokens, 60);
    go_to(model, going, GR_MOVE_DONE);
    assert_int_equal(move_info_of(going).stage, GR_MOVE_DONE);
    gr_move_release(going);
    OK(gr_session_move(longer, other_device(), NULL, NULL, error));
    same_as_fresh(session);
    same_as_fresh(longer);
    gr_session_release(session);
    gr_session_release(longer);
    gr_model_release(model);
}

// A name, the plugin's and the device's, and layers that are all there are lead to one place.
static void names_lead_to_one_place(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    char spec[64];
    snprintf(spec, sizeof spec, "%s.%s", test_device(), test_device());
    OK(gr_session_move(session, spec, NULL, NULL, error));
    snprintf(spec, sizeof spec, "%s:%u", test_device(), model->source->hparams.layers);
    OK(gr_session_move(session, spec, NULL, NULL, error));
    assert_int_equal(model->site_count, 1);
    gr_session_release(session);
    gr_model_release(model);
}

// Weight by weight, so that nobody waits for all of them.
static void a_place_is_left_in_steps(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    gr_site *site = NULL;
    uint32_t slices = 1;
    OK(gr_site_open(model, other_device(), &site, error));
    OK(gr_site_import(site, NULL, NULL, error));
    OK(gr_site_ready(site, error));
    while (!gr_site_shrink(site, 0))
        slices++;
    assert_int_equal(slices, gr_graph_weight_count(model->graph) + 1);
    assert_null(gr_site_find(model, other_device()));
    gr_site_release(site);
    gr_session_release(session);
    gr_model_release(model);
}

static bool interrupt(void *context, const gr_move_info *info) {
    if (info->stage == GR_MOVE_COPY)
        gr_engine_interrupt(context);
    return true;
}

static void interrupted(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    const gr_move_options options = {
        .struct_size = sizeof options, .shadow_tokens = 5, .progress = interrupt, .progress_context = model->engine};
    assert_int_equal(gr_session_move(session, other_device(), &options, NULL, error), GR_ERROR_CANCELLED);
    assert_false(gr_engine_interrupt_take(model->engine));
    assert_int_equal(model->site_count, 1);
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

// ---- Shadows

// Nobody generates, so nothing would ever be compared; the engine says that it has nothing to do.
static void a_shadow_needs_tokens(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = 5};
    gr_move_info info = {.struct_size = sizeof info};
    gr_move *going = NULL;
    bool worked = true;
    assert_int_equal(gr_session_move(session, other_device(), &options, &info, error), GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(info.stage, GR_MOVE_SHADOW);
    assert_int_equal(gr_model_move(model, other_device(), &options, NULL, error), GR_ERROR_INVALID_ARGUMENT);
    OK(gr_session_move_start(session, other_device(), &options, &going, error));
    for (uint32_t i = 0; worked && i < 100000; i++)
        OK(gr_engine_step(model->engine, &worked, error));
    assert_false(worked);
    gr_move_release(going);
    assert_int_equal(model->site_count, 1);
    gr_session_release(session);
    gr_model_release(model);
}

static void a_shadow_goes_back_too(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = 6, .bound = 1e-12};
    gr_move *going = NULL;
    OK(gr_session_move_start(session, other_device(), &options, &going, error));
    go_to(model, going, GR_MOVE_SHADOW);
    for (uint32_t i = 0; move_info_of(going).stage == GR_MOVE_SHADOW && i < 20; i++) {
        if (i == 2)
            OK(gr_session_rewind(session, 40, error));
        if (i == 3) { // and so that it is further than before when the shadow looks
            OK(gr_session_rewind(session, 38, error));
            OK(gr_session_append_tokens(session, tokens + 150, 12, error));
        }
        OK(gr_session_append_tokens(session, tokens + 100 + i, 1, error));
        logits_of(session);
    }
    assert_int_equal(move_info_of(going).stage, GR_MOVE_DONE);
    assert_int_equal(move_info_of(going).compared, 6);
    assert_int_equal(move_info_of(going).agreed, 6);
    assert_true(move_info_of(going).difference == 0);
    gr_move_release(going);
    assert_string_equal(gr_session_device(session), other_device());
    same_as_fresh(session);
    gr_session_release(session);
    gr_model_release(model);
}

static void a_shadow_is_overtaken(void **state) {
    (void)state;
    int32_t tokens[200];
    gr_session *session;
    gr_model *model = open_model(tokens, &session, 50);
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = 6};
    gr_move *going = NULL;
    OK(gr_session_move_start(session, other_device(), &options, &going, error));
    go_to(model, going, GR_MOVE_SHADOW);
    OK(gr_session_move(session, other_device(), NULL, NULL, error));
    go_to(model, going, GR_MOVE_DONE);
    assert_int_equal(move_info_of(going).stage, GR_MOVE_DONE);
    gr_move_release(going);
    gr_session_release(session);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_moves_to_one_place),
        cmocka_unit_test(two_moves_to_two_places),
        cmocka_unit_test(a_session_moves_while_its_model_does),
        cmocka_unit_test(everything_is_let_go_of),
        cmocka_unit_test(a_model_moves_though_its_sessions_end),
        cmocka_unit_test(a_request_is_cancelled),
        cmocka_unit_test(it_goes_back_all_the_time),
        cmocka_unit_test(at_the_edge_of_the_reserve),
        cmocka_unit_test(tables_grow_meanwhile),
        cmocka_unit_test(names_lead_to_one_place),
        cmocka_unit_test(a_place_is_left_in_steps),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(a_shadow_needs_tokens),
        cmocka_unit_test(a_shadow_goes_back_too),
        cmocka_unit_test(a_shadow_is_overtaken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
