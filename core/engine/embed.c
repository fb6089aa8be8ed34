// SPDX-License-Identifier: Apache-2.0
// embed.c: embeddings: final hidden states of a continuation, pooled.
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

typedef struct pooling {
    gr_pool pool;
    double *sum; // [dim]
    float *last; // [dim]
} pooling;

static void pool_row(void *context, uint64_t position, const float *hidden, uint32_t dim) {
    pooling *p = context;
    (void)position;
    if (p->pool == GR_POOL_LAST)
        memcpy(p->last, hidden, dim * sizeof *hidden);
    for (uint32_t i = 0; p->pool == GR_POOL_MEAN && i < dim; i++)
        p->sum[i] += hidden[i];
}

// On a fork of its own: of the last token alone nobody wants the other rows.
static gr_status embed(gr_session *fork, const int32_t *tokens, size_t count, pooling *p, gr_error *error) {
    gr_status status = fork->tokens.count ? gr_session_drain(fork, NULL, NULL, error) : GR_OK;
    if (status == GR_OK)
        status = gr_session_append_tokens(fork, tokens, count, error);
    if (status != GR_OK)
        return status;
    fork->hook = pool_row;
    fork->hook_context = p;
    fork->hook_hidden = true;
    fork->observed = p->pool == GR_POOL_LAST ? fork->tokens.count - 1 : fork->pages.length;
    status = gr_session_drain(fork, NULL, NULL, error);
    fork->hook = NULL;
    return status;
}

gr_status gr_session_embed(gr_session *session, const int32_t *tokens, size_t count, gr_pool pool, float *out_embedding,
                           gr_error *error) {
    uint32_t dim = session->model->source->hparams.dim;
    gr_session *fork = NULL;
    if (!count)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "no tokens have no embedding");
    if (session->model->hidden_value == GR_VALUE_NONE)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "engine", "the architecture shows no hidden states");
    pooling p = {pool, calloc(dim, sizeof *p.sum), out_embedding};
    gr_status status = p.sum ? gr_session_fork(session, &fork, error)
                             : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for an embedding");
    if (status == GR_OK)
        status = embed(fork, tokens, count, &p, error);
    for (uint32_t i = 0; status == GR_OK && pool == GR_POOL_MEAN && i < dim; i++)
        out_embedding[i] = (float)(p.sum[i] / (double)count);
    gr_session_release(fork);
    free(p.sum);
    return status;
}
