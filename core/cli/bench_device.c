// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_device.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "conformance/suite.h"
#include "host/internal.h"

static double seconds_now(void) {
    return (double)gr_os_now_ns() * 1e-9;
}

// ---- The device ----

static gr_status load(const char *path, gr_bench_device *d, gr_plugin_entry *out_entry, gr_error *error) {
    gr_status status = gr_probe_load(path, GR_PROBE_TIMEOUT_MS, error);
    if (status != GR_OK)
        return status;
    d->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!d->library)
        return gr_fail(error, GR_ERROR_IO, "bench", "%s", dlerror());
    void *symbol = dlsym(d->library, GR_PLUGIN_SYMBOL);
    memcpy(out_entry, &symbol, sizeof *out_entry);
    return symbol ? GR_OK
                  : gr_fail(error, GR_ERROR_INCOMPATIBLE, "bench", "%s: it exports no %s", path, GR_PLUGIN_SYMBOL);
}

static gr_status open_in(gr_bench_device *d, const char *name, uint32_t threads, gr_error *error) {
    uint32_t index;
    if (!gr_registry_device_count(d->registry)) {
        const gr_plugin_entry_info *info = gr_registry_plugin(d->registry, 0);
        return gr_fail(error, GR_ERROR_NOT_FOUND, "bench", "no device: %s",
                       info && info->reason[0] ? info->reason : "it reports none");
    }
    gr_status status = gr_registry_find(d->registry, name, &index, error);
    if (status == GR_OK)
        status = gr_registry_open(d->registry, index, &d->opened, error);
    if (status == GR_OK)
        status = gr_team_create(gr_registry_topology(d->registry), threads, &d->team, error);
    if (status != GR_OK)
        return status;
    gr_team_bind_caller(d->team);
    status = d->opened->backend->queue_create(d->opened->device, d->team, &d->queue, error);
    if (status == GR_OK)
        status = d->opened->backend->fence_create(d->opened->device, &d->fence, error);
    return gr_abi_settle_error(status, error);
}

gr_status gr_bench_device_open(const char *path, const char *name, uint32_t threads, gr_bench_device *out_device,
                               gr_error *error) {
    gr_plugin_entry entries[2] = {NULL, NULL};
    const gr_registry_options options = {.only_explicit = true, .linked = entries};
    memset(out_device, 0, sizeof *out_device);
    gr_status status = load(path, out_device, &entries[0], error);
    if (status == GR_OK)
        status = gr_registry_create(&options, &out_device->registry, error);
    if (status == GR_OK)
        status = open_in(out_device, name, threads, error);
    if (status != GR_OK)
        gr_bench_device_close(out_device);
    return status;
}

// The library stays: it may be pinned.
void gr_bench_device_close(gr_bench_device *d) {
    if (d->fence)
        d->opened->backend->fence_destroy(d->opened->device, d->fence);
    if (d->queue)
        d->opened->backend->queue_destroy(d->opened->device, d->queue);
    gr_team_destroy(d->team);
    if (d->opened)
        gr_registry_close(d->registry, d->opened);
    gr_registry_destroy(d->registry);
    memset(d, 0, sizeof *d);
}

// ---- One node ----

typedef struct trial {
    gr_bench_device *device;
    const gr_backend *backend;
    const gr_bench_node *plan;
    gr_value values[GR_BENCH_VALUES];
    uint32_t ids[GR_BENCH_VALUES];
    gr_node node;
    gr_segment segment;
    gr_step step;
    gr_step_group group;
    gr_cache_layer layer;
    int32_t *storage;               // of the step block
    uint8_t *data[GR_BENCH_VALUES]; // a weight's source
    uint64_t bytes[GR_BENCH_VALUES];
    gr_weight *weights[GR_BENCH_COPIES][GR_BENCH_VALUES];
    gr_program *programs[GR_BENCH_COPIES];
    gr_buffer *arena, *scratch;
    gr_kv *kv;
} trial;

static uint32_t value_count(const gr_bench_node *plan) {
    return plan->in_count + plan->out_count;
}

// Random contents: a piece made by the suite's rules, over and over.
static void fill(gr_dtype dtype, uint8_t *data, uint64_t bytes) {
    enum { PIECE = 1 << 14 };
    cf_random random = {1};
    uint64_t piece = gr_dtype_row_bytes(dtype, PIECE), first = piece < bytes ? piece : bytes;
    cf_fill(&random, dtype, data, first / gr_dtype_block_bytes(dtype) * gr_dtype_block(dtype));
    for (uint64_t at = first; at < bytes; at += first)
        memcpy(data + at, data, first < bytes - at ? first : bytes - at);
}

