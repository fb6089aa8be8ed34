// SPDX-License-Identifier: Apache-2.0
// bucket.c: programs for steps of at most so many rows, compiled when first needed and kept. Each bucket has
// one step block at a stable address and one arena layout over all its segments.
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/os.h"
#include "engine/site.h"

static uint32_t bucket_rows(const gr_model *model, uint32_t rows) {
    static const uint32_t sizes[] = {1, 8, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (rows <= sizes[i] && sizes[i] < model->chunk)
            return sizes[i];
    return model->chunk;
}

static uint32_t at_most(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static gr_status create_step(gr_site *site, gr_bucket *bucket, gr_error *error) {
    uint32_t groups = gr_kv_cache_group_count(site->cache);
    size_t rows = bucket->rows_max, seqs = bucket->seqs_max, stride = site->model->max_pages;
    size_t count = 3 * rows + seqs + 1 + bucket->outputs_max + groups * seqs * (stride + 2);
    bucket->page_table_stride = site->model->max_pages;
    bucket->storage = calloc(count, sizeof *bucket->storage);
    bucket->groups = calloc(groups ? groups : 1, sizeof *bucket->groups);
    bucket->runs = calloc(groups ? groups * GR_KV_STEP_RUNS : 1, sizeof *bucket->runs);
    if (!bucket->storage || !bucket->groups || !bucket->runs)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a step block");
    int32_t *next = bucket->storage;
    bucket->step = (gr_step){.struct_size = sizeof bucket->step,
                             .group_count = groups,
                             .group_stride = sizeof *bucket->groups,
                             .tokens = next,
                             .positions = next + rows,
                             .row_seq = next + 2 * rows,
                             .seq_rows = next + 3 * rows,
                             .output_rows = next + 3 * rows + seqs + 1,
                             .groups = bucket->groups};
    next += 3 * rows + seqs + 1 + bucket->outputs_max;
    for (uint32_t g = 0; g < groups; g++, next += seqs * (stride + 2))
        bucket->groups[g] = (gr_step_group){.struct_size = sizeof *bucket->groups,
                                            .page_tokens = site->model->page_tokens,
                                            .page_table_stride = (uint32_t)stride,
                                            .run_stride = sizeof(gr_page_run),
                                            .page_table = next,
                                            .first_page = next + seqs * stride,
                                            .page_count = next + seqs * (stride + 1),
                                            .runs = bucket->runs + g * GR_KV_STEP_RUNS};
    return GR_OK;
}

// One arena in host memory serves every device that can use host memory; others get one of their own.
static gr_status create_arena(gr_site *site, gr_bucket *bucket, gr_error *error) {
    bucket->arena_bytes = gr_align_up(gr_plan_arena_bytes(bucket->plan) + 1, 64);
    bucket->arena = gr_os_alloc(bucket->arena_bytes);
    if (!bucket->arena)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for activations: a step of %u rows needs %.1f MiB",
                       bucket->rows_max, (double)bucket->arena_bytes / 1048576.0);
    for (uint32_t i = 0; i < site->device_count; i++) {
        const gr_opened_device *device = site->devices[i].opened;
        if (!site->devices[i].used)
            continue;
        gr_status status =
            device->facts.flags & GR_DEVICE_HOST_MEMORY
                ? device->backend->buffer_import(device->device, bucket->arena, bucket->arena_bytes,
                                                 &bucket->arena_buffers[i], error)
                : device->backend->buffer_alloc(device->device, bucket->arena_bytes, &bucket->arena_buffers[i], error);
        if (status != GR_OK)
            return gr_abi_settle_error(status, error);
    }
    return GR_OK;
}

static gr_status compile(gr_site *site, gr_bucket *bucket, uint32_t index, gr_error *error) {
    const gr_plan_segment *segment = gr_plan_segment_at(bucket->plan, index);
    gr_site_device *device = &site->devices[segment->device];
    uint32_t threads = gr_team_size(site->model->engine->team), layers;
    site->suspect = segment->device;
    const gr_cache_layer *cache_layers = gr_kv_cache_layers(site->cache, &layers);
    const gr_program_desc desc = {.struct_size = sizeof desc,
                                  .rows_max = bucket->rows_max,
                                  .seqs_max = bucket->seqs_max,
                                  .outputs_max = bucket->outputs_max,
                                  .segment = &segment->segment,
                                  .step = &bucket->step,
                                  .weights = device->weights,
                                  .weight_count = gr_graph_weight_count(site->model->graph),
                                  .cache_layer_count = layers,
                                  .cache_layer_stride = sizeof(gr_cache_layer),
                                  .threads = threads,
                                  .cache_layers = cache_layers,
                                  .arena = bucket->arena_buffers[segment->device]};
    gr_program_info info = {.struct_size = sizeof info};
    gr_status status = device->opened->backend->program_compile(device->opened->device, &desc,
                                                                &bucket->programs[index], &info, error);
    if (status != GR_OK)
        return gr_abi_settle_error(status, error);
    uint64_t per_thread, scratch;
    if (!gr_mul_u64(info.scratch_per_thread_bytes, threads, &per_thread) ||
        !gr_add_u64(per_thread, info.scratch_shared_bytes, &scratch))
        return gr_fail(error, GR_ERROR_INTERNAL, "engine", "%s declares an impossible amount of scratch memory",
                       device->opened->name);
    device->scratch_wanted = scratch > device->scratch_wanted ? scratch : device->scratch_wanted;
    return GR_OK;
}

static gr_status create_bucket(gr_site *site, gr_bucket *bucket, gr_error *error) {
    gr_status status = gr_plan_create(site->model->graph, gr_placement_choose, site->placement, site->model->engine->no_fusion,
                                      bucket->rows_max, bucket->seqs_max, bucket->outputs_max, &bucket->plan, error);
    if (status != GR_OK)
        return status;
    uint32_t segments = gr_plan_segment_count(bucket->plan);
    bucket->programs = calloc(segments ? segments : 1, sizeof *bucket->programs);
    if (!bucket->programs)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for programs");
    status = create_step(site, bucket, error);
    return status == GR_OK ? create_arena(site, bucket, error) : status;
}

static void destroy_bucket(gr_site *site, gr_bucket *bucket) {
    if (!bucket)
        return;
    for (uint32_t i = 0; bucket->programs && i < gr_plan_segment_count(bucket->plan); i++) {
        const gr_opened_device *device = site->devices[gr_plan_segment_at(bucket->plan, i)->device].opened;
        if (bucket->programs[i])
            device->backend->program_destroy(device->device, bucket->programs[i]);
    }
    for (uint32_t i = 0; i < site->device_count; i++)
        if (bucket->arena_buffers[i])
            site->devices[i].opened->backend->buffer_destroy(site->devices[i].opened->device, bucket->arena_buffers[i]);
    gr_os_free(bucket->arena, bucket->arena_bytes);
    gr_plan_destroy(bucket->plan);
    free(bucket->programs);
    free(bucket->storage);
    free(bucket->groups);
    free(bucket->runs);
    free(bucket);
}

static gr_bucket *find(const gr_site *site, uint32_t rows) {
    for (uint32_t i = 0; i < site->bucket_count; i++)
        if (site->buckets[i]->rows_max == rows)
            return site->buckets[i];
    return NULL;
}

gr_status gr_bucket_open(gr_site *site, uint32_t rows, gr_bucket **out_bucket, gr_error *error) {
    uint32_t wanted = bucket_rows(site->model, rows);
    *out_bucket = find(site, wanted);
    if (*out_bucket)
        return GR_OK;
    gr_bucket **buckets = realloc(site->buckets, (site->bucket_count + 1) * sizeof *buckets);
    gr_bucket *bucket = calloc(1, sizeof *bucket);
    if (buckets)
        site->buckets = buckets;
    if (!buckets || !bucket) {
        free(bucket);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a program");
    }
    bucket->rows_max = wanted;
    bucket->seqs_max = at_most(wanted, GR_MAX_STEP_SEQS);
    bucket->outputs_max = at_most(wanted, GR_MAX_STEP_OUTPUTS);
    gr_status status = create_bucket(site, bucket, error);
    if (status != GR_OK) {
        destroy_bucket(site, bucket);
        return status;
    }
    site->buckets[site->bucket_count++] = bucket;
    *out_bucket = bucket;
    return GR_OK;
}

gr_status gr_buckets_compile(gr_site *site, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t b = 0; b < site->bucket_count; b++)
        for (uint32_t i = 0; status == GR_OK && i < gr_plan_segment_count(site->buckets[b]->plan); i++)
            if (!site->buckets[b]->programs[i])
                status = compile(site, site->buckets[b], i, error);
    return status;
}

