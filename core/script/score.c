// SPDX-License-Identifier: Apache-2.0
// score.c: how likely the model finds a continuation: session:score and session:choose.
#include <math.h>
#include <string.h>

#include "script/internal.h"

// Pushes the tokens of `text` as a continuation of the session, in a userdata: a fork tokenizes it
// as append would.
static int32_t *continuation(lua_State *L, const char *function, gr_session_box *box,
                             const char *text, size_t bytes, size_t *out_count) {
    gr_error error;
    size_t before, after;
    gr_error_init(&error);
    gr_session_box *fork = gr_session_new(L);
    gr_session_self(L, function); // finalizers, or a function told of a device, may have closed it
    gr_session_tokens(box->session, &before);
    if (gr_session_fork(box->session, &fork->session, &error) != GR_OK ||
        gr_session_append_text(fork->session, text, bytes, &error) != GR_OK)
        gr_raise(L, function, &error);
    const int32_t *all = gr_session_tokens(fork->session, &after);
    *out_count = after - before;
    int32_t *tokens = lua_newuserdatauv(L, *out_count * sizeof *tokens + 1, 0);
    if (*out_count)
        memcpy(tokens, all + before, *out_count * sizeof *tokens);
    gr_session_release(fork->session);
    fork->session = NULL;
    lua_remove(L, -2);
    return tokens;
}

const int32_t *gr_session_continuation(lua_State *L, const char *function, gr_session_box *box, int index,
                                       size_t *out_count) {
    size_t bytes;
    if (lua_type(L, index) == LUA_TTABLE)
        return gr_arg_tokens(L, index, function, "tokens", out_count);
    if (lua_type(L, index) != LUA_TSTRING)
        gr_arg_fail(L, function, "text", "a string or a list of tokens", index);
    const char *text = lua_tolstring(L, index, &bytes);
    return continuation(L, function, box, text, bytes, out_count);
}

// Scores tokens; returns the sum over those that have a probability. Pushes a userdata with one
// each.
static double score_tokens(lua_State *L, const char *function, gr_session_box *box,
                           const int32_t *tokens, size_t count, double **out_each) {
    gr_error error;
    gr_call call;
    double sum = 0;
    gr_error_init(&error);
    double *each = lua_newuserdatauv(L, count * sizeof *each + 1, 0);
    gr_session_self(L, function); // finalizers may have closed it
    gr_call_begin(L, function, box->session, true, &call);
    gr_status status = gr_session_score(box->session, tokens, count, each, &error);
    gr_call_end(&call);
    gr_script_tell_events(L, call.script);
    if (status != GR_OK)
        gr_raise(L, function, &error);
    for (size_t i = 0; i < count; i++)
        sum += isnan(each[i]) ? 0 : each[i];
    *out_each = each;
    return sum;
}

#define FUNCTION "session:score"
// session:score(text | tokens) -> sum, log-probabilities, tokens
int gr_lua_session_score(lua_State *L) {
    gr_session_box *box = gr_session_self(L, FUNCTION);
    size_t count;
    double *each;
    lua_settop(L, 2);
    gr_session_ready(L, FUNCTION, box);
    const int32_t *tokens = gr_session_continuation(L, FUNCTION, box, 2, &count);
    double sum = score_tokens(L, FUNCTION, box, tokens, count, &each);
    lua_pushnumber(L, sum);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushnumber(L, each[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    gr_push_tokens(L, tokens, count);
    return 3;
}
#undef FUNCTION

#define FUNCTION "session:choose"
// Scores the option at the top of the stack (text), pops it.
static double score_option(lua_State *L, gr_session_box *box) {
    size_t bytes, count;
    double *each;
    int top = lua_gettop(L);
    const char *text = gr_arg_text(L, top, FUNCTION, "option", &bytes);
    int32_t *tokens = continuation(L, FUNCTION, box, text, bytes, &count);
    if (!count)
        gr_arg_fail(L, FUNCTION, "option", "text of at least one token", top);
    double sum = score_tokens(L, FUNCTION, box, tokens, count, &each);
    lua_settop(L, top - 1);
    return sum;
}

static lua_Integer best_of(const double *scores, lua_Integer count) {
    lua_Integer best = 0;
    for (lua_Integer i = 1; i < count; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}

static void push_probabilities(lua_State *L, const double *scores, lua_Integer count,
                               double largest) {
    double sum = 0;
    for (lua_Integer i = 0; i < count; i++)
        sum += exp(scores[i] - largest);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_pushnumber(L, exp(scores[i] - largest) / sum);
        lua_rawseti(L, -2, i + 1);
    }
}

// session:choose{option, option, ...; append = false} -> option, index, probabilities among the
// options
int gr_lua_session_choose(lua_State *L) {
    static const char *const known[] = {"append", NULL};
    gr_session_box *box = gr_session_self(L, FUNCTION);
    gr_error error;
    gr_error_init(&error);
    lua_settop(L, 2);
    if (lua_type(L, 2) != LUA_TTABLE)
        return gr_arg_fail(L, FUNCTION, "options", "a list of strings", 2);
    gr_args args = gr_args_open(L, 2, FUNCTION, known);
    bool append = gr_args_flag(&args, "append", false);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 2);
    if (count < 1 || count > 10000)
        return luaL_error(L, FUNCTION ": options: expected 1 to 10000 strings, got %I", count);
    gr_session_ready(L, FUNCTION, box);
    double *scores = lua_newuserdatauv(L, (size_t)count * sizeof *scores, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, 2, i + 1);
        scores[i] = score_option(L, box);
    }
    lua_Integer best = best_of(scores, count);
    gr_record_choice(gr_script_get(L), gr_session_self(L, FUNCTION)->session, (int32_t)best + 1);
    size_t bytes;
    lua_rawgeti(L, 2, best + 1);
    const char *text = lua_tolstring(L, -1, &bytes);
    if (append &&
        gr_session_append_text(gr_session_self(L, FUNCTION)->session, text, bytes, &error) != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    lua_pushinteger(L, best + 1);
    push_probabilities(L, scores, count, scores[best]);
    return 3;
}
#undef FUNCTION
