// SPDX-License-Identifier: Apache-2.0
// trial.h: a small model in an engine of its own, for cases that judge a backend by whole models. Their
// logits are held to those that transformers computed (tests/golden).
#ifndef GREGALE_CONFORMANCE_TRIAL_H
#define GREGALE_CONFORMANCE_TRIAL_H

#include "engine/site.h"
#include "suite.h"

// One way to evaluate a prompt; 0: the engine's own.
typedef struct cf_way {
    const char *name;
    uint32_t chunk, page_tokens, reserve;
    bool no_fusion;
} cf_way;

typedef struct cf_trial {
    cf_suite *suite;
    const char *name; // of the case
    gr_engine *engine;
    gr_model *model;
    gr_model_file *golden;
    double tolerance; // of a logit, computed in F32
} cf_trial;

// Loads a model on the suite's device; false with a failure or a skip said. Close it in either case.
bool cf_trial_open(cf_trial *t, const char *model, const cf_way *how);
void cf_trial_close(cf_trial *t);
// Prompts of the golden, and the tokens of one.
uint32_t cf_trial_prompts(const cf_trial *t);
const int32_t *cf_trial_tokens(const cf_trial *t, uint32_t prompt, uint64_t *out_count);
// Name of a device of another plugin, the reference if there is one; NULL: there is none.
const char *cf_trial_other(const cf_trial *t);

// Logits behind every token of a prompt; NaN where nobody looked.
typedef struct cf_logits {
    float *data; // [count][vocab]; NULL: no memory
    uint64_t count;
    uint32_t vocab;
} cf_logits;
cf_logits cf_logits_make(const cf_trial *t, uint32_t prompt);
void cf_logits_free(cf_logits *l);
// Appends tokens [from, to) of a prompt to a session that holds those before, and keeps their logits.
gr_status cf_trial_feed(const cf_trial *t, gr_session *session, uint32_t prompt, uint64_t from, uint64_t to,
                        cf_logits *l, gr_error *error);
// The whole prompt, on a session of its own. Free the logits in either case.
gr_status cf_trial_whole(const cf_trial *t, uint32_t prompt, cf_logits *out, gr_error *error);
// Passes or fails by the largest difference from the golden, within what the classes of the devices allow
// that the model lives on, or class `least` where that is looser.
void cf_trial_judge(const cf_trial *t, uint32_t prompt, const cf_logits *l, gr_precision least);
// The loosest class that a device gives a node of the model, where it lives now.
gr_precision cf_trial_class(const cf_trial *t);

#endif
