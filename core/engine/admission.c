// SPDX-License-Identifier: Apache-2.0
#include "engine/admission.h"

#include "engine/move.h"
#include "kv/demand.h"

// ---- The order

bool gr_admission_before(const gr_session *a, const gr_session *b) {
    return a->priority != b->priority ? a->priority > b->priority : a->ticket < b->ticket;
}

gr_session *gr_admission_next(const gr_site *site, const gr_session *after, bool (*wanted)(const gr_session *)) {
    gr_session *next = NULL;
    for (uint32_t i = 0; i < site->model->session_count; i++) {
        gr_session *session = site->model->sessions[i];
        if (session->site == site && wanted(session) && (!after || gr_admission_before(after, session)) &&
            (!next || gr_admission_before(session, next)))
            next = session;
    }
    return next;
}

static void hand_out_tickets(gr_site *site) {
    for (uint32_t i = 0; i < site->model->session_count; i++) {
        gr_session *session = site->model->sessions[i];
        if (session->site != site)
            continue;
        bool works = gr_session_works(session);
        if (works && !session->working)
            session->ticket = ++site->model->tickets;
        session->working = works || session->request;
        session->asked = session->asked && gr_session_waiting(session) > 0;
    }
}

// ---- Letting go

// Calls `visit` for the session's pages and those of its anchors.
static void each_seq(const gr_session *session, void (*visit)(const gr_kv_seq *)) {
    visit(&session->pages);
    for (uint32_t i = 0; i < session->anchor_count; i++)
        visit(&session->anchors[i].pages);
}

static bool holds_pages(const gr_session *session) {
    bool any = !gr_kv_seq_is_empty(&session->pages);
    for (uint32_t i = 0; i < session->anchor_count; i++)
        any |= !gr_kv_seq_is_empty(&session->anchors[i].pages);
    return any;
}

// For the sake of `session`. The last resort: any idle one, when nobody could be served otherwise.
static bool may_go(const gr_session *victim, const gr_session *session, bool last_resort) {
    if (victim == session || victim->site != session->site || !holds_pages(victim))
        return false;
    return gr_session_works(victim) ? gr_admission_before(session, victim)
                                    : last_resort || victim->priority <= session->priority;
}

// Who goes first: lower priority; idle ones, the longest so; of those who work, the last in the order.
static bool goes_before(const gr_session *a, const gr_session *b) {
    bool idle = !gr_session_works(a);
    if (a->priority != b->priority)
        return a->priority < b->priority;
    if (idle != !gr_session_works(b))
        return idle;
    return idle ? a->ticket < b->ticket : a->ticket > b->ticket;
}

static gr_session *next_to_go(const gr_session *session, const gr_session *after, bool last_resort) {
    const gr_model *model = session->model;
    gr_session *next = NULL;
    for (uint32_t i = 0; i < model->session_count; i++) {
        gr_session *victim = model->sessions[i];
        if (may_go(victim, session, last_resort) && (!after || goes_before(after, victim)) &&
            (!next || goes_before(victim, next)))
            next = victim;
    }
    return next;
}

// Lessens the demand by what is free without those that are marked.
static void take_out_marked(gr_site *site) {
    const gr_model *model = site->model;
    for (uint32_t i = 0; i < model->session_count; i++)
        if (model->sessions[i]->marked)
            each_seq(model->sessions[i], gr_kv_demand_take_out);
    gr_moves_take_out(site);
    for (uint32_t i = 0; i < model->session_count; i++)
        if (model->sessions[i]->marked)
            each_seq(model->sessions[i], gr_kv_demand_put_back);
}

static bool marked_would_free(gr_site *site) {
    gr_kv_demand_clear(site->cache);
    take_out_marked(site);
    return gr_kv_demand_frees(site->cache);
}

static void clear_marks(gr_site *site) {
    for (uint32_t i = 0; i < site->model->session_count; i++)
        site->model->sessions[i]->marked = false;
}

// Marks the first whose going frees pages; where pages are shared, several that free some together.
static bool mark_victims(gr_site *site, const gr_session *session, bool last_resort) {
    gr_session *v, *first = next_to_go(session, NULL, last_resort), *last = NULL;
    clear_marks(site);
    for (v = first; v; v = next_to_go(session, v, last_resort)) {
        v->marked = true;
        if (marked_would_free(site))
            return true;
        v->marked = false;
    }
    for (v = first; v && !last; v = next_to_go(session, v, last_resort)) {
        v->marked = true;
        last = marked_would_free(site) ? v : NULL;
    }
    for (v = first; last && v != last; v = next_to_go(session, v, last_resort)) {
        v->marked = false; // not needed?
        v->marked = !marked_would_free(site);
    }
    return last != NULL;
}

static void let_go(gr_session *session) {
    const gr_engine *engine = session->model->engine;
    gr_log_line(&engine->log, GR_LOG_INFO, "the cache is full: a session of %zu tokens lets go of its pages",
                session->tokens.count);
    gr_kv_seq_truncate(&session->pages, 0);
    for (uint32_t i = 0; i < session->anchor_count; i++)
        gr_kv_seq_truncate(&session->anchors[i].pages, 0);
    session->batch_rows = 0;
    session->starved = false;
    session->stats.preemptions++;
}

