// SPDX-License-Identifier: Apache-2.0
// session.c: a token log and the cache behind it. Invariant: pages.length <= tokens.count, and the cache
// holds the keys and values of tokens[0, pages.length) that any later query can see.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/site.h"

size_t gr_session_waiting(const gr_session *session) {
    return session->tokens.count - (size_t)session->pages.length;
}

bool gr_session_works(const gr_session *session) {
    bool wanted = session->asked || (session->request && session->logits_behind != session->tokens.count);
    return wanted && !session->paused && gr_session_waiting(session) > 0;
}

bool gr_session_pending(const gr_session *session) {
    return gr_session_works(session) ||
           (!session->paused && session->pages.length > 0 && gr_session_waiting(session) > 0);
}

void gr_session_ask(gr_session *session) {
    if (!session->request && (!session->asked || !gr_session_waiting(session)))
        session->working = false; // this is new work
    session->asked = true;
    session->paused = false;
}

// A fork takes the place behind `origin`, so that those who share most stand side by side; else the last.
static gr_status join_model(gr_model *model, gr_session *session, const gr_session *origin, gr_error *error) {
    if (model->session_count == model->session_capacity) {
        uint32_t capacity = model->session_capacity * 2 + 8;
        gr_session **sessions = realloc(model->sessions, capacity * sizeof *sessions);
        if (!sessions)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a session");
        model->sessions = sessions;
        model->session_capacity = capacity;
    }
    uint32_t at = model->session_count++;
    for (; at && origin && model->sessions[at - 1] != origin; at--)
        model->sessions[at] = model->sessions[at - 1];
    model->sessions[at] = session;
    return GR_OK;
}

static void leave_model(gr_model *model, const gr_session *session) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < model->session_count; i++)
        if (model->sessions[i] != session)
            model->sessions[kept++] = model->sessions[i];
    model->session_count = kept;
}

// Page tables in step blocks have a fixed capacity: a longer context needs new blocks.
static void make_tables_fit(gr_model *model, uint32_t context) {
    uint64_t pages = (uint64_t)context / model->page_tokens + 2;
    if (pages <= model->max_pages)
        return;
    model->max_pages = (uint32_t)pages;
    for (uint32_t i = 0; i < model->site_count; i++)
        if (model->sites[i]->ready && !model->sites[i]->abandoned) // one on its way sees to it at the end
            gr_buckets_drop(model->sites[i]);
}

static uint32_t default_context(const gr_model *model) {
    uint32_t trained = model->source->hparams.context_train;
    return trained && trained < GR_DEFAULT_CONTEXT ? trained : GR_DEFAULT_CONTEXT;
}

static gr_status create(gr_site *site, uint32_t context, int32_t priority, const gr_session *origin,
                        gr_session **out_session, gr_error *error) {
    gr_model *model = site->model;
    *out_session = NULL;
    gr_session *session = calloc(1, sizeof *session);
    if (!session)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a session");
    session->references = 1;
    session->model = gr_model_retain(model);
    session->site = gr_site_retain(site);
    session->context = context;
    session->priority = priority;
    session->ticket = ++model->tickets;
    session->stats.struct_size = sizeof session->stats;
    gr_status status = gr_kv_seq_init(site->cache, &session->pages, error);
    session->logits = calloc(model->source->hparams.vocab, sizeof *session->logits);
    if (status == GR_OK && !session->logits)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for logits");
    if (status == GR_OK)
        status = join_model(model, session, origin, error);
    if (status != GR_OK) {
        gr_session_release(session);
        return status;
    }
    make_tables_fit(model, context);
    *out_session = session;
    return GR_OK;
}

gr_status gr_session_create(gr_model *model, const gr_session_options *options, gr_session **out_session,
                            gr_error *error) {
    gr_session_options wanted = {.struct_size = sizeof wanted};
    gr_take_options(&wanted, sizeof wanted, options);
    uint32_t context = wanted.context ? wanted.context : default_context(model);
    if (context > INT32_MAX / 2) {
        *out_session = NULL;
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "a context of %u positions: at most %d", context, INT32_MAX / 2);
    }
    return create(model->site, context, wanted.priority, NULL, out_session, error);
}

