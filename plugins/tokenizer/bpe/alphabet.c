// SPDX-License-Identifier: Apache-2.0
#include "plugins/tokenizer/bpe/alphabet.h"

#include <stdbool.h>
#include <string.h>

#include "plugins/tokenizer/common/utf8.h"

static bool is_itself(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// 0x00-0x20 come first, then 0x7F-0xA0, then 0xAD.
static uint32_t code_point_of(uint8_t byte) {
    if (is_itself(byte))
        return byte;
    return 0x100u + (byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7Fu + 0x21 : 0x43);
}

// The byte that a code point spells, or -1.
static int byte_of(uint32_t point) {
    if (point < 0x100)
        return is_itself(point) ? (int)point : -1;
    if (point <= 0x120)
        return (int)(point - 0x100);
    if (point <= 0x142)
        return (int)(point - 0x121 + 0x7F);
    return point == 0x143 ? 0xAD : -1;
}

size_t gr_alphabet_spell(uint8_t byte, char out_bytes[2]) {
    uint32_t point = code_point_of(byte);
    if (point < 0x80) {
        out_bytes[0] = (char)point;
        return 1;
    }
    out_bytes[0] = (char)(0xC0 | point >> 6);
    out_bytes[1] = (char)(0x80 | (point & 0x3F));
    return 2;
}

size_t gr_alphabet_read(const char *piece, size_t size, char *out_bytes) {
    size_t count = 0;
    for (size_t at = 0, step; at < size; at += step) {
        step = gr_char_size(piece + at, size - at);
        int byte = step ? byte_of(gr_char_decode(piece + at, step)) : -1;
        if (!step)
            step = 1;
        if (byte >= 0) {
            out_bytes[count++] = (char)byte;
            continue;
        }
        memmove(out_bytes + count, piece + at, step);
        count += step;
    }
    return count;
}
