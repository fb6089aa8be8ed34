// SPDX-License-Identifier: Apache-2.0
// internal.h: what the files of the engine share. Inside the engine room.
//
// A model's sessions live on sites (site.h). One step of a site goes: gr_batch_collect picks rows from its
// sessions that have work, gr_bucket_get finds the compiled programs, gr_step_run fills the step block,
// submits, and hands logits to the sessions.
#ifndef GREGALE_ENGINE_INTERNAL_H
#define GREGALE_ENGINE_INTERNAL_H

#include <stdatomic.h>
#include <string.h>

#include "base/strbuf.h"
#include "gregale/engine.h"
#include "gregale/linked/chat.h"
#include "gregale/linked/grammar.h"
#include "gregale/linked/sampler.h"
#include "gregale/linked/tokenizer.h"
#include "host/host.h"
#include "kv/cache.h"
#include "model/model.h"

enum { GR_MAX_STEP_SEQS = GR_KV_STEP_SEQS, GR_MAX_STEP_OUTPUTS = 64, GR_KEPT_GRAMMARS = 8 };

// Options of a caller that may know fewer of them, or give none (NULL): the others of `own` stay as they are. Each such
// struct begins with its size.
static inline void gr_take_options(void *own, size_t own_bytes, const void *options) {
    uint32_t bytes = 0;
    if (options)
        memcpy(&bytes, options, sizeof bytes);
    if (bytes)
        memcpy(own, options, bytes < own_bytes ? bytes : own_bytes);
}

struct gr_engine {
    uint32_t references;
    gr_log log;
    gr_trace *trace;
    gr_registry *registry;
    gr_team *team;
    bool deterministic, no_fusion;
    uint64_t step_timeout_ns; // UINT64_MAX: none
    void (*device_event)(void *context, const gr_device_event *event);
    void *device_event_context;
    atomic_bool interrupted;
    gr_model **models;
    uint32_t model_count, model_capacity;
    uint32_t next_model; // round robin
    gr_move **moves;     // in progress; borrowed
    uint32_t move_count;
};

typedef struct gr_site gr_site; // site.h: devices, weights, cache and programs of one model

// A grammar that was compiled lately, and what from.
typedef struct gr_kept_grammar {
    gr_grammar *grammar; // NULL: the place is free
    char *kind, *text;
    size_t bytes;
    uint64_t used; // when
} gr_kept_grammar;

struct gr_model {
    uint32_t references;
    gr_engine *engine;
    gr_model_source *source;
    gr_tokenizer *tokenizer;
    const gr_chat_format *chat_format;
    gr_graph *graph;
    gr_kv_cache_options cache_options;
    uint32_t chunk, page_tokens;
    uint32_t max_pages; // a sequence's page table holds so many; grows with the largest context
    uint32_t logits_value, hidden_value; // of the graph; GR_VALUE_NONE: it shows no hidden states
    gr_site *site;   // where new sessions live
    gr_site **sites; // every live one; borrowed
    uint32_t site_count;
    gr_session **sessions; // every live one; forks stand behind what they were made from
    uint32_t session_count, session_capacity;
    uint64_t tickets; // handed out so far
    gr_token_trie *trie; // made for the first grammar
    gr_kept_grammar grammars[GR_KEPT_GRAMMARS];
    uint64_t grammars_used;
};

typedef struct gr_anchor {
    uint64_t position;
    gr_kv_seq pages;
} gr_anchor;

