// SPDX-License-Identifier: Apache-2.0
// call.c: entering the engine, waiting for it, and what it reports as Lua errors.
#include "script/internal.h"

void gr_script_check_steps(lua_State *L, const char *function) {
    if (gr_script_get(L)->stepping)
        luaL_error(L, "%s: cannot run the model inside a choose function", function);
}

void gr_call_begin(lua_State *L, const char *function, gr_session *session, bool steps,
                   gr_call *out_call) {
    gr_script *script = gr_script_get(L);
    if (steps)
        gr_script_check_steps(L, function);
    luaL_checkstack(L, LUA_MINSTACK, function); // for hooks, which must not raise
    *out_call = (gr_call){script, script->active, session ? gr_session_retain(session) : NULL,
                          script->stepping};
    script->active = L;
    script->stepping = script->stepping || steps;
}

void gr_call_end(gr_call *call) {
    call->script->active = call->previous;
    call->script->stepping = call->was_stepping;
    gr_session_release(call->session);
}

int gr_raise(lua_State *L, const char *function, const gr_error *error) {
    gr_script *script = gr_script_get(L);
    if (error->code == GR_ERROR_CANCELLED)
        gr_script_check_interrupt(L, script);
    return luaL_error(L, "%s: %s", function,
                      error->message[0] ? error->message : gr_status_name(error->code));
}

bool gr_script_may_yield(lua_State *L) {
    return gr_script_get(L)->branch == L && lua_isyieldable(L);
}

void gr_script_step(lua_State *L, const char *function, bool *out_worked) {
    gr_call call;
    gr_script *script = gr_script_get(L);
    gr_script_check_interrupt(L, script);
    gr_engine *engine = gr_script_engine(L, script);
    gr_call_begin(L, function, NULL, true, &call);
    // A failure that concerns a request is in that request; one that concerns nobody here has no
    // reader.
    gr_engine_step(engine, out_worked, NULL);
    gr_call_end(&call);
    gr_script_check_interrupt(L, script);
    gr_script_tell_events(L, script);
}
