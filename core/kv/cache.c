// SPDX-License-Identifier: Apache-2.0
// cache.c: layers to groups to pools. Sequences are in seq.c.
#include "kv/cache.h"

#include <stdlib.h>

#include "kv/pool.h"

static gr_kv_group *group_of(gr_kv_cache *cache, uint32_t window) {
    for (uint32_t i = 0; i < cache->group_count; i++)
        if (cache->groups[i].window == window)
            return &cache->groups[i];
    gr_kv_group *group = &cache->groups[cache->group_count++];
    group->window = window;
    return group;
}

static gr_kv_pool *pool_of(gr_kv_group *group, const gr_kv_layer_desc *layer) {
    for (uint32_t i = 0; i < group->pool_count; i++) {
        gr_kv_pool *pool = &group->pools[i];
        if (pool->device == layer->device && pool->kv_heads == layer->kv_heads && pool->k_dim == layer->k_dim &&
            pool->v_dim == layer->v_dim)
            return pool;
    }
    gr_kv_pool *pool = &group->pools[group->pool_count++];
    *pool = (gr_kv_pool){.device = layer->device, .kv_heads = layer->kv_heads, .k_dim = layer->k_dim, .v_dim = layer->v_dim};
    return pool;
}

// Puts every layer into its group and pool; the pools have no memory yet.
static gr_status arrange(gr_kv_cache *cache, const gr_kv_layer_desc *layers, gr_error *error) {
    for (uint32_t i = 0; i < cache->layer_count; i++) {
        gr_kv_group *group = group_of(cache, layers[i].window);
        if (!group->pools && !(group->pools = calloc(cache->layer_count, sizeof *group->pools)))
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory for the cache");
        gr_kv_pool *pool = pool_of(group, &layers[i]);
        cache->layers[i] = (gr_cache_layer){.struct_size = sizeof(gr_cache_layer),
                                            .group = (uint32_t)(group - cache->groups),
                                            .layer = pool->layers++};
        cache->layer_pools[i] = (uint32_t)(pool - group->pools);
    }
    return GR_OK;
}

static gr_status create_pools(gr_kv_cache *cache, gr_kv_group *group, gr_error *error) {
    for (uint32_t i = 0; i < group->pool_count; i++) {
        gr_kv_pool *pool = &group->pools[i];
        const gr_kv_desc desc = {.struct_size = sizeof desc,
                                 .layers = pool->layers,
                                 .page_tokens = cache->options.page_tokens,
                                 .kv_heads = pool->kv_heads,
                                 .k_dim = pool->k_dim,
                                 .v_dim = pool->v_dim,
                                 .dtype = cache->options.dtype,
                                 .pages = 0};
        gr_status status = pool->device->backend->kv_create(pool->device->device, &desc, &pool->kv, error);
        if (status != GR_OK)
            return gr_abi_settle_error(status, error);
        group->page_bytes += pool->device->backend->kv_page_bytes(pool->device->device, pool->kv);
    }
    return GR_OK;
}

static gr_status check_options(const gr_kv_cache_options *options, const gr_kv_layer_desc *layers, uint32_t layer_count,
                               gr_error *error) {
    gr_dtype dtype = options->dtype;
    if (!options->page_tokens || (options->page_tokens & (options->page_tokens - 1)))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "kv", "a page of %u positions: expected a power of two",
                       options->page_tokens);
    if (dtype != GR_DTYPE_F32 && dtype != GR_DTYPE_F16 && dtype != GR_DTYPE_BF16 && dtype != GR_DTYPE_Q8_0)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "kv", "a cache of %s: expected F32, F16, BF16 or Q8_0",
                       gr_dtype_name(dtype));
    for (uint32_t i = 0; i < layer_count; i++)
        if (layers[i].k_dim % gr_dtype_block(dtype) || layers[i].v_dim % gr_dtype_block(dtype))
            return gr_fail(error, GR_ERROR_UNSUPPORTED, "kv",
                           "a cache of %s takes heads of a multiple of %u values; layer %u has keys of %u, values of %u",
                           gr_dtype_name(dtype), gr_dtype_block(dtype), i, layers[i].k_dim, layers[i].v_dim);
    return GR_OK;
}

