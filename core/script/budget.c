// SPDX-License-Identifier: Apache-2.0
// budget.c: how much of Lua may run: all of a sandboxed script, and one call of a choose function. A hook counts the
// virtual machine's instructions; what a function of C does in between it cannot see. A new coroutine has the hook of
// the one that made it. Once a budget is used up the hook comes at every instruction, so that catching the error leads
// to the next one.
#include "script/internal.h"

enum { EVERY = 1000 }; // instructions between two calls of the hook

static void take(uint64_t *budget, uint64_t count) {
    if (*budget != UINT64_MAX)
        *budget -= count < *budget ? count : *budget;
}

static void on_count(lua_State *L, lua_Debug *event) {
    gr_script *script = gr_script_get(L);
    (void)event;
    gr_script_check_interrupt(L, script); // that sees the main coroutine alone
    gr_budget_charge(L, (uint64_t)lua_gethookcount(L));
    if (lua_gethookcount(L) != EVERY)
        lua_sethook(L, on_count, LUA_MASKCOUNT, EVERY);
}

bool gr_budget_spent(const gr_script *script) {
    return !script->instructions || !script->choose_instructions;
}

void gr_budget_charge(lua_State *L, uint64_t instructions) {
    gr_script *script = gr_script_get(L);
    take(&script->instructions, instructions);
    take(&script->choose_instructions, instructions);
    if (!gr_budget_spent(script))
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    if (script->instructions)
        luaL_error(L, "choose function: more instructions for one token than choose_instructions allows");
    script->sandbox->spent = true;
    luaL_error(L, "the script has used up its %I instructions", (lua_Integer)script->sandbox->instructions);
}

void gr_budget_charge_coroutine(lua_State *L) {
    if (gr_script_get(L)->sandbox)
        gr_budget_charge(L, EVERY); // it may run so many that nobody counts
}

void gr_budget_rest(lua_State *L) {
    const gr_script *script = gr_script_get(L);
    int count = gr_budget_spent(script) ? 1 : EVERY;
    if (!script->sandbox)
        lua_sethook(L, NULL, 0, 0);
    else if (lua_gethook(L) != on_count || lua_gethookcount(L) != count) // else it goes on counting
        lua_sethook(L, on_count, LUA_MASKCOUNT, count);
}

void gr_budget_begin_choose(lua_State *L, uint64_t instructions, gr_budget *out_before) {
    gr_script *script = gr_script_get(L);
    *out_before = (gr_budget){script->choose_instructions, lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L)};
    script->choose_instructions = instructions;
    if (!script->sandbox)
        lua_sethook(L, on_count, LUA_MASKCOUNT, EVERY);
}

void gr_budget_end_choose(lua_State *L, const gr_budget *before) {
    gr_script *script = gr_script_get(L);
    script->choose_instructions = before->choose_instructions;
    if (script->sandbox)
        gr_budget_rest(L);
    else if (lua_gethook(L) == on_count) // no interrupt came meanwhile
        lua_sethook(L, before->hook, before->mask, before->count);
}
