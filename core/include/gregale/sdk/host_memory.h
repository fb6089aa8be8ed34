// SPDX-License-Identifier: Apache-2.0
// host_memory.h: buffers, weights and cache pools for a device that computes in host memory: ready
// entries of gr_backend's table, and the checks of their arguments for those who write their own.
// For backend authors. Needs only libc headers; C11 and C++17.
//
// The backend's struct gr_device begins with the host's table: `const gr_host *host;`. A backend
// whose buffers, weights or pools are of another kind defines those structs and calls itself: it
// defines GR_SDK_OWN_BUFFER, GR_SDK_OWN_WEIGHT or GR_SDK_OWN_KV, includes gregale/sdk.h, then defines
// the structs, then includes gregale/sdk/host_program.h if it binds nodes with it. (A layout of one's
// own for some weights needs no struct of one's own: gr_weight.packed.)
#ifndef GREGALE_SDK_HOST_MEMORY_H
#define GREGALE_SDK_HOST_MEMORY_H

#include "gregale/sdk/rows.h"
#include "gregale/sdk/step.h"

#ifdef __cplusplus
extern "C" {
#endif

static inline const gr_host *gr_device_host(const gr_device *device) {
    const gr_host *host;
    memcpy(&host, device, sizeof host);
    return host;
}

static inline gr_status gr_no_memory(gr_error *error, const char *what) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_SDK_ORIGIN, "no memory for %s", what);
}

// a * b; false when it overflows.
static inline bool gr_size_mul(uint64_t a, uint64_t b, uint64_t *out) {
    *out = a * b;
    return !a || *out / a == b;
}

// ---- Checks ----

// Whether `bytes` bytes at `offset` of a buffer of `size` may be copied to or from `memory`.
static inline gr_status gr_copy_check(uint64_t size, uint64_t offset, const void *memory,
                                      uint64_t bytes, gr_error *error) {
    if (bytes && !memory)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN, "copy without an address");
    if (offset > size || bytes > size - offset)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_SDK_ORIGIN,
                       "copy of %llu bytes at %llu: the buffer has %llu", (unsigned long long)bytes,
                       (unsigned long long)offset, (unsigned long long)size);
    return GR_OK;
}

// Reads a description of a weight into `out_desc`, and the bytes of a row of its last dimension.
static inline gr_status gr_weight_desc_read(const gr_weight_desc *desc, gr_weight_desc *out_desc,
                                            uint64_t *out_row_bytes, gr_error *error) {
    uint64_t rows = 1, bytes;
    const char *why = NULL;
    memset(out_desc, 0, sizeof *out_desc);
    *out_row_bytes = 0;
    if (!desc || !gr_struct_ok(desc, offsetof(gr_weight_desc, name), sizeof *desc, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "weight: its description has another layout");
    gr_struct_read(desc, sizeof *out_desc, out_desc);
    out_desc->name = out_desc->name ? out_desc->name : "a weight";
    if (out_desc->rank < 1 || out_desc->rank > GR_MAX_RANK)
        why = "its rank is not 1 to 4";
    else if (!gr_dtype_block(out_desc->dtype))
        why = "its dtype is unknown";
    for (uint32_t i = 0; !why && i < out_desc->rank; i++) {
        if (out_desc->dims[i] < 0)
            why = "a dimension is negative";
        else if (i + 1 < out_desc->rank && !gr_size_mul(rows, (uint64_t)out_desc->dims[i], &rows))
            why = "its size overflows";
    }
    if (!why) {
        uint64_t width = (uint64_t)out_desc->dims[out_desc->rank - 1];
        *out_row_bytes = gr_dtype_row_bytes(out_desc->dtype, width);
        if (width && !*out_row_bytes)
            why = "a row is not a whole number of blocks";
        else if (!gr_size_mul(rows, *out_row_bytes, &bytes))
            why = "its size overflows";
        else if (bytes != out_desc->bytes)
            why = "its bytes do not match its shape and dtype";
        else if (bytes && !out_desc->data)
            why = "it has no data";
    }
    return why ? gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN, "%s: %s", out_desc->name,
                         why)
               : GR_OK;
}

