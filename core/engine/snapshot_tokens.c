// SPDX-License-Identifier: Apache-2.0
// snapshot_tokens.c: block "tokens": the log; block "logits": the numbers behind its last token.
#include <string.h>

#include "engine/snapshot.h"

void gr_snapshot_put_tokens(const gr_session *session, gr_strbuf *out) {
    gr_put_u64(out, session->context);
    gr_put_u64(out, session->tokens.count);
    gr_put_bytes(out, session->tokens.data, session->tokens.count * sizeof *session->tokens.data);
}

// The context is the caller's choice, the file's, or the least that holds the tokens.
static gr_status choose_context(const gr_snapshot_block *block, uint64_t saved, uint64_t count,
                                const gr_session_options *options, gr_session_options *out_options, gr_error *error) {
    *out_options = (gr_session_options){.struct_size = sizeof *out_options};
    gr_take_options(out_options, sizeof *out_options, options);
    if (!saved || saved > INT32_MAX / 2 || count > saved)
        return gr_snapshot_damaged(block, error, "%llu tokens in a context of %llu", (unsigned long long)count,
                                   (unsigned long long)saved);
    if (!out_options->context)
        out_options->context = (uint32_t)saved;
    if (count > out_options->context)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "snapshot", "%s: %llu tokens, more than the context of %u", block->path,
                       (unsigned long long)count, out_options->context);
    return GR_OK;
}

gr_status gr_snapshot_take_tokens(gr_snapshot_file *file, gr_model *model, const gr_session_options *options,
                                  gr_session **out_session, gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_TOKENS];
    gr_session_options wanted;
    uint64_t context = gr_take_u64(block), count = gr_take_count(block, sizeof(gr_token));
    const gr_token *tokens = gr_take_bytes(block, count * sizeof(gr_token)); // blocks and numbers lie aligned
    gr_error inner;
    *out_session = NULL;
    gr_error_init(&inner);
    gr_status status = gr_snapshot_block_end(block, error);
    if (status == GR_OK)
        status = choose_context(block, context, count, options, &wanted, error);
    if (status == GR_OK)
        status = gr_session_create(model, &wanted, out_session, error);
    if (status == GR_OK) {
        status = gr_session_append_tokens(*out_session, tokens, (size_t)count, &inner);
        status = gr_snapshot_refused(block, status, &inner, error);
    }
    return status;
}

// ---- Logits

void gr_snapshot_put_logits(const gr_session *session, gr_strbuf *out) {
    if (!session->logits_behind || session->logits_behind > session->tokens.count)
        return;
    gr_put_u64(out, session->logits_behind);
    gr_put_bytes(out, session->logits, session->model->source->hparams.vocab * sizeof *session->logits);
}

gr_status gr_snapshot_take_logits(gr_snapshot_file *file, gr_session *session, gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_LOGITS];
    uint64_t bytes = session->model->source->hparams.vocab * sizeof *session->logits;
    if (!block->data)
        return GR_OK;
    uint64_t behind = gr_take_u64(block);
    const void *logits = gr_take_bytes(block, bytes);
    gr_status status = gr_snapshot_block_end(block, error);
    if (status == GR_OK && (!behind || behind > session->tokens.count))
        status = gr_snapshot_damaged(block, error, "logits behind token %llu of %zu", (unsigned long long)behind,
                                     session->tokens.count);
    if (status != GR_OK)
        return status;
    memcpy(session->logits, logits, (size_t)bytes);
    session->logits_behind = behind;
    return GR_OK;
}
