// SPDX-License-Identifier: Apache-2.0
// request.c: gregale.stream: an answer while it is being generated, as an iterator over pieces of
// text.
#include "script/request.h"

gr_request_box *gr_request_new(lua_State *L, int session_index) {
    session_index = lua_absindex(L, session_index);
    gr_request_box *box = lua_newuserdatauv(L, sizeof *box, 3);
    *box = (gr_request_box){.script = gr_script_get(L),
                            .session_box = lua_touserdata(L, session_index)};
    lua_pushvalue(L, session_index);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, GR_LUA_REQUEST);
    gr_script_remember(L, box, -1);
    return box;
}

void gr_request_box_close(gr_request_box *box) {
    gr_record_end(box);
    gr_request *request = box->request;
    box->request = NULL;
    gr_request_release(request);
}

static gr_request_box *self(lua_State *L, const char *function) {
    gr_request_box *box = luaL_checkudata(L, 1, GR_LUA_REQUEST);
    if (!box->request)
        luaL_error(L, "%s: the stream is closed", function);
    return box;
}

// Raises what the request failed with: what a choose function raised as it was, else the engine's
// message.
static int raise_failure(lua_State *L, const char *function, int index, const gr_error *error) {
    gr_request_box_close(lua_touserdata(L, index));
    if (error->code == GR_ERROR_SCRIPT && lua_getiuservalue(L, index, 3) != LUA_TNIL)
        return lua_error(L);
    return gr_raise(L, function, error);
}

bool gr_request_take(lua_State *L, const char *function, int index, const char **out_text,
                     size_t *out_bytes) {
    gr_request_box *box = lua_touserdata(L, index);
    bool done;
    gr_error error;
    gr_error_init(&error);
    if (!box->request)
        luaL_error(L, "%s: the answer was closed while it was generated", function);
    gr_status status = gr_request_read(box->request, out_text, out_bytes, &done, &error);
    if (status != GR_OK && !*out_bytes)
        raise_failure(L, function, index, &error);
    if (status != GR_OK || !done || *out_bytes)
        return false;
    gr_record_end(box);
    return true;
}

void gr_request_step(lua_State *L, const char *function, int index) {
    gr_request_box *box = lua_touserdata(L, index);
    gr_request_info info = {.struct_size = sizeof info};
    bool worked;
    gr_script_step(L, function, &worked);
    if (worked || !box->request)
        return;
    gr_request_info_get(box->request, &info);
    if (info.stop_reason == GR_STOP_NONE) {
        gr_request_box_close(box);
        luaL_error(L, "%s: the engine has nothing left to do for this answer", function);
    }
}

void gr_request_push_text(lua_State *L, const gr_request_box *box) {
    gr_request_info info = {.struct_size = sizeof info};
    gr_request_info_get(box->request, &info);
    lua_pushlstring(L, info.text, info.text_bytes);
}

