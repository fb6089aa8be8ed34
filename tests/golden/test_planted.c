// SPDX-License-Identifier: Apache-2.0
// The comparison with the goldens can fail: a window of one more, of one less, or none, moves
// logits by a hundred tolerances wherever it can be seen, and as far as the golden says.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "golden.h"

#define MODELS GREGALE_SOURCE_DIR "/tests/golden/models/"

// Largest deviation of the case's logits from the golden, with `model` as it is.
static double deviation(gr_model *model, const gr_model_file *golden, uint32_t index) {
    const gr_tensor_info *tokens = golden_tensor(golden, GR_DTYPE_I32, index, "tokens");
    const gr_tensor_info *positions = golden_tensor(golden, GR_DTYPE_I32, index, "positions");
    const float *expected = golden_tensor(golden, GR_DTYPE_F32, index, "logits")->data;
    golden_view view;
    double largest = 0;
    golden_feed(model, tokens->data, (uint64_t)tokens->dims[0], 0, true, &view);
    for (int64_t p = 0; p < positions->dims[0]; p++) {
        uint64_t at = (uint64_t)((const int32_t *)positions->data)[p];
        largest = fmax(largest, golden_distance(view.logits + at * view.vocab,
                                                expected + (uint64_t)p * view.vocab, view.vocab));
    }
    golden_view_deinit(&view);
    return largest;
}

// Runs every case with `window`; an error is seen where the prompt is longer than the shorter of
// the two windows. Elsewhere the golden still has to hold.
static void plant(const char *device, const char *name, int64_t window, uint64_t seen_from,
                  const char *key) {
    char path[512];
    snprintf(path, sizeof path, MODELS "%s.golden.gguf", name);
    gr_model_file *golden = golden_open(path);
    snprintf(path, sizeof path, MODELS "%s.gguf", name);
    gr_engine *engine = golden_engine(false);
    gr_model_options options = golden_options(device, window, 512);
    gr_model *model = golden_load(engine, path, &options);
    double tolerance = golden_number(golden, "golden.tolerance"), least = INFINITY;
    uint32_t cases = (uint32_t)golden_number(golden, "golden.cases");
    for (uint32_t i = 0; i < cases; i++) {
        uint64_t count = (uint64_t)golden_tensor(golden, GR_DTYPE_I32, i, "tokens")->dims[0];
        double off = deviation(model, golden, i);
        if (count <= seen_from)
            assert_true(off <= tolerance);
        else
            least = fmin(least, off);
    }
    double planted = golden_number(golden, key);
    print_message("%-18s %-4s %-22s moves logits by %.4f (%.0f tolerances); the golden says %.4f\n",
                  name, device, key, least, least / tolerance, planted);
    assert_true(least >= 100 * tolerance && isfinite(least));
    assert_true(fabs(least - planted) <= 2 * tolerance);
    gr_model_release(model);
    gr_engine_release(engine);
    gr_model_file_close(golden);
}

static const struct {
    const char *name;
    uint32_t window;
} uniform[] = {{"w8-gqa4", 8},
               {"w16-gqa1", 16},
               {"w64-gqa8", 64},
               {"linear-w16-gqa8", 16},
               {"yarn-w16-gqa2", 16}};
static const char *const devices[] = {"ref", "cpu", "far"};

static void each(int change, const char *key) {
    for (size_t d = 0; d < sizeof devices / sizeof devices[0]; d++) {
        for (size_t i = 0; i < sizeof uniform / sizeof uniform[0]; i++) {
            int64_t window = uniform[i].window;
            plant(devices[d], uniform[i].name, window + change,
                  (uint64_t)(change < 0 ? window + change : window), key);
        }
    }
}

static void one_more(void **state) {
    (void)state;
    each(1, "planted.window_plus");
}

static void one_less(void **state) {
    (void)state;
    each(-1, "planted.window_minus");
}

static void none(void **state) {
    (void)state;
    for (size_t d = 0; d < sizeof devices / sizeof devices[0]; d++)
        for (size_t i = 0; i < sizeof uniform / sizeof uniform[0]; i++)
            plant(devices[d], uniform[i].name, 0, uniform[i].window, "planted.window_ignored");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_more),
        cmocka_unit_test(one_less),
        cmocka_unit_test(none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
