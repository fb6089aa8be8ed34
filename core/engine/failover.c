// SPDX-License-Identifier: Apache-2.0
// failover.c: a device was lost, has no memory, or does not answer. Sessions keep their tokens, and their
// requests go on as soon as the log has been evaluated on the next device: no token is lost or repeated.
// A session's cache is not saved: windows do not bound how far back a layer's values reach, so the log is
// evaluated from its beginning.
#include "engine/failover.h"

#include <stdlib.h>

static bool is_device_fault(const gr_site *site, const gr_session *culprit, gr_status status) {
    if (status == GR_ERROR_OUT_OF_MEMORY) // the limit on caches would be as low elsewhere
        return !(culprit && site->model->cache_options.limit_bytes);
    return status == GR_ERROR_DEVICE_LOST || status == GR_ERROR_TIMEOUT;
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

// The next device that can be readied: those in good standing by score, then those whose quarantine ends
// first. `failed` comes last of all, and only when it was not lost.
static gr_site *next_site(gr_site *site, const gr_opened_device *failed) {
    gr_registry *registry = site->model->engine->registry;
    uint32_t order[GR_MAX_CANDIDATES], count = gr_registry_candidates(registry, failed, order, GR_MAX_CANDIDATES);
    gr_site *next = NULL;
    for (uint32_t i = 0; !next && i < count; i++) {
        const char *device = gr_registry_device(registry, order[i])->name;
        gr_site *there = gr_site_find(site->model, device);
        if (there && there != site && there->ready)
            next = gr_site_retain(there);
        else
            make_site(site->model, device, &next, NULL);
    }
    if (!next) // nobody alone
        make_site(site->model, "split", &next, NULL);
    return next;
}

static void let_go(gr_kv_seq *sequences, uint32_t count) {
    while (count)
        gr_kv_seq_deinit(&sequences[--count]);
    free(sequences);
}

// `count` empty sequences, or NULL.
static gr_kv_seq *empty_sequences(gr_kv_cache *cache, uint32_t count) {
    gr_kv_seq *made = calloc(count, sizeof *made);
    for (uint32_t i = 0; made && i < count; i++) {
        if (gr_kv_seq_init(cache, &made[i], NULL) != GR_OK) {
            let_go(made, i);
            return NULL;
        }
    }
    return made;
}

// Anchors stay where they are in the text, with nothing behind them that is evaluated.
static bool start_over(gr_session *session, gr_site *next) {
    gr_kv_seq *empty = empty_sequences(next->cache, session->anchor_count + 1);
    if (!empty)
        return false;
    gr_kv_seq_deinit(&session->pages);
    session->pages = empty[0];
    for (uint32_t i = 0; i < session->anchor_count; i++) {
        gr_kv_seq_deinit(&session->anchors[i].pages);
        session->anchors[i].pages = empty[i + 1];
    }
    free(empty);
    gr_site_release(session->site);
    session->site = gr_site_retain(next);
    session->paused = false;
    return true;
}

static bool all_start_over(gr_site *site, gr_site *next) {
    bool all = true;
    for (uint32_t i = 0; i < site->model->session_count; i++)
        if (site->model->sessions[i]->site == site)
            all &= start_over(site->model->sessions[i], next);
    return all;
}

bool gr_failover(gr_site *site, const gr_session *culprit, const gr_error *why) {
    gr_model *model = site->model;
    const gr_opened_device *failed = site->devices[site->suspect].opened;
    if (!is_device_fault(site, culprit, why->code))
        return false;
    site->abandoned |= why->code == GR_ERROR_TIMEOUT;
    gr_registry_quarantine(model->engine->registry, failed, why->code != GR_ERROR_OUT_OF_MEMORY, why->message);
    gr_site *next = next_site(site, failed);
    tell(site, next, failed->name, why);
    if (!next)
        return false;
    site->failed = true; // nobody else goes there
    gr_site_retain(site);
    bool all = all_start_over(site, next);
    if (model->site == site) {
        gr_site_release(site);
        model->site = gr_site_retain(next);
    }
    gr_site_release(site);
    gr_site_release(next);
    return all;
}
