// SPDX-License-Identifier: Apache-2.0
// library.c: the modules of scripts/lib, compiled in, so that they are found wherever the program lies and are always
// its own version's: require "gregale.NAME" loads scripts/lib/NAME.lua.
#include <string.h>

#include "base/embedded.h"
#include "script/internal.h"

extern const gr_embedded gr_embedded_library[];

static int load_module(lua_State *L) {
    const gr_embedded *file = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 1); // the module's name
    const char *chunk = lua_pushfstring(L, "@gregale/%s", file->name);
    if (luaL_loadbufferx(L, (const char *)file->data, file->size, chunk, "t") != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

void gr_script_add_library(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const gr_embedded *file = gr_embedded_library; file->name; file++) {
        lua_pushliteral(L, "gregale.");
        lua_pushlstring(L, file->name, strlen(file->name) - strlen(".lua"));
        lua_concat(L, 2);
        lua_pushlightuserdata(L, (void *)(uintptr_t)file);
        lua_pushcclosure(L, load_module, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}
