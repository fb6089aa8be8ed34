// SPDX-License-Identifier: Apache-2.0
// move.c: a session, or all of a model's, to other devices. The target is opened, its weights are imported and
// programs compiled on a thread, full pages are copied in slices between steps, one token is evaluated on both
// sides and compared; then, at a token boundary, the rest is copied and the sessions change sites. Whatever
// fails before leaves them where they are. A source that is lost meanwhile is failed over from, and the move
// goes on from there.
#include "engine/move.h"

#include "engine/failover.h"
#include "engine/shadow.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "kv/transfer.h"

enum { SLICE_NS = 2000000, WAIT_NS = 1000000 }; // copying between two steps; waiting for the thread when idle

// Pages that leave one site. Sessions of one model may come from several.
typedef struct origin {
    gr_site *site; // retained
    gr_kv_transfer *transfer;
} origin;

struct gr_move {
    gr_model *model;     // retained
    gr_session *session; // retained; NULL: every session of the model
    char *device;        // as it was asked for
    gr_site *target;     // retained
    gr_site *called;     // whose devices the running stage calls
    gr_move_options options;
    origin *origins;
    uint32_t origin_count;
    bool checked, switched;
    float *here, *there; // logits to compare, [vocab] each in one piece
    gr_kv_seq shadow;    // on the target, following the session
    bool shadowed;
    // The thread, which uses `target` and the atomics alone.
    bool owner;          // of the import; else somebody else's move readies the target
    bool importing;
    pthread_t thread;
    gr_status import_status;
    gr_error import_error;
    atomic_uint imported; // thousandths
    atomic_bool import_ended, cancelled;

    uint64_t began_ns;
    gr_move_info info;
    gr_error error;
};

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

// ---- Who moves

static bool concerns(const gr_move *move, const gr_session *session) {
    return session->site != move->target && (!move->session || session == move->session);
}

// Calls `visit` for every session that moves, until one fails.
static gr_status each(gr_move *move, gr_status (*visit)(gr_move *, gr_session *, gr_error *), gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < move->model->session_count; i++)
        if (concerns(move, move->model->sessions[i]))
            status = visit(move, move->model->sessions[i], error);
    return status;
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
    origin *origins = realloc(move->origins, (move->origin_count + 1) * sizeof *origins);
    if (!origins)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    move->origins = origins;
    gr_status status = gr_kv_transfer_create(site->cache, move->target->cache, out_transfer, error);
    if (status == GR_OK)
        move->origins[move->origin_count++] = (origin){gr_site_retain(site), *out_transfer};
    return status;
}

// Notes whose device refused a copy.
static gr_status copied_from(gr_move *move, gr_site *site, gr_status status) {
    if (status != GR_OK)
        move->called = site->abandoned || gr_kv_cache_culprit(site->cache) ? site : move->target;
    return status;
}

static void drop_origins(gr_move *move) {
    if (move->shadowed)
        gr_kv_seq_deinit(&move->shadow);
    move->shadowed = false;
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

static void trace(const gr_move *move, const char *what, uint64_t start_ns, uint64_t bytes) {
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
} ahead;

static gr_status copy_seq(gr_move *move, const gr_session *session, const gr_kv_seq *seq, ahead *slice, gr_error *error) {
    gr_kv_transfer *transfer;
    uint32_t left = 0;
    gr_status status = transfer_for(move, session->site, &transfer, error);
    if (status == GR_OK)
        status = gr_kv_transfer_ahead(transfer, seq, slice->deadline_ns, &left, error);
    slice->left += left;
    return copied_from(move, session->site, status);
}

static uint64_t bytes_copied(const gr_move *move) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < move->origin_count; i++)
        bytes += gr_kv_transfer_stats_get(move->origins[i].transfer).bytes;
    return bytes;
}

// One slice; *out_left tells how many full pages are left.
static gr_status copy_ahead(gr_move *move, uint32_t *out_left, gr_error *error) {
    const uint64_t start = gr_os_now_ns(), before = bytes_copied(move);
    ahead slice = {.deadline_ns = start + SLICE_NS};
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < move->model->session_count; i++) {
        const gr_session *session = move->model->sessions[i];
        if (!concerns(move, session))
            continue;
        status = copy_seq(move, session, &session->pages, &slice, error);
        for (uint32_t a = 0; status == GR_OK && a < session->anchor_count; a++)
            status = copy_seq(move, session, &session->anchors[a].pages, &slice, error);
    }
    *out_left = slice.left;
    move->info.copy_seconds += (double)(gr_os_now_ns() - start) * 1e-9;
    if (bytes_copied(move) > before)
        trace(move, "COPY_AHEAD", start, bytes_copied(move) - before);
    return status;
}

