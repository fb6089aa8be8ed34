// SPDX-License-Identifier: Apache-2.0
// move.c: a session, or all of a model's, to other devices. The target is opened, its weights are imported and
// programs compiled on a thread, full pages are copied in slices between steps, one token is evaluated on both
// sides and compared; then, at a token boundary, the rest is copied and the sessions change sites. Whatever
// fails before leaves them where they are. A source that is lost meanwhile is failed over from, and the move
// goes on from there.
#include "engine/moving.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/failover.h"

enum { WAIT_NS = 1000000 }; // for the thread, when there is nothing else to do

// ---- Importing, on a thread of its own

static bool on_imported(void *context, double fraction) {
    gr_move *move = context;
    atomic_store(&move->imported, (unsigned)(fraction * 1000));
    return !atomic_load(&move->cancelled);
}

static void *import_main(void *context) {
    gr_move *move = context;
    move->import_status = gr_site_import(move->target, on_imported, move, &move->import_error);
    atomic_store(&move->import_ended, true);
    return NULL;
}

static void join_import(gr_move *move) {
    if (move->importing)
        pthread_join(move->thread, NULL);
    move->importing = false;
}

static gr_status begin_import(gr_move *move, gr_error *error) {
    move->owner = true;
    if (pthread_create(&move->thread, NULL, import_main, move))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no thread to import weights on");
    move->importing = true;
    return GR_OK;
}

// ---- Stages

// What a move did when its turn came.
typedef enum turn_result { WENT_ON, WAITS_FOR_THREAD, WAITS_FOR_TOKENS } turn_result;

static gr_status find_target(gr_move *move, gr_error *error) {
    gr_site *site = gr_site_find(move->model, move->device);
    gr_status status = GR_OK;
    if (site)
        move->target = gr_site_retain(site);
    else {
        status = gr_site_open(move->model, move->device, &move->target, error);
        if (status == GR_OK)
            status = begin_import(move, error);
    }
    if (status == GR_OK)
        snprintf(move->info.to, sizeof move->info.to, "%s", gr_site_name(move->target));
    return status;
}

// Somebody else's move readies the target. When that ends too early, this one takes over.
static gr_status wait_for_other(gr_move *move, turn_result *out_turn, gr_error *error) {
    *out_turn = WAITS_FOR_THREAD;
    if (!move->target->failed)
        return GR_OK;
    gr_site_release(move->target);
    move->target = NULL;
    return find_target(move, error);
}

static gr_status end_import(gr_move *move, gr_error *error) {
    if (move->importing) {
        join_import(move);
        if (move->import_status == GR_OK)
            move->import_status = gr_site_ready(move->target, &move->import_error);
    }
    if (move->import_status == GR_OK)
        return GR_OK;
    return gr_fail(error, move->import_status, move->import_error.origin, "%s", move->import_error.message);
}

bool gr_moves_hurry(const gr_site *target) {
    const gr_engine *engine = target->model->engine;
    for (uint32_t i = 0; i < engine->move_count; i++)
        if (engine->moves[i]->target == target && engine->moves[i]->owner)
            return end_import(engine->moves[i], NULL) == GR_OK;
    return false;
}

static gr_status prepare(gr_move *move, turn_result *out_turn, gr_error *error) {
    gr_status status = GR_OK;
    if (!move->target->ready && !move->owner)
        return wait_for_other(move, out_turn, error);
    move->called = move->target;
    if (move->importing && !atomic_load(&move->import_ended)) {
        *out_turn = WAITS_FOR_THREAD;
        return GR_OK;
    }
    if (move->owner)
        status = end_import(move, error);
    move->info.prepare_seconds = (double)(gr_os_now_ns() - move->began_ns) * 1e-9;
    if (status == GR_OK)
        move->info.stage = GR_MOVE_COPY;
    return status;
}

static gr_status end_copy(gr_move *move, gr_error *error) {
    gr_status status = move->options.policy == GR_MOVE_NEVER ? GR_OK : gr_move_switch(move, error);
    move->switched = status == GR_OK;
    return status;
}

static gr_status copy_and_switch(gr_move *move, turn_result *out_turn, gr_error *error) {
    uint32_t left;
    const uint64_t compared = move->info.compared;
    gr_status status = gr_move_copy_ahead(move, &left, error);
    if (status != GR_OK || left)
        return status;
    if (move->info.stage == GR_MOVE_COPY && !move->options.no_check && !move->options.shadow_tokens) {
        move->info.stage = GR_MOVE_CHECK;
        return gr_move_check(move, error); // what the check let wait goes first
    }
    if (move->options.shadow_tokens) {
        bool over;
        move->info.stage = GR_MOVE_SHADOW;
        status = gr_move_shadow(move, &over, error);
        *out_turn = move->info.compared > compared ? WENT_ON : WAITS_FOR_TOKENS;
        if (status != GR_OK || !over)
            return status;
    }
    return end_copy(move, error);
}

