// SPDX-License-Identifier: Apache-2.0
// values.c: values that are listed: enum and const.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

static json_t *get(const gr_schemas *s, const gr_conjunction *all, uint32_t index, const char *keyword) {
    return json_object_get(gr_conjunction_json(s, all, index), keyword);
}

// ---- Comparing, as JSON Schema does: 1 and 1.0 are one number

bool gr_schema_equal(json_t *a, json_t *b) {
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_number(a) && json_is_number(b))
        return gr_number_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        json_array_foreach(a, i, value)
            if (!gr_schema_equal(value, json_array_get(b, i)))
                return false;
        return true;
    }
    if (!json_is_object(a))
        return json_equal(a, b);
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach(a, key, value) {
        json_t *other = json_object_get(b, key);
        if (!other || !gr_schema_equal(value, other))
            return false;
    }
    return true;
}

uint32_t gr_schema_type_of(json_t *value) {
    switch (json_typeof(value)) {
    case JSON_NULL: return GR_TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return GR_TYPE_BOOLEAN;
    case JSON_INTEGER: return GR_TYPE_INTEGER;
    case JSON_REAL:
        return json_real_value(value) == floor(json_real_value(value)) ? GR_TYPE_INTEGER : GR_TYPE_FRACTION;
    case JSON_STRING: return GR_TYPE_STRING;
    case JSON_ARRAY: return GR_TYPE_ARRAY;
    default: return GR_TYPE_OBJECT;
    }
}

static bool is_in(json_t *list, json_t *value) {
    size_t i;
    json_t *other;
    json_array_foreach(list, i, other)
        if (gr_schema_equal(other, value))
            return true;
    return false;
}

// ---- What else the schemas say

static bool number_fits(gr_schemas *s, const gr_conjunction *all, json_t *value) {
    gr_bounds bounds;
    gr_keyword_bounds(s, all, &bounds);
    int least = bounds.has_least ? gr_number_compare(value, bounds.least) : 1;
    int most = bounds.has_most ? gr_number_compare(value, bounds.most) : -1;
    if (least < 0 || (least == 0 && bounds.least_open) || most > 0 || (most == 0 && bounds.most_open))
        return false;
    return !bounds.multiple || fmod(json_number_value(value), bounds.multiple) == 0;
}

static bool string_fits(gr_schemas *s, const gr_conjunction *all, json_t *value) {
    gr_str text = {json_string_value(value), json_string_length(value)};
    bool says = false;
    for (uint32_t i = 0; i < all->count; i++)
        says = says || get(s, all, i, "pattern") || get(s, all, i, "format");
    if (says) {
        gr_expr spelled = gr_expr_spelled(s->builder, text, GR_SPELL_JSON);
        return gr_expr_both(s->builder, spelled, gr_schema_spelling(s, all)) != GR_EXPR_NONE;
    }
    uint32_t length = 0;
    for (size_t i = 0; i < text.size; i++)
        length += ((uint8_t)text.data[i] & 0xC0) != 0x80;
    return length >= gr_keyword_count(s, all, "minLength", false, 0) &&
           length <= gr_keyword_count(s, all, "maxLength", true, GR_UNBOUNDED);
}

static bool name_fits(gr_schemas *s, const gr_conjunction *all, const char *name) {
    gr_conjunction names;
    if (!gr_members_names(s, all, &names))
        return true;
    json_t *text = json_string(name);
    bool fits = text && !gr_schema_refuses(s, &names, text);
    json_decref(text);
    return fits;
}

// Members or items.
static bool parts_fit(gr_schemas *s, const gr_conjunction *all, json_t *value) {
    const char *key;
    json_t *part;
    size_t size = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    bool object = json_is_object(value), fits;
    fits = size >= gr_keyword_count(s, all, object ? "minProperties" : "minItems", false, 0) &&
           size <= gr_keyword_count(s, all, object ? "maxProperties" : "maxItems", true, GR_UNBOUNDED);
    for (uint32_t i = 0; object && i < all->count; i++) {
        size_t r;
        json_array_foreach(get(s, all, i, "required"), r, part)
            fits = fits && json_object_get(value, json_string_value(part));
    }
    json_object_foreach(value, key, part) {
        gr_conjunction member;
        gr_members_value(s, all, key, &member);
        fits = fits && !gr_schema_refuses(s, &member, part) && name_fits(s, all, key);
    }
    for (size_t at = 0; at < json_array_size(value) && fits; at++) {
        gr_conjunction item;
        gr_items_value(s, all, at, &item);
        fits = !gr_schema_refuses(s, &item, json_array_get(value, at));
    }
    return fits;
}

static bool choice_refuses(gr_schemas *s, const gr_conjunction *all, uint32_t index, uint32_t mark,
                           json_t *branches, json_t *value) {
    size_t holds = 0;
    for (size_t i = 0; i < json_array_size(branches) && s->status == GR_OK; i++) {
        gr_conjunction with;
        gr_conjunction_branch(s, all, index, mark, i, &with);
        holds += !gr_schema_refuses(s, &with, value);
    }
    return mark == GR_MARK_ONE_OF ? holds != 1 : !holds;
}

