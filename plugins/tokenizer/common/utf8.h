// SPDX-License-Identifier: Apache-2.0
// utf8.h: where characters end, by RFC 3629. For the tokenizers. Any thread.
#ifndef GREGALE_TOKENIZER_UTF8_H
#define GREGALE_TOKENIZER_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Bytes of the character that begins at `bytes` (1 to 4), or 0 when what begins there is not UTF-8:
// overlong, a surrogate, beyond U+10FFFF, a stray continuation, cut off.
static inline size_t gr_char_size(const char *bytes, size_t size) {
    const uint8_t *b = (const uint8_t *)bytes;
    if (size == 0)
        return 0;
    if (b[0] < 0x80)
        return 1;
    if (b[0] < 0xC2 || b[0] > 0xF4)
        return 0;
    size_t need = b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    if (size < need)
        return 0;
    uint8_t low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    if (b[1] < low || b[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((b[i] & 0xC0) != 0x80)
            return 0;
    return need;
}

// The code point of a character that gr_char_size has measured.
static inline uint32_t gr_char_decode(const char *bytes, size_t size) {
    const uint8_t *b = (const uint8_t *)bytes;
    if (size == 1)
        return b[0];
    uint32_t point = b[0] & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++)
        point = point << 6 | (b[i] & 0x3Fu);
    return point;
}

#endif
