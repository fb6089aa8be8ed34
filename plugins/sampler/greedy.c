// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    (void)state;
    (void)context;
    gr_candidates_keep(candidates, 1);
    candidates->selected = candidates->data[0].token;
}

static size_t reads(const void *state) {
    (void)state;
    return 1;
}

const gr_sampler_type gr_sampler_greedy = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "greedy",
    .help = "the most likely token; ties go to the lower id",
    .apply = apply,
    .reads = reads,
};
