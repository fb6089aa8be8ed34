// SPDX-License-Identifier: Apache-2.0
// failover.c: a device was lost, has no memory, or does not answer. Sessions keep their tokens, and their
// requests go on as soon as the log has been evaluated on the next device: no token is lost or repeated.
// A session's cache is not saved: windows do not bound how far back a layer's values reach, so the log is
// evaluated from its beginning.
#include "engine/failover.h"

#include <stdlib.h>

#include "engine/move.h"

// Whose fault it is; NULL: not a device's. Pages that could not be had may be refused by a device, or by the
// limit on caches, which would be as low elsewhere.
static const gr_opened_device *device_at_fault(const gr_site *site, const gr_session *culprit, gr_status status) {
    const gr_opened_device *refused = gr_kv_cache_culprit(site->cache);
    if (status != GR_ERROR_DEVICE_LOST && status != GR_ERROR_TIMEOUT && status != GR_ERROR_OUT_OF_MEMORY)
        return NULL;
    return refused || culprit ? refused : site->devices[site->suspect].opened;
}

static void blame(gr_site *site, const gr_opened_device *device, const gr_error *why) {
    if (why->code == GR_ERROR_TIMEOUT)
        gr_site_abandon(site);
    gr_registry_quarantine(site->model->engine->registry, device, why->code != GR_ERROR_OUT_OF_MEMORY, why->message);
}

static uint32_t sessions_of(const gr_site *site) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < site->model->session_count; i++)
        count += site->model->sessions[i]->site == site;
    return count;
}

static void tell(const gr_site *site, const gr_site *next, const char *device, const gr_error *why) {
    const gr_engine *engine = site->model->engine;
    const char *to = next ? gr_site_name(next) : NULL;
    const gr_device_event event = {.struct_size = sizeof event,
                                   .status = why->code,
                                   .device = device,
                                   .next = to,
                                   .message = why->message,
                                   .sessions = sessions_of(site)};
    gr_log_line(&engine->log, GR_LOG_WARN, "device %s: %s; %s%s", device, why->message,
                to ? "going on with " : "no other device can go on", to ? to : "");
    if (engine->device_event)
        engine->device_event(engine->device_event_context, &event);
}

static gr_status make_site(gr_model *model, const char *device, gr_site **out_site, gr_error *error) {
    gr_status status = gr_site_open(model, device, out_site, error);
    if (status == GR_OK)
        status = gr_site_import(*out_site, NULL, NULL, error);
    if (status == GR_OK)
        status = gr_site_ready(*out_site, error);
    if (status == GR_OK)
        return GR_OK;
    gr_site_release(*out_site);
    *out_site = NULL;
    return status;
}

// A site for `spec` that is not this one, or NULL.
static gr_site *reach(gr_site *site, const char *spec) {
    const gr_engine *engine = site->model->engine;
    gr_site *there = gr_site_find(site->model, spec), *made = NULL;
    gr_error why;
    gr_error_init(&why);
    if (there == site)
        return NULL;
    if (there && (there->ready || gr_moves_hurry(there)))
        return gr_site_retain(there);
    if (make_site(site->model, spec, &made, &why) != GR_OK)
        gr_log_line(&engine->log, GR_LOG_INFO, "%s cannot take over: %s", spec, why.message);
    return made;
}

// The next device that can be readied: those in good standing by score, then those whose quarantine ends
// first; at last, layers on several.
static gr_site *next_site(gr_site *site, const gr_opened_device *failed) {
    gr_registry *registry = site->model->engine->registry;
    uint32_t order[GR_MAX_CANDIDATES], count = gr_registry_candidates(registry, failed, order, GR_MAX_CANDIDATES);
    gr_site *next = NULL;
    for (uint32_t i = 0; !next && i < count; i++)
        next = reach(site, gr_registry_device(registry, order[i])->name);
    return next ? next : reach(site, "split");
}

// ---- Everybody begins anew

typedef struct restart {
    gr_session *session;
    gr_kv_seq *empty; // for its pages, then for those of its anchors
    uint32_t count;
} restart;

static void let_go(gr_kv_seq *sequences, uint32_t count) {
    while (count)
        gr_kv_seq_deinit(&sequences[--count]);
    free(sequences);
}

static bool prepare(restart *r, gr_session *session, gr_kv_cache *cache) {
    *r = (restart){.session = session, .empty = calloc(session->anchor_count + 1, sizeof *r->empty)};
    while (r->empty && r->count < session->anchor_count + 1 && gr_kv_seq_init(cache, &r->empty[r->count], NULL) == GR_OK)
        r->count++;
    return r->count == session->anchor_count + 1;
}

// Anchors stay where they are in the text, with nothing behind them that is evaluated.
static void start_over(restart *r, gr_site *next) {
    gr_session *session = r->session;
    session->failovers += session->request || gr_session_waiting(session); // idle: nobody waits for it
    gr_kv_seq_deinit(&session->pages);
    session->pages = r->empty[0];
    for (uint32_t i = 0; i < session->anchor_count; i++) {
        gr_kv_seq_deinit(&session->anchors[i].pages);
        session->anchors[i].pages = r->empty[i + 1];
    }
    free(r->empty);
    gr_site_release(session->site);
    session->site = gr_site_retain(next);
}

static bool all_start_over(gr_site *site, gr_site *next) {
    uint32_t most = site->model->session_count, count = 0;
    restart *all = calloc(most + 1, sizeof *all);
    bool good = all != NULL;
    for (uint32_t i = 0; good && i < most; i++)
        if (site->model->sessions[i]->site == site)
            good = prepare(&all[count++], site->model->sessions[i], next->cache);
    for (uint32_t i = 0; i < count; i++) {
        if (good)
            start_over(&all[i], next);
        else
            let_go(all[i].empty, all[i].count);
    }
    free(all);
    return good;
}

bool gr_failover(gr_site *site, const gr_session *culprit, const gr_error *why) {
    gr_model *model = site->model;
    const gr_opened_device *failed = device_at_fault(site, culprit, why->code);
    if (!failed)
        return false;
    blame(site, failed, why);
    gr_site *next = next_site(site, failed);
    tell(site, next, failed->name, why);
    if (!next)
        return false;
    gr_site_retain(site);
    site->failed = all_start_over(site, next); // nobody else goes there
    bool goes_on = site->failed;
    if (goes_on && model->site == site) {
        gr_site_release(site);
        model->site = gr_site_retain(next);
    }
    gr_site_release(site);
    gr_site_release(next);
    return goes_on;
}

void gr_site_blame(gr_site *site, const gr_error *why) {
    const gr_opened_device *failed = device_at_fault(site, NULL, why->code);
    gr_log_line(&site->model->engine->log, GR_LOG_WARN, "device %s: %s", failed->name, why->message);
    blame(site, failed, why);
}
