// SPDX-License-Identifier: Apache-2.0
// request.h: a request's box and what reads it. Inside the script room.
#ifndef GREGALE_SCRIPT_REQUEST_H
#define GREGALE_SCRIPT_REQUEST_H

#include "script/internal.h"

// Pushes a box without a request, for the session box at `session_index`.
gr_request_box *gr_request_new(lua_State *L, int session_index);
void gr_request_box_close(gr_request_box *box);
// Takes what was generated since; true once all was taken. Raises what went wrong, having closed
// the box.
bool gr_request_take(lua_State *L, const char *function, int index, const char **out_text,
                     size_t *out_bytes);
// Steps the engine; raises when nothing moves any more.
void gr_request_step(lua_State *L, const char *function, int index);
void gr_request_push_text(lua_State *L, const gr_request_box *box);
void gr_request_push_info(lua_State *L, const gr_request_box *box);

#endif
