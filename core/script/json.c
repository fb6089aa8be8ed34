// SPDX-License-Identifier: Apache-2.0
// json.c: a Lua value as JSON text, for schemas. A table's order is not its writer's, and the order of properties
// is that of the answer: so members come sorted, but those of `properties` that the schema requires come first, in
// the order of `required`, and so does `type`, as in the definitions of tools that models were trained on. An empty
// table is an object, except under keywords that take a list.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/internal.h"

enum { DEPTH_MAX = 100 };

typedef struct writer {
    lua_State *L;
    const char *function, *argument;
    int parts; // index of a list of strings
    lua_Integer count;
} writer;

typedef struct member {
    const char *key;
    size_t size;
    lua_Integer rank; // in `required`; the others behind
} member;

static void add(writer *w, const char *text) {
    lua_pushstring(w->L, text);
    lua_rawseti(w->L, w->parts, ++w->count);
}

// Writes the character, whose UTF-8 `bytes` are, as inside a JSON string; returns its end.
static char *put_character(char *at, uint32_t character, const char *bytes, size_t length) {
    static const char letters[] = "\b\f\n\r\t";
    const char *letter = character && character < ' ' ? strchr(letters, (int)character) : NULL;
    if (letter) {
        *at++ = '\\';
        *at++ = "bfnrt"[letter - letters];
        return at;
    }
    if (character < ' ')
        return at + sprintf(at, "\\u%04x", (unsigned)character);
    if (character == '"' || character == '\\')
        *at++ = '\\';
    memcpy(at, bytes, length);
    return at + length;
}

// U+FFFD stands for each byte that is no UTF-8. Every byte takes at most six, as in \\u001f; the memory is Lua's, so
// nothing leaks when it raises.
static void add_text(writer *w, const char *text, size_t size) {
    static const char no_text[] = "\xEF\xBF\xBD";
    char *json = lua_newuserdatauv(w->L, size * 6 + 3, 0), *at = json;
    *at++ = '"';
    for (size_t i = 0; i < size;) {
        uint32_t character;
        int length = gr_utf8_decode(text + i, size - i, &character);
        at = length > 0 ? put_character(at, character, text + i, (size_t)length)
                        : put_character(at, 0xFFFD, no_text, sizeof no_text - 1);
        i += length > 0 ? (size_t)length : 1;
    }
    *at++ = '"';
    *at = '\0';
    add(w, json);
    lua_pop(w->L, 1);
}

static bool takes_list(const char *key) {
    static const char *const keys[] = {"required", "enum",  "prefixItems", "anyOf", "oneOf",
                                       "allOf",    "type", "examples"};
    for (size_t i = 0; key && i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

// Whether gregale.from_json made it of an empty list.
static bool is_empty_list(lua_State *L, int index) {
    if (!lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, GR_LUA_EMPTY_LIST);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static int by_rank(const void *a, const void *b) {
    const member *x = a, *y = b;
    if (x->rank != y->rank)
        return (x->rank > y->rank) - (x->rank < y->rank);
    size_t common = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->key, y->key, common);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

// Where the key stands in the list at `required`; 0: no list.
static lua_Integer rank_of(lua_State *L, int required, int key) {
    lua_Integer count = required ? (lua_Integer)lua_rawlen(L, required) : 0, rank = 1;
    for (; rank <= count; rank++) {
        lua_rawgeti(L, required, rank);
        bool found = lua_rawequal(L, -1, key);
        lua_pop(L, 1);
        if (found)
            break;
    }
    return rank;
}

static void add_value(writer *w, int index, const char *key, int required, int depth);

static void add_list(writer *w, int index, lua_Integer count, int depth) {
    add(w, "[");
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1)
            add(w, ",");
        lua_rawgeti(w->L, index, i);
        add_value(w, lua_gettop(w->L), NULL, 0, depth);
        lua_pop(w->L, 1);
    }
    add(w, "]");
}

static void add_members(writer *w, int index, lua_Integer count, int order, int depth) {
    lua_State *L = w->L;
    member *members = lua_newuserdatauv(L, (size_t)count * sizeof *members + 1, 0);
    lua_Integer at = 0;
    lua_pushliteral(L, "required");
    lua_rawget(L, index);
    int required = lua_istable(L, -1) ? lua_gettop(L) : 0; // for the properties of this very schema
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s: %s: expected a list, or a table of named fields, got both", w->function, w->argument);
        member *one = &members[at++];
        one->key = lua_tolstring(L, -2, &one->size);
        bool type = !order && one->size == 4 && memcmp(one->key, "type", 4) == 0;
        one->rank = type ? 0 : rank_of(L, order, lua_gettop(L) - 1);
    }
    qsort(members, (size_t)count, sizeof *members, by_rank);
    add(w, "{");
    for (lua_Integer i = 0; i < count; i++) {
        if (i)
            add(w, ",");
        add_text(w, members[i].key, members[i].size);
        add(w, ":");
        lua_pushlstring(L, members[i].key, members[i].size);
        lua_rawget(L, index);
        bool properties = strcmp(members[i].key, "properties") == 0;
        add_value(w, lua_gettop(L), members[i].key, properties ? required : 0, depth);
        lua_pop(L, 1);
    }
    add(w, "}");
    lua_pop(L, 2);
}

static void add_table(writer *w, int index, const char *key, int required, int depth) {
    lua_State *L = w->L;
    lua_Integer count = 0, length = (lua_Integer)lua_rawlen(L, index);
    luaL_checkstack(L, 12, w->function);
    if (depth > DEPTH_MAX)
        luaL_error(L, "%s: %s: tables nested more than %d deep", w->function, w->argument, DEPTH_MAX);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        count++;
    if (length && length == count)
        add_list(w, index, length, depth + 1);
    else if (!count && (takes_list(key) || is_empty_list(L, index)))
        add(w, "[]");
    else
        add_members(w, index, count, required, depth + 1);
}

static void add_number(writer *w, int index) {
    char text[40];
    double number = lua_tonumber(w->L, index);
    if (!isfinite(number))
        luaL_error(w->L, "%s: %s: expected numbers that JSON has, got %f", w->function, w->argument, number);
    snprintf(text, sizeof text, LUA_INTEGER_FMT, (LUAI_UACINT)lua_tointeger(w->L, index));
    for (int precision = 15; !lua_isinteger(w->L, index) && precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, number);
        if (strtod(text, NULL) == number)
            break;
    }
    add(w, text);
}

static void add_value(writer *w, int index, const char *key, int required, int depth) {
    lua_State *L = w->L;
    size_t size;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: add(w, lua_toboolean(L, index) ? "true" : "false"); return;
    case LUA_TNUMBER: add_number(w, index); return;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &size);
        add_text(w, text, size);
        return;
    }
    case LUA_TTABLE: add_table(w, index, key, required, depth); return;
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, index)) {
            add(w, "null");
            return;
        }
        break;
    default: break;
    }
    gr_arg_fail(L, w->function, w->argument, "values that JSON has (gregale.null for null)", index);
}

void gr_json_push(lua_State *L, int index, const char *function, const char *argument) {
    luaL_Buffer text;
    index = lua_absindex(L, index);
    lua_newtable(L);
    writer w = {.L = L, .function = function, .argument = argument, .parts = lua_gettop(L)};
    add_value(&w, index, NULL, 0, 0);
    luaL_buffinit(L, &text);
    for (lua_Integer i = 1; i <= w.count; i++) {
        lua_rawgeti(L, w.parts, i);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    lua_remove(L, w.parts);
}