static void set_number(lua_State *L, const char *key, double value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

static void set_whole(lua_State *L, const char *key, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static gr_status call_of_answer(const gr_call_source *source, uint32_t index,
                                gr_tool_call_info *out_call) {
    const gr_request_box *box = source->from;
    return box->request ? gr_request_tool_call(box->request, index, out_call)
                        : GR_ERROR_OUT_OF_RANGE;
}

// Sets `top`: for each token a list of {token =, log_probability =}, likeliest first.
static void push_top(lua_State *L, const gr_request_info *info) {
    if (!info->top_tokens)
        return;
    lua_createtable(L, (int)info->generated_tokens, 0);
    for (uint32_t i = 0; i < info->generated_tokens; i++) {
        lua_createtable(L, (int)info->top_tokens, 0);
        for (uint32_t j = 0; j < info->top_tokens; j++) {
            const gr_token_choice *choice = &info->top[i * info->top_tokens + j];
            lua_createtable(L, 0, 2);
            set_whole(L, "token", (uint64_t)choice->token);
            set_number(L, "log_probability", choice->log_probability);
            lua_rawseti(L, -2, j + 1);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "top");
}

void gr_request_push_info(lua_State *L, const gr_request_box *box) {
    gr_request_info info = {.struct_size = sizeof info};
    gr_request_info_get(box->request, &info);
    lua_createtable(L, 0, 12);
    lua_pushstring(L, gr_stop_reason_name(info.stop_reason));
    lua_setfield(L, -2, "stop_reason");
    set_whole(L, "prompt_tokens", info.prompt_tokens);
    set_whole(L, "generated_tokens", info.generated_tokens);
    set_whole(L, "seed", info.seed);
    gr_push_tool_calls(L, &(gr_call_source){call_of_answer, box, 0});
    lua_setfield(L, -2, "tool_calls");
    if (info.tool_error) {
        lua_pushstring(L, info.tool_error);
        lua_setfield(L, -2, "tool_error");
    }
    set_number(L, "prefill_seconds", info.prefill_seconds);
    set_number(L, "decode_seconds", info.decode_seconds);
    gr_push_tokens(L, info.tokens, info.generated_tokens);
    lua_setfield(L, -2, "tokens");
    lua_createtable(L, (int)info.generated_tokens, 0);
    for (uint32_t i = 0; i < info.generated_tokens; i++) {
        lua_pushnumber(L, info.log_probabilities[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "log_probabilities");
    push_top(L, &info);
    set_whole(L, "rewinds", info.rewinds);
    set_whole(L, "guessed", info.guessed);
    set_whole(L, "guessed_right", info.guessed_right);
    if (info.decode_seconds > 0 && info.generated_tokens > 1)
        set_number(L, "tokens_per_second", (info.generated_tokens - 1) / info.decode_seconds);
}

// ---- The iterator

static int next_k(lua_State *L, int resumed, lua_KContext context) {
    static const char function[] = "stream";
    (void)resumed;
    for (;;) {
        const char *text;
        size_t bytes;
        bool done = gr_request_take(L, function, 1, &text, &bytes);
        if (bytes) {
            lua_pushlstring(L, text, bytes);
            return 1;
        }
        if (done) {
            lua_pushnil(L);
            return 1;
        }
        if (gr_script_may_yield(L))
            return lua_yieldk(L, 0, context, next_k);
        gr_request_step(L, function, 1);
    }
}

static int next_piece(lua_State *L) {
    self(L, "stream");
    lua_settop(L, 1);
    return next_k(L, LUA_OK, 0);
}

static int cancel(lua_State *L) {
    gr_request_cancel(self(L, "stream:cancel")->request);
    return 0;
}

static int text(lua_State *L) {
    gr_request_push_text(L, self(L, "stream:text"));
    return 1;
}

static int info(lua_State *L) {
    gr_request_push_info(L, self(L, "stream:info"));
    return 1;
}

static int collect(lua_State *L) {
    gr_request_box_close(luaL_checkudata(L, 1, GR_LUA_REQUEST));
    return 0;
}

// Leaving a for loop early: the answer so far becomes the turn, which takes the engine one look.
static int close_stream(lua_State *L) {
    gr_request_box *box = luaL_checkudata(L, 1, GR_LUA_REQUEST);
    gr_request_info info = {.struct_size = sizeof info};
    if (!box->request)
        return 0;
    gr_request_info_get(box->request, &info);
    if (info.stop_reason != GR_STOP_NONE)
        return 0; // it has ended, and may still be asked for text and info
    gr_request_cancel(box->request);
    if (!box->script->stepping && box->script->engine) {
        gr_call call;
        bool worked;
        gr_call_begin(L, "stream:close", NULL, true, &call);
        gr_engine_step(box->script->engine, &worked, NULL);
        gr_call_end(&call);
    }
    gr_record_end(box);
    return 0;
}

static int describe(lua_State *L) {
    const gr_request_box *box = luaL_checkudata(L, 1, GR_LUA_REQUEST);
    lua_pushstring(L, box->request ? "gregale.stream" : "gregale.stream (closed)");
    return 1;
}

void gr_request_type(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"cancel", cancel}, {"text", text}, {"info", info}, {"close", close_stream}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__call", next_piece},
                                    {"__gc", collect},
                                    {"__close", close_stream},
                                    {"__tostring", describe},
                                    {NULL, NULL}};
    gr_push_type(L, GR_LUA_REQUEST, methods, meta);
}
