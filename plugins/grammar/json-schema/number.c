// SPDX-License-Identifier: Apache-2.0
// number.c: numbers within bounds, compared as text, digit by digit.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

enum { FRACTION_DIGITS = 16, WHOLE_DIGITS = 18, NUMBER_DIGITS = 16 };
#define NUMBER_MAX 1e16 // 10 to the power of NUMBER_DIGITS
#define WHOLE_MAX UINT64_C(999999999999999999)

static gr_expr digits(gr_grammar_builder *b, char first, char last) {
    return gr_expr_bytes(b, (uint8_t)first, (uint8_t)last);
}

static gr_expr some_digits(gr_grammar_builder *b, uint32_t least, uint32_t most) {
    return gr_expr_repeat(b, digits(b, '0', '9'), least, most);
}

static gr_expr negative(gr_grammar_builder *b, gr_expr expr) {
    return gr_expr_seq(b, gr_expr_string(b, "-"), expr);
}

// ---- Whole numbers

// From `least` to `most`, which have as many digits.
static gr_expr same_length(gr_grammar_builder *b, const char *least, const char *most, uint32_t count) {
    static const char zeros[] = "0000000000000000000", nines[] = "9999999999999999999";
    if (!count)
        return GR_EXPR_EMPTY;
    char from = *least, to = *most;
    gr_expr expr = GR_EXPR_NONE;
    if (from == to)
        return gr_expr_seq(b, digits(b, from, from), same_length(b, least + 1, most + 1, count - 1));
    if (memcmp(least + 1, zeros, count - 1) != 0) {
        expr = gr_expr_seq(b, digits(b, from, from), same_length(b, least + 1, nines, count - 1));
        from++;
    }
    if (memcmp(most + 1, nines, count - 1) != 0) {
        gr_expr rest = same_length(b, zeros, most + 1, count - 1);
        expr = gr_expr_alt(b, expr, gr_expr_seq(b, digits(b, to, to), rest));
        to--;
    }
    return gr_expr_alt(b, expr, gr_expr_seq(b, digits(b, from, to), some_digits(b, count - 1, count - 1)));
}

gr_expr gr_schema_whole(gr_schemas *s, uint64_t least, uint64_t most) {
    gr_expr expr = GR_EXPR_NONE;
    uint64_t first = 0, last = 9; // of a length
    for (uint32_t count = 1; count <= WHOLE_DIGITS; count++) {
        uint64_t from = least > first ? least : first, to = most < last ? most : last;
        char low[24], high[24];
        snprintf(low, sizeof low, "%llu", (unsigned long long)from);
        snprintf(high, sizeof high, "%llu", (unsigned long long)to);
        if (from <= to)
            expr = gr_expr_alt(s->builder, expr, same_length(s->builder, low, high, count));
        first = last + 1;
        last = last * 10 + 9;
    }
    return expr;
}

// The whole number next to a bound, on its inner side; beyond what is generated they are all alike.
static int64_t next_whole(const json_t *bound, bool open, bool least) {
    double value = json_number_value(bound);
    if (fabs(value) > (double)WHOLE_MAX)
        return value < 0 ? -(int64_t)WHOLE_MAX - 1 : (int64_t)WHOLE_MAX + 1;
    double rounded = least ? ceil(value) : floor(value);
    int64_t whole = json_is_integer(bound) ? json_integer_value(bound) : (int64_t)rounded;
    return open && rounded == value ? whole + (least ? 1 : -1) : whole;
}

static uint64_t magnitude(int64_t value) {
    uint64_t size = value < 0 ? (uint64_t)-value : (uint64_t)value;
    return size < WHOLE_MAX ? size : WHOLE_MAX;
}

static gr_expr whole(gr_schemas *s, const gr_bounds *bounds) {
    gr_grammar_builder *b = s->builder;
    int64_t least = -(int64_t)WHOLE_MAX, most = (int64_t)WHOLE_MAX;
    if (bounds->has_least)
        least = next_whole(bounds->least, bounds->least_open, true);
    if (bounds->has_most)
        most = next_whole(bounds->most, bounds->most_open, false);
    gr_expr positive = GR_EXPR_NONE, below = GR_EXPR_NONE;
    if (least > (int64_t)WHOLE_MAX || most < -(int64_t)WHOLE_MAX || least > most)
        return GR_EXPR_NONE;
    if (most >= 0)
        positive = gr_schema_whole(s, least > 0 ? magnitude(least) : 0, magnitude(most));
    if (least < 0)
        below = gr_schema_whole(s, most < 0 ? magnitude(most) : 1, magnitude(least));
    if (bounds->multiple > 1) {
        gr_expr multiple = gr_expr_multiple(b, bounds->multiple);
        positive = gr_expr_both(b, positive, multiple);
        below = gr_expr_both(b, below, multiple);
    }
    return gr_expr_alt(b, positive, negative(b, below));
}

