// SPDX-License-Identifier: Apache-2.0
// gguf_writer.c: the file is head, metadata, tensor table, padding, data; see docs/gguf.md of ggml.
#include "gguf_writer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *must(void *memory) {
    if (!memory)
        abort();
    return memory;
}

void gguf_put(gguf_buffer *buffer, const void *bytes, size_t count) {
    if (count > buffer->capacity - buffer->size) {
        buffer->capacity = (buffer->size + count) * 2;
        buffer->data = must(realloc(buffer->data, buffer->capacity));
    }
    if (count)
        memcpy(buffer->data + buffer->size, bytes, count);
    buffer->size += count;
}

void gguf_put_number(gguf_buffer *buffer, uint64_t value, uint32_t width) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    gguf_put(buffer, bytes, width);
}

void gguf_put_string(gguf_buffer *buffer, const char *text, size_t size) {
    gguf_put_number(buffer, size, 8);
    gguf_put(buffer, text, size);
}

void gguf_writer_init(gguf_writer *writer) {
    *writer = (gguf_writer){.version = 3,
                            .alignment = 32,
                            .stated_meta_count = UINT64_MAX,
                            .stated_tensor_count = UINT64_MAX};
}

void gguf_writer_deinit(gguf_writer *writer) {
    for (uint64_t i = 0; i < writer->tensor_count; i++)
        free(writer->tensors[i].data);
    free(writer->tensors);
    free(writer->meta.data);
    gguf_writer_init(writer);
}

void gguf_meta_raw(gguf_writer *writer, const char *key, size_t key_size, uint32_t type,
                   const void *value, size_t value_size) {
    gguf_put_string(&writer->meta, key, key_size);
    gguf_put_number(&writer->meta, type, 4);
    gguf_put(&writer->meta, value, value_size);
    writer->meta_count++;
}

void gguf_meta_number(gguf_writer *writer, const char *key, uint32_t type, uint64_t bits) {
    static const uint8_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    gguf_buffer value = {0};
    gguf_put_number(&value, bits, widths[type]);
    gguf_meta_raw(writer, key, strlen(key), type, value.data, value.size);
    free(value.data);
}

void gguf_meta_u32(gguf_writer *writer, const char *key, uint32_t value) {
    gguf_meta_number(writer, key, GGUF_U32, value);
}

void gguf_meta_f32(gguf_writer *writer, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    gguf_meta_number(writer, key, GGUF_F32, bits);
}

void gguf_meta_bool(gguf_writer *writer, const char *key, bool value) {
    gguf_meta_number(writer, key, GGUF_BOOL, value);
}

void gguf_meta_string(gguf_writer *writer, const char *key, const char *value) {
    gguf_buffer bytes = {0};
    gguf_put_string(&bytes, value, strlen(value));
    gguf_meta_raw(writer, key, strlen(key), GGUF_STRING, bytes.data, bytes.size);
    free(bytes.data);
}

void gguf_meta_array(gguf_writer *writer, const char *key, uint32_t type, uint64_t count,
                     const void *data, uint32_t element_bytes) {
    gguf_buffer bytes = {0};
    gguf_put_number(&bytes, type, 4);
    gguf_put_number(&bytes, count, 8);
    gguf_put(&bytes, data, (size_t)count * element_bytes);
    gguf_meta_raw(writer, key, strlen(key), GGUF_ARRAY, bytes.data, bytes.size);
    free(bytes.data);
}

void gguf_meta_strings(gguf_writer *writer, const char *key, uint64_t count,
                       const char *const *values) {
    gguf_buffer bytes = {0};
    gguf_put_number(&bytes, GGUF_STRING, 4);
    gguf_put_number(&bytes, count, 8);
    for (uint64_t i = 0; i < count; i++)
        gguf_put_string(&bytes, values[i], strlen(values[i]));
    gguf_meta_raw(writer, key, strlen(key), GGUF_ARRAY, bytes.data, bytes.size);
    free(bytes.data);
}

static uint64_t aligned(uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
}

