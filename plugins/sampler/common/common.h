// SPDX-License-Identifier: Apache-2.0
// common.h: what sampler stages share. Inside plugins/sampler. Threads: pure, or one chain at a time.
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
// The text of parameter `name`, or empty.
gr_str gr_param_text(const gr_sampler_param *params, size_t count, const char *name);
// Keeps the best `count` candidates, sorted; cheap when count is small.
void gr_candidates_keep(gr_candidates *candidates, size_t count);
// Index drawn in proportion to the probabilities, for u in [0, 1).
size_t gr_candidates_draw(const gr_candidates *candidates, double u);

#endif
