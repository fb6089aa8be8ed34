// SPDX-License-Identifier: Apache-2.0
// turns.c: conversations, and a Lua function in place of the model's chat format.
#include "script/internal.h"

static const char *const role_names[] = {"system", "user", "assistant", "tool"};

static int add_turn(lua_State *L, const char *function, gr_chat_role role) {
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    size_t bytes;
    gr_error_init(&error);
    const char *text = gr_arg_text(L, 2, function, "text", &bytes);
    if (gr_session_turn(box->session, role, text, bytes, &error) != GR_OK)
        return gr_raise(L, function, &error);
    lua_settop(L, 1);
    return 1;
}

static int add_system(lua_State *L) {
    return add_turn(L, "session:system", GR_CHAT_SYSTEM);
}

static int add_user(lua_State *L) {
    return add_turn(L, "session:user", GR_CHAT_USER);
}

// The calls of the list at `list`, in a userdata left on the stack; its texts are the list's.
static gr_tool_call_info *read_calls(lua_State *L, const char *function, int list, uint32_t *out_count) {
    static const char *const known[] = {"id", "name", "arguments", NULL};
    if (lua_type(L, list) != LUA_TTABLE)
        gr_arg_fail(L, function, "tool_calls", "a list of calls", list);
    lua_Unsigned count = lua_rawlen(L, list);
    if (!count || count > 1000)
        luaL_error(L, "%s: tool_calls: expected 1 to 1000 calls, got %I", function, (lua_Integer)count);
    gr_tool_call_info *calls = lua_newuserdatauv(L, (size_t)count * sizeof *calls, 0);
    for (lua_Unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        if (lua_type(L, -1) != LUA_TTABLE)
            gr_arg_fail(L, function, "tool_calls", "tables with name, arguments and id", -1);
        gr_args call = gr_args_open(L, lua_gettop(L), function, known);
        calls[i] = (gr_tool_call_info){.struct_size = sizeof *calls,
                                       .id = gr_args_text(&call, "id", NULL),
                                       .name = gr_args_text(&call, "name", NULL),
                                       .arguments = gr_args_text(&call, "arguments", NULL)};
        lua_pop(L, 1);
    }
    *out_count = (uint32_t)count;
    return calls;
}

// session:assistant(text [, {tool_calls = {{name =, arguments =, id =}, ...}}])
static int add_assistant(lua_State *L) {
    static const char function[] = "session:assistant";
    static const char *const known[] = {"tool_calls", NULL};
    gr_session_box *box = gr_session_self(L, function);
    gr_args args = gr_args_open(L, 3, function, known);
    gr_error error;
    size_t bytes;
    uint32_t count;
    gr_error_init(&error);
    if (!gr_args_push(&args, "tool_calls"))
        return add_turn(L, function, GR_CHAT_ASSISTANT);
    const char *text = gr_arg_text(L, 2, function, "text", &bytes);
    const gr_tool_call_info *calls = read_calls(L, function, lua_gettop(L), &count);
    if (gr_session_tool_calls(box->session, text, bytes, calls, count, &error) != GR_OK)
        return gr_raise(L, function, &error);
    lua_settop(L, 1);
    return 1;
}

// session:tool(text [, {id = ..., name = ...}])
static int add_tool(lua_State *L) {
    static const char function[] = "session:tool";
    static const char *const known[] = {"id", "name", NULL};
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    size_t bytes;
    gr_error_init(&error);
    const char *text = gr_arg_text(L, 2, function, "text", &bytes);
    gr_args args = gr_args_open(L, 3, function, known);
    if (gr_session_tool_result(box->session, gr_args_text(&args, "id", NULL),
                               gr_args_text(&args, "name", NULL), text, bytes, &error) != GR_OK)
        return gr_raise(L, function, &error);
    lua_settop(L, 1);
    return 1;
}

static int set_tools(lua_State *L) {
    static const char function[] = "session:tools";
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    gr_error_init(&error);
    const char *json = lua_isnoneornil(L, 2) ? NULL : gr_arg_name(L, 2, function, "json");
    if (gr_session_tools(box->session, json, &error) != GR_OK)
        return gr_raise(L, function, &error);
    lua_settop(L, 1);
    return 1;
}

