// SPDX-License-Identifier: Apache-2.0
// score.c: what the model makes of a continuation: session:score, session:choose and session:embed. In a branch of
// gregale.parallel they wait as generation does, and the readings of all branches share steps.
#include <math.h>
#include <string.h>

#include "script/internal.h"

enum { SESSION = 1, GIVEN = 2, OPTIONS = 3, READINGS = 4 }; // stack
enum { AT_ONCE = 64 };                                      // as many as a step takes

// ---- Several readings at once: a userdata that lets go of them when it goes out of scope

typedef struct readings {
    uint32_t count;
    gr_reading *list[AT_ONCE];
} readings;

static void drop(readings *r) {
    while (r->count)
        gr_reading_release(r->list[--r->count]);
}

static int drop_all(lua_State *L) {
    drop(lua_touserdata(L, 1));
    return 0;
}

static void push_readings(lua_State *L) {
    readings *r = lua_newuserdatauv(L, sizeof *r, 0);
    r->count = 0;
    if (luaL_newmetatable(L, "gregale.readings")) {
        lua_pushcfunction(L, drop_all);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, drop_all);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
}

static void add(lua_State *L, const char *function, readings *r, gr_session *session, const gr_reading_options *options) {
    gr_call call;
    gr_error error;
    gr_error_init(&error);
    gr_call_begin(L, function, session, false, &call);
    gr_status status = gr_reading_start(session, options, &r->list[r->count], &error);
    gr_call_end(&call);
    if (status != GR_OK)
        gr_raise(L, function, &error);
    r->count++;
}

// Whether all have ended. False only where the caller is to yield; elsewhere the engine is stepped until they have.
static bool ended(lua_State *L, const char *function, readings *r) {
    for (uint32_t i = 0; i < r->count; i++)
        if (gr_reading_pending(r->list[i]) && gr_script_may_yield(L))
            return false;
    for (uint32_t i = 0; i < r->count; i++) {
        gr_call call;
        gr_error error;
        gr_error_init(&error);
        gr_call_begin(L, function, NULL, true, &call);
        gr_status status = gr_reading_finish(r->list[i], &error);
        gr_call_end(&call);
        gr_script_tell_events(L, call.script);
        if (status != GR_OK)
            gr_raise(L, function, &error);
    }
    return true;
}

static gr_reading_info info_of(const readings *r, uint32_t index) {
    gr_reading_info info = {.struct_size = sizeof info};
    gr_reading_info_get(r->list[index], &info);
    return info;
}

static double sum_of(const gr_reading_info *info) {
    double sum = 0;
    for (size_t i = 0; i < info->token_count; i++)
        sum += isnan(info->log_probabilities[i]) ? 0 : info->log_probabilities[i];
    return sum;
}

static void check_given(lua_State *L, const char *function) {
    if (lua_type(L, GIVEN) != LUA_TTABLE && lua_type(L, GIVEN) != LUA_TSTRING)
        gr_arg_fail(L, function, "text", "a string or a list of tokens", GIVEN);
}

static void prepare(lua_State *L, const char *function) {
    gr_script_check_steps(L, function);
    gr_session_want(L, function);
    push_readings(L);
}

// ---- One reading, of text or a list of tokens

// Leaves the tokens, if they are what is given, on the stack until the reading has begun.
static void start_one(lua_State *L, const char *function, gr_reading_kind kind) {
    gr_reading_options options = {.struct_size = sizeof options, .kind = kind};
    if (lua_type(L, GIVEN) == LUA_TTABLE)
        options.tokens = gr_arg_tokens(L, GIVEN, function, "tokens", &options.token_count);
    else
        options.text = lua_tolstring(L, GIVEN, &options.text_bytes);
    add(L, function, lua_touserdata(L, READINGS), gr_session_self(L, function)->session, &options);
    lua_settop(L, READINGS);
}

