// SPDX-License-Identifier: Apache-2.0
// reader.c: the cursor: bytes, numbers and strings out of one mapped part.
#include <inttypes.h>
#include <string.h>

#include "plugins/format/gguf/gguf.h"

gr_status gguf_fail(gguf_reader *reader, uint64_t at, gr_status code, const char *format, ...) {
    char text[320];
    va_list arguments;
    if (reader->status != GR_OK)
        return reader->status;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t size = strlen(reader->path);
    reader->status =
        gr_fail(reader->error, code, "gguf", "%s: at byte %" PRIu64 ": %s",
                reader->path + (size > GGUF_PATH_SHOWN ? size - GGUF_PATH_SHOWN : 0), at, text);
    return reader->status;
}

const uint8_t *gguf_take(gguf_reader *reader, uint64_t bytes, const char *what) {
    if (reader->status != GR_OK)
        return NULL;
    uint64_t left = reader->size - reader->at;
    if (bytes > left) {
        gguf_fail(reader, reader->at, GR_ERROR_CORRUPT,
                  "expected %" PRIu64 " bytes of %s, found the end of the file after %" PRIu64
                  " (cut short or corrupt)",
                  bytes, what, left);
        return NULL;
    }
    const uint8_t *data = reader->data + reader->at;
    reader->at += bytes;
    return data;
}

uint64_t gguf_number(gguf_reader *reader, uint32_t width, const char *what) {
    const uint8_t *bytes = gguf_take(reader, width, what);
    uint64_t value = 0;
    for (uint32_t i = 0; bytes && i < width; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

gr_str gguf_string(gguf_reader *reader, uint64_t limit, const char *what) {
    uint64_t at = reader->at;
    uint64_t size = gguf_number(reader, 8, what);
    if (reader->status == GR_OK && size > limit)
        gguf_fail(reader, at, GR_ERROR_CORRUPT,
                  "expected %s of at most %" PRIu64 " bytes, found a length of %" PRIu64, what,
                  limit, size);
    const char *data = (const char *)gguf_take(reader, size, what);
    if (!data)
        return (gr_str){0};
    const char *nul = size ? memchr(data, '\0', (size_t)size) : NULL;
    if (nul) {
        gguf_fail(reader, at + 8 + (uint64_t)(nul - data), GR_ERROR_CORRUPT,
                  "expected %s without NUL, found a NUL byte inside", what);
        return (gr_str){0};
    }
    return (gr_str){data, (size_t)size};
}

gr_str gguf_name(gguf_reader *reader, uint64_t limit, const char *what) {
    uint64_t at = reader->at;
    gr_str name = gguf_string(reader, limit, what);
    if (reader->status != GR_OK)
        return name;
    if (!name.size)
        gguf_fail(reader, at, GR_ERROR_CORRUPT, "expected %s, found an empty one", what);
    for (size_t i = 0; i < name.size && reader->status == GR_OK; i++)
        if ((unsigned char)name.data[i] < 0x20 || (unsigned char)name.data[i] > 0x7e)
            gguf_fail(reader, at + 8 + i, GR_ERROR_CORRUPT,
                      "expected %s in printable ASCII, found byte 0x%02x", what,
                      (unsigned char)name.data[i]);
    return reader->status == GR_OK ? name : (gr_str){0};
}
