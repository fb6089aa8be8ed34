// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double n;
} settings;

static const gr_sampler_param_spec params[] = {
    {"n", 1, 0, 100, "standard deviations"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->n = gr_param(given, count, "n", 1);
    return GR_OK;
}

// The standard deviation of the finite logits, as of a whole population.
static double deviation(const gr_candidates *candidates) {
    double sum = 0, squares = 0, count = 0;
    for (size_t i = 0; i < candidates->count; i++)
        if (isfinite(candidates->data[i].logit))
            sum += candidates->data[i].logit, count++;
    for (size_t i = 0; i < candidates->count; i++)
        if (isfinite(candidates->data[i].logit))
            squares += (candidates->data[i].logit - sum / count) *
                       (candidates->data[i].logit - sum / count);
    return count > 0 ? sqrt(squares / count) : 0;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    (void)context;
    gr_candidates_at_least(candidates,
                           gr_candidates_largest(candidates) - s->n * deviation(candidates));
}

const gr_sampler_type gr_sampler_top_n_sigma = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "top-n-sigma",
    .help = "tokens within n standard deviations of the largest logit (Tang et al. 2024, arXiv "
            "2411.07641)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
