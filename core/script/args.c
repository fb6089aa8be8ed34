// SPDX-License-Identifier: Apache-2.0
// args.c: arguments and options from Lua. Options are read raw, so that reading them runs no script
// code.
#include <math.h>
#include <string.h>

#include "script/internal.h"

// Pushes a short description of the value: its type, and the value where that helps.
static void describe(lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TNONE: lua_pushliteral(L, "nothing"); return;
    case LUA_TNUMBER:
        lua_pushvalue(L, index);
        lua_pushfstring(L, "number %s", lua_tostring(L, -1));
        lua_remove(L, -2);
        return;
    case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false"); return;
    case LUA_TSTRING: {
        size_t size;
        const char *text = lua_tolstring(L, index, &size);
        size_t shown = size < 40 ? size : 40;
        while (shown && shown < size && ((unsigned char)text[shown] & 0xC0) == 0x80)
            shown--; // not in the middle of a character
        lua_pushlstring(L, text, shown);
        lua_pushfstring(L, "string \"%s\"%s", lua_tostring(L, -1), size > 40 ? "..." : "");
        lua_remove(L, -2);
        return;
    }
    default:
        if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
            return;
        lua_pushstring(L, luaL_typename(L, index));
    }
}

int gr_arg_fail(lua_State *L, const char *function, const char *argument, const char *expected,
                int index) {
    luaL_checkstack(L, 6, function);
    describe(L, lua_absindex(L, index));
    return luaL_error(L, "%s: %s: expected %s, got %s", function, argument, expected,
                      lua_tostring(L, -1));
}

static bool is_known(const char *key, const char *const *known) {
    for (; *known; known++)
        if (strcmp(key, *known) == 0)
            return true;
    return false;
}

static int unknown_option(lua_State *L, const char *function, const char *const *known) {
    luaL_Buffer list;
    const char *key = lua_tostring(L, -2);
    luaL_buffinit(L, &list);
    for (const char *const *name = known; *name; name++) {
        luaL_addstring(&list, name == known ? "" : ", ");
        luaL_addstring(&list, *name);
    }
    luaL_pushresult(&list);
    return luaL_error(L, "%s: unknown option \"%s\", expected one of: %s", function, key,
                      lua_tostring(L, -1));
}

gr_args gr_args_open(lua_State *L, int index, const char *function, const char *const *known) {
    gr_args args = {.L = L, .function = function};
    if (lua_isnoneornil(L, index))
        return args;
    if (lua_type(L, index) != LUA_TTABLE)
        gr_arg_fail(L, function, "options", "a table", index);
    args.table = lua_absindex(L, index);
    luaL_checkstack(L, 8, function);
    for (lua_pushnil(L); lua_next(L, args.table); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING && !is_known(lua_tostring(L, -2), known))
            unknown_option(L, function, known);
    return args;
}

bool gr_args_push(const gr_args *args, const char *name) {
    if (!args->table)
        return false;
    lua_pushstring(args->L, name);
    if (lua_rawget(args->L, args->table) != LUA_TNIL)
        return true;
    lua_pop(args->L, 1);
    return false;
}

uint64_t gr_arg_whole(lua_State *L, int index, const char *function, const char *argument,
                      uint64_t low, uint64_t high) {
    int exact;
    lua_Integer value =
        lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &exact) : (exact = 0);
    if (!exact || value < 0 || (uint64_t)value < low || (uint64_t)value > high) {
        const char *expected =
            lua_pushfstring(L, "a whole number from %I to %I", (lua_Integer)low, (lua_Integer)high);
        gr_arg_fail(L, function, argument, expected, index < 0 ? index - 1 : index);
    }
    return (uint64_t)value;
}

uint64_t gr_args_whole(const gr_args *args, const char *name, uint64_t fallback, uint64_t low,
                       uint64_t high) {
    if (!gr_args_push(args, name))
        return fallback;
    uint64_t value = gr_arg_whole(args->L, -1, args->function, name, low, high);
    lua_pop(args->L, 1);
    return value;
}

double gr_args_number(const gr_args *args, const char *name, double fallback, double low,
                      double high) {
    lua_State *L = args->L;
    if (!gr_args_push(args, name))
        return fallback;
    double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : (double)NAN;
    if (!(value >= low && value <= high)) {
        const char *expected = lua_pushfstring(L, "a number from %f to %f", low, high);
        gr_arg_fail(L, args->function, name, expected, -2);
    }
    lua_pop(L, 1);
    return value;
}

bool gr_args_flag(const gr_args *args, const char *name, bool fallback) {
    if (!gr_args_push(args, name))
        return fallback;
    if (!lua_isboolean(args->L, -1))
        gr_arg_fail(args->L, args->function, name, "true or false", -1);
    bool value = lua_toboolean(args->L, -1);
    lua_pop(args->L, 1);
    return value;
}

const char *gr_arg_name(lua_State *L, int index, const char *function, const char *argument) {
    size_t size;
    const char *text = gr_arg_text(L, index, function, argument, &size);
    if (strlen(text) != size)
        gr_arg_fail(L, function, argument, "text without NUL", index);
    return text;
}

const char *gr_args_text(const gr_args *args, const char *name, const char *fallback) {
    if (!gr_args_push(args, name))
        return fallback;
    const char *text = gr_arg_name(args->L, -1, args->function, name);
    lua_pop(args->L, 1); // the table keeps it
    return text;
}

const char *gr_arg_text(lua_State *L, int index, const char *function, const char *argument,
                        size_t *out_bytes) {
    if (lua_type(L, index) != LUA_TSTRING)
        gr_arg_fail(L, function, argument, "a string", index);
    return lua_tolstring(L, index, out_bytes);
}

int32_t *gr_arg_tokens(lua_State *L, int index, const char *function, const char *argument,
                       size_t *out_count) {
    if (lua_type(L, index) != LUA_TTABLE)
        gr_arg_fail(L, function, argument, "a list of tokens", index);
    index = lua_absindex(L, index);
    lua_Unsigned count = lua_rawlen(L, index);
    if (count > INT32_MAX / 4)
        luaL_error(L, "%s: %s: expected a list of tokens, got one of %I entries", function,
                   argument, (lua_Integer)count);
    int32_t *tokens = lua_newuserdatauv(L, (size_t)count * sizeof *tokens + 1, 0);
    for (lua_Unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        tokens[i] = (int32_t)gr_arg_whole(L, -1, function, argument, 0, INT32_MAX);
        lua_pop(L, 1);
    }
    *out_count = (size_t)count;
    return tokens;
}
