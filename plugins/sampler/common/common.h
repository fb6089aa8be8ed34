// SPDX-License-Identifier: Apache-2.0
// common.h: what sampler stages share. Inside plugins/sampler. Threads: pure, or one chain at a
// time.
#ifndef GREGALE_SAMPLER_COMMON_H
#define GREGALE_SAMPLER_COMMON_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gregale/linked/registry.h"

// What a draw is for: different purposes at one position are independent.
enum { GR_DRAW_TOKEN = 0, GR_DRAW_XTC = 1 };

// One Philox 4x32-10 block.
void gr_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

// The number of parameter `name`, or its initial value.
double gr_param(const gr_sampler_param *params, size_t count, const char *name, double initial);
// The text of parameter `name`; data is NULL when it was not given.
gr_str gr_param_text(const gr_sampler_param *params, size_t count, const char *name);
// Calls gr_sampler_chain_add for each stage of `text`; see gr_sampler_chain_parse.
gr_status gr_chain_text(gr_sampler_chain *chain, const char *text, gr_error *error);
// A stage as text that gr_chain_text reads; the caller frees it. NULL without memory.
char *gr_stage_text(const gr_sampler_type *type, const gr_sampler_param *params, size_t count);
const gr_sampler_type *gr_sampler_type_find(const char *name, gr_error *error);
const gr_sampler_param_spec *gr_sampler_spec_find(const gr_sampler_type *type, const char *name,
                                                  gr_error *error);

// The largest of `count` logits: NaN counts for nothing, and it is -infinity when there is no other.
float gr_logits_largest(const float *logits, size_t count);
// The largest logit.
float gr_candidates_largest(const gr_candidates *candidates);
// Fills the probabilities without sorting.
void gr_candidates_normalise(gr_candidates *candidates);
// Keeps the best `count` candidates, sorted; cheap when count is small. 0 keeps all.
void gr_candidates_keep(gr_candidates *candidates, size_t count);
// Keeps those whose logit is at least `least`, in their order; the best one always stays.
void gr_candidates_at_least(gr_candidates *candidates, double least);
// How many of the best candidates it takes until their share of all probability exceeds `share` (or
// reaches it, with `reaching`). That many stand first, sorted, afterwards.
size_t gr_candidates_head(gr_candidates *candidates, double share, bool reaching);
// Draws a token in proportion to the probabilities, for u in [0, 1): u falls on the candidates laid
// end to end, the most likely first.
gr_token gr_candidates_draw(gr_candidates *candidates, double u);
// Divides every logit by `temperature`; only the best stays when that is 0 or the quotients
// overflow.
void gr_candidates_temper(gr_candidates *candidates, double temperature);

#endif
