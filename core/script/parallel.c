// SPDX-License-Identifier: Apache-2.0
// parallel.c: gregale.parallel{f, g, ...} and gregale.map(list, f, options): run functions as coroutines whose
// generation calls yield, so that every step of the engine advances all of them in one batch. Branches may call
// them again: the inner one then waits for the outer one's steps.
//
// A branch that raises ends; the others go on. When all have ended, the first error is raised as it was, unless
// errors are to be collected. An interrupt ends them all.
#include "script/internal.h"

#include <string.h>

// Stack of a run: what is called, the group, the results; above them only what is in hand.
enum { WORK = 1, FUNCTION = 2, GROUP = 3, RESULTS = 4 };

// User values of the group: 1 its coroutines, by the number of what they run; false once ended. 2 their errors.
// 3 the calls that led to these.
typedef struct group {
    const char *name;
    lua_Integer count, started, running, most;
    bool collect, failed;
    lua_Integer first_failed;
} group;

// Closes the branches that have not ended, so that their to-be-closed variables are.
static int close_group(lua_State *L) {
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    const group *g = lua_touserdata(L, 1);
    for (lua_Integer i = 1; i <= g->started; i++) {
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

static group *push_group(lua_State *L, const char *name, lua_Integer count, lua_Integer most, bool collect) {
    group *g = lua_newuserdatauv(L, sizeof *g, 3);
    *g = (group){.name = name, .count = count, .most = most, .collect = collect};
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 2);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 3);
    if (luaL_newmetatable(L, "gregale.group")) {
        lua_pushcfunction(L, close_group);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    return g;
}

// ---- One branch

// Begins number `i`: of parallel the function itself, of map the function with the element and its number.
static void begin_branch(lua_State *L, const group *g, int list, lua_Integer i) {
    gr_budget_charge_coroutine(L);
    lua_State *branch = lua_newthread(L);
    if (lua_isnil(L, FUNCTION)) {
        if (lua_rawgeti(L, WORK, i) != LUA_TFUNCTION)
            gr_arg_fail(L, g->name, "branches", "a list of functions", -1);
        lua_xmove(L, branch, 1);
    } else {
        lua_pushvalue(L, FUNCTION);
        lua_rawgeti(L, WORK, i);
        lua_pushinteger(L, i);
        lua_xmove(L, branch, 3);
    }
    lua_rawseti(L, list, i);
}

// What a branch that ended returned, or nil.
static void keep_result(lua_State *L, lua_State *branch, int count, lua_Integer i) {
    if (count) {
        lua_settop(branch, lua_gettop(branch) - count + 1);
        lua_xmove(branch, L, 1);
    } else
        lua_pushnil(L);
    lua_rawseti(L, RESULTS, i);
}

static void keep_error(lua_State *L, lua_State *branch, group *g, lua_Integer i) {
    lua_getiuservalue(L, GROUP, 2);
    lua_getiuservalue(L, GROUP, 3);
    lua_xmove(branch, L, 1);
    if (lua_isnil(L, -1)) { // error(nil): a list has no place for that
        lua_pop(L, 1);
        lua_pushliteral(L, "nil");
    }
    gr_traceback_push(L, branch);
    lua_rawseti(L, -3, i);
    lua_rawseti(L, -3, i);
    lua_pop(L, 2);
    lua_resetthread(branch); // closes what it opened; what that raises comes second
    g->first_failed = g->failed && g->first_failed < i ? g->first_failed : i;
    g->failed = true;
}

// Lets one branch run until it waits or ends. Returns whether it has ended.
static bool run_branch(lua_State *L, gr_script *script, group *g, int list, lua_Integer i) {
    int count = 0;
    if (lua_rawgeti(L, list, i) != LUA_TTHREAD) {
        lua_pop(L, 1);
        return false;
    }
    lua_State *branch = lua_tothread(L, -1), *previous = script->branch;
    const uint32_t interruptions = script->interruptions;
    int top = lua_gettop(branch); // 0: the script resumed or closed it itself, which is an error to resume
    int arguments = lua_status(branch) == LUA_OK && top ? top - 1 : 0;
    script->branch = branch;
    int status = lua_resume(branch, L, arguments, &count);
    script->branch = previous;
    if (status == LUA_YIELD) {
        lua_pop(branch, count);
        lua_pop(L, 1);
        return false;
    }
    if (status != LUA_OK && script->interruptions != interruptions) {
        lua_xmove(branch, L, 1); // the group's __close closes the branches
        lua_error(L);
    }
    if (status == LUA_OK)
        keep_result(L, branch, count, i);
    else
        keep_error(L, branch, g, i);
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, list, i);
    return true;
}

