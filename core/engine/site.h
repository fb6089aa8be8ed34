// SPDX-License-Identifier: Apache-2.0
// site.h: where a model runs: devices, its weights on them, a cache, compiled programs. Inside the engine
// room. A model has a site for every choice of devices that is in use; a session lives on one of them, and
// moves to another (move.h). Threads: the engine's, unless said otherwise.
#ifndef GREGALE_ENGINE_SITE_H
#define GREGALE_ENGINE_SITE_H

#include "engine/internal.h"

enum { GR_MAX_SITE_DEVICES = 8 };

// A device as one site uses it.
typedef struct gr_site_device {
    const gr_opened_device *opened;
    gr_queue *queue;
    gr_fence *fence;
    uint64_t fence_value;
    gr_buffer *scratch;
    uint64_t scratch_bytes;
    gr_weight **weights; // [weight_count], NULL where the device does not need one
    bool used;
} gr_site_device;

// The programs of one bucket, with the step block they were compiled against.
typedef struct gr_bucket {
    uint32_t rows_max, seqs_max, outputs_max;
    gr_plan *plan;
    gr_program **programs; // one a segment
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
    char *spec;      // as it was asked for: "auto", "cpu", "split"
    char *name;      // what that led to: "cpu", "cpu:20,far:12"
    gr_placement *placement;
    gr_plan *plan;   // of one row: which device reads which weight; the choice is the same for every bucket
    gr_site_device devices[GR_MAX_SITE_DEVICES];
    uint32_t device_count;
    gr_kv_cache *cache;
    gr_bucket **buckets;
    uint32_t bucket_count;
    uint32_t next_session; // round robin
    uint64_t weight_bytes, resident_bytes;
    bool ready, failed; // for those who wait for another's site; failed: nobody goes there any more
    uint32_t suspect;   // the device that a step called last
    bool abandoned;     // a device hangs within a step: nothing it may touch is taken away
};

typedef bool (*gr_site_progress)(void *context, double fraction);

// Making one takes three calls. open: devices, placement, an empty cache. import: the weights; it touches
// nothing but the new site, so it may run on a thread of its own beside steps of other sites; `progress` may
// be NULL, and cancels by returning false. ready: compiles the smallest bucket.
// The new site has one reference; release it when a later call fails. `spec` as gr_split_parse takes it.
gr_status gr_site_open(gr_model *model, const char *spec, gr_site **out_site, gr_error *error);
gr_status gr_site_import(gr_site *site, gr_site_progress progress, void *context, gr_error *error);
gr_status gr_site_ready(gr_site *site, gr_error *error);
gr_site *gr_site_retain(gr_site *site);
// NULL is legal. The last one gone destroys it: no session lives there then.
void gr_site_release(gr_site *site);
// The model's site on the devices that `spec` names; NULL when there is none. Borrowed.
gr_site *gr_site_find(gr_model *model, const char *spec);
const char *gr_site_name(const gr_site *site); // of its devices: "cpu", "cpu:20,far:12"

// ---- batch.c, step.c ----
// Picks what the site's next step evaluates: fills session->batch_rows. Returns rows, 0 when idle.
uint32_t gr_batch_collect(gr_site *site, gr_session **out_sessions, uint32_t *out_count);
// On failure *out_culprit is the one session to blame, or NULL when the whole batch failed.
gr_status gr_step_run(gr_site *site, gr_session **sessions, uint32_t count, uint32_t rows,
                      gr_session **out_culprit, gr_error *error);
// ---- bucket.c ----
gr_status gr_bucket_get(gr_site *site, uint32_t rows, gr_bucket **out_bucket, gr_error *error);
void gr_bucket_destroy(gr_site *site, gr_bucket *bucket);
void gr_buckets_drop(gr_site *site);

#endif
