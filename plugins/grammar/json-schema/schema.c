// SPDX-License-Identifier: Apache-2.0
// schema.c: the whole, from text to rules; one value.
#include "plugins/grammar/json-schema/schema.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64, INDENT_MAX = 24, TABS_MAX = 6 };

// Objects and arrays are rules, made one after another, so that a schema's depth costs no stack.
static gr_expr structure(gr_schemas *s, const gr_conjunction *all, uint32_t type) {
    uint32_t list[GR_CONJUNCTION_MAX + 1] = {type};
    bool fresh;
    memcpy(list + 1, all->items, all->count * sizeof *list);
    uint32_t index = gr_list_intern(&s->structures, list, all->count + 1u, &fresh);
    if (index == GR_TABLE_FULL || !gr_grow(&s->rules, &s->rule_capacity, index + 1u, 4)) {
        gr_rules_fail(s->builder, GR_ERROR_OUT_OF_MEMORY, "no memory for a grammar");
        return GR_EXPR_NONE;
    }
    if (fresh)
        s->rules[index] = gr_rule_add(
            s->builder, type == GR_TYPE_OBJECT ? (gr_str){"object", 6} : (gr_str){"array", 5}, true);
    return gr_expr_rule(s->builder, s->rules[index]);
}

static void define_structures(gr_schemas *s) {
    for (; s->rules_done < s->structures.count && s->status == GR_OK; s->rules_done++) {
        gr_conjunction all = {0};
        size_t count;
        const uint32_t *list = gr_list_get(&s->structures, s->rules_done, &count);
        uint32_t type = list[0];
        all.count = (uint32_t)count - 1;
        memcpy(all.items, list + 1, all.count * sizeof *list);
        gr_expr body = type == GR_TYPE_OBJECT ? gr_schema_object(s, &all) : gr_schema_array(s, &all);
        gr_rule_define(s->builder, s->rules[s->rules_done], body);
    }
}

static gr_expr lower_types(gr_schemas *s, const gr_conjunction *all) {
    gr_grammar_builder *b = s->builder;
    uint32_t types = gr_conjunction_types(s, all, true);
    gr_expr expr = GR_EXPR_NONE;
    if (!all->count)
        return gr_schema_any(s);
    if (types & GR_TYPE_OBJECT)
        expr = gr_expr_alt(b, expr, structure(s, all, GR_TYPE_OBJECT));
    if (types & GR_TYPE_ARRAY)
        expr = gr_expr_alt(b, expr, structure(s, all, GR_TYPE_ARRAY));
    if (types & GR_TYPE_STRING)
        expr = gr_expr_alt(b, expr, gr_schema_string(s, all));
    if (types & GR_TYPE_NUMBER)
        expr = gr_expr_alt(b, expr, gr_schema_number(s, all, !(types & GR_TYPE_FRACTION)));
    if (types & GR_TYPE_BOOLEAN)
        expr = gr_expr_alt(b, expr, gr_expr_alt(b, gr_expr_string(b, "true"),
                                                gr_expr_string(b, "false")));
    if (types & GR_TYPE_NULL)
        expr = gr_expr_alt(b, expr, gr_expr_string(b, "null"));
    return expr;
}

// Of oneOf only what certainly fails the other branches is right.
static void check_branch(gr_schemas *s, const gr_conjunction *all, uint32_t index, uint32_t mark,
                         size_t branch, size_t count) {
    gr_conjunction this, other;
    gr_conjunction_branch(s, all, index, mark, branch, &this);
    for (size_t i = 0; i < count && s->status == GR_OK; i++) {
        if (i == branch)
            continue;
        gr_conjunction_branch(s, all, index, mark, i, &other);
        if (!gr_schema_excludes(s, &this, &other, 0))
            gr_schema_fail(s, GR_ERROR_UNSUPPORTED, gr_conjunction_schema(all, index), "oneOf",
                           "what satisfies branch %zu may satisfy branch %zu, too; anyOf allows it",
                           branch, i);
    }
}

static gr_expr lower_choice(gr_schemas *s, const gr_conjunction *all, uint32_t index, uint32_t mark,
                            json_t *branches) {
    gr_expr expr = GR_EXPR_NONE;
    size_t count = json_array_size(branches);
    for (size_t i = 0; i < count && s->status == GR_OK; i++) {
        gr_conjunction with;
        if (mark == GR_MARK_ONE_OF)
            check_branch(s, all, index, mark, i, count);
        gr_conjunction_branch(s, all, index, mark, i, &with);
        expr = gr_expr_alt(s->builder, expr, gr_schema_lower(s, &with));
    }
    return expr;
}

gr_expr gr_schema_lower(gr_schemas *s, gr_conjunction *all) {
    gr_expr expr = GR_EXPR_NONE;
    uint32_t index, mark;
    json_t *branches;
    gr_conjunction_join(s, all);
    if (!gr_schema_works(s) || all->never)
        return GR_EXPR_NONE;
    if (++s->depth > DEPTH_MAX)
        gr_schema_fail(s, GR_ERROR_OUT_OF_RANGE, gr_conjunction_schema(all, 0), NULL,
                       "choices within choices, more than %d deep", DEPTH_MAX);
    else if (gr_conjunction_choice(s, all, &index, &mark, &branches))
        expr = lower_choice(s, all, index, mark, branches);
    else {
        gr_conjunction_reduce(s, all);
        if (!gr_schema_values(s, all, &expr))
            expr = lower_types(s, all);
    }
    s->depth--;
    return s->status == GR_OK ? expr : GR_EXPR_NONE;
}