static void let_go_of_marked(gr_site *site) {
    for (uint32_t i = 0; i < site->model->session_count; i++)
        if (site->model->sessions[i]->marked)
            let_go(site->model->sessions[i]);
    clear_marks(site);
    gr_moves_forget(site);
}

// Its anchors' pages: rewinding there takes longer then.
static bool let_anchors_go(gr_site *site, const gr_session *session) {
    gr_kv_demand_clear(site->cache);
    for (uint32_t i = 0; i < session->anchor_count; i++)
        gr_kv_demand_take_out(&session->anchors[i].pages);
    gr_moves_take_out(site);
    for (uint32_t i = 0; i < session->anchor_count; i++)
        gr_kv_demand_put_back(&session->anchors[i].pages);
    if (!gr_kv_demand_frees(site->cache))
        return false;
    for (uint32_t i = 0; i < session->anchor_count; i++)
        gr_kv_seq_truncate(&session->anchors[i].pages, 0);
    gr_moves_forget(site);
    return true;
}

bool gr_admission_make_room(gr_site *site, const gr_session *session, bool last_resort) {
    uint64_t used = gr_kv_cache_bytes_used(site->cache);
    gr_moves_forget(site);
    if (gr_kv_cache_bytes_used(site->cache) < used)
        return true;
    if (!mark_victims(site, session, false)) {
        if (let_anchors_go(site, session))
            return true;
        if (!last_resort || !mark_victims(site, session, true))
            return false;
    }
    let_go_of_marked(site);
    return true;
}

bool gr_admission_relieve(gr_site *site) {
    const gr_session *foremost = gr_admission_next(site, NULL, gr_session_works);
    gr_session *last = foremost ? next_to_go(foremost, NULL, false) : NULL;
    if (!last || site->reliefs++ >= site->model->session_count)
        return false;
    last->marked = true;
    let_go_of_marked(site);
    gr_kv_cache_trim(site->cache);
    return true;
}

// ---- Coming in

static bool is_outside(const gr_session *session) {
    return gr_session_works(session) && !session->pages.length;
}

// What is to fit beside its length, so that it is not let go again at once.
static uint64_t margin(const gr_session *session) {
    uint64_t quarter = session->tokens.count / 4 + 1, chunk = session->model->chunk;
    return quarter < chunk ? quarter : chunk;
}

static bool fits(gr_site *site, const gr_session *session) {
    const gr_model *model = site->model;
    gr_kv_demand_clear(site->cache);
    gr_kv_demand_add(&session->pages, session->tokens.count + margin(session), model->chunk);
    for (uint32_t i = 0; i < model->session_count; i++) {
        gr_session *other = model->sessions[i];
        other->marked = may_go(other, session, false);
        if (other->site == site && gr_session_works(other) && gr_admission_before(other, session))
            gr_kv_demand_add(&other->pages, other->tokens.count, model->chunk);
    }
    if (!gr_kv_demand_fits(site->cache))
        take_out_marked(site);
    clear_marks(site);
    return gr_kv_demand_fits(site->cache);
}

void gr_admission_open(gr_site *site) {
    bool bounded = gr_kv_demand_is_bounded(site->cache);
    hand_out_tickets(site);
    for (uint32_t i = 0; i < site->model->session_count; i++)
        site->model->sessions[i]->admitted = !bounded || !is_outside(site->model->sessions[i]);
    if (!bounded)
        return;
    const gr_session *foremost = gr_admission_next(site, NULL, gr_session_works);
    for (gr_session *s = gr_admission_next(site, NULL, is_outside); s; s = gr_admission_next(site, s, is_outside)) {
        s->admitted = s == foremost || fits(site, s);
        if (!s->admitted)
            return; // nor does anybody behind it
    }
}

// ---- Pages for a step

gr_status gr_admission_reserve(gr_session *session, uint32_t rows, uint32_t *out_rows, gr_error *error) {
    uint64_t fitting = gr_kv_demand_room(&session->pages, rows), tried = UINT64_MAX;
    gr_status status = GR_OK;
    *out_rows = session->site->abandoned ? rows : 0; // the step will say so
    if (session->site->abandoned)
        return GR_OK;
    while (fitting && fitting < tried) {
        status = gr_kv_seq_reserve(&session->pages, fitting, error);
        if (status != GR_ERROR_OUT_OF_MEMORY)
            break;
        tried = fitting;
        fitting = gr_kv_demand_room(&session->pages, tried); // less, now that a device has said so
    }
    if (status == GR_OK)
        *out_rows = (uint32_t)fitting;
    return status == GR_ERROR_OUT_OF_MEMORY ? GR_OK : status;
}

gr_status gr_admission_check(const gr_session *session, gr_error *error) {
    uint64_t limit = session->model->cache_options.limit_bytes;
    uint64_t bytes = gr_kv_least_bytes(session->site->cache, session->tokens.count);
    if (!limit || bytes <= limit)
        return GR_OK;
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "%zu positions need %.1f MiB of cache: the limit is %.1f MiB",
                   session->tokens.count, (double)bytes / 1048576.0, (double)limit / 1048576.0);
}
