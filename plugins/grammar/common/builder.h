// SPDX-License-Identifier: Apache-2.0
// builder.h: expressions and rules as they are stored, for what compiles them. Inside
// plugins/grammar/common.
#ifndef GREGALE_GRAMMAR_BUILDER_H
#define GREGALE_GRAMMAR_BUILDER_H

#include "plugins/grammar/common/build.h"
#include "plugins/grammar/common/table.h"

enum {
    GR_LIMIT_EXPRS = 1 << 20,
    GR_LIMIT_RULES = 1 << 16,
    GR_LIMIT_NFA = 1 << 20,
    GR_LIMIT_STATES = 1 << 18,
    GR_LIMIT_TABLE = 1 << 24,  // transitions
    GR_LIMIT_SUBSETS = 1 << 24 // numbers in subsets of the nondeterministic automaton
};

// An expression is a list of four numbers: kind and operands.
enum {
    GR_KIND_NONE,
    GR_KIND_EMPTY,
    GR_KIND_SET,     // of bytes: index into sets
    GR_KIND_SEQ,     // a, b
    GR_KIND_ALT,     // a, b
    GR_KIND_REPEAT,  // x, least, most
    GR_KIND_RULE,    // rule
    GR_KIND_REGULAR, // state of a finite automaton: automaton, state
    GR_KIND_HORIZON  // never built: stands for a state in horizons
};

typedef struct gr_rule {
    char name[48];
    gr_expr body;
    bool defined, separate, inlined;
    uint32_t size; // of the body, what is inlined included
} gr_rule;

struct gr_automaton;
struct gr_grammar_builder {
    gr_list_table exprs, sets; // of 4 and of 8 numbers
    uint32_t *sizes;           // of each expression: states it takes, about
    uint8_t *nullable;
    uint32_t size_capacity, nullable_capacity;
    gr_rule *rules;
    uint32_t rule_count, rule_capacity;
    struct gr_automaton *regulars;
    uint32_t regular_count, regular_capacity;
    gr_pair_table blocks; // (expression, count) to the rule that repeats it
    // Horizons: numbers for states that cannot be told apart by texts of at most `longest` bytes.
    gr_pair_table horizon_pairs;
    gr_list_table horizon_lists;
    uint32_t horizon_count, longest;
    gr_status status;
    gr_error *error;
};

gr_status gr_rules_init(gr_grammar_builder *builder, uint32_t longest, gr_error *error);
void gr_rules_deinit(gr_grammar_builder *builder);
gr_status gr_rules_no_memory(gr_grammar_builder *builder);
gr_expr gr_expr_make(gr_grammar_builder *builder, uint32_t kind, uint32_t a, uint32_t b,
                     uint32_t c);
static inline const uint32_t *gr_expr_get(const gr_grammar_builder *builder, gr_expr expr) {
    return builder->exprs.items + (size_t)expr * 4;
}
static inline const uint32_t *gr_set_get(const gr_grammar_builder *builder, uint32_t set) {
    return builder->sets.items + (size_t)set * 8;
}
// About how many states an expression takes.
uint32_t gr_expr_measure(const gr_grammar_builder *builder, const uint32_t *expr);
// Decides which rules are inlined and measures everything. Every rule must be defined.
gr_status gr_rules_analyse(gr_grammar_builder *builder);

#endif
