// SPDX-License-Identifier: Apache-2.0
// chain.c: stages in the order the user gave.
#include <float.h>

#include "plugins/sampler/common/common.h"

enum { MAX_STAGES = 32, BLOCK = 64 };

typedef struct stage {
    const gr_sampler_type *type;
    void *state;
    char *text; // as gr_sampler_chain_parse reads it
} stage;

struct gr_sampler_chain {
    stage stages[MAX_STAGES];
    size_t count;
    gr_candidate *candidates; // [capacity], reused
    float *largest;           // of each block of logits, [capacity / BLOCK]
    size_t capacity;
};

const gr_sampler_type *const *gr_sampler_types(void) {
    return gr_linked_samplers();
}

double gr_param(const gr_sampler_param *params, size_t count, const char *name, double initial) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(params[i].name, name) == 0)
            return params[i].number;
    return initial;
}

gr_str gr_param_text(const gr_sampler_param *params, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(params[i].name, name) == 0)
            return params[i].text;
    return (gr_str){0};
}

gr_status gr_sampler_chain_create(gr_sampler_chain **out_chain, gr_error *error) {
    *out_chain = calloc(1, sizeof **out_chain);
    if (!*out_chain)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler chain");
    return GR_OK;
}

static void free_stage(stage *ended) {
    free(ended->state);
    free(ended->text);
}

// Ends all stages from `count` on.
static void truncate(gr_sampler_chain *chain, size_t count) {
    while (chain->count > count) {
        stage *last = &chain->stages[--chain->count];
        if (last->type->deinit)
            last->type->deinit(last->state);
        free_stage(last);
    }
}

void gr_sampler_chain_destroy(gr_sampler_chain *chain) {
    if (!chain)
        return;
    truncate(chain, 0);
    free(chain->candidates);
    free(chain->largest);
    free(chain);
}

static gr_status clone_stage(const stage *from, stage *to, gr_error *error) {
    gr_status status = GR_OK;
    *to = (stage){from->type, calloc(1, from->type->state_bytes + 1), strdup(from->text)};
    if (!to->state || !to->text)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler chain");
    else if (from->type->clone)
        status = from->type->clone(from->state, to->state, error);
    else
        memcpy(to->state, from->state, from->type->state_bytes);
    if (status != GR_OK)
        free_stage(to);
    return status;
}

gr_status gr_sampler_chain_clone(const gr_sampler_chain *chain, gr_sampler_chain **out_chain,
                                 gr_error *error) {
    gr_status status = gr_sampler_chain_create(out_chain, error);
    for (size_t i = 0; status == GR_OK && i < chain->count; i++) {
        status = clone_stage(&chain->stages[i], &(*out_chain)->stages[i], error);
        (*out_chain)->count += status == GR_OK;
    }
    if (status != GR_OK) {
        gr_sampler_chain_destroy(*out_chain);
        *out_chain = NULL;
    }
    return status;
}

// ---- Adding a stage

static void add_text(char *text, size_t capacity, const char *addition) {
    size_t used = strlen(text);
    snprintf(text + used, capacity - used, "%s%s", used ? ", " : "", addition);
}

const gr_sampler_type *gr_sampler_type_find(const char *name, gr_error *error) {
    char known[400] = "";
    for (const gr_sampler_type *const *type = gr_linked_samplers(); *type; type++) {
        if (strcmp((*type)->name, name) == 0)
            return *type;
        add_text(known, sizeof known, (*type)->name);
    }
    gr_fail(error, GR_ERROR_NOT_FOUND, "sampler", "no sampler is called '%s'; there are: %s", name,
            known);
    return NULL;
}

