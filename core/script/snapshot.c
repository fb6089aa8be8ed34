// SPDX-License-Identifier: Apache-2.0
// snapshot.c: session:save and model:restore.
#include "script/request.h"

int gr_lua_session_save(lua_State *L) {
    static const char function[] = "session:save";
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    gr_call call;
    gr_error_init(&error);
    const char *path = gr_script_path(L, function, gr_arg_name(L, 2, function, "path"), true);
    gr_call_begin(L, function, box->session, false, &call);
    gr_status status = gr_session_save(box->session, path, gr_script_progress, call.script, &error);
    gr_call_end(&call);
    if (status != GR_OK)
        return gr_raise(L, function, &error);
    lua_settop(L, 1);
    return 1;
}

// Returns the session; with `answer`, also the stream of an answer that was in progress, or nil.
int gr_lua_model_restore(lua_State *L) {
    static const char function[] = "model:restore";
    static const char *const known[] = {"context", "priority", "answer", NULL};
    gr_model *model = gr_model_self(L, function);
    gr_error error;
    gr_call call;
    gr_error_init(&error);
    lua_settop(L, 3);
    const char *path = gr_script_path(L, function, gr_arg_name(L, 2, function, "path"), false);
    gr_args args = gr_args_open(L, 3, function, known);
    const gr_session_options options = {
        .struct_size = sizeof options,
        .context = (uint32_t)gr_args_whole(&args, "context", 0, 1, INT32_MAX / 2),
        .priority = (int32_t)gr_args_number(&args, "priority", 0, -1e6, 1e6)};
    bool wants_answer = gr_args_flag(&args, "answer", false);
    gr_session_box *session = gr_session_new(L);
    int index = lua_gettop(L);
    gr_request_box *answer = wants_answer ? gr_request_new(L, index) : NULL;
    gr_call_begin(L, function, NULL, false, &call);
    gr_status status = gr_session_restore(model, path, &options, gr_script_progress, call.script, &session->session,
                                          answer ? &answer->request : NULL, &error);
    gr_call_end(&call);
    if (status != GR_OK)
        return gr_raise(L, function, &error);
    gr_script_remember(L, session->session, index);
    if (answer && answer->request)
        gr_record_begin(answer);
    if (answer && !answer->request) {
        lua_pushnil(L);
        lua_replace(L, index + 1);
    }
    return answer ? 2 : 1;
}
