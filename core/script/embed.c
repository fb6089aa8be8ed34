// SPDX-License-Identifier: Apache-2.0
// embed.c: session:embed, the embedding of a continuation.
#include <string.h>

#include "script/internal.h"

#define FUNCTION "session:embed"
static gr_pool read_pool(lua_State *L) {
    static const char *const known[] = {"pool", NULL};
    gr_args args = gr_args_open(L, 3, FUNCTION, known);
    const char *name = gr_args_text(&args, "pool", "mean");
    if (strcmp(name, "mean") != 0 && strcmp(name, "last") != 0) {
        gr_args_push(&args, "pool");
        gr_arg_fail(L, FUNCTION, "pool", "\"mean\" or \"last\"", -1);
    }
    return strcmp(name, "mean") == 0 ? GR_POOL_MEAN : GR_POOL_LAST;
}

// session:embed(text | tokens, {pool = "mean"}) -> a list of numbers
int gr_lua_session_embed(lua_State *L) {
    gr_session_box *box = gr_session_self(L, FUNCTION);
    gr_model_info info = {.struct_size = sizeof info};
    gr_error error;
    gr_call call;
    size_t count;
    lua_settop(L, 3);
    gr_pool pool = read_pool(L);
    gr_session_ready(L, FUNCTION, box);
    const int32_t *tokens = gr_session_continuation(L, FUNCTION, box, 2, &count);
    gr_error_init(&error);
    gr_model_info_get(gr_session_model(box->session), &info);
    float *embedding = lua_newuserdatauv(L, info.dim * sizeof *embedding, 0);
    gr_session_self(L, FUNCTION); // finalizers may have closed it
    gr_call_begin(L, FUNCTION, box->session, true, &call);
    gr_status status = gr_session_embed(box->session, tokens, count, pool, embedding, &error);
    gr_call_end(&call);
    gr_script_tell_events(L, call.script);
    if (status != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    lua_createtable(L, (int)info.dim, 0);
    for (uint32_t i = 0; i < info.dim; i++) {
        lua_pushnumber(L, embedding[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}
#undef FUNCTION
