// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double p;
} settings;

static const gr_sampler_param_spec params[] = {
    {"p", 0.05, 0, 1, "share of the best"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->p = gr_param(given, count, "p", 0.05);
    return GR_OK;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    (void)context;
    if (s->p > 0) // in logits: log p below the best
        gr_candidates_at_least(candidates, gr_candidates_largest(candidates) + log(s->p));
}

const gr_sampler_type gr_sampler_min_p = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "min-p",
    .help = "tokens at least p times as likely as the most likely one (Nguyen et al. 2024, arXiv "
            "2407.01082)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
