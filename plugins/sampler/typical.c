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

// Lists the candidates by their distance, the nearest first: `token` is the place in `from`.
static gr_candidate *by_distance(const gr_candidates *from, double entropy) {
    gr_candidate *data = malloc(from->count * sizeof *data);
    gr_candidates order = {.data = data, .count = from->count};
    for (size_t i = 0; data && i < from->count; i++)
        data[i] = (gr_candidate){(gr_token)i, -(float)distance(&from->data[i], entropy), 0};
    if (data)
        gr_candidates_sort(&order);
    return data;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    double entropy = 0, sum = 0;
    size_t kept = 0;
    (void)context;
    if (s->p >= 1)
        return;
    gr_candidates_normalise(candidates);
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].probability > 0)
            entropy -= candidates->data[i].probability * log(candidates->data[i].probability);
    gr_candidate *order = by_distance(candidates, entropy);
    if (!order)
        return; // without memory nothing is cut off
    while (kept < candidates->count && (kept == 0 || sum < s->p)) {
        const gr_candidate *next = &candidates->data[order[kept].token];
        sum += next->probability;
        order[kept++] = *next;
    }
    memcpy(candidates->data, order, kept * sizeof *order);
    free(order);
    candidates->count = kept;
    candidates->sorted = candidates->normalised = false;
}

const gr_sampler_type gr_sampler_typical = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "typical",
    .help = "tokens whose surprise is nearest the expected one, up to probability p (Meister et "
            "al. 2022, arXiv 2202.00666)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
