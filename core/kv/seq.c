// SPDX-License-Identifier: Apache-2.0
// seq.c: the pages of one sequence. Invariant: in every group, pages [first, first + count) are held, they
// cover every position that a query at `length` - 1 - reserve or later can see, and none starts beyond the
// reserved end. A resumed sequence may hold less of the reserve: what it was resumed with, and `hollow` slots less.
#include <stdlib.h>
#include <string.h>

#include "kv/pool.h"

gr_status gr_kv_seq_init(gr_kv_cache *cache, gr_kv_seq *out_seq, gr_error *error) {
    *out_seq = (gr_kv_seq){.cache = cache};
    out_seq->groups = calloc(cache->group_count ? cache->group_count : 1, sizeof *out_seq->groups);
    if (!out_seq->groups)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory for a sequence");
    return GR_OK;
}

static void release_tail(gr_kv_seq *seq, uint32_t g, uint32_t keep) {
    gr_kv_pages *pages = &seq->groups[g];
    while (pages->count > keep)
        gr_kv_group_release(seq->cache, &seq->cache->groups[g], pages->pages[--pages->count]);
}

void gr_kv_seq_deinit(gr_kv_seq *seq) {
    for (uint32_t g = 0; seq->groups && g < seq->cache->group_count; g++) {
        release_tail(seq, g, 0);
        free(seq->groups[g].pages);
    }
    free(seq->groups);
    *seq = (gr_kv_seq){0};
}

uint64_t gr_kv_pages_for(const gr_kv_cache *cache, uint64_t length) {
    return (length + cache->options.page_tokens - 1) / cache->options.page_tokens;
}

static uint64_t pages_for(const gr_kv_seq *seq, uint64_t length) {
    return gr_kv_pages_for(seq->cache, length);
}

bool gr_kv_seq_must_copy(const gr_kv_seq *seq, uint32_t g) {
    const gr_kv_pages *pages = &seq->groups[g];
    uint64_t index = seq->length / seq->cache->options.page_tokens;
    if (seq->length % seq->cache->options.page_tokens == 0 || index >= pages->first + (uint64_t)pages->count)
        return false;
    return seq->cache->groups[g].references[pages->pages[index - pages->first]] > 1;
}

static bool make_room(gr_kv_pages *pages, uint64_t count) {
    if (count <= pages->capacity)
        return true;
    if (count > UINT32_MAX / 2)
        return false;
    uint32_t capacity = (uint32_t)count + pages->capacity / 2 + 8;
    int32_t *data = realloc(pages->pages, (size_t)capacity * sizeof *data);
    if (!data)
        return false;
    pages->pages = data;
    pages->capacity = capacity;
    return true;
}

static gr_status provide(gr_kv_seq *seq, uint64_t end_page, gr_error *error) {
    gr_kv_cache *cache = seq->cache;
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < cache->group_count; g++) {
        gr_kv_pages *pages = &seq->groups[g];
        uint64_t held = pages->first + (uint64_t)pages->count;
        uint64_t fresh = (end_page > held ? end_page - held : 0) + gr_kv_seq_must_copy(seq, g);
        bytes += fresh * cache->groups[g].page_bytes;
        if (cache->options.limit_bytes && bytes > cache->options.limit_bytes)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "a step needs more cache than the limit of %.1f MiB",
                           (double)cache->options.limit_bytes / 1048576.0);
        if (fresh > INT32_MAX || !make_room(pages, end_page - pages->first))
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory for a page table");
        gr_status status = gr_kv_group_provide(cache, &cache->groups[g], (uint32_t)fresh, error);
        if (status != GR_OK)
            return status;
    }
    if (cache->options.limit_bytes && bytes > cache->options.limit_bytes - cache->bytes_used)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "the cache is full: its limit is %.1f MiB",
                       (double)cache->options.limit_bytes / 1048576.0);
    return GR_OK;
}

static gr_status copy_last(gr_kv_seq *seq, uint32_t g, gr_error *error) {
    gr_kv_group *group = &seq->cache->groups[g];
    gr_kv_pages *pages = &seq->groups[g];
    uint32_t slots = (uint32_t)(seq->length % seq->cache->options.page_tokens);
    int32_t *last = &pages->pages[seq->length / seq->cache->options.page_tokens - pages->first];
    int32_t fresh = gr_kv_group_take(seq->cache, group);
    gr_status status = gr_kv_group_copy(seq->cache, group, *last, fresh, slots, error);
    int32_t unwanted = status == GR_OK ? *last : fresh;
    if (status == GR_OK)
        *last = fresh;
    gr_kv_group_release(seq->cache, group, unwanted);
    return status;
}

gr_status gr_kv_seq_reserve(gr_kv_seq *seq, uint64_t count, gr_error *error) {
    uint64_t end_page = pages_for(seq, seq->length + count);
    seq->cache->culprit = NULL;
    gr_status status = provide(seq, end_page, error);
    for (uint32_t g = 0; status == GR_OK && count && g < seq->cache->group_count; g++)
        if (gr_kv_seq_must_copy(seq, g))
            status = copy_last(seq, g, error); // equal contents: undoing it is not needed
    if (status != GR_OK)
        return status;
    for (uint32_t g = 0; g < seq->cache->group_count; g++) {
        gr_kv_pages *pages = &seq->groups[g];
        while (pages->first + (uint64_t)pages->count < end_page)
            pages->pages[pages->count++] = gr_kv_group_take(seq->cache, &seq->cache->groups[g]);
    }
    return GR_OK;
}

// The oldest page that a query at `length` - 1 - reserve or later can see.
static uint64_t oldest_page(const gr_kv_seq *seq, uint32_t g, uint64_t length) {
    uint64_t window = seq->cache->groups[g].window, behind = window + seq->cache->options.reserve;
    return window && length > behind ? (length - behind) / seq->cache->options.page_tokens : 0;
}

