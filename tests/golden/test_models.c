// SPDX-License-Identifier: Apache-2.0
// Every small checkpoint on every host backend gives transformers' logits and residual streams,
// however the prompt is cut: whole, in chunks, token by token past the window, with pages that roll
// early.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

#define MODELS GREGALE_SOURCE_DIR "/tests/golden/models/"

// One way to feed a prompt. `last_only`: logits of the last row alone, so that a prompt longer than
// a step's output rows is one step; the streams still tell about every row.
typedef struct way {
    const char *name;
    uint32_t chunk;
    uint64_t piece;
    uint32_t page_tokens, reserve; // 0: default
    bool last_only, no_fusion;
} way;

static const way ways[] = {
    {.name = "whole", .chunk = 512, .last_only = true},
    {.name = "whole, every row asked", .chunk = 512},
    {.name = "whole, unfused", .chunk = 512, .last_only = true, .no_fusion = true},
    {.name = "chunks of 3", .chunk = 3},
    {.name = "chunks of 7, small pages", .chunk = 7, .page_tokens = 4, .reserve = 1},
    {.name = "token by token", .chunk = 512, .piece = 1},
    {.name = "token by token, small pages",
     .chunk = 512,
     .piece = 1,
     .page_tokens = 4,
     .reserve = 1},
    {.name = "5 at a time, small pages", .chunk = 512, .piece = 5, .page_tokens = 8, .reserve = 1},
};

typedef struct worst {
    double logits, streams; // in tolerances
} worst;

static void compare_case(const gr_model_file *golden, uint32_t index, const golden_view *view,
                         bool last_only, worst *out) {
    const gr_tensor_info *positions = golden_tensor(golden, GR_DTYPE_I32, index, "positions");
    const gr_tensor_info *logits = golden_tensor(golden, GR_DTYPE_F32, index, "logits");
    const int32_t *at = positions->data;
    uint64_t count = (uint64_t)positions->dims[0];
    double tolerance = golden_number(golden, "golden.tolerance");
    double tolerance_layer = golden_number(golden, "golden.tolerance_layer");
    assert_true(logits->dims[0] == (int64_t)count && logits->dims[1] == view->vocab);
    assert_int_equal(at[count - 1], view->count - 1);
    for (uint64_t p = 0; p < count; p++) {
        const float *expected = (const float *)logits->data + p * view->vocab;
        if (last_only && p + 1 < count)
            continue;
        double off = golden_distance(view->logits + (uint64_t)at[p] * view->vocab, expected,
                                     view->vocab) /
                     tolerance;
        out->logits = off > out->logits ? off : out->logits;
    }
    for (uint32_t l = 0; l < view->layers; l++) {
        char name[24];
        snprintf(name, sizeof name, "layer.%u", l);
        const gr_tensor_info *streams = golden_tensor(golden, GR_DTYPE_F32, index, name);
        assert_true(streams->dims[0] == (int64_t)count && streams->dims[1] == view->dim &&
                    view->streams[l]);
        for (uint64_t p = 0; p < count; p++) {
            double off = golden_distance(view->streams[l] + (uint64_t)at[p] * view->dim,
                                         (const float *)streams->data + p * view->dim, view->dim) /
                         tolerance_layer;
            out->streams = off > out->streams ? off : out->streams;
        }
    }
}

static void run_way(const way *how, const char *device, const char *name,
                    const gr_model_file *golden) {
    char path[512];
    worst most = {0};
    gr_engine *engine = golden_engine(false);
    engine->no_fusion = how->no_fusion;
    gr_model_options options = golden_options(device, GR_SLIDING_WINDOW_FROM_FILE, how->chunk);
    options.page_tokens = how->page_tokens;
    options.rewind_reserve = how->reserve;
    snprintf(path, sizeof path, MODELS "%s.gguf", name);
    gr_model *model = golden_load(engine, path, &options);
    golden_show_streams(model);
    uint32_t cases = (uint32_t)golden_number(golden, "golden.cases");
    for (uint32_t i = 0; i < cases; i++) {
        const gr_tensor_info *tokens = golden_tensor(golden, GR_DTYPE_I32, i, "tokens");
        uint64_t count = (uint64_t)tokens->dims[0], largest = how->piece ? how->piece : how->chunk;
        golden_view view;
        golden_feed(model, tokens->data, count, how->piece, !how->last_only, &view);
        if (how->last_only)
            assert_int_equal(view.steps, 1);
        assert_true(view.largest_step <= largest);
        compare_case(golden, i, &view, how->last_only, &most);
        golden_view_deinit(&view);
    }
    gr_model_release(model);
    gr_engine_release(engine);
    if (!(most.logits <= 1 && most.streams <= 1))
        fail_msg("%s on %s, %s: logits are off by %.3g tolerances, streams by %.3g", name, device,
                 how->name, most.logits, most.streams);
    print_message("%-18s %-4s %-28s logits %.4f, streams %.4f of the tolerance\n", name, device,
                  how->name, most.logits, most.streams);
}

static void run(const char *name) {
    static const char *const devices[] = {"ref", "cpu", "far"};
    char path[512];
    snprintf(path, sizeof path, MODELS "%s.golden.gguf", name);
    gr_model_file *golden = golden_open(path);
    for (size_t d = 0; d < sizeof devices / sizeof devices[0]; d++)
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
            run_way(&ways[w], devices[d], name, golden);
    gr_model_file_close(golden);
}

static void run_state(void **state) {
    run(*state);
}

int main(void) {
    static char *const names[] = {"w8-gqa4",         "w16-gqa1",         "w64-gqa8",
                                  "wlist-gqa2",      "wpattern-gqa4",    "full-gqa4",
                                  "linear-w16-gqa8", "llama3-full-gqa4", "yarn-w16-gqa2"};
    enum { COUNT = sizeof names / sizeof names[0] };
    struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] = (struct CMUnitTest){
            .name = names[i], .test_func = run_state, .initial_state = names[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
