// SPDX-License-Identifier: Apache-2.0
// many.c: session:generate{n=, best_of=}: so many answers, each on a fork of its own and all in one batch; the n best
// by the mean log-probability of their tokens. The session stays as it was.
#include <math.h>

#include "script/internal.h"

#define FUNCTION "session:generate"
enum { SESSION = 1, OPTIONS = 2 }; // stack

// ---- One answer: upvalues 1 the fork, 2 the options

// The mean of the list of numbers at `index`; an answer without tokens comes last.
static double mean(lua_State *L, int index) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, index);
    double sum = 0;
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        sum += lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    return count ? sum / (double)count : -INFINITY;
}

// Text and info stand at the top.
static int answer_k(lua_State *L, int resumed, lua_KContext context) {
    (void)resumed;
    (void)context;
    lua_getfield(L, -1, "log_probabilities");
    double score = mean(L, lua_gettop(L));
    lua_pop(L, 1);
    lua_createtable(L, 0, 4);
    lua_insert(L, -3);
    lua_setfield(L, -3, "info");
    lua_setfield(L, -2, "text");
    lua_pushnumber(L, score);
    lua_setfield(L, -2, "score");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setfield(L, -2, "session");
    return 1;
}

static int answer(lua_State *L) {
    lua_pushcfunction(L, gr_lua_session_generate);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_callk(L, 2, 2, 0, answer_k);
    return answer_k(L, LUA_OK, 0);
}

// ---- All of them

// Pushes a copy of the options for answer number `i` from 0. With a seed each has one of its own, the first that one.
static void push_options(lua_State *L, uint64_t seed, uint64_t i) {
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, OPTIONS);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    static const char *const ours[] = {"n", "best_of", "seed"};
    for (size_t k = 0; k < sizeof ours / sizeof *ours; k++) {
        lua_pushnil(L);
        lua_setfield(L, -2, ours[k]);
    }
    if (seed) {
        lua_pushinteger(L, (lua_Integer)(seed + i));
        lua_setfield(L, -2, "seed");
    }
}

// The results of the branches stand at the top: leaves the n with the highest scores, best first, earlier ones first
// among equals.
static int rank_k(lua_State *L, int resumed, lua_KContext n) {
    int results = lua_gettop(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, results);
    (void)resumed;
    lua_createtable(L, (int)n, 0);
    double *scores = lua_newuserdatauv(L, (size_t)count * sizeof *scores, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, results, i + 1);
        lua_getfield(L, -1, "score");
        scores[i] = isnan(lua_tonumber(L, -1)) ? -INFINITY : lua_tonumber(L, -1);
        lua_pop(L, 2);
    }
    for (lua_Integer rank = 1; rank <= (lua_Integer)n; rank++) {
        lua_Integer best = -1;
        for (lua_Integer i = 0; i < count; i++)
            if (!isnan(scores[i]) && (best < 0 || scores[i] > scores[best]))
                best = i;
        lua_rawgeti(L, results, best + 1);
        lua_rawseti(L, results + 1, rank);
        scores[best] = NAN; // taken
    }
    lua_settop(L, results + 1);
    return 1;
}

// The prefix has been evaluated; `context` is n and how many answers there are to be.
static int fork_k(lua_State *L, int resumed, lua_KContext context) {
    lua_KContext n = context >> 16, count = context & 0xffff;
    (void)resumed;
    lua_settop(L, OPTIONS);
    gr_args args = {.L = L, .function = FUNCTION, .table = OPTIONS};
    uint64_t seed = gr_args_whole(&args, "seed", 0, 1, (UINT64_C(1) << 53) - (uint64_t)count + 1);
    lua_pushcfunction(L, gr_lua_parallel);
    lua_createtable(L, (int)count, 0);
    for (lua_KContext i = 0; i < count; i++) {
        lua_getfield(L, SESSION, "fork");
        lua_pushvalue(L, SESSION);
        lua_call(L, 1, 1);
        push_options(L, seed, (uint64_t)i);
        lua_pushcclosure(L, answer, 2);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_callk(L, 1, 1, n, rank_k);
    return rank_k(L, LUA_OK, n);
}

int gr_lua_generate_many(lua_State *L) {
    static const char *const alone[] = {"guide", "draft"};
    gr_session_self(L, FUNCTION);
    gr_args args = {.L = L, .function = FUNCTION, .table = OPTIONS};
    uint64_t best_of = gr_args_whole(&args, "best_of", 0, 1, 1000);
    uint64_t n = gr_args_whole(&args, "n", 1, 1, best_of ? best_of : 1000);
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (gr_args_push(&args, alone[i]))
            return luaL_error(L, FUNCTION ": %s: expected none beside n and best_of, since a session follows one answer",
                              alone[i]);
    lua_KContext context = (lua_KContext)(n << 16 | (best_of ? best_of : n));
    luaL_checkstack(L, LUA_MINSTACK, FUNCTION);
    lua_getfield(L, SESSION, "evaluate"); // once, for all forks
    lua_pushvalue(L, SESSION);
    lua_callk(L, 1, 0, context, fork_k);
    return fork_k(L, LUA_OK, context);
}