const gr_sampler_param_spec *gr_sampler_spec_find(const gr_sampler_type *type, const char *name,
                                                  gr_error *error) {
    char known[300] = "";
    for (const gr_sampler_param_spec *spec = type->params; spec && spec->name; spec++) {
        if (strcmp(spec->name, name) == 0)
            return spec;
        add_text(known, sizeof known, spec->name);
    }
    gr_fail(error, GR_ERROR_NOT_FOUND, "sampler", "%s has no parameter '%s'; it has: %s",
            type->name, name, known[0] ? known : "none");
    return NULL;
}

static gr_status check_param(const gr_sampler_type *type, const gr_sampler_param *params,
                             size_t index, gr_error *error) {
    const gr_sampler_param *param = &params[index];
    const gr_sampler_param_spec *spec = gr_sampler_spec_find(type, param->name, error);
    if (!spec)
        return GR_ERROR_NOT_FOUND;
    for (size_t i = 0; i < index; i++)
        if (strcmp(params[i].name, param->name) == 0)
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sampler", "%s: %s is given twice",
                           type->name, param->name);
    if (spec->is_text != (param->text.data != NULL))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sampler", "%s: %s must be %s", type->name,
                       param->name, spec->is_text ? "text" : "a number");
    if (!spec->is_text && !(param->number >= spec->minimum && param->number <= spec->maximum))
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler",
                       "%s: %s must lie from %g to %g, found %g", type->name, param->name,
                       spec->minimum, spec->maximum, param->number);
    return GR_OK;
}

gr_status gr_sampler_chain_add(gr_sampler_chain *chain, const char *name,
                               const gr_sampler_param *params, size_t count, gr_error *error) {
    const gr_sampler_type *type = gr_sampler_type_find(name, error);
    if (!type)
        return GR_ERROR_NOT_FOUND;
    if (chain->count == MAX_STAGES)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler", "a chain has at most %d stages",
                       MAX_STAGES);
    for (size_t i = 0; i < count; i++) {
        gr_status status = check_param(type, params, i, error);
        if (status != GR_OK)
            return status;
    }
    stage fresh = {type, calloc(1, type->state_bytes + 1), gr_stage_text(type, params, count)};
    gr_status status = GR_OK;
    if (!fresh.state || !fresh.text)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler");
    else if (type->init)
        status = type->init(fresh.state, params, count, error);
    if (status == GR_OK)
        chain->stages[chain->count++] = fresh;
    else
        free_stage(&fresh);
    return status;
}

gr_status gr_sampler_chain_parse(gr_sampler_chain *chain, const char *text, gr_error *error) {
    size_t before = chain->count;
    gr_status status = gr_chain_text(chain, text, error);
    if (status != GR_OK)
        truncate(chain, before);
    return status;
}

// The stage as it stands; the caller frees it. NULL without memory.
static char *describe_stage(const stage *described) {
    gr_sampler_param params[GR_SAMPLER_PARAMS];
    if (!described->type->describe)
        return strdup(described->text);
    return gr_stage_text(described->type, params, described->type->describe(described->state, params));
}

size_t gr_sampler_chain_describe(const gr_sampler_chain *chain, char *out_text, size_t capacity) {
    size_t used = 0;
    if (capacity)
        out_text[0] = '\0';
    for (size_t i = 0; i < chain->count; i++) {
        size_t room = used < capacity ? capacity - used : 0;
        char *text = describe_stage(&chain->stages[i]);
        if (!text)
            return SIZE_MAX;
        used += (size_t)snprintf(room ? out_text + used : NULL, room, "%s%s", i ? ";" : "", text);
        free(text);
    }
    return used;
}

// ---- Sampling

static bool is_allowed(const uint32_t *allowed, size_t token) {
    return !allowed || (allowed[token / 32] >> (token % 32) & 1);
}

// Candidates are the legal tokens that have a chance, of tokens [begin, end), behind the first `count`; an infinite logit
// becomes the largest finite one.
static size_t collect(gr_sampler_chain *chain, const float *logits, size_t begin, size_t end, const uint32_t *allowed,
                      size_t count) {
    for (size_t i = begin; i < end; i++)
        if (is_allowed(allowed, i) && logits[i] > -INFINITY) // false for NaN
            chain->candidates[count++] =
                (gr_candidate){.token = (gr_token)i, .logit = fminf(logits[i], FLT_MAX)};
    return count;
}

