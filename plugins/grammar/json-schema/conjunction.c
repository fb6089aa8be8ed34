// SPDX-License-Identifier: Apache-2.0
// conjunction.c: schemas by number, and sets of them that a value has to satisfy all.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

enum { WORK_MAX = 1 << 16 };

// ---- Messages

// Writes the JSON pointer of a schema; returns its length, which may be beyond `size`.
static size_t pointer(const gr_schemas *s, uint32_t schema, char *out_text, size_t size) {
    const gr_schema *one = &s->schemas[schema];
    char index[24];
    size_t at = one->keyword ? pointer(s, one->parent, out_text, size) : 0;
    snprintf(index, sizeof index, "%zu", one->index);
    const char *last = one->key ? one->key : one->index != SIZE_MAX ? index : NULL;
    const char *parts[] = {one->keyword, one->keyword ? last : NULL};
    for (int i = 0; i < 2 && parts[i]; i++)
        for (const char *c = *parts[i] == '/' && !i ? parts[i] : parts[i] - 1; c < parts[i] || *c; c++, at++)
            if (at + 1 < size)
                out_text[at] = c < parts[i] ? '/' : *c;
    out_text[at < size ? at : size - 1] = '\0';
    return at;
}

int gr_schema_shown(const char *text, int most) {
    int size = (int)strnlen(text, (size_t)most + 1);
    if (size <= most)
        return size;
    while (most > 0 && ((uint8_t)text[most] & 0xC0) == 0x80)
        most--;
    return most;
}

void gr_schema_fail(gr_schemas *s, gr_status status, uint32_t schema, const char *keyword,
                    const char *format, ...) {
    char place[200], line[220];
    va_list arguments;
    if (s->status != GR_OK)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    pointer(s, schema, place, sizeof place);
    place[gr_schema_shown(place, sizeof place - 5)] = '\0'; // what did not fit may end within a character
    line[gr_schema_shown(line, sizeof line - 5)] = '\0';
    s->status = gr_fail(s->error, status, GR_GRAMMAR_ORIGIN, "JSON Schema, %s%s%s: %s",
                        place[0] || keyword ? place : "at its root", keyword ? "/" : "",
                        keyword ? keyword : "", line);
}

// ---- Keywords

static bool is_one_of(const char *key, const char *const *names) {
    for (; *names; names++)
        if (strcmp(key, *names) == 0)
            return true;
    return false;
}

// What says nothing about values.
static const char *const annotations[] = {
    "$schema",  "$comment",   "title",        "description",     "default",          "examples",
    "deprecated", "readOnly", "writeOnly",    "$defs",           "definitions",      "contentEncoding",
    "contentMediaType", "contentSchema", NULL};
static const char *const supported[] = {
    "$ref",      "allOf",    "anyOf",   "oneOf",            "type",             "enum",
    "const",     "minLength", "maxLength", "pattern",       "format",           "minimum",
    "maximum",   "exclusiveMinimum", "exclusiveMaximum",    "multipleOf",       "items",
    "prefixItems", "minItems", "maxItems", "properties",    "required",         "additionalProperties",
    "minProperties", "maxProperties", "propertyNames", NULL};
static const char *const arrays[] = {"allOf", "anyOf", "oneOf", "enum", "prefixItems", "required", NULL};

static const char *const joints[] = {"$ref", "allOf", "anyOf", "oneOf", NULL};

static void check_keywords(gr_schemas *s, uint32_t schema) {
    const char *key;
    json_t *value, *json = s->schemas[schema].json;
    json_object_foreach(json, key, value) {
        if (is_one_of(key, annotations) || strncmp(key, "x-", 2) == 0)
            continue;
        if (strcmp(key, "$id") == 0 && json == s->root && json_is_string(value))
            continue;
        if (strcmp(key, "uniqueItems") == 0 && json_is_false(value))
            continue;
        if (strcmp(key, "items") == 0 && json_is_array(value))
            gr_schema_fail(s, GR_ERROR_UNSUPPORTED, schema, key,
                           "a list of schemas is called prefixItems since draft 2020-12");
        else if (!is_one_of(key, supported))
            gr_schema_fail(s, GR_ERROR_UNSUPPORTED, schema, key, "this keyword is not supported");
        else if (is_one_of(key, arrays) && !json_is_array(value))
            gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, key, "expected an array");
        else if (strcmp(key, "properties") == 0 && !json_is_object(value))
            gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, key, "expected an object");
        if (s->status != GR_OK)
            return;
        s->schemas[schema].says = true;
        s->schemas[schema].plain = s->schemas[schema].plain || !is_one_of(key, joints);
    }
}

