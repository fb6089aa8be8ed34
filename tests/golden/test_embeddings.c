// SPDX-License-Identifier: Apache-2.0
// Embeddings: the last token's is the norm of the residual stream that transformers has behind the last layer, and the
// mean is that of the last tokens of all beginnings, on every host backend, also of prompts longer than a step's outputs
// and behind a prefix.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

#define MODELS GREGALE_SOURCE_DIR "/tests/golden/models/"

static gr_session *begin(gr_model *model, const int32_t *tokens, uint64_t count) {
    gr_session *session = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_session_create(model, NULL, &session, &error) != GR_OK ||
        gr_session_append_tokens(session, tokens, count, &error) != GR_OK)
        fail_msg("%s", error.message);
    return session;
}

static void embed(gr_session *session, const int32_t *tokens, uint64_t count, gr_reading_kind kind, float *out) {
    gr_error error;
    gr_error_init(&error);
    if (gr_session_embed(session, tokens, count, kind, out, &error) != GR_OK)
        fail_msg("%s", error.message);
}

// The final norm, in F64, of the stream that the golden holds at its last position, which is the last token's.
static void expected_of(const gr_model *model, const gr_model_file *golden, uint32_t index, float *out) {
    const gr_hparams *h = &model->source->hparams;
    char name[24];
    snprintf(name, sizeof name, "layer.%u", h->layers - 1);
    const gr_tensor_info *streams = golden_tensor(golden, GR_DTYPE_F32, index, name);
    const gr_tensor_info *norm = gr_model_file_tensor(model->source->file, "output_norm.weight");
    assert_true(norm && norm->dtype == GR_DTYPE_F32 && streams->dims[1] == h->dim);
    const float *x = (const float *)streams->data + (streams->dims[0] - 1) * h->dim;
    double squares = 0;
    for (uint32_t i = 0; i < h->dim; i++)
        squares += (double)x[i] * x[i];
    for (uint32_t i = 0; i < h->dim; i++)
        out[i] = (float)(x[i] / sqrt(squares / h->dim + h->norm_eps) * ((const float *)norm->data)[i]);
}

static void compare_last(gr_model *model, const gr_model_file *golden, const char *device) {
    uint32_t dim = model->source->hparams.dim, cases = (uint32_t)golden_number(golden, "golden.cases");
    float found[4096], behind[4096], expected[4096];
    assert_true(dim <= 4096);
    for (uint32_t i = 0; i < cases; i++) {
        const gr_tensor_info *tokens = golden_tensor(golden, GR_DTYPE_I32, i, "tokens");
        const int32_t *data = tokens->data;
        uint64_t count = (uint64_t)tokens->dims[0], half = count / 2;
        gr_session *empty = begin(model, data, 0), *prefix = begin(model, data, half);
        embed(empty, data, count, GR_READ_LAST, found);
        embed(prefix, data + half, count - half, GR_READ_LAST, behind);
        expected_of(model, golden, i, expected);
        const double tolerance = 1e-4; // the worst seen: 6e-6
        double off = golden_distance(found, expected, dim), off_behind = golden_distance(behind, expected, dim);
        print_message("%-4s case %u: %.3g and %.3g behind a prefix; %.3g allowed\n", device, i, off, off_behind, tolerance);
        assert_true(off <= tolerance && off_behind <= tolerance);
        gr_session_release(empty);
        gr_session_release(prefix);
    }
}

static void compare_mean(gr_model *model, const gr_model_file *golden) {
    enum { COUNT = 90 }; // more than the outputs of a step
    uint32_t dim = model->source->hparams.dim;
    const gr_tensor_info *given = golden_tensor(golden, GR_DTYPE_I32, 0, "tokens");
    int32_t tokens[COUNT];
    double sum[4096] = {0};
    float found[4096], one[4096];
    for (uint32_t i = 0; i < COUNT; i++)
        tokens[i] = ((const int32_t *)given->data)[i % given->dims[0]];
    gr_session *session = begin(model, tokens, 10);
    for (uint32_t n = 1; n <= COUNT - 10; n++) {
        embed(session, tokens + 10, n, GR_READ_LAST, one);
        for (uint32_t i = 0; i < dim; i++)
            sum[i] += one[i];
    }
    embed(session, tokens + 10, COUNT - 10, GR_READ_MEAN, found);
    for (uint32_t i = 0; i < dim; i++)
        one[i] = (float)(sum[i] / (COUNT - 10));
    assert_true(golden_distance(found, one, dim) < 1e-4);
    size_t count;
    gr_session_tokens(session, &count);
    assert_int_equal(count, 10);
    gr_session_release(session);
}

static void run(void **state) {
    static const char *const devices[] = {"ref", "cpu", "far"};
    char path[512];
    snprintf(path, sizeof path, MODELS "%s.golden.gguf", (const char *)*state);
    gr_model_file *golden = golden_open(path);
    for (size_t d = 0; d < sizeof devices / sizeof devices[0]; d++) {
        gr_engine *engine = golden_engine(false);
        gr_model_options options = golden_options(devices[d], GR_SLIDING_WINDOW_FROM_FILE, 512);
        snprintf(path, sizeof path, MODELS "%s.gguf", (const char *)*state);
        gr_model *model = golden_load(engine, path, &options);
        compare_last(model, golden, devices[d]);
        compare_mean(model, golden);
        gr_model_release(model);
        gr_engine_release(engine);
    }
    gr_model_file_close(golden);
}

static void nothing_has_none(void **state) {
    (void)state;
    gr_engine *engine = golden_engine(false);
    gr_model_options options = golden_options("ref", GR_SLIDING_WINDOW_FROM_FILE, 512);
    gr_model *model = golden_load(engine, MODELS "w8-gqa4.gguf", &options);
    gr_session *session = begin(model, NULL, 0);
    float out[4096];
    assert_int_equal(gr_session_embed(session, NULL, 0, GR_READ_MEAN, out, NULL), GR_ERROR_INVALID_ARGUMENT);
    int32_t beyond = INT32_MAX;
    assert_int_equal(gr_session_embed(session, &beyond, 1, GR_READ_LAST, out, NULL), GR_ERROR_OUT_OF_RANGE);
    gr_session_release(session);
    gr_model_release(model);
    gr_engine_release(engine);
}

int main(void) {
    static char *const names[] = {"w8-gqa4", "wlist-gqa2", "full-gqa4", "yarn-w16-gqa2"};
    enum { COUNT = sizeof names / sizeof names[0] };
    struct CMUnitTest tests[COUNT + 1] = {cmocka_unit_test(nothing_has_none)};
    for (size_t i = 0; i < COUNT; i++)
        tests[i + 1] = (struct CMUnitTest){.name = names[i], .test_func = run, .initial_state = names[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
