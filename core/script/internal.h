// SPDX-License-Identifier: Apache-2.0
// internal.h: what the files of the binding share. Inside the script room.
//
// Every engine object lives in a userdata ("box") with __gc and __close, made before the object is,
// so that nothing leaks when Lua raises. The engine calls back into Lua (choose, chat encoders)
// only from inside a call that gr_call_begin opened, on that call's lua_State, protected.
#ifndef GREGALE_SCRIPT_INTERNAL_H
#define GREGALE_SCRIPT_INTERNAL_H

#include <lauxlib.h>
#include <signal.h>
#include <stdbool.h>

#include "script/record.h"
#include "script/sandbox.h"
#include "script/script.h"

#define GR_LUA_MODEL "gregale.model"
#define GR_LUA_SESSION "gregale.session"
#define GR_LUA_REQUEST "gregale.stream"
#define GR_LUA_LOGITS "gregale.logits"
#define GR_LUA_EMPTY_LIST "gregale.list"

struct gr_script {
    lua_State *main;
    gr_engine *engine; // made at first need
    gr_engine_options options;
    char *trace_path;
    lua_State *active; // whose call is inside the engine: hooks run on it
    lua_State *branch; // the coroutine that gregale.parallel runs now, or NULL
    bool stepping;     // inside a step, so no other may begin
    volatile sig_atomic_t interrupted;
    uint32_t interruptions; // raised so far
    bool cancelled;         // the error that came last to gr_script_protected is an interrupt
    struct gr_noted_event *events; // of devices, in order, not yet told
    gr_sandbox *sandbox;           // NULL: the script is trusted
    gr_record *record;             // NULL: nobody takes notes
    uint64_t instructions, choose_instructions; // left of the budgets; UINT64_MAX: none
};

typedef struct gr_model_box {
    gr_model *model; // NULL once closed
    uint32_t context; // of new sessions; 0: the engine's default
} gr_model_box;

// User values: 1 the chat encoder, 2 the text it returned last.
typedef struct gr_session_box {
    gr_session *session;
} gr_session_box;

// User values: 1 the session's box, 2 the choose function, 3 what that function raised.
typedef struct gr_request_box {
    gr_request *request;
    gr_script *script;
    gr_session_box *session_box;
    uint64_t choose_instructions; // of one call
    uint64_t number, prompt_tokens, prompt_hash; // in the record; 0: not there, or told already
} gr_request_box;

// ---- script.c
gr_script *gr_script_get(lua_State *L); // raises when gr_script_open was not called
gr_engine *gr_script_engine(lua_State *L, gr_script *script); // makes it; raises
// A weak table from addresses to boxes, for hooks that start from a C pointer.
void gr_script_remember(lua_State *L, const void *key, int index);
bool gr_script_recall(lua_State *L, const void *key); // pushes the box or nothing
// A progress callback with the script as context: false once interrupted.
bool gr_script_progress(void *context, double fraction, const char *what);
// Raises if an interrupt is pending.
void gr_script_check_interrupt(lua_State *L, gr_script *script);
// Whether the value is the error that the last interrupt raised, perhaps behind positions that coroutine.wrap adds.
bool gr_script_is_interrupt(lua_State *L, int index);

// ---- budget.c
typedef struct gr_budget {
    uint64_t choose_instructions;
    lua_Hook hook;
    int mask, count;
} gr_budget;
bool gr_budget_spent(const gr_script *script);
void gr_budget_charge(lua_State *L, uint64_t instructions); // raises when it is used up
void gr_budget_charge_coroutine(lua_State *L); // in a sandbox; raises
void gr_budget_rest(lua_State *L); // the hook that runs while nothing special goes on
// Around one call of a choose function on L, which may raise in between.
void gr_budget_begin_choose(lua_State *L, uint64_t instructions, gr_budget *out_before);
void gr_budget_end_choose(lua_State *L, const gr_budget *before);

