// SPDX-License-Identifier: Apache-2.0
// carry.c: pages of sessions that move. Full ones are copied in slices between steps; in the switch the rest is,
// every sequence is made first, and then all change places. What nobody uses any more is torn down in slices too.
#include "engine/moving.h"

#include <stdlib.h>

#include "base/os.h"

enum { SLICE_NS = 2000000 };

bool gr_move_concerns(const gr_move *move, const gr_session *session) {
    return session->site != move->target && (!move->session || session == move->session);
}

static gr_status transfer_for(gr_move *move, gr_site *site, gr_kv_transfer **out_transfer, gr_error *error) {
    if (site->abandoned) // it is not to be called any more
        return gr_fail(error, GR_ERROR_TIMEOUT, "engine", "device %s has not answered yet",
                       site->devices[site->suspect].opened->name);
    for (uint32_t i = 0; i < move->origin_count; i++) {
        if (move->origins[i].site == site) {
            *out_transfer = move->origins[i].transfer;
            return GR_OK;
        }
    }
    gr_origin *origins = realloc(move->origins, (move->origin_count + 1) * sizeof *origins);
    if (!origins)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    move->origins = origins;
    gr_status status = gr_kv_transfer_create(site->cache, move->target->cache, out_transfer, error);
    if (status == GR_OK)
        move->origins[move->origin_count++] = (gr_origin){gr_site_retain(site), *out_transfer};
    return status;
}

// Notes whose device refused a copy.
static gr_status copied_from(gr_move *move, gr_site *site, gr_status status) {
    if (status != GR_OK)
        move->called = site->abandoned || gr_kv_cache_culprit(site->cache) ? site : move->target;
    return status;
}

void gr_move_trace(const gr_move *move, const char *what, uint64_t start_ns, uint64_t bytes) {
    const gr_trace_event event = {.struct_size = sizeof event,
                                  .layer = -1,
                                  .implementation = move->info.to,
                                  .start_ns = start_ns,
                                  .end_ns = gr_os_now_ns(),
                                  .bytes = bytes};
    gr_trace_add(move->model->engine->trace, "move", what, &event);
}

// ---- Copying ahead

typedef struct ahead {
    uint64_t deadline_ns;
    uint32_t left;
    bool any; // a page was copied: past the deadline the rest is counted alone
} ahead;

static gr_status copy_seq(gr_move *move, const gr_session *session, const gr_kv_seq *seq, ahead *slice, gr_error *error) {
    gr_kv_transfer *transfer;
    uint32_t left = 0;
    gr_status status = transfer_for(move, session->site, &transfer, error);
    if (status != GR_OK)
        return copied_from(move, session->site, status);
    const uint64_t before = gr_kv_transfer_stats_get(transfer).pages;
    bool late = slice->any && gr_os_now_ns() >= slice->deadline_ns;
    status = gr_kv_transfer_ahead(transfer, seq, late ? 0 : slice->deadline_ns, &left, error);
    slice->any |= gr_kv_transfer_stats_get(transfer).pages > before;
    slice->left += left;
    return copied_from(move, session->site, status);
}

static uint64_t bytes_copied(const gr_move *move) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < move->origin_count; i++)
        bytes += gr_kv_transfer_stats_get(move->origins[i].transfer).bytes;
    return bytes;
}

gr_status gr_move_copy_ahead(gr_move *move, uint32_t *out_left, gr_error *error) {
    const uint64_t start = gr_os_now_ns(), before = bytes_copied(move);
    ahead slice = {.deadline_ns = start + SLICE_NS};
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < move->model->session_count; i++) {
        const gr_session *session = move->model->sessions[i];
        if (!gr_move_concerns(move, session))
            continue;
        status = copy_seq(move, session, &session->pages, &slice, error);
        for (uint32_t a = 0; status == GR_OK && a < session->anchor_count; a++)
            status = copy_seq(move, session, &session->anchors[a].pages, &slice, error);
    }
    *out_left = slice.left;
    move->info.copy_seconds += (double)(gr_os_now_ns() - start) * 1e-9;
    if (bytes_copied(move) > before)
        gr_move_trace(move, "COPY_AHEAD", start, bytes_copied(move) - before);
    return status;
}