bool gr_schema_refuses(gr_schemas *s, const gr_conjunction *schemas, json_t *value) {
    gr_conjunction all = *schemas;
    uint32_t index, mark, type = gr_schema_type_of(value);
    json_t *branches;
    gr_conjunction_join(s, &all);
    if (!gr_schema_works(s) || all.never || !(gr_conjunction_types(s, &all, false) & type))
        return true;
    for (uint32_t i = 0; i < all.count; i++) {
        json_t *list = get(s, &all, i, "enum"), *one = get(s, &all, i, "const");
        if ((list && !is_in(list, value)) || (one && !gr_schema_equal(one, value)))
            return true;
    }
    if (gr_conjunction_choice(s, &all, &index, &mark, &branches))
        return choice_refuses(s, &all, index, mark, branches, value);
    if (type & GR_TYPE_NUMBER)
        return !number_fits(s, &all, value);
    if (type == GR_TYPE_STRING)
        return !string_fits(s, &all, value);
    return (type & (GR_TYPE_ARRAY | GR_TYPE_OBJECT)) && !parts_fit(s, &all, value);
}

// ---- Listing

json_t *gr_schema_listed(gr_schemas *s, const gr_conjunction *all) {
    json_t *listed = NULL;
    for (uint32_t i = 0; i < all->count; i++) {
        json_t *list = get(s, all, i, "enum"), *one = get(s, all, i, "const"), *value;
        size_t at;
        if (!list && !one)
            continue;
        json_t *kept = json_array();
        json_t *from = listed ? listed : list;
        json_array_foreach(from, at, value)
            if ((!list || is_in(list, value)) && (!one || gr_schema_equal(one, value)) && !is_in(kept, value))
                json_array_append(kept, value);
        if (!from)
            json_array_append(kept, one);
        json_decref(listed);
        listed = kept;
    }
    return listed;
}

static gr_expr real(gr_schemas *s, double value) {
    char text[64];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (!strpbrk(text, ".e"))
        strcat(text, ".0");
    return gr_expr_string(s->builder, text);
}

static gr_expr spelled(gr_schemas *s, const char *text, size_t size) {
    gr_expr quote = gr_expr_string(s->builder, "\"");
    gr_expr expr = gr_expr_spelled(s->builder, (gr_str){text, size}, GR_SPELL_JSON);
    return gr_expr_seq(s->builder, quote, gr_expr_seq(s->builder, expr, quote));
}

// An array's items or an object's members, between brackets, spaced like other answers.
static gr_expr compound(gr_schemas *s, json_t *value) {
    gr_grammar_builder *b = s->builder;
    bool object = json_is_object(value);
    gr_expr expr = gr_expr_seq(b, gr_expr_string(b, object ? "{" : "["), s->gap), one;
    gr_expr comma = gr_expr_seq(b, gr_expr_string(b, ","), s->gap);
    gr_expr colon = gr_expr_seq(b, gr_expr_string(b, ":"), gr_expr_optional(b, gr_expr_string(b, " ")));
    const char *key;
    json_t *part;
    size_t i, count = 0;
    json_array_foreach(value, i, part) {
        one = gr_schema_value(s, part);
        expr = gr_expr_seq(b, expr, count++ ? gr_expr_seq(b, comma, one) : one);
    }
    json_object_foreach(value, key, part) {
        one = gr_expr_seq(b, spelled(s, key, strlen(key)), gr_expr_seq(b, colon, gr_schema_value(s, part)));
        expr = gr_expr_seq(b, expr, count++ ? gr_expr_seq(b, comma, one) : one);
    }
    return gr_expr_seq(b, expr, gr_expr_seq(b, s->gap, gr_expr_string(b, object ? "}" : "]")));
}

gr_expr gr_schema_value(gr_schemas *s, json_t *value) {
    char text[32];
    switch (json_typeof(value)) {
    case JSON_NULL: return gr_expr_string(s->builder, "null");
    case JSON_TRUE: return gr_expr_string(s->builder, "true");
    case JSON_FALSE: return gr_expr_string(s->builder, "false");
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return gr_expr_string(s->builder, text);
    case JSON_REAL: return real(s, json_real_value(value));
    case JSON_STRING: return spelled(s, json_string_value(value), json_string_length(value));
    default: return compound(s, value);
    }
}

bool gr_schema_values(gr_schemas *s, const gr_conjunction *all, gr_expr *out_expr) {
    json_t *listed = gr_schema_listed(s, all), *value;
    size_t i;
    *out_expr = GR_EXPR_NONE;
    if (!listed)
        return false;
    json_array_foreach(listed, i, value)
        if (s->status == GR_OK && !gr_schema_refuses(s, all, value))
            *out_expr = gr_expr_alt(s->builder, *out_expr, gr_schema_value(s, value));
    json_decref(listed);
    return true;
}
