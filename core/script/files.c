// SPDX-License-Identifier: Apache-2.0
// files.c: the files of a sandboxed script: an io that opens what is granted, and a require that finds the project's
// modules and those in granted folders.
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

#include "script/internal.h"

const char *gr_script_path(lua_State *L, const char *function, const char *path, bool write) {
    gr_sandbox *sandbox = gr_script_get(L)->sandbox;
    char real[PATH_MAX];
    gr_error error;
    gr_error_init(&error);
    if (sandbox && gr_sandbox_path(sandbox, path, write, real, sizeof real, &error) != GR_OK)
        gr_raise(L, function, &error);
    return lua_pushstring(L, sandbox ? real : path);
}

// ---- io

// The flags of open for a mode of fopen; -1: it is none.
static int flags_of(const char *mode) {
    bool update = mode[0] && strchr(mode + 1, '+');
    if (!mode[0] || !strchr("rwa", mode[0]) || mode[1 + strspn(mode + 1, "+b")] || strlen(mode) > 3)
        return -1;
    int flags = mode[0] == 'r' ? 0 : O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
    return flags | (update ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY);
}

static int close_file(lua_State *L) {
    luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    return luaL_fileresult(L, fclose(stream->f) == 0, NULL);
}

static int fail_softly(lua_State *L, const gr_error *error) {
    lua_pushnil(L);
    lua_pushstring(L, error->message);
    return 2;
}

// io.open(path [, mode]), with Lua's own file handles
static int open_file(lua_State *L) {
    size_t size;
    const char *path = gr_arg_text(L, 1, "io.open", "path", &size), *mode = luaL_optstring(L, 2, "r");
    int flags = flags_of(mode), file;
    gr_error error;
    gr_error_init(&error);
    if (strlen(path) != size)
        gr_arg_fail(L, "io.open", "path", "text without NUL", 1);
    if (flags < 0)
        return gr_arg_fail(L, "io.open", "mode", "r, w or a, perhaps with + and b", 2);
    luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
    *stream = (luaL_Stream){0}; // closed
    luaL_setmetatable(L, LUA_FILEHANDLE);
    if (gr_sandbox_file(gr_script_get(L)->sandbox, path, flags, &file, &error) != GR_OK)
        return fail_softly(L, &error);
    stream->f = fdopen(file, mode);
    if (!stream->f) {
        close(file);
        return luaL_fileresult(L, 0, path);
    }
    stream->closef = close_file;
    return 1;
}

// io.write(...): to standard output
static int write_out(lua_State *L) {
    int count = lua_gettop(L);
    for (int i = 1; i <= count; i++) {
        size_t size;
        const char *text = luaL_checklstring(L, i, &size);
        if (fwrite(text, 1, size, stdout) != size)
            return luaL_fileresult(L, 0, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

// ---- require

static bool is_module_name(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    return *name && *name != '.' && !name[strspn(name, letters)] && !strstr(name, "..");
}

// The name of a granted module file, on the stack; NULL: there is none.
static const char *find_module(lua_State *L, const char *name) {
    static const char *const ends[] = {".lua", "/init.lua"};
    gr_sandbox *sandbox = gr_script_get(L)->sandbox;
    const char *part = luaL_gsub(L, name, ".", "/");
    char real[PATH_MAX];
    for (uint32_t i = 0; i < 2 * sandbox->grant_count; i++) {
        if (sandbox->grants[i / 2].only)
            continue;
        const char *path = lua_pushfstring(L, "%s/%s%s", sandbox->grants[i / 2].real, part, ends[i % 2]);
        if (gr_sandbox_path(sandbox, path, false, real, sizeof real, NULL) == GR_OK)
            return lua_pushstring(L, real);
        lua_pop(L, 1);
    }
    return NULL;
}

// Pushes the module's loader and where it comes from; raises when there is none.
static void push_loader(lua_State *L, const char *name) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE); // what the project brings
    if (lua_getfield(L, -1, name) != LUA_TNIL) {
        lua_pushliteral(L, ":preload:");
        return;
    }
    const char *path = is_module_name(name) ? find_module(L, name) : NULL;
    if (!path)
        luaL_error(L, "require: no module '%s' in the project or the folders that --allow names", name);
    if (luaL_loadfilex(L, path, "t") != LUA_OK)
        lua_error(L);
    lua_pushstring(L, path);
}

static int require_module(lua_State *L) {
    const char *name = gr_arg_name(L, 1, "require", "name");
    lua_settop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, 2, name) != LUA_TNIL)
        return 1;
    push_loader(L, name);
    lua_pushstring(L, name);
    lua_insert(L, -2);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1))
        lua_pushboolean(L, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

void gr_files_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"open", open_file}, {"write", write_out}, {NULL, NULL}};
    lua_pushcfunction(L, luaopen_io); // for the methods of its files; the library itself is dropped
    lua_call(L, 0, 0);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, functions);
    lua_setglobal(L, "io");
    lua_register(L, "require", require_module);
    lua_settop(L, 0);
}
