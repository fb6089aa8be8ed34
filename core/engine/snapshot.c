// SPDX-License-Identifier: Apache-2.0
// snapshot.c: a session saved and restored, each all or nothing.
#include "engine/snapshot.h"

// ---- Saving

// A function's state is its owner's: what it would do next cannot be written down.
static gr_status check_hooks(const gr_session *session, const char *path, gr_error *error) {
    const char *hook = session->encode_turns                                      ? "its chat encoder"
                       : session->request && session->request->options.choose ? "the choose function of its answer"
                                                                                  : NULL;
    if (!hook)
        return GR_OK;
    return gr_fail(error, GR_ERROR_UNSUPPORTED, "snapshot", "%s: the session cannot be saved: %s is a function, whose state "
                   "is not the session's", path, hook);
}

// What else an answer in progress may hang on, and a file does not hold.
static gr_status check_answer(const gr_session *session, const char *path, gr_error *error) {
    const gr_request *request = session->request;
    const char *what = !request                      ? NULL
                       : request->options.guide      ? "a guide"
                       : request->speculation        ? "guesses"
                       : request->banned[0]          ? "banned strings"
                       : request->options.top_tokens ? "a list of likely tokens"
                       : request->options.heal       ? "a healed prompt"
                       : request->stop_tokens.count  ? "stop tokens"
                       : request->deadline_ns        ? "a limit of time"
                                                     : NULL;
    return what ? gr_fail(error, GR_ERROR_UNSUPPORTED, "snapshot",
                          "%s: the session cannot be saved: its answer goes on with %s", path, what)
                : GR_OK;
}

static void (*const puts_block[GR_SNAPSHOT_KINDS])(const gr_session *session, gr_strbuf *out) = {
    gr_snapshot_put_model, gr_snapshot_put_tokens,  gr_snapshot_put_logits,
    gr_snapshot_put_turns, gr_snapshot_put_grammar, gr_snapshot_put_request, gr_snapshot_put_cache};

// Every block but the numbers of the cache is small enough to be made in memory, so the size is known before
// the file is begun. *out_count blocks have something to say.
static uint64_t put_blocks(const gr_session *session, gr_strbuf buffers[GR_SNAPSHOT_KINDS], uint32_t *out_count) {
    uint64_t bytes = GR_SNAPSHOT_HEAD + GR_SNAPSHOT_DIGEST;
    *out_count = 0;
    for (uint32_t i = 0; i < GR_SNAPSHOT_KINDS; i++) {
        puts_block[i](session, &buffers[i]);
        uint64_t tail = i == GR_SNAPSHOT_CACHE ? gr_snapshot_cache_bytes(session) : 0;
        if (buffers[i].size) {
            bytes += GR_SNAPSHOT_HEAD + gr_snapshot_padded(buffers[i].size + tail);
            ++*out_count;
        }
    }
    return bytes;
}

static gr_status add_block(gr_snapshot_writer *writer, const gr_session *session, gr_snapshot_kind kind,
                           const gr_strbuf *buffer, gr_error *error) {
    bool cache = kind == GR_SNAPSHOT_CACHE;
    uint64_t bytes = buffer->size + (cache ? gr_snapshot_cache_bytes(session) : 0);
    gr_status status = gr_snapshot_add_head(writer, kind, bytes, error);
    if (status == GR_OK)
        status = gr_snapshot_add(writer, buffer->data, buffer->size, error);
    if (status == GR_OK && cache)
        status = gr_snapshot_add_cache(writer, session, error);
    return status == GR_OK ? gr_snapshot_add_padding(writer, bytes, error) : status;
}

