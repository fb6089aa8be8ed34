// SPDX-License-Identifier: Apache-2.0
// model.c: gregale.model: what it is, its tokenizer, and sessions on it.
#include <string.h>

#include "script/internal.h"

gr_model_box *gr_model_new(lua_State *L) {
    gr_model_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (gr_model_box){0};
    luaL_setmetatable(L, GR_LUA_MODEL);
    return box;
}

gr_model *gr_model_self(lua_State *L, const char *function) {
    gr_model_box *box = luaL_checkudata(L, 1, GR_LUA_MODEL);
    if (!box->model)
        luaL_error(L, "%s: the model is closed", function);
    return box->model;
}

static void set_whole(lua_State *L, const char *key, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void set_text(lua_State *L, const char *key, const char *value) {
    lua_pushstring(L, value ? value : "");
    lua_setfield(L, -2, key);
}

static int info(lua_State *L) {
    gr_model_info info = {.struct_size = sizeof info};
    char hex[2 * sizeof info.fingerprint + 1];
    gr_model_info_get(gr_model_self(L, "model:info"), &info);
    lua_createtable(L, 0, 24);
    set_text(L, "path", info.path);
    set_text(L, "name", info.name);
    set_text(L, "architecture", info.architecture);
    set_text(L, "tokenizer", info.tokenizer);
    set_text(L, "chat_format", info.chat_format);
    set_text(L, "device", info.device);
    set_text(L, "notice", info.notice);
    set_whole(L, "layers", info.layers);
    set_whole(L, "dim", info.dim);
    set_whole(L, "ffn_dim", info.ffn_dim);
    set_whole(L, "heads", info.heads);
    set_whole(L, "kv_heads", info.kv_heads);
    set_whole(L, "head_dim", info.head_dim);
    set_whole(L, "vocab", info.vocab);
    set_whole(L, "context_train", info.context_train);
    set_whole(L, "window_min", info.window_min);
    set_whole(L, "window_max", info.window_max);
    set_whole(L, "windowed_layers", info.windowed_layers);
    set_whole(L, "parameters", info.parameters);
    set_whole(L, "weight_bytes", info.weight_bytes);
    set_whole(L, "resident_bytes", info.resident_bytes);
    for (size_t i = 0; i < sizeof info.fingerprint; i++)
        snprintf(hex + 2 * i, 3, "%02x", info.fingerprint[i]);
    set_text(L, "fingerprint", hex);
    set_text(L, "cache_type", info.cache_type);
    return 1;
}

#define FUNCTION "model:tokenize"
static int tokenize(lua_State *L) {
    static const char *const known[] = {"special", "parse_control", NULL};
    gr_model *model = gr_model_self(L, FUNCTION);
    size_t bytes, count;
    gr_error error;
    gr_error_init(&error);
    const char *text = gr_arg_text(L, 2, FUNCTION, "text", &bytes);
    gr_args args = gr_args_open(L, 3, FUNCTION, known);
    bool special = gr_args_flag(&args, "special", false),
         control = gr_args_flag(&args, "parse_control", false);
    size_t capacity = bytes + 8; // a token is seldom less than a byte
    int32_t *tokens = lua_newuserdatauv(L, capacity * sizeof *tokens, 0);
    gr_status status =
        gr_model_tokenize(model, text, bytes, special, control, tokens, capacity, &count, &error);
    if (status == GR_OK && count > capacity) {
        capacity = count;
        tokens = lua_newuserdatauv(L, capacity * sizeof *tokens, 0);
        status = gr_model_tokenize(model, text, bytes, special, control, tokens, capacity, &count,
                                   &error);
    }
    if (status != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    gr_push_tokens(L, tokens, count);
    return 1;
}
#undef FUNCTION

#define FUNCTION "model:detokenize"
static void add_piece(gr_model *model, luaL_Buffer *text, int32_t token, bool control) {
    size_t needed = gr_model_piece(model, token, control, NULL, 0);
    if (needed)
        gr_model_piece(model, token, control, luaL_prepbuffsize(text, needed), needed);
    luaL_addsize(text, needed);
}

static int detokenize(lua_State *L) {
    static const char *const known[] = {"render_control", NULL};
    gr_model *model = gr_model_self(L, FUNCTION);
    gr_model_info info = {.struct_size = sizeof info};
    gr_model_info_get(model, &info);
    gr_args args = gr_args_open(L, 3, FUNCTION, known);
    bool control = gr_args_flag(&args, "render_control", false);
    luaL_Buffer text;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        int32_t token = (int32_t)gr_arg_whole(L, 2, FUNCTION, "tokens", 0, info.vocab - 1u);
        luaL_buffinit(L, &text);
        add_piece(model, &text, token, control);
    } else {
        size_t count;
        int32_t *tokens = gr_arg_tokens(L, 2, FUNCTION, "tokens", &count);
        for (size_t i = 0; i < count; i++)
            if ((uint32_t)tokens[i] >= info.vocab)
                return luaL_error(
                    L,
                    FUNCTION ": tokens: expected numbers below the vocabulary's %d, got %d at %I",
                    (int)info.vocab, (int)tokens[i], (lua_Integer)i + 1);
        luaL_buffinit(L, &text);
        for (size_t i = 0; i < count; i++)
            add_piece(model, &text, tokens[i], control);
    }
    luaL_pushresult(&text);
    return 1;
}
#undef FUNCTION

static int is_end(lua_State *L) {
    gr_model *model = gr_model_self(L, "model:is_end");
    int32_t token = (int32_t)gr_arg_whole(L, 2, "model:is_end", "token", 0, INT32_MAX);
    lua_pushboolean(L, gr_model_is_end(model, token));
    return 1;
}

#define FUNCTION "model:session"
static int session(lua_State *L) {
    static const char *const known[] = {"system", "context", "priority", "encoder", "tools", NULL};
    gr_model *model = gr_model_self(L, FUNCTION);
    gr_model_box *box = lua_touserdata(L, 1);
    gr_error error;
    gr_error_init(&error);
    gr_args args = gr_args_open(L, 2, FUNCTION, known);
    gr_session_options options = {
        .struct_size = sizeof options,
        .context = (uint32_t)gr_args_whole(&args, "context", box->context, 1, INT32_MAX / 2),
        .priority = (int32_t)gr_args_number(&args, "priority", 0, -1e6, 1e6)};
    const char *tools = gr_args_text(&args, "tools", NULL);
    gr_session_box *session = gr_session_new(L);
    int index = lua_gettop(L);
    gr_status status = gr_session_create(model, &options, &session->session, &error);
    if (status != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    gr_script_remember(L, session->session, index);
    if (gr_args_push(&args, "encoder")) {
        gr_session_use_encoder(L, FUNCTION, index, lua_gettop(L));
        lua_pop(L, 1);
    }
    if (tools)
        status = gr_session_tools(session->session, tools, &error);
    if (status == GR_OK && gr_args_push(&args, "system")) {
        size_t bytes;
        const char *system = gr_arg_text(L, -1, FUNCTION, "system", &bytes);
        status = gr_session_turn(session->session, GR_CHAT_SYSTEM, system, bytes, &error);
        lua_pop(L, 1);
    }
    if (status != GR_OK) {
        gr_session_release(session->session);
        session->session = NULL;
        return gr_raise(L, FUNCTION, &error);
    }
    lua_pushvalue(L, index);
    return 1;
}
#undef FUNCTION

static int close_model(lua_State *L) {
    gr_model_box *box = luaL_checkudata(L, 1, GR_LUA_MODEL);
    gr_model *model = box->model;
    box->model = NULL;
    gr_model_release(model); // sessions keep their model alive
    return 0;
}

static int describe(lua_State *L) {
    gr_model_box *box = luaL_checkudata(L, 1, GR_LUA_MODEL);
    gr_model_info info = {.struct_size = sizeof info};
    if (!box->model) {
        lua_pushliteral(L, "gregale.model (closed)");
        return 1;
    }
    gr_model_info_get(box->model, &info);
    lua_pushfstring(L, "gregale.model (%s on %s)", info.path, info.device);
    return 1;
}

void gr_model_type(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"info", info},     {"tokenize", tokenize}, {"detokenize", detokenize},
        {"is_end", is_end}, {"session", session},   {"move", gr_lua_model_move},
        {"restore", gr_lua_model_restore},          {"close", close_model},
        {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", close_model}, {"__close", close_model}, {"__tostring", describe}, {NULL, NULL}};
    gr_push_type(L, GR_LUA_MODEL, methods, meta);
}
