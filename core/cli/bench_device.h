// SPDX-License-Identifier: Apache-2.0
// bench_device.h: single nodes, imports and cache copies of one device, timed. Inside the cli room.
// Threads: one.
#ifndef GREGALE_CLI_BENCH_DEVICE_H
#define GREGALE_CLI_BENCH_DEVICE_H

#include "host/host.h"

typedef struct gr_bench_device {
    void *library;
    gr_registry *registry;
    gr_team *team;
    const gr_opened_device *opened;
    gr_queue *queue;
    gr_fence *fence;
    uint64_t fence_value;
} gr_bench_device;

// Loads the plugin at `path` as the host does and opens its device of that name (NULL: its best).
gr_status gr_bench_device_open(const char *path, const char *name, uint32_t threads, gr_bench_device *out_device,
                               gr_error *error);
void gr_bench_device_close(gr_bench_device *device);

// One node on steps of `rows` rows of one sequence. Values: inputs, then outputs; offsets are given here.
enum { GR_BENCH_VALUES = 6, GR_BENCH_COPIES = 4 };
typedef struct gr_bench_node {
    gr_op op;
    const void *attrs;
    uint32_t in_count, out_count;
    gr_value values[GR_BENCH_VALUES];
    uint32_t rows;
    int32_t past;     // positions before the step, for paged attention
    uint32_t copies;  // of each weight, used in turns, so that none stays in a cache; 0: only asks for support
    gr_kv_desc cache; // pages 0: no cache
} gr_bench_node;

typedef struct gr_bench_time {
    gr_support support;    // level NO: nothing was timed
    double seconds;        // of one step, the fastest seen
    double ready_seconds;  // importing the weights, and what the first steps took longer: packing
    uint64_t weight_bytes; // of one step
    char layout[32];       // of the weight, as the device calls it
} gr_bench_time;

// Times a node for about `budget` seconds. OUT_OF_MEMORY and the device's own errors come back as they are.
gr_status gr_bench_node_time(gr_bench_device *device, const gr_bench_node *node, double budget, gr_bench_time *out_time,
                             gr_error *error);

typedef struct gr_bench_cache {
    double out_seconds, in_seconds;           // every position of every layer
    double page_out_seconds, page_in_seconds; // one page of every layer
    uint64_t bytes;                           // of all positions, in the canonical form
} gr_bench_cache;
// Times reading a cache of `positions` positions in canonical form, and writing it.
gr_status gr_bench_cache_time(gr_bench_device *device, const gr_kv_desc *desc, uint32_t positions,
                              gr_bench_cache *out_time, gr_error *error);

#endif
