// SPDX-License-Identifier: Apache-2.0
// snapshot_cache.c: block "cache": keys and values in canonical form, layer by layer, K then V.
#include <stdlib.h>

#include "base/checked.h"
#include "engine/admission.h"
#include "engine/snapshot.h"
#include "tensor/convert.h"

enum { LAYER_HEAD = 4 * 4 + 8, PIECE_POSITIONS = 256 };

static uint32_t layer_count(const gr_kv_cache *cache) {
    uint32_t count;
    gr_kv_cache_layers(cache, &count);
    return count;
}

// ---- Putting

void gr_snapshot_put_cache(const gr_session *session, gr_strbuf *out) {
    const gr_kv_cache *cache = session->pages.cache;
    gr_put_u32(out, gr_kv_cache_dtype(cache));
    gr_put_u32(out, layer_count(cache));
    gr_put_u64(out, session->pages.length);
    for (uint32_t i = 0; i < layer_count(cache); i++) {
        gr_kv_layer_desc layer = gr_kv_cache_layer_desc(cache, i);
        gr_put_u32(out, layer.window);
        gr_put_u32(out, layer.kv_heads);
        gr_put_u32(out, layer.k_dim);
        gr_put_u32(out, layer.v_dim);
        gr_put_u64(out, gr_kv_seq_begin(&session->pages, i));
    }
}

uint64_t gr_snapshot_cache_bytes(const gr_session *session) {
    const gr_kv_cache *cache = session->pages.cache;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layer_count(cache); i++)
        for (uint32_t part = 0; part < 2; part++)
            bytes += (session->pages.length - gr_kv_seq_begin(&session->pages, i)) *
                     gr_kv_position_bytes(cache, i, part, gr_kv_cache_dtype(cache));
    return bytes;
}

static gr_status add_part(gr_snapshot_writer *writer, const gr_kv_seq *pages, uint32_t layer, uint32_t part, void *values,
                          gr_error *error) {
    gr_dtype dtype = gr_kv_cache_dtype(pages->cache);
    uint64_t each = gr_kv_position_bytes(pages->cache, layer, part, dtype);
    gr_status status = GR_OK;
    for (uint64_t at = gr_kv_seq_begin(pages, layer), count; status == GR_OK && at < pages->length; at += count) {
        count = pages->length - at < PIECE_POSITIONS ? pages->length - at : PIECE_POSITIONS;
        status = gr_kv_seq_read(pages, layer, part, at, count, dtype, values, error);
        if (status == GR_OK)
            status = gr_snapshot_add(writer, values, (size_t)(count * each), error);
    }
    return status;
}

gr_status gr_snapshot_add_cache(gr_snapshot_writer *writer, const gr_session *session, gr_error *error) {
    const gr_kv_seq *pages = &session->pages;
    uint64_t most = 0;
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < layer_count(pages->cache); i++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t each = gr_kv_position_bytes(pages->cache, i, part, gr_kv_cache_dtype(pages->cache));
            most = each > most ? each : most;
        }
    }
    void *values = gr_os_alloc(PIECE_POSITIONS * most);
    if (!values)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "no memory to write a snapshot");
    for (uint32_t i = 0; status == GR_OK && i < layer_count(pages->cache); i++)
        for (uint32_t part = 0; status == GR_OK && part < 2; part++)
            status = add_part(writer, pages, i, part, values, error);
    gr_os_free(values, PIECE_POSITIONS * most);
    return status;
}

// ---- Taking

// What the head of the block says.
typedef struct saved_cache {
    gr_dtype dtype;
    uint64_t length;
    uint64_t *begins;       // [layer]
    uint64_t *group_begins; // [group]
} saved_cache;

static gr_status check_layer(gr_snapshot_block *block, const gr_kv_cache *cache, uint32_t layer, const saved_cache *saved,
                             gr_error *error) {
    gr_kv_layer_desc own = gr_kv_cache_layer_desc(cache, layer);
    uint32_t window = gr_take_u32(block), heads = gr_take_u32(block), k_dim = gr_take_u32(block), v_dim = gr_take_u32(block);
    uint64_t begin = saved->begins[layer] = gr_take_u64(block);
    if (block->is_short)
        return gr_snapshot_block_end(block, error);
    if (window != own.window)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: layer %u was saved with a window of %u; expected %u (0: none)",
                       block->path, layer, window, own.window);
    if (heads != own.kv_heads || k_dim != own.k_dim || v_dim != own.v_dim)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot",
                       "%s: layer %u was saved with %u heads, keys of %u, values of %u; expected %u, %u, %u", block->path,
                       layer, heads, k_dim, v_dim, own.kv_heads, own.k_dim, own.v_dim);
    uint64_t oldest = window && saved->length + 1 > window ? saved->length + 1 - window : 0;
    if (begin > saved->length || (saved->length && begin > oldest))
        return gr_snapshot_damaged(block, error, "layer %u begins at position %llu of %llu: its window sees %llu", layer,
                                   (unsigned long long)begin, (unsigned long long)saved->length, (unsigned long long)oldest);
    return GR_OK;
}