// The candidates among which the best `most` of all are: those of the blocks whose largest logit is among the `most`
// largest ones of blocks, or as large.
static size_t collect_best(gr_sampler_chain *chain, const float *logits, size_t vocab, size_t most) {
    gr_candidates blocks = {.data = chain->candidates};
    for (size_t i = 0, from = 0; from < vocab; i++, from += BLOCK) {
        chain->largest[i] = fminf(gr_logits_largest(logits + from, vocab - from < BLOCK ? vocab - from : BLOCK), FLT_MAX);
        blocks.data[blocks.count++] = (gr_candidate){.token = (gr_token)i, .logit = chain->largest[i]};
    }
    gr_candidates_keep(&blocks, most);
    const float least = blocks.data[most - 1].logit;
    size_t count = 0;
    for (size_t i = 0, from = 0; from < vocab; i++, from += BLOCK)
        if (chain->largest[i] >= least)
            count = collect(chain, logits, from, vocab - from < BLOCK ? vocab : from + BLOCK, NULL, count);
    return count;
}

// As many candidates as the first stage reads, at least one unless nothing is legal.
static size_t collect_for(gr_sampler_chain *chain, const float *logits, size_t vocab, const uint32_t *allowed) {
    const stage *first = chain->count ? &chain->stages[0] : NULL;
    const size_t most = first && first->type->reads ? first->type->reads(first->state) : 0;
    size_t count = most && most < vocab / BLOCK / 4 && !allowed ? collect_best(chain, logits, vocab, most)
                                                                : collect(chain, logits, 0, vocab, allowed, 0);
    for (size_t i = 0; i < vocab && !count; i++)
        if (is_allowed(allowed, i))
            chain->candidates[count++] = (gr_candidate){.token = (gr_token)i};
    return count;
}

static bool reserve(gr_sampler_chain *chain, size_t vocab) {
    if (vocab <= chain->capacity)
        return true;
    if (vocab > SIZE_MAX / sizeof(gr_candidate))
        return false;
    gr_candidate *candidates = realloc(chain->candidates, vocab * sizeof *candidates);
    if (candidates)
        chain->candidates = candidates;
    float *largest = realloc(chain->largest, (vocab / BLOCK + 1) * sizeof *largest);
    if (largest)
        chain->largest = largest;
    if (!candidates || !largest)
        return false;
    chain->capacity = vocab;
    return true;
}

gr_token gr_sampler_chain_sample(gr_sampler_chain *chain, const gr_sampler_context *context,
                                 const float *logits, size_t vocab, const uint32_t *allowed,
                                 double *out_log_probability) {
    if (out_log_probability)
        *out_log_probability = -INFINITY;
    if (!reserve(chain, vocab))
        return GR_TOKEN_NONE;
    size_t count = collect_for(chain, logits, vocab, allowed);
    if (!count)
        return GR_TOKEN_NONE;
    gr_candidates candidates = {
        .data = chain->candidates, .count = count, .selected = GR_TOKEN_NONE};
    for (size_t i = 0; i < chain->count && candidates.selected == GR_TOKEN_NONE; i++)
        chain->stages[i].type->apply(chain->stages[i].state, context, &candidates);
    gr_token token = candidates.selected;
    if (token == GR_TOKEN_NONE)
        token = gr_candidates_draw(
            &candidates, gr_random_uniform(context->seed, context->position, GR_DRAW_TOKEN));
    for (size_t i = 0; i < chain->count; i++)
        if (chain->stages[i].type->accept)
            chain->stages[i].type->accept(chain->stages[i].state, context, &candidates, token);
    if (out_log_probability)
        *out_log_probability = gr_log_probability(logits, vocab, token);
    return token;
}