gr_session *gr_session_retain(gr_session *session) {
    session->references++;
    return session;
}

static void drop_anchor(gr_session *session, uint32_t index) {
    gr_kv_seq_deinit(&session->anchors[index].pages);
    session->anchors[index] = session->anchors[--session->anchor_count];
}

void gr_session_release(gr_session *session) {
    if (!session || --session->references)
        return;
    gr_model *model = session->model;
    leave_model(model, session);
    while (session->anchor_count)
        drop_anchor(session, session->anchor_count - 1);
    free(session->anchors);
    if (session->pages.cache)
        gr_kv_seq_deinit(&session->pages);
    gr_tokens_deinit(&session->tokens);
    gr_chat_deinit(&session->chat);
    free(session->logits);
    gr_site_release(session->site);
    free(session);
    gr_model_release(model);
}

gr_model *gr_session_model(gr_session *session) {
    return session->model;
}

// ---- The token log

gr_status gr_session_append_tokens(gr_session *session, const int32_t *tokens, size_t count, gr_error *error) {
    if (session->request)
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the session is generating");
    return gr_session_log(session, tokens, count, error);
}

gr_status gr_session_log(gr_session *session, const int32_t *tokens, size_t count, gr_error *error) {
    uint32_t vocab = session->model->source->hparams.vocab;
    if (count > session->context || session->tokens.count > session->context - count)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine",
                       "the context of %u positions is full: %zu are taken, %zu more were wanted", session->context,
                       session->tokens.count, count);
    for (size_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= vocab)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "token %d at index %zu: the vocabulary has %u",
                           tokens[i], i, vocab);
    gr_session_ask(session);
    if (gr_tokens_append(&session->tokens, tokens, count) != GR_OK)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for %zu tokens", count);
    return GR_OK;
}

gr_status gr_session_append_text(gr_session *session, const char *text, size_t bytes, gr_error *error) {
    gr_tokens tokens = {0};
    gr_encode_flags flags = session->tokens.count ? GR_ENCODE_NO_PREFIX : GR_ENCODE_SPECIAL;
    gr_status status = gr_tokenizer_encode(session->model->tokenizer, (gr_str){text, bytes}, flags, &tokens, error);
    if (status == GR_OK)
        status = gr_session_append_tokens(session, tokens.data, tokens.count, error);
    gr_tokens_deinit(&tokens);
    return status;
}

uint64_t gr_session_own(const gr_session *session) {
    const gr_request *request = session->request;
    uint64_t taken = request && request->speculation ? request->prompt_tokens + request->tokens.count : session->tokens.count;
    return taken < session->tokens.count ? taken : session->tokens.count;
}

const int32_t *gr_session_tokens(const gr_session *session, size_t *out_count) {
    *out_count = (size_t)gr_session_own(session);
    return session->tokens.data;
}

uint64_t gr_session_evaluated(const gr_session *session) {
    uint64_t own = gr_session_own(session);
    return session->pages.length < own ? session->pages.length : own;
}

gr_status gr_session_drain(gr_session *session, bool (*progress)(void *, double, const char *), void *context,
                           gr_error *error) {
    gr_engine *engine = session->model->engine;
    size_t total = gr_session_waiting(session);
    gr_session_ask(session);
    while (gr_session_waiting(session)) {
        bool worked;
        gr_status status = gr_engine_step(engine, &worked, error);
        if (session->paused)
            return status;
        double fraction = fmax(0, 1.0 - (double)gr_session_waiting(session) / (double)total); // more waits once pages are gone
        bool interrupted = atomic_exchange(&engine->interrupted, false);
        bool stop = !interrupted && progress && !progress(context, fraction, "prompt");
        if (interrupted || (stop && gr_session_waiting(session)))
            return gr_fail(error, GR_ERROR_CANCELLED, "engine", "evaluation was interrupted");
    }
    return GR_OK;
}

