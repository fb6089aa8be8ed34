// SPDX-License-Identifier: Apache-2.0
// generate.c: turns configs/models/*.lua into a C table, at build time, so that libgregale needs no
// Lua.
//
//     gregale-presets OUT.c PRESET.lua...
//
// Every key is checked by name and type, so that a slip in a preset stops the build in place of
// matching nothing for ever.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

static const char *const match_keys[] = {"layers",   "dim",         "ffn_dim", "heads",
                                         "kv_heads", "head_dim",    "vocab",   "rope_base",
                                         "names",    "derivatives", NULL};

static bool is_one_of(const char *key, const char *const *keys) {
    for (; *keys; keys++)
        if (strcmp(key, *keys) == 0)
            return true;
    return false;
}

// Raises unless every key of the table on top of the stack is one of `keys`.
static void check_keys(lua_State *lua, const char *where, const char *const *keys) {
    luaL_checktype(lua, -1, LUA_TTABLE);
    for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1))
        if (lua_type(lua, -2) != LUA_TSTRING || !is_one_of(lua_tostring(lua, -2), keys))
            luaL_error(lua, "%s: unknown key '%s'", where, luaL_tolstring(lua, -2, NULL));
}

// Field `key` of the table on top, a whole number from 1.
static lua_Integer whole_field(lua_State *lua, const char *key) {
    int is_whole;
    lua_getfield(lua, -1, key);
    lua_Integer value = lua_tointegerx(lua, -1, &is_whole);
    if (!is_whole || value < 1 || value > UINT32_MAX)
        luaL_error(lua, "%s: expected a whole number from 1", key);
    lua_pop(lua, 1);
    return value;
}

// The string on top, which goes into a C string as it is.
static const char *plain_string(lua_State *lua, const char *what, const char *allowed) {
    const char *text = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : NULL;
    if (!text || !*text || text[strspn(text, allowed)])
        luaL_error(lua, "%s: expected a string of [%s]", what, allowed);
    return text;
}

static void write_names(lua_State *lua, FILE *out, int index) {
    fprintf(out, "static const char *const names_%d[] = {", index);
    lua_getfield(lua, -1, "names");
    luaL_checktype(lua, -1, LUA_TTABLE);
    for (lua_Integer i = 1; lua_geti(lua, -1, i) != LUA_TNIL; i++, lua_pop(lua, 1))
        fprintf(out, "\"%s\", ",
                plain_string(lua, "names", "abcdefghijklmnopqrstuvwxyz0123456789-"));
    lua_pop(lua, 2);
    fprintf(out, "NULL};\n");
}

static void write_vocab(lua_State *lua, FILE *out) {
    lua_Integer bounds[2];
    lua_getfield(lua, -1, "vocab");
    luaL_checktype(lua, -1, LUA_TTABLE);
    for (int i = 0; i < 2; i++, lua_pop(lua, 1)) {
        lua_geti(lua, -1, i + 1);
        bounds[i] = luaL_checkinteger(lua, -1);
    }
    lua_pop(lua, 1);
    if (bounds[0] < 1 || bounds[1] < bounds[0])
        luaL_error(lua, "vocab: expected { lowest, highest }");
    fprintf(out, ".vocab_low = %lld, .vocab_high = %lld, ", (long long)bounds[0],
            (long long)bounds[1]);
}

static void write_match(lua_State *lua, FILE *out, int index) {
    static const char *const numbers[] = {"layers",   "dim",      "ffn_dim", "heads",
                                          "kv_heads", "head_dim", NULL};
    for (const char *const *key = numbers; *key; key++)
        fprintf(out, ".%s = %lld, ", *key, (long long)whole_field(lua, *key));
    write_vocab(lua, out);
    lua_getfield(lua, -1, "rope_base");
    fprintf(out, ".rope_base = %.17g, .names = names_%d, ", (double)luaL_checknumber(lua, -1),
            index);
    lua_getfield(lua, -2, "derivatives");
    fprintf(out, ".derivatives = %s, ", lua_toboolean(lua, -1) ? "true" : "false");
    lua_pop(lua, 2);
}

static long long restored_window(lua_State *lua) {
    static const char *const keys[] = {"sliding_window", NULL};
    long long window = -1;
    if (lua_getfield(lua, -1, "restore") != LUA_TNIL) {
        check_keys(lua, "restore", keys);
        window = whole_field(lua, "sliding_window");
    }
    lua_pop(lua, 1);
    return window;
}

// Called protected: writes the preset in file `path` as entry `index`, its parts to two streams.
static int write_preset(lua_State *lua) {
    static const char *const keys[] = {"name", "match", "restore", NULL};
    const char *path = lua_touserdata(lua, 1);
    FILE *names = lua_touserdata(lua, 2), *entries = lua_touserdata(lua, 3);
    int index = (int)lua_tointeger(lua, 4);
    if (luaL_loadfilex(lua, path, "t") != LUA_OK)
        return lua_error(lua);
    lua_call(lua, 0, 1);
    check_keys(lua, "preset", keys);
    lua_getfield(lua, -1, "name");
    fprintf(entries, "    {.name = \"%s\", ",
            plain_string(lua, "name",
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._ "));
    lua_pop(lua, 1);
    fprintf(entries, ".sliding_window = %lld, ", restored_window(lua));
    lua_getfield(lua, -1, "match");
    check_keys(lua, "match", match_keys);
    write_names(lua, names, index);
    write_match(lua, entries, index);
    fprintf(entries, "},\n");
    return 0;
}

static bool write_all(lua_State *lua, FILE *out, FILE *entries, int count, char **paths) {
    fprintf(out, "// Generated by configs/models/generate.c from configs/models/*.lua.\n"
                 "#include <stddef.h>\n#include \"model/preset.h\"\n");
    for (int i = 0; i < count; i++) {
        lua_pushcfunction(lua, write_preset);
        lua_pushlightuserdata(lua, paths[i]);
        lua_pushlightuserdata(lua, out);
        lua_pushlightuserdata(lua, entries);
        lua_pushinteger(lua, i);
        if (lua_pcall(lua, 4, 0, 0) != LUA_OK) {
            fprintf(stderr, "%s: %s\n", paths[i], lua_tostring(lua, -1));
            return false;
        }
    }
    fprintf(out, "const gr_preset gr_presets[] = {\n");
    rewind(entries);
    for (int c; (c = fgetc(entries)) != EOF;)
        fputc(c, out);
    fprintf(out, "};\nconst uint32_t gr_preset_count = %d;\n", count);
    return !ferror(out);
}

int main(int argc, char **argv) {
    lua_State *lua = luaL_newstate();
    FILE *entries = tmpfile(), *out = argc > 2 ? fopen(argv[1], "w") : NULL;
    bool good = lua && entries && out && write_all(lua, out, entries, argc - 2, argv + 2);
    if (argc < 3)
        fprintf(stderr, "usage: %s OUT.c PRESET.lua...\n", argv[0]);
    if (out && fclose(out) != 0)
        good = false;
    if (entries)
        fclose(entries);
    if (lua)
        lua_close(lua);
    if (!good && argc > 2)
        remove(argv[1]);
    return good ? 0 : 1;
}
