// SPDX-License-Identifier: Apache-2.0
// device.c: buffers, weights, cache pools, programs: each call asks whether it fails, and else goes
// to the wrapped plugin as it came.
#include "fault.h"

void fault_lose(fault_device *device, gr_fault_point point, uint64_t number) {
    if (atomic_load(&device->lost))
        return;
    snprintf(device->why, sizeof device->why, "the device was lost at %s %llu (injected)",
             fault_point_name(point), (unsigned long long)number);
    atomic_store(&device->lost, true);
    pthread_cond_broadcast(&device->changed);
}

gr_status fault_enter(fault_device *device, gr_fault_point point, gr_error *error) {
    error = atomic_load(&device->ledger->silent) ? NULL : error;
    if (!atomic_load(&device->lost)) {
        gr_fault_event event = fault_ask(device->ledger, point);
        if (event.kind == GR_FAULT_NONE)
            return GR_OK;
        if (event.kind == GR_FAULT_OOM)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, FAULT, "no memory at %s %llu (injected)",
                           fault_point_name(event.point), (unsigned long long)event.number);
        pthread_mutex_lock(&device->lock);
        fault_lose(device, event.point, event.number);
        pthread_mutex_unlock(&device->lock);
    }
    return gr_fail(error, GR_ERROR_DEVICE_LOST, FAULT, "%s", device->why);
}

// ---- Queries ----

static void fault_node_support(gr_device *handle, const gr_segment *segment, uint32_t index,
                               gr_support *out_support) {
    fault_device *device = fault_of(handle);
    if (device->skew & FAULT_LONG_STRUCTS)
        fault_long_node_support(device, segment, index, out_support);
    else
        device->backend->node_support(device->inner, segment, index, out_support);
}

static void *fault_buffer_map(gr_device *handle, gr_buffer *buffer) {
    fault_device *device = fault_of(handle);
    return device->backend->buffer_map(device->inner, buffer);
}

static uint64_t fault_kv_page_bytes(gr_device *handle, const gr_kv *kv) {
    fault_device *device = fault_of(handle);
    return device->backend->kv_page_bytes(device->inner, kv);
}

// ---- Buffers ----

static gr_status fault_buffer_alloc(gr_device *handle, uint64_t bytes, gr_buffer **out_buffer,
                                    gr_error *error) {
    fault_device *device = fault_of(handle);
    *out_buffer = NULL;
    gr_status status = fault_enter(device, GR_FAULT_BUFFER, error);
    return status == GR_OK ? device->backend->buffer_alloc(device->inner, bytes, out_buffer, error)
                           : status;
}

static gr_status fault_buffer_import(gr_device *handle, void *memory, uint64_t bytes,
                                     gr_buffer **out_buffer, gr_error *error) {
    fault_device *device = fault_of(handle);
    *out_buffer = NULL;
    gr_status status = fault_enter(device, GR_FAULT_BUFFER, error);
    return status == GR_OK ? device->backend->buffer_import(device->inner, memory, bytes,
                                                            out_buffer, error)
                           : status;
}

static void fault_buffer_destroy(gr_device *handle, gr_buffer *buffer) {
    fault_device *device = fault_of(handle);
    device->backend->buffer_destroy(device->inner, buffer);
}

// What a copy that is done when it returns begins with.
static gr_status begin_copy(fault_device *device, const gr_queue *queue, gr_error *error) {
    gr_status status = fault_enter(device, GR_FAULT_COPY, error);
    return status == GR_OK ? fault_ordered(device, queue, error) : status;
}

static gr_status fault_buffer_read(gr_device *handle, gr_queue *queue, gr_buffer *buffer,
                                   uint64_t offset, void *destination, uint64_t bytes,
                                   gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = begin_copy(device, queue, error);
    return status == GR_OK ? device->backend->buffer_read(device->inner, queue, buffer, offset,
                                                          destination, bytes, error)
                           : status;
}

static gr_status fault_buffer_write(gr_device *handle, gr_queue *queue, gr_buffer *buffer,
                                    uint64_t offset, const void *source, uint64_t bytes,
                                    gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = begin_copy(device, queue, error);
    return status == GR_OK ? device->backend->buffer_write(device->inner, queue, buffer, offset,
                                                           source, bytes, error)
                           : status;
}

// ---- Weights ----

static gr_status fault_weight_import(gr_device *handle, const gr_weight_desc *desc,
                                     gr_weight **out_weight, gr_weight_info *out_info,
                                     gr_error *error) {
    static const gr_weight_info none;
    fault_device *device = fault_of(handle);
    *out_weight = NULL;
    gr_struct_fill(out_info, &none, sizeof none);
    gr_status status = fault_enter(device, GR_FAULT_WEIGHT, error);
    if (status != GR_OK)
        return status;
    return device->skew & FAULT_LONG_STRUCTS
               ? fault_long_weight_import(device, desc, out_weight, out_info, error)
               : device->backend->weight_import(device->inner, desc, out_weight, out_info, error);
}

