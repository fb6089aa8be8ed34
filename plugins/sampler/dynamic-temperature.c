// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double low;
    double high;
    double exponent;
} settings;

static const gr_sampler_param_spec params[] = {
    {"low", 0.5, 0.01, 100, "temperature when one token is certain"},
    {"high", 1.5, 0.01, 100, "temperature when all are alike"},
    {"exponent", 1, 0.01, 100, "curve between them"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->low = gr_param(given, count, "low", 0.5);
    s->high = gr_param(given, count, "high", 1.5);
    s->exponent = gr_param(given, count, "exponent", 1);
    return GR_OK;
}

// Temperature = low + (high - low) * (entropy / log n)^exponent.
static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    double entropy = 0;
    (void)context;
    if (candidates->count < 2)
        return;
    gr_candidates_normalise(candidates);
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].probability > 0)
            entropy -= candidates->data[i].probability * log(candidates->data[i].probability);
    double share = entropy / log((double)candidates->count);
    double temperature = s->low + (s->high - s->low) * pow(share > 0 ? share : 0, s->exponent);
    gr_candidates_temper(candidates, temperature);
}

const gr_sampler_type gr_sampler_dynamic_temperature = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "dynamic-temperature",
    .help = "temperature that grows with the entropy of the distribution, between two bounds",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
