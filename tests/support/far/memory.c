// SPDX-License-Identifier: Apache-2.0
// memory.c: the device's memory: what the inner backend allocates counts against the limit; buffers
// and weights.
#include "far.h"

// ---- The services of the inner backend ----

static far_services *services_of(const gr_host *table) {
    return (far_services *)(uintptr_t)table;
}

static void service_log(const gr_host *table, gr_log_level level, const char *line) {
    const gr_host *host = services_of(table)->host;
    host->log(host, level, line);
}

static uint64_t service_now(const gr_host *table) {
    const gr_host *host = services_of(table)->host;
    return host->now_ns(host);
}

static void service_free(const gr_host *table, void *memory, uint64_t bytes) {
    far_services *services = services_of(table);
    if (!memory)
        return;
    services->host->memory_free(services->host, memory, bytes);
    atomic_fetch_sub(&services->used, bytes);
}

static void *service_alloc(const gr_host *table, uint64_t bytes) {
    far_services *services = services_of(table);
    uint64_t used = atomic_fetch_add(&services->used, bytes);
    void *memory = NULL;
    if (bytes <= services->limit && used <= services->limit - bytes)
        memory = services->host->memory_alloc(services->host, bytes);
    if (!memory)
        atomic_fetch_sub(&services->used, bytes);
    return memory;
}

static void service_trace(const gr_host *table, const gr_trace_event *event) {
    const gr_host *host = services_of(table)->host;
    host->trace(host, event);
}

static uint32_t service_trace_enabled(const gr_host *table) {
    const gr_host *host = services_of(table)->host;
    return host->trace && host->trace_enabled && host->trace_enabled(host);
}

static const void *service_extension(const gr_host *table, const char *name) {
    (void)table;
    (void)name;
    return NULL;
}

void far_services_init(far_services *services, const gr_host *host, uint64_t limit) {
    services->host = host;
    services->limit = limit;
    services->table = (gr_host){.struct_size = sizeof services->table,
                                .abi_major = GR_ABI_MAJOR,
                                .abi_minor = GR_ABI_MINOR,
                                .log = service_log,
                                .now_ns = service_now,
                                .memory_alloc = service_alloc,
                                .memory_free = service_free,
                                .team_size = host->team_size,
                                .team_run = host->team_run,
                                .team_barrier = host->team_barrier,
                                .trace = service_trace,
                                .trace_enabled = service_trace_enabled,
                                .topology = host->topology,
                                .get_extension = service_extension};
}

// ---- Buffers ----

gr_status far_buffer_alloc(gr_device *handle, uint64_t bytes, gr_buffer **out_buffer,
                           gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    *out_buffer = NULL;
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    far_buffer *buffer = far_object_alloc(device, sizeof *buffer, FAR_BUFFER);
    if (!buffer)
        return far_no_memory(error, "a buffer");
    status = far_inner()->buffer_alloc(device->inner, bytes, &buffer->inner, error);
    if (status == GR_OK)
        *out_buffer = far_hide(buffer);
    else
        far_object_free(device, buffer, sizeof *buffer);
    return status;
}

gr_status far_buffer_import(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                            gr_error *error) {
    (void)device;
    (void)memory;
    (void)bytes;
    *out_buffer = NULL;
    return gr_fail(error, GR_ERROR_UNSUPPORTED, FAR, "the device does not reach host memory");
}

void far_buffer_destroy(gr_device *handle, gr_buffer *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_buffer *buffer = far_find(which, FAR_BUFFER);
    if (!buffer)
        return;
    far_retire(device, &buffer->object, "a buffer");
    far_inner()->buffer_destroy(device->inner, buffer->inner);
    far_object_free(device, buffer, sizeof *buffer);
}

// What a copy to or from a buffer begins with.
static gr_status copy_begin(far_device *device, gr_queue *queue, far_buffer *buffer,
                            gr_error *error) {
    if (!device || !buffer)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "that is no buffer of this device");
    return far_settle(device, queue, &buffer->object, error);
}

gr_status far_buffer_read(gr_device *handle, gr_queue *queue, gr_buffer *which, uint64_t offset,
                          void *destination, uint64_t bytes, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_buffer *buffer = far_find(which, FAR_BUFFER);
    gr_status status = copy_begin(device, queue, buffer, error);
    return status == GR_OK ? far_inner()->buffer_read(device->inner, NULL, buffer->inner, offset,
                                                      destination, bytes, error)
                           : status;
}

gr_status far_buffer_write(gr_device *handle, gr_queue *queue, gr_buffer *which, uint64_t offset,
                           const void *source, uint64_t bytes, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_buffer *buffer = far_find(which, FAR_BUFFER);
    gr_status status = copy_begin(device, queue, buffer, error);
    return status == GR_OK ? far_inner()->buffer_write(device->inner, NULL, buffer->inner, offset,
                                                       source, bytes, error)
                           : status;
}

void *far_buffer_map(gr_device *device, gr_buffer *buffer) {
    (void)device;
    (void)buffer;
    return NULL;
}

// ---- Weights: copied, so that the source is not needed afterwards ----

static void weight_free(far_device *device, far_weight *weight) {
    if (weight->inner)
        far_inner()->weight_destroy(device->inner, weight->inner);
    if (weight->data)
        service_free(&device->services.table, weight->data, weight->bytes);
    far_object_free(device, weight, sizeof *weight);
}

static gr_status weight_fill(far_device *device, const gr_weight_desc *desc, far_weight *weight,
                             gr_weight_info *out_info, gr_error *error) {
    gr_weight_desc own = *desc;
    weight->bytes = desc->data ? desc->bytes : 0;
    if (weight->bytes) {
        weight->data = service_alloc(&device->services.table, weight->bytes);
        if (!weight->data)
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, FAR, "%s: no memory for %llu bytes",
                           desc->name ? desc->name : "a weight", (unsigned long long)desc->bytes);
        memcpy(weight->data, desc->data, weight->bytes);
        own.data = weight->data;
    }
    far_sleep(device, device->settings.late_ns);
    gr_status status =
        far_inner()->weight_import(device->inner, &own, &weight->inner, out_info, error);
    out_info->aliases_source = 0;
    out_info->device_bytes += weight->bytes;
    snprintf(out_info->layout, sizeof out_info->layout, "gguf, far");
    return status;
}

gr_status far_weight_import(gr_device *handle, const gr_weight_desc *desc_in,
                            gr_weight **out_weight, gr_weight_info *out_info, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    gr_weight_info info = {.struct_size = sizeof info};
    gr_weight_desc desc;
    *out_weight = NULL;
    gr_struct_fill(out_info, &info, sizeof info);
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    if (!desc_in || !gr_struct_ok(desc_in, offsetof(gr_weight_desc, name), sizeof desc, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR,
                       "weight: its description has another layout");
    gr_struct_read(desc_in, sizeof desc, &desc);
    desc.struct_size = sizeof desc;
    far_weight *weight = far_object_alloc(device, sizeof *weight, FAR_WEIGHT);
    if (!weight)
        return far_no_memory(error, "a weight");
    status = weight_fill(device, &desc, weight, &info, error);
    if (status != GR_OK) {
        weight_free(device, weight);
        return status;
    }
    gr_host_source_done(device->host, desc.data, desc.bytes);
    gr_struct_fill(out_info, &info, sizeof info);
    *out_weight = far_hide(weight);
    return GR_OK;
}

void far_weight_destroy(gr_device *handle, gr_weight *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_weight *weight = far_find(which, FAR_WEIGHT);
    if (!weight)
        return;
    far_retire(device, &weight->object, "a weight");
    weight_free(device, weight);
}
