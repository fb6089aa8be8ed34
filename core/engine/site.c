// SPDX-License-Identifier: Apache-2.0
// site.c: devices, placement, weights and a cache of one model, together.
#include "engine/site.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

// ---- Devices: the wanted one first, then every other with host memory, best first, to fall back on.

static gr_status add_device(gr_site *site, uint32_t index, gr_error *error) {
    gr_site_device *device = &site->devices[site->device_count];
    gr_status status = gr_registry_open(site->model->engine->registry, index, &device->opened, error);
    if (status == GR_OK)
        site->device_count++;
    return status;
}

static gr_status open_wanted(gr_site *site, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < site->split.count; i++) {
        status = add_device(site, site->split.devices[i], error);
        if (status == GR_OK && site->model->engine->deterministic &&
            !(site->devices[i].opened->facts.flags & GR_DEVICE_BATCH_INVARIANT))
            status = gr_fail(error, GR_ERROR_UNSUPPORTED, "engine",
                             "device %s was asked for bits that ignore batching and does not promise them",
                             site->devices[i].opened->name);
    }
    return status;
}

static bool is_wanted(const gr_split *split, uint32_t index) {
    for (uint32_t i = 0; i < split->count; i++)
        if (split->devices[i] == index)
            return true;
    return false;
}

static gr_status open_devices(gr_site *site, gr_error *error) {
    gr_registry *registry = site->model->engine->registry;
    gr_status status = open_wanted(site, error);
    for (uint32_t i = 0; status == GR_OK && i < gr_registry_device_count(registry); i++) {
        bool host = gr_registry_device(registry, i)->facts.flags & GR_DEVICE_HOST_MEMORY;
        if (!is_wanted(&site->split, i) && host && site->device_count < GR_MAX_SITE_DEVICES)
            add_device(site, i, NULL); // a fallback that will not open is no loss
    }
    return status;
}

static gr_status place(gr_site *site, gr_error *error) {
    const gr_engine *engine = site->model->engine;
    const gr_split *split = &site->split;
    const gr_opened_device *opened[GR_MAX_SITE_DEVICES];
    uint32_t count = site->model->source->hparams.layers, layer = 0;
    uint32_t *layer_devices = calloc(count ? count : 1, sizeof *layer_devices);
    if (!layer_devices)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory to place the model");
    for (uint32_t i = 0; i < site->device_count; i++)
        opened[i] = site->devices[i].opened;
    for (uint32_t i = 0; i < split->count; i++)
        for (uint32_t n = 0; n < split->layers[i] && layer < count; n++)
            layer_devices[layer++] = i;
    gr_status status = gr_placement_create(site->model->graph, opened, site->device_count, layer_devices,
                                           engine->no_fusion, &site->placement, error);
    free(layer_devices);
    if (status == GR_OK)
        status = gr_plan_create(site->model->graph, gr_placement_choose, site->placement, engine->no_fusion, 1, 1, 1,
                                &site->plan, error);
    return status;
}

// A fallback that nobody fell back on: it is not held open, and so not held up when it is lost elsewhere.
static void let_go_of_unused(gr_site *site) {
    for (uint32_t i = site->split.count; i < site->device_count; i++) {
        if (!site->devices[i].used) {
            gr_registry_close(site->model->engine->registry, site->devices[i].opened);
            site->devices[i].opened = NULL;
        }
    }
}

static gr_status use_device(gr_site *site, gr_site_device *device, gr_error *error) {
    const gr_backend *backend = device->opened->backend;
    uint32_t weights = gr_graph_weight_count(site->model->graph);
    if (device->used)
        return GR_OK;
    device->used = true;
    device->weights = calloc(weights ? weights : 1, sizeof *device->weights);
    if (!device->weights)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for weights");
    gr_device *handle = device->opened->device;
    gr_status status = backend->queue_create(handle, site->model->engine->team, &device->queue, error);
    if (status == GR_OK)
        status = backend->fence_create(handle, &device->fence, error);
    return gr_abi_settle_error(status, error);
}

static gr_status create_cache(gr_site *site, gr_error *error) {
    const gr_graph *graph = site->model->graph;
    uint32_t count = gr_graph_cache_layer_count(graph);
    gr_kv_layer_desc *layers = calloc(count ? count : 1, sizeof *layers);
    if (!layers)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for the cache");
    for (uint32_t i = 0; i < count; i++) {
        const gr_attrs_attention *attrs = gr_graph_cache_layer(graph, i);
        layers[i] = (gr_kv_layer_desc){.device = site->devices[gr_placement_cache_device(site->placement, i)].opened,
                                       .window = attrs->window,
                                       .kv_heads = attrs->kv_heads,
                                       .k_dim = attrs->k_dim,
                                       .v_dim = attrs->v_dim};
    }
    gr_status status = gr_kv_cache_create(layers, count, &site->model->cache_options, &site->cache, error);
    free(layers);
    return status;
}