// The sizes of a cache pool.
typedef struct gr_kv_shape {
    gr_dtype dtype;
    uint32_t layers, page_tokens, kv_heads, pages;
    uint32_t dim[2];        // K, V
    uint64_t head_bytes[2]; // one head of one position
    uint64_t row_bytes[2];  // one position, all heads
    uint64_t layer_bytes;   // a page of one layer, K and V
    uint64_t page_bytes;    // of all layers
} gr_kv_shape;

static inline gr_status gr_kv_shape_read(const gr_kv_desc *desc, gr_kv_shape *out_shape,
                                         gr_error *error) {
    gr_kv_shape *s = out_shape;
    const char *why = NULL;
    memset(s, 0, sizeof *s);
    if (!desc || !gr_struct_ok(desc, sizeof *desc, sizeof *desc, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "cache: its description has another layout");
    s->dtype = desc->dtype;
    s->layers = desc->layers;
    s->page_tokens = desc->page_tokens;
    s->kv_heads = desc->kv_heads;
    s->pages = desc->pages;
    s->dim[0] = desc->k_dim;
    s->dim[1] = desc->v_dim;
    if (!gr_row_encodes(s->dtype))
        why = "the cache holds F32, F16, BF16 or Q8_0";
    else if (!s->page_tokens || (s->page_tokens & (s->page_tokens - 1)))
        why = "page_tokens is not a power of two";
    for (uint32_t part = 0; !why && part < 2; part++) {
        s->head_bytes[part] = gr_dtype_row_bytes(s->dtype, s->dim[part]);
        if (s->dim[part] && !s->head_bytes[part])
            why = "a head is not a whole number of blocks of that dtype";
        else if (!gr_size_mul(s->head_bytes[part], s->kv_heads, &s->row_bytes[part]))
            why = "its size overflows";
    }
    if (!why && (s->row_bytes[0] > UINT64_MAX - s->row_bytes[1] ||
                 !gr_size_mul(s->row_bytes[0] + s->row_bytes[1], s->page_tokens, &s->layer_bytes) ||
                 !gr_size_mul(s->layer_bytes, s->layers, &s->page_bytes)))
        why = "its size overflows";
    return why ? gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN, "cache: %s", why) : GR_OK;
}

// Reads a region of a pool and checks `bytes` bytes of `values` in `dtype` against it.
static inline gr_status gr_kv_region_read(const gr_kv_shape *shape, const gr_kv_region *region,
                                          gr_dtype dtype, const void *values, uint64_t bytes,
                                          gr_kv_region *out_region, gr_error *error) {
    if (!region || !gr_struct_ok(region, sizeof *region, sizeof *region, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "cache region: another layout");
    gr_struct_read(region, sizeof *out_region, out_region);
    const gr_kv_region *r = out_region;
    if (r->layer >= shape->layers || r->part > 1 || r->page >= shape->pages ||
        r->slot > shape->page_tokens || r->count > shape->page_tokens - r->slot)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_SDK_ORIGIN,
                       "cache region: layer %u of %u, part %u, page %u of %u, slots %u+%u of %u",
                       r->layer, shape->layers, r->part, r->page, shape->pages, r->slot, r->count,
                       shape->page_tokens);
    if (dtype != GR_DTYPE_F32 && dtype != shape->dtype)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, GR_SDK_ORIGIN,
                       "cache region as %s: the pool holds %s", gr_dtype_name(dtype),
                       gr_dtype_name(shape->dtype));
    uint64_t expected = gr_dtype_row_bytes(dtype, shape->dim[r->part]) * shape->kv_heads * r->count;
    if (bytes != expected || (bytes && !values))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "cache region: %llu bytes given, %llu expected", (unsigned long long)bytes,
                       (unsigned long long)expected);
    if (dtype == GR_DTYPE_F32 && (uintptr_t)values % sizeof(float))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "cache region: values are not aligned");
    return GR_OK;
}

// Whether slots [0, slots) of page `from` may be copied to page `to`.
static inline gr_status gr_kv_copy_check(const gr_kv_shape *shape, uint32_t from, uint32_t to,
                                         uint32_t slots, gr_error *error) {
    if (from < shape->pages && to < shape->pages && slots <= shape->page_tokens)
        return GR_OK;
    return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_SDK_ORIGIN,
                   "copy of %u slots, page %u to %u: %u pages of %u", slots, from, to, shape->pages,
                   shape->page_tokens);
}