static bool is_over(const gr_move *move) {
    return move->info.stage == GR_MOVE_DONE || move->info.stage == GR_MOVE_FAILED;
}

static void fail(gr_move *move, gr_status status) {
    atomic_store(&move->cancelled, true);
    join_import(move);
    if (move->owner && !move->target->ready)
        move->target->failed = true; // who waits for it takes over
    move->info.stage = GR_MOVE_FAILED;
    move->info.status = status;
    if (status == GR_ERROR_OUT_OF_MEMORY && !strstr(move->error.message, move->info.to)) { // say where
        const gr_error said = move->error;
        gr_fail(&move->error, status, said.origin, "%s: %s", move->info.to, said.message);
    }
}

// A device that was lost is left alone from now on. When it is one that the sessions run on, they go on
// elsewhere, and so does the move.
static gr_status survive(gr_move *move, gr_status status) {
    gr_site *site = move->called;
    move->called = NULL;
    if ((status != GR_ERROR_DEVICE_LOST && status != GR_ERROR_TIMEOUT) || !site)
        return status;
    move->error.code = status;
    if (site == move->target) {
        gr_site_blame(site, &move->error);
        return status;
    }
    if (!gr_failover(site, NULL, &move->error))
        return status;
    if (move->info.stage == GR_MOVE_CHECK)
        move->info.stage = GR_MOVE_COPY;
    return GR_OK;
}

static bool report(gr_move *move) {
    if (move->info.stage == GR_MOVE_PREPARE)
        move->info.progress = atomic_load(&move->imported) * 1e-3;
    return !move->options.progress || move->options.progress(move->options.progress_context, &move->info);
}

static turn_result advance(gr_move *move) {
    turn_result turn = WENT_ON;
    gr_status status = GR_OK;
    if (!atomic_load(&move->cancelled) && !report(move))
        atomic_store(&move->cancelled, true);
    if (move->switched)
        move->info.stage = gr_move_leave(move) ? GR_MOVE_DONE : move->info.stage;
    else if (atomic_load(&move->cancelled))
        status = gr_fail(&move->error, GR_ERROR_CANCELLED, "engine", "the move was cancelled");
    else if (move->target->ready && move->target->failed)
        status = gr_fail(&move->error, GR_ERROR_DEVICE_LOST, "engine", "%s failed meanwhile", move->info.to);
    else if (move->gives_way)
        status = gr_fail(&move->error, GR_ERROR_OUT_OF_MEMORY, "engine",
                         "the cache on %s has no room beside the sessions there", move->info.to);
    else if (move->info.stage == GR_MOVE_PREPARE)
        status = prepare(move, &turn, &move->error);
    else
        status = copy_and_switch(move, &turn, &move->error);
    status = survive(move, status);
    move->info.steps++;
    if (status != GR_OK)
        fail(move, status);
    if (is_over(move)) {
        gr_move_drop_shadow(move);
        gr_move_drop_origins(move);
        move->info.progress = 1;
        report(move);
        return WENT_ON;
    }
    return turn;
}

static void leave_engine(gr_move *move) {
    gr_engine *engine = move->model->engine;
    for (uint32_t i = 0; i < engine->move_count; i++)
        if (engine->moves[i] == move)
            engine->moves[i] = engine->moves[--engine->move_count];
}

void gr_moves_advance(gr_engine *engine, bool idle, bool *out_worked) {
    bool any = false, went = false, waits = false;
    for (uint32_t i = engine->move_count; i-- > 0;) {
        gr_move *move = i < engine->move_count ? engine->moves[i] : NULL;
        if (!move)
            continue;
        turn_result turn = advance(move);
        any = true;
        went |= turn == WENT_ON;
        waits |= turn == WAITS_FOR_THREAD;
        if (is_over(move))
            leave_engine(move);
    }
    if (any && !went && idle)
        gr_os_sleep_ns(WAIT_NS);
    *out_worked |= went || waits;
}

// ---- When memory is short

void gr_moves_take_out(const gr_site *site) {
    const gr_engine *engine = site->model->engine;
    for (uint32_t i = 0; i < engine->move_count; i++)
        for (uint32_t o = 0; o < engine->moves[i]->origin_count; o++)
            if (engine->moves[i]->origins[o].site == site)
                gr_kv_transfer_take_out(engine->moves[i]->origins[o].transfer);
}

void gr_moves_forget(gr_site *site) {
    const gr_engine *engine = site->model->engine;
    for (uint32_t i = 0; i < engine->move_count; i++)
        for (uint32_t o = 0; o < engine->moves[i]->origin_count; o++)
            if (engine->moves[i]->origins[o].site == site)
                gr_kv_transfer_forget(engine->moves[i]->origins[o].transfer);
}