// ---- Weights: each is imported by the devices whose nodes read it.

static gr_status import_weight(gr_site *site, gr_site_device *device, uint32_t index, gr_error *error) {
    const gr_graph_weight *weight = gr_graph_weight_at(site->model->graph, index);
    const gr_tensor_info *tensor = gr_model_file_tensor(site->model->source->file, weight->name);
    if (device->weights[index])
        return GR_OK;
    gr_weight_desc desc = {.struct_size = sizeof desc,
                           .dtype = tensor->dtype,
                           .rank = tensor->rank,
                           .consumer = weight->consumer,
                           .data = tensor->data,
                           .bytes = tensor->bytes,
                           .name = weight->name};
    memcpy(desc.dims, tensor->dims, sizeof desc.dims);
    gr_weight_info info = {.struct_size = sizeof info};
    site->suspect = (uint32_t)(device - site->devices);
    gr_status status = device->opened->backend->weight_import(device->opened->device, &desc, &device->weights[index],
                                                              &info, error);
    site->weight_bytes += tensor->bytes;
    site->resident_bytes += info.device_bytes + (info.aliases_source ? tensor->bytes : 0);
    return gr_abi_settle_error(status, error);
}

typedef struct importing {
    gr_site_progress progress;
    void *context;
    uint32_t done; // weights imported so far
} importing;

static gr_status import_node(gr_site *site, const gr_plan_segment *segment, const gr_node *node, importing *import,
                             gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t j = 0; status == GR_OK && j < node->in_count; j++) {
        const gr_value *value = node->in[j] == GR_VALUE_NONE ? NULL : gr_segment_value(&segment->segment, node->in[j]);
        if (!value || value->kind != GR_VALUE_WEIGHT)
            continue;
        status = import_weight(site, &site->devices[segment->device], value->index, error);
        double share = fmin(1, (double)++import->done / gr_graph_weight_count(site->model->graph));
        if (status == GR_OK && import->progress && !import->progress(import->context, share))
            status = gr_fail(error, GR_ERROR_CANCELLED, "engine", "loading was cancelled");
    }
    return status;
}

gr_status gr_site_import(gr_site *site, gr_site_progress progress, void *context, gr_error *error) {
    importing import = {.progress = progress, .context = context};
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < gr_plan_segment_count(site->plan); i++) {
        const gr_plan_segment *segment = gr_plan_segment_at(site->plan, i);
        for (uint32_t n = 0; status == GR_OK && n < segment->segment.node_count; n++) {
            const gr_node *node = gr_segment_node(&segment->segment, n);
            if (node->flags & GR_NODE_RUN)
                status = import_node(site, segment, node, &import, error);
        }
    }
    return status == GR_OK ? gr_buckets_compile(site, error) : status;
}

// ---- Life

static gr_status name_site(gr_site *site, gr_error *error) {
    gr_strbuf name = {0};
    gr_split_describe(site->model, &site->split, &name);
    site->name = name.failed ? NULL : name.data;
    return site->name ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a site");
}

static gr_status join_model(gr_site *site, gr_error *error) {
    gr_model *model = site->model;
    gr_site **sites = realloc(model->sites, (model->site_count + 1) * sizeof *sites);
    if (!sites)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a site");
    model->sites = sites;
    model->sites[model->site_count++] = site;
    return GR_OK;
}

static void leave_model(const gr_site *site) {
    gr_model *model = site->model;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < model->site_count; i++)
        if (model->sites[i] != site)
            model->sites[kept++] = model->sites[i];
    model->site_count = kept;
}

// The smallest one, and those that the model's sessions have needed so far.
static gr_status open_buckets(gr_site *site, gr_error *error) {
    const gr_model *model = site->model;
    gr_bucket *bucket;
    gr_status status = gr_bucket_open(site, 1, &bucket, error);
    for (uint32_t i = 0; i < model->site_count; i++)
        for (uint32_t b = 0; status == GR_OK && b < model->sites[i]->bucket_count; b++)
            status = gr_bucket_open(site, model->sites[i]->buckets[b]->rows_max, &bucket, error);
    return status;
}