// ---- Buffers ----

#ifndef GR_SDK_OWN_BUFFER
struct gr_buffer {
    uint8_t *data; // NULL only when bytes is 0
    uint64_t bytes;
    bool owned;
};

static inline gr_status gr_host_buffer_make(gr_device *device, uint8_t *data, uint64_t bytes,
                                            bool owned, gr_buffer **out_buffer, gr_error *error) {
    const gr_host *host = gr_device_host(device);
    gr_buffer *buffer = (gr_buffer *)host->memory_alloc(host, sizeof *buffer);
    if (!buffer)
        return gr_no_memory(error, "a buffer");
    buffer->data = data;
    buffer->bytes = bytes;
    buffer->owned = owned;
    *out_buffer = buffer;
    return GR_OK;
}

static inline gr_status gr_host_buffer_alloc(gr_device *device, uint64_t bytes,
                                             gr_buffer **out_buffer, gr_error *error) {
    const gr_host *host = gr_device_host(device);
    *out_buffer = NULL;
    uint8_t *data = bytes ? (uint8_t *)host->memory_alloc(host, bytes) : NULL;
    if (bytes && !data)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_SDK_ORIGIN,
                       "no memory for a buffer of %llu bytes", (unsigned long long)bytes);
    gr_status status = gr_host_buffer_make(device, data, bytes, true, out_buffer, error);
    if (status != GR_OK && data)
        host->memory_free(host, data, bytes);
    return status;
}

static inline gr_status gr_host_buffer_import(gr_device *device, void *memory, uint64_t bytes,
                                              gr_buffer **out_buffer, gr_error *error) {
    *out_buffer = NULL;
    if (!memory && bytes)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "import of %llu bytes at no address", (unsigned long long)bytes);
    return gr_host_buffer_make(device, (uint8_t *)memory, bytes, false, out_buffer, error);
}

static inline void gr_host_buffer_destroy(gr_device *device, gr_buffer *buffer) {
    if (!buffer)
        return;
    const gr_host *host = gr_device_host(device);
    if (buffer->owned && buffer->data)
        host->memory_free(host, buffer->data, buffer->bytes);
    host->memory_free(host, buffer, sizeof *buffer);
}

// These two fit a device whose steps are done when submit returns: nothing is ever in flight.
static inline gr_status gr_host_buffer_read(gr_device *device, gr_queue *queue, gr_buffer *buffer,
                                            uint64_t offset, void *destination, uint64_t bytes,
                                            gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = gr_copy_check(buffer ? buffer->bytes : 0, offset, destination, bytes, error);
    if (status == GR_OK && bytes)
        memcpy(destination, buffer->data + offset, bytes);
    return status;
}

static inline gr_status gr_host_buffer_write(gr_device *device, gr_queue *queue, gr_buffer *buffer,
                                             uint64_t offset, const void *source, uint64_t bytes,
                                             gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = gr_copy_check(buffer ? buffer->bytes : 0, offset, source, bytes, error);
    if (status == GR_OK && bytes)
        memcpy(buffer->data + offset, source, bytes);
    return status;
}

static inline void *gr_host_buffer_map(gr_device *device, gr_buffer *buffer) {
    (void)device;
    return buffer ? buffer->data : NULL;
}
#endif

// ---- Weights: the model file's bytes, in place ----

#ifndef GR_SDK_OWN_WEIGHT
struct gr_weight {
    const uint8_t *data; // the model file's bytes, or `copy`
    uint8_t *copy;       // own memory when the source was not aligned, else NULL
    uint64_t bytes;
    uint64_t row_bytes; // of the last dimension
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK];
    uint8_t *packed;       // a layout of the backend's own, from memory_alloc; NULL until it makes one.
    uint64_t packed_bytes; // Freed with the weight
};

