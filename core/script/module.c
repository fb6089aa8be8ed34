// SPDX-License-Identifier: Apache-2.0
// module.c: the table that `require "gregale"` returns.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/os.h"
#include "script/internal.h"

#define FUNCTION "gregale.configure"
static int configure(lua_State *L) {
    static const char *const known[] = {"threads", "trace", "deterministic", "fusion", NULL};
    gr_script *script = gr_script_get(L);
    if (lua_type(L, 1) != LUA_TTABLE)
        gr_arg_fail(L, FUNCTION, "options", "a table", 1);
    gr_args args = gr_args_open(L, 1, FUNCTION, known);
    if (script->engine)
        return luaL_error(
            L,
            FUNCTION ": the engine is running already: configure before the first load or devices");
    uint32_t threads = (uint32_t)gr_args_whole(&args, "threads", script->options.threads, 0, 4096);
    bool deterministic = gr_args_flag(&args, "deterministic", script->options.deterministic);
    bool fusion = gr_args_flag(&args, "fusion", !script->options.no_fusion);
    const char *trace = gr_args_text(&args, "trace", NULL);
    if (trace)
        trace = gr_script_path(L, FUNCTION, trace, true);
    char *copy = trace ? strdup(trace) : NULL;
    if (trace && !copy)
        return luaL_error(L, FUNCTION ": out of memory");
    if (copy) {
        free(script->trace_path);
        script->trace_path = copy;
        script->options.trace = 1;
    }
    script->options.threads = threads;
    script->options.deterministic = deterministic;
    script->options.no_fusion = !fusion;
    return 0;
}
#undef FUNCTION

static void set_text(lua_State *L, const char *key, const char *value) {
    lua_pushstring(L, value ? value : "");
    lua_setfield(L, -2, key);
}

static void push_device(lua_State *L, const gr_device_info *info) {
    lua_createtable(L, 0, 8);
    set_text(L, "name", info->name);
    set_text(L, "description", info->description);
    set_text(L, "plugin", info->plugin_path);
    set_text(L, "why", info->reason);
    lua_pushnumber(L, info->score);
    lua_setfield(L, -2, "score");
    lua_pushinteger(L, (lua_Integer)info->memory_bytes);
    lua_setfield(L, -2, "memory_bytes");
}

static int devices(lua_State *L) {
    gr_engine *engine = gr_script_engine(L, gr_script_get(L));
    uint32_t count = gr_engine_device_count(engine);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        gr_device_info info = {.struct_size = sizeof info};
        if (gr_engine_device(engine, i, &info) != GR_OK)
            continue;
        push_device(L, &info);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

// The explanation lives in a userdata's buffer only as long as it takes to copy it; pushing may
// raise, so the engine's copy hangs on a box that frees it.
static int free_text(lua_State *L) {
    char **text = lua_touserdata(L, 1);
    gr_text_free(*text);
    *text = NULL;
    return 0;
}

static int why(lua_State *L) {
    gr_error error;
    gr_error_init(&error);
    static const char *const known[] = {"json", NULL};
    gr_args args = gr_args_open(L, 1, "gregale.why", known);
    bool json = gr_args_flag(&args, "json", false);
    gr_engine *engine = gr_script_engine(L, gr_script_get(L));
    char **text = lua_newuserdatauv(L, sizeof *text, 0);
    *text = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_text);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    if (gr_engine_why(engine, json, text, &error) != GR_OK)
        return gr_raise(L, "gregale.why", &error);
    lua_pushstring(L, *text);
    gr_text_free(*text);
    *text = NULL;
    return 1;
}

// ---- load

#define FUNCTION "gregale.load"
static void read_window(const gr_args *args, gr_model_options *options) {
    if (!gr_args_push(args, "sliding_window"))
        return;
    options->has_sliding_window = 1;
    if (lua_isboolean(args->L, -1) && !lua_toboolean(args->L, -1))
        options->sliding_window = 0;
    else if (lua_isinteger(args->L, -1))
        options->sliding_window =
            (int64_t)gr_arg_whole(args->L, -1, FUNCTION, "sliding_window", 1, INT32_MAX);
    else
        gr_arg_fail(args->L, FUNCTION, "sliding_window", "a whole number or false", -1);
    lua_pop(args->L, 1);
}

static void read_kv_type(const gr_args *args, gr_model_options *options) {
    const char *name = gr_args_text(args, "cache_type", NULL);
    if (name && gr_cache_type_find(name, &options->kv_dtype))
        options->has_kv_dtype = 1;
    if (!name || options->has_kv_dtype)
        return;
    gr_args_push(args, "cache_type");
    gr_arg_fail(args->L, FUNCTION, "cache_type", "\"f32\", \"f16\", \"bf16\" or \"q8_0\"", -1);
}

static const char *read_path(lua_State *L) {
    if (lua_type(L, 1) == LUA_TSTRING)
        return gr_arg_name(L, 1, FUNCTION, "path");
    if (lua_type(L, 1) != LUA_TTABLE)
        gr_arg_fail(L, FUNCTION, "path", "a path or a table of options", 1);
    lua_pushliteral(L, "path");
    lua_rawget(L, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_rawgeti(L, 1, 1);
    }
    const char *path = gr_arg_name(L, -1, FUNCTION, "path");
    lua_pop(L, 1); // the table keeps it
    return path;
}

