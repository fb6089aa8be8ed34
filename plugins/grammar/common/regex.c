// SPDX-License-Identifier: Apache-2.0
// regex.c: regular expressions, as far as they are regular: what ECMAScript (ECMA-262, with the
// flag u) and Python agree on, without look-around, back references and word boundaries.
//
// What holds no anchor becomes an expression at once. Anchors stay in a small tree until it is known
// what stands before and behind them.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/classes.h"

enum { DEPTH_MAX = 100, ANCHORS_MAX = 100, COUNT_MAX = 1000000 };

typedef enum node_kind { PLAIN, BEGIN, END, SEQ, ALT, OPTION } node_kind;

typedef struct node {
    node_kind kind;
    gr_expr expr;         // of PLAIN
    uint32_t a, b;        // indices
    size_t at;            // in the text
} node;

typedef struct parser {
    gr_grammar_builder *builder;
    gr_str text;
    size_t at;
    const gr_regex_options *options;
    gr_error *error;
    gr_status status;
    gr_expr any; // any text
    node nodes[ANCHORS_MAX * 8];
    uint32_t node_count;
    int depth;
} parser;

// ---- Messages

static size_t character(const parser *p, size_t at) {
    size_t count = 1;
    for (size_t i = 0; i < at && i < p->text.size; i++)
        count += ((uint8_t)p->text.data[i] & 0xC0) != 0x80;
    return count;
}

GR_PRINTF(4, 5)
static void refuse(parser *p, gr_status status, size_t at, const char *format, ...) {
    char line[200];
    va_list arguments;
    if (p->status != GR_OK)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    p->status = gr_fail(p->error, status, GR_GRAMMAR_ORIGIN, "regular expression, character %zu: %s",
                        character(p, at), line);
}

// ---- Reading

static bool at_end(const parser *p) {
    return p->at >= p->text.size || p->status != GR_OK;
}

static bool sees(const parser *p, const char *what) {
    size_t size = strlen(what);
    return p->text.size - p->at >= size && memcmp(p->text.data + p->at, what, size) == 0;
}

static bool accept(parser *p, const char *what) {
    if (at_end(p) || !sees(p, what))
        return false;
    p->at += strlen(what);
    return true;
}

static uint32_t next_point(parser *p) {
    size_t at = p->at;
    uint32_t point = gr_utf8_next(p->text, &p->at);
    if (point != UINT32_MAX)
        return point;
    refuse(p, GR_ERROR_INVALID_ARGUMENT, at, "not UTF-8");
    return 0;
}

static uint32_t hex(parser *p, size_t digits) {
    uint32_t value = 0;
    size_t begin = p->at;
    for (size_t i = 0; i < digits; i++, p->at++) {
        char c = p->at < p->text.size ? p->text.data[p->at] : 0;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            value = value << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else {
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "expected %zu hexadecimal digits", digits);
            return 0;
        }
    }
    return value;
}

// Behind \u.
static uint32_t unicode_escape(parser *p) {
    size_t begin = p->at, digits = 0;
    uint32_t value;
    if (accept(p, "{")) {
        while (p->at + digits < p->text.size && p->text.data[p->at + digits] != '}' && digits < 7)
            digits++;
        value = hex(p, digits ? digits : 1);
        if (!accept(p, "}") || value > 0x10FFFF)
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "expected a code point in \\u{...}");
    } else {
        value = hex(p, 4);
        if (value >= 0xD800 && value < 0xDC00 && accept(p, "\\u")) {
            uint32_t low = hex(p, 4);
            if (low < 0xDC00 || low > 0xDFFF)
                refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "half a pair of surrogates");
            value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    if (value >= 0xD800 && value < 0xE000)
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "half a pair of surrogates");
    return value;
}

static const char *unsupported_escape(char c) {
    if (c >= '1' && c <= '9')
        return "back references are not supported";
    switch (c) {
    case 'k': return "back references are not supported";
    case 'b':
    case 'B': return "word boundaries are not supported";
    case 'p':
    case 'P': return "Unicode properties are not supported";
    default: return "there is no such escape";
    }
}