static void fault_weight_destroy(gr_device *handle, gr_weight *weight) {
    fault_device *device = fault_of(handle);
    device->backend->weight_destroy(device->inner, weight);
}

// ---- Cache pools ----

static gr_status fault_kv_create(gr_device *handle, const gr_kv_desc *desc, gr_kv **out_kv,
                                 gr_error *error) {
    fault_device *device = fault_of(handle);
    *out_kv = NULL;
    gr_status status = fault_enter(device, GR_FAULT_KV, error);
    if (status != GR_OK)
        return status;
    return device->skew & FAULT_LONG_STRUCTS
               ? fault_long_kv_create(device, desc, out_kv, error)
               : device->backend->kv_create(device->inner, desc, out_kv, error);
}

static void fault_kv_destroy(gr_device *handle, gr_kv *kv) {
    fault_device *device = fault_of(handle);
    device->backend->kv_destroy(device->inner, kv);
}

static gr_status fault_kv_resize(gr_device *handle, gr_kv *kv, uint32_t pages, gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = fault_enter(device, GR_FAULT_RESIZE, error);
    return status == GR_OK ? device->backend->kv_resize(device->inner, kv, pages, error) : status;
}

// Only queued, so it waits for nothing.
static gr_status fault_kv_copy_page(gr_device *handle, gr_queue *queue, gr_kv *kv, uint32_t from,
                                    uint32_t to, uint32_t slots, gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = fault_enter(device, GR_FAULT_COPY, error);
    return status == GR_OK ? device->backend->kv_copy_page(device->inner, queue, kv, from, to,
                                                           slots, error)
                           : status;
}

static gr_status fault_kv_read(gr_device *handle, gr_queue *queue, gr_kv *kv,
                               const gr_kv_region *region, gr_dtype dtype, void *values,
                               uint64_t bytes, gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = begin_copy(device, queue, error);
    if (status != GR_OK)
        return status;
    return device->skew & FAULT_LONG_STRUCTS
               ? fault_long_kv_read(device, queue, kv, region, dtype, values, bytes, error)
               : device->backend->kv_read(device->inner, queue, kv, region, dtype, values, bytes,
                                          error);
}

static gr_status fault_kv_write(gr_device *handle, gr_queue *queue, gr_kv *kv,
                                const gr_kv_region *region, gr_dtype dtype, const void *values,
                                uint64_t bytes, gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = begin_copy(device, queue, error);
    if (status != GR_OK)
        return status;
    return device->skew & FAULT_LONG_STRUCTS
               ? fault_long_kv_write(device, queue, kv, region, dtype, values, bytes, error)
               : device->backend->kv_write(device->inner, queue, kv, region, dtype, values, bytes,
                                           error);
}

// ---- Programs ----

static gr_status fault_program_compile(gr_device *handle, const gr_program_desc *desc,
                                       gr_program **out_program, gr_program_info *out_info,
                                       gr_error *error) {
    static const gr_program_info none;
    fault_device *device = fault_of(handle);
    *out_program = NULL;
    gr_struct_fill(out_info, &none, sizeof none);
    gr_status status = fault_enter(device, GR_FAULT_COMPILE, error);
    if (status != GR_OK)
        return status;
    return device->skew & FAULT_LONG_STRUCTS
               ? fault_long_compile(device, desc, out_program, out_info, error)
               : device->backend->program_compile(device->inner, desc, out_program, out_info,
                                                  error);
}

static void fault_program_destroy(gr_device *handle, gr_program *program) {
    fault_device *device = fault_of(handle);
    device->backend->program_destroy(device->inner, program);
    if (device->skew & FAULT_LONG_STRUCTS)
        fault_long_forget(device, program);
}

void fault_fill_objects(gr_backend *table) {
    table->node_support = fault_node_support;
    table->buffer_alloc = fault_buffer_alloc;
    table->buffer_import = fault_buffer_import;
    table->buffer_destroy = fault_buffer_destroy;
    table->buffer_read = fault_buffer_read;
    table->buffer_write = fault_buffer_write;
    table->buffer_map = fault_buffer_map;
    table->weight_import = fault_weight_import;
    table->weight_destroy = fault_weight_destroy;
    table->kv_create = fault_kv_create;
    table->kv_destroy = fault_kv_destroy;
    table->kv_resize = fault_kv_resize;
    table->kv_page_bytes = fault_kv_page_bytes;
    table->kv_copy_page = fault_kv_copy_page;
    table->kv_read = fault_kv_read;
    table->kv_write = fault_kv_write;
    table->program_compile = fault_program_compile;
    table->program_destroy = fault_program_destroy;
}
