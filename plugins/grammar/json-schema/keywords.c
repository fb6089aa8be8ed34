// SPDX-License-Identifier: Apache-2.0
// keywords.c: what several schemas together say with one keyword.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

static json_t *get(const gr_schemas *s, const gr_conjunction *all, uint32_t index, const char *keyword) {
    return json_object_get(gr_conjunction_json(s, all, index), keyword);
}

uint32_t gr_keyword_count(gr_schemas *s, const gr_conjunction *all, const char *keyword, bool most,
                          uint32_t fallback) {
    bool found = false;
    for (uint32_t i = 0; i < all->count; i++) {
        json_t *value = get(s, all, i, keyword);
        double number = json_is_number(value) ? json_number_value(value) : -1;
        if (!value)
            continue;
        if (!(number >= 0) || number != floor(number))
            gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, gr_conjunction_schema(all, i), keyword,
                           "expected a whole number, not negative");
        else if (number > (1 << 30))
            number = 1 << 30;
        uint32_t count = s->status == GR_OK ? (uint32_t)number : 0;
        if (!found || (most ? count < fallback : count > fallback))
            fallback = count;
        found = true;
    }
    return fallback;
}

// ---- Numbers

int gr_number_compare(const json_t *a, const json_t *b) {
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        return (x > y) - (x < y);
    }
    double x = json_number_value(a), y = json_number_value(b);
    return (x > y) - (x < y);
}

// Keeps the tighter of two bounds; at one number the open one is.
static void tighten(json_t **bound, bool *open, bool *has, json_t *value, bool value_open, bool least) {
    int order = *has ? gr_number_compare(value, *bound) : 0;
    if (least ? order < 0 : order > 0)
        return;
    *open = (*has && order == 0 && *open) || value_open;
    *bound = value;
    *has = true;
}

static void read_multiple(gr_schemas *s, uint32_t schema, json_t *value, gr_bounds *bounds) {
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number > 0))
        gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, "multipleOf", "expected a number above 0");
    else if (number != floor(number) || number > 10000)
        gr_schema_fail(s, GR_ERROR_UNSUPPORTED, schema, "multipleOf",
                       "only whole numbers up to 10000 are supported");
    if (s->status != GR_OK)
        return;
    uint32_t a = bounds->multiple ? bounds->multiple : 1, b = (uint32_t)number, x = a, y = b;
    while (y) {
        uint32_t rest = x % y;
        x = y;
        y = rest;
    }
    if ((uint64_t)a / x * b > 10000)
        gr_schema_fail(s, GR_ERROR_UNSUPPORTED, schema, "multipleOf",
                       "together with another one it is beyond 10000");
    else
        bounds->multiple = a / x * b;
}

void gr_keyword_bounds(gr_schemas *s, const gr_conjunction *all, gr_bounds *bounds) {
    static const char *const keywords[] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"};
    *bounds = (gr_bounds){0};
    for (uint32_t i = 0; i < all->count; i++) {
        for (int k = 0; k < 4; k++) {
            json_t *value = get(s, all, i, keywords[k]);
            if (!value)
                continue;
            if (!json_is_number(value))
                gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, gr_conjunction_schema(all, i), keywords[k],
                               "expected a number");
            else if (k < 2)
                tighten(&bounds->least, &bounds->least_open, &bounds->has_least, value, k & 1, true);
            else
                tighten(&bounds->most, &bounds->most_open, &bounds->has_most, value, k & 1, false);
        }
        if (get(s, all, i, "multipleOf"))
            read_multiple(s, gr_conjunction_schema(all, i), get(s, all, i, "multipleOf"), bounds);
    }
}

// ---- Members of objects

static void add_name(gr_schemas *s, gr_members *members, const char *name, bool required) {
    for (uint32_t i = 0; i < members->count; i++)
        if (strcmp(members->names[i], name) == 0) {
            members->required[i] |= required;
            return;
        }
    if (!gr_grow(&members->names, &members->name_capacity, members->count + 1u, sizeof *members->names) ||
        !gr_grow(&members->required, &members->required_capacity, members->count + 1u, 1)) {
        gr_rules_fail(s->builder, GR_ERROR_OUT_OF_MEMORY, "no memory for a grammar");
        return;
    }
    members->names[members->count] = name;
    members->required[members->count++] = required;
}

void gr_members_read(gr_schemas *s, const gr_conjunction *all, gr_members *members) {
    bool lists = false, says = false;
    const char *name;
    json_t *value;
    *members = (gr_members){0};
    for (uint32_t i = 0; i < all->count; i++) {
        json_t *more = get(s, all, i, "additionalProperties");
        json_object_foreach(get(s, all, i, "properties"), name, value)
            add_name(s, members, name, false);
        lists = lists || json_object_size(get(s, all, i, "properties"));
        members->closed = members->closed || json_is_false(more);
        says = says || more;
    }
    for (uint32_t i = 0; i < all->count; i++) {
        json_t *required = get(s, all, i, "required");
        for (size_t r = 0; r < json_array_size(required); r++) {
            name = json_string_value(json_array_get(required, r));
            if (name)
                add_name(s, members, name, true);
            else
                gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, gr_conjunction_schema(all, i), "required",
                               "expected a list of names");
        }
    }
    uint32_t least = gr_keyword_count(s, all, "minProperties", false, 0);
    members->open = !members->closed && (says || !lists || least > members->count);
}

void gr_members_deinit(gr_members *members) {
    free(members->names);
    free(members->required);
    *members = (gr_members){0};
}

bool gr_members_names(gr_schemas *s, const gr_conjunction *all, gr_conjunction *out) {
    bool says = false;
    *out = (gr_conjunction){0};
    for (uint32_t i = 0; i < all->count && s->status == GR_OK; i++) {
        json_t *names = get(s, all, i, "propertyNames");
        if (names)
            gr_conjunction_of(s, all, i, names, "propertyNames", NULL, SIZE_MAX, out);
        says = says || names;
    }
    return says;
}

void gr_members_value(gr_schemas *s, const gr_conjunction *all, const char *name, gr_conjunction *out) {
    *out = (gr_conjunction){0};
    for (uint32_t i = 0; i < all->count && s->status == GR_OK; i++) {
        json_t *own = name ? json_object_get(get(s, all, i, "properties"), name) : NULL;
        json_t *more = get(s, all, i, "additionalProperties");
        if (own)
            gr_conjunction_of(s, all, i, own, "properties", name, 0, out);
        else if (more)
            gr_conjunction_of(s, all, i, more, "additionalProperties", NULL, SIZE_MAX, out);
    }
}