// A call's text is read just before it is copied: anything that allocates may run a finalizer that
// changes the turns.
static void set_call_text(lua_State *L, const gr_call_source *source, uint32_t index,
                          const char *key) {
    gr_tool_call_info call = {.struct_size = sizeof call};
    if (source->get(source, index, &call) != GR_OK)
        return;
    const char *text = *key == 'i' ? call.id : *key == 'n' ? call.name : call.arguments;
    if (!text)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

bool gr_push_tool_calls(lua_State *L, const gr_call_source *source) {
    gr_tool_call_info call = {.struct_size = sizeof call};
    uint32_t count = 0;
    lua_newtable(L);
    for (; source->get(source, count, &call) == GR_OK; count++) {
        lua_createtable(L, 0, 3);
        set_call_text(L, source, count, "id");
        set_call_text(L, source, count, "name");
        set_call_text(L, source, count, "arguments");
        lua_rawseti(L, -2, (lua_Integer)count + 1);
    }
    return count > 0;
}

static gr_status call_of_turn(const gr_call_source *source, uint32_t index,
                              gr_tool_call_info *out_call) {
    return gr_session_turn_tool_call(source->from, source->turn, index, out_call);
}

static void push_turns(lua_State *L, const gr_session *session) {
    uint32_t count = gr_session_turn_count(session);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        gr_chat_role role;
        const char *text;
        size_t bytes;
        lua_createtable(L, 0, 3);
        // Read just before it is copied: anything that allocates may run a finalizer that changes
        // the turns.
        if (gr_session_turn_get(session, i, &role, &text, &bytes) != GR_OK || role > GR_CHAT_TOOL) {
            lua_pop(L, 1);
            break;
        }
        lua_pushlstring(L, text ? text : "", bytes);
        lua_setfield(L, -2, "text");
        lua_pushstring(L, role_names[role]);
        lua_setfield(L, -2, "role");
        if (gr_push_tool_calls(L, &(gr_call_source){call_of_turn, session, i}))
            lua_setfield(L, -2, "tool_calls");
        else
            lua_pop(L, 1);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int turns(lua_State *L) {
    push_turns(L, gr_session_self(L, "session:turns")->session);
    return 1;
}

// Keeps the first `count` turns.
static int keep_turns(lua_State *L) {
    static const char function[] = "session:keep_turns";
    gr_session_box *box = gr_session_self(L, function);
    gr_error error;
    gr_error_init(&error);
    uint32_t count = (uint32_t)gr_arg_whole(L, 2, function, "count", 0, UINT32_MAX);
    if (gr_session_turns_truncate(box->session, count, &error) != GR_OK)
        return gr_raise(L, function, &error);
    lua_settop(L, 1);
    return 1;
}

static int apply_turns(lua_State *L) {
    gr_session_ready(L, "session:apply_turns", gr_session_self(L, "session:apply_turns"));
    lua_settop(L, 1);
    return 1;
}

// ---- The encoder

typedef struct encode_job {
    const gr_session *session;
    const char *text;
    size_t bytes;
} encode_job;

// Runs protected: calls the function with the turns and keeps what it returned alive in the box.
static int encode_protected(lua_State *L) {
    encode_job *job = lua_touserdata(L, 1);
    if (!gr_script_recall(L, job->session))
        return luaL_error(L, "chat encoder: the session is closed");
    int box = lua_gettop(L);
    lua_getiuservalue(L, box, 1);
    push_turns(L, job->session);
    lua_call(L, 1, 1);
    job->text = gr_arg_text(L, -1, "chat encoder", "returned text", &job->bytes);
    lua_setiuservalue(L, box, 2);
    return 0;
}

static gr_status encode(void *context, const gr_session *session, char **out_text,
                        size_t *out_bytes, gr_error *error) {
    gr_script *script = context;
    lua_State *L = script->active;
    encode_job job = {.session = session};
    *out_text = NULL;
    *out_bytes = 0;
    if (!L)
        return gr_fail(error, GR_ERROR_INTERNAL, "script",
                       "a chat encoder was called from outside the script");
    lua_pushcfunction(L, encode_protected);
    lua_pushlightuserdata(L, &job);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        gr_fail(error, GR_ERROR_SCRIPT, "script", "%s",
                message ? message : "the chat encoder raised an error");
        lua_pop(L, 1);
        return GR_ERROR_SCRIPT;
    }
    *out_text = (char *)(uintptr_t)job.text; // only read
    *out_bytes = job.bytes;
    return GR_OK;
}

void gr_session_use_encoder(lua_State *L, const char *function, int session_index, int index) {
    gr_session_box *box = lua_touserdata(L, session_index);
    bool given = !lua_isnoneornil(L, index);
    if (given && lua_type(L, index) != LUA_TFUNCTION)
        gr_arg_fail(L, function, "encoder", "a function or nil", index);
    if (given)
        lua_pushvalue(L, index);
    else
        lua_pushnil(L);
    lua_setiuservalue(L, session_index, 1);
    gr_session_set_chat_encoder(box->session, given ? encode : NULL, gr_script_get(L));
}

static int set_encoder(lua_State *L) {
    gr_session_self(L, "session:encoder");
    gr_session_use_encoder(L, "session:encoder", 1, 2);
    lua_settop(L, 1);
    return 1;
}

const luaL_Reg gr_session_turn_methods[] = {
    {"system", add_system},       {"user", add_user},
    {"assistant", add_assistant}, {"tool", add_tool},
    {"tools", set_tools},         {"turns", turns},
    {"keep_turns", keep_turns},   {"apply_turns", apply_turns},
    {"encoder", set_encoder},     {NULL, NULL}};
