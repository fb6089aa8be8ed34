// SPDX-License-Identifier: Apache-2.0
// logits.c: gregale.logits: a typed view of a session's logits, indexed by token from 0, without a
// copy. The session's generation changes when the numbers do; a view of an older one raises.
#include <math.h>

#include "script/internal.h"

// User value 1: the session's box, so that its address stays good.
typedef struct gr_logits_box {
    gr_session_box *session_box;
    gr_session *session; // to notice that the box was closed
    const float *logits;
    uint32_t vocab;
    uint64_t generation;
} gr_logits_box;

void gr_logits_push(lua_State *L, int session_index, const float *logits, uint32_t vocab) {
    session_index = lua_absindex(L, session_index);
    gr_session_box *session_box = lua_touserdata(L, session_index);
    gr_session *session = session_box->session;
    uint64_t generation = session ? gr_session_generation(session) : 0;
    gr_logits_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (gr_logits_box){session_box, session, logits, vocab, generation};
    lua_pushvalue(L, session_index);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, GR_LUA_LOGITS);
}

static const gr_logits_box *self(lua_State *L, const char *function) {
    const gr_logits_box *box = luaL_checkudata(L, 1, GR_LUA_LOGITS);
    if (!box->session || box->session_box->session != box->session)
        luaL_error(L, "%s: the session of these logits is closed", function);
    if (gr_session_generation(box->session) != box->generation)
        luaL_error(L, "%s: these logits are stale: the session went on since; ask it again",
                   function);
    return box;
}

// As the first of logits:top: NaN counts like -infinity.
static int argmax(lua_State *L) {
    const gr_logits_box *box = self(L, "logits:argmax");
    float largest = -INFINITY;
    uint32_t best = 0;
    for (uint32_t i = 0; i < box->vocab; i++)
        if (box->logits[i] > largest) {
            largest = box->logits[i];
            best = i;
        }
    lua_pushinteger(L, best);
    lua_pushnumber(L, box->logits[best]);
    return 2;
}

static int log_probability(lua_State *L) {
    static const char function[] = "logits:log_probability";
    const gr_logits_box *box = self(L, function);
    uint32_t token = (uint32_t)gr_arg_whole(L, 2, function, "token", 0, box->vocab - 1u);
    lua_pushnumber(L, gr_logits_log_probability(box->logits, box->vocab, (int32_t)token));
    return 1;
}

// logits:top(n) -> {{token =, logit =, log_probability =}, ...}, best first
static int top(lua_State *L) {
    static const char function[] = "logits:top";
    const gr_logits_box *box = self(L, function);
    uint32_t limit = (uint32_t)gr_arg_whole(L, 2, function, "count", 1, box->vocab);
    gr_token_choice *best = lua_newuserdatauv(L, limit * sizeof *best, 0);
    box = self(L, function); // making memory may have run a finalizer
    size_t count = gr_logits_top(box->logits, box->vocab, limit, best);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 3);
        float logit = self(L, function)->logits[best[i].token];
        lua_pushinteger(L, best[i].token);
        lua_setfield(L, -2, "token");
        lua_pushnumber(L, logit);
        lua_setfield(L, -2, "logit");
        lua_pushnumber(L, best[i].log_probability);
        lua_setfield(L, -2, "log_probability");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int is_stale(lua_State *L) {
    const gr_logits_box *box = luaL_checkudata(L, 1, GR_LUA_LOGITS);
    bool closed = !box->session || box->session_box->session != box->session;
    lua_pushboolean(L, closed || gr_session_generation(box->session) != box->generation);
    return 1;
}

// Upvalue 1: the methods.
static int index_logits(lua_State *L) {
    luaL_checkudata(L, 1, GR_LUA_LOGITS);
    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
            return luaL_error(L, "logits: no method is called \"%s\"", lua_tostring(L, 2));
        return 1;
    }
    const gr_logits_box *box = self(L, "logits");
    lua_pushnumber(L, box->logits[gr_arg_whole(L, 2, "logits", "token", 0, box->vocab - 1u)]);
    return 1;
}

static int length(lua_State *L) {
    lua_pushinteger(L, self(L, "#logits")->vocab);
    return 1;
}

void gr_logits_type(lua_State *L) {
    static const luaL_Reg methods[] = {{"argmax", argmax},
                                       {"top", top},
                                       {"log_probability", log_probability},
                                       {"is_stale", is_stale},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__len", length}, {NULL, NULL}};
    gr_push_type(L, GR_LUA_LOGITS, methods, meta);
    luaL_getmetatable(L, GR_LUA_LOGITS);
    lua_getfield(L, -1, "methods");
    lua_pushcclosure(L, index_logits, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
