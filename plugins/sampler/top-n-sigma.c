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

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    double sum = 0, squares = 0;
    size_t kept = 0;
    (void)context;
    gr_candidates_sort(candidates);
    for (size_t i = 0; i < candidates->count; i++)
        sum += candidates->data[i].logit;
    double mean = sum / (double)candidates->count;
    for (size_t i = 0; i < candidates->count; i++)
        squares += (candidates->data[i].logit - mean) * (candidates->data[i].logit - mean);
    double least = candidates->data[0].logit - s->n * sqrt(squares / (double)candidates->count);
    while (kept < candidates->count && candidates->data[kept].logit >= least)
        kept++;
    gr_candidates_keep(candidates, kept ? kept : 1);
}

const gr_sampler_type gr_sampler_top_n_sigma = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "top-n-sigma",
    .help = "tokens within n standard deviations of the largest logit (Tang et al. 2024, arXiv 2411.07641)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