// A character behind a backslash, none of the classes.
static uint32_t escape(parser *p, bool in_class) {
    size_t begin = p->at - 1;
    uint32_t point = next_point(p);
    switch (point) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'r': return '\r';
    case 'f': return '\f';
    case 'v': return '\v';
    case 'x': return hex(p, 2);
    case 'u': return unicode_escape(p);
    case 'b':
        if (in_class)
            return '\b';
        break;
    case '0':
        if (at_end(p) || p->text.data[p->at] < '0' || p->text.data[p->at] > '9')
            return 0;
        break;
    case 'c':
        if (!at_end(p) && (p->text.data[p->at] | 32) >= 'a' && (p->text.data[p->at] | 32) <= 'z')
            return (uint32_t)p->text.data[p->at++] & 31;
        break;
    default:
        if (point < 0x80 && point > ' ' && !(point >= '0' && point <= '9') &&
            !((point | 32) >= 'a' && (point | 32) <= 'z'))
            return point;
    }
    refuse(p, point < 0x80 && strchr("123456789kbBpP", (int)point) ? GR_ERROR_UNSUPPORTED
                                                                   : GR_ERROR_INVALID_ARGUMENT,
           begin, "%s", unsupported_escape((char)point));
    return 0;
}

// ---- Classes

static bool class_escape(parser *p, gr_points *points, bool perhaps) {
    if (p->at + 1 >= p->text.size || p->text.data[p->at] != '\\' ||
        !gr_points_class(p->builder, points, p->text.data[p->at + 1], perhaps))
        return false;
    p->at += 2;
    return true;
}

static uint32_t class_point(parser *p) {
    if (accept(p, "\\"))
        return escape(p, true);
    return next_point(p);
}

static void class_item(parser *p, gr_points *points, bool negated) {
    size_t begin = p->at;
    if (class_escape(p, points, negated))
        return;
    if (sees(p, "[:") || sees(p, "[.") || sees(p, "[=")) {
        refuse(p, GR_ERROR_UNSUPPORTED, begin, "POSIX classes are not supported");
        return;
    }
    uint32_t first = class_point(p), last = first;
    if (!at_end(p) && sees(p, "-") && p->at + 1 < p->text.size && p->text.data[p->at + 1] != ']') {
        gr_points other = {0};
        p->at++;
        if (class_escape(p, &other, false))
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "a range that ends with a class");
        else
            last = class_point(p);
        gr_points_deinit(&other);
    }
    if (last < first)
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "a range that ends before it begins");
    gr_points_add(p->builder, points, first, last);
}

// Behind `[`.
static gr_expr class(parser *p) {
    size_t begin = p->at - 1;
    gr_points points = {0};
    bool negated = accept(p, "^");
    if (sees(p, "]"))
        refuse(p, GR_ERROR_UNSUPPORTED, begin, "an empty class means one thing here, another there");
    while (!at_end(p) && !sees(p, "]"))
        class_item(p, &points, negated);
    if (!accept(p, "]"))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this class has no ']'");
    if (negated)
        gr_points_negate(p->builder, &points);
    gr_points_tidy(&points);
    gr_expr expr = gr_expr_points(p->builder, &points, p->options->spelling);
    gr_points_deinit(&points);
    return expr;
}

// ---- The tree

static uint32_t add_node(parser *p, node one) {
    if (p->node_count == sizeof p->nodes / sizeof *p->nodes) {
        refuse(p, GR_ERROR_OUT_OF_RANGE, one.at, "too many anchors");
        return 0;
    }
    p->nodes[p->node_count] = one;
    return p->node_count++;
}

static node plain(gr_expr expr) {
    return (node){.kind = PLAIN, .expr = expr};
}