gr_status gr_move_bring(gr_move *move, const gr_session *session, const gr_kv_seq *pages, gr_kv_seq *out_pages,
                        gr_error *error) {
    gr_kv_transfer *transfer;
    gr_status status = transfer_for(move, session->site, &transfer, error);
    if (status == GR_OK)
        status = gr_kv_transfer_take(transfer, pages, out_pages, error);
    return copied_from(move, session->site, status);
}

// ---- The switch: every sequence is made first, then all change places.

typedef struct arrived {
    gr_session *session;
    gr_kv_seq pages;
    gr_kv_seq *anchors;
    uint32_t anchor_count;
} arrived;

static void arrived_deinit(arrived *a) {
    for (uint32_t i = 0; i < a->anchor_count; i++)
        gr_kv_seq_deinit(&a->anchors[i]);
    free(a->anchors);
    if (a->pages.cache)
        gr_kv_seq_deinit(&a->pages);
}

static gr_status bring(gr_move *move, gr_session *session, arrived *out, gr_error *error) {
    *out = (arrived){.session = session};
    out->anchors = calloc(session->anchor_count + 1, sizeof *out->anchors);
    if (!out->anchors)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    gr_status status = gr_move_bring(move, session, &session->pages, &out->pages, error);
    for (uint32_t i = 0; status == GR_OK && i < session->anchor_count; i++) {
        status = gr_move_bring(move, session, &session->anchors[i].pages, &out->anchors[i], error);
        out->anchor_count += status == GR_OK;
    }
    return status;
}

// Nothing here can fail.
static void settle(gr_move *move, arrived *a) {
    gr_session *session = a->session;
    gr_kv_seq_deinit(&session->pages);
    session->pages = a->pages;
    for (uint32_t i = 0; i < a->anchor_count; i++) {
        gr_kv_seq_deinit(&session->anchors[i].pages);
        session->anchors[i].pages = a->anchors[i];
    }
    free(a->anchors);
    gr_site_release(session->site);
    session->site = gr_site_retain(move->target);
}

// A model takes its home along, and leaves that in slices like any other place.
static void change_home(gr_move *move) {
    gr_model *model = move->model;
    gr_kv_transfer *transfer;
    if (move->session || model->site == move->target)
        return;
    transfer_for(move, model->site, &transfer, NULL); // makes it an origin; without memory it is torn down at once
    gr_site_release(model->site);
    model->site = gr_site_retain(move->target);
}

gr_status gr_move_switch(gr_move *move, gr_error *error) {
    const uint64_t start = gr_os_now_ns();
    uint32_t most = move->model->session_count, count = 0;
    arrived *all = calloc(most + 1, sizeof *all);
    gr_status status = all ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    for (uint32_t i = 0; status == GR_OK && i < most; i++)
        if (gr_move_concerns(move, move->model->sessions[i]))
            status = bring(move, move->model->sessions[i], &all[count++], error);
    for (uint32_t i = 0; i < count; i++) {
        if (status == GR_OK)
            settle(move, &all[i]);
        else
            arrived_deinit(&all[i]);
    }
    free(all);
    if (status == GR_OK)
        change_home(move);
    move->info.pause_seconds = (double)(gr_os_now_ns() - start) * 1e-9;
    gr_move_trace(move, "SWITCH", start, 0);
    return status;
}

// ---- Leaving

// Tearing a site down in one go would be a pause of its own.
bool gr_move_leave(gr_move *move) {
    const uint64_t deadline = gr_os_now_ns() + SLICE_NS;
    for (uint32_t i = 0; i < move->origin_count; i++) {
        gr_site *site = move->origins[i].site;
        if (site->references == 1 && !gr_site_shrink(site, deadline))
            return false;
    }
    return true;
}

void gr_move_drop_origins(gr_move *move) {
    for (uint32_t i = 0; i < move->origin_count; i++) {
        gr_kv_transfer_stats copied = gr_kv_transfer_stats_get(move->origins[i].transfer);
        move->info.pages += copied.pages;
        move->info.bytes += copied.bytes;
        gr_kv_transfer_destroy(move->origins[i].transfer);
        gr_site_release(move->origins[i].site);
    }
    free(move->origins);
    move->origins = NULL;
    move->origin_count = 0;
}
