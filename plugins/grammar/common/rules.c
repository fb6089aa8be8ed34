// SPDX-License-Identifier: Apache-2.0
// rules.c: which rules are inlined where they are used: those that are small and not recursive. A
// rule that only ends with itself counts as a loop, not as recursive.
#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/builder.h"

enum { INLINE_SIZE = 512, MEASURE_PASSES = 32 };

typedef struct walk {
    gr_grammar_builder *builder;
    uint32_t *inside, *last; // [exprs]: the rule whose walk has seen it, in the middle or at the end
    uint32_t *stack, stack_count, stack_capacity;
    // Of each rule the distinct rules it uses, laid end to end.
    uint32_t *uses, use_count, use_capacity, *use_start;
    uint32_t *seen; // [rules]: the rule that has noted it
    bool failed;
} walk;

static void visit(walk *w, gr_expr expr, bool at_end, uint32_t rule) {
    uint32_t *mark = at_end ? &w->last[expr] : &w->inside[expr];
    if (*mark == rule + 1 || w->inside[expr] == rule + 1)
        return;
    *mark = rule + 1;
    if (!gr_grow(&w->stack, &w->stack_capacity, w->stack_count + 1u, sizeof *w->stack)) {
        w->failed = true;
        return;
    }
    w->stack[w->stack_count++] = expr << 1 | at_end;
}

static void note(walk *w, uint32_t rule, uint32_t used, bool at_end) {
    if ((used == rule && at_end) || w->seen[used] == rule + 1)
        return;
    w->seen[used] = rule + 1;
    if (gr_grow(&w->uses, &w->use_capacity, w->use_count + 1u, sizeof *w->uses))
        w->uses[w->use_count++] = used;
    else
        w->failed = true;
}

static void walk_rule(walk *w, uint32_t rule) {
    w->use_start[rule] = w->use_count;
    visit(w, w->builder->rules[rule].body, true, rule);
    while (w->stack_count && !w->failed) {
        uint32_t top = w->stack[--w->stack_count];
        const uint32_t *expr = gr_expr_get(w->builder, top >> 1);
        bool at_end = top & 1;
        switch (expr[0]) {
        case GR_KIND_SEQ:
            visit(w, expr[1], false, rule);
            visit(w, expr[2], at_end, rule);
            break;
        case GR_KIND_ALT:
            visit(w, expr[1], at_end, rule);
            visit(w, expr[2], at_end, rule);
            break;
        case GR_KIND_REPEAT: visit(w, expr[1], false, rule); break;
        case GR_KIND_RULE: note(w, rule, expr[1], at_end); break;
        default: break;
        }
    }
}

// Takes rules away whose uses are all taken away; what stays uses itself or something that does.
static bool find_flat(walk *w) {
    gr_grammar_builder *b = w->builder;
    uint32_t rules = b->rule_count, head = 0, tail = 0;
    uint32_t *open = calloc((size_t)rules + 1, 4), *queue = malloc(((size_t)rules + 1) * 4);
    uint32_t *start = calloc((size_t)rules + 2, 4), *users = malloc(((size_t)w->use_count + 1) * 4);
    bool fine = open && queue && start && users;
    for (uint32_t i = 0; fine && i < w->use_count; i++)
        start[w->uses[i] + 2]++;
    for (uint32_t r = 0; fine && r < rules; r++)
        start[r + 2] += start[r + 1];
    for (uint32_t r = 0; fine && r < rules; r++)
        for (uint32_t i = w->use_start[r]; i < w->use_start[r + 1]; i++, open[r]++)
            users[start[w->uses[i] + 1]++] = r;
    for (uint32_t r = 0; fine && r < rules; r++)
        if (!open[r])
            queue[tail++] = r;
    while (fine && head < tail) {
        uint32_t rule = queue[head++];
        b->rules[rule].inlined = !b->rules[rule].separate;
        for (uint32_t i = start[rule]; i < start[rule + 1]; i++)
            if (!--open[users[i]])
                queue[tail++] = users[i];
    }
    free(open);
    free(queue);
    free(start);
    free(users);
    return fine;
}

static void measure(gr_grammar_builder *b) {
    bool changed = true;
    for (int pass = 0; changed && pass < MEASURE_PASSES; pass++) {
        changed = false;
        for (uint32_t i = 0; i < b->exprs.count; i++)
            b->sizes[i] = gr_expr_measure(b, gr_expr_get(b, i));
        for (uint32_t r = 0; r < b->rule_count; r++) {
            gr_rule *rule = &b->rules[r];
            uint32_t size = b->sizes[rule->body];
            changed = changed || size != rule->size;
            rule->size = size;
            rule->inlined = rule->inlined && size <= INLINE_SIZE;
        }
    }
}

gr_status gr_rules_analyse(gr_grammar_builder *b) {
    walk w = {.builder = b};
    if (b->status != GR_OK)
        return b->status;
    for (uint32_t r = 0; r < b->rule_count; r++)
        if (!b->rules[r].defined)
            return gr_rules_fail(b, GR_ERROR_INVALID_ARGUMENT, "rule '%s' is used, not defined",
                                   b->rules[r].name);
    w.inside = calloc(b->exprs.count, 4);
    w.last = calloc(b->exprs.count, 4);
    w.seen = calloc((size_t)b->rule_count + 1, 4);
    w.use_start = calloc((size_t)b->rule_count + 1, 4);
    w.failed = !w.inside || !w.last || !w.seen || !w.use_start;
    for (uint32_t r = 0; r < b->rule_count && !w.failed; r++)
        walk_rule(&w, r);
    if (!w.failed) {
        w.use_start[b->rule_count] = w.use_count;
        w.failed = !find_flat(&w);
    }
    if (!w.failed)
        measure(b);
    free(w.inside);
    free(w.last);
    free(w.seen);
    free(w.use_start);
    free(w.uses);
    free(w.stack);
    return w.failed ? gr_rules_no_memory(b) : GR_OK;
}
