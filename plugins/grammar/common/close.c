// SPDX-License-Identifier: Apache-2.0
// close.c: the shortest way from every state to the end of its rule, in bytes (Dijkstra's algorithm,
// where a call costs the way through its rule: Knuth 1977), then in tokens along that way.
#include "plugins/grammar/common/close.h"

#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/arrows.h"

enum {
    NEVER = GR_CLOSE_NEVER,
    NO_TOKEN = 64, // what a byte costs that is no token of its own
    BY_CALL = 256  // way[]: not by a byte
};

typedef struct search {
    gr_grammar_builder *builder;
    gr_automaton *a;
    const gr_token_trie *trie;
    gr_arrows moves, returns, callers; // by state, by the state a call comes back to, by rule
    uint32_t *rule_of;              // [states]: 1 + the first rule that begins there
    uint32_t *rule_next;            // [rules]: 1 + the next one that begins in the same state
    uint32_t class_cost[256];
    uint8_t class_byte[256];
    uint32_t *bytes;     // [states]: the way's length so far
    uint16_t *way;       // [states]: the class of its first move, or BY_CALL
    uint32_t *way_call;  // [states]
    uint8_t *done;       // [states]
    uint32_t *order;     // states as they were done
    uint32_t done_count;
    uint64_t *heap; // length, state
    uint32_t heap_count, heap_capacity;
} search;

// ---- Bytes

