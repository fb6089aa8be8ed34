// SPDX-License-Identifier: Apache-2.0
// gbnf.c: grammars in the notation of GGML's tools: `name ::= "text" [a-z]+ (other | "x"){2,3}`, one
// rule a line, the answer being `root`.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/build.h"
#include "plugins/grammar/common/table.h"

enum { DEPTH_MAX = 200, NAME_MAX_BYTES = 200, COUNT_MAX = 1000000 };

typedef struct parser {
    gr_grammar_builder *builder;
    gr_str text;
    size_t at;
    gr_error *error;
    gr_status status;
    gr_list_table names; // index: the rule
    uint8_t *defined;    // [names]
    size_t *used;        // [names]: 1 + where it is used first
    uint32_t defined_capacity, used_capacity;
    int depth;
} parser;

GR_PRINTF(4, 5)
static void refuse(parser *p, gr_status status, size_t at, const char *format, ...) {
    char line[200];
    size_t row = 1, column = 1;
    va_list arguments;
    if (p->status != GR_OK)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < at && i < p->text.size; i++) {
        row += p->text.data[i] == '\n';
        column = p->text.data[i] == '\n' ? 1 : column + (((uint8_t)p->text.data[i] & 0xC0) != 0x80);
    }
    p->status = gr_fail(p->error, status, GR_GRAMMAR_ORIGIN, "grammar, line %zu, column %zu: %s",
                        row, column, line);
}

static void wrong(parser *p, const char *what) {
    refuse(p, GR_ERROR_INVALID_ARGUMENT, p->at, "%s", what);
}

// ---- Reading

static char peek(const parser *p) {
    return p->at < p->text.size && p->status == GR_OK ? p->text.data[p->at] : '\0';
}

static bool accept(parser *p, char c) {
    if (peek(p) != c || p->at >= p->text.size)
        return false;
    p->at++;
    return true;
}

static void skip_space(parser *p, bool lines) {
    for (;;) {
        char c = peek(p);
        if (c == '#')
            while (p->at < p->text.size && p->text.data[p->at] != '\n')
                p->at++;
        else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
            p->at++;
        else
            return;
    }
}

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

// The rule called what stands here.
static uint32_t name(parser *p) {
    uint32_t letters[NAME_MAX_BYTES], count = 0;
    size_t begin = p->at;
    bool fresh;
    for (; is_name(peek(p)) && count < NAME_MAX_BYTES; p->at++)
        letters[count++] = (uint8_t)p->text.data[p->at];
    if (!count)
        wrong(p, "expected the name of a rule");
    if (is_name(peek(p)))
        refuse(p, GR_ERROR_OUT_OF_RANGE, begin, "a name of more than %d letters", NAME_MAX_BYTES);
    uint32_t rule = gr_list_intern(&p->names, letters, count, &fresh);
    if (rule == GR_TABLE_FULL || !gr_grow(&p->defined, &p->defined_capacity, rule + 1u, 1) ||
        !gr_grow(&p->used, &p->used_capacity, rule + 1u, sizeof *p->used)) {
        refuse(p, GR_ERROR_OUT_OF_MEMORY, begin, "no memory for a grammar");
        return 0;
    }
    if (fresh) {
        gr_rule_add(p->builder, (gr_str){p->text.data + begin, count}, false);
        p->defined[rule] = false;
        p->used[rule] = 0;
    }
    return rule;
}

static uint32_t hex(parser *p, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        char c = peek(p);
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            value = value << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else {
            wrong(p, "expected a hexadecimal digit");
            return 0;
        }
    }
    return value;
}

static uint32_t point(parser *p) {
    static const char from[] = "tnr\\\"[]-^'/", to[] = "\t\n\r\\\"[]-^'/";
    size_t begin = p->at;
    uint32_t value = 0;
    if (accept(p, '\\')) {
        char c = peek(p);
        const char *found = c ? strchr(from, c) : NULL;
        p->at += p->at < p->text.size;
        if (c == 'x' || c == 'u' || c == 'U')
            value = hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        else if (found)
            value = (uint8_t)to[found - from];
        else
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "there is no such escape");
        if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this is no code point");
    } else {
        value = gr_utf8_next(p->text, &p->at);
        if (value == UINT32_MAX)
            wrong(p, "not UTF-8");
    }
    return value;
}

