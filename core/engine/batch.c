// SPDX-License-Identifier: Apache-2.0
// batch.c: who goes into the next step. Sessions that decode (one waiting token) go first, so that long
// prompts do not hold them up; the rest of the chunk is shared out to prompts. Among each, higher priority
// goes first, and equals take turns, starting behind the session that was served last. A prompt gets as many
// rows as pages for them are free; whoever gets none is served at the cost of others (admission.h). In the
// step they stand as in the model, forks beside each other.
#include "engine/admission.h"
#include "engine/move.h"

typedef struct collecting {
    gr_site *site;
    uint32_t count, rows, outputs;
    uint32_t last; // served, for the turns
    gr_session *tried; // the last one
} collecting;

static bool has_work(const collecting *c, const gr_session *session) {
    return session->site == c->site && session->admitted && gr_session_pending(session);
}

// Rows of the session whose logits somebody wants, if its next `rows` waiting tokens are evaluated.
static uint32_t outputs_of(const gr_session *session, uint32_t rows) {
    uint64_t end = session->pages.length + rows;
    if (session->hook && end > session->observed)
        return session->observed > session->pages.length ? (uint32_t)(end - session->observed) : rows;
    return end == session->tokens.count ? 1 : 0;
}

static bool full(const collecting *c) {
    return c->count == GR_MAX_STEP_SEQS || c->rows >= c->site->model->chunk || c->outputs == GR_MAX_STEP_OUTPUTS;
}

static void add(collecting *c, gr_session *session, uint32_t rows) {
    session->batch_rows = rows;
    c->outputs += outputs_of(session, rows);
    c->rows += rows;
    c->count++;
}

// Rows that the session may have of what is left of the step.
static uint32_t share_of(const collecting *c, const gr_session *session) {
    size_t waiting = gr_session_waiting(session);
    uint32_t left = c->site->model->chunk - c->rows, rows = waiting < left ? (uint32_t)waiting : left;
    while (rows && outputs_of(session, rows) > GR_MAX_STEP_OUTPUTS - c->outputs)
        rows--; // scoring wants many rows: as many as fit
    return rows;
}

static gr_status take(collecting *c, gr_session *session, gr_error *error) {
    uint32_t wanted = share_of(c, session), rows;
    c->tried = session;
    gr_status status = gr_admission_reserve(session, wanted, &rows, error);
    if (status == GR_OK && rows)
        add(c, session, rows);
    session->starved = wanted && !rows && gr_session_works(session);
    return status;
}

// The highest priority below `limit` of those who have work; INT64_MIN: none.
static int64_t next_priority(const collecting *c, int64_t limit) {
    const gr_model *model = c->site->model;
    int64_t highest = INT64_MIN;
    for (uint32_t i = 0; i < model->session_count; i++) {
        const gr_session *session = model->sessions[i];
        if (has_work(c, session) && session->priority < limit && session->priority > highest)
            highest = session->priority;
    }
    return highest;
}

static gr_status serve_equals(collecting *c, int64_t priority, bool decoding, gr_error *error) {
    const gr_model *model = c->site->model;
    uint32_t count = model->session_count, first = c->site->next_session;
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < count && !full(c); i++) {
        gr_session *session = model->sessions[(first + i) % count];
        if (session->priority != priority || !has_work(c, session) || decoding != (gr_session_waiting(session) == 1))
            continue;
        status = take(c, session, error);
        c->last = session->batch_rows ? first + i + 1 : c->last;
    }
    return status;
}

static gr_status serve(collecting *c, bool decoding, gr_error *error) {
    gr_status status = GR_OK;
    for (int64_t p = next_priority(c, INT64_MAX); status == GR_OK && p != INT64_MIN; p = next_priority(c, p))
        status = serve_equals(c, p, decoding, error);
    return status;
}

// ---- When memory is short

static bool is_starved(const gr_session *session) {
    return session->starved && !session->batch_rows;
}

// Somebody may have lost its place.
static void recount(collecting *c) {
    const gr_model *model = c->site->model;
    c->count = c->rows = c->outputs = 0;
    for (uint32_t i = 0; i < model->session_count; i++)
        if (model->sessions[i]->batch_rows)
            add(c, model->sessions[i], model->sessions[i]->batch_rows);
}

// At the cost of those behind it. OUT_OF_MEMORY: there is nobody left.
static gr_status force(collecting *c, gr_session *session, gr_error *error) {
    for (;;) {
        gr_status status = take(c, session, error);
        if (status != GR_OK || !session->starved)
            return status;
        if (gr_admission_make_room(c->site, session, !c->count)) {
            recount(c);
            continue;
        }
        status = gr_kv_seq_reserve(&session->pages, 1, error); // a device that had no more may have by now
        if (status == GR_OK)
            add(c, session, 1);
        return status;
    }
}

static gr_status serve_starved(collecting *c, gr_error *error) {
    gr_site *site = c->site;
    for (gr_session *s = gr_admission_next(site, NULL, is_starved); s && !full(c); s = gr_admission_next(site, s, is_starved)) {
        gr_status status = gr_admission_check(s, error);
        c->tried = s;
        if (status == GR_OK)
            status = force(c, s, error);
        else
            gr_kv_cache_acquit(site->cache);
        if (status == GR_ERROR_OUT_OF_MEMORY && (c->count || gr_moves_give_way(site)))
            continue; // it waits
        if (status != GR_OK)
            return status;
    }
    return GR_OK;
}

// ----

static void abandon(const collecting *c) {
    const gr_model *model = c->site->model;
    for (uint32_t i = 0; i < model->session_count; i++)
        if (model->sessions[i]->batch_rows)
            gr_kv_seq_abandon(&model->sessions[i]->pages);
}

gr_status gr_batch_collect(gr_site *site, gr_batch *out_batch, gr_session **out_culprit, gr_error *error) {
    gr_model *model = site->model;
    uint32_t count = model->session_count;
    collecting c = {.site = site, .last = site->next_session};
    out_batch->count = out_batch->rows = 0;
    *out_culprit = NULL;
    gr_admission_open(site);
    for (uint32_t i = 0; i < count; i++)
        model->sessions[i]->batch_rows = model->sessions[i]->starved = 0;
    gr_status status = serve(&c, true, error);
    if (status == GR_OK)
        status = serve(&c, false, error);
    if (status == GR_OK)
        status = serve_starved(&c, error);
    if (status != GR_OK) {
        *out_culprit = c.tried;
        abandon(&c);
        return status;
    }
    gr_kv_cache_acquit(site->cache); // what it refused was found elsewhere
    site->next_session = count ? c.last % count : 0;
    for (uint32_t i = 0; i < count; i++)
        if (model->sessions[i]->batch_rows)
            out_batch->sessions[out_batch->count++] = model->sessions[i];
    out_batch->rows = c.rows;
    return GR_OK;
}
