// SPDX-License-Identifier: Apache-2.0
// canonical.c: keys and values of a sequence, out of its pages and into them, a page at a time.
#include <stdlib.h>

#include "kv/pool.h"
#include "tensor/convert.h"

// One part of one layer, as somebody wants to see it.
typedef struct access {
    const gr_kv_seq *seq;
    const gr_kv_pool *pool;
    uint32_t group;
    gr_kv_region region;     // of the page in turn
    gr_dtype dtype;
    uint64_t position_bytes; // of `dtype`
    uint64_t values;         // numbers of one position
    float *converted;        // [page_tokens][values], when the pool does not speak `dtype`
} access;

uint64_t gr_kv_position_bytes(const gr_kv_cache *cache, uint32_t layer, uint32_t part, gr_dtype dtype) {
    const gr_kv_pool *pool = gr_kv_layer_pool(cache, layer);
    return pool->kv_heads * gr_dtype_row_bytes(dtype, part ? pool->v_dim : pool->k_dim);
}

static gr_status check(const gr_kv_seq *seq, uint32_t layer, uint32_t part, uint64_t begin, uint64_t count,
                       gr_dtype dtype, gr_error *error) {
    if (layer >= seq->cache->layer_count || part > 1)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "kv", "part %u of layer %u: there are 2 of %u layers", part, layer,
                       seq->cache->layer_count);
    uint64_t first = gr_kv_seq_begin(seq, layer);
    if (begin < first || begin > seq->length || count > seq->length - begin)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "kv", "%llu positions from %llu of layer %u: %llu to %llu are resident",
                       (unsigned long long)count, (unsigned long long)begin, layer, (unsigned long long)first,
                       (unsigned long long)seq->length);
    if (!gr_tensor_can_convert(dtype) || !gr_kv_position_bytes(seq->cache, layer, part, dtype))
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "kv", "a cache is read and written as F32, F16, BF16 or Q8_0, whole "
                       "blocks a head; layer %u as %s is not", layer, gr_dtype_name(dtype));
    return GR_OK;
}

static gr_status open_access(const gr_kv_seq *seq, uint32_t layer, uint32_t part, gr_dtype dtype, access *out_access,
                             gr_error *error) {
    const gr_kv_cache *cache = seq->cache;
    const gr_kv_pool *pool = gr_kv_layer_pool(cache, layer);
    *out_access = (access){.seq = seq,
                           .pool = pool,
                           .group = cache->layers[layer].group,
                           .region = {.struct_size = sizeof(gr_kv_region), .layer = cache->layers[layer].layer, .part = part},
                           .dtype = dtype,
                           .position_bytes = gr_kv_position_bytes(cache, layer, part, dtype),
                           .values = (uint64_t)pool->kv_heads * (part ? pool->v_dim : pool->k_dim)};
    if (dtype == GR_DTYPE_F32 || dtype == cache->options.dtype)
        return GR_OK;
    out_access->converted = malloc((size_t)(cache->options.page_tokens * out_access->values) * sizeof(float));
    return out_access->converted ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "kv", "no memory to convert a page");
}

// Turns to the page that holds `position`, for at most `count` positions.
static void turn_to(access *a, uint64_t position, uint64_t count) {
    const gr_kv_pages *pages = &a->seq->groups[a->group];
    uint32_t page = a->seq->cache->options.page_tokens, slot = (uint32_t)(position % page);
    a->region.page = (uint32_t)pages->pages[position / page - pages->first];
    a->region.slot = slot;
    a->region.count = count < page - slot ? (uint32_t)count : page - slot;
}

static gr_status read_page(const access *a, void *values, gr_error *error) {
    const gr_backend *backend = a->pool->device->backend;
    uint64_t count = a->region.count;
    if (!a->converted)
        return backend->kv_read(a->pool->device->device, NULL, a->pool->kv, &a->region, a->dtype, values,
                                count * a->position_bytes, error);
    gr_status status = backend->kv_read(a->pool->device->device, NULL, a->pool->kv, &a->region, GR_DTYPE_F32, a->converted,
                                        count * a->values * sizeof(float), error);
    return status == GR_OK ? gr_tensor_quantise_row(a->dtype, a->converted, count * a->values, values) : status;
}

static gr_status write_page(const access *a, const void *values, gr_error *error) {
    const gr_backend *backend = a->pool->device->backend;
    uint64_t count = a->region.count;
    if (!a->converted)
        return backend->kv_write(a->pool->device->device, NULL, a->pool->kv, &a->region, a->dtype, values,
                                 count * a->position_bytes, error);
    gr_status status = gr_tensor_dequantise_row(a->dtype, values, count * a->values, a->converted);
    return status == GR_OK ? backend->kv_write(a->pool->device->device, NULL, a->pool->kv, &a->region, GR_DTYPE_F32,
                                               a->converted, count * a->values * sizeof(float), error)
                           : status;
}

gr_status gr_kv_seq_read(const gr_kv_seq *seq, uint32_t layer, uint32_t part, uint64_t begin, uint64_t count,
                         gr_dtype dtype, void *values, gr_error *error) {
    access a;
    char *to = values;
    gr_status status = check(seq, layer, part, begin, count, dtype, error);
    if (status != GR_OK)
        return status;
    status = open_access(seq, layer, part, dtype, &a, error);
    for (uint64_t end = begin + count; status == GR_OK && begin < end; begin += a.region.count) {
        turn_to(&a, begin, end - begin);
        status = read_page(&a, to, error);
        to += a.region.count * a.position_bytes;
    }
    free(a.converted);
    return gr_abi_settle_error(status, error);
}

gr_status gr_kv_seq_write(gr_kv_seq *seq, uint32_t layer, uint32_t part, uint64_t begin, uint64_t count,
                          gr_dtype dtype, const void *values, gr_error *error) {
    access a;
    const char *from = values;
    gr_status status = check(seq, layer, part, begin, count, dtype, error);
    if (status != GR_OK)
        return status;
    status = open_access(seq, layer, part, dtype, &a, error);
    for (uint64_t end = begin + count; status == GR_OK && begin < end; begin += a.region.count) {
        turn_to(&a, begin, end - begin);
        status = write_page(&a, from, error);
        from += a.region.count * a.position_bytes;
    }
    free(a.converted);
    return gr_abi_settle_error(status, error);
}
