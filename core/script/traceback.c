// SPDX-License-Identifier: Apache-2.0
// traceback.c: tracebacks that point into the script: an error that a branch of gregale.parallel raised brings the branch's
// calls, too, which are gone by the time it reaches whoever prints it.
#include <string.h>

#include "script/internal.h"

static const char error_key, frames_key; // of what branches raised last, in the registry

#define HEADER "stack traceback:"

// Pushes the calls that belong to the error at `index`, a string; returns false, having pushed nothing, when they are
// not known.
static bool push_kept(lua_State *L, int index) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
    bool same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    if (same)
        lua_rawgetp(L, LUA_REGISTRYINDEX, &frames_key);
    return same;
}

// Pushes the calls of `from`, without the header, behind those that are known.
static void push_frames(lua_State *L, lua_State *from, int level, int error) {
    bool kept = lua_type(L, error) == LUA_TSTRING && push_kept(L, error);
    luaL_traceback(L, from, NULL, level);
    const char *all = lua_tostring(L, -1);
    lua_pushstring(L, all + strlen(HEADER)); // the text of no calls is the header alone
    lua_remove(L, -2);
    if (kept) {
        lua_pushliteral(L, "\n\t(a branch; it was run by)");
        lua_insert(L, -2);
        lua_concat(L, 3);
    }
}

void gr_traceback_push(lua_State *L, lua_State *branch) {
    if (lua_type(L, -1) == LUA_TSTRING)
        push_frames(L, branch, 0, lua_gettop(L));
    else
        lua_pushnil(L); // a script's own value would be kept alive for it
}

void gr_traceback_keep(lua_State *L) {
    lua_rawsetp(L, LUA_REGISTRYINDEX, &frames_key);
    if (lua_type(L, -1) == LUA_TSTRING)
        lua_pushvalue(L, -1);
    else
        lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
}

int gr_traceback_add(lua_State *L) {
    const char *message = lua_tostring(L, 1);
    if (!message && luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
        message = lua_tostring(L, -1);
    if (!message)
        message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    lua_pushfstring(L, "%s\n" HEADER, message);
    push_frames(L, L, 1, 1);
    lua_concat(L, 2);
    return 1;
}
