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

#endif
