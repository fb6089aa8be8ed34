// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

static int sequence_length(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF)
        return 3;
    if (lead >= 0xF0 && lead <= 0xF4)
        return 4;
    return 0;
}

// The second byte has a narrower range after some leads: it excludes overlong forms and surrogates.
static int second_is_legal(unsigned char lead, unsigned char second) {
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

int gr_utf8_decode(const char *bytes, size_t size, uint32_t *out_code_point) {
    const unsigned char *b = (const unsigned char *)bytes;
    *out_code_point = 0xFFFD;
    if (!size)
        return -1;
    int length = sequence_length(b[0]);
    if (!length)
        return 0;
    if (length == 1) {
        *out_code_point = b[0];
        return 1;
    }
    uint32_t value = b[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= size)
            return -1;
        if (i == 1 ? !second_is_legal(b[0], b[1]) : (b[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (b[i] & 0x3Fu);
    }
    *out_code_point = value;
    return length;
}

int gr_utf8_encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if ((c >= 0xD800 && c <= 0xDFFF) || c > 0x10FFFF)
        return 0;
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t gr_utf8_valid(const char *bytes, size_t size) {
    size_t at = 0;
    while (at < size) {
        uint32_t code_point;
        int length = gr_utf8_decode(bytes + at, size - at, &code_point);
        if (length <= 0)
            return at;
        at += (size_t)length;
    }
    return size;
}

size_t gr_utf8_complete(const char *bytes, size_t size) {
    size_t at = 0;
    while (at < size) {
        uint32_t code_point;
        int length = gr_utf8_decode(bytes + at, size - at, &code_point);
        if (length < 0)
            return at;
        at += length ? (size_t)length : 1;
    }
    return size;
}
