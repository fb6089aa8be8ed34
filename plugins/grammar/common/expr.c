// SPDX-License-Identifier: Apache-2.0
// expr.c: the builder: expressions, each stored once, and rules.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/automaton.h"

gr_status gr_rules_fail(gr_grammar_builder *builder, gr_status code, const char *format, ...) {
    char line[400];
    va_list arguments;
    if (builder->status != GR_OK)
        return builder->status;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return builder->status = gr_fail(builder->error, code, GR_GRAMMAR_ORIGIN, "%s", line);
}

gr_status gr_rules_no_memory(gr_grammar_builder *builder) {
    return gr_rules_fail(builder, GR_ERROR_OUT_OF_MEMORY, "no memory for a grammar");
}

gr_status gr_rules_status(const gr_grammar_builder *builder) {
    return builder->status;
}

gr_status gr_rules_init(gr_grammar_builder *builder, uint32_t longest, gr_error *error) {
    *builder = (gr_grammar_builder){.longest = longest, .error = error};
    gr_expr_make(builder, GR_KIND_NONE, 0, 0, 0);
    gr_expr_make(builder, GR_KIND_EMPTY, 0, 0, 0);
    return builder->status;
}

void gr_rules_deinit(gr_grammar_builder *builder) {
    gr_list_deinit(&builder->exprs);
    gr_list_deinit(&builder->sets);
    gr_list_deinit(&builder->horizon_lists);
    gr_pair_deinit(&builder->horizon_pairs);
    gr_pair_deinit(&builder->blocks);
    free(builder->sizes);
    free(builder->nullable);
    free(builder->rules);
    for (uint32_t i = 0; i < builder->regular_count; i++)
        gr_automaton_deinit(&builder->regulars[i]);
    free(builder->regulars);
}

// ---- Making expressions

static uint32_t add_sizes(uint64_t a, uint64_t b) {
    return a + b < 1u << 30 ? (uint32_t)(a + b) : 1u << 30;
}

uint32_t gr_expr_measure(const gr_grammar_builder *builder, const uint32_t *expr) {
    const uint32_t *sizes = builder->sizes;
    switch (expr[0]) {
    case GR_KIND_SEQ:
    case GR_KIND_ALT: return add_sizes(sizes[expr[1]], sizes[expr[2]] + 1u);
    case GR_KIND_REPEAT: {
        uint64_t copies = expr[3] == GR_UNBOUNDED ? (uint64_t)expr[2] + 1 : expr[3];
        return add_sizes(copies * (sizes[expr[1]] + 1u), 1);
    }
    case GR_KIND_RULE:
        return builder->rules[expr[1]].inlined ? add_sizes(builder->rules[expr[1]].size, 1) : 2;
    case GR_KIND_REGULAR: return builder->regulars[expr[1]].states * 4;
    default: return 1;
    }
}

static bool is_nullable(const gr_grammar_builder *builder, const uint32_t *expr) {
    const uint8_t *nullable = builder->nullable;
    switch (expr[0]) {
    case GR_KIND_EMPTY: return true;
    case GR_KIND_SEQ: return nullable[expr[1]] && nullable[expr[2]];
    case GR_KIND_ALT: return nullable[expr[1]] || nullable[expr[2]];
    case GR_KIND_REPEAT: return !expr[2] || nullable[expr[1]];
    case GR_KIND_RULE: return true; // perhaps
    case GR_KIND_REGULAR: return builder->regulars[expr[1]].accept[expr[2]];
    default: return false;
    }
}

gr_expr gr_expr_make(gr_grammar_builder *builder, uint32_t kind, uint32_t a, uint32_t b,
                     uint32_t c) {
    const uint32_t expr[4] = {kind, a, b, c};
    bool fresh;
    if (builder->status != GR_OK)
        return GR_EXPR_NONE;
    uint32_t index = gr_list_intern(&builder->exprs, expr, 4, &fresh);
    if (index == GR_TABLE_FULL ||
        !gr_grow(&builder->sizes, &builder->size_capacity, (size_t)index + 1, 4) ||
        !gr_grow(&builder->nullable, &builder->nullable_capacity, (size_t)index + 1, 1)) {
        gr_rules_no_memory(builder);
        return GR_EXPR_NONE;
    }
    if (fresh) {
        builder->sizes[index] = gr_expr_measure(builder, expr);
        builder->nullable[index] = is_nullable(builder, expr);
    }
    if (index >= GR_LIMIT_EXPRS)
        gr_rules_fail(builder, GR_ERROR_OUT_OF_RANGE,
                        "the grammar is too large: more than %d expressions", GR_LIMIT_EXPRS);
    return builder->status == GR_OK ? index : GR_EXPR_NONE;
}

