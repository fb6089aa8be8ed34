// SPDX-License-Identifier: Apache-2.0
// moving.h: what the files of a move share: move.c takes it from stage to stage, carry.c carries pages, compare.c
// compares answers. Inside the engine room.
#ifndef GREGALE_ENGINE_MOVING_H
#define GREGALE_ENGINE_MOVING_H

#include <pthread.h>

#include "engine/move.h"
#include "kv/transfer.h"

// Pages that leave one site. Sessions of one model may come from several.
typedef struct gr_origin {
    gr_site *site; // retained
    gr_kv_transfer *transfer;
} gr_origin;

struct gr_move {
    gr_model *model;     // retained
    gr_session *session; // retained; NULL: every session of the model
    char *device;        // as it was asked for
    gr_site *target;     // retained
    gr_site *called;     // whose devices the running stage calls
    gr_move_options options;
    gr_origin *origins;
    uint32_t origin_count;
    bool checked, switched, gives_way;
    float *here, *there; // logits to compare, [vocab] each in one piece
    gr_kv_seq shadow;    // on the target, following the session
    uint64_t rewinds;    // of the session when the shadow began
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

// ---- carry.c
// Whether the session is one that has yet to move.
bool gr_move_concerns(const gr_move *move, const gr_session *session);
// A slice of copying between two steps; *out_left tells how many full pages are left.
gr_status gr_move_copy_ahead(gr_move *move, uint32_t *out_left, gr_error *error);
// Makes `out_pages` on the target, equal to `pages` of the session.
gr_status gr_move_bring(gr_move *move, const gr_session *session, const gr_kv_seq *pages, gr_kv_seq *out_pages,
                        gr_error *error);
// Copies the rest, then all change places. A failure leaves everybody where he was.
gr_status gr_move_switch(gr_move *move, gr_error *error);
// A slice of tearing down what nobody uses any more; returns whether nothing is left to do.
bool gr_move_leave(gr_move *move);
// Lets go of copied pages and of the old sites; counts what was copied.
void gr_move_drop_origins(gr_move *move);
void gr_move_trace(const gr_move *move, const char *what, uint64_t start_ns, uint64_t bytes);

// ---- compare.c
// Evaluates the last token of a session that moves on both sides, and refuses what is out of bounds.
gr_status gr_move_check(gr_move *move, gr_error *error);
// Evaluates what the session evaluated since on the target too; *out_over: enough tokens were compared.
gr_status gr_move_shadow(gr_move *move, bool *out_over, gr_error *error);
void gr_move_drop_shadow(gr_move *move);

#endif