static void describe(trial *t) {
    const gr_bench_node *plan = t->plan;
    uint64_t offset = 0;
    memcpy(t->values, plan->values, sizeof t->values);
    for (uint32_t v = 0; v < value_count(plan); v++) {
        gr_value *value = &t->values[v];
        value->struct_size = sizeof *value;
        value->offset = GR_NO_OFFSET;
        t->ids[v] = v;
        uint64_t elements = gr_value_elements(value, plan->rows, 1, plan->rows);
        t->bytes[v] = value->kind == GR_VALUE_STATE ? 0 : gr_dtype_row_bytes(value->dtype, elements);
        if (value->kind == GR_VALUE_ACTIVATION) {
            value->offset = offset;
            offset += (t->bytes[v] + 63) / 64 * 64;
        }
        if (value->kind == GR_VALUE_WEIGHT)
            value->index = v;
    }
    t->node = (gr_node){.struct_size = sizeof t->node,
                        .op = plan->op,
                        .flags = GR_NODE_RUN,
                        .in_count = plan->in_count,
                        .out_count = plan->out_count,
                        .in = t->ids,
                        .out = t->ids + plan->in_count,
                        .attrs = plan->attrs};
    t->segment = (gr_segment){.struct_size = sizeof t->segment,
                              .value_count = value_count(plan),
                              .value_stride = sizeof t->values[0],
                              .node_count = 1,
                              .node_stride = sizeof t->node,
                              .values = t->values,
                              .nodes = &t->node};
}

static gr_status make_step(trial *t, gr_error *error) {
    const gr_bench_node *plan = t->plan;
    uint32_t rows = plan->rows, pages = plan->cache.pages;
    t->storage = calloc(5 * (size_t)rows + pages + 8, sizeof *t->storage);
    if (!t->storage)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "bench", "no memory for a step");
    int32_t *positions = t->storage, *output_rows = positions + rows, *tokens = output_rows + rows;
    int32_t *row_seq = tokens + rows, *tail = row_seq + rows; // seq_rows[2], first, count, table
    for (uint32_t r = 0; r < rows; r++) {
        positions[r] = plan->past + (int32_t)r;
        output_rows[r] = (int32_t)r;
    }
    tail[1] = (int32_t)rows;
    tail[3] = (int32_t)pages;
    for (uint32_t p = 0; p < pages; p++)
        tail[4 + p] = (int32_t)p;
    t->group = (gr_step_group){.struct_size = sizeof t->group,
                               .page_tokens = plan->cache.page_tokens,
                               .page_table_stride = pages,
                               .page_table = tail + 4,
                               .first_page = tail + 2,
                               .page_count = tail + 3};
    t->step = (gr_step){.struct_size = sizeof t->step,
                        .rows = rows,
                        .seqs = 1,
                        .outputs = rows,
                        .group_count = pages ? 1 : 0,
                        .group_stride = sizeof t->group,
                        .tokens = tokens,
                        .positions = positions,
                        .row_seq = row_seq,
                        .seq_rows = tail,
                        .output_rows = output_rows,
                        .groups = &t->group};
    return GR_OK;
}

static gr_status import_weights(trial *t, gr_bench_time *time, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t v = 0; v < t->plan->in_count && status == GR_OK; v++) {
        if (t->values[v].kind != GR_VALUE_WEIGHT)
            continue;
        t->data[v] = gr_os_alloc(t->bytes[v]);
        if (!t->data[v])
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "bench", "no memory for a weight");
        fill(t->values[v].dtype, t->data[v], t->bytes[v]);
        time->weight_bytes += t->bytes[v];
        gr_weight_desc desc = {.struct_size = sizeof desc,
                               .dtype = t->values[v].dtype,
                               .rank = t->values[v].rank,
                               .consumer = t->plan->op,
                               .data = t->data[v],
                               .bytes = t->bytes[v],
                               .name = "bench"};
        memcpy(desc.dims, t->values[v].dims, sizeof desc.dims);
        double begin = seconds_now();
        for (uint32_t c = 0; c < t->plan->copies && status == GR_OK; c++) {
            gr_weight_info info = {.struct_size = sizeof info};
            status = t->backend->weight_import(t->device->opened->device, &desc, &t->weights[c][v], &info, error);
            if (desc.rank > 1)
                memcpy(time->layout, info.layout, sizeof time->layout);
            gr_abi_settle_text(time->layout, sizeof time->layout);
        }
        time->ready_seconds += seconds_now() - begin;
    }
    return status;
}