static gr_expr make_set(gr_grammar_builder *builder, const uint32_t set[8]) {
    if (builder->status != GR_OK)
        return GR_EXPR_NONE;
    uint32_t index = gr_list_intern(&builder->sets, set, 8, NULL);
    if (index == GR_TABLE_FULL)
        gr_rules_no_memory(builder);
    return gr_expr_make(builder, GR_KIND_SET, index, 0, 0);
}

gr_expr gr_expr_bytes(gr_grammar_builder *builder, uint8_t first, uint8_t last) {
    uint32_t set[8] = {0};
    for (uint32_t byte = first; byte <= last; byte++)
        set[byte / 32] |= 1u << byte % 32;
    return first <= last ? make_set(builder, set) : GR_EXPR_NONE;
}

gr_expr gr_expr_text(gr_grammar_builder *builder, gr_str text) {
    gr_expr expr = GR_EXPR_EMPTY;
    for (size_t i = text.size; i-- > 0;) {
        uint8_t byte = (uint8_t)text.data[i];
        expr = gr_expr_seq(builder, gr_expr_bytes(builder, byte, byte), expr);
    }
    return builder->status == GR_OK ? expr : GR_EXPR_NONE;
}

gr_expr gr_expr_string(gr_grammar_builder *builder, const char *text) {
    return gr_expr_text(builder, (gr_str){text, strlen(text)});
}

gr_expr gr_expr_seq(gr_grammar_builder *builder, gr_expr a, gr_expr b) {
    if (a == GR_EXPR_NONE || b == GR_EXPR_NONE)
        return GR_EXPR_NONE;
    if (a == GR_EXPR_EMPTY || b == GR_EXPR_EMPTY)
        return a == GR_EXPR_EMPTY ? b : a;
    return gr_expr_make(builder, GR_KIND_SEQ, a, b, 0);
}

gr_expr gr_expr_alt(gr_grammar_builder *builder, gr_expr a, gr_expr b) {
    if (a == GR_EXPR_NONE || b == GR_EXPR_NONE || a == b)
        return a == GR_EXPR_NONE ? b : a;
    const uint32_t *x = gr_expr_get(builder, a), *y = gr_expr_get(builder, b);
    if (x[0] == GR_KIND_SET && y[0] == GR_KIND_SET) {
        uint32_t set[8];
        for (int i = 0; i < 8; i++)
            set[i] = gr_set_get(builder, x[1])[i] | gr_set_get(builder, y[1])[i];
        return make_set(builder, set);
    }
    return gr_expr_make(builder, GR_KIND_ALT, a, b, 0);
}

gr_expr gr_expr_repeat(gr_grammar_builder *builder, gr_expr x, uint32_t least, uint32_t most) {
    if (least > most || (x == GR_EXPR_NONE && least))
        return GR_EXPR_NONE;
    if (!most || x == GR_EXPR_EMPTY || x == GR_EXPR_NONE)
        return GR_EXPR_EMPTY;
    if (least == 1 && most == 1)
        return x;
    return gr_expr_make(builder, GR_KIND_REPEAT, x, least, most);
}

// ---- Rules

uint32_t gr_rule_add(gr_grammar_builder *builder, gr_str name, bool separate) {
    if (builder->status != GR_OK)
        return 0;
    if (builder->rule_count >= GR_LIMIT_RULES) {
        gr_rules_fail(builder, GR_ERROR_OUT_OF_RANGE,
                        "the grammar is too large: more than %d rules", GR_LIMIT_RULES);
        return 0;
    }
    if (!gr_grow(&builder->rules, &builder->rule_capacity, builder->rule_count + 1u,
                 sizeof *builder->rules)) {
        gr_rules_no_memory(builder);
        return 0;
    }
    gr_rule *rule = &builder->rules[builder->rule_count];
    *rule = (gr_rule){.separate = separate, .size = 1};
    snprintf(rule->name, sizeof rule->name, "%.*s", (int)(name.size < 47 ? name.size : 47),
             name.data ? name.data : "");
    return builder->rule_count++;
}

void gr_rule_define(gr_grammar_builder *builder, uint32_t rule, gr_expr body) {
    if (builder->status != GR_OK)
        return;
    builder->rules[rule].body = body;
    builder->rules[rule].defined = true;
}

gr_expr gr_expr_rule(gr_grammar_builder *builder, uint32_t rule) {
    return gr_expr_make(builder, GR_KIND_RULE, rule, 0, 0);
}
