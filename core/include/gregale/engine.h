// SPDX-License-Identifier: Apache-2.0
// engine.h: run models from C: load, converse, fork, rewind, generate, move.
// For programs that embed Gregale; the Lua binding and the command line stand on it too. C11 and C++17.
//
// An engine owns the machine's devices and steps all sessions that have work together: one ragged batch,
// one pass over the weights. Generation is a request on a session; requests of many sessions advance at
// each gr_engine_step. The blocking calls step the engine until their own request has ended, and the
// others advance with it.
//
// Threads: one engine and everything made from it belong to one thread at a time, except gr_request_cancel
// and gr_engine_interrupt, which any thread and a signal handler may call. Independent engines are
// independent.
//
// Lifetimes: an object keeps what it was made from alive (a session its model, a model its engine), so
// they may be released in any order. Strings returned are borrowed from the object unless said otherwise.
#ifndef GREGALE_ENGINE_H
#define GREGALE_ENGINE_H

#include <stdbool.h>

#include "gregale/backend.h"
#include "gregale/status.h"

#if defined(__GNUC__)
#pragma GCC visibility push(default) // what libgregale exports
#endif
#ifdef __cplusplus
extern "C" {
#endif

typedef struct gr_engine gr_engine;
typedef struct gr_model gr_model;
typedef struct gr_session gr_session;
typedef struct gr_request gr_request;
typedef struct gr_move gr_move;

#define GR_DEFAULT_CONTEXT 4096u

// ---------------------------------------------------------------------------------------------
// Engine

// A device failed in a step; the sessions on it go on with the next one, or their requests end. Those that go on
// are evaluated again from their tokens: nobody who reads an answer can tell. The device is left alone for a
// second, twice as long after every further failure. A session that has failed on every device without getting
// further ends there.
typedef struct gr_device_event {
    uint32_t struct_size;
    gr_status status;    // DEVICE_LOST, TIMEOUT or OUT_OF_MEMORY
    const char *device;
    const char *next;    // NULL: no device could take over
    const char *message; // what the device said
    uint64_t sessions;   // that are concerned
} gr_device_event;

// All zero (but struct_size) means defaults.
typedef struct gr_engine_options {
    uint32_t struct_size;
    uint32_t threads;                    // 0: one a physical core this process may use
    const char *const *plugin_directories; // searched first; ends with NULL; may be NULL
    void (*log)(void *context, gr_log_level level, const char *line); // NULL: silence
    void *log_context;
    gr_log_level log_level;
    uint32_t trace;                      // 1: record what runs, for gr_engine_trace_write
    uint32_t deterministic;              // 1: only paths whose bits do not depend on batch, chunk or bucket
                                         // (also GREGALE_DETERMINISTIC=1)
    uint32_t no_fusion;                  // 1: decompose every composite (also GREGALE_NO_FUSION=1)
    const char *topology_xml;            // an hwloc XML file in place of this machine, for tests
    uint32_t step_timeout_ms;            // a device that takes longer for a step has failed, and what it may still
                                         // use is kept for good; 0: waits for ever
                                         // (also GREGALE_STEP_TIMEOUT, in seconds)
    uint32_t reserved;
    // Called within gr_engine_step, which it must not call; strings are borrowed for the call. NULL: nobody.
    void (*device_event)(void *context, const gr_device_event *event);
    void *device_event_context;
} gr_engine_options;

gr_status gr_engine_create(const gr_engine_options *options, gr_engine **out_engine, gr_error *error);
void gr_engine_release(gr_engine *engine);
gr_engine *gr_engine_retain(gr_engine *engine);

typedef struct gr_device_info {
    uint32_t struct_size;
    uint32_t reserved;
    const char *name;
    const char *description;
    const char *plugin_path;
    const char *reason; // of its score, in words
    double score;
    gr_device_flags flags;
    uint64_t memory_bytes;
} gr_device_info;

// Devices, best first.
uint32_t gr_engine_device_count(const gr_engine *engine);
gr_status gr_engine_device(const gr_engine *engine, uint32_t index, gr_device_info *out_info);
// The hardware facts that mattered, plugins found or refused and why, scores, the decision; as text for
// people or one JSON object. Free with gr_text_free.
gr_status gr_engine_why(gr_engine *engine, bool json, char **out_text, gr_error *error);
void gr_text_free(char *text);
uint32_t gr_engine_threads(const gr_engine *engine);

// Runs one step for every session that has work, and takes moves a bit further. *out_worked is false when there
// was nothing to do; a move whose shadow waits for tokens is nothing to do.
gr_status gr_engine_step(gr_engine *engine, bool *out_worked, gr_error *error);
// Makes the running or next blocking call return GR_ERROR_CANCELLED; the sessions stay usable.
void gr_engine_interrupt(gr_engine *engine);
// Takes an interrupt back that no call has answered yet; returns whether there was one.
bool gr_engine_interrupt_take(gr_engine *engine);
// Writes the trace so far (Chrome trace JSON); INVALID_ARGUMENT when tracing is off.
gr_status gr_engine_trace_write(gr_engine *engine, const char *path, gr_error *error);

// ---------------------------------------------------------------------------------------------
// Models

#define GR_SLIDING_WINDOW_FROM_FILE (-1)

typedef struct gr_model_options {
    uint32_t struct_size;
    // NULL or "auto": the best; a device's name; "cpu:20,far:12": so many layers on each, in order, where one may
    // leave its number out and gets the rest; "split": as many on each, best first, as its memory holds.
    const char *device;
    int64_t sliding_window;  // GR_SLIDING_WINDOW_FROM_FILE, 0: off, or a window for every layer
    uint32_t has_sliding_window; // 1: use the field above; 0: as the file (or a preset) says
    gr_dtype kv_dtype;       // F32, F16, BF16 or Q8_0, when has_kv_dtype; else F16
    uint32_t has_kv_dtype;
    uint32_t chunk;          // most rows of one step (prefill); 0: 512
    uint32_t page_tokens;    // 0: 64; a power of two
    uint32_t rewind_reserve; // positions a rewind can always go back; 0: 64
    uint64_t cache_bytes;    // limit for all sessions' caches on one device; 0: what memory allows. When it does not
                             // suffice sessions wait for each other: by priority, then by age of their work
    const char *chat_format; // NULL: from the file
    // Loading progress, 0 to 1; return false to cancel. May be NULL.
    bool (*progress)(void *context, double fraction, const char *what);
    void *progress_context;
} gr_model_options;

// Finds a type of cached keys and values by name: "f32", "f16", "bf16" or "q8_0", in any case. False when
// there is none, and *out_dtype stays.
bool gr_cache_type_find(const char *name, gr_dtype *out_dtype);

// Loads a model and readies it on a device. The error names the file, the place and what was expected,
// or which device refused which operation and why.
gr_status gr_model_load(gr_engine *engine, const char *path, const gr_model_options *options,
                        gr_model **out_model, gr_error *error);
// Where its layers would lie, in their order, without loading it: "cpu", or "cpu:20,far:12". Free with gr_text_free.
gr_status gr_model_place(gr_engine *engine, const char *path, const gr_model_options *options, char **out_devices,
                         gr_error *error);
gr_model *gr_model_retain(gr_model *model);
void gr_model_release(gr_model *model);

typedef struct gr_model_info {
    uint32_t struct_size;
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab, context_train;
    uint32_t window_min, window_max; // over layers; 0: none
    uint32_t windowed_layers;
    const char *path, *name, *architecture, *tokenizer, *chat_format, *device, *notice;
    uint64_t parameters, weight_bytes, resident_bytes;
    uint8_t fingerprint[16];
    const char *cache_type; // "f16"
} gr_model_info;
gr_status gr_model_info_get(const gr_model *model, gr_model_info *out_info);

// Tokens of `text`. Writes at most `capacity` and sets *out_count to how many there are in all.
// `special`: add the beginning token as the model wants it. `parse_control`: control tokens spelled in
// the text become themselves (for trusted text).
gr_status gr_model_tokenize(const gr_model *model, const char *text, size_t bytes, bool special,
                            bool parse_control, int32_t *out_tokens, size_t capacity, size_t *out_count,
                            gr_error *error);
// Bytes of one token: writes at most `capacity`, returns how many there are.
size_t gr_model_piece(const gr_model *model, int32_t token, bool render_control, char *out_bytes,
                      size_t capacity);
bool gr_model_is_end(const gr_model *model, int32_t token);

// A language that answers are to belong to, compiled for one model's vocabulary.
typedef struct gr_grammar gr_grammar;
// Compiles `text`, of a kind: "json-schema", "regex", "gbnf", or "choice" (a JSON array of texts);
// docs/constraints.md says what each takes. The model keeps those used last. The error says where in the text it
// is, and names a keyword that is not supported.
gr_status gr_model_grammar(gr_model *model, const char *kind, const char *text, size_t bytes, gr_grammar **out_grammar,
                           gr_error *error);
gr_grammar *gr_grammar_retain(gr_grammar *grammar);
void gr_grammar_release(gr_grammar *grammar);

// ---------------------------------------------------------------------------------------------
// Sessions

typedef struct gr_session_options {
    uint32_t struct_size;
    uint32_t context; // most positions; 0: GR_DEFAULT_CONTEXT or the model's training context if smaller
    int32_t priority; // higher is served first, and keeps its cache when memory is short; forks have it too
    uint32_t reserved;
} gr_session_options;

gr_status gr_session_create(gr_model *model, const gr_session_options *options, gr_session **out_session,
                            gr_error *error);
gr_session *gr_session_retain(gr_session *session);
void gr_session_release(gr_session *session);
gr_model *gr_session_model(gr_session *session); // borrowed

// Appends tokens or text (as a continuation; the first text of an empty session gets the beginning
// token). They are evaluated at the next step. OUT_OF_RANGE when the context is full, BUSY while a request generates: nothing
// appended.
gr_status gr_session_append_tokens(gr_session *session, const int32_t *tokens, size_t count, gr_error *error);
gr_status gr_session_append_text(gr_session *session, const char *text, size_t bytes, gr_error *error);
// Tokens so far, evaluated or waiting, without guesses; borrowed until the session changes.
const int32_t *gr_session_tokens(const gr_session *session, size_t *out_count);
// Positions whose keys and values are in the cache.
uint64_t gr_session_evaluated(const gr_session *session);
// Wants what is waiting evaluated by the steps to come, also where a step failed, or where its cache went to others
// while nobody wanted anything of it. Appending, evaluating and generating do so.
void gr_session_ask(gr_session *session);
// Whether steps are going to evaluate something of it; perhaps not the next ones, when memory is short.
bool gr_session_pending(const gr_session *session);
// Evaluates what is waiting, so that logits are ready. `progress` as in gr_model_options.
gr_status gr_session_evaluate(gr_session *session, bool (*progress)(void *, double, const char *), void *context,
                              gr_error *error);

// Chat turns. The conversation is encoded with the model's chat format when generation begins; what the
// cache holds of it already is kept. UNSUPPORTED when the model has no chat format.
typedef uint32_t gr_chat_role;
enum { GR_CHAT_SYSTEM = 0, GR_CHAT_USER = 1, GR_CHAT_ASSISTANT = 2, GR_CHAT_TOOL = 3 };
gr_status gr_session_turn(gr_session *session, gr_chat_role role, const char *text, size_t bytes, gr_error *error);
gr_status gr_session_tool_result(gr_session *session, const char *call_id, const char *name, const char *text,
                                 size_t bytes, gr_error *error);
// A JSON array of function definitions, offered to the model from the next turn on; NULL: none.
gr_status gr_session_tools(gr_session *session, const char *json, gr_error *error);
uint32_t gr_session_turn_count(const gr_session *session);
gr_status gr_session_turn_get(const gr_session *session, uint32_t index, gr_chat_role *out_role,
                              const char **out_text, size_t *out_bytes);
// A call the assistant made. `id` is NULL where the format has none; `arguments` is JSON text.
typedef struct gr_tool_call_info {
    uint32_t struct_size;
    uint32_t reserved;
    const char *id, *name, *arguments;
} gr_tool_call_info;
// Call `index` of turn `turn`, borrowed until the turns change; OUT_OF_RANGE when there is none.
gr_status gr_session_turn_tool_call(const gr_session *session, uint32_t turn, uint32_t index,
                                    gr_tool_call_info *out_info);
// An assistant turn that calls functions, as if the model had written it. `arguments` NULL: none.
gr_status gr_session_tool_calls(gr_session *session, const char *text, size_t bytes,
                                const gr_tool_call_info *calls, uint32_t count, gr_error *error);
// Drops the turns from `index` on.
gr_status gr_session_turns_truncate(gr_session *session, uint32_t index, gr_error *error);
// Encodes the turns now, so that the tokens can be looked at or evaluated.
gr_status gr_session_apply_turns(gr_session *session, gr_error *error);
// Takes over turn-to-token encoding (NULL: the model's own format). `encode` returns text in which
// control tokens are spelled out; the engine copies it before calling anything else.
typedef gr_status (*gr_chat_encoder)(void *context, const gr_session *session, char **out_text,
                                     size_t *out_bytes, gr_error *error);
gr_status gr_session_set_chat_encoder(gr_session *session, gr_chat_encoder encode, void *context);

// A new session with the same tokens, turns and cache; full pages are shared, the last is copied when
// either writes.
gr_status gr_session_fork(gr_session *session, gr_session **out_session, gr_error *error);
// Keeps the first `count` tokens. Within the reserve (gr_session_can_rewind) it costs nothing; further
// back the cache that the window dropped is rebuilt by evaluating again, at the next step.
gr_status gr_session_rewind(gr_session *session, uint64_t count, gr_error *error);
bool gr_session_can_rewind(const gr_session *session, uint64_t count);
// Pins the cache at the present end, so that this session and its forks can rewind to it without
// evaluating again, however far they went. An anchor costs memory and changes no result.
gr_status gr_session_anchor(gr_session *session, uint64_t *out_position, gr_error *error);
gr_status gr_session_anchor_drop(gr_session *session, uint64_t position, gr_error *error);

// Writes the session to a file: tokens, turns, keys and values, logits, and the answer in progress if there is one,
// which goes on here as well. The file is replaced whole or not at all. Nothing is evaluated; anchors are not saved.
// UNSUPPORTED, and which, when a function of the caller's takes part (a chat encoder, an answer's choose), or an
// answer goes on with a guide, guesses, banned strings, top tokens, a healed prompt, stop tokens or a
// limit of time.
// `progress` as in gr_model_options; may be NULL. docs/snapshots.md has the format.
gr_status gr_session_save(gr_session *session, const char *path, bool (*progress)(void *, double, const char *),
                          void *context, gr_error *error);
// Makes a session of a file, all or nothing; the device, the page size and the cache's dtype may differ from those
// it was saved with. `options` (may be NULL): context 0 means the saved one. CORRUPT when the file is damaged,
// cut off or no snapshot, INCOMPATIBLE when it is of another model, window or chat format, UNSUPPORTED when it
// holds what this version does not know, OUT_OF_RANGE when the context is too small.
// `out_request` receives the answer in progress, or NULL when there was none; it is the caller's to read and
// release. Without (NULL) such an answer ends here, as if cancelled.
gr_status gr_session_restore(gr_model *model, const char *path, const gr_session_options *options,
                             bool (*progress)(void *, double, const char *), void *context, gr_session **out_session,
                             gr_request **out_request, gr_error *error);

// Logits behind the last token, F32[vocab], evaluating what is waiting. Borrowed until the session's next
// step; `out_generation` (may be NULL) changes then, so a view can tell that it is stale.
// BUSY while an answer's guesses are being checked.
gr_status gr_session_logits(gr_session *session, const float **out_logits, uint32_t *out_vocab,
                            uint64_t *out_generation, gr_error *error);
uint64_t gr_session_generation(const gr_session *session);
// Receives the logits, F32[vocab], behind the token at `position` of a session; borrowed for the call, which calls no
// function of this header.
typedef void (*gr_logits_observer)(void *context, uint64_t position, const float *logits, uint32_t vocab);
// Appends `count` tokens and evaluates them; `observe` is called with the logits behind each, in order.
gr_status gr_session_append_observed(gr_session *session, const int32_t *tokens, size_t count, gr_logits_observer observe,
                                     void *context, gr_error *error);
// Appends `count` tokens and evaluates them; log-probability of each, given all before it, natural logarithm
// (NaN for the first token of an empty session).
gr_status gr_session_append_scored(gr_session *session, const int32_t *tokens, size_t count,
                                   double *out_log_probabilities, gr_error *error);
// What the model makes of a continuation of a session, which is left as it was: a fork reads it while the engine steps,
// beside whatever else has work.
typedef uint32_t gr_reading_kind;
enum {
    GR_READ_SCORE = 0, // log-probability of each token, given all before it
    GR_READ_MEAN = 1,  // an embedding: the mean of the tokens' final hidden states (behind the last norm)
    GR_READ_LAST = 2,  // an embedding: the last token's final hidden state
};
typedef struct gr_reading_options {
    uint32_t struct_size;
    gr_reading_kind kind;
    const char *text; // the continuation, as gr_session_append_text takes it; NULL: `tokens`
    size_t text_bytes;
    const int32_t *tokens;
    size_t token_count; // embeddings want at least one
} gr_reading_options;
typedef struct gr_reading gr_reading;
// Begins. What the session has waiting is read by the fork as well: evaluate it before, where many are to read.
// UNSUPPORTED when an embedding is asked for and the model's graph shows no hidden states, INVALID_ARGUMENT when it is
// of no tokens, OUT_OF_RANGE when the continuation does not fit the context or a token the vocabulary. The session may
// be released before the reading.
gr_status gr_reading_start(gr_session *session, const gr_reading_options *options, gr_reading **out_reading, gr_error *error);
// Whether steps are going to do something for it.
bool gr_reading_pending(const gr_reading *reading);
// Steps the engine until it is done; may be called again. CANCELLED when interrupted, else what a step failed with.
gr_status gr_reading_finish(gr_reading *reading, gr_error *error);
typedef struct gr_reading_info {
    uint32_t struct_size;
    uint32_t dim;                    // of the embedding
    const int32_t *tokens;           // [token_count]: the continuation; NULL when it is of none
    size_t token_count;
    const double *log_probabilities; // [token_count], natural logarithm; NaN for the first token of an empty session
    const float *embedding;          // [dim]
} gr_reading_info;
// What it found, borrowed until it is released; what its kind does not give is NULL. Only once it has finished.
gr_status gr_reading_info_get(const gr_reading *reading, gr_reading_info *out_info);
void gr_reading_release(gr_reading *reading); // NULL allowed; also before it is done

// A reading from beginning to end, behind what the session has waiting, which is evaluated there. Log-probability of
// each of `count` tokens.
gr_status gr_session_score(gr_session *session, const int32_t *tokens, size_t count, double *out_log_probabilities,
                           gr_error *error);
// The embedding of `count` tokens, F32[dim of gr_model_info]; `kind` is GR_READ_MEAN or GR_READ_LAST.
gr_status gr_session_embed(gr_session *session, const int32_t *tokens, size_t count, gr_reading_kind kind,
                           float *out_embedding, gr_error *error);

typedef struct gr_session_stats {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t positions;          // tokens evaluated
    uint64_t resident_positions; // whose keys and values are held, in the layer that holds most
    uint64_t pages, shared_pages, evicted_pages;
    uint64_t cache_bytes;        // of the pages it refers to; a shared page counts whole
    uint64_t own_bytes;          // pages nobody else refers to
    uint64_t full_bytes;         // what a cache without windows would take now
    uint64_t prefill_tokens, decode_tokens, steps;
    double prefill_seconds, decode_seconds;
    uint64_t preemptions;        // how often its pages went to others, and its tokens were or will be evaluated again
} gr_session_stats;
gr_status gr_session_stats_get(const gr_session *session, gr_session_stats *out_stats);

// ---------------------------------------------------------------------------------------------
// Moving to other devices, while generating

typedef uint32_t gr_move_stage;
enum {
    GR_MOVE_PREPARE = 0, // weights are imported and programs compiled there, beside the steps here
    GR_MOVE_COPY = 1,    // full cache pages are copied, a slice between two steps
    GR_MOVE_CHECK = 2,   // a token is evaluated on both sides and compared
    GR_MOVE_DONE = 3,    // the sessions are there, and what nobody uses on the old side has been let go of
    GR_MOVE_FAILED = 4,  // everything is where it was
    GR_MOVE_SHADOW = 5   // before DONE, when asked for: both devices evaluate every token
};

// What follows the shadow tokens.
typedef uint32_t gr_move_policy;
enum {
    GR_MOVE_IF_EQUAL = 0, // move when all were within the bound; fail at the first that was not
    GR_MOVE_ANYWAY = 1,
    GR_MOVE_NEVER = 2     // only look
};

typedef struct gr_move_info {
    uint32_t struct_size;
    gr_move_stage stage;
    double progress;         // of PREPARE, 0 to 1
    char from[64], to[64];   // devices
    uint64_t steps;          // of the engine since the move began
    uint64_t pages, bytes;   // copied; once it is over
    double prepare_seconds, copy_seconds, check_seconds;
    double pause_seconds;    // in which the sessions stood still: the last copies and the switch
    double difference, bound; // the largest difference of logits over their spread; what was allowed
    uint64_t compared, agreed; // tokens evaluated on both sides, and those whose most likely next token is the same
    uint64_t first_divergence; // position of the first that is not, or is out of bounds; 0: none
    gr_status status;        // why it failed
    uint32_t reserved;
} gr_move_info;

typedef struct gr_move_options {
    uint32_t struct_size;
    uint32_t no_check; // 1: do not compare a token before the copy ends
    uint32_t shadow_tokens; // of a session: so many tokens are evaluated on both devices and compared; 0: none
    gr_move_policy policy;
    double bound;      // what is allowed; 0: by the precision classes of both devices, the cache's type and the layers
    // Called before every slice, within gr_engine_step, and when it is over; false cancels. It may call nothing
    // but gr_move_cancel. May be NULL.
    bool (*progress)(void *context, const gr_move_info *info);
    void *progress_context;
} gr_move_options;

// Begins to move a session, or all of a model's and those it will have, to the device called so ("auto", or
// layers on several: "cpu:20,gpu:12"). Steps go on meanwhile, and each takes the move a bit further. Requests and
// streams are not disturbed: the move ends between two tokens. Forks and anchors go on sharing their full
// pages. A failure leaves everything where it was; when it is the old device that fails, the sessions go on
// elsewhere, and the move from there. Of two moves of one session the one that ends last decides. The weights
// are in memory on both sides until nobody lives on the old one.
gr_status gr_session_move_start(gr_session *session, const char *device, const gr_move_options *options,
                                gr_move **out_move, gr_error *error);
gr_status gr_model_move_start(gr_model *model, const char *device, const gr_move_options *options, gr_move **out_move,
                              gr_error *error);
// Where it stands; returns why it failed when it did.
gr_status gr_move_info_get(const gr_move *move, gr_move_info *out_info, gr_error *error);
void gr_move_cancel(gr_move *move); // nothing, once the sessions have changed places
// Cancels it unless it is over; waits until a weight that is being imported has been.
void gr_move_release(gr_move *move);
// The same, stepping the engine until it is over. `out_info` may be NULL; it is filled also when the move failed.
// INVALID_ARGUMENT: a shadow waits for tokens, and nobody generates.
gr_status gr_session_move(gr_session *session, const char *device, const gr_move_options *options, gr_move_info *out_info,
                          gr_error *error);
gr_status gr_model_move(gr_model *model, const char *device, const gr_move_options *options, gr_move_info *out_info,
                        gr_error *error);
const char *gr_session_device(const gr_session *session); // where it lives

// ---------------------------------------------------------------------------------------------
// Generation

typedef uint32_t gr_stop_reason;
enum {
    GR_STOP_NONE = 0, // still going
    GR_STOP_END = 1,  // the model ended its answer
    GR_STOP_LIMIT = 2, // max_tokens
    GR_STOP_TEXT = 3, // a stop string
    GR_STOP_CONTEXT = 4, // the context is full
    GR_STOP_CANCELLED = 5,
    GR_STOP_ERROR = 6,
    GR_STOP_TOKEN = 7, // one of stop_tokens
    GR_STOP_TIME = 8   // time_limit_ms
};
const char *gr_stop_reason_name(gr_stop_reason reason); // "end"; "unknown"; static

typedef struct gr_generate_options {
    uint32_t struct_size;
    uint32_t max_tokens;    // 0: until it ends or the context is full
    uint64_t seed;          // 0: a fresh one
    const char *sampler;    // chain as text, "top-k(40);top-p(0.95);temperature(0.7)"; NULL: a moderate default
    const char *const *stop; // stop strings; ends with NULL; may be NULL. Never part of the output
    uint32_t ignore_end;    // 1: go on past the end token (benchmarks)
    uint32_t raw;           // 1: no chat turn is opened or recorded, even when there are turns
    // Chooses in place of the sampler; NULL: the sampler does. Called between steps.
    gr_status (*choose)(void *context, const gr_session *session, const float *logits, uint32_t vocab,
                        int32_t *out_token, gr_error *error);
    void *choose_context;
    uint32_t top_tokens; // so many of the likeliest tokens are noted beside each chosen one; at most 64
    uint32_t heal;       // 1: the prompt's last token is chosen again with what follows, so that a border in the
                         // middle of a word does no harm; its bytes are not part of the answer
    const char *const *banned; // strings that never occur: the answer goes back and takes another way; ends with NULL
    // Logits become guide + guidance * (own - guide); the guide gets every token of the answer. NULL: none.
    gr_session *guide;
    double guidance;
    // Tokens guessed ahead and checked in one step: from earlier text, or by `draft`, a session of a smaller model
    // with the same vocabulary, which follows this one's tokens. The answer is what it would have been. 0: none.
    uint32_t guesses;
    uint32_t reserved;
    gr_session *draft;
    // Only tokens are chosen with which the answer can still become one of the grammar's, and be completed within
    // max_tokens and the context; it ends where nothing can follow. NULL: none. OUT_OF_RANGE when the shortest answer
    // may be longer than that.
    gr_grammar *grammar;
    // Tokens that end the answer, as the model's end tokens do, with ignore_end too. They are no part of it.
    const int32_t *stop_tokens;
    uint32_t stop_token_count;
    uint32_t time_limit_ms; // from the start on, waiting and reading the prompt included, looked at between steps; what is
                            // there by then is the answer, also where a grammar wants more. 0: none
} gr_generate_options;

typedef struct gr_token_choice {
    int32_t token;
    uint32_t reserved;
    double log_probability; // natural logarithm, before sampling
} gr_token_choice;
// The `most` likeliest tokens by `logits` [vocab], into out_choices [most]: likeliest first, equal ones by number, NaN like
// -infinity. Returns how many there are: `vocab`, where that is less. Any thread.
size_t gr_logits_top(const float *logits, size_t vocab, size_t most, gr_token_choice *out_choices);
// Natural logarithm of softmax(logits)[token], summed in F64; -infinity where the logit is NaN or -infinity. Any thread.
double gr_logits_log_probability(const float *logits, size_t vocab, int32_t token);

// Says whether a sampler chain makes sense, without a model: INVALID_ARGUMENT, and where in the text.
gr_status gr_sampler_check(const char *sampler, gr_error *error);

// Begins to generate on `session`; one request a session at a time.
gr_status gr_request_start(gr_session *session, const gr_generate_options *options, gr_request **out_request,
                           gr_error *error);
// Takes the text generated since the last call: whole UTF-8 sequences, nothing that may become a stop
// string. Borrowed until the next call on the request. *out_done once all has been taken.
gr_status gr_request_read(gr_request *request, const char **out_text, size_t *out_bytes, bool *out_done,
                          gr_error *error);
void gr_request_cancel(gr_request *request);
void gr_request_release(gr_request *request);

typedef struct gr_request_info {
    uint32_t struct_size;
    gr_stop_reason stop_reason;
    uint32_t prompt_tokens, generated_tokens;
    uint64_t seed;                    // the one used
    const int32_t *tokens;            // generated ones; borrowed
    const double *log_probabilities;  // one each; borrowed
    const char *text;                 // all of it, NUL-terminated; borrowed
    size_t text_bytes;
    uint32_t tool_calls;              // calls read from the answer (they are in the new turn, too)
    double prefill_seconds, decode_seconds;
    const gr_token_choice *top;       // [generated_tokens][top_tokens], likeliest first; borrowed
    uint32_t top_tokens;
    uint32_t rewinds;                 // because of banned strings
    uint32_t guessed, guessed_right;  // tokens
    const char *tool_error;           // why what was written as calls is none; NULL: nothing was; borrowed
} gr_request_info;
gr_status gr_request_info_get(const gr_request *request, gr_request_info *out_info);
// Call `index` of the answer, borrowed until the request is released; OUT_OF_RANGE when there is none.
gr_status gr_request_tool_call(const gr_request *request, uint32_t index, gr_tool_call_info *out_info);

// Generates and blocks. `on_text` receives pieces as they come (NULL: none); false cancels. `out_request`
// (may be NULL) receives the finished request, to be released by the caller.
gr_status gr_session_generate(gr_session *session, const gr_generate_options *options,
                              bool (*on_text)(void *context, const char *text, size_t bytes), void *context,
                              gr_request **out_request, gr_error *error);

// Version of the library, "0.1.0".
const char *gr_version(void);

#ifdef __cplusplus
}
#endif
#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#endif
