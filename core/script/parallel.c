// SPDX-License-Identifier: Apache-2.0
// parallel.c: gregale.parallel{f, g, ...}: runs functions as coroutines whose generation calls
// yield, so that every step of the engine advances all of them in one batch. Branches may call it
// again: the inner one then waits for the outer one's steps.
#include "script/internal.h"

#define FUNCTION "gregale.parallel"
enum { FUNCTIONS = 1, GROUP = 2, RESULTS = 3 }; // stack

// Closes the branches that have not ended, so that their to-be-closed variables are.
static int close_group(lua_State *L) {
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 2);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(L, 2, i) == LUA_TTHREAD) {
            lua_State *branch = lua_tothread(L, -1);
            lua_pushboolean(L, 0);
            lua_rawseti(L, 2, i);
            lua_resetthread(branch);
        }
        lua_pop(L, 1);
    }
    return 0;
}

// Pushes the userdata that owns the coroutines; its user value 1 lists them, false for those that
// ended.
static void push_group(lua_State *L, lua_Integer count) {
    lua_newuserdatauv(L, 1, 1);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(L, FUNCTIONS, i) != LUA_TFUNCTION)
            gr_arg_fail(L, FUNCTION, "branches", "a list of functions", -1);
        lua_State *branch = lua_newthread(L);
        lua_insert(L, -2);
        lua_xmove(L, branch, 1);
        lua_rawseti(L, -2, i);
    }
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, "gregale.group")) {
        lua_pushcfunction(L, close_group);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
}

// Lets one branch run until it waits or ends. Returns whether it has ended; raises what it raised.
static bool run_branch(lua_State *L, gr_script *script, int list, lua_Integer i) {
    int count = 0;
    if (lua_rawgeti(L, list, i) != LUA_TTHREAD) {
        lua_pop(L, 1);
        return true;
    }
    lua_State *branch = lua_tothread(L, -1), *previous = script->branch;
    script->branch = branch;
    int status = lua_resume(branch, L, 0, &count);
    script->branch = previous;
    if (status == LUA_YIELD) {
        lua_pop(branch, count);
        lua_pop(L, 1);
        return false;
    }
    if (status != LUA_OK) {
        lua_xmove(branch, L, 1); // the group's __close closes the branch
        lua_error(L);
    }
    if (count) {
        lua_settop(branch, lua_gettop(branch) - count + 1);
        lua_xmove(branch, L, 1);
    } else
        lua_pushnil(L);
    lua_rawseti(L, RESULTS, i);
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, list, i);
    return true;
}

static int parallel_k(lua_State *L, int resumed, lua_KContext context) {
    gr_script *script = gr_script_get(L);
    lua_Integer count = (lua_Integer)context;
    (void)resumed;
    lua_settop(L, RESULTS);
    for (;;) {
        bool worked, waiting = false;
        lua_getiuservalue(L, GROUP, 1);
        for (lua_Integer i = 1; i <= count; i++)
            waiting = !run_branch(L, script, RESULTS + 1, i) || waiting;
        lua_settop(L, RESULTS);
        if (!waiting)
            return 1;
        if (gr_script_may_yield(L))
            return lua_yieldk(L, 0, context, parallel_k);
        gr_script_step(L, FUNCTION, &worked);
    }
}

int gr_lua_parallel(lua_State *L) {
    lua_settop(L, 1);
    if (lua_type(L, FUNCTIONS) != LUA_TTABLE)
        return gr_arg_fail(L, FUNCTION, "branches", "a list of functions", 1);
    lua_Integer count = (lua_Integer)lua_rawlen(L, FUNCTIONS);
    if (count > 100000)
        return luaL_error(L, FUNCTION ": branches: expected at most 100000 functions, got %I",
                          count);
    luaL_checkstack(L, LUA_MINSTACK, FUNCTION);
    push_group(L, count);
    lua_toclose(L, GROUP);
    lua_createtable(L, (int)count, 1);
    lua_pushinteger(L, count);
    lua_setfield(L, RESULTS, "n");
    return parallel_k(L, LUA_OK, (lua_KContext)count);
}
