// SPDX-License-Identifier: Apache-2.0
// generate.c: generation options, session:generate and session:stream.
#include <string.h>

#include "script/request.h"

// Reads an option that is text, or a list of texts. The array lies in a userdata left on the stack.
static const char *const *read_strings(const gr_args *args, const char *name) {
    lua_State *L = args->L;
    if (!gr_args_push(args, name))
        return NULL;
    int list = lua_gettop(L);
    bool single = lua_type(L, list) == LUA_TSTRING;
    if (!single && lua_type(L, list) != LUA_TTABLE)
        gr_arg_fail(L, args->function, name, "a string or a list of strings", list);
    lua_Unsigned count = single ? 1 : lua_rawlen(L, list);
    if (count > 1000)
        luaL_error(L, "%s: %s: expected at most 1000 strings, got %I", args->function, name,
                   (lua_Integer)count);
    const char **stops = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *stops, 0);
    for (lua_Unsigned i = 0; i < count; i++) {
        if (single)
            lua_pushvalue(L, list);
        else
            lua_rawgeti(L, list, (lua_Integer)i + 1);
        stops[i] = gr_arg_name(L, -1, args->function, name);
        if (!*stops[i])
            gr_arg_fail(L, args->function, name, "text that is not empty", -1);
        lua_pop(L, 1); // the options keep it
    }
    stops[count] = NULL;
    return stops;
}

// The chain that `sampler` or `temperature` asks for, on the stack; NULL: the engine's default.
static const char *read_sampler(const gr_args *args) {
    lua_State *L = args->L;
    char text[80];
    const char *sampler = gr_args_text(args, "sampler", NULL);
    double temperature = gr_args_number(args, "temperature", -1, 0, 100);
    if (sampler && temperature >= 0)
        luaL_error(L,
                   "%s: temperature: expected none beside a sampler chain (put temperature(%f) "
                   "into the chain)",
                   args->function, temperature);
    if (sampler || temperature < 0)
        return sampler;
    if (temperature == 0)
        return "greedy";
    snprintf(text, sizeof text, "top-k(40);top-p(0.95);temperature(%.6g)", temperature);
    return lua_pushstring(L, text);
}

// Reads an option that is a token, or a list of tokens. The array lies in a userdata left on the stack.
static const int32_t *read_tokens(const gr_args *args, const char *name, uint32_t *out_count) {
    lua_State *L = args->L;
    size_t count;
    *out_count = 0;
    if (!gr_args_push(args, name))
        return NULL;
    if (lua_type(L, -1) == LUA_TNUMBER) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    const int32_t *tokens = gr_arg_tokens(L, -1, args->function, name, &count);
    *out_count = (uint32_t)count;
    return tokens;
}

// ---- Logit bias: {[token] = x, ["text"] = x}, as a stage in front of the chain

typedef struct biases {
    gr_model *model;
    uint32_t vocab;
    int pairs; // a list of texts, at this place of the stack
    lua_Integer count;
} biases;

// One token more.
static void add_token_bias(lua_State *L, biases *b, uint64_t token, double bias) {
    char pair[80];
    snprintf(pair, sizeof pair, "%u:%.9g ", (unsigned)token, bias);
    lua_pushstring(L, pair);
    lua_rawseti(L, b->pairs, ++b->count);
}

// For every token that writes the text at `index`: a letter may have one of its own and one for its byte.
static void add_text_bias(const gr_args *args, biases *b, int index, double bias) {
    lua_State *L = args->L;
    char piece[64];
    size_t bytes;
    bool any = false;
    const char *text = lua_tolstring(L, index, &bytes);
    for (uint32_t token = 0; token < b->vocab && bytes && bytes <= sizeof piece; token++) {
        if (gr_model_piece(b->model, (int32_t)token, false, piece, sizeof piece) != bytes || memcmp(piece, text, bytes) != 0)
            continue;
        add_token_bias(L, b, token, bias);
        any = true;
    }
    if (!any)
        luaL_error(L, "%s: logit_bias: expected text that is one token, got \"%s\"", args->function, text);
}

static void add_bias(const gr_args *args, biases *b, int table) {
    lua_State *L = args->L;
    int key = lua_gettop(L) - 1;
    double bias = lua_tonumber(L, -1);
    if (lua_isnumber(L, -1) && lua_isinteger(L, key))
        add_token_bias(L, b, gr_arg_whole(L, key, args->function, "logit_bias", 0, b->vocab - 1u), bias);
    else if (lua_isnumber(L, -1) && lua_type(L, key) == LUA_TSTRING)
        add_text_bias(args, b, key, bias);
    else
        gr_arg_fail(L, args->function, "logit_bias", "a table from tokens or texts to numbers", table);
}

