// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

typedef struct settings {
    double multiplier;
    double base;
    double allowed_length;
    double last_n;
} settings;

static const gr_sampler_param_spec params[] = {
    {"multiplier", 0.8, 0, 100, "strength; 0 is off"},
    {"base", 1.75, 1, 10, "growth a token of repeated length"},
    {"allowed_length", 2, 1, 1000, "repeats up to this long are free"},
    {"last_n", -1, -1, 1e9, "tokens looked at; -1: all"},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    (void)error;
    s->multiplier = gr_param(given, count, "multiplier", 0.8);
    s->base = gr_param(given, count, "base", 1.75);
    s->allowed_length = gr_param(given, count, "allowed_length", 2);
    s->last_n = gr_param(given, count, "last_n", -1);
    return GR_OK;
}

enum { LONGEST = 50 }; // longer repeats count as this long: the penalty is beyond any logit by then

// A stretch of text is not continued across these: a new line begins something new.
static bool breaks(const gr_sampler_context *context, gr_token token) {
    char bytes[16];
    if (!context->tokenizer)
        return false;
    size_t count = gr_tokenizer_piece(context->tokenizer, token, false, bytes, sizeof bytes);
    for (size_t i = 0; i < count && i < sizeof bytes; i++)
        if (bytes[i] == '\n' || bytes[i] == ':' || bytes[i] == '"' || bytes[i] == '*')
            return true;
    return false;
}

// Length of the longest common end of history[0, at) and history[0, count).
static size_t common_end(const gr_token *history, size_t at, size_t count, size_t limit) {
    size_t n = 0;
    while (n < limit && n < at && history[at - 1 - n] == history[count - 1 - n])
        n++;
    return n;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    const gr_token *history = context->history;
    size_t count = context->history_count, limit = 0;
    size_t first = s->last_n >= 0 && count > (size_t)s->last_n ? count - (size_t)s->last_n : 0;
    gr_token top = 0;
    while (limit < LONGEST && limit < count && !breaks(context, history[count - 1 - limit]))
        limit++;
    for (size_t i = 0; i < candidates->count; i++)
        top = candidates->data[i].token > top ? candidates->data[i].token : top;
    uint8_t *longest = s->multiplier > 0 && limit ? calloc((size_t)top + 1, 1) : NULL;
    if (!longest)
        return;
    for (size_t at = first + 1; at < count; at++) {
        size_t n = history[at] <= top && history[at] >= 0 ? common_end(history, at, count, limit) : 0;
        if (n > longest[history[at] <= top && history[at] >= 0 ? history[at] : 0] && n)
            longest[history[at]] = (uint8_t)n;
    }
    for (size_t i = 0; i < candidates->count; i++) {
        double n = longest[candidates->data[i].token];
        if (n >= s->allowed_length)
            candidates->data[i].logit -= (float)(s->multiplier * pow(s->base, n - s->allowed_length));
    }
    free(longest);
    candidates->sorted = candidates->normalised = false;
}

const gr_sampler_type gr_sampler_dry = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "dry",
    .help = "don't repeat yourself: the longer the run of tokens that a token would repeat, the less likely it is",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