gguf_writer_tensor *gguf_tensor(gguf_writer *writer, const char *name, gr_dtype dtype,
                                uint32_t rank, const int64_t *dims, const void *data) {
    writer->tensors =
        must(realloc(writer->tensors, (writer->tensor_count + 1) * sizeof *writer->tensors));
    gguf_writer_tensor *tensor = &writer->tensors[writer->tensor_count];
    memset(tensor, 0, sizeof *tensor);
    if (writer->tensor_count)
        tensor->offset = aligned(tensor[-1].offset + tensor[-1].bytes, writer->alignment);
    writer->tensor_count++;
    tensor->name_size = strlen(name);
    memcpy(tensor->name, name, tensor->name_size);
    tensor->rank = rank;
    tensor->type = dtype;
    tensor->bytes = gr_dtype_row_bytes(dtype, (uint64_t)dims[rank - 1]);
    for (uint32_t i = 0; i < rank; i++)
        tensor->dims[i] = (uint64_t)dims[rank - 1 - i];
    for (uint32_t i = 1; i < rank; i++)
        tensor->bytes *= tensor->dims[i];
    if (data) {
        tensor->data = must(malloc((size_t)tensor->bytes + 1));
        memcpy(tensor->data, data, (size_t)tensor->bytes);
    }
    return tensor;
}

// Head, metadata and tensor table, padded to where data begins.
static gguf_buffer head_bytes(const gguf_writer *writer) {
    static const uint8_t zeros[256];
    gguf_buffer head = {0};
    gguf_put(&head, "GGUF", 4);
    gguf_put_number(&head, writer->version, 4);
    gguf_put_number(&head,
                    writer->stated_tensor_count != UINT64_MAX ? writer->stated_tensor_count
                                                              : writer->tensor_count,
                    8);
    gguf_put_number(&head,
                    writer->stated_meta_count != UINT64_MAX ? writer->stated_meta_count
                                                            : writer->meta_count,
                    8);
    gguf_put(&head, writer->meta.data, writer->meta.size);
    for (uint64_t i = 0; i < writer->tensor_count; i++) {
        const gguf_writer_tensor *tensor = &writer->tensors[i];
        gguf_put_string(&head, tensor->name, tensor->name_size);
        gguf_put_number(&head, tensor->rank, 4);
        for (uint32_t d = 0; d < tensor->rank && d < 8; d++)
            gguf_put_number(&head, tensor->dims[d], 8);
        gguf_put_number(&head, tensor->type, 4);
        gguf_put_number(&head, tensor->offset, 8);
    }
    while (head.size % writer->alignment) {
        size_t missing = (size_t)(writer->alignment - head.size % writer->alignment);
        gguf_put(&head, zeros, missing < sizeof zeros ? missing : sizeof zeros);
    }
    return head;
}

// Where the layout ends, counted from the data section; tensors whose offset lies do not stretch
// it.
static uint64_t data_end(const gguf_writer *writer) {
    uint64_t end = 0, at = 0;
    for (uint64_t i = 0; i < writer->tensor_count; i++) {
        end = at + writer->tensors[i].bytes;
        at = aligned(end, writer->alignment);
    }
    return end;
}

uint8_t *gguf_writer_bytes(const gguf_writer *writer, size_t *out_size) {
    gguf_buffer head = head_bytes(writer);
    uint64_t end = data_end(writer), at = 0;
    *out_size = head.size + (size_t)end;
    uint8_t *bytes = must(calloc(1, *out_size + 1));
    memcpy(bytes, head.data, head.size);
    for (uint64_t i = 0; i < writer->tensor_count; i++) {
        if (writer->tensors[i].data)
            memcpy(bytes + head.size + at, writer->tensors[i].data,
                   (size_t)writer->tensors[i].bytes);
        at = aligned(at + writer->tensors[i].bytes, writer->alignment);
    }
    free(head.data);
    return bytes;
}

bool gguf_writer_save(const gguf_writer *writer, const char *path) {
    gguf_buffer head = head_bytes(writer);
    uint64_t at = 0;
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = file >= 0 && ftruncate(file, (off_t)(head.size + data_end(writer))) == 0 &&
                pwrite(file, head.data, head.size, 0) == (ssize_t)head.size;
    for (uint64_t i = 0; good && i < writer->tensor_count; i++) {
        const gguf_writer_tensor *tensor = &writer->tensors[i];
        if (tensor->data)
            good = pwrite(file, tensor->data, (size_t)tensor->bytes, (off_t)(head.size + at)) ==
                   (ssize_t)tensor->bytes;
        at = aligned(at + tensor->bytes, writer->alignment);
    }
    if (file >= 0)
        close(file);
    free(head.data);
    return good;
}
