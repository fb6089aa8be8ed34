// SPDX-License-Identifier: Apache-2.0
// utf8.h: UTF-8 by RFC 3629, for the chat formats. Any thread.
#ifndef GREGALE_CHAT_UTF8_H
#define GREGALE_CHAT_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Bytes of the character that begins at `bytes`, or 0 when what begins there is not UTF-8.
static inline size_t gr_utf8_size(const char *bytes, size_t size) {
    const uint8_t *b = (const uint8_t *)bytes;
    if (!size || (b[0] >= 0x80 && b[0] < 0xC2) || b[0] > 0xF4)
        return 0;
    size_t need = b[0] < 0x80 ? 1 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    if (size < need)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((b[i] & 0xC0) != 0x80)
            return 0;
    if ((b[0] == 0xE0 && b[1] < 0xA0) || (b[0] == 0xED && b[1] > 0x9F) ||
        (b[0] == 0xF0 && b[1] < 0x90) || (b[0] == 0xF4 && b[1] > 0x8F))
        return 0;
    return need;
}

// Writes a code point below 0x110000 and returns its length.
static inline size_t gr_utf8_write(uint32_t point, char out_bytes[4]) {
    size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (size == 1) {
        out_bytes[0] = (char)point;
        return 1;
    }
    for (size_t i = size - 1; i > 0; i--, point >>= 6)
        out_bytes[i] = (char)(0x80 | (point & 0x3F));
    out_bytes[0] = (char)((0xF00 >> size & 0xFF) | point);
    return size;
}

#endif
