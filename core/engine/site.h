// SPDX-License-Identifier: Apache-2.0
// site.h: where a model runs: devices, its weights on them, a cache, compiled programs. Inside the engine
// room. A model has a site for every choice of devices that is in use; a session lives on one of them, and
// moves to another (move.h). Threads: the engine's, unless said otherwise.
#ifndef GREGALE_ENGINE_SITE_H
#define GREGALE_ENGINE_SITE_H

#include "engine/split.h"

enum { GR_MAX_SITE_DEVICES = 8 };

// A device as one site uses it.
typedef struct gr_site_device {
    const gr_opened_device *opened;
    gr_queue *queue;
    gr_fence *fence;
    uint64_t fence_value;
    gr_buffer *scratch;
    uint64_t scratch_bytes, scratch_wanted; // that it has; that the programs compiled so far ask for
    gr_weight **weights; // [weight_count], NULL where the device does not need one
    bool used;
} gr_site_device;

// The programs of one bucket, with the step block they were compiled against.
typedef struct gr_bucket {
    uint32_t rows_max, seqs_max, outputs_max;
    gr_plan *plan;
    gr_program **programs; // one a segment
    bool ready;            // they are compiled and have their scratch memory
    void *arena;           // host memory, shared by every host-memory device
    uint64_t arena_bytes;
    gr_buffer *arena_buffers[GR_MAX_SITE_DEVICES];
    gr_step step;
    gr_step_group *groups;
    gr_page_run *runs;     // [groups][GR_KV_STEP_RUNS]
    int32_t *storage;      // every array of numbers of the step block
    uint32_t page_table_stride;
} gr_bucket;

struct gr_site {
    uint32_t references;
    gr_model *model; // borrowed: whoever holds a site holds its model
    gr_split split;  // which devices it was made for
    char *name;      // "cpu", "cpu:20,far:12"
    gr_placement *placement;
    gr_plan *plan;   // of one row: which device reads which weight; the choice is the same for every bucket
    gr_site_device devices[GR_MAX_SITE_DEVICES]; // of the split, then fallbacks; not opened: not needed
    uint32_t device_count;
    gr_kv_cache *cache;
    gr_bucket **buckets;
    uint32_t bucket_count;
    uint32_t next_session; // round robin
    uint64_t weight_bytes, resident_bytes;
    bool ready;       // weights and programs are there
    bool failed;      // nobody goes there any more
    bool abandoned;   // a device hangs within a step: nothing it may touch is written or taken away
    uint32_t suspect; // the device that was called last
    uint32_t reliefs; // sessions let go for a device out of memory, since the last step that went well
};

typedef bool (*gr_site_progress)(void *context, double fraction);

// Making one takes three calls. open: devices, placement, an empty cache, step blocks and arenas of the smallest
// bucket and of those that the model uses elsewhere. import: weights and programs; it touches nothing but the
// new site and calls devices only where backend.h allows any thread, so it may run on a thread of its own
// beside everything else; `progress` may be NULL, and cancels by returning false. ready: scratch memory.
// The new site has one reference; release it when a later call fails. `spec` as gr_split_parse takes it.
gr_status gr_site_open(gr_model *model, const char *spec, gr_site **out_site, gr_error *error);
gr_status gr_site_import(gr_site *site, gr_site_progress progress, void *context, gr_error *error);
gr_status gr_site_ready(gr_site *site, gr_error *error);
gr_site *gr_site_retain(gr_site *site);
// NULL is legal. The last one gone destroys it: no session lives there then.
void gr_site_release(gr_site *site);
// Before the last release of a site where nobody lives: lets go of programs and weights, one weight at least, until
// `deadline_ns` (gr_os_now_ns) has come. Returns whether nothing is left.
bool gr_site_shrink(gr_site *site, uint64_t deadline_ns);
// A device hangs within a step: keeps the site for good, with its model's file, devices and memory.
void gr_site_abandon(gr_site *site);
// The model's site on the devices that `spec` leads to, ready or on its way; NULL when there is none. Borrowed.
gr_site *gr_site_find(gr_model *model, const char *spec);
const char *gr_site_name(const gr_site *site); // of its devices: "cpu", "cpu:20,far:12"

// ---- batch.c, step.c ----
typedef struct gr_batch {
    gr_session *sessions[GR_MAX_STEP_SEQS];
    uint32_t count, rows;
} gr_batch;
// Picks what the site's next step evaluates: fills session->batch_rows and reserves pages for them. Nothing
// picked, and OK: the site is idle, or a move gives way first. On failure nothing is reserved, and *out_culprit
// is the one session to blame.
gr_status gr_batch_collect(gr_site *site, gr_batch *out_batch, gr_session **out_culprit, gr_error *error);
// Evaluates it. A failure leaves every session as it was, but for pages reserved, which are given back.
gr_status gr_step_run(gr_site *site, const gr_batch *batch, gr_error *error);
// ---- bucket.c ----
// The bucket for steps of `rows` rows, ready.
gr_status gr_bucket_get(gr_site *site, uint32_t rows, gr_bucket **out_bucket, gr_error *error);
// The same for several in three parts. open makes all of a bucket but its programs, unless it is there; compile,
// which any thread may call while nobody else uses the site, compiles what is open; settle does the rest.
gr_status gr_bucket_open(gr_site *site, uint32_t rows, gr_bucket **out_bucket, gr_error *error);
gr_status gr_buckets_compile(gr_site *site, gr_error *error);
gr_status gr_buckets_settle(gr_site *site, gr_error *error);
void gr_buckets_drop(gr_site *site);

#endif