// Lets older pages go.
static void roll(gr_kv_seq *seq, uint32_t g) {
    gr_kv_group *group = &seq->cache->groups[g];
    gr_kv_pages *pages = &seq->groups[g];
    uint64_t oldest = oldest_page(seq, g, seq->length);
    uint32_t gone = oldest > pages->first ? (uint32_t)(oldest - pages->first) : 0;
    if (gone > pages->count)
        gone = pages->count;
    if (!gone)
        return;
    for (uint32_t i = 0; i < gone; i++)
        gr_kv_group_release(seq->cache, group, pages->pages[i]);
    memmove(pages->pages, pages->pages + gone, (pages->count - gone) * sizeof *pages->pages);
    pages->count -= gone;
    pages->first += gone;
    pages->hollow = 0;
    seq->evicted += gone;
}

void gr_kv_seq_commit(gr_kv_seq *seq, uint64_t count) {
    seq->length += count;
    for (uint32_t g = 0; g < seq->cache->group_count; g++)
        if (seq->groups[g].count)
            roll(seq, g);
}

void gr_kv_seq_abandon(gr_kv_seq *seq) {
    gr_kv_seq_truncate(seq, seq->length);
}

static uint64_t first_position(const gr_kv_seq *seq, uint32_t g) {
    return (uint64_t)seq->groups[g].first * seq->cache->options.page_tokens + seq->groups[g].hollow;
}

bool gr_kv_seq_can_truncate(const gr_kv_seq *seq, uint64_t length) {
    if (length > seq->length)
        return false;
    for (uint32_t g = 0; length && g < seq->cache->group_count; g++) {
        uint64_t window = seq->cache->groups[g].window;
        uint64_t oldest = window && length + 1 > window ? length + 1 - window : 0; // for a query at `length`
        if (oldest < first_position(seq, g))
            return false;
    }
    return true;
}

void gr_kv_seq_truncate(gr_kv_seq *seq, uint64_t length) {
    uint64_t end_page = pages_for(seq, length);
    for (uint32_t g = 0; g < seq->cache->group_count; g++) {
        gr_kv_pages *pages = &seq->groups[g];
        release_tail(seq, g, end_page > pages->first ? (uint32_t)(end_page - pages->first) : 0);
        if (!pages->count) {
            pages->first = length ? (uint32_t)end_page : 0;
            pages->hollow = 0;
        }
    }
    seq->length = length;
}

uint64_t gr_kv_seq_begin(const gr_kv_seq *seq, uint32_t layer) {
    uint64_t begin = first_position(seq, seq->cache->layers[layer].group);
    return begin < seq->length ? begin : seq->length;
}

gr_status gr_kv_seq_resume(gr_kv_seq *seq, const uint64_t *begins, uint64_t length, gr_error *error) {
    uint32_t page = seq->cache->options.page_tokens, groups = seq->cache->group_count;
    for (uint32_t g = 0; g < groups; g++) {
        uint64_t oldest = oldest_page(seq, g, length) * page, begin = begins[g] > oldest ? begins[g] : oldest;
        seq->groups[g].first = (uint32_t)(begin / page);
        seq->groups[g].hollow = (uint32_t)(begin % page);
    }
    gr_status status = gr_kv_seq_reserve(seq, length, error);
    for (uint32_t g = 0; g < groups; g++) {
        if (status == GR_OK)
            seq->evicted += seq->groups[g].first;
        else
            seq->groups[g].first = seq->groups[g].hollow = 0;
    }
    seq->length = status == GR_OK ? length : 0;
    return status;
}

gr_status gr_kv_seq_fork(const gr_kv_seq *seq, gr_kv_seq *out_seq, gr_error *error) {
    gr_status status = gr_kv_seq_init(seq->cache, out_seq, error);
    if (status != GR_OK)
        return status;
    for (uint32_t g = 0; g < seq->cache->group_count; g++) {
        const gr_kv_pages *from = &seq->groups[g];
        gr_kv_pages *to = &out_seq->groups[g];
        if (!make_room(to, from->count)) {
            gr_kv_seq_deinit(out_seq);
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory for a forked page table");
        }
        for (uint32_t i = 0; i < from->count; i++)
            gr_kv_group_retain(&seq->cache->groups[g], to->pages[i] = from->pages[i]);
        to->count = from->count;
        to->first = from->first;
        to->hollow = from->hollow;
    }
    out_seq->length = seq->length;
    out_seq->evicted = seq->evicted;
    return GR_OK;
}

void gr_kv_seq_stats_get(const gr_kv_seq *seq, gr_kv_seq_stats *out_stats) {
    const gr_kv_cache *cache = seq->cache;
    *out_stats = (gr_kv_seq_stats){.evicted_pages = seq->evicted};
    for (uint32_t g = 0; g < cache->group_count; g++) {
        const gr_kv_pages *pages = &seq->groups[g];
        uint64_t first = first_position(seq, g);
        uint64_t resident = seq->length > first ? seq->length - first : 0;
        if (resident > out_stats->resident_positions)
            out_stats->resident_positions = resident;
        out_stats->pages += pages->count;
        out_stats->bytes += pages->count * cache->groups[g].page_bytes;
        out_stats->full_bytes += pages_for(seq, seq->length) * cache->groups[g].page_bytes;
        for (uint32_t i = 0; i < pages->count; i++) {
            bool shared = cache->groups[g].references[pages->pages[i]] > 1;
            out_stats->shared_pages += shared;
            out_stats->own_bytes += shared ? 0 : cache->groups[g].page_bytes;
        }
    }
}
