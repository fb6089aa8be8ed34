// SPDX-License-Identifier: Apache-2.0
// move.h: moving sessions to another site while they run. Inside the engine room.
#ifndef GREGALE_ENGINE_MOVE_H
#define GREGALE_ENGINE_MOVE_H

#include "engine/site.h"

// Takes every move of the engine one stage or slice further; to be called between steps. *out_worked becomes
// true while there are moves; with none of them able to go on, it waits a moment when `idle`.
void gr_moves_advance(gr_engine *engine, bool idle, bool *out_worked);

#endif
