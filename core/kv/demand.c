// SPDX-License-Identifier: Apache-2.0
#include "kv/demand.h"

#include "kv/pool.h"

bool gr_kv_demand_is_bounded(const gr_kv_cache *cache) {
    bool bounded = cache->options.limit_bytes != 0;
    for (uint32_t g = 0; g < cache->group_count; g++)
        bounded |= cache->groups[g].full;
    return bounded;
}

void gr_kv_demand_clear(gr_kv_cache *cache) {
    for (uint32_t g = 0; g < cache->group_count; g++)
        cache->groups[g].wanted = 0;
}

// A window bounds the pages that are held at a time: those behind the end, and a chunk before it.
static uint64_t most_pages(const gr_kv_cache *cache, uint32_t g, uint64_t chunk) {
    uint64_t window = cache->groups[g].window;
    return window ? (window + cache->options.reserve + chunk) / cache->options.page_tokens + 2 : UINT64_MAX;
}

void gr_kv_demand_add(const gr_kv_seq *seq, uint64_t length, uint64_t chunk) {
    gr_kv_cache *cache = seq->cache;
    uint64_t end = gr_kv_pages_for(cache, length);
    for (uint32_t g = 0; length > seq->length && g < cache->group_count; g++) {
        const gr_kv_pages *pages = &seq->groups[g];
        uint64_t held = pages->first + (uint64_t)pages->count, most = most_pages(cache, g, chunk);
        uint64_t fresh = end > held ? end - held : 0, room = most > pages->count ? most - pages->count : 0;
        cache->groups[g].wanted += (int64_t)(fresh < room ? fresh : room) + gr_kv_seq_must_copy(seq, g);
    }
}

void gr_kv_demand_take_out(const gr_kv_seq *seq) {
    for (uint32_t g = 0; g < seq->cache->group_count; g++) {
        gr_kv_group *group = &seq->cache->groups[g];
        for (uint32_t i = 0; i < seq->groups[g].count; i++)
            group->wanted -= --group->references[seq->groups[g].pages[i]] == 0;
    }
}

void gr_kv_demand_put_back(const gr_kv_seq *seq) {
    for (uint32_t g = 0; g < seq->cache->group_count; g++)
        for (uint32_t i = 0; i < seq->groups[g].count; i++)
            seq->cache->groups[g].references[seq->groups[g].pages[i]]++;
}

bool gr_kv_demand_fits(const gr_kv_cache *cache) {
    int64_t bytes = 0, room = (int64_t)(cache->options.limit_bytes - cache->bytes_used);
    for (uint32_t g = 0; g < cache->group_count; g++) {
        const gr_kv_group *group = &cache->groups[g];
        bytes += group->wanted * (int64_t)group->page_bytes;
        if (group->full && group->wanted > (int64_t)group->free_count)
            return false;
    }
    return !cache->options.limit_bytes || bytes <= room;
}

bool gr_kv_demand_frees(const gr_kv_cache *cache) {
    bool any = false;
    for (uint32_t g = 0; g < cache->group_count; g++)
        any |= cache->groups[g].wanted < 0;
    return any;
}

static bool has_room(const gr_kv_seq *seq, uint64_t count) {
    gr_kv_demand_clear(seq->cache);
    gr_kv_demand_add(seq, seq->length + count, count);
    return gr_kv_demand_fits(seq->cache);
}

uint64_t gr_kv_demand_room(const gr_kv_seq *seq, uint64_t count) {
    while (count && !has_room(seq, count)) { // down to the end of the page before
        uint64_t over = (seq->length + count) % seq->cache->options.page_tokens;
        over = over ? over : seq->cache->options.page_tokens;
        count = count > over ? count - over : 0;
    }
    return count;
}

uint64_t gr_kv_least_bytes(const gr_kv_cache *cache, uint64_t length) {
    uint64_t bytes = 0;
    for (uint32_t g = 0; length && g < cache->group_count; g++) {
        uint64_t window = cache->groups[g].window, behind = window + cache->options.reserve;
        uint64_t gone = window && length - 1 > behind ? (length - 1 - behind) / cache->options.page_tokens : 0;
        bytes += (gr_kv_pages_for(cache, length) - gone) * cache->groups[g].page_bytes;
    }
    return bytes;
}

bool gr_kv_seq_is_empty(const gr_kv_seq *seq) {
    uint32_t pages = 0;
    for (uint32_t g = 0; g < seq->cache->group_count; g++)
        pages += seq->groups[g].count;
    return pages == 0;
}