static gr_status make_memory(trial *t, gr_error *error) {
    gr_device *device = t->device->opened->device;
    uint64_t bytes = 64;
    for (uint32_t v = 0; v < value_count(t->plan); v++) {
        if (t->values[v].kind == GR_VALUE_ACTIVATION)
            bytes += (t->bytes[v] + 63) / 64 * 64;
    }
    gr_status status = t->backend->buffer_alloc(device, bytes, &t->arena, error);
    for (uint32_t v = 0; v < t->plan->in_count && status == GR_OK; v++) {
        if (t->values[v].kind != GR_VALUE_ACTIVATION)
            continue;
        uint8_t *data = gr_os_alloc(t->bytes[v]);
        if (!data)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "bench", "no memory for an input");
        fill(t->values[v].dtype, data, t->bytes[v]);
        status = t->backend->buffer_write(device, NULL, t->arena, t->values[v].offset, data, t->bytes[v], error);
        gr_os_free(data, t->bytes[v]);
    }
    if (status == GR_OK && t->plan->cache.pages)
        status = t->backend->kv_create(device, &t->plan->cache, &t->kv, error);
    t->layer = (gr_cache_layer){.struct_size = sizeof t->layer, .kv = t->kv};
    return status;
}

static gr_status compile(trial *t, gr_error *error) {
    gr_device *device = t->device->opened->device;
    uint32_t threads = gr_team_size(t->device->team);
    uint64_t scratch = 0;
    gr_status status = GR_OK;
    for (uint32_t c = 0; c < t->plan->copies && status == GR_OK; c++) {
        gr_program_info info = {.struct_size = sizeof info};
        const gr_program_desc desc = {.struct_size = sizeof desc,
                                      .rows_max = t->plan->rows,
                                      .seqs_max = 1,
                                      .outputs_max = t->plan->rows,
                                      .segment = &t->segment,
                                      .step = &t->step,
                                      .weights = t->weights[c],
                                      .weight_count = GR_BENCH_VALUES,
                                      .cache_layer_count = t->kv ? 1 : 0,
                                      .cache_layer_stride = sizeof t->layer,
                                      .threads = threads,
                                      .cache_layers = &t->layer,
                                      .arena = t->arena};
        status = t->backend->program_compile(device, &desc, &t->programs[c], &info, error);
        uint64_t wanted = info.scratch_shared_bytes + threads * info.scratch_per_thread_bytes;
        scratch = wanted > scratch ? wanted : scratch;
    }
    return status == GR_OK ? t->backend->buffer_alloc(device, scratch, &t->scratch, error) : status;
}

static gr_status run(trial *t, uint32_t copy, gr_error *error) {
    gr_bench_device *d = t->device;
    const gr_submit submit = {.struct_size = sizeof submit,
                              .program = t->programs[copy],
                              .scratch = t->scratch,
                              .signal = d->fence,
                              .signal_value = ++d->fence_value};
    gr_status status = t->backend->submit(d->opened->device, d->queue, &submit, error);
    return status == GR_OK ? t->backend->fence_wait(d->opened->device, d->fence, d->fence_value, UINT64_MAX, error)
                           : status;
}

// All copies once.
static gr_status turn(trial *t, double *out_seconds, gr_error *error) {
    double begin = seconds_now();
    gr_status status = GR_OK;
    for (uint32_t c = 0; c < t->plan->copies && status == GR_OK; c++)
        status = run(t, c, error);
    *out_seconds = seconds_now() - begin;
    return status;
}

// Turns until the budget is spent; the first ones, while weights are packed, take longer.
static gr_status measure(trial *t, double budget, gr_bench_time *time, gr_error *error) {
    enum { LEAST = 4, MOST = 4096 };
    double fastest = 0, sum = 0, one, end = seconds_now() + budget;
    uint32_t turns = 0;
    gr_status status = GR_OK;
    while (status == GR_OK && turns < MOST && (turns < LEAST || seconds_now() < end)) {
        status = turn(t, &one, error);
        fastest = !turns || one < fastest ? one : fastest;
        sum += one;
        turns++;
        if (turns == LEAST / 2 && seconds_now() > end)
            break; // a slow device: two turns will do
    }
    time->seconds = fastest / t->plan->copies;
    // What all turns took beyond the fastest is mostly the first ones' packing.
    time->ready_seconds += sum - fastest * turns;
    return status;
}