gr_status gr_kv_cache_create(const gr_kv_layer_desc *layers, uint32_t layer_count,
                             const gr_kv_cache_options *options, gr_kv_cache **out_cache, gr_error *error) {
    *out_cache = NULL;
    gr_status status = check_options(options, layers, layer_count, error);
    if (status != GR_OK)
        return status;
    gr_kv_cache *cache = calloc(1, sizeof *cache);
    status = GR_ERROR_OUT_OF_MEMORY;
    if (!cache)
        return gr_fail(error, status, "kv", "no memory for the cache");
    cache->options = *options;
    cache->layer_count = layer_count;
    cache->layers = calloc(layer_count ? layer_count : 1, sizeof *cache->layers);
    cache->layer_pools = calloc(layer_count ? layer_count : 1, sizeof *cache->layer_pools);
    cache->groups = calloc(layer_count ? layer_count : 1, sizeof *cache->groups);
    if (!cache->layers || !cache->layer_pools || !cache->groups) {
        gr_fail(error, status, "kv", "no memory for the cache");
        goto fail;
    }
    status = arrange(cache, layers, error);
    for (uint32_t i = 0; status == GR_OK && i < cache->group_count; i++)
        status = create_pools(cache, &cache->groups[i], error);
    if (status != GR_OK)
        goto fail;
    for (uint32_t i = 0; i < layer_count; i++)
        cache->layers[i].kv = gr_kv_layer_pool(cache, i)->kv;
    *out_cache = cache;
    return GR_OK;
fail:
    gr_kv_cache_destroy(cache);
    return status;
}

static void destroy_group(gr_kv_group *group) {
    for (uint32_t i = 0; i < group->pool_count; i++)
        if (group->pools[i].kv)
            group->pools[i].device->backend->kv_destroy(group->pools[i].device->device, group->pools[i].kv);
    free(group->pools);
    free(group->references);
    free(group->free_pages);
}

void gr_kv_cache_destroy(gr_kv_cache *cache) {
    if (!cache)
        return;
    for (uint32_t i = 0; cache->groups && i < cache->group_count; i++)
        destroy_group(&cache->groups[i]);
    free(cache->groups);
    free(cache->layers);
    free(cache->layer_pools);
    free(cache);
}

const gr_cache_layer *gr_kv_cache_layers(const gr_kv_cache *cache, uint32_t *out_count) {
    *out_count = cache->layer_count;
    return cache->layers;
}

uint32_t gr_kv_cache_group_count(const gr_kv_cache *cache) {
    return cache->group_count;
}

uint32_t gr_kv_cache_group_window(const gr_kv_cache *cache, uint32_t group) {
    return cache->groups[group].window;
}

uint32_t gr_kv_cache_page_tokens(const gr_kv_cache *cache) {
    return cache->options.page_tokens;
}

gr_dtype gr_kv_cache_dtype(const gr_kv_cache *cache) {
    return cache->options.dtype;
}

uint64_t gr_kv_cache_bytes_used(const gr_kv_cache *cache) {
    return cache->bytes_used;
}

gr_kv_layer_desc gr_kv_cache_layer_desc(const gr_kv_cache *cache, uint32_t layer) {
    const gr_kv_pool *pool = gr_kv_layer_pool(cache, layer);
    return (gr_kv_layer_desc){.device = pool->device,
                              .window = cache->groups[cache->layers[layer].group].window,
                              .kv_heads = pool->kv_heads,
                              .k_dim = pool->k_dim,
                              .v_dim = pool->v_dim};
}

const gr_opened_device *gr_kv_cache_culprit(const gr_kv_cache *cache) {
    return cache->culprit;
}

void gr_kv_cache_acquit(gr_kv_cache *cache) {
    cache->culprit = NULL;
}
