// SPDX-License-Identifier: Apache-2.0
#include "engine/split.h"

#include <string.h>

static uint32_t layers_of(const gr_model *model) {
    return model->source->hparams.layers;
}

// ---- By numbers

static gr_status take_part(const gr_model *model, const char *part, size_t bytes, gr_split *split, gr_error *error) {
    char name[128];
    unsigned layers = 0;
    const char *colon = memchr(part, ':', bytes);
    size_t length = colon ? (size_t)(colon - part) : bytes;
    if (split->count == GR_MAX_SPLIT)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a split names at most %d devices", GR_MAX_SPLIT);
    if (!length || length >= sizeof name)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a split: expected DEVICE:LAYERS, as in cpu:20,far:12, found '%.*s'",
                       (int)bytes, part);
    memcpy(name, part, length);
    name[length] = '\0';
    for (size_t i = length + 1; colon && i < bytes; i++) {
        if (part[i] < '0' || part[i] > '9' || layers > 100000)
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a split: expected a number of layers behind the colon, found '%.*s'",
                           (int)bytes, part);
        layers = layers * 10 + (unsigned)(part[i] - '0');
    }
    if (colon && !layers)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a split: no layers for %s", name);
    gr_status status = gr_registry_find(model->engine->registry, name, &split->devices[split->count], error);
    for (uint32_t i = 0; status == GR_OK && i < split->count; i++)
        if (split->devices[i] == split->devices[split->count])
            status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a split names %s twice", name);
    split->layers[split->count++] = layers; // 0: the rest
    return status;
}

static gr_status take_rest(const gr_model *model, gr_split *split, gr_error *error) {
    uint32_t sum = 0, open = 0, rest = 0, layers = layers_of(model);
    for (uint32_t i = 0; i < split->count; i++) {
        sum += split->layers[i];
        if (!split->layers[i]) {
            rest = i;
            open++;
        }
    }
    if (open == 1 && sum < layers)
        split->layers[rest] = layers - sum;
    else if (open > 1)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine",
                       "a split: %u devices without a number of layers; one may get the rest, the model has %u", open, layers);
    else if (open || sum != layers)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a split of %u layers%s: the model has %u", sum,
                       open ? ", and the rest" : "", layers);
    return GR_OK;
}

static gr_status by_numbers(const gr_model *model, const char *spec, gr_split *split, gr_error *error) {
    gr_status status = GR_OK;
    for (const char *part = spec; part && status == GR_OK;) {
        const char *comma = strchr(part, ',');
        status = take_part(model, part, comma ? (size_t)(comma - part) : strlen(part), split, error);
        part = comma ? comma + 1 : NULL;
    }
    return status == GR_OK ? take_rest(model, split, error) : status;
}

// ---- By memory

// Bytes of the weights that nodes of one layer read, and of a cache of the default context.
static uint64_t layer_bytes(const gr_model *model, uint32_t layer) {
    const gr_segment *segment = gr_graph_segment(model->graph);
    const gr_attrs_attention *attrs = gr_graph_cache_layer(model->graph, layer);
    const gr_kv_cache_options *cache = &model->cache_options;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        for (uint32_t j = 0; node->layer == (int32_t)layer && !node->subtree && j < node->in_count; j++) {
            const gr_value *value = node->in[j] == GR_VALUE_NONE ? NULL : gr_segment_value(segment, node->in[j]);
            if (value && value->kind == GR_VALUE_WEIGHT)
                bytes += gr_model_file_tensor(model->source->file, gr_graph_weight_at(model->graph, value->index)->name)->bytes;
        }
    }
    uint64_t positions = attrs->window && attrs->window < GR_DEFAULT_CONTEXT ? attrs->window + cache->reserve + model->chunk
                                                                             : GR_DEFAULT_CONTEXT;
    uint64_t values = positions * attrs->kv_heads * (attrs->k_dim + attrs->v_dim);
    return bytes + values / gr_dtype_block(cache->dtype) * gr_dtype_block_bytes(cache->dtype);
}

// A tenth of a device's memory is left for what else a step needs. A device that does not tell takes all.
static gr_status by_memory(const gr_model *model, gr_split *split, gr_error *error) {
    const gr_registry *registry = model->engine->registry;
    uint32_t order[GR_MAX_CANDIDATES], count = gr_registry_candidates(registry, NULL, order, GR_MAX_CANDIDATES);
    uint32_t layer = 0, layers = layers_of(model);
    for (uint32_t c = 0; c < count && layer < layers && split->count < GR_MAX_SPLIT; c++) {
        uint64_t room = gr_registry_device(registry, order[c])->facts.memory_free_bytes, needed = 0;
        uint32_t first = layer;
        while (layer < layers && (!room || needed + layer_bytes(model, layer) <= room / 10 * 9))
            needed += layer_bytes(model, layer++);
        if (layer == first)
            continue;
        split->devices[split->count] = order[c];
        split->layers[split->count++] = layer - first;
    }
    return layer == layers ? GR_OK
                           : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine",
                                     "all devices together have memory for %u of %u layers, with a cache of %u positions", layer,
                                     layers, GR_DEFAULT_CONTEXT);
}

// ----

static gr_status one_device(const gr_model *model, const char *spec, gr_split *split, gr_error *error) {
    gr_registry *registry = model->engine->registry;
    *split = (gr_split){.count = 1, .layers = {layers_of(model)}};
    return !spec || strcmp(spec, "auto") == 0
               ? gr_registry_best(registry, gr_model_file_bytes(model->source->file), &split->devices[0], error)
               : gr_registry_find(registry, spec, &split->devices[0], error);
}

gr_status gr_split_parse(const gr_model *model, const char *spec, gr_split *out_split, gr_error *error) {
    *out_split = (gr_split){0};
    if (spec && strcmp(spec, "split") == 0)
        return by_memory(model, out_split, error);
    if (spec && strpbrk(spec, ":,"))
        return by_numbers(model, spec, out_split, error);
    return one_device(model, spec, out_split, error);
}

void gr_split_describe(const gr_model *model, const gr_split *split, gr_strbuf *text) {
    for (uint32_t i = 0; i < split->count; i++) {
        gr_strbuf_format(text, "%s%s", i ? "," : "", gr_registry_device(model->engine->registry, split->devices[i])->name);
        if (split->count > 1)
            gr_strbuf_format(text, ":%u", split->layers[i]);
    }
}
