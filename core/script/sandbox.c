// SPDX-License-Identifier: Apache-2.0
// sandbox.c: the Lua state of a sandboxed script: its memory, and the libraries it gets.
//
// What is left out or changed, and why: io, os, debug and package reach the system or the interpreter's inside;
// bytecode is not verified; finalizers (__gc) run with hooks off, so does a message handler when the budget is spent;
// metatables of strings and files are shared.
#include <stdlib.h>
#include <string.h>

#include <lualib.h>

#include "script/internal.h"

// ---- Memory

static void *allocate(void *context, void *block, size_t old_bytes, size_t bytes) {
    gr_sandbox *sandbox = context;
    size_t before = block ? old_bytes : 0; // else it is the kind of object
    if (!bytes) {
        sandbox->memory_used -= before;
        free(block);
        return NULL;
    }
    uint64_t after = sandbox->memory_used - before + bytes;
    if (bytes > before && after > sandbox->memory)
        return NULL;
    void *moved = realloc(block, bytes);
    if (moved)
        sandbox->memory_used = after;
    return moved;
}

// ---- Functions in place of Lua's, which are their first upvalue

static int call_original(lua_State *L) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int load_text(lua_State *L) {
    if (lua_gettop(L) < 3)
        lua_settop(L, 3);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    return call_original(L);
}

static int set_metatable(lua_State *L) {
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "setmetatable: a sandboxed script has no finalizers (__gc)");
        lua_pop(L, 1);
    }
    return call_original(L);
}

static int collect_garbage(lua_State *L) {
    static const char *const options[] = {"collect", "count", NULL};
    luaL_checkoption(L, 1, "collect", options);
    lua_settop(L, 1);
    return call_original(L);
}

static int make_coroutine(lua_State *L) {
    gr_budget_charge_coroutine(L);
    return call_original(L);
}

static int handle_message(lua_State *L) {
    if (gr_budget_spent(gr_script_get(L)))
        return 1; // it came from the hook, and no hook would watch the handler
    return call_original(L);
}

static int return_all(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    return lua_gettop(L);
}

static int protected_call(lua_State *L) {
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle_message, 1);
    lua_replace(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, return_all);
    return lua_gettop(L);
}

// ---- The libraries

// Puts `function` in place of table[name], with that as its upvalue. The table is on top of the stack.
static void replace(lua_State *L, const char *name, lua_CFunction function) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void drop(lua_State *L, const char *name) {
    lua_pushnil(L);
    lua_setfield(L, -2, name);
}

static void open_libraries(lua_State *L) {
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},     {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
        {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},    {LUA_UTF8LIBNAME, luaopen_utf8},
        {NULL, NULL}};
    for (const luaL_Reg *library = libraries; library->name; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
    lua_pushglobaltable(L);
    drop(L, "dofile");
    drop(L, "loadfile");
    replace(L, "load", load_text);
    replace(L, "setmetatable", set_metatable);
    replace(L, "collectgarbage", collect_garbage);
    replace(L, "xpcall", protected_call);
    lua_getfield(L, -1, LUA_COLIBNAME);
    replace(L, "create", make_coroutine);
    replace(L, "wrap", make_coroutine);
    lua_getfield(L, -2, LUA_STRLIBNAME);
    drop(L, "dump");
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_settop(L, 0);
}

static int open_protected(lua_State *L) {
    gr_sandbox *sandbox = lua_touserdata(L, 1);
    gr_script **out_script = lua_touserdata(L, 2);
    lua_settop(L, 0);
    open_libraries(L);
    gr_script *script = gr_script_open(L);
    script->sandbox = sandbox;
    script->instructions = sandbox->instructions;
    gr_files_open(L);
    gr_budget_rest(L);
    if (out_script)
        *out_script = script;
    return 0;
}

gr_status gr_sandbox_open(gr_sandbox *sandbox, lua_State **out_state, gr_script **out_script, gr_error *error) {
    *out_state = NULL;
    sandbox->memory_used = 0;
    sandbox->spent = sandbox->refused = false;
    lua_State *L = lua_newstate(allocate, sandbox);
    if (L) {
        lua_pushcfunction(L, open_protected);
        lua_pushlightuserdata(L, sandbox);
        lua_pushlightuserdata(L, (void *)out_script);
    }
    if (!L || lua_pcall(L, 2, 0, 0) != LUA_OK) {
        gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sandbox", "cannot start Lua in %llu bytes: %s",
                (unsigned long long)sandbox->memory, L ? lua_tostring(L, -1) : "not enough memory");
        if (L)
            lua_close(L);
        return GR_ERROR_OUT_OF_MEMORY;
    }
    *out_state = L;
    return GR_OK;
}
