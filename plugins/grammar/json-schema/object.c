// SPDX-License-Identifier: Apache-2.0
// object.c: objects. Members come in the order of the schema, those required and those that are
// not, then further ones where the schema asks for them.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

enum { COUNTED_MAX = 64 }; // optional members of an object whose members are counted

typedef struct object {
    gr_schemas *s;
    gr_grammar_builder *b;
    gr_members members;
    gr_expr *pairs;   // of listed members: "name": value; NONE: it cannot occur
    gr_expr further;  // pairs of members that are not listed
    uint32_t least, most;
    bool counted;     // the number of members matters
    gr_expr comma, end;
} object;

static gr_expr colon(gr_schemas *s) {
    gr_grammar_builder *b = s->builder;
    return gr_expr_seq(b, gr_expr_string(b, ":"), gr_expr_optional(b, gr_expr_string(b, " ")));
}

static gr_expr quoted(gr_schemas *s, gr_expr text) {
    gr_expr quote = gr_expr_string(s->builder, "\"");
    return gr_expr_seq(s->builder, quote, gr_expr_seq(s->builder, text, quote));
}

static gr_expr pair(gr_schemas *s, gr_expr name, gr_expr value) {
    return gr_expr_seq(s->builder, quoted(s, name), gr_expr_seq(s->builder, colon(s), value));
}

// The names that propertyNames allows; false when it says nothing.
static bool names_allowed(gr_schemas *s, const gr_conjunction *all, gr_expr *out_names) {
    gr_conjunction names;
    uint32_t index, mark;
    json_t *branches;
    *out_names = GR_EXPR_NONE;
    if (!gr_members_names(s, all, &names))
        return false;
    gr_conjunction_join(s, &names);
    if (s->status == GR_OK && gr_conjunction_choice(s, &names, &index, &mark, &branches))
        gr_schema_fail(s, GR_ERROR_UNSUPPORTED, gr_conjunction_schema(&names, index), NULL,
                       "a choice of names is not supported");
    json_t *listed = gr_schema_listed(s, &names);
    if (!listed && s->status == GR_OK && !names.never)
        *out_names = gr_schema_spelling(s, &names);
    for (size_t i = 0; i < json_array_size(listed); i++) {
        json_t *name = json_array_get(listed, i);
        if (json_is_string(name))
            *out_names = gr_expr_alt(
                s->builder, *out_names,
                gr_expr_spelled(s->builder, (gr_str){json_string_value(name), json_string_length(name)},
                                GR_SPELL_JSON));
    }
    json_decref(listed);
    return true;
}

static void make_pairs(object *o, const gr_conjunction *all) {
    gr_schemas *s = o->s;
    gr_expr names, listed = GR_EXPR_NONE;
    gr_conjunction value;
    bool limited = names_allowed(s, all, &names);
    for (uint32_t i = 0; i < o->members.count && s->status == GR_OK; i++) {
        gr_str text = {o->members.names[i], strlen(o->members.names[i])};
        gr_expr name = gr_expr_spelled(o->b, text, GR_SPELL_JSON);
        listed = gr_expr_alt(o->b, listed, name);
        gr_members_value(s, all, o->members.names[i], &value);
        o->pairs[i] = pair(s, name, gr_schema_lower(s, &value));
        if (limited && gr_expr_both(o->b, name, names) == GR_EXPR_NONE)
            o->pairs[i] = GR_EXPR_NONE;
    }
    if (!o->members.open || s->status != GR_OK)
        return;
    gr_expr others = limited ? names : gr_expr_repeat(o->b, s->spelled, 0, GR_UNBOUNDED);
    gr_members_value(s, all, NULL, &value);
    o->further = pair(s, gr_expr_except(o->b, others, listed), gr_schema_lower(s, &value));
}

// ---- The order