// A number of bytes, or text such as "512M"; 0: none.
static uint64_t read_cache_limit(const gr_args *args) {
    uint64_t bytes = 0;
    if (!gr_args_push(args, "cache_limit"))
        return 0;
    bool text = lua_type(args->L, -1) == LUA_TSTRING;
    if (text ? !gr_bytes_parse(lua_tostring(args->L, -1), &bytes) : !lua_isinteger(args->L, -1))
        gr_arg_fail(args->L, FUNCTION, "cache_limit", "a number of bytes, or text such as \"512M\"", -1);
    if (!text)
        bytes = gr_arg_whole(args->L, -1, FUNCTION, "cache_limit", 1, INT64_MAX);
    lua_pop(args->L, 1);
    return bytes;
}

// A split is a device to the engine, whose own name for "auto" is another.
static const char *read_device(const gr_args *args) {
    const char *device = gr_args_text(args, "device", NULL), *split = gr_args_text(args, "split", NULL);
    if (device && split)
        luaL_error(args->L, FUNCTION ": split: expected none beside a device, which is one for all layers");
    return split && strcmp(split, "auto") == 0 ? "split" : split ? split : device;
}

static int load(lua_State *L) {
    static const char *const known[] = {
        "path",  "device",      "split",          "context",     "sliding_window", "threads", "chat_format",
        "chunk", "page_tokens", "rewind_reserve", "cache_limit", "cache_type",     NULL};
    gr_script *script = gr_script_get(L);
    gr_error error;
    gr_call call;
    gr_error_init(&error);
    lua_settop(L, 1);
    const char *path = read_path(L);
    gr_args args = gr_args_open(L, lua_istable(L, 1) ? 1 : 2, FUNCTION, known);
    gr_model_options options = {
        .struct_size = sizeof options,
        .device = gr_record_device(script, read_device(&args)),
        .chat_format = gr_args_text(&args, "chat_format", NULL),
        .chunk = (uint32_t)gr_args_whole(&args, "chunk", 0, 1, 1u << 16),
        .page_tokens = (uint32_t)gr_args_whole(&args, "page_tokens", 0, 1, 1u << 16),
        .rewind_reserve = (uint32_t)gr_args_whole(&args, "rewind_reserve", 0, 1, 1u << 20),
        .cache_bytes = read_cache_limit(&args),
        .progress = gr_script_progress,
        .progress_context = script};
    read_window(&args, &options);
    read_kv_type(&args, &options);
    uint32_t threads = (uint32_t)gr_args_whole(&args, "threads", 0, 1, 4096);
    if (threads && script->engine && threads != gr_engine_threads(script->engine))
        return luaL_error(L,
                          FUNCTION ": threads: the engine runs %d already, it cannot change to %d",
                          (int)gr_engine_threads(script->engine), (int)threads);
    path = gr_script_path(L, FUNCTION, path, false);
    gr_model_box *box = gr_model_new(L);
    box->context = (uint32_t)gr_args_whole(&args, "context", 0, 1, INT32_MAX / 2);
    if (threads && !script->engine)
        script->options.threads = threads;
    gr_engine *engine = gr_script_engine(L, script);
    gr_call_begin(L, FUNCTION, NULL, false, &call);
    gr_status status = gr_model_load(engine, path, &options, &box->model, &error);
    gr_call_end(&call);
    if (status != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    gr_record_model(script, box->model);
    return 1;
}
#undef FUNCTION

// ---- The module

static int to_json(lua_State *L) {
    luaL_checkany(L, 1);
    gr_json_push(L, 1, "gregale.to_json", "value");
    return 1;
}

static int clock_seconds(lua_State *L) {
    lua_pushnumber(L, (double)gr_os_now_ns() * 1e-9);
    return 1;
}

void gr_push_type(lua_State *L, const char *type, const luaL_Reg *methods, const luaL_Reg *meta) {
    if (!luaL_newmetatable(L, type)) {
        lua_pop(L, 1);
        return;
    }
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -2, "methods"); // where __index is a function, too
    lua_pushliteral(L, "gregale");
    lua_setfield(L, -2, "__metatable"); // scripts can neither read nor replace it
    lua_pop(L, 1);
}

int luaopen_gregale(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"configure", configure}, {"devices", devices},          {"why", why},
        {"load", load},           {"parallel", gr_lua_parallel}, {"map", gr_lua_map},
        {"to_json", to_json},     {"from_json", gr_lua_from_json},
        {"interrupted", gr_lua_interrupted},
        {"clock", clock_seconds}, {"on_device_event", gr_lua_on_device_event}, {NULL, NULL}};
    gr_script_open(L);
    gr_model_type(L);
    gr_session_type(L);
    gr_request_type(L);
    gr_logits_type(L);
    luaL_newlib(L, functions);
    lua_pushstring(L, gr_version());
    lua_setfield(L, -2, "version");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null"); // JSON's, in schemas
    return 1;
}
