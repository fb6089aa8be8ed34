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

static double distance(const gr_candidate *candidate, double entropy) {
    return fabs(-log(candidate->probability > 0 ? candidate->probability : 1e-45) - entropy);
}

typedef struct ranked {
    gr_candidate candidate;
    double distance;
} ranked;

static int nearer(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->candidate.token < y->candidate.token ? -1 : 1;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    double entropy = 0, sum = 0;
    size_t kept = 0;
    (void)context;
    ranked *order = s->p < 1 ? malloc(candidates->count * sizeof *order) : NULL;
    if (!order)
        return; // without memory nothing is cut off
    gr_candidates_softmax(candidates);
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].probability > 0)
            entropy -= candidates->data[i].probability * log(candidates->data[i].probability);
    for (size_t i = 0; i < candidates->count; i++)
        order[i] = (ranked){candidates->data[i], distance(&candidates->data[i], entropy)};
    qsort(order, candidates->count, sizeof *order, nearer);
    while (kept < candidates->count && (kept == 0 || sum < s->p)) {
        sum += order[kept].candidate.probability;
        candidates->data[kept] = order[kept].candidate;
        kept++;
    }
    free(order);
    candidates->count = kept;
    candidates->sorted = candidates->normalised = false;
}

const gr_sampler_type gr_sampler_typical = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "typical",
    .help = "tokens whose surprise is nearest the expected one, up to probability p (Meister et al. 2022, arXiv 2202.00666)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