// Whether it has ended, as above.
static bool read_one(lua_State *L, const char *function, gr_reading_kind kind) {
    readings *r = lua_touserdata(L, READINGS);
    lua_settop(L, READINGS);
    if (!r->count) {
        if (!gr_session_settled(L, function))
            return false;
        start_one(L, function, kind);
    }
    return ended(L, function, r);
}

#define FUNCTION "session:score"
static int score_k(lua_State *L, int resumed, lua_KContext context) {
    (void)resumed;
    if (!read_one(L, FUNCTION, GR_READ_SCORE))
        return lua_yieldk(L, 0, context, score_k);
    const gr_reading_info info = info_of(lua_touserdata(L, READINGS), 0);
    lua_pushnumber(L, sum_of(&info));
    lua_createtable(L, (int)info.token_count, 0);
    for (size_t i = 0; i < info.token_count; i++) {
        lua_pushnumber(L, info.log_probabilities[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    gr_push_tokens(L, info.tokens, info.token_count);
    return 3;
}

// session:score(text | tokens) -> sum, log-probabilities, tokens
int gr_lua_session_score(lua_State *L) {
    gr_session_self(L, FUNCTION);
    lua_settop(L, OPTIONS);
    check_given(L, FUNCTION);
    prepare(L, FUNCTION);
    return score_k(L, LUA_OK, 0);
}
#undef FUNCTION

#define FUNCTION "session:embed"
static gr_reading_kind read_pool(lua_State *L) {
    static const char *const known[] = {"pool", NULL};
    gr_args args = gr_args_open(L, OPTIONS, FUNCTION, known);
    const char *name = gr_args_text(&args, "pool", "mean");
    if (strcmp(name, "mean") != 0 && strcmp(name, "last") != 0) {
        gr_args_push(&args, "pool");
        gr_arg_fail(L, FUNCTION, "pool", "\"mean\" or \"last\"", -1);
    }
    return strcmp(name, "mean") == 0 ? GR_READ_MEAN : GR_READ_LAST;
}

static int embed_k(lua_State *L, int resumed, lua_KContext kind) {
    (void)resumed;
    if (!read_one(L, FUNCTION, (gr_reading_kind)kind))
        return lua_yieldk(L, 0, kind, embed_k);
    const gr_reading_info info = info_of(lua_touserdata(L, READINGS), 0);
    lua_createtable(L, (int)info.dim, 0);
    for (uint32_t i = 0; i < info.dim; i++) {
        lua_pushnumber(L, info.embedding[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

// session:embed(text | tokens, {pool = "mean"}) -> a list of numbers
int gr_lua_session_embed(lua_State *L) {
    gr_session_self(L, FUNCTION);
    lua_settop(L, OPTIONS);
    gr_reading_kind kind = read_pool(L);
    check_given(L, FUNCTION);
    prepare(L, FUNCTION);
    return embed_k(L, LUA_OK, (lua_KContext)kind);
}
#undef FUNCTION

// ---- Choosing

#define FUNCTION "session:choose"
enum { JOB = 5, BASE = 6 }; // stack: what is done so far, a fork of the session as it was

typedef struct choice {
    gr_recorded_choice recorded;
    bool append;
    lua_Integer count, scored;
    double scores[];
} choice;

// Begins as many options as a step takes.
static void start_options(lua_State *L, const choice *job, readings *r) {
    const gr_session_box *base = lua_touserdata(L, BASE);
    for (lua_Integer i = job->scored; i < job->count && r->count < AT_ONCE; i++) {
        gr_reading_options options = {.struct_size = sizeof options, .kind = GR_READ_SCORE};
        lua_rawgeti(L, GIVEN, i + 1);
        options.text = gr_arg_text(L, -1, FUNCTION, "option", &options.text_bytes);
        add(L, FUNCTION, r, base->session, &options);
        if (!info_of(r, r->count - 1).token_count)
            gr_arg_fail(L, FUNCTION, "option", "text of at least one token", -1);
        lua_settop(L, BASE);
    }
}

static lua_Integer best_of(const double *scores, lua_Integer count) {
    lua_Integer best = 0;
    for (lua_Integer i = 1; i < count; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}

static void push_probabilities(lua_State *L, const double *scores, lua_Integer count, double largest) {
    double sum = 0;
    for (lua_Integer i = 0; i < count; i++)
        sum += exp(scores[i] - largest);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_pushnumber(L, exp(scores[i] - largest) / sum);
        lua_rawseti(L, -2, i + 1);
    }
}

static int finish_choice(lua_State *L, const choice *job) {
    gr_error error;
    size_t bytes;
    gr_error_init(&error);
    const gr_session_box *base = lua_touserdata(L, BASE);
    lua_Integer best = best_of(job->scores, job->count);
    gr_record_choice_end(gr_script_get(L), base->session, &job->recorded, (int32_t)best + 1);
    lua_rawgeti(L, GIVEN, best + 1);
    const char *text = gr_arg_text(L, -1, FUNCTION, "option", &bytes); // the list may have changed since
    if (job->append && gr_session_append_text(gr_session_self(L, FUNCTION)->session, text, bytes, &error) != GR_OK)
        return gr_raise(L, FUNCTION, &error);
    lua_pushinteger(L, best + 1);
    push_probabilities(L, job->scores, job->count, job->scores[best]);
    return 3;
}

static void fork_base(lua_State *L, choice *job) {
    gr_session_box *base = lua_touserdata(L, BASE);
    gr_error error;
    gr_error_init(&error);
    if (gr_session_fork(gr_session_self(L, FUNCTION)->session, &base->session, &error) != GR_OK)
        gr_raise(L, FUNCTION, &error);
    gr_record_choice_begin(gr_script_get(L), base->session, &job->recorded);
}

static int choose_k(lua_State *L, int resumed, lua_KContext context) {
    readings *r = lua_touserdata(L, READINGS);
    choice *job = lua_touserdata(L, JOB);
    const gr_session_box *base = lua_touserdata(L, BASE);
    (void)resumed;
    lua_settop(L, BASE); // whoever resumed it may have passed something
    if (!base->session) {
        if (!gr_session_settled(L, FUNCTION))
            return lua_yieldk(L, 0, context, choose_k);
        fork_base(L, job);
    }
    while (job->scored < job->count) {
        if (!r->count)
            start_options(L, job, r);
        if (!ended(L, FUNCTION, r))
            return lua_yieldk(L, 0, context, choose_k);
        for (uint32_t i = 0; i < r->count; i++) {
            const gr_reading_info info = info_of(r, i);
            job->scores[job->scored++] = sum_of(&info);
        }
        drop(r);
    }
    return finish_choice(L, job);
}

// session:choose{option, option, ...; append = false} -> option, index, probabilities among the
// options
int gr_lua_session_choose(lua_State *L) {
    static const char *const known[] = {"append", NULL};
    gr_session_self(L, FUNCTION);
    lua_settop(L, GIVEN);
    if (lua_type(L, GIVEN) != LUA_TTABLE)
        return gr_arg_fail(L, FUNCTION, "options", "a list of strings", GIVEN);
    gr_args args = gr_args_open(L, GIVEN, FUNCTION, known);
    bool append = gr_args_flag(&args, "append", false);
    lua_Integer count = (lua_Integer)lua_rawlen(L, GIVEN);
    if (count < 1 || count > 10000)
        return luaL_error(L, FUNCTION ": options: expected 1 to 10000 strings, got %I", count);
    lua_settop(L, OPTIONS);
    prepare(L, FUNCTION);
    choice *job = lua_newuserdatauv(L, sizeof *job + (size_t)count * sizeof *job->scores, 0);
    *job = (choice){.append = append, .count = count};
    gr_session_new(L); // let go of when this ends, not when it is collected
    lua_toclose(L, BASE);
    return choose_k(L, LUA_OK, 0);
}
#undef FUNCTION
