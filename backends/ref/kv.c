// SPDX-License-Identifier: Apache-2.0
// kv.c: pools of cache pages. A page holds all layers: [layer][K then V][slot][kv head][dim].
#include "ref.h"

// Fills the geometry of `kv`; returns NULL, or why such a pool cannot be.
static const char *kv_measure(const gr_kv_desc *desc, gr_kv *kv) {
    if (!ref_can_encode(desc->dtype))
        return "the cache holds F32, F16, BF16 or Q8_0";
    if (!desc->page_tokens || (desc->page_tokens & (desc->page_tokens - 1)))
        return "page_tokens is not a power of two";
    *kv = (gr_kv){.layers = desc->layers,
                  .page_tokens = desc->page_tokens,
                  .kv_heads = desc->kv_heads,
                  .dtype = desc->dtype,
                  .dim = {desc->k_dim, desc->v_dim}};
    for (int part = 0; part < 2; part++) {
        kv->head_bytes[part] = gr_dtype_row_bytes(desc->dtype, kv->dim[part]);
        if (kv->dim[part] && !kv->head_bytes[part])
            return "a head is not a whole number of blocks of that dtype";
        if (__builtin_mul_overflow(kv->head_bytes[part], kv->kv_heads, &kv->row_bytes[part]))
            return "its size overflows";
    }
    uint64_t both = 0;
    if (__builtin_add_overflow(kv->row_bytes[0], kv->row_bytes[1], &both) ||
        __builtin_mul_overflow(both, kv->page_tokens, &kv->layer_bytes) ||
        __builtin_mul_overflow(kv->layer_bytes, kv->layers, &kv->page_bytes))
        return "its size overflows";
    return NULL;
}

static gr_status pages_alloc(gr_device *device, const gr_kv *kv, uint32_t pages, uint8_t **out_data,
                             gr_error *error) {
    uint64_t bytes = 0;
    *out_data = NULL;
    bool overflow = __builtin_mul_overflow(kv->page_bytes, pages, &bytes);
    if (!overflow && !bytes)
        return GR_OK;
    if (!overflow)
        *out_data = device->host->memory_alloc(device->host, bytes);
    if (!*out_data)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref",
                       "no memory for %u cache pages of %llu bytes", pages,
                       (unsigned long long)kv->page_bytes);
    return GR_OK;
}

gr_status ref_kv_create(gr_device *device, const gr_kv_desc *desc_in, gr_kv **out_kv,
                        gr_error *error) {
    *out_kv = NULL;
    if (!desc_in || !ref_struct_ok(desc_in, sizeof *desc_in, sizeof *desc_in, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "cache: its description has another layout");
    gr_kv made;
    const char *why = kv_measure(desc_in, &made);
    if (why)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "cache: %s", why);
    gr_status status = pages_alloc(device, &made, desc_in->pages, &made.data, error);
    if (status != GR_OK)
        return status;
    made.pages = desc_in->pages;
    gr_kv *kv = device->host->memory_alloc(device->host, sizeof *kv);
    if (!kv) {
        if (made.data)
            device->host->memory_free(device->host, made.data, made.page_bytes * made.pages);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a cache pool");
    }
    *kv = made;
    *out_kv = kv;
    return GR_OK;
}

void ref_kv_destroy(gr_device *device, gr_kv *kv) {
    if (!kv)
        return;
    if (kv->data)
        device->host->memory_free(device->host, kv->data, kv->page_bytes * kv->pages);
    device->host->memory_free(device->host, kv, sizeof *kv);
}

gr_status ref_kv_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error) {
    uint8_t *data = NULL;
    if (pages == kv->pages)
        return GR_OK;
    gr_status status = pages_alloc(device, kv, pages, &data, error);
    if (status != GR_OK)
        return status;
    uint64_t kept = kv->page_bytes * (pages < kv->pages ? pages : kv->pages);
    if (kept)
        memcpy(data, kv->data, kept);
    if (kv->data)
        device->host->memory_free(device->host, kv->data, kv->page_bytes * kv->pages);
    kv->data = data;
    kv->pages = pages;
    return GR_OK;
}

