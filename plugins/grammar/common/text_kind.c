// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/text_kind.h"

static gr_text_kind ascii_kind(uint8_t byte) {
    bool letter = (byte | 32) >= 'a' && (byte | 32) <= 'z', digit = byte >= '0' && byte <= '9';
    if (letter || digit)
        return GR_TEXT_WORD;
    if (byte == ' ')
        return GR_TEXT_WORDS;
    return byte > ' ' && byte < 0x7F && byte != '"' && byte != '\\' ? GR_TEXT_ASCII : GR_TEXT_OTHER;
}

gr_text_rest gr_text_step(gr_text_kind kind, gr_text_rest rest, uint8_t byte) {
    static const struct {
        uint8_t first, last, then;
    } next[] = {[GR_REST_1] = {0x80, 0xBF, GR_REST_NONE}, [GR_REST_2] = {0x80, 0xBF, GR_REST_1},
                [GR_REST_3] = {0x80, 0xBF, GR_REST_2},    [GR_REST_E0] = {0xA0, 0xBF, GR_REST_1},
                [GR_REST_ED] = {0x80, 0x9F, GR_REST_1},   [GR_REST_F0] = {0x90, 0xBF, GR_REST_2},
                [GR_REST_F4] = {0x80, 0x8F, GR_REST_2}};
    if (rest != GR_REST_NONE)
        return byte >= next[rest].first && byte <= next[rest].last ? next[rest].then : GR_REST_WRONG;
    if (byte < 0x80)
        return ascii_kind(byte) <= kind ? GR_REST_NONE : GR_REST_WRONG;
    if (kind < GR_TEXT_UTF8 || byte < 0xC2 || byte > 0xF4)
        return GR_REST_WRONG;
    if (byte < 0xE0)
        return GR_REST_1;
    if (byte < 0xF0)
        return byte == 0xE0 ? GR_REST_E0 : byte == 0xED ? GR_REST_ED : GR_REST_2;
    return byte == 0xF0 ? GR_REST_F0 : byte == 0xF4 ? GR_REST_F4 : GR_REST_3;
}
