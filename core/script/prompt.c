// SPDX-License-Identifier: Apache-2.0
// prompt.c: what a Lua prompt needs of the state: to run what was typed, and to complete it.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

// ---- Running

typedef struct prompt_job {
    const char *text;
    size_t bytes;
    bool incomplete;
} prompt_job;

// Whether the message at the top is of a text that only lacks its end.
static bool lacks_end(lua_State *L) {
    static const char mark[] = "<eof>";
    size_t size;
    const char *message = lua_tolstring(L, -1, &size);
    return message && size >= sizeof mark - 1 && strcmp(message + size - (sizeof mark - 1), mark) == 0;
}

// Pushes the text as a function: an expression whose values are returned, else statements. Raises.
static void compile(lua_State *L, prompt_job *job) {
    const char *text = job->text;
    size_t bytes = job->bytes;
    if (bytes && *text == '=') {
        text++;
        bytes--;
    }
    lua_pushliteral(L, "return ");
    lua_pushlstring(L, text, bytes);
    lua_concat(L, 2);
    const char *expression = lua_tostring(L, -1);
    if (luaL_loadbufferx(L, expression, lua_rawlen(L, -1), "=prompt", "t") == LUA_OK)
        return;
    job->incomplete = lacks_end(L);
    if (text == job->text && luaL_loadbufferx(L, text, bytes, "=prompt", "t") == LUA_OK)
        job->incomplete = false;
    else {
        job->incomplete = job->incomplete || lacks_end(L);
        lua_error(L);
    }
}

static int run_prompt(lua_State *L) {
    prompt_job *job = lua_touserdata(L, 1);
    compile(L, job);
    int top = lua_gettop(L);
    lua_call(L, 0, LUA_MULTRET);
    int count = lua_gettop(L) - top + 1;
    if (!count)
        return 0;
    luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
    lua_getglobal(L, "print");
    lua_insert(L, top);
    lua_call(L, count, 0);
    return 0;
}

gr_status gr_script_prompt(lua_State *L, const char *text, size_t bytes, bool *out_incomplete, char **out_message) {
    prompt_job job = {text, bytes, false};
    *out_message = NULL;
    gr_script_get(L)->interrupted = 0; // what came too late for the text before
    lua_pushcfunction(L, run_prompt);
    lua_pushlightuserdata(L, &job);
    gr_status status = gr_script_protected(L, out_message);
    *out_incomplete = job.incomplete;
    if (job.incomplete) {
        free(*out_message);
        *out_message = NULL;
    }
    return status;
}

// ---- Completing

typedef struct complete_job {
    const char *text;
    size_t bytes;
    size_t word;  // bytes at the end of the text that are completed
    char *names;  // one a line
} complete_job;

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

// Replaces the value at the top by a table of the names it has, or nil: its fields, its methods, a string's. Runs no
// code of the script's.
static void to_names(lua_State *L) {
    int value = lua_gettop(L);
    if (lua_istable(L, value))
        return;
    if (!lua_getmetatable(L, value)) {
        lua_pushnil(L);
    } else {
        lua_pushliteral(L, "methods");
        if (lua_rawget(L, -2) != LUA_TTABLE) {
            lua_pushliteral(L, "__index");
            lua_rawget(L, -3);
        }
    }
    if (!lua_istable(L, -1))
        lua_pushnil(L);
    lua_replace(L, value);
    lua_settop(L, value);
}

// Pushes the table of names behind `a.b:c`, whose last part begins at `word`; nil when there is none. One value is on
// the stack at a time, however many parts there are.
static void push_owner(lua_State *L, const char *path, const char *word) {
    lua_pushglobaltable(L);
    while (path < word) {
        size_t size = 0;
        while (is_word(path[size]))
            size++;
        to_names(L);
        if (!lua_istable(L, -1))
            return;
        lua_pushlstring(L, path, size);
        lua_rawget(L, -2);
        lua_remove(L, -2);
        path += size + 1;
    }
    to_names(L);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Pushes the names in the table at the top that begin with the word, sorted, one a line.
static void push_matching(lua_State *L, const char *word, size_t size, bool method) {
    int table = lua_gettop(L), count = 0, capacity = 0;
    luaL_Buffer text;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        capacity++;
    const char **names = lua_newuserdatauv(L, (size_t)capacity * sizeof *names + 1, 0);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || (method && !lua_isfunction(L, -1)))
            continue;
        const char *name = lua_tostring(L, -2); // the table keeps it
        size_t length = strlen(name), at = 0;
        while (at < length && is_word(name[at]))
            at++;
        if (length && at == length && strncmp(name, word, size) == 0)
            names[count++] = name;
    }
    qsort(names, (size_t)count, sizeof *names, by_name);
    luaL_buffinit(L, &text);
    for (int i = 0; i < count; i++) {
        luaL_addstring(&text, names[i]);
        luaL_addchar(&text, '\n');
    }
    luaL_pushresult(&text);
}

static int complete(lua_State *L) {
    complete_job *job = lua_touserdata(L, 1);
    const char *end = job->text + job->bytes, *word = end, *path;
    while (word > job->text && is_word(word[-1]))
        word--;
    for (path = word; path > job->text && (is_word(path[-1]) || path[-1] == '.' || path[-1] == ':');)
        path--;
    bool method = word > path && word[-1] == ':';
    job->word = (size_t)(end - word);
    push_owner(L, path, word);
    if (lua_istable(L, -1)) {
        push_matching(L, word, job->word, method);
        job->names = strdup(lua_tostring(L, -1));
    }
    return 0;
}

char *gr_script_complete(lua_State *L, const char *text, size_t bytes, size_t *out_word) {
    complete_job job = {.text = text, .bytes = bytes};
    int top = lua_gettop(L);
    lua_pushcfunction(L, complete);
    lua_pushlightuserdata(L, &job);
    lua_pcall(L, 1, 0, 0);
    lua_settop(L, top);
    *out_word = job.word;
    return job.names;
}