// `sampler` (NULL: the engine's default) with biases in front of it, on the stack.
static const char *read_bias(const gr_args *args, gr_model *model, const char *sampler) {
    lua_State *L = args->L;
    if (!gr_args_push(args, "logit_bias"))
        return sampler;
    int table = lua_gettop(L);
    if (lua_type(L, table) != LUA_TTABLE)
        gr_arg_fail(L, args->function, "logit_bias", "a table from tokens or texts to numbers", table);
    gr_model_info info = {.struct_size = sizeof info};
    gr_model_info_get(model, &info);
    lua_newtable(L);
    biases b = {model, info.vocab, lua_gettop(L), 0};
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        add_bias(args, &b, table);
    if (!b.count)
        return sampler;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, "logit-bias(\"");
    for (lua_Integer i = 1; i <= b.count; i++) {
        lua_rawgeti(L, b.pairs, i);
        luaL_addvalue(&text);
    }
    luaL_addstring(&text, "\");");
    luaL_addstring(&text, sampler ? sampler : "top-k(40);top-p(0.95);temperature(0.7)");
    luaL_pushresult(&text);
    return lua_tostring(L, -1);
}

// A session given as an option; NULL when it is absent. Its box stays on the stack.
static gr_session *read_session(const gr_args *args, const char *name) {
    lua_State *L = args->L;
    if (!gr_args_push(args, name))
        return NULL;
    const gr_session_box *box = luaL_testudata(L, -1, GR_LUA_SESSION);
    if (!box || !box->session)
        gr_arg_fail(L, args->function, name, "an open session", -1);
    return box->session;
}

// ---- Constraints

// The text of the one constraint among the options, on the stack, and its kind; NULL when there is none.
static const char *read_constraint(const gr_args *args, const char **out_text, size_t *out_bytes) {
    static const char *const options[][2] = {{"json_schema", "json-schema"}, {"regex", "regex"}, {"grammar", "gbnf"},
                                             {"one_of", "choice"}};
    lua_State *L = args->L;
    const char *kind = NULL, *name = NULL;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!gr_args_push(args, options[i][0]))
            continue;
        if (kind)
            luaL_error(L, "%s: %s: expected none beside %s", args->function, options[i][0], name);
        name = options[i][0];
        kind = options[i][1];
        bool table = lua_istable(L, -1) && (i == 0 || i == 3);
        for (lua_Integer k = 1; i == 3 && table && k <= (lua_Integer)lua_rawlen(L, -1); k++, lua_pop(L, 1))
            if (lua_rawgeti(L, -1, k) != LUA_TSTRING)
                gr_arg_fail(L, args->function, name, "a list of strings", -1);
        if (table)
            gr_json_push(L, -1, args->function, name);
        else if (lua_type(L, -1) != LUA_TSTRING || i == 3)
            gr_arg_fail(L, args->function, name, i == 0 ? "a table or a string" : i == 3 ? "a list of strings" : "a string", -1);
        *out_text = lua_tolstring(L, -1, out_bytes);
    }
    return kind;
}

// ---- choose

typedef struct choose_job {
    gr_request_box *box;
    const float *logits;
    uint32_t vocab;
    int32_t token;
} choose_job;

static int choose_protected(lua_State *L) {
    choose_job *job = lua_touserdata(L, 1);
    if (!gr_script_recall(L, job->box))
        return luaL_error(L, "the stream is closed");
    int request = lua_gettop(L);
    lua_getiuservalue(L, request, 2);
    lua_getiuservalue(L, request, 1);
    gr_logits_push(L, -1, job->logits, job->vocab);
    lua_remove(L, -2);
    lua_call(L, 1, 1);
    job->token =
        (int32_t)gr_arg_whole(L, -1, "choose function", "returned token", 0, job->vocab - 1u);
    return 0;
}

// Keeps what choose raised, so that it is raised again as it was where the answer is read.
static int keep_error(lua_State *L) {
    const gr_request_box *box = lua_touserdata(L, 1);
    if (!gr_script_recall(L, box))
        return 0;
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 3);
    return 0;
}

static gr_status choose(void *context, const gr_session *session, const float *logits,
                        uint32_t vocab, int32_t *out_token, gr_error *error) {
    choose_job job = {.box = context, .logits = logits, .vocab = vocab};
    lua_State *L = job.box->script->active;
    (void)session;
    if (!L || !lua_checkstack(L, 8))
        return gr_fail(error, GR_ERROR_SCRIPT, "script",
                       "no Lua state to run the choose function on");
    int top = lua_gettop(L);
    gr_budget before;
    lua_pushcfunction(L, choose_protected);
    lua_pushlightuserdata(L, &job);
    gr_budget_begin_choose(L, job.box->choose_instructions, &before);
    int failed = lua_pcall(L, 1, 0, 0);
    gr_budget_end_choose(L, &before);
    if (!failed) {
        *out_token = job.token;
        return GR_OK;
    }
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                         : "the choose function raised an error";
    gr_fail(error, GR_ERROR_SCRIPT, "script", "%s", message);
    lua_pushcfunction(L, keep_error);
    lua_pushlightuserdata(L, job.box);
    lua_pushvalue(L, -3);
    lua_pcall(L, 2, 0, 0);
    lua_settop(L, top);
    return GR_ERROR_SCRIPT;
}

