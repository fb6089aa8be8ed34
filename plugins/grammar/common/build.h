// SPDX-License-Identifier: Apache-2.0
// build.h: writing a language down. For the kinds of grammar. One thread a builder.
//
// A language is a set of rules over bytes; rule 0 is the whole answer. A rule is an expression, and
// expressions are numbers: equal ones have equal numbers, so that what is shared is stored, and
// compiled, once. The first failure sticks: later calls return GR_EXPR_NONE and do nothing, and
// gr_grammar_create reads the error once.
#ifndef GREGALE_GRAMMAR_BUILD_H
#define GREGALE_GRAMMAR_BUILD_H

#include "gregale/linked/grammar.h"

#define GR_GRAMMAR_ORIGIN "grammar"

typedef uint32_t gr_expr;
enum { GR_EXPR_NONE = 0, GR_EXPR_EMPTY = 1 }; // matches nothing; matches the empty text

#define GR_UNBOUNDED UINT32_MAX

// Records a failure in the builder's error and makes it stick.
GR_PRINTF(3, 4)
gr_status gr_rules_fail(gr_grammar_builder *builder, gr_status code, const char *format, ...);
gr_status gr_rules_status(const gr_grammar_builder *builder);

// ---- Expressions

gr_expr gr_expr_text(gr_grammar_builder *builder, gr_str text);
gr_expr gr_expr_string(gr_grammar_builder *builder, const char *text); // ends with NUL
gr_expr gr_expr_bytes(gr_grammar_builder *builder, uint8_t first, uint8_t last); // one byte
gr_expr gr_expr_seq(gr_grammar_builder *builder, gr_expr a, gr_expr b);
gr_expr gr_expr_alt(gr_grammar_builder *builder, gr_expr a, gr_expr b);
// From `least` to `most` times; GR_UNBOUNDED: no limit.
gr_expr gr_expr_repeat(gr_grammar_builder *builder, gr_expr x, uint32_t least, uint32_t most);
static inline gr_expr gr_expr_optional(gr_grammar_builder *builder, gr_expr x) {
    return gr_expr_alt(builder, GR_EXPR_EMPTY, x);
}
gr_expr gr_expr_rule(gr_grammar_builder *builder, uint32_t rule);
// What both match, or `a` but not `b`. Expressions without rules; costs the product of their sizes.
gr_expr gr_expr_both(gr_grammar_builder *builder, gr_expr a, gr_expr b);
gr_expr gr_expr_except(gr_grammar_builder *builder, gr_expr a, gr_expr b);
// Decimal digits that are a multiple of `divisor`; leading zeros are allowed.
gr_expr gr_expr_multiple(gr_grammar_builder *builder, uint32_t divisor);
// Whether `x`, without rules, matches the whole text.
bool gr_expr_matches(gr_grammar_builder *builder, gr_expr x, gr_str text);

// ---- Rules

// A new rule, to be defined by the end; `name` is for messages and copied. A `separate` one is
// compiled once, however often it is used: right for what is large and ends with a character of its
// own, as a quoted string does.
uint32_t gr_rule_add(gr_grammar_builder *builder, gr_str name, bool separate);
void gr_rule_define(gr_grammar_builder *builder, uint32_t rule, gr_expr body);

// ---- Characters

// A set of code points: ranges, sorted and apart once gr_points_tidy has seen them. Zero it to
// begin.
typedef struct gr_points {
    uint32_t (*ranges)[2]; // first, last
    uint32_t count, capacity;
} gr_points;
void gr_points_add(gr_grammar_builder *builder, gr_points *points, uint32_t first, uint32_t last);
void gr_points_tidy(gr_points *points);
// Turns the set into all other code points; tidies.
void gr_points_negate(gr_grammar_builder *builder, gr_points *points);
void gr_points_deinit(gr_points *points);

// How a character is spelled in the answer: as UTF-8, or as inside a JSON string, with escapes
// where JSON needs them and nowhere else.
typedef uint32_t gr_spelling;
enum { GR_SPELL_UTF8 = 0, GR_SPELL_JSON = 1 };
// One character out of `points`, which are tidy. Surrogates are left out.
gr_expr gr_expr_points(gr_grammar_builder *builder, const gr_points *points, gr_spelling spelling);
gr_expr gr_expr_spelled(gr_grammar_builder *builder, gr_str text, gr_spelling spelling); // UTF-8
// The next code point of `text` at *at, which advances; UINT32_MAX where it is not UTF-8.
uint32_t gr_utf8_next(gr_str text, size_t *at);

// ---- Regular expressions

// `search`: the language of texts that hold a match, as JSON Schema's pattern asks; else of those
// that are one. Messages count characters from 1.
typedef struct gr_regex_options {
    gr_spelling spelling;
    bool search;
} gr_regex_options;
gr_status gr_regex_build(gr_grammar_builder *builder, gr_str text, const gr_regex_options *options,
                         gr_expr *out_expr, gr_error *error);

#endif
