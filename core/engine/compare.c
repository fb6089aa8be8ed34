// SPDX-License-Identifier: Apache-2.0
// compare.c: whether a new device answers as the old one does: for one token before the switch, or for as many as
// a shadow follows.
#include "engine/moving.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/shadow.h"

// ---- One token

static gr_status logits_there(gr_move *move, const gr_session *session, float *logits, gr_error *error) {
    gr_kv_seq pages;
    gr_status status = gr_move_bring(move, session, &session->pages, &pages, error);
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
static gr_status check_session(gr_move *move, const gr_session *session, gr_error *error) {
    if (move->checked || !session->pages.length || !gr_kv_seq_can_truncate(&session->pages, session->pages.length - 1))
        return GR_OK;
    const uint64_t start = gr_os_now_ns();
    gr_status status = compare(move, session, error);
    move->checked = status == GR_OK;
    move->info.check_seconds = (double)(gr_os_now_ns() - start) * 1e-9;
    gr_move_trace(move, "CHECK", start, 0);
    return status;
}

gr_status gr_move_check(gr_move *move, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < move->model->session_count; i++)
        if (gr_move_concerns(move, move->model->sessions[i]))
            status = check_session(move, move->model->sessions[i], error);
    return status;
}

// ---- A shadow: both devices for a number of tokens

void gr_move_drop_shadow(gr_move *move) {
    if (move->shadowed)
        gr_kv_seq_deinit(&move->shadow);
    move->shadowed = false;
}

static gr_status begin_shadow(gr_move *move, gr_error *error) {
    gr_status status = make_logits(move, error);
    if (status == GR_OK)
        status = gr_move_bring(move, move->session, &move->session->pages, &move->shadow, error);
    move->shadowed = status == GR_OK;
    move->rewinds = move->session->rewinds;
    return status;
}

// What the session evaluated since goes through the target as well; compared wherever both have logits.
static gr_status follow(gr_move *move, gr_error *error) {
    const gr_session *session = move->session;
    if (session->rewinds != move->rewinds || session->pages.length < move->shadow.length) { // it went back, or starts over
        gr_move_drop_shadow(move);
        return begin_shadow(move, error);
    }
    if (session->pages.length == move->shadow.length)
        return GR_OK;
    move->called = move->target;
    gr_status status = gr_shadow_follow(move->target, session, &move->shadow, move->there, error);
    if (status != GR_OK || session->logits_behind != session->pages.length)
        return status;
    memcpy(move->here, session->logits, session->model->source->hparams.vocab * sizeof *move->here);
    return note(move, session) || move->options.policy != GR_MOVE_IF_EQUAL ? GR_OK : refuse(move, error);
}

gr_status gr_move_shadow(gr_move *move, bool *out_over, gr_error *error) {
    const uint64_t start = gr_os_now_ns(), compared = move->info.compared;
    *out_over = move->session->site == move->target; // another move has brought it here
    if (*out_over)
        return GR_OK;
    gr_status status = move->shadowed ? follow(move, error) : begin_shadow(move, error);
    if (move->info.compared > compared)
        gr_move_trace(move, "SHADOW", start, 0);
    *out_over = move->info.compared >= move->options.shadow_tokens;
    return status;
}
