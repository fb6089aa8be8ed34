// SPDX-License-Identifier: Apache-2.0
// shadow.h: evaluating a session's tokens on another site too, and comparing. Inside the engine room.
#ifndef GREGALE_ENGINE_SHADOW_H
#define GREGALE_ENGINE_SHADOW_H

#include "engine/site.h"

// Evaluates on `site` what `original` has evaluated and `pages`, a sequence of that site, has not. `logits`
// [vocab] receives what stands behind the last token.
gr_status gr_shadow_follow(gr_site *site, const gr_session *original, gr_kv_seq *pages, float *logits, gr_error *error);
// The last evaluated token of `original` alone, again; `pages` reach as far as those of `original`.
gr_status gr_shadow_last(gr_site *site, const gr_session *original, gr_kv_seq *pages, float *logits, gr_error *error);
// Logits behind the session's last evaluated token, on its own site.
gr_status gr_shadow_original(const gr_session *session, float *logits, gr_error *error);

// How far logits of two sites may be apart, in the measure of gr_shadow_distance: by the worst precision class that
// a node of either runs in, or their cache's type stands for, and by the number of layers.
double gr_shadow_bound(const gr_site *a, const gr_site *b);
// The largest difference over the standard deviation of `a`; infinite where a number is none. The likeliest token
// is the same where the first is ahead by more than twice that.
double gr_shadow_distance(const float *a, const float *b, uint32_t count);
uint32_t gr_shadow_best(const float *logits, uint32_t count); // the token a greedy sampler takes

#endif