// Layers of one window share pages, so they begin at one position.
static gr_status check_group(gr_snapshot_block *block, const gr_kv_cache *cache, uint32_t layer, const saved_cache *saved,
                             gr_error *error) {
    uint32_t count, group = gr_kv_cache_layers(cache, &count)[layer].group;
    if (saved->group_begins[group] == UINT64_MAX)
        saved->group_begins[group] = saved->begins[layer];
    if (saved->group_begins[group] == saved->begins[layer])
        return GR_OK;
    return gr_snapshot_damaged(block, error, "layers of one window begin at %llu and %llu",
                               (unsigned long long)saved->group_begins[group], (unsigned long long)saved->begins[layer]);
}

static gr_status take_head(gr_snapshot_block *block, const gr_session *session, saved_cache *saved, gr_error *error) {
    const gr_kv_cache *cache = session->pages.cache;
    saved->dtype = gr_take_u32(block);
    uint32_t layers = gr_take_u32(block);
    saved->length = gr_take_u64(block);
    if (block->is_short)
        return gr_snapshot_block_end(block, error);
    if (!gr_tensor_can_convert(saved->dtype))
        return gr_snapshot_damaged(block, error, "numbers of type %u; expected F32, F16, BF16 or Q8_0", saved->dtype);
    if (layers != layer_count(cache))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: saved with %u layers; expected %u", block->path, layers,
                       layer_count(cache));
    if (saved->length > session->tokens.count)
        return gr_snapshot_damaged(block, error, "%llu positions of %zu tokens", (unsigned long long)saved->length,
                                   session->tokens.count);
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < layers; i++) {
        status = check_layer(block, cache, i, saved, error);
        if (status == GR_OK)
            status = check_group(block, cache, i, saved, error);
    }
    return status;
}

// Everything that follows the head is there, and nothing else: said before a page is taken.
static gr_status check_size(const gr_snapshot_block *block, const gr_kv_cache *cache, const saved_cache *saved,
                            gr_error *error) {
    uint64_t bytes = 0, more;
    for (uint32_t i = 0; i < layer_count(cache); i++) {
        for (uint32_t part = 0; part < 2; part++) {
            uint64_t each = gr_kv_position_bytes(cache, i, part, saved->dtype);
            bool good = each && gr_mul_u64(saved->length - saved->begins[i], each, &more) && gr_add_u64(bytes, more, &bytes);
            if (!good)
                return gr_snapshot_damaged(block, error, "layer %u does not hold whole blocks of %s", i,
                                           gr_dtype_name(saved->dtype));
        }
    }
    if (bytes == block->bytes - block->at)
        return GR_OK;
    return gr_snapshot_damaged(block, error, "%llu bytes of keys and values; expected %llu",
                               (unsigned long long)(block->bytes - block->at), (unsigned long long)bytes);
}

// What this cache would have let go by now is passed over.
static gr_status take_part(gr_snapshot_block *block, gr_kv_seq *pages, uint32_t layer, uint32_t part,
                           const saved_cache *saved, gr_snapshot_progress *progress, gr_error *error) {
    uint64_t each = gr_kv_position_bytes(pages->cache, layer, part, saved->dtype), at = gr_kv_seq_begin(pages, layer);
    gr_take_bytes(block, (at - saved->begins[layer]) * each);
    gr_status status = GR_OK;
    for (uint64_t count; status == GR_OK && at < pages->length; at += count) {
        count = pages->length - at < PIECE_POSITIONS ? pages->length - at : PIECE_POSITIONS;
        const void *values = gr_take_bytes(block, count * each);
        status = gr_kv_seq_write(pages, layer, part, at, count, saved->dtype, values, error);
        if (status == GR_OK)
            status = gr_snapshot_advance(progress, count * each, error);
    }
    return status;
}

static gr_status take_all(gr_snapshot_block *block, gr_session *session, const saved_cache *saved,
                          gr_snapshot_progress *progress, gr_error *error) {
    gr_kv_seq *pages = &session->pages;
    gr_status status = check_size(block, pages->cache, saved, error);
    if (status == GR_OK)
        status = gr_kv_seq_resume(pages, saved->group_begins, saved->length, error);
    while (status == GR_ERROR_OUT_OF_MEMORY && gr_admission_make_room(session->site, session, false))
        status = gr_kv_seq_resume(pages, saved->group_begins, saved->length, error);
    for (uint32_t i = 0; status == GR_OK && i < layer_count(pages->cache); i++)
        for (uint32_t part = 0; status == GR_OK && part < 2; part++)
            status = take_part(block, pages, i, part, saved, progress, error);
    return status;
}

gr_status gr_snapshot_take_cache(gr_snapshot_file *file, gr_session *session, gr_snapshot_progress *progress,
                                 gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_CACHE];
    const gr_kv_cache *cache = session->pages.cache;
    saved_cache saved = {.begins = gr_arena_alloc(&file->arena, layer_count(cache) * sizeof *saved.begins),
                         .group_begins = gr_arena_alloc(&file->arena, gr_kv_cache_group_count(cache) * sizeof *saved.begins)};
    if (!saved.begins || !saved.group_begins)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory to read it", file->path);
    for (uint32_t g = 0; g < gr_kv_cache_group_count(cache); g++)
        saved.group_begins[g] = UINT64_MAX;
    gr_status status = take_head(block, session, &saved, error);
    if (status == GR_OK)
        status = take_all(block, session, &saved, progress, error);
    if (status == GR_OK)
        session->stats.positions = session->pages.length;
    return status;
}
