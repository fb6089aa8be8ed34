// SPDX-License-Identifier: Apache-2.0
// bench.h: what gregale bench is made of: counting work, running a peer, paired ratios. Inside the cli room.
// Threads: one.
#ifndef GREGALE_CLI_BENCH_H
#define GREGALE_CLI_BENCH_H

#include "cli/cli.h"
#include "cli/limits.h"

enum { GR_BENCH_PEERS = 4, GR_BENCH_ROUNDS = 1000, GR_BENCH_BATCH = 64 };

typedef struct gr_bench_plan {
    uint32_t prompt, gen, batch, depth, repeat;
    bool limits;
    const char *peers[GR_BENCH_PEERS];
    uint32_t peer_count;
} gr_bench_plan;

// ---- bench_work.c: operations (a multiply and an add are two) and bytes, counted from the graph
typedef struct gr_bench_work {
    double weight_bytes, cache_bytes;           // read by one step of decoding, by all its sessions together
    double prefill_products[GR_LIMIT_KINDS];    // operations of the whole prompt, by what the weights' type allows
    double prefill_attention;                   // operations of the whole prompt, each position seeing what it may
    double decode_products, decode_attention;   // operations of one step of decoding
} gr_bench_work;
gr_status gr_bench_count(const char *path, const gr_cli_options *options, const gr_bench_plan *plan, gr_bench_work *out_work,
                         gr_error *error);
// The limit that holds for products with weights of this type.
gr_limit_kind gr_bench_limit_kind(gr_dtype dtype);
double gr_bench_prefill_products(const gr_bench_work *work); // of all types
// The least seconds that the products of the prompt take within these limits; 0 when a limit is unknown.
double gr_bench_least_seconds(const gr_bench_work *work, const gr_limits *limits);

// ---- bench_peer.c: another program's figures
// Runs a shell command that prints what `llama-bench -o json`, its -o jsonl, `llama-batched-bench` as JSON lines, or
// gregale bench --json print, and takes the results that match the plan (the fastest where there are several). A rate
// is 0 when the command did not measure it; an error when it measured neither.
gr_status gr_bench_run_peer(const char *command, const gr_bench_plan *plan, double *out_prefill, double *out_decode,
                            gr_error *error);

// ---- bench_spread.c
typedef struct gr_spread {
    double least, median, most;
    double low, high; // each a one-sided bound of the median at 95 %, from signs; NaN with fewer than 5 values
    uint32_t count;
} gr_spread;
gr_spread gr_spread_of(double *values, uint32_t count); // sorts `values`
#endif