static gr_status write_file(gr_snapshot_writer *writer, const gr_session *session, const char *path,
                            const gr_strbuf buffers[GR_SNAPSHOT_KINDS], uint32_t count, uint64_t bytes, gr_error *error) {
    for (uint32_t i = 0; i < GR_SNAPSHOT_KINDS; i++)
        if (buffers[i].failed)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory to write it", path);
    gr_status status = gr_snapshot_begin(writer, path, count, bytes, error);
    if (status != GR_OK)
        return status;
    for (uint32_t i = 0; status == GR_OK && i < GR_SNAPSHOT_KINDS; i++)
        if (buffers[i].size)
            status = add_block(writer, session, (gr_snapshot_kind)i, &buffers[i], error);
    if (status == GR_OK)
        return gr_snapshot_commit(writer, error);
    gr_file_abandon(&writer->file);
    return status;
}

gr_status gr_session_save(gr_session *session, const char *path, bool (*progress)(void *, double, const char *),
                          void *context, gr_error *error) {
    gr_strbuf buffers[GR_SNAPSHOT_KINDS] = {{0}};
    gr_snapshot_writer writer = {.progress = {.report = progress, .context = context, .what = "saving"}};
    uint32_t count;
    gr_status status = check_hooks(session, path, error);
    if (status == GR_OK)
        status = check_answer(session, path, error);
    if (status != GR_OK)
        return status;
    uint64_t bytes = put_blocks(session, buffers, &count);
    status = write_file(&writer, session, path, buffers, count, bytes, error);
    for (uint32_t i = 0; i < GR_SNAPSHOT_KINDS; i++)
        gr_strbuf_deinit(&buffers[i]);
    return status;
}

// ---- Restoring

// A session goes on from its last token's logits or evaluates that token anew: one of the two must be possible.
static gr_status check_end(const gr_snapshot_file *file, const gr_session *session, gr_error *error) {
    if (gr_mapping_lost(&file->mapping))
        return gr_fail(error, GR_ERROR_IO, "snapshot", "%s: the file was truncated while it was read", file->path);
    if (gr_session_waiting(session) || session->logits_behind == session->tokens.count)
        return GR_OK;
    return gr_snapshot_damaged(&file->blocks[GR_SNAPSHOT_LOGITS], error, "no logits behind the last of %zu tokens",
                               session->tokens.count);
}

static gr_status take_all(gr_snapshot_file *file, gr_model *model, const gr_session_options *options,
                          gr_snapshot_progress *progress, gr_session **out_session, gr_request **out_request,
                          gr_error *error) {
    gr_status status = gr_snapshot_check_model(file, model, error);
    if (status == GR_OK)
        status = gr_snapshot_take_tokens(file, model, options, out_session, error);
    if (status == GR_OK)
        status = gr_snapshot_take_logits(file, *out_session, error);
    if (status == GR_OK)
        status = gr_snapshot_take_turns(file, *out_session, error);
    if (status == GR_OK)
        status = gr_snapshot_take_cache(file, *out_session, progress, error);
    if (status == GR_OK)
        status = check_end(file, *out_session, error);
    return status == GR_OK ? gr_snapshot_take_request(file, *out_session, out_request, error) : status;
}

gr_status gr_session_restore(gr_model *model, const char *path, const gr_session_options *options,
                             bool (*progress)(void *, double, const char *), void *context, gr_session **out_session,
                             gr_request **out_request, gr_error *error) {
    gr_snapshot_file file;
    gr_snapshot_progress told = {.report = progress, .context = context, .what = "restoring"};
    gr_request *request = NULL;
    *out_session = NULL;
    if (out_request)
        *out_request = NULL;
    gr_status status = gr_snapshot_open(path, &told, &file, error);
    if (status != GR_OK)
        return status;
    status = take_all(&file, model, options, &told, out_session, &request, error);
    gr_snapshot_close(&file);
    if (status != GR_OK) {
        gr_session_release(*out_session);
        *out_session = NULL;
    } else if (out_request) {
        *out_request = request;
    } else if (request) { // nobody waits for it: what it said is kept
        gr_request_end(request, GR_STOP_CANCELLED);
        gr_request_release(request);
    }
    return status;
}