bool gr_moves_give_way(gr_site *site) {
    const gr_engine *engine = site->model->engine;
    bool any = false;
    for (uint32_t i = 0; i < engine->move_count; i++) {
        gr_move *move = engine->moves[i];
        bool holds = move->target == site && move->origin_count;
        move->gives_way |= holds;
        any |= holds;
    }
    return any;
}

// ---- Public

static gr_status join_engine(gr_move *move, gr_error *error) {
    gr_engine *engine = move->model->engine;
    gr_move **moves = realloc(engine->moves, (engine->move_count + 1) * sizeof *moves);
    if (!moves)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    engine->moves = moves;
    engine->moves[engine->move_count++] = move;
    return GR_OK;
}

static gr_status begin(gr_move *move, gr_error *error) {
    if (!move->device)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    if (move->options.shadow_tokens && !move->session)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a shadow follows one session, not a model");
    gr_status status = find_target(move, error);
    return status == GR_OK ? join_engine(move, error) : status;
}

static gr_status start(gr_model *model, gr_session *session, const char *device, const gr_move_options *options,
                       gr_move **out_move, gr_error *error) {
    *out_move = NULL;
    gr_move *move = calloc(1, sizeof *move);
    if (!move)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    move->model = gr_model_retain(model);
    move->session = session ? gr_session_retain(session) : NULL;
    move->device = strdup(device ? device : "auto");
    gr_take_options(&move->options, sizeof move->options, options);
    move->began_ns = gr_os_now_ns();
    move->info.struct_size = sizeof move->info;
    gr_error_init(&move->error);
    gr_error_init(&move->import_error);
    snprintf(move->info.from, sizeof move->info.from, "%s", gr_site_name(session ? session->site : model->site));
    gr_status status = begin(move, error);
    if (status != GR_OK) {
        gr_move_release(move);
        return status;
    }
    *out_move = move;
    return GR_OK;
}

gr_status gr_session_move_start(gr_session *session, const char *device, const gr_move_options *options,
                                gr_move **out_move, gr_error *error) {
    return start(session->model, session, device, options, out_move, error);
}

gr_status gr_model_move_start(gr_model *model, const char *device, const gr_move_options *options, gr_move **out_move,
                              gr_error *error) {
    return start(model, NULL, device, options, out_move, error);
}

void gr_move_cancel(gr_move *move) {
    atomic_store(&move->cancelled, true);
}

gr_status gr_move_info_get(const gr_move *move, gr_move_info *out_info, gr_error *error) {
    uint32_t size = out_info->struct_size;
    memcpy(out_info, &move->info, size < sizeof move->info ? size : sizeof move->info);
    out_info->struct_size = size;
    if (move->info.stage != GR_MOVE_FAILED)
        return GR_OK;
    return gr_fail(error, move->info.status, move->error.origin, "%s", move->error.message);
}

void gr_move_release(gr_move *move) {
    if (!move)
        return;
    leave_engine(move);
    if (move->target && !move->switched && !is_over(move))
        fail(move, GR_ERROR_CANCELLED);
    gr_move_drop_shadow(move);
    gr_move_drop_origins(move);
    free(move->here);
    free(move->device);
    gr_site_release(move->target);
    gr_session_release(move->session);
    gr_model_release(move->model);
    free(move);
}

static gr_status finish(gr_move *move, gr_move_info *out_info, gr_error *error) {
    gr_engine *engine = move->model->engine;
    gr_move_info info = {.struct_size = sizeof info};
    bool worked, interrupted = false;
    gr_status status = GR_OK;
    while (status == GR_OK && !is_over(move)) {
        gr_engine_step(engine, &worked, NULL); // failures of others' steps are in their requests
        if (atomic_exchange(&engine->interrupted, false)) {
            interrupted = true;
            gr_move_cancel(move);
        } else if (!worked && !is_over(move))
            status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine",
                             "nothing is generated on the session, so there is nothing to compare");
    }
    gr_status ended = gr_move_info_get(move, out_info ? out_info : &info, status == GR_OK ? error : NULL);
    status = status == GR_OK ? ended : status;
    if (status == GR_OK && interrupted) // too late to stop the move
        status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "interrupted when the move had ended");
    gr_move_release(move);
    return status;
}

gr_status gr_session_move(gr_session *session, const char *device, const gr_move_options *options, gr_move_info *out_info,
                          gr_error *error) {
    gr_move *move;
    gr_status status = gr_session_move_start(session, device, options, &move, error);
    return status == GR_OK ? finish(move, out_info, error) : status;
}

gr_status gr_model_move(gr_model *model, const char *device, const gr_move_options *options, gr_move_info *out_info,
                        gr_error *error) {
    gr_move *move;
    gr_status status = gr_model_move_start(model, device, options, &move, error);
    return status == GR_OK ? finish(move, out_info, error) : status;
}

const char *gr_session_device(const gr_session *session) {
    return gr_site_name(session->site);
}
