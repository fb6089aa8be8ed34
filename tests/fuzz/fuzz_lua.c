// SPDX-License-Identifier: Apache-2.0
// fuzz_lua.c: bytes become calls into the Lua binding, by fuzz_lua.lua. With the reference backend
// built, on the smallest of the golden models; without, on the module alone.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "script/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FOLDER GREGALE_SOURCE_DIR "/tests/fuzz/"
#define MODEL GREGALE_SOURCE_DIR "/tests/golden/models/w8-gqa4.gguf"
#define BACKENDS GREGALE_BINARY_DIR "/backends"

static void stop(lua_State *L) {
    fprintf(stderr, "fuzz_lua: %s\n", lua_tostring(L, -1));
    abort();
}

// A Lua state whose stack holds the driver's function.
static lua_State *open_driver(void) {
    lua_State *L = luaL_newstate();
    if (!L)
        abort();
    setenv("GREGALE_PLUGIN_PATH", BACKENDS, 1);
    luaL_openlibs(L);
    gr_script_open(L);
    if (access(BACKENDS "/gregale-backend-ref.so", R_OK) == 0 && access(MODEL, R_OK) == 0) {
        lua_pushliteral(L, MODEL);
        lua_setglobal(L, "FUZZ_MODEL");
    }
    if (luaL_dofile(L, FOLDER "fuzz_lua.lua") != LUA_OK)
        stop(L);
    return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lua_State *L; // loading the model for every input would leave no time for inputs
    if (!L)
        L = open_driver();
    lua_pushvalue(L, 1);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        stop(L);
    return 0;
}
