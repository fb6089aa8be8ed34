// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double value;
} settings;

static const gr_sampler_param_spec params[] = {
    {"value", 1, 0, 100, "the temperature"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->value = gr_param(given, count, "value", 1);
    return GR_OK;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    (void)context;
    gr_candidates_temper(candidates, s->value);
}

const gr_sampler_type gr_sampler_temperature = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "temperature",
    .help = "divides logits by the temperature; below 1e-5 keeps the most likely token",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
