// SPDX-License-Identifier: Apache-2.0
// session.c: gregale.session: text and tokens, going back, forks, what the cache holds.
#include <string.h>

#include "script/internal.h"

gr_session_box *gr_session_new(lua_State *L) {
    gr_session_box *box = lua_newuserdatauv(L, sizeof *box, 2);
    box->session = NULL;
    luaL_setmetatable(L, GR_LUA_SESSION);
    return box;
}

gr_session_box *gr_session_self(lua_State *L, const char *function) {
    gr_session_box *box = luaL_checkudata(L, 1, GR_LUA_SESSION);
    if (!box->session)
        luaL_error(L, "%s: the session is closed", function);
    return box;
}

void gr_push_tokens(lua_State *L, const int32_t *tokens, size_t count) {
    lua_createtable(L, (int)(count < INT32_MAX ? count : 0), 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushinteger(L, tokens[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

// The session itself, so that calls can be chained; or the error.
static int chain(lua_State *L, const char *function, gr_status status, const gr_error *error) {
    if (status != GR_OK)
        return gr_raise(L, function, error);
    lua_settop(L, 1);
    return 1;
}

void gr_session_ready(lua_State *L, const char *function, gr_session_box *box) {
    gr_call call;
    gr_error error;
    if (!gr_session_turn_count(box->session))
        return;
    gr_error_init(&error);
    gr_call_begin(L, function, box->session, false, &call);
    gr_status status = gr_session_apply_turns(box->session, &error);
    gr_call_end(&call);
    if (status != GR_OK)
        gr_raise(L, function, &error);
    gr_session_self(L, function); // an encoder may have closed it
}

// ---- Text and tokens

#define FUNCTION "session:append"
static int append(lua_State *L) {
    gr_session_box *box = gr_session_self(L, FUNCTION);
    gr_error error;
    size_t count;
    gr_error_init(&error);
    if (lua_type(L, 2) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, 2, &count);
        return chain(L, FUNCTION, gr_session_append_text(box->session, text, count, &error),
                     &error);
    }
    if (lua_type(L, 2) == LUA_TNUMBER) {
        int32_t token = (int32_t)gr_arg_whole(L, 2, FUNCTION, "token", 0, INT32_MAX);
        return chain(L, FUNCTION, gr_session_append_tokens(box->session, &token, 1, &error),
                     &error);
    }
    if (lua_type(L, 2) != LUA_TTABLE)
        return gr_arg_fail(L, FUNCTION, "text", "a string, a token or a list of tokens", 2);
    int32_t *tokens = gr_arg_tokens(L, 2, FUNCTION, "tokens", &count);
    return chain(L, FUNCTION, gr_session_append_tokens(box->session, tokens, count, &error),
                 &error);
}
#undef FUNCTION

static int tokens(lua_State *L) {
    gr_session_box *box = gr_session_self(L, "session:tokens");
    size_t count;
    gr_session_tokens(box->session, &count);
    int32_t *copy =
        lua_newuserdatauv(L, count * sizeof *copy + 1, 0); // making the table may run finalizers
    size_t now;
    const int32_t *tokens = box->session ? gr_session_tokens(box->session, &now) : NULL;
    count = tokens && now < count ? now : tokens ? count : 0;
    if (count)
        memcpy(copy, tokens, count * sizeof *copy);
    gr_push_tokens(L, copy, count);
    return 1;
}

static int length(lua_State *L) {
    size_t count;
    gr_session_tokens(gr_session_self(L, "#session")->session, &count);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

// ---- Evaluating

void gr_session_want(lua_State *L, const char *function) {
    gr_session_ready(L, function, gr_session_self(L, function));
    gr_session_ask(gr_session_self(L, function)->session);
}

bool gr_session_settled(lua_State *L, const char *function) {
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    gr_call call;
    size_t count;
    if (gr_session_pending(box->session) && gr_script_may_yield(L))
        return false;
    gr_error_init(&error);
    gr_session_tokens(box->session, &count);
    if (gr_session_evaluated(box->session) == count)
        return true;
    // Where steps do nothing more for it the engine is asked directly, and says why.
    gr_call_begin(L, function, box->session, true, &call);
    gr_status status = gr_session_evaluate(box->session, gr_script_progress, call.script, &error);
    gr_call_end(&call);
    gr_script_tell_events(L, call.script);
    if (status != GR_OK)
        gr_raise(L, function, &error);
    gr_session_self(L, function); // who was told of a device may have closed it
    return true;
}

static int evaluate_k(lua_State *L, int resumed, lua_KContext context) {
    (void)resumed;
    if (!gr_session_settled(L, "session:evaluate"))
        return lua_yieldk(L, 0, context, evaluate_k);
    lua_settop(L, 1);
    return 1;
}

static int evaluate(lua_State *L) {
    gr_script_check_steps(L, "session:evaluate");
    gr_session_want(L, "session:evaluate");
    lua_settop(L, 1);
    return evaluate_k(L, LUA_OK, 0);
}

static int logits_k(lua_State *L, int resumed, lua_KContext context) {
    static const char function[] = "session:logits";
    const float *logits;
    uint32_t vocab;
    size_t count;
    gr_call call;
    gr_error error;
    gr_error_init(&error);
    (void)resumed;
    if (!gr_session_settled(L, function))
        return lua_yieldk(L, 0, context, logits_k);
    gr_session *session = gr_session_self(L, function)->session;
    gr_session_tokens(session, &count);
    gr_call_begin(L, function, session, gr_session_evaluated(session) < count, &call); // who was told of a device may append
    gr_status status = gr_session_logits(session, &logits, &vocab, NULL, &error);
    gr_call_end(&call);
    if (status != GR_OK)
        return gr_raise(L, function, &error);
    gr_logits_push(L, 1, logits, vocab);
    return 1;
}

static int logits(lua_State *L) {
    gr_session_want(L, "session:logits");
    lua_settop(L, 1);
    return logits_k(L, LUA_OK, 0);
}

// ---- Forks and going back

#define FUNCTION "session:fork"
static int fork_session(lua_State *L) {
    gr_session_box *box = gr_session_self(L, FUNCTION);
    gr_error error;
    gr_error_init(&error);
    gr_session_box *copy = gr_session_new(L);
    if (gr_session_fork(box->session, &copy->session, &error) != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    gr_script_remember(L, copy->session, -1);
    lua_getiuservalue(L, 1, 1);
    lua_setiuservalue(L, -2, 1); // the chat encoder
    return 1;
}
#undef FUNCTION

static int rewind_session(lua_State *L) {
    static const char function[] = "session:rewind";
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    gr_error_init(&error);
    uint64_t count = gr_arg_whole(L, 2, function, "count", 0, INT64_MAX);
    return chain(L, function, gr_session_rewind(box->session, count, &error), &error);
}

static int can_rewind(lua_State *L) {
    gr_session_box *box = gr_session_self(L, "session:can_rewind");
    uint64_t count = gr_arg_whole(L, 2, "session:can_rewind", "count", 0, INT64_MAX);
    lua_pushboolean(L, gr_session_can_rewind(box->session, count));
    return 1;
}

static int anchor_k(lua_State *L, int resumed, lua_KContext context) {
    static const char function[] = "session:anchor";
    uint64_t position;
    gr_call call;
    gr_error error;
    gr_error_init(&error);
    (void)resumed;
    if (!gr_session_settled(L, function))
        return lua_yieldk(L, 0, context, anchor_k);
    gr_call_begin(L, function, gr_session_self(L, function)->session, true, &call);
    gr_status status = gr_session_anchor(gr_session_self(L, function)->session, &position, &error);
    gr_call_end(&call);
    if (status != GR_OK)
        return gr_raise(L, function, &error);
    lua_pushinteger(L, (lua_Integer)position);
    return 1;
}

static int anchor(lua_State *L) {
    gr_script_check_steps(L, "session:anchor");
    gr_session_want(L, "session:anchor");
    lua_settop(L, 1);
    return anchor_k(L, LUA_OK, 0);
}

static int drop_anchor(lua_State *L) {
    static const char function[] = "session:drop_anchor";
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    gr_error_init(&error);
    uint64_t position = gr_arg_whole(L, 2, function, "position", 0, INT64_MAX);
    return chain(L, function, gr_session_anchor_drop(box->session, position, &error), &error);
}

// ---- What it is

static int stats(lua_State *L) {
    gr_session_box *box = gr_session_self(L, "session:stats");
    gr_session_stats stats = {.struct_size = sizeof stats};
    gr_session_stats_get(box->session, &stats);
    const struct { const char *name; uint64_t value;
    } wholes[] = {{"positions", stats.positions},
                  {"resident_positions", stats.resident_positions},
                  {"pages", stats.pages},
                  {"shared_pages", stats.shared_pages},
                  {"evicted_pages", stats.evicted_pages},
                  {"cache_bytes", stats.cache_bytes},
                  {"own_bytes", stats.own_bytes},
                  {"full_bytes", stats.full_bytes},
                  {"prefill_tokens", stats.prefill_tokens},
                  {"decode_tokens", stats.decode_tokens},
                  {"steps", stats.steps},
                  {"preemptions", stats.preemptions}};
    lua_createtable(L, 0, 16);
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        lua_pushinteger(L, (lua_Integer)wholes[i].value);
        lua_setfield(L, -2, wholes[i].name);
    }
    lua_pushnumber(L, stats.prefill_seconds);
    lua_setfield(L, -2, "prefill_seconds");
    lua_pushnumber(L, stats.decode_seconds);
    lua_setfield(L, -2, "decode_seconds");
    return 1;
}

static int device(lua_State *L) {
    lua_pushstring(L, gr_session_device(gr_session_self(L, "session:device")->session));
    return 1;
}

static int model(lua_State *L) {
    gr_session_self(L, "session:model");
    gr_model_box *model = gr_model_new(L); // a finalizer may close the session
    model->model = gr_model_retain(gr_session_model(gr_session_self(L, "session:model")->session));
    return 1;
}

static int close_session(lua_State *L) {
    gr_session_box *box = luaL_checkudata(L, 1, GR_LUA_SESSION);
    gr_session *session = box->session;
    box->session = NULL;
    gr_session_release(session); // a request in progress keeps it alive
    return 0;
}

static int describe(lua_State *L) {
    gr_session_box *box = luaL_checkudata(L, 1, GR_LUA_SESSION);
    size_t count;
    if (!box->session) {
        lua_pushliteral(L, "gregale.session (closed)");
        return 1;
    }
    gr_session_tokens(box->session, &count);
    lua_pushfstring(L, "gregale.session (%I tokens, %d turns)", (lua_Integer)count,
                    (int)gr_session_turn_count(box->session));
    return 1;
}

void gr_session_type(lua_State *L) {
    static const luaL_Reg methods[] = {{"append", append},
                                       {"tokens", tokens},
                                       {"evaluate", evaluate},
                                       {"logits", logits},
                                       {"fork", fork_session},
                                       {"rewind", rewind_session},
                                       {"can_rewind", can_rewind},
                                       {"anchor", anchor},
                                       {"drop_anchor", drop_anchor},
                                       {"stats", stats},
                                       {"generate", gr_lua_session_generate},
                                       {"stream", gr_lua_session_stream},
                                       {"choose", gr_lua_session_choose},
                                       {"score", gr_lua_session_score},
                                       {"embed", gr_lua_session_embed},
                                       {"move", gr_lua_session_move},
                                       {"device", device},
                                       {"model", model},
                                       {"save", gr_lua_session_save},
                                       {"close", close_session},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", close_session},
                                    {"__close", close_session},
                                    {"__tostring", describe},
                                    {"__len", length},
                                    {NULL, NULL}};
    gr_push_type(L, GR_LUA_SESSION, methods, meta);
    luaL_getmetatable(L, GR_LUA_SESSION);
    lua_getfield(L, -1, "__index");
    luaL_setfuncs(L, gr_session_turn_methods, 0);
    lua_pop(L, 2);
}