// ---- Starting

// Starts a request on the session at 1 with the options at 2; leaves its box on top of the stack. A stream is one
// answer, so it knows no n and best_of.
static gr_request_box *start(lua_State *L, const char *function, bool stream) {
    static const char *const known[] = {"n", "best_of", "max_tokens", "temperature", "sampler", "seed", "stop",
                                        "ignore_end", "raw", "choose", "top", "heal", "banned",
                                        "logit_bias", "guide", "guidance", "guesses", "draft",
                                        "json_schema", "regex", "grammar", "one_of", "choose_instructions", "stop_tokens",
                                        "max_seconds", NULL};
    gr_session_box *session = gr_session_self(L, function);
    gr_error error;
    gr_call call;
    gr_error_init(&error);
    lua_settop(L, 2);
    luaL_checkstack(L, 60, function); // options stay there
    gr_args args = gr_args_open(L, 2, function, known + (stream ? 2 : 0));
    gr_generate_options options = {
        .struct_size = sizeof options,
        .max_tokens = (uint32_t)gr_args_whole(&args, "max_tokens", 0, 1, UINT32_MAX),
        .seed = gr_args_whole(&args, "seed", 0, 1, UINT64_C(1) << 53),
        .ignore_end = gr_args_flag(&args, "ignore_end", false),
        .raw = gr_args_flag(&args, "raw", false),
        .top_tokens = (uint32_t)gr_args_whole(&args, "top", 0, 0, 64),
        .heal = gr_args_flag(&args, "heal", false),
        .stop = read_strings(&args, "stop"),
        .banned = read_strings(&args, "banned"),
        .guide = read_session(&args, "guide"),
        .guidance = gr_args_number(&args, "guidance", 1.5, 0, 1000),
        .draft = read_session(&args, "draft")};
    options.stop_tokens = read_tokens(&args, "stop_tokens", &options.stop_token_count);
    // No limit is 0 here, so that the least is a millisecond.
    double seconds = gr_args_number(&args, "max_seconds", 0, 0.001, 4000000);
    options.time_limit_ms = (uint32_t)(seconds * 1000);
    options.seed = gr_record_seed(gr_script_get(L), options.seed);
    options.guesses = (uint32_t)gr_args_whole(&args, "guesses", options.draft ? 5 : 0, 0, 32);
    options.sampler = read_bias(&args, gr_session_model(session->session), read_sampler(&args));
    bool chooses = gr_args_push(&args, "choose");
    if (chooses && lua_type(L, -1) != LUA_TFUNCTION)
        gr_arg_fail(L, function, "choose", "a function", -1);
    int function_index = lua_gettop(L);
    size_t bytes = 0;
    const char *text = NULL, *kind = read_constraint(&args, &text, &bytes);
    gr_request_box *box = gr_request_new(L, 1);
    box->choose_instructions = gr_args_whole(&args, "choose_instructions", 100000000, 1, UINT64_C(1) << 53);
    if (chooses) {
        lua_pushvalue(L, function_index);
        lua_setiuservalue(L, -2, 2);
        options.choose = choose;
        options.choose_context = box;
    }
    gr_call_begin(L, function, session->session, false, &call);
    gr_status status = GR_OK;
    if (kind)
        status = gr_model_grammar(gr_session_model(session->session), kind, text, bytes, &options.grammar, &error);
    if (status == GR_OK)
        status = gr_request_start(session->session, &options, &box->request, &error);
    gr_grammar_release(options.grammar);
    gr_call_end(&call);
    if (status != GR_OK)
        gr_raise(L, function, &error);
    gr_record_begin(box);
    return box;
}

int gr_lua_session_stream(lua_State *L) {
    start(L, "session:stream", true);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4; // the iterator, and the same as what a for loop closes
}

// Stack: session, options, ..., the request's box last (at `context`).
static int generate_k(lua_State *L, int resumed, lua_KContext context) {
    static const char function[] = "session:generate";
    int index = (int)context;
    (void)resumed;
    gr_request_box *box = lua_touserdata(L, index);
    for (;;) {
        const char *text;
        size_t bytes;
        if (gr_request_take(L, function, index, &text, &bytes))
            break;
        if (gr_script_may_yield(L))
            return lua_yieldk(L, 0, context, generate_k);
        gr_request_step(L, function, index);
    }
    gr_request_push_text(L, box);
    gr_request_push_info(L, box);
    gr_request_box_close(box);
    return 2;
}

static bool has_option(lua_State *L, const char *name) {
    bool has = false;
    if (lua_type(L, 2) == LUA_TTABLE) {
        lua_pushstring(L, name);
        has = lua_rawget(L, 2) != LUA_TNIL;
        lua_pop(L, 1);
    }
    return has;
}

int gr_lua_session_generate(lua_State *L) {
    lua_settop(L, 2);
    if (has_option(L, "n") || has_option(L, "best_of"))
        return gr_lua_generate_many(L);
    start(L, "session:generate", false);
    return generate_k(L, LUA_OK, lua_gettop(L));
}
