// SPDX-License-Identifier: Apache-2.0
// cache.h: the key-value cache: pages that roll. Inside the core. Threads: one at a time a cache.
//
// Keys and values live in fixed-size pages in backend memory. Layers of one window form a group and share
// page tables: a page number stands for the same positions in every layer of its group, on every device
// that holds some of them. Pages are reference counted; a sequence owns a contiguous range of logical pages
// a group. A page wholly older than window + reserve positions behind the end is let go, so a window W costs
// at most ceil((W + reserve) / page) + 1 pages between steps, whatever the length of the text.
#ifndef GREGALE_KV_CACHE_H
#define GREGALE_KV_CACHE_H

#include <stdbool.h>

#include "host/host.h"

// What one layer needs. Layers with equal windows share a group.
typedef struct gr_kv_layer_desc {
    const gr_opened_device *device;
    uint32_t window; // 0: none
    uint32_t kv_heads, k_dim, v_dim;
} gr_kv_layer_desc;

typedef struct gr_kv_cache_options {
    uint32_t page_tokens;  // a power of two
    uint32_t reserve;      // positions a sequence can always go back
    gr_dtype dtype;        // F32, F16, BF16 or Q8_0; heads are whole blocks of it
    uint64_t limit_bytes;  // for all pages; 0: none
} gr_kv_cache_options;

typedef struct gr_kv_cache gr_kv_cache;

// Groups the layers and makes one pool a group, device and geometry; pools start small and grow.
gr_status gr_kv_cache_create(const gr_kv_layer_desc *layers, uint32_t layer_count,
                             const gr_kv_cache_options *options, gr_kv_cache **out_cache, gr_error *error);
// Every sequence is gone. NULL is legal.
void gr_kv_cache_destroy(gr_kv_cache *cache);
// For gr_program_desc: one entry a layer; stable.
const gr_cache_layer *gr_kv_cache_layers(const gr_kv_cache *cache, uint32_t *out_count);
uint32_t gr_kv_cache_group_count(const gr_kv_cache *cache);
uint32_t gr_kv_cache_group_window(const gr_kv_cache *cache, uint32_t group);
uint32_t gr_kv_cache_page_tokens(const gr_kv_cache *cache);
gr_dtype gr_kv_cache_dtype(const gr_kv_cache *cache);
gr_kv_layer_desc gr_kv_cache_layer_desc(const gr_kv_cache *cache, uint32_t layer); // as it was created with
uint64_t gr_kv_cache_bytes_used(const gr_kv_cache *cache); // of pages somebody refers to
// The device that refused the last gr_kv_seq_reserve, or copy of a transfer; NULL: none did.
const gr_opened_device *gr_kv_cache_culprit(const gr_kv_cache *cache);
void gr_kv_cache_acquit(gr_kv_cache *cache); // as if none had
// Gives memory at the ends of the pools that nobody refers to back to the devices. Returns how many bytes.
uint64_t gr_kv_cache_trim(gr_kv_cache *cache);

// The pages of one sequence in one group.
typedef struct gr_kv_pages {
    int32_t *pages;
    uint32_t count, capacity;
    uint32_t first;  // logical number of pages[0]
    uint32_t hollow; // slots at the start of pages[0] that hold nothing: where a resumed sequence began
} gr_kv_pages;

typedef struct gr_kv_seq {
    gr_kv_cache *cache;
    gr_kv_pages *groups; // one a group
    uint64_t length;     // positions committed
    uint64_t evicted;    // pages let go by windows, over all groups
} gr_kv_seq;

gr_status gr_kv_seq_init(gr_kv_cache *cache, gr_kv_seq *out_seq, gr_error *error);
void gr_kv_seq_deinit(gr_kv_seq *seq);
// Makes positions [length, length + count) writable: takes pages, and copies the last page when it is
// shared. All or nothing: OUT_OF_MEMORY changes nothing.
gr_status gr_kv_seq_reserve(gr_kv_seq *seq, uint64_t count, gr_error *error);
// The reserved positions now hold data: counts them, and lets old pages go.
void gr_kv_seq_commit(gr_kv_seq *seq, uint64_t count);
// Gives back pages that were reserved and not committed.
void gr_kv_seq_abandon(gr_kv_seq *seq);
// Whether everything that a query at position `length`, the next after truncating, will see is resident.
bool gr_kv_seq_can_truncate(const gr_kv_seq *seq, uint64_t length);
// Keeps positions [0, length); call only when gr_kv_seq_can_truncate, or with 0.
void gr_kv_seq_truncate(gr_kv_seq *seq, uint64_t length);
// A second sequence with the same pages. `out_seq` is uninitialised memory.
gr_status gr_kv_seq_fork(const gr_kv_seq *seq, gr_kv_seq *out_seq, gr_error *error);

// ---- canonical.c: the contents of a sequence in a form that no page size, device or backend shows in:
// positions ascending, [position][kv head][dim], never transposed. No step is in flight.

// The first position of `layer` that is resident; those from there to `length` are.
uint64_t gr_kv_seq_begin(const gr_kv_seq *seq, uint32_t layer);
// Bytes that keys (part 0) or values (part 1) of `layer` take for one position; 0 when a head is no whole
// number of blocks of `dtype`.
uint64_t gr_kv_position_bytes(const gr_kv_cache *cache, uint32_t layer, uint32_t part, gr_dtype dtype);
// Reads positions [begin, begin + count), which are resident, as F32, F16, BF16 or Q8_0: the cache's own dtype
// comes out bit for bit, others go through F32. `values` is aligned like its numbers.
gr_status gr_kv_seq_read(const gr_kv_seq *seq, uint32_t layer, uint32_t part, uint64_t begin, uint64_t count,
                         gr_dtype dtype, void *values, gr_error *error);
// Writes them, converting the same way. Nobody else refers to the pages. After a failure their contents are
// undefined.
gr_status gr_kv_seq_write(gr_kv_seq *seq, uint32_t layer, uint32_t part, uint64_t begin, uint64_t count,
                          gr_dtype dtype, const void *values, gr_error *error);
// Gives an empty sequence `length` positions, for gr_kv_seq_write to fill: resident from begins[group] on (0 to
// length), or from where this cache's window and reserve would have let go. What a query at `length` sees may
// be missing then: ask gr_kv_seq_can_truncate. All or nothing.
gr_status gr_kv_seq_resume(gr_kv_seq *seq, const uint64_t *begins, uint64_t length, gr_error *error);

enum { GR_KV_STEP_SEQS = 64, GR_KV_STEP_RUNS = 3 * GR_KV_STEP_SEQS };

// Finds the pages that neighbours among the first `seqs` sequences (at most GR_KV_STEP_SEQS) of a group
// share: its page tables are filled, forks stand side by side. Takes time linear in the tables. Writes
// `out_runs` [GR_KV_STEP_RUNS] and returns how many there are; a page of a sequence is in one at most.
uint32_t gr_kv_runs(const gr_step_group *group, uint32_t seqs, gr_page_run *out_runs);

typedef struct gr_kv_seq_stats {
    uint64_t resident_positions; // in the group that holds most
    uint64_t pages, shared_pages, evicted_pages;
    uint64_t bytes, own_bytes;
    uint64_t full_bytes; // pages of a cache without windows
} gr_kv_seq_stats;
void gr_kv_seq_stats_get(const gr_kv_seq *seq, gr_kv_seq_stats *out_stats);

#endif
