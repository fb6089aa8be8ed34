// SPDX-License-Identifier: Apache-2.0
#include "kv/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "kv/pool.h"

enum { NOT_COPIED = -1 };

// By page number of `from`: the page of `to` that equals it. The transfer has a reference to both.
typedef struct page_map {
    int32_t *pages;
    uint32_t count;
} page_map;

struct gr_kv_transfer {
    gr_kv_cache *from, *to;
    page_map *maps; // one a group
    void *values;   // of one layer and part of a page
    uint64_t values_bytes;
    gr_kv_transfer_stats stats;
};

static gr_status check(const gr_kv_cache *from, const gr_kv_cache *to, gr_error *error) {
    bool same = from->layer_count == to->layer_count && from->group_count == to->group_count &&
                from->options.page_tokens == to->options.page_tokens && from->options.dtype == to->options.dtype;
    for (uint32_t i = 0; same && i < from->layer_count; i++)
        same = from->layers[i].group == to->layers[i].group;
    return same ? GR_OK : gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "kv", "the caches hold different layers");
}

static uint64_t part_bytes(const gr_kv_cache *cache, const gr_kv_pool *pool, uint32_t part, uint32_t slots) {
    uint64_t values = (uint64_t)slots * pool->kv_heads * (part ? pool->v_dim : pool->k_dim);
    return values / gr_dtype_block(cache->options.dtype) * gr_dtype_block_bytes(cache->options.dtype);
}

gr_status gr_kv_transfer_create(gr_kv_cache *from, gr_kv_cache *to, gr_kv_transfer **out_transfer, gr_error *error) {
    *out_transfer = NULL;
    gr_status status = check(from, to, error);
    if (status != GR_OK)
        return status;
    gr_kv_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory to copy pages");
    transfer->from = from;
    transfer->to = to;
    for (uint32_t i = 0; i < from->layer_count; i++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t bytes = part_bytes(from, gr_kv_layer_pool(from, i), part, from->options.page_tokens);
            transfer->values_bytes = bytes > transfer->values_bytes ? bytes : transfer->values_bytes;
        }
    }
    transfer->maps = calloc(from->group_count ? from->group_count : 1, sizeof *transfer->maps);
    transfer->values = gr_os_alloc(transfer->values_bytes);
    if (!transfer->maps || !transfer->values) {
        gr_kv_transfer_destroy(transfer);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory to copy pages");
    }
    *out_transfer = transfer;
    return GR_OK;
}

// ---- One page

static gr_status copy_part(gr_kv_transfer *t, uint32_t layer, uint32_t part, int32_t from, int32_t to, uint32_t slots,
                           gr_error *error) {
    const gr_kv_pool *source = gr_kv_layer_pool(t->from, layer), *target = gr_kv_layer_pool(t->to, layer);
    gr_kv_region region = {.struct_size = sizeof region,
                           .layer = t->from->layers[layer].layer,
                           .part = part,
                           .page = (uint32_t)from,
                           .count = slots};
    uint64_t bytes = part_bytes(t->from, source, part, slots);
    gr_dtype dtype = t->from->options.dtype;
    gr_status status = source->device->backend->kv_read(source->device->device, NULL, source->kv, &region, dtype, t->values,
                                                        bytes, error);
    if (status != GR_OK) {
        t->from->culprit = source->device;
        return gr_abi_settle_error(status, error);
    }
    region.layer = t->to->layers[layer].layer;
    region.page = (uint32_t)to;
    status = target->device->backend->kv_write(target->device->device, NULL, target->kv, &region, dtype, t->values, bytes,
                                               error);
    if (status == GR_OK)
        t->stats.bytes += bytes;
    else
        t->to->culprit = target->device;
    return gr_abi_settle_error(status, error);
}

// Takes a page of `to` and copies slots [0, slots) of all layers there.
static gr_status copy_page(gr_kv_transfer *t, uint32_t g, int32_t from, uint32_t slots, int32_t *out_page, gr_error *error) {
    gr_kv_group *group = &t->to->groups[g];
    gr_status status = gr_kv_group_provide(t->to, group, 1, error);
    if (status != GR_OK)
        return status;
    int32_t page = gr_kv_group_take(t->to, group);
    for (uint32_t i = 0; status == GR_OK && i < t->from->layer_count; i++)
        for (uint32_t part = 0; status == GR_OK && part < 2 && t->from->layers[i].group == g; part++)
            status = copy_part(t, i, part, from, page, slots, error);
    if (status != GR_OK) {
        gr_kv_group_release(t->to, group, page);
        return status;
    }
    t->stats.pages++;
    *out_page = page;
    return GR_OK;
}

// ---- Ahead

static bool map_fits(page_map *map, uint32_t count) {
    if (count <= map->count)
        return true;
    int32_t *pages = realloc(map->pages, count * sizeof *pages);
    if (!pages)
        return false;
    for (uint32_t i = map->count; i < count; i++)
        pages[i] = NOT_COPIED;
    map->pages = pages;
    map->count = count;
    return true;
}

static int32_t copied(const gr_kv_transfer *t, uint32_t g, int32_t page) {
    return (uint32_t)page < t->maps[g].count ? t->maps[g].pages[page] : NOT_COPIED;
}

static void forget(gr_kv_transfer *t, uint32_t g, uint32_t page) {
    gr_kv_group_release(t->from, &t->from->groups[g], (int32_t)page);
    gr_kv_group_release(t->to, &t->to->groups[g], t->maps[g].pages[page]);
    t->maps[g].pages[page] = NOT_COPIED;
}

