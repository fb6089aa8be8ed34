// SPDX-License-Identifier: Apache-2.0
// limit_loops.h: loops that do nothing but multiply, one a kind of product and instruction set; and loops that do
// nothing but read. limits.c runs and times them. Inside the cli room. Threads: any.
#ifndef GREGALE_CLI_LIMIT_LOOPS_H
#define GREGALE_CLI_LIMIT_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#include "gregale/topology.h"

typedef enum gr_limit_kind {
    GR_LIMIT_INT8, // 8-bit products summed in 32 bits
    GR_LIMIT_INT4, // 4-bit by 8-bit products, sums of eight fit 16 bits
    GR_LIMIT_BF16, // bf16 products summed in f32
    GR_LIMIT_F32,
    GR_LIMIT_KINDS
} gr_limit_kind;

typedef struct gr_limit_loop {
    gr_limit_kind kind;
    const char *mix;   // the instructions of the loop
    double operations; // of one turn; a multiply and an add count as two
    void (*run)(uint64_t turns);
    gr_cpu_features needs;
} gr_limit_loop;
// The fastest loop of this kind for a processor with these features. 4-bit products without a loop of their own are
// 8-bit ones, bf16 without instructions for it is f32. NULL: nothing is known about this architecture.
const gr_limit_loop *gr_limit_loop_find(gr_limit_kind kind, gr_cpu_features features);

// Reads `bytes` (a multiple of 8192), as `streams` (1, 2, 4 or 8) that advance side by side, asking for what lies
// `ahead` bytes ahead (0: leave that to the machine). The result keeps compilers from dropping the work.
typedef uint64_t (*gr_read_loop)(const unsigned char *data, size_t bytes, unsigned streams, size_t ahead);
gr_read_loop gr_read_loop_find(gr_cpu_features features, const char **out_name);

#endif