// ---- record.c: all do nothing where nobody takes notes
const char *gr_record_device(const gr_script *script, const char *asked); // the one to use
uint64_t gr_record_seed(const gr_script *script, uint64_t asked);         // of the answer that begins next
void gr_record_model(gr_script *script, const gr_model *model);
// A choice gets its number when it begins, whatever ends first.
typedef struct gr_recorded_choice {
    uint64_t number, prompt_tokens, prompt_hash; // number 0: not in the record
} gr_recorded_choice;
void gr_record_choice_begin(gr_script *script, const gr_session *session, gr_recorded_choice *out_choice);
void gr_record_choice_end(gr_script *script, const gr_session *session, const gr_recorded_choice *choice, int32_t option);
void gr_record_begin(gr_request_box *box);
void gr_record_end(gr_request_box *box); // once, however often it is called

// ---- files.c
// A file that a script names. In a sandbox the granted file's own name, pushed; raises where it is not granted.
// Elsewhere `path` as it is, pushed, too.
const char *gr_script_path(lua_State *L, const char *function, const char *path, bool write);
void gr_files_open(lua_State *L); // the sandbox's io and require, as globals

// Calls the function below its one argument, both on the stack, which they leave. Returns CANCELLED (interrupted), OUT_OF_MEMORY or
// SCRIPT with a message and traceback in *out_message (may be NULL), to be freed with free().
gr_status gr_script_protected(lua_State *L, char **out_message);

// ---- traceback.c
int gr_traceback_add(lua_State *L); // a message handler for lua_pcall
// For the error at the top of the stack, raised in `branch`: pushes the calls that led to it, as text, or nil.
void gr_traceback_push(lua_State *L, lua_State *branch);
// The error below the top is about to be raised again: its calls, at the top, are kept for gr_traceback_add. Pops them.
void gr_traceback_keep(lua_State *L);

// ---- call.c
// A call into the engine that may run hooks: remembers whose it is and keeps the session alive
// meanwhile.
typedef struct gr_call {
    gr_script *script;
    lua_State *previous;
    gr_session *session;
    bool was_stepping;
} gr_call;
// Raises inside a choose function, where no step can begin.
void gr_script_check_steps(lua_State *L, const char *function);
// `steps`: the call steps the engine; raises inside a choose function, where that is impossible.
void gr_call_begin(lua_State *L, const char *function, gr_session *session, bool steps,
                   gr_call *out_call);
void gr_call_end(gr_call *call);
// Raises the error's one-line message, with the script's position.
int gr_raise(lua_State *L, const char *function, const gr_error *error);
// Whether to wait by lua_yieldk (a branch of gregale.parallel) in place of gr_script_step.
bool gr_script_may_yield(lua_State *L);
// One engine step. Raises when interrupted, or when called inside a choose function. *out_worked:
// there was work.
void gr_script_step(lua_State *L, const char *function, bool *out_worked);

// ---- events.c: failing devices, told between steps and after calls that step
void gr_script_note_event(void *context, const gr_device_event *event); // for gr_engine_options
void gr_script_tell_events(lua_State *L, gr_script *script); // may raise
void gr_script_drop_events(gr_script *script);

// ---- args.c: errors name the function, the argument, what was expected and what was found
typedef struct gr_args {
    lua_State *L;
    const char *function;
    int table; // absolute index of the options; 0: none
} gr_args;
int gr_arg_fail(lua_State *L, const char *function, const char *argument, const char *expected,
                int index);
// The options at `index`: a table, nil or none; `known` (ends with NULL) are the names it may hold,
// checked.
gr_args gr_args_open(lua_State *L, int index, const char *function, const char *const *known);
uint64_t gr_args_whole(const gr_args *args, const char *name, uint64_t fallback, uint64_t low,
                       uint64_t high);
double gr_args_number(const gr_args *args, const char *name, double fallback, double low,
                      double high);
