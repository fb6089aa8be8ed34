// SPDX-License-Identifier: Apache-2.0
// script.c: what the module keeps for one Lua state, and running a file in it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lualib.h>

#include "script/internal.h"

static const char state_key = 0, boxes_key = 0, interrupt_key = 0; // their addresses are registry keys

// ---- The state

static int collect_script(lua_State *L) {
    gr_script *script = lua_touserdata(L, 1);
    gr_error error;
    gr_error_init(&error);
    if (script->engine && script->trace_path &&
        gr_engine_trace_write(script->engine, script->trace_path, &error) != GR_OK &&
        script->options.log)
        script->options.log(script->options.log_context, GR_LOG_ERROR, error.message);
    gr_engine_release(script->engine);
    script->engine = NULL;
    free(script->trace_path);
    script->trace_path = NULL;
    gr_script_drop_events(script);
    return 0;
}

static void make_script(lua_State *L) {
    gr_script *script = lua_newuserdatauv(L, sizeof *script, 0);
    *script = (gr_script){.main = L,
                          .options = {.struct_size = sizeof script->options, .log_level = GR_LOG_WARN},
                          .instructions = UINT64_MAX,
                          .choose_instructions = UINT64_MAX};
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    script->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, collect_script);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &boxes_key);
}

gr_script *gr_script_open(lua_State *L) {
    luaL_checkstack(L, LUA_MINSTACK, "gregale");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    gr_script *script = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (script)
        return script;
    make_script(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_gregale);
    lua_setfield(L, -2, "gregale");
    lua_pop(L, 1);
    gr_script_add_library(L);
    return gr_script_get(L);
}

gr_script *gr_script_get(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    gr_script *script = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!script)
        luaL_error(L, "gregale: the module was not opened in this Lua state");
    return script;
}

void gr_script_set_log(gr_script *script,
                       void (*log)(void *context, gr_log_level level, const char *line),
                       void *context) {
    script->options.log = log;
    script->options.log_context = context;
}

gr_status gr_script_start(gr_script *script, gr_error *error) {
    if (script->engine)
        return GR_OK;
    script->options.device_event = gr_script_note_event;
    script->options.device_event_context = script;
    return gr_engine_create(&script->options, &script->engine, error);
}

gr_engine *gr_script_engine(lua_State *L, gr_script *script) {
    gr_error error;
    gr_error_init(&error);
    if (gr_script_start(script, &error) != GR_OK)
        gr_raise(L, "gregale", &error);
    return script->engine;
}

void gr_script_remember(lua_State *L, const void *key, int index) {
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_pushvalue(L, index);
    lua_rawsetp(L, -2, key);
    lua_pop(L, 1);
}

bool gr_script_recall(lua_State *L, const void *key) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    if (lua_rawgetp(L, -1, key) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return true;
    }
    lua_pop(L, 2);
    return false;
}

// ---- Interrupts

static void raise_interrupt(lua_State *L, lua_Debug *event) {
    (void)event;
    gr_budget_rest(L);
    gr_script_check_interrupt(L, gr_script_get(L));
}

static void stop_soon(lua_State *L) {
    lua_sethook(L, raise_interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

void gr_script_interrupt(gr_script *script) {
    lua_State *branch = script->branch;
    script->interrupted = 1;
    stop_soon(script->main);
    if (branch)
        stop_soon(branch);
}

void gr_script_check_interrupt(lua_State *L, gr_script *script) {
    if (!script->interrupted)
        return;
    script->interrupted = 0;
    script->interruptions++;
    gr_budget_rest(script->main);
    luaL_where(L, 1);
    lua_pushliteral(L, "interrupted");
    lua_concat(L, 2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &interrupt_key);
    lua_error(L);
}

bool gr_script_is_interrupt(lua_State *L, int index) {
    size_t size = 0, raised_size = 0;
    const char *message = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &size) : NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &interrupt_key);
    const char *raised = lua_tolstring(L, -1, &raised_size); // the registry keeps it
    lua_pop(L, 1);
    return message && raised && size >= raised_size && memcmp(message + size - raised_size, raised, raised_size) == 0;
}

int gr_lua_interrupted(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, gr_script_is_interrupt(L, 1));
    return 1;
}

bool gr_script_progress(void *context, double fraction, const char *what) {
    (void)fraction;
    (void)what;
    return !((gr_script *)context)->interrupted;
}

// ---- Running a file

static void push_arguments(lua_State *L, const char *path, int argc, char *const *argv) {
    lua_createtable(L, argc, 1);
    lua_pushstring(L, path);
    lua_rawseti(L, -2, 0);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setglobal(L, "arg");
}

typedef struct run_job {
    const char *path;
    int argc;
    char *const *argv;
} run_job;

static int run_protected(lua_State *L) {
    const run_job *job = lua_touserdata(L, 1);
    push_arguments(L, job->path, job->argc, job->argv);
    const char *mode = gr_script_get(L)->sandbox ? "t" : NULL; // no bytecode, which can do anything
    if (luaL_loadfilex(L, strcmp(job->path, "-") == 0 ? NULL : job->path, mode) != LUA_OK)
        return lua_error(L);
    luaL_checkstack(L, job->argc, "too many arguments");
    for (int i = 0; i < job->argc; i++)
        lua_pushstring(L, job->argv[i]);
    lua_call(L, job->argc, 0);
    return 0;
}

static int handle_error(lua_State *L) {
    gr_script_get(L)->cancelled = gr_script_is_interrupt(L, 1);
    return gr_traceback_add(L);
}

// Calls the function below its one argument.
gr_status gr_script_protected(lua_State *L, char **out_message) {
    gr_script *script = gr_script_get(L);
    const uint32_t interruptions = script->interruptions;
    script->cancelled = false;
    lua_pushcfunction(L, handle_error);
    lua_insert(L, -3);
    int failed = lua_pcall(L, 1, 0, -3);
    gr_status status = GR_OK;
    if (failed) {
        const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that cannot be told";
        bool cancelled = script->cancelled && script->interruptions != interruptions;
        status = failed == LUA_ERRMEM ? GR_ERROR_OUT_OF_MEMORY : cancelled ? GR_ERROR_CANCELLED : GR_ERROR_SCRIPT;
        if (out_message)
            *out_message = strdup(message);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return status;
}

gr_status gr_script_run(lua_State *L, const char *path, int argc, char *const *argv,
                        char **out_message) {
    run_job job = {path, argc, argv};
    if (out_message)
        *out_message = NULL;
    struct stat file;
    bool directory = stat(path, &file) == 0 && S_ISDIR(file.st_mode);
    if (strcmp(path, "-") != 0 && (directory || access(path, R_OK) != 0)) {
        char text[600];
        gr_status status = errno == ENOENT && !directory ? GR_ERROR_NOT_FOUND : GR_ERROR_PERMISSION;
        if (directory)
            errno = EISDIR;
        snprintf(text, sizeof text, "%.480s: cannot read the script: %s", path, strerror(errno));
        if (out_message)
            *out_message = strdup(text);
        return status;
    }
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &job);
    return gr_script_protected(L, out_message);
}
