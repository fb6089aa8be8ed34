// SPDX-License-Identifier: Apache-2.0
// batch.c: who goes into the next step. Sessions that decode (one waiting token) go first, so that long
// prompts do not hold them up; the rest of the chunk is shared out to prompts in turn, starting behind the
// session that was served last. In the step they stand as in the model, forks beside each other.
#include "engine/site.h"

static bool has_work(const gr_site *site, const gr_session *session) {
    return session->site == site && !session->paused && gr_session_waiting(session) > 0;
}

typedef struct step_batch {
    uint32_t count, rows, outputs, budget;
} step_batch;

// Rows of the session whose logits somebody wants, if its next `rows` waiting tokens are evaluated.
static uint32_t outputs_of(const gr_session *session, uint32_t rows) {
    uint64_t end = session->pages.length + rows;
    if (session->hook && end > session->observed)
        return session->observed > session->pages.length ? (uint32_t)(end - session->observed) : rows;
    return end == session->tokens.count ? 1 : 0;
}

static void take(step_batch *batch, gr_session *session, uint32_t rows) {
    while (rows && outputs_of(session, rows) > GR_MAX_STEP_OUTPUTS - batch->outputs)
        rows--; // scoring wants many rows: as many as fit
    if (!rows)
        return;
    session->batch_rows = rows;
    batch->outputs += outputs_of(session, rows);
    batch->rows += rows;
    batch->count++;
}

static bool full(const step_batch *batch) {
    return batch->count == GR_MAX_STEP_SEQS || batch->rows >= batch->budget || batch->outputs == GR_MAX_STEP_OUTPUTS;
}

uint32_t gr_batch_collect(gr_site *site, gr_session **out_sessions, uint32_t *out_count) {
    const gr_model *model = site->model;
    step_batch batch = {.budget = model->chunk};
    uint32_t count = model->session_count, last = site->next_session;
    for (uint32_t i = 0; i < count; i++)
        model->sessions[i]->batch_rows = 0;
    for (uint32_t i = 0; i < count && !full(&batch); i++) {
        gr_session *session = model->sessions[(site->next_session + i) % count];
        if (has_work(site, session) && gr_session_waiting(session) == 1) {
            take(&batch, session, 1);
            last = site->next_session + i + 1;
        }
    }
    for (uint32_t i = 0; i < count && !full(&batch); i++) {
        gr_session *session = model->sessions[(site->next_session + i) % count];
        size_t waiting = has_work(site, session) ? gr_session_waiting(session) : 0;
        uint32_t room = batch.budget - batch.rows;
        if (waiting > 1 && !session->batch_rows) {
            take(&batch, session, waiting < room ? (uint32_t)waiting : room);
            last = site->next_session + i + 1;
        }
    }
    site->next_session = count ? last % count : 0;
    *out_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (model->sessions[i]->batch_rows)
            out_sessions[(*out_count)++] = model->sessions[i];
    return batch.rows;
}