// ---- Expressions

static gr_expr one_of(parser *p, gr_points *points) {
    gr_points_tidy(points);
    gr_expr expr = gr_expr_points(p->builder, points, GR_SPELL_UTF8);
    gr_points_deinit(points);
    return expr;
}

// Behind the quotation mark. A character at a time, so that escapes beyond ASCII become UTF-8.
static gr_expr literal(parser *p) {
    size_t begin = p->at - 1;
    gr_expr expr = GR_EXPR_EMPTY;
    while (peek(p) != '"' && p->at < p->text.size && p->status == GR_OK) {
        gr_points points = {0};
        uint32_t value = point(p);
        gr_points_add(p->builder, &points, value, value);
        expr = gr_expr_seq(p->builder, expr, one_of(p, &points));
    }
    if (!accept(p, '"'))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this text has no end");
    return expr;
}

// Behind `[`.
static gr_expr class(parser *p) {
    size_t begin = p->at - 1;
    gr_points points = {0};
    bool negated = accept(p, '^');
    while (peek(p) != ']' && p->at < p->text.size && p->status == GR_OK) {
        uint32_t first = point(p), last = first;
        bool range = peek(p) == '-' && p->at + 1 < p->text.size && p->text.data[p->at + 1] != ']';
        if (range) {
            p->at++;
            last = point(p);
        }
        if (last < first)
            wrong(p, "a range that ends before it begins");
        gr_points_add(p->builder, &points, first, last);
    }
    if (!accept(p, ']'))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this class has no ']'");
    if (negated)
        gr_points_negate(p->builder, &points);
    return one_of(p, &points);
}

static gr_expr alternatives(parser *p, bool nested);

// Behind `(`.
static gr_expr group(parser *p) {
    size_t begin = p->at - 1;
    if (++p->depth > DEPTH_MAX)
        refuse(p, GR_ERROR_OUT_OF_RANGE, begin, "groups nested more than %d deep", DEPTH_MAX);
    skip_space(p, true);
    gr_expr expr = p->status == GR_OK ? alternatives(p, true) : GR_EXPR_NONE;
    p->depth--;
    if (!accept(p, ')'))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this group has no ')'");
    return expr;
}

// Whether something that can be repeated stands here; it is read.
static bool item(parser *p, gr_expr *out_expr) {
    gr_points all = {0};
    if (accept(p, '"'))
        *out_expr = literal(p);
    else if (accept(p, '['))
        *out_expr = class(p);
    else if (accept(p, '('))
        *out_expr = group(p);
    else if (accept(p, '.')) {
        gr_points_negate(p->builder, &all);
        *out_expr = one_of(p, &all);
    } else if (is_name(peek(p))) {
        size_t begin = p->at;
        uint32_t rule = name(p);
        if (p->status == GR_OK && !p->used[rule])
            p->used[rule] = begin + 1;
        *out_expr = gr_expr_rule(p->builder, rule);
    } else if (peek(p) == '<' || peek(p) == '!') {
        refuse(p, GR_ERROR_UNSUPPORTED, p->at, "tokens by name or number are not supported");
        return false;
    } else
        return false;
    return true;
}

static uint32_t count(parser *p) {
    uint32_t value = 0;
    size_t begin = p->at;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        value = value * 10 + (uint32_t)(peek(p) - '0');
        if (value > COUNT_MAX) {
            refuse(p, GR_ERROR_OUT_OF_RANGE, begin, "a count beyond %d", COUNT_MAX);
            return 0;
        }
    }
    if (p->at == begin)
        wrong(p, "expected a count");
    skip_space(p, false);
    return value;
}