// ---- One token on both sides

static gr_status bring_pages(gr_move *move, const gr_session *session, const gr_kv_seq *pages, gr_kv_seq *out_pages,
                             gr_error *error) {
    gr_kv_transfer *transfer;
    gr_status status = transfer_for(move, session->site, &transfer, error);
    if (status == GR_OK)
        status = gr_kv_transfer_take(transfer, pages, out_pages, error);
    return copied_from(move, session->site, status);
}

static gr_status logits_there(gr_move *move, const gr_session *session, float *logits, gr_error *error) {
    gr_kv_seq pages;
    gr_status status = bring_pages(move, session, &session->pages, &pages, error);
    if (status != GR_OK)
        return status;
    move->called = move->target;
    status = gr_shadow_last(move->target, session, &pages, logits, error);
    gr_kv_seq_deinit(&pages);
    return status;
}

static gr_status make_logits(gr_move *move, gr_error *error) {
    uint32_t vocab = move->model->source->hparams.vocab;
    if (!move->here && !(move->here = malloc(2 * (size_t)vocab * sizeof *move->here)))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for logits");
    move->there = move->here + vocab;
    return GR_OK;
}

// Notes how far apart `here` and `there` are; returns whether that is allowed.
static bool note(gr_move *move, const gr_session *session) {
    uint32_t vocab = move->model->source->hparams.vocab;
    double apart = gr_shadow_distance(move->here, move->there, vocab);
    bool agree = gr_shadow_best(move->here, vocab) == gr_shadow_best(move->there, vocab);
    move->info.bound = move->options.bound > 0 ? move->options.bound : gr_shadow_bound(session->site, move->target);
    move->info.difference = fmax(move->info.difference, apart);
    move->info.compared++;
    move->info.agreed += agree;
    if ((!agree || !(apart <= move->info.bound)) && !move->info.first_divergence)
        move->info.first_divergence = session->pages.length;
    return apart <= move->info.bound;
}

static gr_status refuse(const gr_move *move, gr_error *error) {
    return gr_fail(error, GR_ERROR_CORRUPT, "engine",
                   "%s answers otherwise than %s: behind token %llu logits differ by %.3g of their spread, %.3g is allowed",
                   move->info.to, move->info.from, (unsigned long long)move->info.first_divergence, move->info.difference,
                   move->info.bound);
}

static gr_status compare(gr_move *move, const gr_session *session, gr_error *error) {
    gr_status status = make_logits(move, error);
    move->called = session->site;
    if (status == GR_OK)
        status = gr_shadow_original(session, move->here, error);
    if (status == GR_OK)
        status = logits_there(move, session, move->there, error);
    return status == GR_OK && !note(move, session) ? refuse(move, error) : status;
}

// One session stands for all: any that has something evaluated, whose last token can be evaluated again.
static gr_status check(gr_move *move, gr_session *session, gr_error *error) {
    if (move->checked || !session->pages.length || !gr_kv_seq_can_truncate(&session->pages, session->pages.length - 1))
        return GR_OK;
    const uint64_t start = gr_os_now_ns();
    gr_status status = compare(move, session, error);
    move->checked = status == GR_OK;
    move->info.check_seconds = (double)(gr_os_now_ns() - start) * 1e-9;
    trace(move, "CHECK", start, 0);
    return status;
}

// ---- A shadow: both devices for a number of tokens

static gr_status begin_shadow(gr_move *move, gr_error *error) {
    gr_status status = make_logits(move, error);
    if (status == GR_OK)
        status = bring_pages(move, move->session, &move->session->pages, &move->shadow, error);
    move->shadowed = status == GR_OK;
    return status;
}

// What the session evaluated since goes through the target as well; compared wherever both have logits.
static gr_status follow(gr_move *move, gr_error *error) {
    const gr_session *session = move->session;
    if (session->pages.length == move->shadow.length)
        return GR_OK;
    if (session->pages.length < move->shadow.length) { // it went back
        gr_kv_seq_deinit(&move->shadow);
        move->shadowed = false;
        return begin_shadow(move, error);
    }
    move->called = move->target;
    gr_status status = gr_shadow_follow(move->target, session, &move->shadow, move->there, error);
    if (status != GR_OK || session->logits_behind != session->pages.length)
        return status;
    memcpy(move->here, session->logits, session->model->source->hparams.vocab * sizeof *move->here);
    return note(move, session) || move->options.policy != GR_MOVE_IF_EQUAL ? GR_OK : refuse(move, error);
}

