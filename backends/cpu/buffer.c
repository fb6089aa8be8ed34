// SPDX-License-Identifier: Apache-2.0
// buffer.c: buffers are host memory, the backend's own or the host's. A step is done when submit
// returns, so copies never have to wait for a queue.
#include "cpu.h"

static gr_status buffer_make(gr_device *device, uint8_t *data, uint64_t bytes, bool owned,
                             gr_buffer **out_buffer, gr_error *error) {
    gr_buffer *buffer = device->host->memory_alloc(device->host, sizeof *buffer);
    if (!buffer)
        return cpu_no_memory(error);
    *buffer = (gr_buffer){.data = data, .bytes = bytes, .owned = owned};
    *out_buffer = buffer;
    return GR_OK;
}

gr_status cpu_buffer_alloc(gr_device *device, uint64_t bytes, gr_buffer **out_buffer,
                           gr_error *error) {
    *out_buffer = NULL;
    const gr_host *host = device->host;
    uint8_t *data = bytes ? host->memory_alloc(host, bytes) : NULL;
    if (bytes && !data)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, CPU_ORIGIN,
                       "no memory for a buffer of %llu bytes", (unsigned long long)bytes);
    gr_status status = buffer_make(device, data, bytes, true, out_buffer, error);
    if (status != GR_OK && data)
        host->memory_free(host, data, bytes);
    return status;
}

gr_status cpu_buffer_import(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                            gr_error *error) {
    *out_buffer = NULL;
    if (!memory && bytes)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "import of %llu bytes at no address", (unsigned long long)bytes);
    return buffer_make(device, memory, bytes, false, out_buffer, error);
}

void cpu_buffer_destroy(gr_device *device, gr_buffer *buffer) {
    if (!buffer)
        return;
    if (buffer->owned && buffer->data)
        device->host->memory_free(device->host, buffer->data, buffer->bytes);
    device->host->memory_free(device->host, buffer, sizeof *buffer);
}

static gr_status range_check(const gr_buffer *buffer, uint64_t offset, const void *memory,
                             uint64_t bytes, gr_error *error) {
    if (!buffer || (bytes && !memory))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "copy without a buffer or an address");
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, CPU_ORIGIN,
                       "copy of %llu bytes at %llu: the buffer has %llu", (unsigned long long)bytes,
                       (unsigned long long)offset, (unsigned long long)buffer->bytes);
    return GR_OK;
}

gr_status cpu_buffer_read(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                          void *destination, uint64_t bytes, gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = range_check(buffer, offset, destination, bytes, error);
    if (status == GR_OK && bytes)
        memcpy(destination, buffer->data + offset, bytes);
    return status;
}

gr_status cpu_buffer_write(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                           const void *source, uint64_t bytes, gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = range_check(buffer, offset, source, bytes, error);
    if (status == GR_OK && bytes)
        memcpy(buffer->data + offset, source, bytes);
    return status;
}

void *cpu_buffer_map(gr_device *device, gr_buffer *buffer) {
    (void)device;
    return buffer ? buffer->data : NULL;
}
