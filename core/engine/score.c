// SPDX-License-Identifier: Apache-2.0
// score.c: logits for whoever asks, and log-probabilities of what is appended.
#include <math.h>
#include <string.h>

#include "engine/internal.h"

gr_status gr_session_logits(gr_session *session, const float **out_logits, uint32_t *out_vocab,
                            uint64_t *out_generation, gr_error *error) {
    *out_logits = NULL;
    if (!session->tokens.count)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "an empty session has no logits: append something first");
    gr_status status = gr_session_drain(session, NULL, NULL, error);
    if (status == GR_OK && gr_session_own(session) < session->tokens.count)
        status = gr_fail(error, GR_ERROR_BUSY, "engine", "tokens are being guessed: the logits are not the answer's");
    if (status != GR_OK)
        return status;
    *out_logits = session->logits;
    *out_vocab = session->model->source->hparams.vocab;
    if (out_generation)
        *out_generation = session->generation;
    return GR_OK;
}

uint64_t gr_session_generation(const gr_session *session) {
    return session->generation;
}

// Appends behind what is evaluated already, so that the observer sees the new tokens alone.
static gr_status append_behind(gr_session *session, const int32_t *tokens, size_t count, gr_error *error) {
    gr_status status = session->tokens.count ? gr_session_drain(session, NULL, NULL, error) : GR_OK;
    return status == GR_OK ? gr_session_append_tokens(session, tokens, count, error) : status;
}

static gr_status drain_observed(gr_session *session, gr_logits_observer observe, void *context, gr_error *error) {
    session->hook = observe;
    session->hook_context = context;
    session->observed = session->pages.length;
    gr_status status = gr_session_drain(session, NULL, NULL, error);
    session->hook = NULL;
    return status;
}

gr_status gr_session_append_observed(gr_session *session, const int32_t *tokens, size_t count, gr_logits_observer observe,
                                     void *context, gr_error *error) {
    gr_status status = append_behind(session, tokens, count, error);
    return status == GR_OK ? drain_observed(session, observe, context, error) : status;
}

typedef struct score_job {
    const gr_session *session;
    uint64_t first;  // position of the first token to score
    size_t count;
    double *out;
} score_job;

static void score_row(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    const score_job *job = context;
    uint64_t index = position + 1 - job->first;
    if (index < job->count)
        job->out[index] = gr_log_probability(logits, vocab, job->session->tokens.data[position + 1]);
}

gr_status gr_session_append_scored(gr_session *session, const int32_t *tokens, size_t count,
                                   double *out_log_probabilities, gr_error *error) {
    uint64_t first = session->tokens.count;
    score_job job = {.session = session, .first = first, .count = count, .out = out_log_probabilities};
    gr_status status = append_behind(session, tokens, count, error);
    if (status != GR_OK || !count)
        return status;
    out_log_probabilities[0] = NAN;
    if (first)
        score_row(&job, first - 1, session->logits, session->model->source->hparams.vocab);
    return drain_observed(session, score_row, &job, error);
}
