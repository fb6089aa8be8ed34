// SPDX-License-Identifier: Apache-2.0
// choose.c: from logits to the next token of an answer: guidance, what is forbidden, then the sampler chain or
// the caller.
#include <stdlib.h>

#include "engine/internal.h"

// Logits moved away from those of the guide (Sanchez et al. 2023: a session that lacks the instruction).
static gr_status guide(gr_request *request, const float **logits, gr_error *error) {
    const gr_session *other = request->options.guide;
    uint32_t vocab = request->session->model->source->hparams.vocab;
    if (!other)
        return GR_OK;
    if (!request->mixed && !(request->mixed = malloc(vocab * sizeof *request->mixed)))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for guided logits");
    for (uint32_t i = 0; i < vocab; i++)
        request->mixed[i] = other->logits[i] + (float)request->options.guidance * ((*logits)[i] - other->logits[i]);
    *logits = request->mixed;
    return GR_OK;
}

static gr_status ask_caller(gr_request *request, const float *logits, gr_token *out_token, gr_error *error) {
    uint32_t vocab = request->session->model->source->hparams.vocab;
    gr_status status = request->options.choose(request->options.choose_context, request->session, logits, vocab, out_token,
                                               error);
    if (status == GR_OK && (*out_token < 0 || (uint32_t)*out_token >= vocab))
        status = gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "the chosen token %d is not in the vocabulary of %u",
                         *out_token, vocab);
    return status;
}

static gr_status sample(gr_request *request, const float *logits, uint64_t position, gr_token *out_token,
                        double *out_log_probability, gr_error *error) {
    const gr_session *session = request->session;
    const uint32_t *allowed;
    const gr_sampler_context context = {.seed = request->options.seed,
                                        .position = position,
                                        .history = session->tokens.data,
                                        .history_count = (size_t)position,
                                        .tokenizer = session->model->tokenizer};
    gr_status status = gr_request_mask(request, position, &allowed, error);
    if (status != GR_OK)
        return status;
    *out_token = gr_sampler_chain_sample(request->chain, &context, logits, session->model->source->hparams.vocab, allowed,
                                         out_log_probability);
    if (*out_token >= 0)
        return GR_OK;
    return allowed ? gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "no token may stand at position %llu",
                             (unsigned long long)position)
                   : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to sample a token");
}

gr_status gr_request_choose(gr_request *request, const float *logits, uint64_t position, gr_token *out_token,
                            double *out_log_probability, gr_error *error) {
    gr_status status = guide(request, &logits, error);
    if (status != GR_OK)
        return status;
    if (!request->options.choose)
        return sample(request, logits, position, out_token, out_log_probability, error);
    status = ask_caller(request, logits, out_token, error);
    if (status == GR_OK)
        *out_log_probability =
            gr_log_probability(logits, request->session->model->source->hparams.vocab, *out_token);
    return status;
}