// ---- All of them

static void run_all(lua_State *L, gr_script *script, group *g) {
    lua_getiuservalue(L, GROUP, 1);
    int list = lua_gettop(L);
    for (lua_Integer i = 1; i <= g->started; i++)
        g->running -= run_branch(L, script, g, list, i);
    while (g->started < g->count && g->running < g->most) { // those that end at once make room again
        begin_branch(L, g, list, ++g->started);
        g->running++;
        g->running -= run_branch(L, script, g, list, g->started);
    }
    lua_settop(L, RESULTS);
}

static int finish(lua_State *L, const group *g) {
    lua_getiuservalue(L, GROUP, 2);
    if (g->failed && !g->collect) {
        lua_rawgeti(L, -1, g->first_failed);
        lua_getiuservalue(L, GROUP, 3);
        lua_rawgeti(L, -1, g->first_failed);
        lua_remove(L, -2);
        gr_traceback_keep(L);
        return lua_error(L);
    }
    if (g->collect)
        lua_setfield(L, RESULTS, "errors");
    lua_settop(L, RESULTS);
    return 1;
}

static int run_k(lua_State *L, int resumed, lua_KContext context) {
    gr_script *script = gr_script_get(L);
    group *g = lua_touserdata(L, GROUP);
    (void)resumed;
    lua_settop(L, RESULTS);
    for (;;) {
        bool worked;
        run_all(L, script, g);
        if (!g->running && g->started == g->count)
            return finish(L, g);
        if (gr_script_may_yield(L))
            return lua_yieldk(L, 0, context, run_k);
        gr_script_step(L, g->name, &worked);
    }
}

// Work and function stand at 1 and 2; the options are above.
static int run(lua_State *L, const char *name, uint64_t most, bool collect) {
    lua_settop(L, FUNCTION);
    lua_Integer count = (lua_Integer)lua_rawlen(L, WORK);
    if (count > 1000000)
        return luaL_error(L, "%s: expected at most 1000000 elements, got %I", name, count);
    luaL_checkstack(L, LUA_MINSTACK, name);
    push_group(L, name, count, most && most < (uint64_t)count ? (lua_Integer)most : count, collect);
    lua_toclose(L, GROUP);
    lua_createtable(L, (int)count, 2);
    lua_pushinteger(L, count);
    lua_setfield(L, RESULTS, "n");
    return run_k(L, LUA_OK, 0);
}

static bool collects(const gr_args *args) {
    const char *errors = gr_args_text(args, "errors", "raise");
    if (strcmp(errors, "raise") && strcmp(errors, "collect"))
        luaL_error(args->L, "%s: errors: expected raise or collect, got '%s'", args->function, errors);
    return strcmp(errors, "collect") == 0;
}

int gr_lua_parallel(lua_State *L) {
    static const char name[] = "gregale.parallel";
    static const char *const known[] = {"errors", NULL};
    lua_settop(L, 1);
    if (lua_type(L, WORK) != LUA_TTABLE)
        return gr_arg_fail(L, name, "branches", "a list of functions", 1);
    gr_args args = gr_args_open(L, 1, name, known);
    bool collect = collects(&args);
    lua_settop(L, 1);
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, WORK); i > 0; i--, lua_pop(L, 1))
        if (lua_rawgeti(L, WORK, i) != LUA_TFUNCTION) // before any has begun
            gr_arg_fail(L, name, "branches", "a list of functions", -1);
    return run(L, name, 0, collect);
}

int gr_lua_map(lua_State *L) {
    static const char name[] = "gregale.map";
    static const char *const known[] = {"concurrency", "errors", NULL};
    lua_settop(L, 3);
    if (lua_type(L, WORK) != LUA_TTABLE)
        return gr_arg_fail(L, name, "list", "a list", 1);
    if (lua_type(L, FUNCTION) != LUA_TFUNCTION)
        return gr_arg_fail(L, name, "f", "a function", 2);
    gr_args args = gr_args_open(L, 3, name, known);
    uint64_t most = gr_args_whole(&args, "concurrency", 64, 1, 1000000);
    return run(L, name, most, collects(&args));
}
