// SPDX-License-Identifier: Apache-2.0
// move.c: session:move(device) and model:move(device): to other devices, while others go on.
#include <string.h>

#include "script/internal.h"

#define GR_LUA_MOVE "gregale.move"
enum { SELF = 1, DEVICE = 2, OPTIONS = 3, BOX = 4, PROGRESS = 5 }; // stack

typedef struct move_box {
    gr_move *move;
    const char *function;
} move_box;

static int collect(lua_State *L) {
    move_box *box = luaL_checkudata(L, 1, GR_LUA_MOVE);
    gr_move *move = box->move;
    box->move = NULL;
    gr_move_release(move); // cancels it
    return 0;
}

static void set_number(lua_State *L, const char *key, double value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

static void set_whole(lua_State *L, const char *key, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void set_text(lua_State *L, const char *key, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void push_info(lua_State *L, const gr_move_info *info) {
    static const char *const stages[] = {"prepare", "copy", "check", "done", "failed", "shadow"};
    lua_createtable(L, 0, 16);
    set_text(L, "stage", info->stage < sizeof stages / sizeof stages[0] ? stages[info->stage] : "unknown");
    set_text(L, "from", info->from);
    set_text(L, "to", info->to);
    set_number(L, "progress", info->progress);
    set_whole(L, "steps", info->steps);
    set_whole(L, "pages", info->pages);
    set_whole(L, "bytes", info->bytes);
    set_number(L, "prepare_seconds", info->prepare_seconds);
    set_number(L, "copy_seconds", info->copy_seconds);
    set_number(L, "check_seconds", info->check_seconds);
    set_number(L, "pause_seconds", info->pause_seconds);
    set_number(L, "difference", info->difference);
    set_number(L, "bound", info->bound);
    set_whole(L, "compared", info->compared);
    set_whole(L, "agreed", info->agreed);
    if (info->first_divergence)
        set_whole(L, "first_divergence", info->first_divergence);
}

// A progress function that returns false cancels.
static void tell(lua_State *L, const move_box *box, const gr_move_info *info) {
    if (lua_isnil(L, PROGRESS))
        return;
    lua_pushvalue(L, PROGRESS);
    push_info(L, info);
    lua_call(L, 1, 1);
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1) && box->move)
        gr_move_cancel(box->move);
    lua_pop(L, 1);
}

static int move_k(lua_State *L, int resumed, lua_KContext context) {
    move_box *box = lua_touserdata(L, BOX);
    bool worked = true;
    (void)resumed;
    for (;;) {
        gr_move_info info = {.struct_size = sizeof info};
        gr_error error;
        gr_error_init(&error);
        if (!box->move)
            return luaL_error(L, "%s: it was closed", box->function);
        if (gr_move_info_get(box->move, &info, &error) != GR_OK) // its names are ours
            return gr_raise(L, box->function, &error);
        tell(L, box, &info);
        if (info.stage == GR_MOVE_DONE) {
            push_info(L, &info);
            return 1;
        }
        if (gr_script_may_yield(L))
            return lua_yieldk(L, 0, context, move_k);
        if (!worked && info.stage == GR_MOVE_SHADOW)
            return luaL_error(L, "%s: nothing is generated on the session, so there is nothing to compare", box->function);
        gr_script_step(L, box->function, &worked);
    }
}

static move_box *new_box(lua_State *L, const char *function) {
    move_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (move_box){.function = function};
    if (luaL_newmetatable(L, GR_LUA_MOVE)) {
        lua_pushcfunction(L, collect);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, collect);
        lua_setfield(L, -2, "__close");
        lua_pushliteral(L, "gregale");
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return box;
}

static gr_move_policy policy_of(const gr_args *args) {
    static const char *const names[] = {"if-equal", "anyway", "never", NULL};
    const char *name = gr_args_text(args, "policy", names[0]);
    for (gr_move_policy i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return (gr_move_policy)luaL_error(args->L, "%s: policy: expected if-equal, anyway or never, got '%s'", args->function,
                                      name);
}

static int move(lua_State *L, const char *function, gr_session *session, gr_model *model) {
    static const char *const known[] = {"check", "bound", "shadow", "policy", "progress", NULL};
    gr_error error;
    gr_error_init(&error);
    const char *device = gr_record_device(gr_script_get(L), gr_arg_name(L, DEVICE, function, "device"));
    lua_settop(L, OPTIONS);
    gr_args args = gr_args_open(L, OPTIONS, function, known);
    const gr_move_options options = {.struct_size = sizeof options,
                                     .no_check = !gr_args_flag(&args, "check", true),
                                     .shadow_tokens = (uint32_t)gr_args_whole(&args, "shadow", 0, 0, 1 << 30),
                                     .policy = policy_of(&args),
                                     .bound = gr_args_number(&args, "bound", 0, 0, 1e9)};
    move_box *box = new_box(L, function);
    lua_toclose(L, BOX);
    if (!gr_args_push(&args, "progress"))
        lua_pushnil(L);
    else if (!lua_isfunction(L, PROGRESS))
        return gr_arg_fail(L, function, "progress", "a function", PROGRESS);
    gr_status status = session ? gr_session_move_start(session, device, &options, &box->move, &error)
                               : gr_model_move_start(model, device, &options, &box->move, &error);
    return status == GR_OK ? move_k(L, LUA_OK, 0) : gr_raise(L, function, &error);
}

int gr_lua_session_move(lua_State *L) {
    return move(L, "session:move", gr_session_self(L, "session:move")->session, NULL);
}

int gr_lua_model_move(lua_State *L) {
    return move(L, "model:move", NULL, gr_model_self(L, "model:move"));
}