static gr_status provide_scratch(gr_site_device *device, gr_error *error) {
    uint64_t bytes = device->scratch_wanted;
    gr_buffer *scratch;
    if (bytes <= device->scratch_bytes)
        return GR_OK;
    const gr_backend *backend = device->opened->backend;
    gr_status status = backend->buffer_alloc(device->opened->device, bytes, &scratch, error);
    if (status != GR_OK)
        return gr_abi_settle_error(status, error);
    if (device->scratch)
        backend->buffer_destroy(device->opened->device, device->scratch);
    device->scratch = scratch;
    device->scratch_bytes = bytes;
    return GR_OK;
}

gr_status gr_buckets_settle(gr_site *site, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < site->device_count; i++)
        status = provide_scratch(&site->devices[i], error);
    for (uint32_t b = 0; status == GR_OK && b < site->bucket_count; b++)
        site->buckets[b]->ready = true;
    return status;
}

gr_status gr_bucket_get(gr_site *site, uint32_t rows, gr_bucket **out_bucket, gr_error *error) {
    gr_status status = gr_bucket_open(site, rows, out_bucket, error);
    if (status != GR_OK || (*out_bucket)->ready)
        return status;
    status = gr_buckets_compile(site, error);
    if (status == GR_OK)
        status = gr_buckets_settle(site, error);
    if (status != GR_OK) {
        destroy_bucket(site, site->buckets[--site->bucket_count]); // the others were ready
        *out_bucket = NULL;
    }
    return status;
}

void gr_buckets_drop(gr_site *site) {
    for (uint32_t i = 0; i < site->bucket_count; i++)
        destroy_bucket(site, site->buckets[i]);
    free(site->buckets);
    site->buckets = NULL;
    site->bucket_count = 0;
}