gr_status gr_session_evaluate(gr_session *session, bool (*progress)(void *, double, const char *), void *context,
                              gr_error *error) {
    return gr_session_drain(session, progress, context, error);
}

// ---- Going back

// The anchor that leaves least to evaluate again, or -1.
static int best_anchor(const gr_session *session, uint64_t length) {
    int best = -1;
    uint64_t reach = 0;
    for (uint32_t i = 0; i < session->anchor_count; i++) {
        const gr_kv_seq *pages = &session->anchors[i].pages;
        uint64_t usable = pages->length < length ? pages->length : length;
        if (gr_kv_seq_can_truncate(pages, usable) && usable > reach) {
            best = (int)i;
            reach = usable;
        }
    }
    return best;
}

static gr_status rebuild_from(gr_session *session, int anchor, uint64_t length, gr_error *error) {
    gr_kv_seq pages;
    if (anchor < 0) {
        gr_kv_seq_truncate(&session->pages, 0);
        return GR_OK;
    }
    gr_status status = gr_kv_seq_fork(&session->anchors[anchor].pages, &pages, error);
    if (status != GR_OK)
        return status;
    gr_kv_seq_truncate(&pages, pages.length < length ? pages.length : length);
    gr_kv_seq_deinit(&session->pages);
    session->pages = pages;
    return GR_OK;
}

// Keeps `count` tokens, and at most `length` positions of the cache.
static gr_status cut(gr_session *session, uint64_t count, uint64_t length, gr_error *error) {
    if (session->pages.length > length) {
        gr_status status = GR_OK;
        if (gr_kv_seq_can_truncate(&session->pages, length))
            gr_kv_seq_truncate(&session->pages, length);
        else
            status = rebuild_from(session, best_anchor(session, length), length, error);
        if (status != GR_OK)
            return status;
    }
    for (uint32_t i = session->anchor_count; i-- > 0;)
        if (session->anchors[i].position > count)
            drop_anchor(session, i);
    session->rewinds += count < session->tokens.count;
    session->tokens.count = (size_t)count;
    if (session->logits_behind > count)
        session->logits_behind = 0; // other tokens may come to stand there
    session->asked |= session->logits_behind != count;
    session->generation++;
    return GR_OK;
}

gr_status gr_session_set_length(gr_session *session, uint64_t count, gr_error *error) {
    if (count > session->tokens.count)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "cannot rewind to %llu: the session has %zu tokens",
                       (unsigned long long)count, session->tokens.count);
    // The logits behind the last token kept need that token evaluated again.
    uint64_t length = session->logits_behind == count || !count ? count : count - 1;
    return cut(session, count, length, error);
}

gr_status gr_session_cut(gr_session *session, uint64_t count, gr_error *error) {
    return cut(session, count, count, error);
}

gr_status gr_session_rewind(gr_session *session, uint64_t count, gr_error *error) {
    if (session->request)
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the session is generating");
    gr_status status = gr_session_set_length(session, count, error);
    if (status == GR_OK && session->turns_applied) {
        session->turns_applied = 0; // the turns are encoded anew when they are next needed
    }
    return status;
}

bool gr_session_can_rewind(const gr_session *session, uint64_t count) {
    uint64_t length = count ? count - 1 : 0;
    return count <= session->tokens.count &&
           (session->pages.length <= length || gr_kv_seq_can_truncate(&session->pages, length));
}

