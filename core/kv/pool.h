// SPDX-License-Identifier: Apache-2.0
// pool.h: pages of one group: counted references, a free list, and pools on devices that grow together.
// Inside the kv room.
#ifndef GREGALE_KV_POOL_H
#define GREGALE_KV_POOL_H

#include "kv/cache.h"

typedef struct gr_kv_pool {
    const gr_opened_device *device;
    gr_kv *kv;
    uint32_t layers, kv_heads, k_dim, v_dim;
} gr_kv_pool;

typedef struct gr_kv_group {
    uint32_t window;
    uint32_t pool_count;
    gr_kv_pool *pools;
    uint64_t page_bytes;      // over all pools
    uint32_t *references;     // [pages]
    uint32_t *free_pages;     // [free_count], a stack
    uint32_t pages, free_count;
    bool full;                // a device had no memory for more, when it was last asked
    int64_t wanted;           // pages, of the demand that is being added up
} gr_kv_group;

struct gr_kv_cache {
    gr_kv_cache_options options;
    gr_kv_group *groups;
    uint32_t group_count;
    gr_cache_layer *layers;
    uint32_t *layer_pools; // by layer: its pool's index within the group
    uint32_t layer_count;
    uint64_t bytes_used;
    const gr_opened_device *culprit; // gr_kv_cache_culprit
};

static inline const gr_kv_pool *gr_kv_layer_pool(const gr_kv_cache *cache, uint32_t layer) {
    return &cache->groups[cache->layers[layer].group].pools[cache->layer_pools[layer]];
}

// Makes sure that `count` pages of `group` are free, growing the pools. A device without memory for that many
// gives what it has, for those who need less.
gr_status gr_kv_group_provide(gr_kv_cache *cache, gr_kv_group *group, uint32_t count, gr_error *error);
// Takes a free page (there is one) with one reference.
int32_t gr_kv_group_take(gr_kv_cache *cache, gr_kv_group *group);
void gr_kv_group_retain(gr_kv_group *group, int32_t page);
void gr_kv_group_release(gr_kv_cache *cache, gr_kv_group *group, int32_t page);
// Copies slots [0, slots) of a page to another, in every pool.
gr_status gr_kv_group_copy(gr_kv_cache *cache, gr_kv_group *group, int32_t from, int32_t to, uint32_t slots, gr_error *error);

// Whether the next write of the sequence lands in a page that somebody else refers to.
bool gr_kv_seq_must_copy(const gr_kv_seq *seq, uint32_t group);
// Pages that `length` positions take.
uint64_t gr_kv_pages_for(const gr_kv_cache *cache, uint64_t length);

#endif