struct gr_session {
    uint32_t references;
    gr_model *model;
    gr_site *site;          // retained; its cache holds `pages`
    uint32_t context;
    gr_tokens tokens;
    gr_kv_seq pages;        // pages.length positions are evaluated
    float *logits;          // [vocab]
    uint64_t logits_behind; // number of tokens the logits stand behind; 0: none
    uint64_t generation;
    uint64_t rewinds;       // how often tokens were taken back, for those who follow them
    gr_chat chat;
    gr_chat_encoder encode_turns;
    void *encode_turns_context;
    size_t turns_applied;   // messages that are in `tokens`
    gr_anchor *anchors;
    uint32_t anchor_count;
    gr_request *request;    // active one, borrowed
    bool paused;            // its last step failed: left alone until somebody asks again
    bool asked;             // somebody wants what waits evaluated; else it is while that costs nobody anything
    uint32_t failovers;     // since it last got further
    int32_t priority;
    uint64_t ticket;        // nobody else's: its present work stands behind all with lower ones
    bool working;           // the ticket was drawn for its present work
    bool admitted, starved, marked; // of the step that is being prepared; see admission.h
    gr_logits_observer hook; // while scoring: gets the logits of every row
    void *hook_context;
    bool hook_hidden;       // it gets the final hidden states, F32[dim], in their place
    uint64_t observed;      // positions whose logits the hook has had, or does not want
    uint32_t batch_rows;    // of the step in progress
    gr_session_stats stats;
};

// A token that may not stand at a position.
typedef struct gr_ban {
    uint64_t position;
    gr_token token;
} gr_ban;

// Where an answer's text stands before a token: what it takes to go back there.
typedef struct gr_place {
    size_t text;           // bytes of it, all whole characters
    size_t healed;         // bytes of what it must begin with that have come
    char pending[3];       // bytes of a character that goes on in the token
    uint8_t pending_bytes;
} gr_place;

typedef struct gr_speculation gr_speculation; // speculate.c
typedef enum gr_output { GR_OUTPUT_GOES_ON, GR_OUTPUT_STOPPED, GR_OUTPUT_BANNED } gr_output; // output.h

struct gr_request {
    uint32_t references;
    gr_session *session;    // retained
    gr_sampler_chain *chain;
    gr_generate_options options; // strings copied below
    char **stop;
    gr_tokens tokens;
    double *log_probabilities;
    size_t log_probability_capacity;
    gr_strbuf pending;      // bytes that may be part of a longer UTF-8 sequence
    gr_strbuf text;         // everything decoded so far, valid UTF-8
    size_t read;            // of it, handed out
    size_t shown;           // of it, safe to hand out: no stop string can begin there
    gr_stop_reason reason;
    gr_status status;
    gr_error error;
    atomic_bool cancelled;
    uint64_t prompt_tokens;
    gr_tokens stop_tokens;
    uint64_t deadline_ns;   // 0: none
    char **banned;          // strings, ends with NULL
    gr_ban *bans;           // what led to one of them
    uint32_t ban_count, rewinds;
    gr_place *places;       // [tokens]: before each
    gr_strbuf heal;         // what the answer must begin with, and does not show
    size_t healed;          // bytes of it that have come
    gr_token healing;       // the prompt's token that was taken back for it
    gr_token_choice *top;   // [tokens][options.top_tokens]
    uint32_t *allowed;      // mask of the vocabulary, while something is forbidden
    gr_grammar_state *grammar; // behind tokens [0, grammar_position) of the session; NULL: not begun
    uint64_t grammar_position;
    float *mixed;           // [vocab]: logits under guidance
    gr_speculation *speculation;
    uint32_t guessed, guessed_right;
    gr_chat calls;          // one message, when the answer holds tool calls: ours to keep
    bool calls_wrong;       // something stands where calls do that is none: `error` says what
    bool chat_turn;         // the answer becomes an assistant turn
    uint64_t start_ns, first_ns, end_ns;
};

// ---- request.c ----
// Chooses the next token of every request that has logits waiting. Returns whether any did.
bool gr_requests_advance(gr_model *model);
// A request that its session does not know yet. Release it.
gr_status gr_request_create(gr_session *session, const gr_generate_options *options, gr_request **out_request,
                            gr_error *error);