uint32_t gr_schema_add(gr_schemas *s, json_t *json, uint32_t parent, const char *keyword,
                       const char *key, size_t index) {
    uint32_t high = (uint32_t)((uint64_t)(uintptr_t)json >> 32), low = (uint32_t)(uintptr_t)json;
    // jansson has one `true` and one `false`; where they stand matters for messages alone.
    uint32_t schema = gr_pair_find(&s->known, high, low);
    if (s->status != GR_OK || schema != GR_TABLE_FULL)
        return schema != GR_TABLE_FULL ? schema : 0;
    schema = s->schema_count;
    if (schema >= 1u << 24 ||
        !gr_grow(&s->schemas, &s->schema_capacity, schema + 1u, sizeof *s->schemas) ||
        !gr_pair_add(&s->known, high, low, schema)) {
        s->status = gr_fail(s->error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN,
                            "no memory for a grammar");
        return 0;
    }
    s->schemas[s->schema_count++] = (gr_schema){.json = json, .parent = parent, .keyword = keyword,
                                                .key = key, .index = index};
    if (json_is_object(json))
        check_keywords(s, schema);
    else if (!json_is_boolean(json))
        gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, NULL,
                       "expected a schema: an object, true or false");
    return schema;
}

// ---- Conjunctions

void gr_conjunction_add(gr_schemas *s, gr_conjunction *all, uint32_t schema, uint32_t marks) {
    if (s->status != GR_OK || json_is_true(s->schemas[schema].json))
        return;
    if (json_is_false(s->schemas[schema].json)) {
        all->never = true;
        return;
    }
    if (!s->schemas[schema].says)
        return;
    uint32_t at = 0, item = schema << GR_MARK_BITS | marks;
    while (at < all->count && all->items[at] >> GR_MARK_BITS < schema)
        at++;
    if (at < all->count && all->items[at] >> GR_MARK_BITS == schema)
        return;
    if (all->count == GR_CONJUNCTION_MAX) {
        gr_schema_fail(s, GR_ERROR_OUT_OF_RANGE, schema, NULL,
                       "more than %d schemas for one value", GR_CONJUNCTION_MAX);
        return;
    }
    memmove(all->items + at + 1, all->items + at, (all->count - at) * sizeof *all->items);
    all->items[at] = item;
    all->count++;
}

void gr_conjunction_of(gr_schemas *s, const gr_conjunction *all, uint32_t index, json_t *json,
                       const char *keyword, const char *key, size_t at, gr_conjunction *out) {
    uint32_t schema = gr_schema_add(s, json, gr_conjunction_schema(all, index), keyword, key, at);
    gr_conjunction_add(s, out, schema, 0);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

// The next part of a JSON pointer in a URI fragment, unescaped; false at the end or when it is long.
static bool next_part(const char **at, char *out_part, size_t size) {
    size_t count = 0;
    if (**at != '/')
        return false;
    for (++*at; **at && **at != '/'; ++*at) {
        char c = **at;
        if (c == '%' && hex_digit((*at)[1]) >= 0 && hex_digit((*at)[2]) >= 0) {
            c = (char)(hex_digit((*at)[1]) << 4 | hex_digit((*at)[2]));
            *at += 2;
        } else if (c == '~' && ((*at)[1] == '0' || (*at)[1] == '1'))
            c = *++*at == '0' ? '~' : '/';
        if (count + 1 >= size)
            return false;
        out_part[count++] = c;
    }
    out_part[count] = '\0';
    return true;
}

static uint32_t resolve(gr_schemas *s, uint32_t schema) {
    json_t *value = json_object_get(s->schemas[schema].json, "$ref"), *found = s->root;
    const char *text = json_string_value(value), *id = json_string_value(json_object_get(s->root, "$id"));
    char part[512];
    if (text && id && strncmp(text, id, strlen(id)) == 0 && (!text[strlen(id)] || text[strlen(id)] == '#'))
        text += strlen(id);
    if (!text || (text[0] && (text[0] != '#' || (text[1] && text[1] != '/')))) {
        gr_schema_fail(s, text ? GR_ERROR_UNSUPPORTED : GR_ERROR_INVALID_ARGUMENT, schema, "$ref",
                       "expected '#' or '#/...', a place in this schema");
        return 0;
    }
    const char *at = text[0] ? text + 1 : text;
    while (found && next_part(&at, part, sizeof part)) {
        char *end;
        unsigned long index = strtoul(part, &end, 10);
        found = json_is_array(found) ? (part[0] && !*end ? json_array_get(found, index) : NULL)
                                     : json_object_get(found, part);
    }
    if (!found || *at) {
        gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, "$ref", "there is no %.*s here",
                       gr_schema_shown(text, 100), text);
        return 0;
    }
    return found == s->root ? 0 : gr_schema_add(s, found, 0, text + 1, NULL, SIZE_MAX);
}

// What holds for a value where `schema` does must not be `schema` again, or it says nothing.
static void refuse_loops(gr_schemas *s, uint32_t schema) {
    static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
    json_t *json = s->schemas[schema].json;
    if (s->schemas[schema].colour == 1)
        gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, NULL, "the schema refers to itself for the same value");
    if (s->schemas[schema].colour || s->status != GR_OK)
        return;
    s->schemas[schema].colour = 1;
    for (int i = 0; i < 3; i++) {
        json_t *list = json_object_get(json, lists[i]);
        for (size_t part = 0; part < json_array_size(list) && s->status == GR_OK; part++)
            refuse_loops(s, gr_schema_add(s, json_array_get(list, part), schema, lists[i], NULL, part));
    }
    if (json_object_get(json, "$ref") && s->status == GR_OK)
        refuse_loops(s, resolve(s, schema));
    s->schemas[schema].colour = 2;
}