bool gr_args_flag(const gr_args *args, const char *name, bool fallback);
// Text without NUL, borrowed from the table; `fallback` when absent.
const char *gr_args_text(const gr_args *args, const char *name, const char *fallback);
// Pushes the option; returns whether it is there (nothing pushed otherwise).
bool gr_args_push(const gr_args *args, const char *name);
// Positional arguments.
uint64_t gr_arg_whole(lua_State *L, int index, const char *function, const char *argument,
                      uint64_t low, uint64_t high);
const char *gr_arg_text(lua_State *L, int index, const char *function, const char *argument,
                        size_t *out_bytes);
const char *gr_arg_name(lua_State *L, int index, const char *function,
                        const char *argument); // without NUL
// Tokens from the sequence at `index`, in a new userdata left on the stack.
int32_t *gr_arg_tokens(lua_State *L, int index, const char *function, const char *argument,
                       size_t *out_count);

// ---- library.c
// Puts the modules of scripts/lib into package.preload.
void gr_script_add_library(lua_State *L);

// ---- json.c
// Pushes the value at `index` as JSON text, a schema's properties in a fixed order. Raises.
void gr_json_push(lua_State *L, int index, const char *function, const char *argument);

// ---- json_read.c
int gr_lua_from_json(lua_State *L);

// ---- the types
void gr_push_type(lua_State *L, const char *type, const luaL_Reg *methods, const luaL_Reg *meta);
void gr_model_type(lua_State *L);
void gr_session_type(lua_State *L);
void gr_request_type(lua_State *L);
void gr_logits_type(lua_State *L);

gr_model_box *gr_model_new(lua_State *L); // pushes a box without a model
gr_session_box *gr_session_new(lua_State *L);
// The model or session at index 1, open; raises otherwise.
gr_model *gr_model_self(lua_State *L, const char *function);
gr_session_box *gr_session_self(lua_State *L, const char *function);
// Pushes a view of `logits`, which belong to the session box at `session_index`.
void gr_logits_push(lua_State *L, int session_index, const float *logits, uint32_t vocab);
// Encodes turns that are not in the token log yet. Raises.
void gr_session_ready(lua_State *L, const char *function, gr_session_box *box);
void gr_push_tokens(lua_State *L, const int32_t *tokens, size_t count);
// Encodes turns of the session at index 1, and wants evaluated what waits. Raises.
void gr_session_want(lua_State *L, const char *function);
// Whether nothing of the session at index 1 waits to be evaluated. False only where the caller is to yield, as a branch
// of gregale.parallel whose steps do the work; elsewhere it steps until that is so, and raises what fails.
bool gr_session_settled(lua_State *L, const char *function);
// Where tool calls come from: those of a turn, or of an answer.
typedef struct gr_call_source {
    gr_status (*get)(const struct gr_call_source *source, uint32_t index,
                     gr_tool_call_info *out_call);
    const void *from;
    uint32_t turn;
} gr_call_source;
// Pushes a list of {id=, name=, arguments=}; returns whether there is any.
bool gr_push_tool_calls(lua_State *L, const gr_call_source *source);

// Functions of types and the module that have a file of their own.
int gr_lua_parallel(lua_State *L);
int gr_lua_map(lua_State *L);
int gr_lua_interrupted(lua_State *L);
int gr_lua_session_generate(lua_State *L);
int gr_lua_generate_many(lua_State *L); // with n or best_of
int gr_lua_session_stream(lua_State *L);
int gr_lua_session_choose(lua_State *L);
int gr_lua_session_score(lua_State *L);
int gr_lua_session_embed(lua_State *L);
int gr_lua_session_move(lua_State *L);
int gr_lua_model_move(lua_State *L);
int gr_lua_on_device_event(lua_State *L);
int gr_lua_session_save(lua_State *L);
int gr_lua_model_restore(lua_State *L);
extern const luaL_Reg gr_session_turn_methods[];
// Takes over turn encoding by the function at `index` (nil: the model's own).
void gr_session_use_encoder(lua_State *L, const char *function, int session_index, int index);

#endif
