// SPDX-License-Identifier: Apache-2.0
#include "base/strbuf.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static bool reserve(gr_strbuf *buffer, size_t more) {
    if (buffer->failed)
        return false;
    if (more < buffer->capacity - buffer->size)
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    while (capacity - buffer->size <= more && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    char *data = capacity - buffer->size > more ? realloc(buffer->data, capacity) : NULL;
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void gr_strbuf_add(gr_strbuf *buffer, const char *bytes, size_t count) {
    if (!reserve(buffer, count))
        return;
    if (count)
        memcpy(buffer->data + buffer->size, bytes, count);
    buffer->size += count;
    buffer->data[buffer->size] = '\0';
}

void gr_strbuf_text(gr_strbuf *buffer, const char *text) {
    gr_strbuf_add(buffer, text, strlen(text));
}

void gr_strbuf_format(gr_strbuf *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (count < 0 || !reserve(buffer, (size_t)count))
        return;
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->size, (size_t)count + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)count;
}

static void json_escape(gr_strbuf *buffer, uint32_t c, const char *bytes, int length) {
    if (c == '"' || c == '\\')
        gr_strbuf_format(buffer, "\\%c", (char)c);
    else if (c == '\n')
        gr_strbuf_text(buffer, "\\n");
    else if (c == '\t')
        gr_strbuf_text(buffer, "\\t");
    else if (c == '\r')
        gr_strbuf_text(buffer, "\\r");
    else if (c < 0x20 || c == 0x7F)
        gr_strbuf_format(buffer, "\\u%04x", (unsigned)c);
    else
        gr_strbuf_add(buffer, bytes, (size_t)length);
}

void gr_strbuf_json(gr_strbuf *buffer, gr_str text) {
    size_t at = 0;
    gr_strbuf_text(buffer, "\"");
    while (at < text.size) {
        uint32_t code_point;
        int length = gr_utf8_decode(text.data + at, text.size - at, &code_point);
        if (length <= 0) {
            gr_strbuf_text(buffer, "\xEF\xBF\xBD");
            at++;
            continue;
        }
        json_escape(buffer, code_point, text.data + at, length);
        at += (size_t)length;
    }
    gr_strbuf_text(buffer, "\"");
}

void gr_strbuf_clear(gr_strbuf *buffer) {
    buffer->size = 0;
    if (buffer->data)
        buffer->data[0] = '\0';
}

void gr_strbuf_deinit(gr_strbuf *buffer) {
    free(buffer->data);
    *buffer = (gr_strbuf){0};
}

const char *gr_strbuf_cstr(const gr_strbuf *buffer) {
    return buffer->data ? buffer->data : "";
}
