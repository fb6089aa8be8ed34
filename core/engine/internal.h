// SPDX-License-Identifier: Apache-2.0
// internal.h: what the files of the engine share. Inside the engine room.
//
// One step goes: gr_batch_collect picks rows from sessions that have work, gr_program_get finds the
// compiled bucket, gr_step_run fills the step block, submits, and hands logits to the sessions.
#ifndef GREGALE_ENGINE_INTERNAL_H
#define GREGALE_ENGINE_INTERNAL_H

#include <stdatomic.h>

#include "base/strbuf.h"
#include "gregale/engine.h"
#include "gregale/linked/chat.h"
#include "gregale/linked/sampler.h"
#include "gregale/linked/tokenizer.h"
#include "host/host.h"
#include "kv/cache.h"
#include "model/model.h"

enum { GR_MAX_STEP_SEQS = GR_KV_STEP_SEQS, GR_MAX_STEP_OUTPUTS = 64, GR_MAX_MODEL_DEVICES = 8 };

struct gr_engine {
    uint32_t references;
    gr_log log;
    gr_trace *trace;
    gr_registry *registry;
    gr_team *team;
    bool deterministic, no_fusion;
    atomic_bool interrupted;
    gr_model **models;
    uint32_t model_count, model_capacity;
    uint32_t next_model; // round robin
};

// A device as one model uses it.
typedef struct gr_model_device {
    const gr_opened_device *opened;
    gr_queue *queue;
    gr_fence *fence;
    uint64_t fence_value;
    gr_buffer *scratch;
    uint64_t scratch_bytes;
    gr_weight **weights; // [weight_count], NULL where the device does not need one
    bool used;
} gr_model_device;

// The programs of one bucket, with the step block they were compiled against.
typedef struct gr_bucket {
    uint32_t rows_max, seqs_max, outputs_max;
    gr_plan *plan;
    gr_program **programs; // one a segment
    void *arena;           // host memory, shared by every host-memory device
    uint64_t arena_bytes;
    gr_buffer *arena_buffers[GR_MAX_MODEL_DEVICES];
    gr_step step;
    gr_step_group *groups;
    gr_page_run *runs;     // [groups][GR_KV_STEP_RUNS]
    int32_t *storage;      // every array of numbers of the step block
    uint32_t page_table_stride;
} gr_bucket;

struct gr_model {
    uint32_t references;
    gr_engine *engine;
    gr_model_source *source;
    gr_tokenizer *tokenizer;
    const gr_chat_format *chat_format;
    gr_graph *graph;
    gr_placement *placement;
    gr_model_device devices[GR_MAX_MODEL_DEVICES];
    uint32_t device_count;
    gr_kv_cache *cache;
    uint32_t chunk, page_tokens;
    uint32_t max_pages; // a sequence's page table holds so many; grows with the largest context
    uint32_t logits_value;
    gr_bucket **buckets;
    uint32_t bucket_count;
    gr_session **sessions; // every live one; forks stand behind what they were made from
    uint32_t session_count, session_capacity;
    uint32_t next_session; // round robin
    uint64_t weight_bytes, resident_bytes;
};

typedef struct gr_anchor {
    uint64_t position;
    gr_kv_seq pages;
} gr_anchor;

struct gr_session {
    uint32_t references;
    gr_model *model;
    uint32_t context;
    gr_tokens tokens;
    gr_kv_seq pages;        // pages.length positions are evaluated
    float *logits;          // [vocab]
    uint64_t logits_behind; // number of tokens the logits stand behind; 0: none
    uint64_t generation;
    gr_chat chat;
    gr_chat_encoder encode_turns;
    void *encode_turns_context;
    size_t turns_applied;   // messages that are in `tokens`
    gr_anchor *anchors;
    uint32_t anchor_count;
    gr_request *request;    // active one, borrowed
    bool paused;            // its last step failed: left alone until somebody asks again
    gr_logits_observer hook; // while scoring: gets the logits of every row
    void *hook_context;
    uint32_t batch_rows;    // of the step in progress
    gr_session_stats stats;
};

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
    gr_chat calls;          // one message, when the answer holds tool calls: ours to keep
    bool chat_turn;         // the answer becomes an assistant turn
    uint64_t start_ns, first_ns, end_ns;
};

// ---- batch.c, step.c ----
// Picks what the model's next step evaluates: fills session->batch_rows. Returns rows, 0 when idle.
uint32_t gr_batch_collect(gr_model *model, gr_session **out_sessions, uint32_t *out_count);
// On failure *out_culprit is the one session to blame, or NULL when the whole batch failed.
gr_status gr_step_run(gr_model *model, gr_session **sessions, uint32_t count, uint32_t rows,
                      gr_session **out_culprit, gr_error *error);
// ---- bucket.c ----
gr_status gr_bucket_get(gr_model *model, uint32_t rows, gr_bucket **out_bucket,
                        gr_error *error);
void gr_bucket_destroy(gr_model *model, gr_bucket *bucket);
void gr_buckets_drop(gr_model *model);
// ---- request.c ----
// Chooses the next token of every request that has logits waiting. Returns whether any did.
bool gr_requests_advance(gr_model *model);
// A request that its session does not know yet. Release it.
gr_status gr_request_create(gr_session *session, const gr_generate_options *options, gr_request **out_request,
                            gr_error *error);
// Adds the text of the token that was generated last; true when a stop string is complete.
bool gr_request_show(gr_request *request, gr_token token);
// Ends the session's request; what it said becomes a turn.
void gr_request_end(gr_request *request, gr_stop_reason reason);
// Ends the session's request with an error.
void gr_request_fail(gr_request *request, gr_status status, const gr_error *error);
// ---- session.c ----
size_t gr_session_waiting(const gr_session *session); // tokens not yet evaluated
// Keeps `count` tokens and as much of the cache as stays valid.
gr_status gr_session_set_length(gr_session *session, uint64_t count, gr_error *error);
// Steps the engine until the session has nothing waiting.
gr_status gr_session_drain(gr_session *session, bool (*progress)(void *, double, const char *), void *context,
                           gr_error *error);
// ---- score.c ----
double gr_log_probability(const float *logits, uint32_t vocab, int32_t token);
// ---- turns.c ----
gr_status gr_turns_apply(gr_session *session, gr_error *error);
// Call `index` of message `turn`.
gr_status gr_chat_call_info(const gr_chat *chat, size_t turn, uint32_t index, gr_tool_call_info *out_info);

#endif