static void heap_push(search *s, uint32_t length, uint32_t state) {
    if (!gr_grow(&s->heap, &s->heap_capacity, s->heap_count + 1u, sizeof *s->heap)) {
        gr_rules_no_memory(s->builder);
        return;
    }
    uint64_t item = (uint64_t)length << 32 | state;
    uint32_t at = s->heap_count++;
    for (; at && s->heap[(at - 1) / 2] > item; at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = item;
}

static uint32_t heap_pop(search *s) {
    uint64_t first = s->heap[0], item = s->heap[--s->heap_count];
    uint32_t at = 0;
    for (uint32_t child; (child = at * 2 + 1) < s->heap_count; at = child) {
        child += child + 1 < s->heap_count && s->heap[child + 1] < s->heap[child];
        if (s->heap[child] >= item)
            break;
        s->heap[at] = s->heap[child];
    }
    s->heap[at] = item;
    return (uint32_t)first;
}

static void offer(search *s, uint32_t state, uint64_t length, uint32_t class, uint32_t call) {
    if (s->done[state] || length >= s->bytes[state])
        return;
    s->bytes[state] = (uint32_t)length;
    s->way[state] = (uint16_t)class;
    s->way_call[state] = call;
    heap_push(s, (uint32_t)length, state);
}

static void offer_call(search *s, const gr_arrow *one) {
    const gr_call *call = &s->a->calls[one->label];
    uint32_t entry = s->a->entry[call->rule];
    if (s->done[entry] && s->done[call->to])
        offer(s, one->from, (uint64_t)s->bytes[entry] + s->bytes[call->to], BY_CALL, one->label);
}

static void settle(search *s, uint32_t state) {
    s->done[state] = 1;
    s->order[s->done_count++] = state;
    for (uint32_t i = s->moves.start[state]; i < s->moves.start[state + 1]; i++) {
        const gr_arrow *one = &s->moves.data[i];
        offer(s, one->from, (uint64_t)s->bytes[state] + s->class_cost[one->label], one->label, 0);
    }
    for (uint32_t i = s->returns.start[state]; i < s->returns.start[state + 1]; i++)
        offer_call(s, &s->returns.data[i]);
    for (uint32_t rule = s->rule_of[state]; rule; rule = s->rule_next[rule - 1])
        for (uint32_t i = s->callers.start[rule - 1]; i < s->callers.start[rule]; i++)
            offer_call(s, &s->callers.data[i]);
}

static void find_bytes(search *s) {
    const gr_automaton *a = s->a;
    for (uint32_t state = 0; state < a->states; state++) {
        s->bytes[state] = NEVER;
        if (a->accept[state])
            offer(s, state, 0, BY_CALL, GR_TABLE_FULL);
    }
    while (s->heap_count && s->builder->status == GR_OK) {
        uint32_t state = heap_pop(s);
        if (!s->done[state])
            settle(s, state);
    }
}

// ---- Tokens

static uint32_t sum(uint32_t a, uint32_t b) {
    return a + b < NEVER ? a + b : NEVER - 1;
}

// Along the bytes of the way, the fewest tokens; a call or the end of the rule ends a token.
static void count_tokens(search *s, uint32_t state, gr_close *close) {
    const gr_automaton *a = s->a;
    uint32_t node = 0, at = state;
    if (s->way[state] == BY_CALL) {
        if (s->way_call[state] == GR_TABLE_FULL)
            return; // 0: the rule may end
        const gr_call *call = &a->calls[s->way_call[state]];
        uint32_t inside = close->depth[a->entry[call->rule]] + (call->to != GR_STATE_END);
        close->tokens[state] = sum(close->tokens[a->entry[call->rule]], close->tokens[call->to]);
        close->depth[state] = inside > close->depth[call->to] ? inside : close->depth[call->to];
        return;
    }
    uint32_t next = a->next[(size_t)state * a->classes + s->way[state]];
    close->depth[state] = close->depth[next];
    close->tokens[state] = sum(s->class_cost[s->way[state]], close->tokens[next]);
    while (s->way[at] != BY_CALL) {
        node = gr_trie_child(s->trie, node, s->class_byte[s->way[at]]);
        if (!node)
            return;
        at = a->next[(size_t)at * a->classes + s->way[at]];
        uint32_t tokens = sum(1, close->tokens[at]);
        if (s->trie->nodes[node].count && tokens < close->tokens[state])
            close->tokens[state] = tokens;
    }
}

// ---- What leads nowhere

static void prune(search *s) {
    gr_automaton *a = s->a;
    uint32_t count = 0;
    for (size_t i = 0; i < (size_t)a->states * a->classes; i++)
        if (!s->done[a->next[i]])
            a->next[i] = GR_STATE_DEAD;
    for (uint32_t state = 0; state < a->states; state++) {
        uint32_t begin = a->call_start[state], end = a->call_start[state + 1];
        a->call_start[state] = count;
        for (uint32_t i = begin; i < end; i++)
            if (s->done[a->calls[i].to] && s->done[a->entry[a->calls[i].rule]])
                a->calls[count++] = a->calls[i];
    }
    a->call_start[a->states] = count;
}

// ---- Rules that begin with themselves

typedef struct firsts {
    search *s;
    uint32_t *stack, stack_count, stack_capacity;
    uint32_t *mark; // [states]
    uint8_t *colour; // [rules]: 0 new, 1 open, 2 closed
} firsts;

static void firsts_push(firsts *f, uint32_t item) {
    if (gr_grow(&f->stack, &f->stack_capacity, f->stack_count + 1u, 4))
        f->stack[f->stack_count++] = item;
    else
        gr_rules_no_memory(f->s->builder);
}

// Pushes the rules that `rule` may call before any byte. What follows a call that may be empty
// counts too.
static void push_firsts(firsts *f, uint32_t rule) {
    const gr_automaton *a = f->s->a;
    uint32_t queue_capacity = 0, tail = 0, *queue = NULL;
    if (gr_grow(&queue, &queue_capacity, 1, 4))
        queue[tail++] = a->entry[rule];
    for (uint32_t head = 0; head < tail; head++)
        for (uint32_t i = a->call_start[queue[head]]; i < a->call_start[queue[head] + 1]; i++) {
            const gr_call *call = &a->calls[i];
            firsts_push(f, call->rule << 1);
            if (f->s->bytes[a->entry[call->rule]] || f->mark[call->to] == rule + 1)
                continue;
            f->mark[call->to] = rule + 1;
            if (gr_grow(&queue, &queue_capacity, tail + 1u, 4))
                queue[tail++] = call->to;
        }
    if (!queue)
        gr_rules_no_memory(f->s->builder);
    free(queue);
}

// A walk in depth over "may begin with"; an item is a rule, with bit 0 once its own are done.
static void refuse_left_recursion(search *s) {
    const gr_automaton *a = s->a;
    firsts f = {.s = s};
    f.mark = calloc(a->states, 4);
    f.colour = calloc(1, (size_t)a->rules + 1);
    if (!f.mark || !f.colour)
        gr_rules_no_memory(s->builder);
    for (uint32_t rule = 0; rule < a->rules && s->builder->status == GR_OK; rule++) {
        if (a->entry[rule] != GR_STATE_DEAD)
            firsts_push(&f, rule << 1);
        while (f.stack_count && s->builder->status == GR_OK) {
            uint32_t item = f.stack[--f.stack_count], at = item >> 1;
            if (item & 1) {
                f.colour[at] = 2;
            } else if (f.colour[at] == 1) {
                gr_rules_fail(s->builder, GR_ERROR_INVALID_ARGUMENT,
                                "rule '%s' begins with itself (left recursion): write it as a "
                                "repetition",
                                s->builder->rules[at].name);
            } else if (f.colour[at] == 0) {
                f.colour[at] = 1;
                firsts_push(&f, at << 1 | 1);
                push_firsts(&f, at);
            }
        }
    }
    free(f.stack);
    free(f.mark);
    free(f.colour);
}

// ---- All of it

static void weigh_classes(search *s) {
    for (int byte = 255; byte >= 0; byte--) {
        uint32_t class = s->a->byte_class[byte], node = s->trie->root[byte];
        uint32_t cost = node && s->trie->nodes[node].count ? 1 : NO_TOKEN;
        if (s->class_cost[class] && s->class_cost[class] < cost)
            continue;
        s->class_cost[class] = cost;
        s->class_byte[class] = (uint8_t)byte;
    }
}

static bool allocate(search *s, gr_close *close) {
    uint32_t states = s->a->states, rules = s->a->rules;
    close->tokens = calloc(states, 4);
    close->depth = calloc(states, 4);
    s->rule_of = calloc(states, 4);
    s->rule_next = calloc((size_t)rules + 1, 4);
    s->bytes = malloc((size_t)states * 4);
    s->way = calloc(states, 2);
    s->way_call = calloc(states, 4);
    s->done = calloc(states, 1);
    s->order = malloc((size_t)states * 4);
    if (!close->tokens || !close->depth || !s->rule_of || !s->rule_next || !s->bytes || !s->way ||
        !s->way_call || !s->done || !s->order)
        return false;
    for (uint32_t rule = 0; rule < rules; rule++) {
        uint32_t entry = s->a->entry[rule];
        s->rule_next[rule] = s->rule_of[entry];
        s->rule_of[entry] = rule + 1;
    }
    weigh_classes(s);
    return gr_arrows_moves(&s->moves, s->a, s->class_cost) &&
           gr_arrows_calls(&s->returns, &s->callers, s->a);
}

static void release(search *s) {
    gr_arrows_deinit(&s->moves);
    gr_arrows_deinit(&s->returns);
    gr_arrows_deinit(&s->callers);
    free(s->rule_of);
    free(s->rule_next);
    free(s->bytes);
    free(s->way);
    free(s->way_call);
    free(s->done);
    free(s->order);
    free(s->heap);
}

gr_status gr_close_find(gr_grammar_builder *builder, gr_automaton *automaton,
                        const gr_token_trie *trie, gr_close *out_close) {
    search s = {.builder = builder, .a = automaton, .trie = trie};
    *out_close = (gr_close){0};
    if (!allocate(&s, out_close))
        gr_rules_no_memory(builder);
    if (builder->status == GR_OK)
        find_bytes(&s);
    for (uint32_t i = 0; i < s.done_count && builder->status == GR_OK; i++)
        count_tokens(&s, s.order[i], out_close);
    if (builder->status == GR_OK && !s.done[automaton->entry[0]])
        gr_rules_fail(builder, GR_ERROR_INVALID_ARGUMENT, "nothing at all satisfies the grammar");
    if (builder->status == GR_OK) {
        prune(&s);
        refuse_left_recursion(&s);
    }
    release(&s);
    if (builder->status != GR_OK)
        gr_close_deinit(out_close);
    return builder->status;
}

void gr_close_deinit(gr_close *close) {
    free(close->tokens);
    free(close->depth);
    *close = (gr_close){0};
}