static inline void gr_host_weight_destroy(gr_device *device, gr_weight *weight) {
    if (!weight)
        return;
    const gr_host *host = gr_device_host(device);
    if (weight->copy)
        host->memory_free(host, weight->copy, weight->bytes);
    if (weight->packed)
        host->memory_free(host, weight->packed, weight->packed_bytes);
    host->memory_free(host, weight, sizeof *weight);
}

// A file may place a tensor anywhere; C may not read it there.
static inline gr_status gr_host_weight_align(const gr_host *host, gr_weight *weight,
                                             const char *name, gr_error *error) {
    if (!weight->bytes || (uintptr_t)weight->data % 8 == 0)
        return GR_OK;
    weight->copy = (uint8_t *)host->memory_alloc(host, weight->bytes);
    if (!weight->copy)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_SDK_ORIGIN, "%s: no memory for %llu bytes",
                       name, (unsigned long long)weight->bytes);
    memcpy(weight->copy, weight->data, weight->bytes);
    weight->data = weight->copy;
    return GR_OK;
}

static inline gr_status gr_host_weight_import(gr_device *device, const gr_weight_desc *desc_in,
                                              gr_weight **out_weight, gr_weight_info *out_info,
                                              gr_error *error) {
    const gr_host *host = gr_device_host(device);
    gr_weight_info info;
    gr_weight_desc desc;
    uint64_t row_bytes;
    *out_weight = NULL;
    memset(&info, 0, sizeof info);
    gr_struct_fill(out_info, &info, sizeof info);
    gr_status status = gr_weight_desc_read(desc_in, &desc, &row_bytes, error);
    if (status != GR_OK)
        return status;
    gr_weight *weight = (gr_weight *)host->memory_alloc(host, sizeof *weight);
    if (!weight)
        return gr_no_memory(error, desc.name);
    weight->data = (const uint8_t *)desc.data;
    weight->bytes = desc.bytes;
    weight->row_bytes = row_bytes;
    weight->dtype = desc.dtype;
    weight->rank = desc.rank;
    memcpy(weight->dims, desc.dims, sizeof weight->dims);
    status = gr_host_weight_align(host, weight, desc.name, error);
    if (status != GR_OK) {
        gr_host_weight_destroy(device, weight);
        return status;
    }
    info.aliases_source = weight->copy == NULL;
    info.device_bytes = weight->copy ? weight->bytes : 0;
    snprintf(info.layout, sizeof info.layout, "gguf");
    gr_struct_fill(out_info, &info, sizeof info);
    *out_weight = weight;
    return GR_OK;
}
#endif

// ---- Cache pools: a page holds all layers, [layer][K then V][slot][kv head][dim] ----

#ifndef GR_SDK_OWN_KV
struct gr_kv {
    gr_kv_shape shape;
    uint8_t *data;
};

// Address of all heads of one position; part 0 is K, 1 is V. Arguments must be in range.
static inline uint8_t *gr_host_kv_row(const gr_kv *kv, uint32_t layer, uint32_t part, uint32_t page,
                                      uint32_t slot) {
    const gr_kv_shape *s = &kv->shape;
    return kv->data + s->page_bytes * page + s->layer_bytes * layer +
           (part ? s->row_bytes[0] * s->page_tokens : 0) + s->row_bytes[part] * slot;
}

static inline gr_status gr_host_kv_pages(const gr_host *host, const gr_kv_shape *shape,
                                         uint32_t pages, uint8_t **out_data, gr_error *error) {
    uint64_t bytes;
    *out_data = NULL;
    bool fits = gr_size_mul(shape->page_bytes, pages, &bytes);
    if (fits && !bytes)
        return GR_OK;
    if (fits)
        *out_data = (uint8_t *)host->memory_alloc(host, bytes);
    return *out_data ? GR_OK : gr_no_memory(error, "cache pages");
}

static inline gr_status gr_host_kv_create(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv,
                                          gr_error *error) {
    const gr_host *host = gr_device_host(device);
    gr_kv_shape shape;
    uint8_t *data;
    *out_kv = NULL;
    gr_status status = gr_kv_shape_read(desc, &shape, error);
    if (status == GR_OK)
        status = gr_host_kv_pages(host, &shape, shape.pages, &data, error);
    if (status != GR_OK)
        return status;
    gr_kv *kv = (gr_kv *)host->memory_alloc(host, sizeof *kv);
    if (!kv) {
        if (data)
            host->memory_free(host, data, shape.page_bytes * shape.pages);
        return gr_no_memory(error, "a cache pool");
    }
    kv->shape = shape;
    kv->data = data;
    *out_kv = kv;
    return GR_OK;
}