// Nobody will ask for a page that is ours alone: it rolled out of every window, or its sequence let it go.
static bool is_dropped(const gr_kv_transfer *t, uint32_t g, uint32_t page) {
    return t->maps[g].pages[page] != NOT_COPIED && t->from->groups[g].references[page] == 1;
}

void gr_kv_transfer_forget(gr_kv_transfer *t) {
    for (uint32_t g = 0; g < t->from->group_count; g++)
        for (uint32_t page = 0; page < t->maps[g].count; page++)
            if (is_dropped(t, g, page))
                forget(t, g, page);
}

void gr_kv_transfer_take_out(const gr_kv_transfer *t) {
    for (uint32_t g = 0; g < t->from->group_count; g++)
        for (uint32_t page = 0; page < t->maps[g].count; page++)
            t->from->groups[g].wanted -= is_dropped(t, g, page);
}

static gr_status copy_full(gr_kv_transfer *t, uint32_t g, int32_t page, gr_error *error) {
    int32_t fresh;
    if (!map_fits(&t->maps[g], t->from->groups[g].pages))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory to copy pages");
    gr_status status = copy_page(t, g, page, t->from->options.page_tokens, &fresh, error);
    if (status != GR_OK)
        return status;
    gr_kv_group_retain(&t->from->groups[g], page);
    t->maps[g].pages[page] = fresh;
    return GR_OK;
}

// Room for all that `seq` will take, so that pools grow once and not in the pause.
static gr_status provide(gr_kv_transfer *t, const gr_kv_seq *seq, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t g = 0; status == GR_OK && g < t->from->group_count; g++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < seq->groups[g].count; i++)
            count += copied(t, g, seq->groups[g].pages[i]) == NOT_COPIED;
        status = gr_kv_group_provide(t->to, &t->to->groups[g], count, error);
    }
    return status;
}

gr_status gr_kv_transfer_ahead(gr_kv_transfer *t, const gr_kv_seq *seq, uint64_t deadline_ns, uint32_t *out_left,
                               gr_error *error) {
    bool late = !deadline_ns;
    *out_left = 0;
    t->from->culprit = t->to->culprit = NULL;
    gr_kv_transfer_forget(t);
    gr_status status = late ? GR_OK : provide(t, seq, error);
    if (status != GR_OK)
        return status;
    for (uint32_t g = 0; g < t->from->group_count; g++) {
        const gr_kv_pages *pages = &seq->groups[g];
        uint64_t full = seq->length / t->from->options.page_tokens;
        for (uint32_t i = 0; i < pages->count && pages->first + (uint64_t)i < full; i++) {
            if (copied(t, g, pages->pages[i]) != NOT_COPIED)
                continue;
            if (late) {
                ++*out_left;
                continue;
            }
            status = copy_full(t, g, pages->pages[i], error);
            if (status != GR_OK)
                return status;
            late = gr_os_now_ns() >= deadline_ns;
        }
    }
    return GR_OK;
}

// ---- At the end

static gr_status take_page(gr_kv_transfer *t, const gr_kv_seq *seq, uint32_t g, uint32_t index, gr_kv_pages *to,
                           gr_error *error) {
    const gr_kv_pages *from = &seq->groups[g];
    uint64_t begin = (from->first + (uint64_t)index) * t->from->options.page_tokens;
    uint64_t held = seq->length > begin ? seq->length - begin : 0;
    uint32_t slots = held < t->from->options.page_tokens ? (uint32_t)held : t->from->options.page_tokens;
    int32_t page = copied(t, g, from->pages[index]);
    gr_status status = GR_OK;
    if (page == NOT_COPIED && slots == t->from->options.page_tokens) { // others may share it
        status = copy_full(t, g, from->pages[index], error);
        page = copied(t, g, from->pages[index]);
    }
    if (status == GR_OK && page != NOT_COPIED)
        gr_kv_group_retain(&t->to->groups[g], page);
    else if (status == GR_OK)
        status = copy_page(t, g, from->pages[index], slots, &page, error);
    if (status == GR_OK)
        to->pages[to->count++] = page;
    return status;
}

gr_status gr_kv_transfer_take(gr_kv_transfer *t, const gr_kv_seq *seq, gr_kv_seq *out_seq, gr_error *error) {
    gr_status status = gr_kv_seq_init(t->to, out_seq, error);
    t->from->culprit = t->to->culprit = NULL;
    for (uint32_t g = 0; status == GR_OK && g < t->from->group_count; g++) {
        const gr_kv_pages *from = &seq->groups[g];
        gr_kv_pages *to = &out_seq->groups[g];
        to->first = from->first;
        to->hollow = from->hollow;
        to->pages = malloc((from->count + 1) * sizeof *to->pages);
        to->capacity = from->count + 1;
        if (!to->pages)
            status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory for a page table");
        for (uint32_t i = 0; status == GR_OK && i < from->count; i++)
            status = take_page(t, seq, g, i, to, error);
    }
    if (status != GR_OK) {
        gr_kv_seq_deinit(out_seq);
        return status;
    }
    out_seq->length = seq->length;
    out_seq->evicted = seq->evicted;
    return GR_OK;
}

void gr_kv_transfer_destroy(gr_kv_transfer *t) {
    if (!t)
        return;
    for (uint32_t g = 0; t->maps && g < t->from->group_count; g++) {
        for (uint32_t page = 0; page < t->maps[g].count; page++)
            if (t->maps[g].pages[page] != NOT_COPIED)
                forget(t, g, page);
        free(t->maps[g].pages);
    }
    free(t->maps);
    gr_os_free(t->values, t->values_bytes);
    free(t);
}

gr_kv_transfer_stats gr_kv_transfer_stats_get(const gr_kv_transfer *transfer) {
    return transfer->stats;
}
