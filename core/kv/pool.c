// SPDX-License-Identifier: Apache-2.0
#include "kv/pool.h"

#include <assert.h>
#include <stdlib.h>

static gr_status resize_pools(gr_kv_cache *cache, gr_kv_group *group, uint32_t pages, gr_error *error) {
    for (uint32_t i = 0; i < group->pool_count; i++) {
        gr_kv_pool *pool = &group->pools[i];
        gr_status status = pool->device->backend->kv_resize(pool->device->device, pool->kv, pages, error);
        if (status != GR_OK) {
            cache->culprit = pool->device;
            return gr_abi_settle_error(status, error); // pools that grew already stay larger: harmless
        }
    }
    return GR_OK;
}

static gr_status grow(gr_kv_cache *cache, gr_kv_group *group, uint32_t pages, gr_error *error) {
    uint32_t *references = realloc(group->references, (size_t)pages * sizeof *references);
    if (references)
        group->references = references;
    uint32_t *free_pages = realloc(group->free_pages, (size_t)pages * sizeof *free_pages);
    if (free_pages)
        group->free_pages = free_pages;
    if (!references || !free_pages)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory for %u cache pages", pages);
    gr_status status = resize_pools(cache, group, pages, error);
    if (status != GR_OK)
        return status;
    for (uint32_t page = pages; page-- > group->pages;) { // lowest number on top of the stack
        references[page] = 0;
        free_pages[group->free_count++] = page;
    }
    group->pages = pages;
    group->full = false;
    return GR_OK;
}

static void grow_to_the_end(gr_kv_cache *cache, gr_kv_group *group, uint64_t missing) {
    while (missing && grow(cache, group, group->pages + (uint32_t)missing, NULL) != GR_OK)
        missing /= 2;
    group->full = true;
}

gr_status gr_kv_group_provide(gr_kv_cache *cache, gr_kv_group *group, uint32_t count, gr_error *error) {
    uint64_t limit = cache->options.limit_bytes;
    uint64_t wanted = (uint64_t)count * group->page_bytes;
    if (limit && (wanted > limit || cache->bytes_used > limit - wanted))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv",
                       "the cache needs %.1f MiB more than its limit of %.1f MiB",
                       ((double)cache->bytes_used + (double)wanted - (double)limit) / 1048576.0, (double)limit / 1048576.0);
    if (count <= group->free_count)
        return GR_OK;
    uint64_t pages = group->pages + (uint64_t)(count - group->free_count);
    uint64_t roomy = group->pages + (uint64_t)group->pages / 2 + 8;
    if (pages > INT32_MAX)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "a cache group cannot have %llu pages",
                       (unsigned long long)pages);
    if (roomy > pages && roomy <= INT32_MAX && grow(cache, group, (uint32_t)roomy, NULL) == GR_OK)
        return GR_OK;
    cache->culprit = NULL; // less may do
    gr_status status = grow(cache, group, (uint32_t)pages, error);
    if (status == GR_ERROR_OUT_OF_MEMORY)
        grow_to_the_end(cache, group, (pages - group->pages) / 2);
    return status;
}

// Shrinks the pools to the last page that somebody refers to, or to one page. Returns the bytes given back.
static uint64_t trim(gr_kv_cache *cache, gr_kv_group *group) {
    uint32_t keep = group->pages, before = group->pages;
    while (keep > 1 && !group->references[keep - 1])
        keep--;
    if (keep == before)
        return 0;
    gr_status status = resize_pools(cache, group, keep, NULL);
    group->pages = keep; // pools that did not shrink are larger: harmless
    group->full = true;
    group->free_count = 0;
    for (uint32_t page = keep; page-- > 0;)
        if (!group->references[page])
            group->free_pages[group->free_count++] = page;
    return status == GR_OK ? (uint64_t)(before - keep) * group->page_bytes : 0;
}

uint64_t gr_kv_cache_trim(gr_kv_cache *cache) {
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < cache->group_count; g++)
        bytes += trim(cache, &cache->groups[g]);
    return bytes;
}

int32_t gr_kv_group_take(gr_kv_cache *cache, gr_kv_group *group) {
    assert(group->free_count);
    uint32_t page = group->free_pages[--group->free_count];
    group->references[page] = 1;
    cache->bytes_used += group->page_bytes;
    return (int32_t)page;
}

void gr_kv_group_retain(gr_kv_group *group, int32_t page) {
    group->references[page]++;
}

void gr_kv_group_release(gr_kv_cache *cache, gr_kv_group *group, int32_t page) {
    assert(group->references[page]);
    if (--group->references[page])
        return;
    group->free_pages[group->free_count++] = (uint32_t)page;
    cache->bytes_used -= group->page_bytes;
}

gr_status gr_kv_group_copy(gr_kv_cache *cache, gr_kv_group *group, int32_t from, int32_t to, uint32_t slots,
                           gr_error *error) {
    for (uint32_t i = 0; i < group->pool_count; i++) {
        gr_kv_pool *pool = &group->pools[i];
        gr_status status = pool->device->backend->kv_copy_page(pool->device->device, NULL, pool->kv, (uint32_t)from,
                                                               (uint32_t)to, slots, error);
        if (status != GR_OK) {
            cache->culprit = pool->device;
            return gr_abi_settle_error(status, error);
        }
    }
    return GR_OK;
}