gr_status gr_site_open(gr_model *model, const char *spec, gr_site **out_site, gr_error *error) {
    *out_site = NULL;
    gr_site *site = calloc(1, sizeof *site);
    if (!site)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for a site");
    site->references = 1;
    site->model = model;
    gr_status status = join_model(site, error);
    if (status == GR_OK)
        status = gr_split_parse(model, spec, &site->split, error);
    if (status == GR_OK)
        status = open_devices(site, error);
    if (status == GR_OK)
        status = place(site, error);
    if (status == GR_OK)
        status = name_site(site, error);
    for (uint32_t i = 0; status == GR_OK && i < gr_plan_segment_count(site->plan); i++)
        status = use_device(site, &site->devices[gr_plan_segment_at(site->plan, i)->device], error);
    if (status == GR_OK) {
        let_go_of_unused(site);
        status = create_cache(site, error);
    }
    if (status == GR_OK)
        status = open_buckets(site, error);
    if (status != GR_OK) {
        gr_site_release(site);
        return status;
    }
    *out_site = site;
    return GR_OK;
}

// Since they were opened a session may have asked for a longer context than their page tables hold.
static bool are_outgrown(const gr_site *site) {
    return site->bucket_count && site->buckets[0]->page_table_stride < site->model->max_pages;
}

gr_status gr_site_ready(gr_site *site, gr_error *error) {
    gr_status status = GR_OK;
    if (are_outgrown(site)) {
        gr_buckets_drop(site);
        status = open_buckets(site, error);
        if (status == GR_OK)
            status = gr_buckets_compile(site, error);
    }
    if (status == GR_OK)
        status = gr_buckets_settle(site, error);
    site->ready = status == GR_OK;
    return status;
}

gr_site *gr_site_retain(gr_site *site) {
    site->references++;
    return site;
}

static bool shrink_device(const gr_site *site, gr_site_device *device, uint64_t deadline_ns) {
    for (uint32_t i = 0; device->weights && i < gr_graph_weight_count(site->model->graph); i++) {
        if (!device->weights[i])
            continue;
        device->opened->backend->weight_destroy(device->opened->device, device->weights[i]);
        device->weights[i] = NULL;
        if (gr_os_now_ns() >= deadline_ns)
            return false;
    }
    return true;
}

bool gr_site_shrink(gr_site *site, uint64_t deadline_ns) {
    bool whole = true;
    site->failed = true; // nobody comes back
    gr_buckets_drop(site);
    for (uint32_t i = 0; whole && i < site->device_count; i++)
        whole = shrink_device(site, &site->devices[i], deadline_ns);
    return whole;
}

void gr_site_abandon(gr_site *site) {
    if (site->abandoned)
        return;
    site->abandoned = true;
    gr_site_retain(site);
    gr_model_retain(site->model);
}

static void release_device(gr_site *site, gr_site_device *device) {
    if (!device->opened)
        return;
    const gr_backend *backend = device->opened->backend;
    shrink_device(site, device, UINT64_MAX);
    free(device->weights);
    if (device->scratch)
        backend->buffer_destroy(device->opened->device, device->scratch);
    if (device->fence)
        backend->fence_destroy(device->opened->device, device->fence);
    if (device->queue)
        backend->queue_destroy(device->opened->device, device->queue);
    gr_registry_close(site->model->engine->registry, device->opened);
}

void gr_site_release(gr_site *site) {
    if (!site || --site->references)
        return;
    leave_model(site);
    gr_buckets_drop(site);
    gr_kv_cache_destroy(site->cache);
    for (uint32_t i = 0; i < site->device_count; i++)
        release_device(site, &site->devices[i]);
    gr_plan_destroy(site->plan);
    gr_placement_destroy(site->placement);
    free(site->name);
    free(site);
}

static bool is_same(const gr_split *a, const gr_split *b) {
    bool same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++)
        same = a->devices[i] == b->devices[i] && a->layers[i] == b->layers[i];
    return same;
}

gr_site *gr_site_find(gr_model *model, const char *spec) {
    gr_split split;
    if (gr_split_parse(model, spec, &split, NULL) != GR_OK)
        return NULL;
    for (uint32_t i = 0; i < model->site_count; i++)
        if (!model->sites[i]->failed && is_same(&model->sites[i]->split, &split))
            return model->sites[i];
    return NULL;
}

const char *gr_site_name(const gr_site *site) {
    return site->name;
}