// From `count` members on (when they are counted), all that are not listed and the end. Nothing keeps the names of those
// apart, so they count as one towards minProperties.
static gr_expr rest(object *o, uint32_t count) {
    bool some = count > 0;
    uint32_t least = o->counted && o->least > count ? o->least - count : 0;
    uint32_t most = !o->counted || o->most == GR_UNBOUNDED ? GR_UNBOUNDED
                    : o->most >= count                     ? o->most - count
                                                           : 0;
    if (o->counted && (count > o->most || least > 1))
        return GR_EXPR_NONE;
    gr_expr next = gr_expr_seq(o->b, o->comma, o->further), empty = least ? GR_EXPR_NONE : o->end;
    if (some)
        return gr_expr_seq(o->b, gr_expr_repeat(o->b, next, least, most), o->end);
    if (o->further == GR_EXPR_NONE || !most)
        return empty;
    gr_expr more = gr_expr_repeat(o->b, next, 0, most == GR_UNBOUNDED ? most : most - 1);
    return gr_expr_alt(o->b, empty, gr_expr_seq(o->b, o->further, gr_expr_seq(o->b, more, o->end)));
}

// Expressions of what is left from member i on, behind `count` members; without counting 0 or 1.
// Two tables, of i and i + 1.
static gr_expr order(object *o) {
    uint32_t width = o->counted ? o->members.count + 1 : 2;
    gr_expr *after = malloc(width * sizeof *after), first = GR_EXPR_NONE;
    if (!after) {
        gr_rules_fail(o->b, GR_ERROR_OUT_OF_MEMORY, "no memory for a grammar");
        return GR_EXPR_NONE;
    }
    for (uint32_t count = 0; count < width; count++)
        after[count] = rest(o, count);
    for (uint32_t i = o->members.count; i-- > 0;) {
        // Ascending, so that after[count + 1] is still that of i + 1; uncounted, 1 stands for itself.
        gr_expr last = after[width - 1];
        for (uint32_t count = 0; count < width; count++) {
            gr_expr behind = count + 1 < width ? after[count + 1] : o->counted ? GR_EXPR_NONE : last;
            gr_expr with = gr_expr_seq(o->b, o->pairs[i], behind);
            if (count)
                with = gr_expr_seq(o->b, o->comma, with);
            after[count] = o->members.required[i] ? with : gr_expr_alt(o->b, with, after[count]);
        }
    }
    first = after[0];
    free(after);
    return first;
}

// Refuses what takes two members or more that are not listed.
static void check_least(const object *o, const gr_conjunction *all) {
    uint32_t possible = 1, index = 0;
    for (uint32_t i = 0; i < o->members.count; i++)
        possible += o->pairs[i] != GR_EXPR_NONE;
    if (o->further == GR_EXPR_NONE || o->least <= possible || o->least > o->most || o->s->status != GR_OK)
        return;
    while (!json_object_get(gr_conjunction_json(o->s, all, index), "minProperties"))
        index++;
    gr_schema_fail(o->s, GR_ERROR_UNSUPPORTED, gr_conjunction_schema(all, index), "minProperties",
                   "more members than are listed and one are not supported: nothing keeps the names of others apart");
}

gr_expr gr_schema_object(gr_schemas *s, const gr_conjunction *all) {
    gr_grammar_builder *b = s->builder;
    object o = {.s = s, .b = b};
    gr_expr expr = GR_EXPR_NONE;
    uint32_t required = 0;
    gr_members_read(s, all, &o.members);
    o.least = gr_keyword_count(s, all, "minProperties", false, 0);
    o.most = gr_keyword_count(s, all, "maxProperties", true, GR_UNBOUNDED);
    for (uint32_t i = 0; i < o.members.count; i++)
        required += o.members.required[i];
    o.counted = o.least > required || (o.most != GR_UNBOUNDED && (o.members.open || o.most < o.members.count));
    if (o.counted && o.members.count > COUNTED_MAX)
        gr_schema_fail(s, GR_ERROR_UNSUPPORTED, all->count ? gr_conjunction_schema(all, 0) : 0, NULL,
                       "minProperties and maxProperties beside more than %d properties", COUNTED_MAX);
    o.pairs = calloc(o.members.count + 1u, sizeof *o.pairs);
    if (!o.pairs)
        gr_rules_fail(b, GR_ERROR_OUT_OF_MEMORY, "no memory for a grammar");
    if (o.pairs && s->status == GR_OK) {
        o.comma = gr_expr_seq(b, gr_expr_string(b, ","), s->gap);
        o.end = gr_expr_seq(b, s->gap, gr_expr_string(b, "}"));
        make_pairs(&o, all);
        check_least(&o, all);
        expr = gr_expr_seq(b, gr_expr_string(b, "{"), gr_expr_seq(b, s->gap, order(&o)));
    }
    free(o.pairs);
    gr_members_deinit(&o.members);
    return expr;
}
