// SPDX-License-Identifier: Apache-2.0
// points.c: sets of code points, and how one is spelled in bytes.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/builder.h"

#define LAST_POINT 0x10FFFFu

void gr_points_add(gr_grammar_builder *builder, gr_points *points, uint32_t first, uint32_t last) {
    last = last < LAST_POINT ? last : LAST_POINT;
    if (first > last)
        return;
    if (!gr_grow(&points->ranges, &points->capacity, points->count + 1u, sizeof *points->ranges)) {
        gr_rules_no_memory(builder);
        return;
    }
    points->ranges[points->count][0] = first;
    points->ranges[points->count++][1] = last;
}

static int by_first(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void gr_points_tidy(gr_points *points) {
    uint32_t count = 0;
    if (points->count > 1)
        qsort(points->ranges, points->count, sizeof *points->ranges, by_first);
    for (uint32_t i = 0; i < points->count; i++) {
        uint32_t first = points->ranges[i][0], last = points->ranges[i][1];
        if (count && first <= points->ranges[count - 1][1] + 1) {
            if (last > points->ranges[count - 1][1])
                points->ranges[count - 1][1] = last;
        } else {
            points->ranges[count][0] = first;
            points->ranges[count++][1] = last;
        }
    }
    points->count = count;
}

void gr_points_negate(gr_grammar_builder *builder, gr_points *points) {
    gr_points others = {0};
    uint32_t first = 0;
    gr_points_tidy(points);
    for (uint32_t i = 0; i < points->count; i++) {
        if (points->ranges[i][0] > first)
            gr_points_add(builder, &others, first, points->ranges[i][0] - 1);
        first = points->ranges[i][1] + 1;
    }
    gr_points_add(builder, &others, first, LAST_POINT);
    gr_points_deinit(points);
    *points = others;
}

void gr_points_deinit(gr_points *points) {
    free(points->ranges);
    *points = (gr_points){0};
}

// ---- UTF-8

static uint32_t encode(uint32_t point, uint8_t bytes[4]) {
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    uint32_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (uint32_t i = size; i-- > 1; point >>= 6)
        bytes[i] = (uint8_t)(0x80 | (point & 0x3F));
    bytes[0] = (uint8_t)(lead[size] | point);
    return size;
}

// The texts of `size` bytes from `first` to `last`, which are spelled alike but for the bits of code
// points: all continuation bytes may occur in between.
static gr_expr between(gr_grammar_builder *b, const uint8_t *first, const uint8_t *last,
                       uint32_t size) {
    static const uint8_t low[3] = {0x80, 0x80, 0x80}, high[3] = {0xBF, 0xBF, 0xBF};
    if (size == 1)
        return gr_expr_bytes(b, *first, *last);
    uint8_t from = *first, to = *last;
    gr_expr expr = GR_EXPR_NONE;
    if (from == to)
        return gr_expr_seq(b, gr_expr_bytes(b, from, to), between(b, first + 1, last + 1, size - 1));
    if (memcmp(first + 1, low, size - 1) != 0) {
        gr_expr rest = between(b, first + 1, high, size - 1);
        expr = gr_expr_seq(b, gr_expr_bytes(b, from, from), rest);
        from++;
    }
    if (memcmp(last + 1, high, size - 1) != 0) {
        gr_expr rest = between(b, low, last + 1, size - 1);
        expr = gr_expr_alt(b, expr, gr_expr_seq(b, gr_expr_bytes(b, to, to), rest));
        to--;
    }
    gr_expr rest = between(b, low, high, size - 1);
    return gr_expr_alt(b, expr, gr_expr_seq(b, gr_expr_bytes(b, from, to), rest));
}

static gr_expr utf8_range(gr_grammar_builder *b, uint32_t first, uint32_t last) {
    static const uint32_t bounds[][2] = {
        {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, LAST_POINT}};
    gr_expr expr = GR_EXPR_NONE;
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        uint32_t from = first > bounds[i][0] ? first : bounds[i][0];
        uint32_t to = last < bounds[i][1] ? last : bounds[i][1];
        uint8_t low[4], high[4];
        if (from > to)
            continue;
        uint32_t size = encode(from, low);
        encode(to, high);
        expr = gr_expr_alt(b, expr, between(b, low, high, size));
    }
    return expr;
}

uint32_t gr_utf8_next(gr_str text, size_t *at) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = (uint8_t)text.data[*at];
    size_t size = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t point = size == 1 ? lead : lead & (0x7Fu >> size);
    if (!size || lead > 0xF4 || text.size - *at < size)
        return UINT32_MAX;
    for (size_t i = 1; i < size; i++) {
        uint8_t byte = (uint8_t)text.data[*at + i];
        if ((byte & 0xC0) != 0x80)
            return UINT32_MAX;
        point = point << 6 | (byte & 0x3F);
    }
    if (point < least[size] || point > LAST_POINT || (point >= 0xD800 && point < 0xE000))
        return UINT32_MAX;
    *at += size;
    return point;
}

// ---- Spelling

// How JSON spells a character that it does not take as it is; NULL for the others.
static const char *json_escape(uint32_t point, char out_text[8]) {
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    if (point >= 0x20 && point != '"' && point != '\\')
        return NULL;
    const char *found = point ? strchr(plain, (int)point) : NULL;
    if (found)
        snprintf(out_text, 8, "\\%c", letters[found - plain]);
    else
        snprintf(out_text, 8, "\\u%04x", point);
    return out_text;
}

gr_expr gr_expr_points(gr_grammar_builder *b, const gr_points *points, gr_spelling spelling) {
    gr_expr expr = GR_EXPR_NONE;
    char text[8];
    for (uint32_t i = 0; i < points->count; i++) {
        uint32_t first = points->ranges[i][0], last = points->ranges[i][1];
        for (; spelling == GR_SPELL_JSON && first <= last && first <= '\\'; first++) {
            const char *escape = json_escape(first, text);
            expr = gr_expr_alt(b, expr, escape ? gr_expr_string(b, escape)
                                               : utf8_range(b, first, first));
        }
        if (first <= last)
            expr = gr_expr_alt(b, expr, utf8_range(b, first, last));
    }
    return expr;
}

gr_expr gr_expr_spelled(gr_grammar_builder *b, gr_str text, gr_spelling spelling) {
    gr_expr expr = GR_EXPR_EMPTY;
    char escape[8];
    if (spelling == GR_SPELL_UTF8)
        return gr_expr_text(b, text);
    for (size_t i = text.size; i-- > 0;) {
        uint8_t byte = (uint8_t)text.data[i];
        const char *spelled = json_escape(byte, escape);
        gr_expr one = spelled ? gr_expr_string(b, spelled) : gr_expr_bytes(b, byte, byte);
        expr = gr_expr_seq(b, one, expr);
    }
    return expr;
}