static node join(parser *p, node_kind kind, node a, node b) {
    if (kind == SEQ && a.kind == PLAIN && a.expr == GR_EXPR_EMPTY)
        return b;
    if (kind == SEQ && b.kind == PLAIN && b.expr == GR_EXPR_EMPTY)
        return a;
    if (a.kind == PLAIN && b.kind == PLAIN)
        return plain(kind == SEQ ? gr_expr_seq(p->builder, a.expr, b.expr)
                                 : gr_expr_alt(p->builder, a.expr, b.expr));
    uint32_t left = add_node(p, a), right = add_node(p, b);
    return (node){.kind = kind, .a = left, .b = right, .at = a.at};
}

static node alternatives(parser *p);

// Behind `(`.
static node group(parser *p) {
    size_t begin = p->at - 1;
    static const char *const looks[] = {"?=", "?!", "?<=", "?<!"};
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (accept(p, looks[i]))
            refuse(p, GR_ERROR_UNSUPPORTED, begin, "look-around is not supported");
    if (accept(p, "?P<") || accept(p, "?<")) {
        while (!at_end(p) && !sees(p, ">"))
            p->at++;
        if (!accept(p, ">"))
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this name has no '>'");
    } else if (!accept(p, "?:") && sees(p, "?"))
        refuse(p, GR_ERROR_UNSUPPORTED, begin, "this kind of group is not supported");
    if (++p->depth > DEPTH_MAX)
        refuse(p, GR_ERROR_OUT_OF_RANGE, begin, "groups nested more than %d deep", DEPTH_MAX);
    node inside = p->status == GR_OK ? alternatives(p) : plain(GR_EXPR_NONE);
    p->depth--;
    if (!accept(p, ")"))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "this group has no ')'");
    return inside;
}

static node atom(parser *p) {
    size_t begin = p->at;
    gr_points points = {0};
    if (accept(p, "("))
        return group(p);
    if (accept(p, "["))
        return plain(class(p));
    if (accept(p, "^"))
        return (node){.kind = BEGIN, .at = begin};
    if (accept(p, "$"))
        return (node){.kind = END, .at = begin};
    if (sees(p, "*") || sees(p, "+") || sees(p, "?"))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "nothing to repeat");
    if (accept(p, "."))
        gr_points_dot(p->builder, &points);
    else if (!class_escape(p, &points, false)) {
        uint32_t point = accept(p, "\\") && p->at < p->text.size ? escape(p, false)
                         : p->at < p->text.size                  ? next_point(p)
                                                                 : 0;
        if (p->at == begin + 1 && p->text.data[begin] == '\\')
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "nothing behind the backslash");
        gr_points_add(p->builder, &points, point, point);
    }
    gr_points_tidy(&points);
    gr_expr expr = gr_expr_points(p->builder, &points, p->options->spelling);
    gr_points_deinit(&points);
    return plain(expr);
}

static uint32_t count(parser *p) {
    size_t begin = p->at;
    uint32_t value = 0;
    while (p->at < p->text.size && p->text.data[p->at] >= '0' && p->text.data[p->at] <= '9') {
        value = value * 10 + (uint32_t)(p->text.data[p->at++] - '0');
        if (value > COUNT_MAX) {
            refuse(p, GR_ERROR_OUT_OF_RANGE, begin, "a count beyond %d", COUNT_MAX);
            return 0;
        }
    }
    if (p->at == begin)
        refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "expected a count");
    return value;
}

// Reads a quantifier; false when there is none.
static bool quantifier(parser *p, uint32_t *out_least, uint32_t *out_most) {
    size_t begin = p->at;
    *out_least = 0;
    *out_most = GR_UNBOUNDED;
    if (accept(p, "*")) {
    } else if (accept(p, "+")) {
        *out_least = 1;
    } else if (accept(p, "?")) {
        *out_most = 1;
    } else if (accept(p, "{")) {
        *out_least = *out_most = count(p);
        if (accept(p, ","))
            *out_most = sees(p, "}") ? GR_UNBOUNDED : count(p);
        if (!accept(p, "}") || *out_least > *out_most)
            refuse(p, GR_ERROR_INVALID_ARGUMENT, begin, "expected {n}, {n,} or {n,m}");
    } else
        return false;
    if (sees(p, "+") || sees(p, "*") || sees(p, "{"))
        refuse(p, GR_ERROR_INVALID_ARGUMENT, p->at, "a repetition of a repetition");
    accept(p, "?"); // as few as possible: the same language
    return true;
}