// ---- Decimals

// The digits of a number that is not negative: `whole` without leading, `fraction` without trailing
// zeros.
typedef struct decimal {
    uint64_t whole;
    char fraction[48];
    uint32_t size;
} decimal;

// The shortest decimal that reads back as `value`.
static decimal to_decimal(double value) {
    decimal result = {.whole = (uint64_t)value};
    char text[64] = "";
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int exponent = atoi(strchr(text, 'e') + 1), point = exponent + 1; // digits before the point
    for (; point < 0; point++)
        result.fraction[result.size++] = '0';
    for (const char *c = text; *c != 'e'; c++)
        if (*c >= '0' && *c <= '9' && --point < 0)
            result.fraction[result.size++] = *c;
    while (result.size && result.fraction[result.size - 1] == '0')
        result.size--;
    return result;
}

static gr_expr point(gr_grammar_builder *b, gr_expr expr) {
    return gr_expr_seq(b, gr_expr_string(b, "."), expr);
}

static gr_expr any_fraction(gr_grammar_builder *b) {
    return gr_expr_optional(b, point(b, some_digits(b, 1, FRACTION_DIGITS)));
}

// Fractions from that of `bound` on; `open`: above it.
static gr_expr fraction_from(gr_grammar_builder *b, const decimal *bound, bool open) {
    uint32_t size = bound->size;
    if (!size && !open)
        return any_fraction(b);
    gr_expr zeros = gr_expr_repeat(b, digits(b, '0', '0'), 0, FRACTION_DIGITS), expr;
    if (size >= FRACTION_DIGITS)
        expr = open ? GR_EXPR_NONE : GR_EXPR_EMPTY;
    else
        expr = open ? gr_expr_except(b, some_digits(b, 1, FRACTION_DIGITS - size), zeros)
                    : some_digits(b, 0, FRACTION_DIGITS - size);
    for (uint32_t i = size; i-- > 0;) {
        char digit = bound->fraction[i];
        uint32_t rest = i + 1 < FRACTION_DIGITS ? FRACTION_DIGITS - i - 1 : 0;
        gr_expr above = digit < '9' ? gr_expr_seq(b, digits(b, (char)(digit + 1), '9'), some_digits(b, 0, rest))
                                    : GR_EXPR_NONE;
        expr = gr_expr_alt(b, above, gr_expr_seq(b, digits(b, digit, digit), expr));
    }
    return point(b, expr);
}

// Fractions up to that of `bound`; `open`: below it.
static gr_expr fraction_to(gr_grammar_builder *b, const decimal *bound, bool open) {
    gr_expr expr = open ? GR_EXPR_NONE : GR_EXPR_EMPTY;
    if (!bound->size)
        return open ? GR_EXPR_NONE : gr_expr_optional(b, gr_expr_string(b, ".0"));
    for (uint32_t i = bound->size; i-- > 0;) {
        char digit = bound->fraction[i];
        uint32_t rest = i + 1 < FRACTION_DIGITS ? FRACTION_DIGITS - i - 1 : 0;
        gr_expr below = digit > '0' ? gr_expr_seq(b, digits(b, '0', (char)(digit - 1)), some_digits(b, 0, rest))
                                    : GR_EXPR_NONE;
        expr = gr_expr_alt(b, below, gr_expr_seq(b, digits(b, digit, digit), expr));
        if (i)
            expr = gr_expr_optional(b, expr); // shorter is less
    }
    return gr_expr_optional(b, point(b, expr));
}

// Decimals from `least` to `most` (NULL: no limit), none of them negative.
static gr_expr between(gr_schemas *s, const decimal *least, bool least_open, const decimal *most, bool most_open) {
    gr_grammar_builder *b = s->builder;
    uint64_t last = 1;
    for (int i = 0; i < NUMBER_DIGITS; i++)
        last *= 10;
    gr_expr from = fraction_from(b, least, least_open), low = gr_schema_whole(s, least->whole, least->whole);
    if (!most) {
        gr_expr above = gr_schema_whole(s, least->whole + 1, last - 1);
        return gr_expr_alt(b, gr_expr_seq(b, low, from), gr_expr_seq(b, above, any_fraction(b)));
    }
    gr_expr to = fraction_to(b, most, most_open), high = gr_schema_whole(s, most->whole, most->whole);
    if (least->whole > most->whole)
        return GR_EXPR_NONE;
    if (least->whole == most->whole)
        return gr_expr_seq(b, low, gr_expr_both(b, from, to));
    gr_expr expr = gr_expr_alt(b, gr_expr_seq(b, low, from), gr_expr_seq(b, high, to));
    if (most->whole - least->whole < 2)
        return expr;
    gr_expr inside = gr_schema_whole(s, least->whole + 1, most->whole - 1);
    return gr_expr_alt(b, expr, gr_expr_seq(b, inside, any_fraction(b)));
}

