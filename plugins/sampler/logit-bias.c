// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

enum { MAX_BIASES = 64 };

typedef struct settings {
    size_t count;
    uint64_t residues; // bit i: some biased token is i modulo 64
    gr_token token[MAX_BIASES];
    float bias[MAX_BIASES];
} settings;

static const gr_sampler_param_spec params[] = {
    {.name = "tokens",
     .help = "token:bias pairs divided by blanks, as in 17:-inf 42:2.5",
     .is_text = true},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    char copy[2048], *rest = NULL;
    gr_str text = gr_param_text(given, count, "tokens");
    if (text.size >= sizeof copy)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler",
                       "logit-bias: more than %zu characters", sizeof copy);
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    for (char *part = strtok_r(copy, " ", &rest); part; part = strtok_r(NULL, " ", &rest)) {
        char *colon, *end = part;
        long token = strtol(part, &colon, 10);
        double bias = *colon == ':' ? strtod(colon + 1, &end) : 0;
        if (colon == part || *colon != ':' || end == colon + 1 || *end || token < 0 ||
            token > INT32_MAX || isnan(bias))
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sampler",
                           "logit-bias: expected token:bias, found '%s'", part);
        if (s->count == MAX_BIASES)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler",
                           "logit-bias: more than %d tokens in one stage", MAX_BIASES);
        s->residues |= UINT64_C(1) << (token % 64);
        s->token[s->count] = (gr_token)token;
        s->bias[s->count++] = (float)bias;
    }
    return GR_OK;
}

static float bias_of(const settings *s, gr_token token) {
    float bias = 0;
    for (size_t i = 0; (s->residues >> (token % 64) & 1) && i < s->count; i++)
        bias += s->token[i] == token ? s->bias[i] : 0;
    return bias;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    size_t kept = 0;
    (void)context;
    gr_candidate best = candidates->data[0];
    for (size_t i = 0; i < candidates->count; i++) {
        gr_candidate c = candidates->data[i];
        best = c.logit > best.logit ? c : best;
        c.logit += bias_of(s, c.token);
        if (c.logit > -INFINITY)
            candidates->data[kept++] = c;
    }
    if (!kept)
        candidates->data[kept++] = best; // everything was forbidden, but something must be said
    candidates->count = kept;
    candidates->sorted = candidates->normalised = false;
}

const gr_sampler_type gr_sampler_logit_bias = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "logit-bias",
    .help = "adds to the logits of given tokens; -inf forbids one",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