void gr_conjunction_join(gr_schemas *s, gr_conjunction *all) {
    for (uint32_t i = 0; i < all->count && s->status == GR_OK; i++) {
        uint32_t schema = gr_conjunction_schema(all, i);
        json_t *json = gr_conjunction_json(s, all, i);
        if (all->items[i] & GR_MARK_JOINED)
            continue;
        refuse_loops(s, schema);
        all->items[i] |= GR_MARK_JOINED;
        json_t *parts = json_object_get(json, "allOf");
        for (size_t part = 0; part < json_array_size(parts); part++)
            gr_conjunction_add(s, all,
                               gr_schema_add(s, json_array_get(parts, part), schema, "allOf", NULL, part), 0);
        if (json_object_get(json, "$ref"))
            gr_conjunction_add(s, all, resolve(s, schema), 0);
        i = UINT32_MAX; // they may stand before this one
    }
}

void gr_conjunction_reduce(gr_schemas *s, gr_conjunction *all) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < all->count; i++)
        if (s->schemas[gr_conjunction_schema(all, i)].plain)
            all->items[count++] = all->items[i];
    all->count = count;
}

bool gr_conjunction_choice(const gr_schemas *s, const gr_conjunction *all, uint32_t *out_index,
                           uint32_t *out_mark, json_t **out_branches) {
    for (uint32_t i = 0; i < all->count; i++)
        for (int one = 0; one < 2; one++) {
            uint32_t mark = one ? GR_MARK_ONE_OF : GR_MARK_ANY_OF;
            json_t *branches = json_object_get(gr_conjunction_json(s, all, i), one ? "oneOf" : "anyOf");
            if (!branches || all->items[i] & mark)
                continue;
            *out_index = i;
            *out_mark = mark;
            *out_branches = branches;
            return true;
        }
    return false;
}

void gr_conjunction_branch(gr_schemas *s, const gr_conjunction *all, uint32_t index, uint32_t mark,
                           size_t branch, gr_conjunction *out) {
    const char *keyword = mark == GR_MARK_ONE_OF ? "oneOf" : "anyOf";
    json_t *branches = json_object_get(gr_conjunction_json(s, all, index), keyword);
    *out = *all;
    out->items[index] |= mark;
    gr_conjunction_of(s, all, index, json_array_get(branches, branch), keyword, NULL, branch, out);
}

bool gr_schema_works(gr_schemas *s) {
    if (++s->work > WORK_MAX)
        gr_schema_fail(s, GR_ERROR_OUT_OF_RANGE, 0, NULL, "too many combinations of choices");
    return s->status == GR_OK;
}

// ---- Types

static uint32_t type_called(const char *name) {
    static const struct {
        const char *name;
        uint32_t type;
    } types[] = {{"null", GR_TYPE_NULL},     {"boolean", GR_TYPE_BOOLEAN}, {"integer", GR_TYPE_INTEGER},
                 {"number", GR_TYPE_NUMBER}, {"string", GR_TYPE_STRING},   {"array", GR_TYPE_ARRAY},
                 {"object", GR_TYPE_OBJECT}};
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0)
            return types[i].type;
    return 0;
}

static uint32_t types_named(gr_schemas *s, uint32_t schema, const json_t *value) {
    uint32_t types = type_called(json_string_value(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        uint32_t type = type_called(json_string_value(json_array_get(value, i)));
        types |= type;
        if (!type)
            types = 0, i = json_array_size(value);
    }
    if (!types)
        gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, schema, "type",
                       "expected null, boolean, integer, number, string, array, object or a list of them");
    return types;
}

static uint32_t types_implied(const json_t *schema) {
    static const struct {
        uint32_t type;
        const char *const keywords[8];
    } about[] = {
        {GR_TYPE_OBJECT, {"properties", "required", "additionalProperties", "minProperties",
                          "maxProperties", "propertyNames"}},
        {GR_TYPE_ARRAY, {"items", "prefixItems", "minItems", "maxItems"}},
        {GR_TYPE_STRING, {"minLength", "maxLength", "pattern", "format"}},
        {GR_TYPE_NUMBER, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}}};
    uint32_t types = 0;
    for (size_t i = 0; i < sizeof about / sizeof *about; i++)
        for (size_t k = 0; about[i].keywords[k]; k++)
            if (json_object_get(schema, about[i].keywords[k]))
                types |= about[i].type;
    return types;
}

uint32_t gr_conjunction_types(gr_schemas *s, const gr_conjunction *all, bool implied) {
    uint32_t types = GR_TYPE_ANY, about = 0;
    bool named = false;
    for (uint32_t i = 0; i < all->count; i++) {
        json_t *json = gr_conjunction_json(s, all, i), *value = json_object_get(json, "type");
        about |= types_implied(json);
        if (!value)
            continue;
        types &= types_named(s, gr_conjunction_schema(all, i), value);
        named = true;
    }
    return implied && !named && about ? about : types;
}
