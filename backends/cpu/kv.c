// SPDX-License-Identifier: Apache-2.0
// kv.c: pools of cache pages, in memory that the system commits when a page is first written.
#include <sys/mman.h>

#include "cpu.h"

// Fills the geometry of `kv`; returns NULL, or why such a pool cannot be.
static const char *kv_measure(const gr_kv_desc *desc, gr_kv *kv) {
    if (!gr_row_encodes(desc->dtype))
        return "the cache holds F32, F16, BF16 or Q8_0";
    if (!desc->page_tokens || (desc->page_tokens & (desc->page_tokens - 1)))
        return "page_tokens is not a power of two";
    *kv = (gr_kv){.layers = desc->layers,
                  .page_tokens = desc->page_tokens,
                  .kv_heads = desc->kv_heads,
                  .dtype = desc->dtype,
                  .dim = {desc->k_dim, desc->v_dim}};
    return cpu_page_measure(kv);
}

// Address space is free, so the machine's memory is the limit that counts.
static uint64_t bytes_limit(const gr_device *device) {
    uint64_t bytes = gr_host_topology(device->host).memory_limit_bytes;
    return bytes ? bytes : SIZE_MAX / 2;
}

static gr_status pages_map(const gr_device *device, const gr_kv *kv, uint32_t pages,
                           uint8_t **out_data, uint64_t *out_bytes, gr_error *error) {
    *out_data = NULL;
    bool overflow = __builtin_mul_overflow(kv->page_bytes, pages, out_bytes) ||
                    *out_bytes > bytes_limit(device);
    if (!overflow && !*out_bytes)
        return GR_OK;
    void *memory = MAP_FAILED;
    if (!overflow)
        memory = mmap(NULL, *out_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, CPU_ORIGIN,
                       "no memory for %u cache pages of %llu bytes", pages,
                       (unsigned long long)kv->page_bytes);
    *out_data = memory;
    return GR_OK;
}

static void pages_unmap(gr_kv *kv) {
    if (kv->data)
        munmap(kv->data, kv->mapped_bytes);
    kv->data = NULL;
}

gr_status cpu_kv_create(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv,
                        gr_error *error) {
    *out_kv = NULL;
    if (!desc || !gr_struct_ok(desc, sizeof *desc, sizeof *desc, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "cache: its description has another layout");
    gr_kv made;
    const char *why = kv_measure(desc, &made);
    if (why)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN, "cache: %s", why);
    gr_kv *kv = device->host->memory_alloc(device->host, sizeof *kv);
    if (!kv)
        return cpu_no_memory(error);
    gr_status status = pages_map(device, &made, desc->pages, &made.data, &made.mapped_bytes, error);
    if (status != GR_OK) {
        device->host->memory_free(device->host, kv, sizeof *kv);
        return status;
    }
    made.pages = desc->pages;
    *kv = made;
    *out_kv = kv;
    return GR_OK;
}

void cpu_kv_destroy(gr_device *device, gr_kv *kv) {
    if (!kv)
        return;
    pages_unmap(kv);
    device->host->memory_free(device->host, kv, sizeof *kv);
}

gr_status cpu_kv_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error) {
    uint8_t *data = NULL;
    uint64_t bytes = 0;
    if (pages == kv->pages)
        return GR_OK;
#if defined(__linux__)
    if (kv->data && !__builtin_mul_overflow(kv->page_bytes, pages, &bytes) && bytes &&
        bytes <= bytes_limit(device)) {
        // Moves the mapping, so that no page is touched.
        void *moved = mremap(kv->data, kv->mapped_bytes, bytes, MREMAP_MAYMOVE);
        if (moved != MAP_FAILED) {
            kv->data = moved;
            kv->mapped_bytes = bytes;
            kv->pages = pages;
            return GR_OK;
        }
    }
#endif
    gr_status status = pages_map(device, kv, pages, &data, &bytes, error);
    if (status != GR_OK)
        return status;
    uint64_t kept = kv->page_bytes * (pages < kv->pages ? pages : kv->pages);
    if (kept)
        memcpy(data, kv->data, kept);
    pages_unmap(kv);
    kv->data = data;
    kv->mapped_bytes = bytes;
    kv->pages = pages;
    return GR_OK;
}

