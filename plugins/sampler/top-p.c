// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double p;
} settings;

static const gr_sampler_param_spec params[] = {
    {"p", 0.95, 0, 1, "probability to keep"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->p = gr_param(given, count, "p", 0.95);
    return GR_OK;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    (void)context;
    if (s->p >= 1)
        return;
    candidates->count = gr_candidates_head(candidates, s->p, true);
    candidates->sorted = true;
    candidates->normalised = false;
}

const gr_sampler_type gr_sampler_top_p = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "top-p",
    .help = "the fewest tokens whose probabilities add up to p (Holtzman et al. 2019, arXiv "
            "1904.09751)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
