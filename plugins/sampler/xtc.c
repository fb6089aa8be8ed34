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

// Whether `a` comes after `b`: less likely, or as likely with a higher token.
static bool after(const gr_candidate *a, const gr_candidate *b) {
    return a->logit < b->logit || (a->logit == b->logit && a->token > b->token);
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    const gr_candidate *last = NULL; // of the top choices
    size_t kept = 0;
    if (gr_random_uniform(context->seed, context->position, GR_DRAW_XTC) >= s->probability)
        return;
    gr_candidates_normalise(candidates);
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].probability >= s->threshold &&
            (!last || after(&candidates->data[i], last)))
            last = &candidates->data[i];
    if (!last)
        return;
    gr_token spared = last->token;
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].probability < s->threshold || candidates->data[i].token == spared)
            candidates->data[kept++] = candidates->data[i];
    candidates->normalised = kept == candidates->count;
    candidates->count = kept;
}

const gr_sampler_type gr_sampler_xtc = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "xtc",
    .help = "now and then drops every token above a threshold but the least likely of them "
            "(exclude top choices)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
