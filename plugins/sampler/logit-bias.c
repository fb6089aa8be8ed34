// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct bias {
    gr_token token;
    float value;
} bias;

typedef struct settings {
    size_t count;
    uint64_t residues; // bit i: some biased token is i modulo 64
    bias *biases;      // [count], by token, ascending; a token may have several
} settings;

static const gr_sampler_param_spec params[] = {
    {.name = "tokens",
     .help = "token:bias pairs divided by blanks, as in 17:-inf 42:2.5",
     .is_text = true},
    {0},
};

static int by_token(const void *a, const void *b) {
    const bias *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

// Reads one pair; false when it is none.
static bool read_pair(const char *part, bias *out) {
    char *colon, *end;
    long token = strtol(part, &colon, 10);
    if (colon == part || *colon != ':' || token < 0 || token > INT32_MAX)
        return false;
    double value = strtod(colon + 1, &end);
    *out = (bias){(gr_token)token, (float)value};
    return end != colon + 1 && !*end && !isnan(value);
}

static gr_status read_pairs(settings *s, char *text, gr_error *error) {
    char *rest = NULL;
    for (char *part = strtok_r(text, " ", &rest); part; part = strtok_r(NULL, " ", &rest)) {
        if (!read_pair(part, &s->biases[s->count]))
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sampler",
                           "logit-bias: expected token:bias, found '%s'", part);
        s->residues |= UINT64_C(1) << (s->biases[s->count++].token % 64);
    }
    if (s->count)
        qsort(s->biases, s->count, sizeof *s->biases, by_token);
    return GR_OK;
}

static void deinit(void *state) {
    settings *s = state;
    free(s->biases);
}

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    gr_str text = gr_param_text(given, count, "tokens");
    char *copy = strndup(text.data ? text.data : "", text.size);
    s->biases = malloc((text.size / 4 + 1) * sizeof *s->biases); // a pair takes four characters with its blank
    gr_status status = copy && s->biases ? read_pairs(s, copy, error)
                                         : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for biases");
    free(copy);
    if (status != GR_OK)
        deinit(s);
    return status;
}

static gr_status clone(const void *state, void *out_state, gr_error *error) {
    const settings *from = state;
    settings *to = out_state;
    *to = *from;
    to->biases = malloc((from->count + 1) * sizeof *to->biases);
    if (!to->biases)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for biases");
    memcpy(to->biases, from->biases, from->count * sizeof *to->biases);
    return GR_OK;
}

// The sum of a token's biases.
static float bias_of(const settings *s, gr_token token) {
    float sum = 0;
    size_t low = 0, high = s->residues >> (token % 64) & 1 ? s->count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->biases[middle].token < token)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < s->count && s->biases[low].token == token; low++)
        sum += s->biases[low].value;
    return sum;
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
    .deinit = deinit,
    .clone = clone,
};
