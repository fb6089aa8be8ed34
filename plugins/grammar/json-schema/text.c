// SPDX-License-Identifier: Apache-2.0
// text.c: strings. Where a pattern or format has a say, a character has one spelling, so that what
// they say together is what the automata of their spellings have in common.
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

static const char *string_of(gr_schemas *s, const gr_conjunction *all, uint32_t index,
                             const char *keyword, size_t *out_size) {
    json_t *value = json_object_get(gr_conjunction_json(s, all, index), keyword);
    if (value && !json_is_string(value))
        gr_schema_fail(s, GR_ERROR_INVALID_ARGUMENT, gr_conjunction_schema(all, index), keyword,
                       "expected a string");
    *out_size = json_string_length(value);
    return json_string_value(value);
}

static gr_expr pattern(gr_schemas *s, uint32_t schema, gr_str text) {
    static const gr_regex_options options = {.spelling = GR_SPELL_JSON, .search = true};
    gr_error error;
    gr_expr expr;
    gr_error_init(&error);
    gr_status status = gr_regex_build(s->builder, text, &options, &expr, &error);
    if (status != GR_OK && gr_rules_status(s->builder) == GR_OK)
        gr_schema_fail(s, status, schema, "pattern", "%s", error.message);
    return expr;
}

// Of a language that may be all there is yet.
static gr_expr both(gr_schemas *s, bool *says, gr_expr expr, gr_expr other) {
    expr = *says ? gr_expr_both(s->builder, expr, other) : other;
    *says = true;
    return expr;
}

static gr_expr text_of(gr_schemas *s, const gr_conjunction *all, gr_expr character) {
    uint32_t least = gr_keyword_count(s, all, "minLength", false, 0);
    uint32_t most = gr_keyword_count(s, all, "maxLength", true, GR_UNBOUNDED);
    gr_expr expr = GR_EXPR_EMPTY;
    bool says = false;
    size_t size;
    for (uint32_t i = 0; i < all->count && s->status == GR_OK; i++) {
        uint32_t schema = gr_conjunction_schema(all, i);
        const char *text = string_of(s, all, i, "pattern", &size);
        if (text)
            expr = both(s, &says, expr, pattern(s, schema, (gr_str){text, size}));
        if (!(text = string_of(s, all, i, "format", &size)))
            continue;
        gr_expr format = gr_schema_format(s, text);
        if (format == GR_EXPR_NONE && gr_rules_status(s->builder) == GR_OK) // the grammar may have become too large just here
            gr_schema_fail(s, GR_ERROR_UNSUPPORTED, schema, "format", "'%.*s' is not supported",
                           gr_schema_shown(text, 40), text);
        expr = both(s, &says, expr, format);
    }
    if (!says)
        return gr_expr_repeat(s->builder, character, least, most);
    if (!least && most == GR_UNBOUNDED)
        return expr;
    return both(s, &says, expr, gr_expr_repeat(s->builder, s->spelled, least, most));
}

gr_expr gr_schema_spelling(gr_schemas *s, const gr_conjunction *all) {
    return text_of(s, all, s->spelled);
}

// One rule for equal texts, wherever they stand.
gr_expr gr_schema_string(gr_schemas *s, const gr_conjunction *all) {
    gr_grammar_builder *b = s->builder;
    gr_expr text = text_of(s, all, s->character), quote = gr_expr_string(b, "\"");
    if (text == GR_EXPR_NONE)
        return GR_EXPR_NONE;
    uint32_t rule = gr_pair_find(&s->strings, text, 0);
    if (rule == GR_TABLE_FULL) {
        rule = gr_rule_add(b, (gr_str){"string", 6}, true);
        gr_rule_define(b, rule, gr_expr_seq(b, quote, gr_expr_seq(b, text, quote)));
        if (!gr_pair_add(&s->strings, text, 0, rule))
            gr_rules_fail(b, GR_ERROR_OUT_OF_MEMORY, "no memory for a grammar");
    }
    return gr_expr_rule(b, rule);
}