uint64_t ref_kv_page_bytes(gr_device *device, const gr_kv *kv) {
    (void)device;
    return kv ? kv->page_bytes : 0;
}

uint8_t *ref_kv_row(const gr_kv *kv, uint32_t layer, uint32_t part, uint32_t page, uint32_t slot) {
    return kv->data + kv->page_bytes * page + kv->layer_bytes * layer +
           (part ? kv->row_bytes[0] * kv->page_tokens : 0) + kv->row_bytes[part] * slot;
}

gr_status ref_kv_copy_page(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error) {
    (void)device;
    (void)queue;
    if (from >= kv->pages || to >= kv->pages || slots > kv->page_tokens)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "ref",
                       "copy of %u slots, page %u to %u: %u pages of %u", slots, from, to,
                       kv->pages, kv->page_tokens);
    for (uint32_t layer = 0; layer < kv->layers && from != to; layer++) {
        for (uint32_t part = 0; part < 2; part++) {
            if (slots && kv->row_bytes[part])
                memcpy(ref_kv_row(kv, layer, part, to, 0), ref_kv_row(kv, layer, part, from, 0),
                       kv->row_bytes[part] * slots);
        }
    }
    return GR_OK;
}

// Checks a canonical access; `out_region` receives a copy.
static gr_status region_check(const gr_kv *kv, const gr_kv_region *region_in, gr_dtype dtype,
                              const void *values, uint64_t bytes, gr_kv_region *out_region,
                              gr_error *error) {
    if (!region_in || !ref_struct_ok(region_in, sizeof *region_in, sizeof *region_in, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "cache region: another layout");
    ref_struct_read(region_in, sizeof *out_region, out_region);
    const gr_kv_region *r = out_region;
    if (r->layer >= kv->layers || r->part > 1 || r->page >= kv->pages ||
        r->slot > kv->page_tokens || r->count > kv->page_tokens - r->slot)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "ref",
                       "cache region: layer %u of %u, part %u, page %u of %u, slots %u+%u of %u",
                       r->layer, kv->layers, r->part, r->page, kv->pages, r->slot, r->count,
                       kv->page_tokens);
    if (dtype != GR_DTYPE_F32 && dtype != kv->dtype)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "ref", "cache region as %s: the pool holds %s",
                       gr_dtype_name(dtype), gr_dtype_name(kv->dtype));
    uint64_t expected = gr_dtype_row_bytes(dtype, kv->dim[r->part]) * kv->kv_heads * r->count;
    if (bytes != expected || (bytes && !values))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "cache region: %llu bytes given, %llu expected", (unsigned long long)bytes,
                       (unsigned long long)expected);
    if (dtype == GR_DTYPE_F32 && (uintptr_t)values % sizeof(float))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "cache region: values are not aligned");
    return GR_OK;
}

gr_status ref_kv_read(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                      gr_dtype dtype, void *values, uint64_t bytes, gr_error *error) {
    (void)device;
    (void)queue;
    gr_kv_region r;
    gr_status status = region_check(kv, region, dtype, values, bytes, &r, error);
    if (status != GR_OK || !bytes)
        return status;
    const uint8_t *source = ref_kv_row(kv, r.layer, r.part, r.page, r.slot);
    if (dtype == kv->dtype)
        memcpy(values, source, bytes);
    else
        ref_decode_row(kv->dtype, source, (uint64_t)kv->dim[r.part] * kv->kv_heads * r.count,
                       values);
    return GR_OK;
}

gr_status ref_kv_write(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                       gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error) {
    (void)device;
    (void)queue;
    gr_kv_region r;
    gr_status status = region_check(kv, region, dtype, values, bytes, &r, error);
    if (status != GR_OK || !bytes)
        return status;
    uint8_t *target = ref_kv_row(kv, r.layer, r.part, r.page, r.slot);
    if (dtype == kv->dtype)
        memcpy(target, values, bytes);
    else
        ref_encode_row(kv->dtype, values, (uint64_t)kv->dim[r.part] * kv->kv_heads * r.count,
                       target);
    return GR_OK;
}
