// SPDX-License-Identifier: Apache-2.0
// chain.c: stages in the order the user gave.
#include "plugins/sampler/common/common.h"

enum { MAX_STAGES = 32, MAX_PARAMS = 32 };

typedef struct stage {
    const gr_sampler_type *type;
    void *state;
    char *text; // as gr_sampler_chain_parse reads it
} stage;

struct gr_sampler_chain {
    stage stages[MAX_STAGES];
    size_t count;
    gr_candidate *candidates; // [capacity], reused
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
    return *out_chain ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler chain");
}

static void end_stage(stage *ended) {
    if (ended->type->deinit && ended->state)
        ended->type->deinit(ended->state);
    free(ended->state);
    free(ended->text);
}

void gr_sampler_chain_destroy(gr_sampler_chain *chain) {
    if (!chain)
        return;
    for (size_t i = 0; i < chain->count; i++)
        end_stage(&chain->stages[i]);
    free(chain->candidates);
    free(chain);
}

gr_status gr_sampler_chain_clone(const gr_sampler_chain *chain, gr_sampler_chain **out_chain, gr_error *error) {
    gr_status status = gr_sampler_chain_create(out_chain, error);
    for (size_t i = 0; status == GR_OK && i < chain->count; i++) {
        const stage *from = &chain->stages[i];
        stage *to = &(*out_chain)->stages[i];
        *to = (stage){from->type, calloc(1, from->type->state_bytes + 1), strdup(from->text)};
        if (!to->state || !to->text)
            status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler chain");
        else if (from->type->clone)
            status = from->type->clone(from->state, to->state, error);
        else
            memcpy(to->state, from->state, from->type->state_bytes);
        if (status == GR_OK) {
            (*out_chain)->count++;
        } else {
            free(to->state);
            free(to->text);
        }
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

static const gr_sampler_type *find_type(const char *name, gr_error *error) {
    char known[400] = "";
    for (const gr_sampler_type *const *type = gr_linked_samplers(); *type; type++) {
        if (strcmp((*type)->name, name) == 0)
            return *type;
        add_text(known, sizeof known, (*type)->name);
    }
    gr_fail(error, GR_ERROR_NOT_FOUND, "sampler", "no sampler is called '%s'; there are: %s", name, known);
    return NULL;
}

static gr_status check_param(const gr_sampler_type *type, const gr_sampler_param *param, gr_error *error) {
    char known[300] = "";
    for (const gr_sampler_param_spec *spec = type->params; spec && spec->name; spec++) {
        if (strcmp(spec->name, param->name) != 0) {
            add_text(known, sizeof known, spec->name);
            continue;
        }
        if (param->text.data || (param->number >= spec->minimum && param->number <= spec->maximum))
            return GR_OK;
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler", "%s: %s must lie from %g to %g, found %g", type->name,
                       param->name, spec->minimum, spec->maximum, param->number);
    }
    return gr_fail(error, GR_ERROR_NOT_FOUND, "sampler", "%s has no parameter '%s'; it has: %s", type->name, param->name,
                   known[0] ? known : "none");
}

static char *describe(const gr_sampler_type *type, const gr_sampler_param *params, size_t count) {
    size_t capacity = strlen(type->name) + 3, used;
    for (size_t i = 0; i < count; i++)
        capacity += strlen(params[i].name) + 40 + params[i].text.size;
    char *text = malloc(capacity);
    if (!text)
        return NULL;
    used = (size_t)snprintf(text, capacity, "%s%s", type->name, count ? "(" : "");
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "%s%s=", i ? "," : "", params[i].name);
        used += params[i].text.data ? (size_t)snprintf(text + used, capacity - used, "%.*s", (int)params[i].text.size, params[i].text.data)
                                    : (size_t)snprintf(text + used, capacity - used, "%.9g", params[i].number);
    }
    snprintf(text + used, capacity - used, "%s", count ? ")" : "");
    return text;
}

gr_status gr_sampler_chain_add(gr_sampler_chain *chain, const char *name, const gr_sampler_param *params, size_t count,
                               gr_error *error) {
    const gr_sampler_type *type = find_type(name, error);
    if (!type)
        return GR_ERROR_NOT_FOUND;
    if (chain->count == MAX_STAGES)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler", "a chain has at most %d stages", MAX_STAGES);
    for (size_t i = 0; i < count; i++) {
        gr_status status = check_param(type, &params[i], error);
        if (status != GR_OK)
            return status;
    }
    stage fresh = {type, calloc(1, type->state_bytes + 1), describe(type, params, count)};
    gr_status status = fresh.state && fresh.text ? GR_OK : GR_ERROR_OUT_OF_MEMORY;
    if (status != GR_OK)
        gr_fail(error, status, "sampler", "no memory for a sampler");
    else if (type->init)
        status = type->init(fresh.state, params, count, error);
    if (status != GR_OK) {
        free(fresh.state);
        free(fresh.text);
        return status;
    }
    chain->stages[chain->count++] = fresh;
    return GR_OK;
}

// ---- Reading text

