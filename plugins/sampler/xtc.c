// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double probability;
    double threshold;
} settings;

static const gr_sampler_param_spec params[] = {
    {"probability", 0.5, 0, 1, "how often"},
    {"threshold", 0.1, 0, 1, "probability that makes a top choice"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->probability = gr_param(given, count, "probability", 0.5);
    s->threshold = gr_param(given, count, "threshold", 0.1);
    return GR_OK;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    size_t top = 0;
    if (gr_random_uniform(context->seed, context->position, GR_DRAW_XTC) >= s->probability)
        return;
    gr_candidates_softmax(candidates);
    while (top < candidates->count && candidates->data[top].probability >= s->threshold)
        top++;
    if (top < 2)
        return;
    candidates->count -= top - 1;
    memmove(candidates->data, candidates->data + top - 1, candidates->count * sizeof *candidates->data);
    candidates->normalised = false;
}

const gr_sampler_type gr_sampler_xtc = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "xtc",
    .help = "now and then drops every token above a threshold but the least likely of them (exclude top choices)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
