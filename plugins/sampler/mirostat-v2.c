// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double tau;
    double eta;
    double mu; // the present bound on surprise
} settings;

static const gr_sampler_param_spec params[] = {
    {"tau", 5, 0, 100, "target surprise, bits"},
    {"eta", 0.1, 0, 1, "learning rate"},
    {"mu", 10, -1e12, 1e12, "bound on surprise to begin with, bits (default: twice tau)"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->tau = gr_param(given, count, "tau", 5);
    s->eta = gr_param(given, count, "eta", 0.1);
    s->mu = gr_param(given, count, "mu", 2 * s->tau);
    return GR_OK;
}

static size_t describe(const void *state, gr_sampler_param *out_params) {
    const settings *s = state;
    out_params[0] = (gr_sampler_param){.name = "tau", .number = s->tau};
    out_params[1] = (gr_sampler_param){.name = "eta", .number = s->eta};
    out_params[2] = (gr_sampler_param){.name = "mu", .number = s->mu};
    return 3;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    size_t kept = 0, best = 0;
    gr_candidates_normalise(candidates);
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].probability > candidates->data[best].probability)
            best = i;
    for (size_t i = 0; i < candidates->count; i++)
        if (i == best || -log2(candidates->data[i].probability) <= s->mu)
            candidates->data[kept++] = candidates->data[i];
    candidates->count = kept;
    candidates->normalised = false;
    gr_candidates_normalise(candidates);
    double u = gr_random_uniform(context->seed, context->position, GR_DRAW_TOKEN);
    candidates->selected = gr_candidates_draw(candidates, u);
}

// Moves the bound against the error of the surprise of what was chosen, as drawn from what was
// left.
static void accept(void *state, const gr_sampler_context *context, const gr_candidates *candidates,
                   gr_token token) {
    settings *s = state;
    (void)context;
    if (candidates->selected != token || !candidates->normalised)
        return;
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].token == token && candidates->data[i].probability > 0)
            s->mu -= s->eta * (-log2(candidates->data[i].probability) - s->tau);
}

const gr_sampler_type gr_sampler_mirostat_v2 = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "mirostat",
    .help = "holds the surprise of the text near a target (mirostat v2, Basu et al. 2020, arXiv "
            "2007.14966)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
    .accept = accept,
    .describe = describe,
};