static node sequence(parser *p) {
    node all = plain(GR_EXPR_EMPTY);
    uint32_t least, most;
    while (!at_end(p) && !sees(p, "|") && !sees(p, ")")) {
        size_t begin = p->at;
        node one = atom(p);
        if (!at_end(p) && quantifier(p, &least, &most)) {
            if (one.kind == PLAIN)
                one.expr = gr_expr_repeat(p->builder, one.expr, least, most);
            else if (least == 0 && most == 1)
                one = (node){.kind = OPTION, .a = add_node(p, one), .at = begin};
            else
                refuse(p, GR_ERROR_UNSUPPORTED, begin, "an anchor inside a repetition");
        }
        all = join(p, SEQ, all, one);
    }
    return all;
}

static node alternatives(parser *p) {
    node all = sequence(p);
    while (accept(p, "|"))
        all = join(p, ALT, all, sequence(p));
    return all;
}

// ---- From the tree to one expression

// What may stand beside a node: nothing (it is at the edge of the text), any text, or what the
// pattern says.
typedef enum edge { CLOSED, OPEN, INSIDE } edge;

static gr_expr wrap(parser *p, edge left, gr_expr expr, edge right) {
    if (left == OPEN)
        expr = gr_expr_seq(p->builder, p->any, expr);
    return right == OPEN ? gr_expr_seq(p->builder, expr, p->any) : expr;
}

static gr_expr settle(parser *p, const node *n, edge left, edge right) {
    const node *a = &p->nodes[n->a], *b = &p->nodes[n->b];
    switch (n->kind) {
    case PLAIN: return wrap(p, left, n->expr, right);
    case BEGIN:
        if (left == INSIDE)
            refuse(p, GR_ERROR_UNSUPPORTED, n->at, "'^' behind something");
        return wrap(p, CLOSED, GR_EXPR_EMPTY, right);
    case END:
        if (right == INSIDE)
            refuse(p, GR_ERROR_UNSUPPORTED, n->at, "'$' before something");
        return wrap(p, left, GR_EXPR_EMPTY, CLOSED);
    case ALT: {
        gr_expr first = settle(p, a, left, right);
        return gr_expr_alt(p->builder, first, settle(p, b, left, right));
    }
    case OPTION:
        return gr_expr_alt(p->builder, wrap(p, left, GR_EXPR_EMPTY, right),
                           settle(p, a, left, right));
    case SEQ:
        if (a->kind == BEGIN && left != INSIDE)
            return settle(p, b, CLOSED, right);
        if (b->kind == END && right != INSIDE)
            return settle(p, a, left, CLOSED);
        gr_expr first = settle(p, a, left, INSIDE);
        return gr_expr_seq(p->builder, first, settle(p, b, INSIDE, right));
    }
    return GR_EXPR_NONE;
}

gr_status gr_regex_build(gr_grammar_builder *builder, gr_str text, const gr_regex_options *options,
                         gr_expr *out_expr, gr_error *error) {
    parser *p = calloc(1, sizeof *p);
    *out_expr = GR_EXPR_NONE;
    if (!p)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN, "no memory for a grammar");
    *p = (parser){.builder = builder, .text = text, .options = options, .error = error};
    gr_points all = {0};
    gr_points_negate(builder, &all);
    p->any = gr_expr_repeat(builder, gr_expr_points(builder, &all, options->spelling), 0,
                            GR_UNBOUNDED);
    gr_points_deinit(&all);
    node root = alternatives(p);
    if (p->status == GR_OK && p->at < text.size)
        refuse(p, GR_ERROR_INVALID_ARGUMENT, p->at, "a ')' without its '('");
    edge side = options->search ? OPEN : CLOSED;
    if (p->status == GR_OK)
        *out_expr = settle(p, &root, side, side);
    gr_status status = p->status != GR_OK ? p->status : gr_rules_status(builder);
    free(p);
    return status;
}
