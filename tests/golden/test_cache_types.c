// SPDX-License-Identifier: Apache-2.0
// What a cache of F16, BF16 or Q8_0 costs in quality: logits beside those with an F32 cache, on
// every host backend, over texts longer than windows and pages. README.md states the bounds.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

#define SMALL(name) GREGALE_SOURCE_DIR "/tests/golden/models/" name ".gguf"
#define BREEZE GREGALE_SOURCE_DIR "/configs/models/breeze/breeze-q8_0.gguf"
#define HELDOUT GREGALE_SOURCE_DIR "/tests/golden/models/breeze-heldout.txt"

enum { COUNT = 300, TYPES = 3 };
static const gr_dtype types[TYPES] = {GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};

// `rows`: of the worst row, the root mean square of the differences over that of the logits, their
// mean taken away. `divergence`: the mean over rows of KL from the F32 cache's distribution.
typedef struct bound {
    double rows, divergence;
} bound;

// The small checkpoints are random, with peaked attention and F32 weights: nothing else is rounded,
// and little is forgiven. breeze is trained; where cpu multiplies by its Q8_0 weights, activations
// are rounded to 8 bits, and any small change flips some of them.
static const bound random_bounds[TYPES] = {{1e-2, 2e-5}, {1e-1, 1e-3}, {3e-1, 1e-2}};
static const bound trained_bounds[TYPES] = {{2e-3, 4e-7}, {1.5e-2, 2e-5}, {4e-2, 1e-4}};
static const bound rounded_bounds[TYPES] = {{1.2e-1, 6e-4}, {1.2e-1, 6e-4}, {1.2e-1, 6e-4}};

static gr_model *load(gr_engine *engine, const char *path, const char *device, gr_dtype dtype) {
    gr_model_options options = golden_options(device, GR_SLIDING_WINDOW_FROM_FILE, 64);
    options.kv_dtype = dtype;
    return golden_load(engine, path, &options);
}

static void feed(const char *path, const char *device, gr_dtype dtype, const int32_t *tokens,
                 golden_view *out_view) {
    gr_engine *engine = golden_engine(false);
    gr_model *model = load(engine, path, device, dtype);
    golden_feed(model, tokens, COUNT, 0, true, out_view);
    gr_model_release(model);
    gr_engine_release(engine);
}

static double row_distance(const float *a, const float *b, uint32_t count) {
    double mean = 0, size = 0, off = 0;
    for (uint32_t i = 0; i < count; i++)
        mean += (double)b[i] / count;
    for (uint32_t i = 0; i < count; i++) {
        size += ((double)b[i] - mean) * ((double)b[i] - mean);
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return sqrt(off / size);
}

static double log_sum(const float *logits, uint32_t count) {
    double largest = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        largest = (double)logits[i] > largest ? (double)logits[i] : largest;
    for (uint32_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - largest);
    return largest + log(sum);
}

static double divergence(const float *a, const float *b, uint32_t count) {
    double la = log_sum(a, count), lb = log_sum(b, count), sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += exp((double)b[i] - lb) * ((double)b[i] - lb - (double)a[i] + la);
    return sum;
}

static void compare(const char *path, const char *device, gr_dtype dtype, const bound *limit,
                    const int32_t *tokens, const golden_view *exact) {
    golden_view view;
    bound found = {0};
    feed(path, device, dtype, tokens, &view);
    for (uint32_t t = 0; t < COUNT; t++) {
        const float *a = view.logits + (size_t)t * view.vocab,
                    *b = exact->logits + (size_t)t * view.vocab;
        double off = row_distance(a, b, view.vocab);
        found.rows = off > found.rows || isnan(off) ? off : found.rows;
        found.divergence += divergence(a, b, view.vocab) / COUNT;
    }
    golden_view_deinit(&view);
    print_message("%-24s %-4s %-5s worst row %.2e of %.1e, mean divergence %.2e of %.1e\n",
                  strrchr(path, '/') + 1, device, gr_dtype_name(dtype), found.rows, limit->rows,
                  found.divergence, limit->divergence);
    assert_true(found.rows <= limit->rows && found.divergence <= limit->divergence);
    assert_true(found.rows >= 1e-5); // else the type was not used
}

static void compare_types(const char *path, const char *device, const bound *limits,
                          const int32_t *tokens) {
    golden_view exact;
    feed(path, device, GR_DTYPE_F32, tokens, &exact);
    for (uint32_t i = 0; i < TYPES; i++)
        compare(path, device, types[i], &limits[i], tokens, &exact);
    golden_view_deinit(&exact);
}

static void small_checkpoints(void **state) {
    (void)state;
    static const char *const paths[] = {SMALL("full-gqa4"), SMALL("llama3-full-gqa4"),
                                        SMALL("yarn-w16-gqa2")}; // heads of 32 values
    int32_t tokens[COUNT] = {1};
    uint64_t x = 1;
    for (uint32_t i = 1; i < COUNT; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        tokens[i] = (int32_t)(3 + (x >> 33) % 125);
    }
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        compare_types(paths[i], "ref", random_bounds, tokens);
        compare_types(paths[i], "cpu", random_bounds, tokens);
    }
}

static void breeze(void **state) {
    (void)state;
    static char text[4096];
    int32_t tokens[COUNT];
    size_t count = 0;
    gr_error error;
    gr_error_init(&error);
    FILE *file = fopen(HELDOUT, "rb");
    assert_non_null(file);
    assert_int_equal(fread(text, 1, sizeof text, file), sizeof text);
    fclose(file);
    gr_engine *engine = golden_engine(false);
    gr_model *model = load(engine, BREEZE, "ref", GR_DTYPE_F16);
    assert_int_equal(
        gr_model_tokenize(model, text, sizeof text, true, false, tokens, COUNT, &count, &error),
        GR_OK);
    assert_true(count >= COUNT);
    gr_model_release(model);
    gr_engine_release(engine);
    compare_types(BREEZE, "ref", trained_bounds, tokens);
    compare_types(BREEZE, "cpu", rounded_bounds, tokens);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_checkpoints),
        cmocka_unit_test(breeze),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