// An open bound other than 0 becomes the next number within, which a checker tells from it even once
// the text is rounded. Numbers too small to be written stand for 0, on the inner side.
static double settle(double value, bool *open, double inwards) {
    if (value != 0 && *open) {
        value = nextafter(value, inwards);
        *open = false;
    }
    if (value != 0 && fabs(value) < 1e-16) {
        *open = (value > 0) == (inwards > 0);
        value = 0;
    }
    return value;
}

static gr_expr bounded(gr_schemas *s, const gr_bounds *bounds) {
    bool least_open = bounds->least_open, most_open = bounds->most_open;
    double least = bounds->has_least ? settle(json_number_value(bounds->least), &least_open, INFINITY) : -INFINITY;
    double most = bounds->has_most ? settle(json_number_value(bounds->most), &most_open, -INFINITY) : INFINITY;
    const decimal zero = {0};
    gr_expr positive = GR_EXPR_NONE, below = GR_EXPR_NONE;
    if (least <= -NUMBER_MAX) // none that is generated is beyond
        least = -INFINITY;
    if (most >= NUMBER_MAX)
        most = INFINITY;
    if (least >= NUMBER_MAX || most <= -NUMBER_MAX)
        return GR_EXPR_NONE;
    if (most >= 0 && least <= most) {
        decimal from = to_decimal(least > 0 ? least : 0), to = to_decimal(isinf(most) ? 0 : most);
        positive = between(s, &from, least >= 0 && least_open, isinf(most) ? NULL : &to, most_open);
    }
    if (least < 0 && least <= most) {
        decimal from = to_decimal(most < 0 ? -most : 0), to = to_decimal(isinf(least) ? 0 : -least);
        below = between(s, most < 0 ? &from : &zero, most < 0 ? most_open : true, isinf(least) ? NULL : &to,
                        least_open);
    }
    return gr_expr_alt(s->builder, positive, negative(s->builder, below));
}

static gr_expr unbounded(gr_schemas *s) {
    gr_grammar_builder *b = s->builder;
    gr_expr lead = gr_expr_seq(b, digits(b, '1', '9'), some_digits(b, 0, NUMBER_DIGITS - 1));
    gr_expr expr = gr_expr_alt(b, digits(b, '0', '0'), lead);
    gr_expr mark = gr_expr_alt(b, gr_expr_string(b, "e"), gr_expr_string(b, "E"));
    gr_expr sign = gr_expr_optional(b, gr_expr_alt(b, gr_expr_string(b, "-"), gr_expr_string(b, "+")));
    gr_expr exponent = gr_expr_seq(b, mark, gr_expr_seq(b, sign, some_digits(b, 1, 2)));
    expr = gr_expr_seq(b, gr_expr_seq(b, expr, any_fraction(b)), gr_expr_optional(b, exponent));
    return gr_expr_seq(b, gr_expr_optional(b, gr_expr_string(b, "-")), expr);
}

// Refuses bounds within which there are numbers, but none that is short enough to be written.
static bool beyond(gr_schemas *s, const gr_conjunction *all, const gr_bounds *bounds, bool is_whole) {
    const double lowest = bounds->has_least ? json_number_value(bounds->least) : -INFINITY;
    const double highest = bounds->has_most ? json_number_value(bounds->most) : INFINITY;
    bool least_open = bounds->least_open, most_open = bounds->most_open, least = false, most = false; // beyond
    if (bounds->has_least)
        least = is_whole ? next_whole(bounds->least, least_open, true) > (int64_t)WHOLE_MAX
                         : settle(lowest, &least_open, INFINITY) >= NUMBER_MAX;
    if (bounds->has_most)
        most = is_whole ? next_whole(bounds->most, most_open, false) < -(int64_t)WHOLE_MAX
                        : settle(highest, &most_open, -INFINITY) <= -NUMBER_MAX;
    const bool empty = lowest > highest || (lowest == highest && (bounds->least_open || bounds->most_open));
    if (empty || (!least && !most))
        return false;
    gr_schema_fail(s, GR_ERROR_UNSUPPORTED, gr_conjunction_schema(all, 0), least ? "minimum" : "maximum",
                   "numbers of more than %d digits are not supported", is_whole ? WHOLE_DIGITS : NUMBER_DIGITS);
    return true;
}

gr_expr gr_schema_number(gr_schemas *s, const gr_conjunction *all, bool is_whole) {
    gr_bounds bounds;
    gr_keyword_bounds(s, all, &bounds);
    if (s->status != GR_OK || beyond(s, all, &bounds, is_whole || bounds.multiple))
        return GR_EXPR_NONE;
    if (is_whole || bounds.multiple)
        return whole(s, &bounds);
    return bounds.has_least || bounds.has_most ? bounded(s, &bounds) : unbounded(s);
}
