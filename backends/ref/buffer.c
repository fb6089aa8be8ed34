// SPDX-License-Identifier: Apache-2.0
// buffer.c: buffers are host memory, the backend's own or the host's.
#include "ref.h"

static gr_status buffer_make(gr_device *device, uint8_t *data, uint64_t bytes, bool owned,
                             gr_buffer **out_buffer, gr_error *error) {
    const gr_host *host = device->host;
    gr_buffer *buffer = host->memory_alloc(host, sizeof *buffer);
    if (!buffer)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a buffer");
    *buffer = (gr_buffer){.data = data, .bytes = bytes, .owned = owned};
    *out_buffer = buffer;
    return GR_OK;
}

gr_status ref_buffer_alloc(gr_device *device, uint64_t bytes, gr_buffer **out_buffer,
                           gr_error *error) {
    *out_buffer = NULL;
    const gr_host *host = device->host;
    uint8_t *data = bytes ? host->memory_alloc(host, bytes) : NULL;
    if (bytes && !data)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a buffer of %llu bytes",
                       (unsigned long long)bytes);
    gr_status status = buffer_make(device, data, bytes, true, out_buffer, error);
    if (status != GR_OK && data)
        host->memory_free(host, data, bytes);
    return status;
}

gr_status ref_buffer_import(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                            gr_error *error) {
    *out_buffer = NULL;
    if (!memory && bytes)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "import of %llu bytes at no address", (unsigned long long)bytes);
    return buffer_make(device, memory, bytes, false, out_buffer, error);
}

void ref_buffer_destroy(gr_device *device, gr_buffer *buffer) {
    if (!buffer)
        return;
    const gr_host *host = device->host;
    if (buffer->owned && buffer->data)
        host->memory_free(host, buffer->data, buffer->bytes);
    host->memory_free(host, buffer, sizeof *buffer);
}

static gr_status range_check(const gr_buffer *buffer, uint64_t offset, const void *memory,
                             uint64_t bytes, gr_error *error) {
    if (!buffer || (bytes && !memory))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "copy without a buffer or an address");
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "ref",
                       "copy of %llu bytes at %llu: the buffer has %llu", (unsigned long long)bytes,
                       (unsigned long long)offset, (unsigned long long)buffer->bytes);
    return GR_OK;
}

// submit is synchronous, so nothing can be in flight on any queue.
gr_status ref_buffer_read(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                          void *destination, uint64_t bytes, gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = range_check(buffer, offset, destination, bytes, error);
    if (status == GR_OK && bytes)
        memcpy(destination, buffer->data + offset, bytes);
    return status;
}

gr_status ref_buffer_write(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                           const void *source, uint64_t bytes, gr_error *error) {
    (void)device;
    (void)queue;
    gr_status status = range_check(buffer, offset, source, bytes, error);
    if (status == GR_OK && bytes)
        memcpy(buffer->data + offset, source, bytes);
    return status;
}

void *ref_buffer_map(gr_device *device, gr_buffer *buffer) {
    (void)device;
    return buffer ? buffer->data : NULL;
}