// Any value is a rule of its own: gr_schema_lower would make it of the empty conjunction, with as
// many places to call it from.
gr_expr gr_schema_any(gr_schemas *s) {
    gr_grammar_builder *b = s->builder;
    gr_conjunction none = {0};
    if (!s->any_rule) {
        s->any_rule = gr_rule_add(b, (gr_str){"value", 5}, true);
        gr_expr expr = gr_expr_alt(b, structure(s, &none, GR_TYPE_OBJECT),
                                   structure(s, &none, GR_TYPE_ARRAY));
        expr = gr_expr_alt(b, expr, gr_schema_string(s, &none));
        expr = gr_expr_alt(b, expr, gr_schema_number(s, &none, false));
        expr = gr_expr_alt(b, expr, gr_expr_string(b, "true"));
        expr = gr_expr_alt(b, expr, gr_expr_string(b, "false"));
        expr = gr_expr_alt(b, expr, gr_expr_string(b, "null"));
        gr_rule_define(b, s->any_rule, expr);
    }
    return gr_expr_rule(b, s->any_rule);
}

// ---- What JSON is made of

// Behind an opening bracket or a comma, and before a closing bracket: nothing, a space, or a line
// break with the next line's indentation. A limit, so that no answer consists of white space.
static gr_expr make_gap(gr_grammar_builder *b) {
    gr_expr spaces = gr_expr_repeat(b, gr_expr_bytes(b, ' ', ' '), 0, INDENT_MAX);
    gr_expr tabs = gr_expr_repeat(b, gr_expr_bytes(b, '\t', '\t'), 0, TABS_MAX);
    gr_expr line = gr_expr_seq(b, gr_expr_bytes(b, '\n', '\n'), gr_expr_alt(b, spaces, tabs));
    return gr_expr_optional(b, gr_expr_alt(b, gr_expr_bytes(b, ' ', ' '), line));
}

static gr_expr hex(gr_grammar_builder *b, const char *digits) {
    gr_expr expr = GR_EXPR_NONE;
    for (; *digits; digits++)
        expr = gr_expr_alt(b, expr, gr_expr_bytes(b, (uint8_t)*digits, (uint8_t)*digits));
    return expr;
}

// \uXXXX: no surrogate, or a pair of them.
static gr_expr unicode_escape(gr_grammar_builder *b) {
    gr_expr digit = hex(b, "0123456789abcdefABCDEF"), two = gr_expr_repeat(b, digit, 2, 2);
    gr_expr d = hex(b, "dD"), u = gr_expr_string(b, "u");
    gr_expr plain = gr_expr_seq(b, hex(b, "0123456789abcefABCEF"), gr_expr_seq(b, digit, two));
    gr_expr low_d = gr_expr_seq(b, d, gr_expr_seq(b, hex(b, "01234567"), two));
    gr_expr high = gr_expr_seq(b, d, gr_expr_seq(b, hex(b, "89abAB"), two));
    gr_expr low = gr_expr_seq(b, d, gr_expr_seq(b, hex(b, "cdefCDEF"), two));
    gr_expr pair = gr_expr_seq(b, high, gr_expr_seq(b, gr_expr_string(b, "\\u"), low));
    return gr_expr_seq(b, u, gr_expr_alt(b, gr_expr_alt(b, plain, low_d), pair));
}

static void make_characters(gr_schemas *s) {
    gr_grammar_builder *b = s->builder;
    gr_points plain = {0}, all = {0};
    gr_points_add(b, &plain, 0, 0x1F);
    gr_points_add(b, &plain, '"', '"');
    gr_points_add(b, &plain, '\\', '\\');
    gr_points_negate(b, &plain);
    gr_points_negate(b, &all);
    gr_expr escape = gr_expr_alt(b, hex(b, "\"\\/bfnrt"), unicode_escape(b));
    s->character = gr_expr_alt(b, gr_expr_points(b, &plain, GR_SPELL_UTF8),
                               gr_expr_seq(b, gr_expr_string(b, "\\"), escape));
    s->spelled = gr_expr_points(b, &all, GR_SPELL_JSON);
    s->gap = make_gap(b);
    gr_points_deinit(&plain);
    gr_points_deinit(&all);
}

// ---- The whole

static gr_status parse(gr_schemas *s, gr_str text) {
    json_error_t at;
    s->root = json_loadb(text.data ? text.data : "", text.size,
                         JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
    if (s->root)
        return GR_OK;
    return s->status = gr_fail(s->error, GR_ERROR_INVALID_ARGUMENT, GR_GRAMMAR_ORIGIN,
                               "JSON Schema, line %d, column %d: %s", at.line, at.column, at.text);
}

static gr_status build(gr_grammar_builder *builder, gr_str text, gr_error *error) {
    gr_schemas s = {.builder = builder, .error = error};
    if (parse(&s, text) == GR_OK) {
        gr_conjunction all = {0};
        uint32_t root = gr_rule_add(builder, (gr_str){"answer", 6}, false);
        make_characters(&s);
        gr_conjunction_add(&s, &all, gr_schema_add(&s, s.root, 0, NULL, NULL, 0), 0);
        gr_expr body = gr_schema_lower(&s, &all);
        gr_rule_define(builder, root, body);
        define_structures(&s);
    }
    json_decref(s.root);
    free(s.schemas);
    free(s.rules);
    gr_pair_deinit(&s.known);
    gr_pair_deinit(&s.strings);
    gr_list_deinit(&s.structures);
    return s.status != GR_OK ? s.status : gr_rules_status(builder);
}

const gr_grammar_type gr_grammar_json_schema = {
    .struct_size = sizeof gr_grammar_json_schema,
    .name = "json-schema",
    .help = "JSON that satisfies a JSON Schema (draft 2020-12)",
    .build = build,
};
