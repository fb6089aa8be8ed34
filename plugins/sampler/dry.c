// SPDX-License-Identifier: Apache-2.0
// dry.c: "don't repeat yourself", after p-e-w's proposal (text-generation-webui, pull request
// 5677). When the text ends with n tokens that also stand earlier, the token that followed them
// there would repeat a run of n tokens and one: its logit falls by multiplier * base^(n -
// allowed_length) from n = allowed_length on. A run never reaches over a token that holds a
// breaker, nor does one end with it.
#include "plugins/sampler/common/common.h"

enum { LONGEST = 50, BREAKERS = 64 }; // a longer run counts as one of 50: no logit withstands that

typedef struct settings {
    double multiplier;
    double base;
    double allowed_length;
    double last_n;
    size_t breaker_count;
    char breakers[BREAKERS];
} settings;

static const gr_sampler_param_spec params[] = {
    {"multiplier", 0.8, 0, 100, "strength; 0 is off"},
    {"base", 1.75, 1, 10, "growth a token of repeated length"},
    {"allowed_length", 2, 1, 1000, "repeats up to this long are free"},
    {"last_n", -1, -1, 1e9, "tokens looked at; -1: all"},
    {.name = "breakers",
     .help = "characters that end a run; without it \\n : \" *",
     .is_text = true},
    {0},
};

static gr_status init(void *state, const gr_sampler_param *given, size_t count, gr_error *error) {
    settings *s = state;
    gr_str breakers = gr_param_text(given, count, "breakers");
    if (!breakers.data)
        breakers = (gr_str){"\n:\"*", 4};
    if (breakers.size > sizeof s->breakers)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler",
                       "dry: breakers may take %zu bytes, found %zu", sizeof s->breakers,
                       breakers.size);
    memcpy(s->breakers, breakers.data, breakers.size);
    s->breaker_count = breakers.size;
    s->multiplier = gr_param(given, count, "multiplier", 0.8);
    s->base = gr_param(given, count, "base", 1.75);
    s->allowed_length = gr_param(given, count, "allowed_length", 2);
    s->last_n = gr_param(given, count, "last_n", -1);
    return GR_OK;
}

// Bytes of the UTF-8 character at `text`, at most `size`.
static size_t character_size(const char *text, size_t size) {
    size_t count = 1;
    while (count < size && ((unsigned char)text[count] & 0xC0) == 0x80)
        count++;
    return count;
}

static bool contains(const char *bytes, size_t size, const char *character,
                     size_t character_bytes) {
    for (size_t i = 0; i + character_bytes <= size; i++)
        if (memcmp(bytes + i, character, character_bytes) == 0)
            return true;
    return false;
}

// Whether the text of `token` holds a breaker. Without a tokenizer nothing does.
static bool breaks(const settings *s, const gr_sampler_context *context, gr_token token) {
    char bytes[64];
    if (!context->tokenizer || !s->breaker_count)
        return false;
    size_t size = gr_tokenizer_piece(context->tokenizer, token, false, bytes, sizeof bytes), step;
    size = size < sizeof bytes ? size : sizeof bytes;
    for (size_t i = 0; i < s->breaker_count; i += step) {
        step = character_size(s->breakers + i, s->breaker_count - i);
        if (contains(bytes, size, s->breakers + i, step))
            return true;
    }
    return false;
}

// Length of the longest common end of history[0, at) and history[0, count), at most `limit`.
static size_t common_end(const gr_token *history, size_t at, size_t count, size_t limit) {
    size_t n = 0;
    while (n < limit && n < at && history[at - 1 - n] == history[count - 1 - n])
        n++;
    return n;
}

// For each token up to `top`, the longest run that it would continue; NULL without memory.
static uint8_t *find_runs(const gr_token *history, size_t count, size_t limit, gr_token top) {
    uint8_t *runs = calloc((size_t)top + 1, 1);
    for (size_t at = 1; runs && at < count; at++) {
        gr_token next = history[at];
        if (next < 0 || next > top)
            continue;
        size_t n = common_end(history, at, count, limit);
        if (n > runs[next])
            runs[next] = (uint8_t)n;
    }
    return runs;
}

static void apply(void *state, const gr_sampler_context *context, gr_candidates *candidates) {
    const settings *s = state;
    size_t count = context->history_count, limit = 0;
    if (s->last_n >= 0 && (double)count > s->last_n)
        count = (size_t)s->last_n;
    const gr_token *history = count ? context->history + context->history_count - count : NULL;
    while (limit < LONGEST && limit < count && !breaks(s, context, history[count - 1 - limit]))
        limit++;
    if (s->multiplier <= 0 || !limit)
        return;
    gr_token top = 0;
    for (size_t i = 0; i < candidates->count; i++)
        top = candidates->data[i].token > top ? candidates->data[i].token : top;
    uint8_t *runs = find_runs(history, count, limit, top);
    if (!runs)
        return; // without memory nothing is held back
    for (size_t i = 0; i < candidates->count; i++) {
        gr_candidate *c = &candidates->data[i];
        if (runs[c->token] >= s->allowed_length && !breaks(s, context, c->token))
            c->logit -= (float)(s->multiplier * pow(s->base, runs[c->token] - s->allowed_length));
    }
    free(runs);
    candidates->sorted = candidates->normalised = false;
}

const gr_sampler_type gr_sampler_dry = {
    .struct_size = sizeof(gr_sampler_type),
    .name = "dry",
    .help = "the longer the earlier run of tokens that a token would repeat, the less likely it is "
            "(p-e-w)",
    .params = params,
    .state_bytes = sizeof(settings),
    .init = init,
    .apply = apply,
};