// *out_over: enough tokens were compared, or another move has brought the session here.
static gr_status shadow(gr_move *move, bool *out_over, gr_error *error) {
    const uint64_t start = gr_os_now_ns(), compared = move->info.compared;
    *out_over = move->session->site == move->target;
    if (*out_over)
        return GR_OK;
    gr_status status = move->shadowed ? follow(move, error) : begin_shadow(move, error);
    if (move->info.compared > compared)
        trace(move, "SHADOW", start, 0);
    *out_over = move->info.compared >= move->options.shadow_tokens;
    return status;
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
    gr_status status = bring_pages(move, session, &session->pages, &out->pages, error);
    for (uint32_t i = 0; status == GR_OK && i < session->anchor_count; i++) {
        status = bring_pages(move, session, &session->anchors[i].pages, &out->anchors[i], error);
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

static gr_status change_sites(gr_move *move, gr_error *error) {
    const uint64_t start = gr_os_now_ns();
    uint32_t most = move->model->session_count, count = 0;
    arrived *all = calloc(most + 1, sizeof *all);
    gr_status status = all ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to move");
    for (uint32_t i = 0; status == GR_OK && i < most; i++)
        if (concerns(move, move->model->sessions[i]))
            status = bring(move, move->model->sessions[i], &all[count++], error);
    for (uint32_t i = 0; i < count; i++) {
        if (status == GR_OK)
            settle(move, &all[i]);
        else
            arrived_deinit(&all[i]);
    }
    free(all);
    if (status == GR_OK && !move->session && move->model->site != move->target) {
        gr_site_release(move->model->site);
        move->model->site = gr_site_retain(move->target);
    }
    move->info.pause_seconds = (double)(gr_os_now_ns() - start) * 1e-9;
    trace(move, "SWITCH", start, 0);
    return status;
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

// A site that nobody lives on any more is not torn down in one go, which would be a pause of its own.
static void leave(gr_move *move) {
    const uint64_t deadline = gr_os_now_ns() + SLICE_NS;
    for (uint32_t i = 0; i < move->origin_count; i++) {
        gr_site *site = move->origins[i].site;
        if (site->references == 1 && !gr_site_shrink(site, deadline))
            return;
    }
    move->info.stage = GR_MOVE_DONE;
}

static gr_status end_copy(gr_move *move, gr_error *error) {
    gr_status status = move->options.policy == GR_MOVE_NEVER ? GR_OK : change_sites(move, error);
    move->switched = status == GR_OK;
    return status;
}

static gr_status copy_and_switch(gr_move *move, turn_result *out_turn, gr_error *error) {
    uint32_t left;
    const uint64_t compared = move->info.compared;
    gr_status status = copy_ahead(move, &left, error);
    if (status != GR_OK || left)
        return status;
    if (move->info.stage == GR_MOVE_COPY && !move->options.no_check && !move->options.shadow_tokens) {
        move->info.stage = GR_MOVE_CHECK;
        return each(move, check, error); // what the check let wait goes first
    }
    if (move->options.shadow_tokens) {
        bool over;
        move->info.stage = GR_MOVE_SHADOW;
        status = shadow(move, &over, error);
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
        leave(move);
    else if (atomic_load(&move->cancelled))
        status = gr_fail(&move->error, GR_ERROR_CANCELLED, "engine", "the move was cancelled");
    else if (move->target->ready && move->target->failed)
        status = gr_fail(&move->error, GR_ERROR_DEVICE_LOST, "engine", "%s failed meanwhile", move->info.to);
    else if (move->info.stage == GR_MOVE_PREPARE)
        status = prepare(move, &turn, &move->error);
    else
        status = copy_and_switch(move, &turn, &move->error);
    status = survive(move, status);
    move->info.steps++;
    if (status != GR_OK)
        fail(move, status);
    if (is_over(move)) {
        drop_origins(move);
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
    if (options) // of a caller that may know less
        memcpy(&move->options, options, options->struct_size < sizeof *options ? options->struct_size : sizeof *options);
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
    drop_origins(move);
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
    bool worked;
    gr_status status = GR_OK;
    while (status == GR_OK && !is_over(move)) {
        gr_engine_step(engine, &worked, NULL); // failures of others' steps are in their requests
        if (atomic_exchange(&engine->interrupted, false))
            gr_move_cancel(move);
        else if (!worked && !is_over(move))
            status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine",
                             "nothing is generated on the session, so there is nothing to compare");
    }
    gr_status ended = gr_move_info_get(move, out_info ? out_info : &info, status == GR_OK ? error : NULL);
    status = status == GR_OK ? ended : status;
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
