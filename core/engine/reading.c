// SPDX-License-Identifier: Apache-2.0
// reading.c: what the model makes of a continuation: a fork reads it, and logits or final hidden states are looked at as
// they come.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

struct gr_reading {
    gr_session *fork;
    gr_reading_kind kind;
    uint32_t dim;
    uint64_t first; // position of the continuation's first token
    size_t count;
    double *log_probabilities; // [count]
    double *sum;               // [dim]: of the hidden states so far
    float *embedding;          // [dim]
};

static void score_row(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    gr_reading *r = context;
    uint64_t index = position + 1 - r->first;
    if (index < r->count)
        r->log_probabilities[index] = gr_log_probability(logits, vocab, r->fork->tokens.data[position + 1]);
}

static void sum_row(void *context, uint64_t position, const float *hidden, uint32_t dim) {
    gr_reading *r = context;
    (void)position;
    for (uint32_t i = 0; i < dim; i++)
        r->sum[i] += hidden[i];
}

static void keep_row(void *context, uint64_t position, const float *hidden, uint32_t dim) {
    gr_reading *r = context;
    (void)position;
    memcpy(r->embedding, hidden, dim * sizeof *hidden);
}

static gr_status make_room(gr_reading *r, gr_error *error) {
    if (r->kind == GR_READ_SCORE)
        r->log_probabilities = calloc(r->count + 1, sizeof *r->log_probabilities);
    else
        r->embedding = calloc(r->dim, sizeof *r->embedding);
    if (r->kind == GR_READ_MEAN)
        r->sum = calloc(r->dim, sizeof *r->sum);
    if ((!r->log_probabilities && !r->embedding) || (r->kind == GR_READ_MEAN && !r->sum))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a reading");
    return GR_OK;
}

// The first token's probability stands in the logits behind what was there before: at hand, or observed like the others.
static void begin_score(gr_reading *r) {
    gr_session *fork = r->fork;
    fork->hook = score_row;
    fork->observed = r->first;
    r->log_probabilities[0] = NAN;
    if (r->first && r->count && fork->logits_behind == r->first)
        score_row(r, r->first - 1, fork->logits, fork->model->source->hparams.vocab);
    else if (r->first)
        fork->observed = r->first - 1;
}

static void begin_embedding(gr_reading *r) {
    gr_session *fork = r->fork;
    fork->hook = r->kind == GR_READ_MEAN ? sum_row : keep_row;
    fork->hook_hidden = true;
    fork->observed = r->kind == GR_READ_MEAN ? r->first : fork->tokens.count - 1;
}

static gr_status append(gr_reading *r, const gr_reading_options *o, gr_error *error) {
    r->first = r->fork->tokens.count;
    gr_status status = o->text ? gr_session_append_text(r->fork, o->text, o->text_bytes, error)
                               : gr_session_append_tokens(r->fork, o->tokens, o->token_count, error);
    r->count = r->fork->tokens.count - (size_t)r->first;
    if (status == GR_OK && r->kind != GR_READ_SCORE && !r->count)
        status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "no tokens have no embedding");
    return status;
}

gr_status gr_reading_start(gr_session *session, const gr_reading_options *options, gr_reading **out_reading, gr_error *error) {
    const gr_model *model = session->model;
    gr_reading_options wanted = {.struct_size = sizeof wanted};
    *out_reading = NULL;
    gr_take_options(&wanted, sizeof wanted, options);
    options = &wanted;
    if (options->kind > GR_READ_LAST)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a reading of kind %u: there are 0 to %d", options->kind,
                       GR_READ_LAST);
    if (options->kind != GR_READ_SCORE && model->hidden_value == GR_VALUE_NONE)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "engine", "the architecture shows no hidden states");
    gr_reading *r = calloc(1, sizeof *r);
    if (!r)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a reading");
    r->kind = options->kind;
    r->dim = model->source->hparams.dim;
    gr_status status = gr_session_fork(session, &r->fork, error);
    if (status == GR_OK)
        status = append(r, options, error);
    if (status == GR_OK)
        status = make_room(r, error);
    if (status != GR_OK) {
        gr_reading_release(r);
        return status;
    }
    r->fork->hook_context = r;
    if (r->kind == GR_READ_SCORE)
        begin_score(r);
    else
        begin_embedding(r);
    *out_reading = r;
    return GR_OK;
}

// All has been looked at; what happens to the fork's pages afterwards is no matter.
static bool is_over(const gr_reading *reading) {
    return !reading->count || reading->fork->observed >= reading->fork->tokens.count;
}

bool gr_reading_pending(const gr_reading *reading) {
    return !is_over(reading) && gr_session_pending(reading->fork);
}

gr_status gr_reading_finish(gr_reading *reading, gr_error *error) {
    gr_status status = is_over(reading) ? GR_OK : gr_session_drain(reading->fork, NULL, NULL, error);
    if (status == GR_OK && reading->kind == GR_READ_MEAN)
        for (uint32_t i = 0; i < reading->dim; i++)
            reading->embedding[i] = (float)(reading->sum[i] / (double)reading->count);
    return status;
}

gr_status gr_reading_info_get(const gr_reading *reading, gr_reading_info *out_info) {
    uint32_t size = out_info->struct_size;
    const gr_reading_info info = {.struct_size = size,
                                  .dim = reading->dim,
                                  .tokens = reading->count ? reading->fork->tokens.data + reading->first : NULL,
                                  .token_count = reading->count,
                                  .log_probabilities = reading->log_probabilities,
                                  .embedding = reading->embedding};
    memcpy(out_info, &info, size < sizeof info ? size : sizeof info);
    return GR_OK;
}

void gr_reading_release(gr_reading *reading) {
    if (!reading)
        return;
    if (reading->fork)
        reading->fork->hook = NULL;
    gr_session_release(reading->fork);
    free(reading->log_probabilities);
    free(reading->sum);
    free(reading->embedding);
    free(reading);
}

// ---- From beginning to end

static gr_status read_now(gr_session *session, const gr_reading_options *options, gr_reading **out_reading, gr_error *error) {
    *out_reading = NULL;
    gr_status status = session->tokens.count ? gr_session_drain(session, NULL, NULL, error) : GR_OK;
    if (status == GR_OK)
        status = gr_reading_start(session, options, out_reading, error);
    return status == GR_OK ? gr_reading_finish(*out_reading, error) : status;
}

gr_status gr_session_score(gr_session *session, const int32_t *tokens, size_t count, double *out_log_probabilities,
                           gr_error *error) {
    const gr_reading_options options = {.struct_size = sizeof options, .kind = GR_READ_SCORE, .tokens = tokens, .token_count = count};
    gr_reading *reading;
    gr_status status = read_now(session, &options, &reading, error);
    if (status == GR_OK && count)
        memcpy(out_log_probabilities, reading->log_probabilities, count * sizeof *out_log_probabilities);
    gr_reading_release(reading);
    return status;
}

gr_status gr_session_embed(gr_session *session, const int32_t *tokens, size_t count, gr_reading_kind kind,
                           float *out_embedding, gr_error *error) {
    const gr_reading_options options = {.struct_size = sizeof options, .kind = kind, .tokens = tokens, .token_count = count};
    gr_reading *reading;
    if (kind == GR_READ_SCORE)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "an embedding is a mean or the last");
    gr_status status = read_now(session, &options, &reading, error);
    if (status == GR_OK)
        memcpy(out_embedding, reading->embedding, reading->dim * sizeof *out_embedding);
    gr_reading_release(reading);
    return status;
}
