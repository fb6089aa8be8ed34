// SPDX-License-Identifier: Apache-2.0
// array.c: arrays: the first items each by its own schema, then the others.
#include "plugins/grammar/json-schema/schema.h"

static json_t *get(const gr_schemas *s, const gr_conjunction *all, uint32_t index, const char *keyword) {
    return json_object_get(gr_conjunction_json(s, all, index), keyword);
}

void gr_items_value(gr_schemas *s, const gr_conjunction *all, size_t at, gr_conjunction *out) {
    *out = (gr_conjunction){0};
    for (uint32_t i = 0; i < all->count && s->status == GR_OK; i++) {
        json_t *first = get(s, all, i, "prefixItems"), *others = get(s, all, i, "items");
        if (at < json_array_size(first))
            gr_conjunction_of(s, all, i, json_array_get(first, at), "prefixItems", NULL, at, out);
        else if (others)
            gr_conjunction_of(s, all, i, others, "items", NULL, SIZE_MAX, out);
    }
}

static gr_expr item(gr_schemas *s, const gr_conjunction *all, size_t at) {
    gr_conjunction value;
    gr_items_value(s, all, at, &value);
    return gr_schema_lower(s, &value);
}

// How many items have a schema of their own; *out_open: whether others are generated.
static size_t first_items(gr_schemas *s, const gr_conjunction *all, bool *out_open) {
    size_t most = 0;
    bool says = false;
    for (uint32_t i = 0; i < all->count; i++) {
        size_t count = json_array_size(get(s, all, i, "prefixItems"));
        most = count > most ? count : most;
        says = says || get(s, all, i, "items");
    }
    *out_open = says || !most;
    return most;
}

gr_expr gr_schema_array(gr_schemas *s, const gr_conjunction *all) {
    gr_grammar_builder *b = s->builder;
    uint32_t least = gr_keyword_count(s, all, "minItems", false, 0);
    uint32_t most = gr_keyword_count(s, all, "maxItems", true, GR_UNBOUNDED);
    bool open;
    size_t first = first_items(s, all, &open);
    gr_expr comma = gr_expr_seq(b, gr_expr_string(b, ","), s->gap);
    gr_expr end = gr_expr_seq(b, s->gap, gr_expr_string(b, "]")), expr = GR_EXPR_NONE;
    first = first < most ? first : most;
    // Behind the first items, of which the last one stands already unless there are none.
    if (open || least > first) {
        gr_expr other = most > first ? item(s, all, first) : GR_EXPR_NONE;
        uint32_t from = least > first ? least - (uint32_t)first : 0;
        uint32_t to = most == GR_UNBOUNDED ? most : most - (uint32_t)first;
        gr_expr more = gr_expr_seq(b, comma, other);
        if (first)
            expr = gr_expr_seq(b, gr_expr_repeat(b, more, from, to), end);
        else {
            more = gr_expr_repeat(b, more, from ? from - 1 : 0, to == GR_UNBOUNDED ? to : to ? to - 1 : 0);
            expr = to ? gr_expr_seq(b, other, gr_expr_seq(b, more, end)) : GR_EXPR_NONE;
            expr = gr_expr_alt(b, expr, from ? GR_EXPR_NONE : end);
        }
    } else
        expr = end;
    for (size_t i = first; i-- > 0 && s->status == GR_OK;) {
        expr = gr_expr_seq(b, item(s, all, i), expr);
        if (i)
            expr = gr_expr_seq(b, comma, expr);
        expr = gr_expr_alt(b, expr, i >= least ? end : GR_EXPR_NONE);
    }
    return gr_expr_seq(b, gr_expr_string(b, "["), gr_expr_seq(b, s->gap, expr));
}