gr_status gr_session_anchor(gr_session *session, uint64_t *out_position, gr_error *error) {
    gr_status status = gr_session_drain(session, NULL, NULL, error);
    if (status != GR_OK)
        return status;
    gr_anchor *anchors = realloc(session->anchors, (session->anchor_count + 1) * sizeof *anchors);
    if (!anchors)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for an anchor");
    session->anchors = anchors;
    status = gr_kv_seq_fork(&session->pages, &anchors[session->anchor_count].pages, error);
    if (status != GR_OK)
        return status;
    gr_kv_seq *pages = &anchors[session->anchor_count].pages;
    if (pages->length > gr_session_own(session))
        gr_kv_seq_truncate(pages, gr_session_own(session)); // guesses lie within the reserve
    *out_position = anchors[session->anchor_count++].position = pages->length;
    return GR_OK;
}

gr_status gr_session_anchor_drop(gr_session *session, uint64_t position, gr_error *error) {
    for (uint32_t i = 0; i < session->anchor_count; i++) {
        if (session->anchors[i].position == position) {
            drop_anchor(session, i);
            return GR_OK;
        }
    }
    return gr_fail(error, GR_ERROR_NOT_FOUND, "engine", "no anchor at position %llu", (unsigned long long)position);
}

// ---- Forks

static gr_status copy_anchors(const gr_session *from, gr_session *to, gr_error *error) {
    if (!from->anchor_count)
        return GR_OK;
    to->anchors = calloc(from->anchor_count, sizeof *to->anchors);
    if (!to->anchors)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for anchors");
    for (uint32_t i = 0; i < from->anchor_count; i++) {
        gr_status status = gr_kv_seq_fork(&from->anchors[i].pages, &to->anchors[i].pages, error);
        if (status != GR_OK)
            return status;
        to->anchors[to->anchor_count++].position = from->anchors[i].position;
    }
    return GR_OK;
}

static gr_status copy_state(const gr_session *from, gr_session *to, gr_error *error) {
    gr_kv_seq pages;
    gr_status status = gr_kv_seq_fork(&from->pages, &pages, error);
    if (status != GR_OK)
        return status;
    gr_kv_seq_deinit(&to->pages);
    to->pages = pages;
    if (gr_tokens_append(&to->tokens, from->tokens.data, from->tokens.count) != GR_OK)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a fork's tokens");
    memcpy(to->logits, from->logits, from->model->source->hparams.vocab * sizeof *to->logits);
    to->logits_behind = from->logits_behind;
    to->encode_turns = from->encode_turns;
    to->encode_turns_context = from->encode_turns_context;
    to->turns_applied = from->turns_applied;
    to->asked = from->asked;
    to->stats.positions = from->stats.positions;
    to->paused = from->paused;
    status = gr_chat_clone(&from->chat, &to->chat, error);
    return status == GR_OK ? copy_anchors(from, to, error) : status;
}

gr_status gr_session_fork(gr_session *session, gr_session **out_session, gr_error *error) {
    gr_status status = create(session->site, session->context, session->priority, session, out_session, error);
    if (status != GR_OK)
        return status;
    status = copy_state(session, *out_session, error);
    if (status == GR_OK && gr_session_own(session) < session->tokens.count)
        status = gr_session_set_length(*out_session, gr_session_own(session), error); // guesses are nobody's
    if (status != GR_OK) {
        gr_session_release(*out_session);
        *out_session = NULL;
    }
    return status;
}

gr_status gr_session_stats_get(const gr_session *session, gr_session_stats *out_stats) {
    gr_kv_seq_stats pages;
    uint32_t size = out_stats->struct_size;
    gr_session_stats stats = session->stats;
    gr_kv_seq_stats_get(&session->pages, &pages);
    stats.struct_size = size;
    stats.positions = session->pages.length;
    stats.resident_positions = pages.resident_positions;
    stats.pages = pages.pages;
    stats.shared_pages = pages.shared_pages;
    stats.evicted_pages = pages.evicted_pages;
    stats.cache_bytes = pages.bytes;
    stats.own_bytes = pages.own_bytes;
    stats.full_bytes = pages.full_bytes;
    memcpy(out_stats, &stats, size < sizeof stats ? size : sizeof stats);
    return GR_OK;
}
