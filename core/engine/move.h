// SPDX-License-Identifier: Apache-2.0
// move.h: moving sessions to another site while they run. Inside the engine room.
#ifndef GREGALE_ENGINE_MOVE_H
#define GREGALE_ENGINE_MOVE_H

#include "engine/site.h"

// Takes every move of the engine one stage or slice further; to be called between steps. *out_worked becomes
// true unless all of them wait for tokens of a session; when none could go on, it waits a moment if `idle`.
void gr_moves_advance(gr_engine *engine, bool idle, bool *out_worked);
// For somebody who needs the target of a move now: waits for its weights. Returns whether it is ready.
bool gr_moves_hurry(const gr_site *target);
// Of pages of `site` that were copied ahead: lessens the demand on its cache (kv/demand.h) by those that no session
// holds any more, or lets go of them.
void gr_moves_take_out(const gr_site *site);
void gr_moves_forget(gr_site *site);
// A session on `site` cannot go on for want of memory: moves that brought pages there fail before the next step.
// Returns whether there are any.
bool gr_moves_give_way(gr_site *site);

#endif