// The answer in progress that has this guide, or NULL.
gr_request *gr_request_guided_by(const gr_session *guide);
// Room for what is noted of the next token, and the place before it; false without memory.
bool gr_request_make_room(gr_request *request);
// Adds the text of the token that was generated last; *out_at as gr_output_add tells it.
gr_output gr_request_show(gr_request *request, gr_token token, size_t *out_at);
// Ends the session's request; what it said becomes a turn.
void gr_request_end(gr_request *request, gr_stop_reason reason);
// Chooses the token behind `logits`, for the position behind tokens[0, position) of the session.
gr_status gr_request_choose(gr_request *request, const float *logits, uint64_t position, gr_token *out_token,
                            double *out_log_probability, gr_error *error);
// ---- constrain.c
// The tokens that may stand at `position`: a mask [vocab], or NULL for all. *out_mask is the request's own.
gr_status gr_request_mask(gr_request *request, uint64_t position, const uint32_t **out_mask, gr_error *error);
// Takes the last token of the prompt back: the answer has to begin with its bytes.
gr_status gr_request_heal(gr_request *request, gr_error *error);
// Gives the prompt its token back when the answer ends before all of its bytes have come: it is none then.
void gr_request_unheal(gr_request *request);
// How many of a chosen token's `count` bytes the prompt had already.
size_t gr_request_healed(gr_request *request, size_t count);
// The text holds a banned string from byte `at` on: goes back to where it began, and forbids that token there.
gr_status gr_request_go_back(gr_request *request, size_t at, gr_error *error);
// ---- grammar.c
void gr_grammars_drop(gr_model *model);
// Refuses what does not go with a grammar, and a limit on length that leaves no room for an answer.
gr_status gr_request_grammar_begin(gr_request *request, gr_error *error);
// The tokens that the grammar allows at `position`; NULL for all.
gr_status gr_request_grammar_mask(gr_request *request, uint64_t position, const uint32_t **out_mask, gr_error *error);
// Whether the answer is complete and nothing can follow.
bool gr_request_grammar_is_over(gr_request *request);
void gr_request_grammar_end(gr_request *request);
// ---- speculate.c
gr_status gr_speculation_create(gr_request *request, gr_error *error);
void gr_speculation_destroy(gr_request *request);
// Appends guesses behind the session's last token, which is to be evaluated next.
gr_status gr_speculate(gr_request *request, gr_error *error);
// Whether a token was chosen while guesses were evaluated that has not been taken: takes it. *out_present: the
// session's log has it already; else the log ends before it. On failure only *out_status and `error` count.
bool gr_speculation_next(gr_request *request, gr_token *out_token, double *out_log_probability, bool *out_present,
                         gr_status *out_status, gr_error *error);
// Forgets guesses that nobody took, and leaves the session as an answer without guesses does.
gr_status gr_speculation_end(gr_request *request, gr_error *error);
// Ends the session's request with an error.
void gr_request_fail(gr_request *request, gr_status status, const gr_error *error);
// ---- session.c ----
size_t gr_session_waiting(const gr_session *session); // tokens not yet evaluated
bool gr_session_works(const gr_session *session);     // some of them, and somebody asked for that
// Tokens that are the session's, not guesses of its answer, which stand behind them.
uint64_t gr_session_own(const gr_session *session);
// Appends, as gr_session_append_tokens, also while a request generates: the answer's own tokens.
gr_status gr_session_log(gr_session *session, const int32_t *tokens, size_t count, gr_error *error);
// Keeps `count` tokens and as much of the cache as stays valid. The logits behind the last come with the next step.
gr_status gr_session_set_length(gr_session *session, uint64_t count, gr_error *error);
// The same before another token is appended: `count` is at most what there is, and no logits behind it are wanted.
gr_status gr_session_cut(gr_session *session, uint64_t count, gr_error *error);
// Steps the engine until the session has nothing waiting.
gr_status gr_session_drain(gr_session *session, bool (*progress)(void *, double, const char *), void *context,
                           gr_error *error);
// ---- turns.c ----
gr_status gr_turns_apply(gr_session *session, gr_error *error);
// Call `index` of message `turn`.
gr_status gr_chat_call_info(const gr_chat *chat, size_t turn, uint32_t index, gr_tool_call_info *out_info);

#endif