static inline void gr_host_kv_destroy(gr_device *device, gr_kv *kv) {
    if (!kv)
        return;
    const gr_host *host = gr_device_host(device);
    if (kv->data)
        host->memory_free(host, kv->data, kv->shape.page_bytes * kv->shape.pages);
    host->memory_free(host, kv, sizeof *kv);
}

static inline gr_status gr_host_kv_resize(gr_device *device, gr_kv *kv, uint32_t pages,
                                          gr_error *error) {
    const gr_host *host = gr_device_host(device);
    uint32_t old = kv->shape.pages;
    uint8_t *data;
    if (pages == old)
        return GR_OK;
    gr_status status = gr_host_kv_pages(host, &kv->shape, pages, &data, error);
    if (status != GR_OK)
        return status;
    uint64_t kept = kv->shape.page_bytes * (pages < old ? pages : old);
    if (kept)
        memcpy(data, kv->data, kept);
    if (kv->data)
        host->memory_free(host, kv->data, kv->shape.page_bytes * old);
    kv->data = data;
    kv->shape.pages = pages;
    return GR_OK;
}

static inline uint64_t gr_host_kv_page_bytes(gr_device *device, const gr_kv *kv) {
    (void)device;
    return kv ? kv->shape.page_bytes : 0;
}

static inline gr_status gr_host_kv_copy_page(gr_device *device, gr_queue *queue, gr_kv *kv,
                                             uint32_t from, uint32_t to, uint32_t slots,
                                             gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = gr_kv_copy_check(&kv->shape, from, to, slots, error);
    for (uint32_t layer = 0; status == GR_OK && from != to && layer < kv->shape.layers; layer++) {
        for (uint32_t part = 0; part < 2; part++) {
            if (slots && kv->shape.row_bytes[part])
                memcpy(gr_host_kv_row(kv, layer, part, to, 0),
                       gr_host_kv_row(kv, layer, part, from, 0), kv->shape.row_bytes[part] * slots);
        }
    }
    return status;
}

static inline gr_status gr_host_kv_read(gr_device *device, gr_queue *queue, gr_kv *kv,
                                        const gr_kv_region *region, gr_dtype dtype, void *values,
                                        uint64_t bytes, gr_error *error) {
    gr_kv_region r;
    (void)device;
    (void)queue;
    gr_status status = gr_kv_region_read(&kv->shape, region, dtype, values, bytes, &r, error);
    if (status != GR_OK || !bytes)
        return status;
    const uint8_t *source = gr_host_kv_row(kv, r.layer, r.part, r.page, r.slot);
    if (dtype == kv->shape.dtype)
        memcpy(values, source, bytes);
    else
        gr_row_decode(kv->shape.dtype, source,
                      (uint64_t)kv->shape.dim[r.part] * kv->shape.kv_heads * r.count,
                      (float *)values);
    return GR_OK;
}

static inline gr_status gr_host_kv_write(gr_device *device, gr_queue *queue, gr_kv *kv,
                                         const gr_kv_region *region, gr_dtype dtype,
                                         const void *values, uint64_t bytes, gr_error *error) {
    gr_kv_region r;
    (void)device;
    (void)queue;
    gr_status status = gr_kv_region_read(&kv->shape, region, dtype, values, bytes, &r, error);
    if (status != GR_OK || !bytes)
        return status;
    uint8_t *target = gr_host_kv_row(kv, r.layer, r.part, r.page, r.slot);
    if (dtype == kv->shape.dtype)
        memcpy(target, values, bytes);
    else
        gr_row_encode(kv->shape.dtype, (const float *)values,
                      (uint64_t)kv->shape.dim[r.part] * kv->shape.kv_heads * r.count, target);
    return GR_OK;
}
#endif

#ifdef __cplusplus
}
#endif
#endif
