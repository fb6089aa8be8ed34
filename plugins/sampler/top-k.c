// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double k;
} settings;

static const gr_sampler_param_spec params[] = {
    {"k", 40, 0, 1e9, "how many"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->k = gr_param(given, count, "k", 40);
    return GR_OK;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    (void)context;
    gr_candidates_keep(candidates, (size_t)s->k);
}

static size_t reads(const void *state) {
    const settings *s = state;
    return (size_t)s->k;
}

const gr_sampler_type gr_sampler_top_k = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "top-k",
    .help = "the k most likely tokens; 0 keeps all",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
    .reads = reads,
};
