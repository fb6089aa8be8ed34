// SPDX-License-Identifier: Apache-2.0
// json_read.c: gregale.from_json(text): JSON as a Lua value. null is gregale.null; of members that bear one name the
// last counts; objects and lists are both tables, and a metatable tells an empty list.
#include <jansson.h>

#include "script/internal.h"

// The document hangs on a box, so that it is freed also when pushing raises.
static int free_document(lua_State *L) {
    json_t **document = lua_touserdata(L, 1);
    json_decref(*document);
    *document = NULL;
    return 0;
}

static json_t **push_box(lua_State *L) {
    json_t **box = lua_newuserdatauv(L, sizeof(json_t *), 0);
    *box = NULL;
    if (luaL_newmetatable(L, "gregale.json")) {
        lua_pushcfunction(L, free_document);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return box;
}

static void push_value(lua_State *L, json_t *value);

static void push_object(lua_State *L, json_t *object) {
    const char *key; // without NUL
    json_t *member;
    lua_createtable(L, 0, (int)json_object_size(object));
    json_object_foreach(object, key, member) {
        lua_pushstring(L, key);
        push_value(L, member);
        lua_rawset(L, -3);
    }
}

static void push_list(lua_State *L, const json_t *list) {
    lua_createtable(L, (int)json_array_size(list), 0);
    for (size_t i = 0; i < json_array_size(list); i++) {
        push_value(L, json_array_get(list, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    if (!json_array_size(list)) {
        if (luaL_newmetatable(L, GR_LUA_EMPTY_LIST)) {
            lua_pushliteral(L, "gregale");
            lua_setfield(L, -2, "__metatable"); // else a sandboxed script could give it a finalizer
        }
        lua_setmetatable(L, -2);
    }
}

// The parser nests at most 2048 deep.
static void push_value(lua_State *L, json_t *value) {
    luaL_checkstack(L, 8, "gregale.from_json");
    switch (json_typeof(value)) {
    case JSON_OBJECT: push_object(L, value); return;
    case JSON_ARRAY: push_list(L, value); return;
    case JSON_STRING: lua_pushlstring(L, json_string_value(value), json_string_length(value)); return;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(value)); return;
    case JSON_REAL: lua_pushnumber(L, json_real_value(value)); return;
    case JSON_TRUE: lua_pushboolean(L, 1); return;
    case JSON_FALSE: lua_pushboolean(L, 0); return;
    case JSON_NULL: break;
    }
    lua_pushlightuserdata(L, NULL);
}

// gregale.from_json(text) -> value, or nil and what is wrong where
int gr_lua_from_json(lua_State *L) {
    size_t size;
    json_error_t error;
    const char *text = gr_arg_text(L, 1, "gregale.from_json", "text", &size);
    json_t **box = push_box(L);
    *box = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (*box) {
        push_value(L, *box);
        json_decref(*box);
        *box = NULL;
        return 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "line %d, column %d: %s", error.line, error.column, error.text);
    return 2;
}