static gr_expr repeated(parser *p, gr_expr expr) {
    uint32_t least, most;
    size_t begin = p->at;
    if (accept(p, '*'))
        return gr_expr_repeat(p->builder, expr, 0, GR_UNBOUNDED);
    if (accept(p, '+'))
        return gr_expr_repeat(p->builder, expr, 1, GR_UNBOUNDED);
    if (accept(p, '?'))
        return gr_expr_optional(p->builder, expr);
    if (!accept(p, '{'))
        return expr;
    skip_space(p, false);
    least = peek(p) == ',' ? 0 : count(p);
    most = least;
    if (accept(p, ',')) {
        skip_space(p, false);
        most = peek(p) == '}' ? GR_UNBOUNDED : count(p);
    }
    if (!accept(p, '}') || least > most)
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "expected {n}, {n,}, {,m} or {n,m}");
    return gr_expr_repeat(p->builder, expr, least, most);
}

static gr_expr sequence(parser *p, bool nested) {
    gr_expr all = GR_EXPR_EMPTY, one;
    while (p->status == GR_OK && item(p, &one)) {
        skip_space(p, nested);
        while (peek(p) == '*' || peek(p) == '+' || peek(p) == '?' || peek(p) == '{') {
            one = repeated(p, one);
            skip_space(p, nested);
        }
        all = gr_expr_seq(p->builder, all, one);
    }
    return all;
}

// At the end of a line, whether the next one goes on with `|`.
static bool next_line_goes_on(parser *p) {
    size_t begin = p->at;
    skip_space(p, true);
    if (accept(p, '|'))
        return true;
    p->at = begin;
    return false;
}

static gr_expr alternatives(parser *p, bool nested) {
    gr_expr all = sequence(p, nested);
    while (p->status == GR_OK && (accept(p, '|') || (!nested && next_line_goes_on(p)))) {
        skip_space(p, true);
        all = gr_expr_alt(p->builder, all, sequence(p, nested));
    }
    return all;
}

// ---- Rules

static void rule(parser *p) {
    size_t begin = p->at;
    uint32_t which = name(p);
    skip_space(p, false);
    if (p->status == GR_OK && p->defined[which])
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this rule is defined already");
    for (const char *c = "::="; *c; c++)
        if (!accept(p, *c))
            wrong(p, "expected '::='");
    skip_space(p, true);
    gr_expr body = alternatives(p, false);
    if (p->status == GR_OK && p->at < p->text.size && peek(p) != '\n' && peek(p) != '\r')
        wrong(p, "expected the end of the rule");
    if (p->status != GR_OK)
        return;
    p->defined[which] = true;
    gr_rule_define(p->builder, which, body);
}

static void check_defined(parser *p) {
    if (p->status == GR_OK && !p->defined[0])
        refuse(p, GR_ERROR_INVALID_ARGUMENT, p->text.size, "no rule is called root");
    for (uint32_t i = 0; i < p->names.count && p->status == GR_OK; i++)
        if (!p->defined[i])
            refuse(p, GR_ERROR_INVALID_ARGUMENT, p->used[i] - 1, "this rule is not defined");
}

static gr_status build(gr_grammar_builder *builder, gr_str text, gr_error *error) {
    parser root = {.builder = builder, .text = {"root", 4}, .error = error}, p;
    name(&root); // the first rule is the answer
    p = root;
    p.text = text;
    p.at = 0;
    skip_space(&p, true);
    while (p.status == GR_OK && p.at < text.size) {
        rule(&p);
        skip_space(&p, true);
    }
    check_defined(&p);
    gr_list_deinit(&p.names);
    free(p.defined);
    free(p.used);
    return p.status != GR_OK ? p.status : gr_rules_status(builder);
}

const gr_grammar_type gr_grammar_gbnf = {
    .struct_size = sizeof gr_grammar_gbnf,
    .name = "gbnf",
    .help = "a grammar of rules, NAME ::= ..., of which root is the answer",
    .build = build,
};
