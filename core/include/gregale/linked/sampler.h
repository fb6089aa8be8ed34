// SPDX-License-Identifier: Apache-2.0
// linked/sampler.h: stages that turn logits into the next token. Private: linked in, not installed.
// Threads: a sampler chain belongs to one request; one thread at a time.
#ifndef GREGALE_LINKED_SAMPLER_H
#define GREGALE_LINKED_SAMPLER_H

#include <stdbool.h>

#include "gregale/linked/tokenizer.h"
#include "gregale/status.h"

typedef struct gr_candidate {
    gr_token token;
    float logit;
    float probability; // valid only after gr_candidates_softmax
} gr_candidate;

// What is left to choose from. Stages narrow it in place; `count` never grows and never reaches 0.
typedef struct gr_candidates {
    gr_candidate *data;
    size_t count;
    bool sorted;        // by logit, descending; equal ones by token, ascending
    bool normalised;    // probabilities match the logits
    gr_token selected;  // set by a stage that chooses itself (greedy, mirostat); else GR_TOKEN_NONE
} gr_candidates;

void gr_candidates_sort(gr_candidates *candidates);
// Fills the probabilities, summed in F64; sorts first. Infinite logits share everything evenly.
void gr_candidates_softmax(gr_candidates *candidates);

// Draws are keyed, not streamed: (seed, position, purpose) gives the same number on any machine, in any
// batch, after any rewind (Philox 4x32-10, Salmon et al. 2011).
double gr_random_uniform(uint64_t seed, uint64_t position, uint32_t purpose);

// What a stage may look at.
typedef struct gr_sampler_context {
    uint64_t seed;
    uint64_t position;       // of the token being chosen
    const gr_token *history; // tokens so far, prompt included
    size_t history_count;
    const gr_tokenizer *tokenizer; // may be NULL
} gr_sampler_context;

// One parameter of a stage: a number, or a list for stages that take one (logit bias, DRY breakers).
typedef struct gr_sampler_param {
    const char *name;
    double number;
    gr_str text; // when the parameter is text
} gr_sampler_param;

typedef struct gr_sampler_param_spec {
    const char *name;
    double initial, minimum, maximum; // of a number
    const char *help; // one line
    bool is_text;     // takes text in place of a number
} gr_sampler_param_spec;

// A kind of stage, linked in: `const gr_sampler_type gr_sampler_<name>` in plugins/sampler/<name>.c.
typedef struct gr_sampler_type {
    uint32_t struct_size;
    const char *name; // "top-k"
    const char *help; // one line, with the paper it follows
    const gr_sampler_param_spec *params; // ends with name NULL
    size_t state_bytes;                  // plain memory, so that fork and snapshot are a copy
    // Reads parameters (checked against `params` already) into zeroed state.
    gr_status (*init)(void *state, const gr_sampler_param *params, size_t count, gr_error *error);
    void (*apply)(void *state, const gr_sampler_context *context, gr_candidates *candidates);
    // How many of the best candidates `apply` makes use of, where the others make no difference; 0 or NULL: all. Others may
    // be left out when the stage is the first.
    size_t (*reads)(const void *state);
    // Learns the token that was chosen; NULL when the stage does not care.
    void (*accept)(void *state, const gr_sampler_context *context, const gr_candidates *candidates,
                   gr_token token);
    void (*deinit)(void *state);                                     // NULL when state is plain
    gr_status (*clone)(const void *state, void *out_state, gr_error *error); // NULL: memcpy
    // The parameters, at most GR_SAMPLER_PARAMS, that init makes the present state of; returns how many.
    // NULL when nothing changes the state after init.
    size_t (*describe)(const void *state, gr_sampler_param *out_params);
} gr_sampler_type;
#define GR_SAMPLER_PARAMS 32

typedef struct gr_sampler_chain gr_sampler_chain;

// All kinds that are linked in; ends with NULL.
const gr_sampler_type *const *gr_sampler_types(void);
gr_status gr_sampler_chain_create(gr_sampler_chain **out_chain, gr_error *error);
void gr_sampler_chain_destroy(gr_sampler_chain *chain);
gr_status gr_sampler_chain_clone(const gr_sampler_chain *chain, gr_sampler_chain **out_chain, gr_error *error);
// Appends a stage. An unknown name or parameter, or a value out of range, is an error that says what
// is legal. The order of calls is the order of application.
gr_status gr_sampler_chain_add(gr_sampler_chain *chain, const char *name, const gr_sampler_param *params,
                               size_t count, gr_error *error);
// Appends stages from text: "penalties(repeat=1.1,last_n=64);top-k(40);top-p(0.95);temperature(0.7)".
// A value without a name is the stage's first parameter. Text that holds any of ,;()=" or blanks at its
// ends stands in double quotes, where \n, \t, \" and \\ are escapes: dry(breakers="\n:"). A failure
// appends nothing and says where in the text it was.
gr_status gr_sampler_chain_parse(gr_sampler_chain *chain, const char *text, gr_error *error);
// Chooses a token from `logits` [vocab]. `allowed` is a bit mask of legal tokens or NULL. After the
// stages, draws from what is left (the first when a stage has chosen). Then the stages accept it.
// A token whose logit is NaN or -infinity is never chosen, unless there is no other: then the lowest
// legal token is. GR_TOKEN_NONE when nothing is legal or memory is short.
// `out_log_probability` (may be NULL) is the token's log-softmax over the unmodified logits, -infinity
// for one that had no chance.
gr_token gr_sampler_chain_sample(gr_sampler_chain *chain, const gr_sampler_context *context,
                                 const float *logits, size_t vocab, const uint32_t *allowed,
                                 double *out_log_probability);
// Natural logarithm of softmax(logits)[token] over `vocab` of them, summed in F64, to 1e-11; -infinity for a token whose logit
// is NaN or -infinity. NaN counts for nothing; infinite logits share everything evenly.
double gr_log_probability(const float *logits, size_t vocab, gr_token token);
// The same for many tokens of one vocabulary, which is looked at once.
typedef struct gr_likelihood {
    float largest;  // logit
    double log_sum; // of e^(logit - largest)
} gr_likelihood;
gr_likelihood gr_likelihood_of(const float *logits, size_t vocab);
double gr_likelihood_log(const gr_likelihood *of, float logit);
// Writes the chain as it stands, with what its stages have learnt, as text that gr_sampler_chain_parse reads;
// returns the length needed, SIZE_MAX when memory is short.
size_t gr_sampler_chain_describe(const gr_sampler_chain *chain, char *out_text, size_t capacity);

#endif