static void unmake(trial *t) {
    gr_device *device = t->device->opened->device;
    for (uint32_t c = 0; c < GR_BENCH_COPIES; c++) {
        if (t->programs[c])
            t->backend->program_destroy(device, t->programs[c]);
        for (uint32_t v = 0; v < GR_BENCH_VALUES; v++) {
            if (t->weights[c][v])
                t->backend->weight_destroy(device, t->weights[c][v]);
        }
    }
    if (t->scratch)
        t->backend->buffer_destroy(device, t->scratch);
    if (t->arena)
        t->backend->buffer_destroy(device, t->arena);
    if (t->kv)
        t->backend->kv_destroy(device, t->kv);
    for (uint32_t v = 0; v < GR_BENCH_VALUES; v++)
        gr_os_free(t->data[v], t->bytes[v]);
    free(t->storage);
}

gr_status gr_bench_node_time(gr_bench_device *device, const gr_bench_node *node, double budget, gr_bench_time *out_time,
                             gr_error *error) {
    trial t = {.device = device, .backend = device->opened->backend, .plan = node};
    *out_time = (gr_bench_time){.support = {.struct_size = sizeof out_time->support}};
    describe(&t);
    t.backend->node_support(device->opened->device, &t.segment, 0, &out_time->support);
    gr_abi_settle_support(&out_time->support);
    if (out_time->support.level == GR_SUPPORT_NO || !node->copies)
        return GR_OK;
    gr_status status = make_step(&t, error);
    if (status == GR_OK)
        status = import_weights(&t, out_time, error);
    if (status == GR_OK)
        status = make_memory(&t, error);
    if (status == GR_OK)
        status = compile(&t, error);
    if (status == GR_OK)
        status = measure(&t, budget, out_time, error);
    unmake(&t);
    return gr_abi_settle_error(status, error);
}

// ---- Caches ----

// All layers and both parts of `pages` pages, to or from `data`.
static gr_status copy_pages(gr_bench_device *d, gr_kv *kv, const gr_kv_desc *desc, uint32_t pages, uint8_t *data,
                            bool in, double *out_seconds, gr_error *error) {
    const gr_backend *b = d->opened->backend;
    double begin = seconds_now();
    gr_status status = GR_OK;
    for (uint32_t page = 0; page < pages; page++) {
        for (uint32_t i = 0; i < 2 * desc->layers && status == GR_OK; i++) {
            const gr_kv_region region = {
                .struct_size = sizeof region, .layer = i / 2, .part = i % 2, .page = page, .count = desc->page_tokens};
            uint64_t bytes =
                gr_dtype_row_bytes(desc->dtype, i % 2 ? desc->v_dim : desc->k_dim) * desc->kv_heads * desc->page_tokens;
            status = in ? b->kv_write(d->opened->device, NULL, kv, &region, desc->dtype, data, bytes, error)
                        : b->kv_read(d->opened->device, NULL, kv, &region, desc->dtype, data, bytes, error);
            data += bytes;
        }
    }
    *out_seconds = seconds_now() - begin;
    return status;
}

gr_status gr_bench_cache_time(gr_bench_device *device, const gr_kv_desc *desc, uint32_t positions,
                              gr_bench_cache *out_time, gr_error *error) {
    const gr_backend *b = device->opened->backend;
    gr_kv_desc wanted = *desc;
    gr_kv *kv = NULL;
    wanted.pages = positions / desc->page_tokens;
    uint64_t position = (gr_dtype_row_bytes(desc->dtype, desc->k_dim) + gr_dtype_row_bytes(desc->dtype, desc->v_dim)) *
                        desc->kv_heads * desc->layers;
    *out_time = (gr_bench_cache){.bytes = position * desc->page_tokens * wanted.pages};
    gr_status status = b->kv_create(device->opened->device, &wanted, &kv, error);
    if (status != GR_OK)
        return gr_abi_settle_error(status, error);
    uint8_t *data = gr_os_alloc(out_time->bytes);
    if (!data)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "bench", "no memory for a cache");
    // In first: pages that were never written may have no memory yet.
    for (uint32_t round = 0; round < 2 && status == GR_OK; round++)
        status = copy_pages(device, kv, &wanted, wanted.pages, data, true, &out_time->in_seconds, error);
    if (status == GR_OK)
        status = copy_pages(device, kv, &wanted, wanted.pages, data, false, &out_time->out_seconds, error);
    if (status == GR_OK)
        status = copy_pages(device, kv, &wanted, 1, data, true, &out_time->page_in_seconds, error);
    if (status == GR_OK)
        status = copy_pages(device, kv, &wanted, 1, data, false, &out_time->page_out_seconds, error);
    gr_os_free(data, out_time->bytes);
    b->kv_destroy(device->opened->device, kv);
    return gr_abi_settle_error(status, error);
}