uint64_t cpu_kv_page_bytes(gr_device *device, const gr_kv *kv) {
    (void)device;
    return kv ? kv->page_bytes : 0;
}

gr_status cpu_kv_copy_page(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error) {
    (void)device;
    (void)queue;
    if (from >= kv->pages || to >= kv->pages || slots > kv->page_tokens)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, CPU_ORIGIN,
                       "copy of %u slots, page %u to %u: %u pages of %u", slots, from, to,
                       kv->pages, kv->page_tokens);
    for (uint32_t layer = 0; layer < kv->layers && from != to && slots; layer++) {
        for (uint32_t head = 0; head < kv->kv_heads; head++)
            cpu_page_copy_slots(kv, (cpu_place){.layer = layer, .page = from, .head = head},
                                (cpu_place){.layer = layer, .page = to, .head = head}, slots);
    }
    return GR_OK;
}

// Checks a canonical access; `out_region` receives a copy.
static gr_status region_check(const gr_kv *kv, const gr_kv_region *region, gr_dtype dtype,
                              const void *values, uint64_t bytes, gr_kv_region *out_region,
                              gr_error *error) {
    if (!region || !gr_struct_ok(region, sizeof *region, sizeof *region, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "cache region: another layout");
    gr_struct_read(region, sizeof *out_region, out_region);
    const gr_kv_region *r = out_region;
    if (r->layer >= kv->layers || r->part > 1 || r->page >= kv->pages ||
        r->slot > kv->page_tokens || r->count > kv->page_tokens - r->slot)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, CPU_ORIGIN,
                       "cache region: layer %u of %u, part %u, page %u of %u, slots %u+%u of %u",
                       r->layer, kv->layers, r->part, r->page, kv->pages, r->slot, r->count,
                       kv->page_tokens);
    if (dtype != GR_DTYPE_F32 && dtype != kv->dtype)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, CPU_ORIGIN,
                       "cache region as %s: the pool holds %s", gr_dtype_name(dtype),
                       gr_dtype_name(kv->dtype));
    uint64_t expected = gr_dtype_row_bytes(dtype, kv->dim[r->part]) * kv->kv_heads * r->count;
    if (bytes != expected || (bytes && !values))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "cache region: %llu bytes given, %llu expected", (unsigned long long)bytes,
                       (unsigned long long)expected);
    if (dtype == GR_DTYPE_F32 && (uintptr_t)values % sizeof(float))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "cache region: values are not aligned");
    return GR_OK;
}

gr_status cpu_kv_read(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                      gr_dtype dtype, void *values, uint64_t bytes, gr_error *error) {
    (void)queue;
    gr_kv_region r;
    gr_status status = region_check(kv, region, dtype, values, bytes, &r, error);
    if (status != GR_OK || !bytes)
        return status;
    uint8_t *to = values;
    uint64_t each = gr_dtype_row_bytes(dtype, kv->dim[r.part]);
    for (uint32_t i = 0; i < r.count; i++) {
        for (uint32_t head = 0; head < kv->kv_heads; head++, to += each) {
            cpu_place from = {r.layer, r.page, head, r.slot + i};
            if (dtype == kv->dtype)
                cpu_page_get(kv, from, r.part, 0, kv->dim[r.part], to);
            else
                cpu_page_decode(&device->kernels, kv, from, r.part, (float *)(void *)to);
        }
    }
    return GR_OK;
}

gr_status cpu_kv_write(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                       gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error) {
    (void)queue;
    gr_kv_region r;
    gr_status status = region_check(kv, region, dtype, values, bytes, &r, error);
    if (status != GR_OK || !bytes)
        return status;
    const uint8_t *from = values;
    uint64_t each = gr_dtype_row_bytes(dtype, kv->dim[r.part]);
    for (uint32_t i = 0; i < r.count; i++) {
        for (uint32_t head = 0; head < kv->kv_heads; head++, from += each) {
            cpu_place to = {r.layer, r.page, head, r.slot + i};
            if (dtype == kv->dtype)
                cpu_page_put(kv, to, r.part, 0, kv->dim[r.part], from);
            else
                cpu_page_encode(&device->kernels, kv, to, r.part,
                                (const float *)(const void *)from);
        }
    }
    return GR_OK;
}