static char *trim(char *text) {
    while (*text == ' ' || *text == '\t' || *text == '\n')
        text++;
    char *end = text + strlen(text);
    while (end > text && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n'))
        *--end = '\0';
    return text;
}

// "name=value" or "value" (the stage's first parameter). What is not a number is kept as text.
static gr_status parse_param(const char *stage_name, char *text, gr_sampler_param *out_param, gr_error *error) {
    char *equals = strchr(text, '='), *value = trim(equals ? equals + 1 : text), *end;
    const gr_sampler_type *type = find_type(stage_name, error);
    if (!type)
        return GR_ERROR_NOT_FOUND;
    bool named = equals && (text[0] < '0' || text[0] > '9') && text[0] != '-';
    if (!named)
        value = trim(text);
    else
        *equals = '\0';
    if (!named && (!type->params || !type->params[0].name))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sampler", "%s takes no parameter, found '%s'", stage_name, value);
    out_param->name = named ? trim(text) : type->params[0].name;
    out_param->number = strtod(value, &end);
    out_param->text = end == value || *end ? (gr_str){value, strlen(value)} : (gr_str){0};
    return GR_OK;
}

static gr_status parse_stage(gr_sampler_chain *chain, char *text, gr_error *error) {
    gr_sampler_param params[MAX_PARAMS];
    size_t count = 0;
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if ((open && (!close || close < open || *trim(close + 1))) || (!open && close))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sampler", "expected name(parameter=value,...), found '%s'", text);
    if (open)
        *open = *close = '\0';
    const char *name = trim(text);
    char *rest = NULL;
    for (char *part = open ? strtok_r(open + 1, ",", &rest) : NULL; part; part = strtok_r(NULL, ",", &rest)) {
        if (count == MAX_PARAMS)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sampler", "%s: more than %d parameters", name, MAX_PARAMS);
        gr_status status = parse_param(name, trim(part), &params[count++], error);
        if (status != GR_OK)
            return status;
    }
    return gr_sampler_chain_add(chain, name, params, count, error);
}

gr_status gr_sampler_chain_parse(gr_sampler_chain *chain, const char *text, gr_error *error) {
    char *copy = strdup(text), *rest = NULL;
    gr_status status = copy ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler chain");
    for (char *part = copy ? strtok_r(copy, ";", &rest) : NULL; part && status == GR_OK; part = strtok_r(NULL, ";", &rest))
        if (*trim(part))
            status = parse_stage(chain, trim(part), error);
    free(copy);
    return status;
}

size_t gr_sampler_chain_describe(const gr_sampler_chain *chain, char *out_text, size_t capacity) {
    size_t used = 0;
    if (capacity)
        out_text[0] = '\0';
    for (size_t i = 0; i < chain->count; i++) {
        size_t room = used < capacity ? capacity - used : 0;
        used += (size_t)snprintf(room ? out_text + used : NULL, room, "%s%s", i ? ";" : "", chain->stages[i].text);
    }
    return used;
}

// ---- Sampling

static size_t collect(gr_sampler_chain *chain, const float *logits, size_t vocab, const uint32_t *allowed) {
    size_t count = 0;
    for (size_t i = 0; i < vocab; i++) {
        bool legal = !allowed || (allowed[i / 32] >> (i % 32) & 1);
        if (legal && logits[i] > -INFINITY) // false for NaN
            chain->candidates[count++] = (gr_candidate){.token = (gr_token)i, .logit = logits[i]};
    }
    for (size_t i = 0; i < vocab && !count; i++) // nothing has a finite logit: the lowest legal token
        if (!allowed || (allowed[i / 32] >> (i % 32) & 1))
            chain->candidates[count++] = (gr_candidate){.token = (gr_token)i};
    return count;
}

static double log_probability(const float *logits, size_t vocab, gr_token token) {
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < vocab; i++)
        if (logits[i] > largest)
            largest = logits[i];
    for (size_t i = 0; i < vocab; i++)
        if (logits[i] > -INFINITY)
            sum += exp(logits[i] - largest);
    return logits[token] - largest - log(sum);
}

static gr_token pick(gr_candidates *candidates, const gr_sampler_context *context) {
    if (candidates->selected != GR_TOKEN_NONE)
        return candidates->selected;
    gr_candidates_softmax(candidates);
    double u = gr_random_uniform(context->seed, context->position, GR_DRAW_TOKEN);
    return candidates->data[gr_candidates_draw(candidates, u)].token;
}

gr_token gr_sampler_chain_sample(gr_sampler_chain *chain, const gr_sampler_context *context, const float *logits,
                                 size_t vocab, const uint32_t *allowed, double *out_log_probability) {
    if (vocab > chain->capacity) {
        gr_candidate *data = realloc(chain->candidates, vocab * sizeof *data);
        if (!data)
            return GR_TOKEN_NONE;
        chain->candidates = data;
        chain->capacity = vocab;
    }
    size_t count = collect(chain, logits, vocab, allowed);
    if (!count)
        return GR_TOKEN_NONE;
    gr_candidates candidates = {.data = chain->candidates, .count = count, .selected = GR_TOKEN_NONE};
    for (size_t i = 0; i < chain->count && candidates.selected == GR_TOKEN_NONE; i++)
        chain->stages[i].type->apply(chain->stages[i].state, context, &candidates);
    gr_token token = pick(&candidates, context);
    for (size_t i = 0; i < chain->count; i++)
        if (chain->stages[i].type->accept)
            chain->stages[i].type->accept(chain->stages[i].state, context, &candidates, token);
    if (out_log_probability)
        *out_log_probability = log_probability(logits, vocab, token);
    return token;
}
