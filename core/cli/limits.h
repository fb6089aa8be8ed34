// SPDX-License-Identifier: Apache-2.0
// limits.h: what this machine can do at most, measured. Inside the cli room. Threads: one.
#ifndef GREGALE_CLI_LIMITS_H
#define GREGALE_CLI_LIMITS_H

#include <stdbool.h>

#include "cli/limit_loops.h"
#include "gregale/status.h"

typedef struct gr_limit {
    double rate;     // bytes or operations a second, all threads together; 0 when it cannot be measured here
    const char *mix; // the instructions that reached it
} gr_limit;

typedef struct gr_limits {
    uint32_t threads;
    gr_limit memory; // reading a buffer several times as large as the last cache
    gr_limit shared; // reading a quarter of the last cache, each thread its part
    gr_limit own;    // reading half of each thread's second-level cache
    gr_limit products[GR_LIMIT_KINDS];
} gr_limits;

typedef struct gr_limits_probe gr_limits_probe;
// Takes the buffer (eight times the last cache, 128 to 768 MB in all), finds the fastest way to read it.
gr_status gr_limits_create(uint32_t threads, gr_limits_probe **out_probe, gr_error *error);
void gr_limits_destroy(gr_limits_probe *probe);
// Measures everything for about a tenth of a second. Another program can only make a figure smaller, so several
// samples are combined by gr_limits_raise, which keeps the higher of each.
gr_status gr_limits_sample(gr_limits_probe *probe, gr_limits *out_limits, gr_error *error);
void gr_limits_raise(gr_limits *limits, const gr_limits *sample);
void gr_limits_print(const gr_limits *limits, bool json);

#endif
