// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double repeat;
    double frequency;
    double presence;
    double last_n;
} settings;

static const gr_sampler_param_spec params[] = {
    {"repeat", 1, 0.01, 100, "divides positive logits, multiplies negative ones"},
    {"frequency", 0, -100, 100, "subtracted once an occurrence"},
    {"presence", 0, -100, 100, "subtracted once"},
    {"last_n", 64, -1, 1e9, "tokens looked at; -1: all"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->repeat = gr_param(given, count, "repeat", 1);
    s->frequency = gr_param(given, count, "frequency", 0);
    s->presence = gr_param(given, count, "presence", 0);
    s->last_n = gr_param(given, count, "last_n", 64);
    return GR_OK;
}

static int ascending(const void *a, const void *b) {
    gr_token x = *(const gr_token *)a, y = *(const gr_token *)b;
    return x < y ? -1 : x > y;
}

// How often `token` stands in the sorted list.
static size_t occurrences(const gr_token *sorted, size_t count, gr_token token) {
    size_t low = 0, high = count, n = 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + n < count && sorted[low + n] == token)
        n++;
    return n;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    size_t count = context->history_count;
    if (s->repeat == 1 && s->frequency == 0 && s->presence == 0)
        return;
    if (s->last_n >= 0 && count > (size_t)s->last_n)
        count = (size_t)s->last_n;
    gr_token *sorted = count ? malloc(count * sizeof *sorted) : NULL;
    if (!sorted)
        return;
    memcpy(sorted, context->history + context->history_count - count, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, ascending);
    for (size_t i = 0; i < candidates->count; i++) {
        gr_candidate *c = &candidates->data[i];
        size_t n = occurrences(sorted, count, c->token);
        if (!n)
            continue;
        c->logit = (float)(c->logit > 0 ? c->logit / s->repeat : c->logit * s->repeat);
        c->logit -= (float)((double)n * s->frequency + s->presence);
    }
    free(sorted);
    candidates->sorted = candidates->normalised = false;
}

const gr_sampler_type gr_sampler_penalties = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "penalties",
    .help = "makes recent tokens less likely: repetition (Keskar et al. 2019, arXiv 1909.05858), "
            "frequency, presence",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
