// SPDX-License-Identifier: Apache-2.0
// golden.h: opens goldens (README.md says how they are laid out), loads models for tests, and feeds
// prompts in chunks while watching every row's logits and every layer's residual stream.
// For the tests of this folder; a failure ends the running test (cmocka).
#ifndef GREGALE_TESTS_GOLDEN_H
#define GREGALE_TESTS_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine/site.h"
#include "gregale/engine.h"
#include "gregale/linked/format.h"

enum { GOLDEN_MAX_LAYERS = 64 };

// An engine that sees the backends of this build alone.
gr_engine *golden_engine(bool trace);
gr_model *golden_load(gr_engine *engine, const char *path, const gr_model_options *options);
// F32 cache, all else default; `window` GR_SLIDING_WINDOW_FROM_FILE or a number for every layer.
gr_model_options golden_options(const char *device, int64_t window, uint32_t chunk);

gr_model_file *golden_open(const char *path);
double golden_number(const gr_model_file *golden, const char *key);
// "case.<index>.<name>"; fails the test when it is absent or of another type.
const gr_tensor_info *golden_tensor(const gr_model_file *golden, gr_dtype dtype, uint32_t index,
                                    const char *name);

// What a run saw, for every position fed: logits [n, vocab] (NAN where nobody asked) and streams
// [layer][n, dim].
typedef struct golden_view {
    uint64_t count;
    uint32_t vocab, dim, layers;
    float *logits;
    float *streams[GOLDEN_MAX_LAYERS]; // NULL when the model does not show them
    uint32_t steps, largest_step;      // how many there were, rows of the largest
} golden_view;
void golden_view_deinit(golden_view *view);

// Gives the model a graph that marks what leaves each layer's feed-forward block as an output. The
// model must be new: no session yet.
void golden_show_streams(gr_model *model);
// Feeds tokens[0, count) to a new session, `piece` at a time (0: all at once). `all_logits`: those
// of every row (the engine then makes steps of at most GR_MAX_STEP_OUTPUTS rows); else only the
// last row's.
void golden_feed(gr_model *model, const int32_t *tokens, uint64_t count, uint64_t piece,
                 bool all_logits, golden_view *out_view);
// Largest |a - b|; a NaN counts as infinite.
double golden_distance(const float *a, const float *b, uint64_t count);

#endif
