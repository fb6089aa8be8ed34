// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/trie.h"

#include <stdlib.h>
#include <string.h>

#include "plugins/grammar/common/build.h"
#include "plugins/grammar/common/table.h"

static bool stands_for_text(const gr_tokenizer *tokenizer, uint32_t token) {
    uint8_t type = tokenizer->vocab.types[token];
    return (type == GR_TOKEN_NORMAL || type == GR_TOKEN_USER_DEFINED || type == GR_TOKEN_BYTE) &&
           !gr_tokenizer_is_end(tokenizer, (gr_token)token);
}

static bool read_tokens(gr_token_trie *trie, const gr_tokenizer *tokenizer) {
    uint32_t size = tokenizer->vocab.size, count = size < trie->vocab ? size : trie->vocab;
    uint32_t bytes = 0, capacity = 0, ends = 0;
    trie->starts = calloc((size_t)trie->vocab + 1, sizeof *trie->starts);
    trie->tokens = malloc(((size_t)count + 1) * sizeof *trie->tokens);
    if (!trie->starts || !trie->tokens)
        return false;
    for (uint32_t token = 0; token < count; token++) {
        trie->starts[token] = bytes;
        if (gr_tokenizer_is_end(tokenizer, (gr_token)token)) {
            if (!gr_grow(&trie->ends, &ends, trie->end_count + 1u, sizeof *trie->ends))
                return false;
            trie->ends[trie->end_count++] = (gr_token)token;
        }
        size_t length = stands_for_text(tokenizer, token)
                            ? gr_tokenizer_piece(tokenizer, (gr_token)token, false, NULL, 0)
                            : 0;
        if (!length || length > GR_TOKEN_BYTES_MAX)
            continue;
        if (!gr_grow(&trie->bytes, &capacity, bytes + length, 1))
            return false;
        gr_tokenizer_piece(tokenizer, (gr_token)token, false, trie->bytes + bytes, length);
        bytes += (uint32_t)length;
        trie->longest = length > trie->longest ? (uint32_t)length : trie->longest;
        trie->tokens[trie->token_count++] = (gr_token)token;
    }
    for (uint32_t token = count; token <= trie->vocab; token++)
        trie->starts[token] = bytes;
    return true;
}

// A token and the bytes it is sorted by.
typedef struct entry {
    const char *bytes;
    uint32_t size;
    gr_token token;
} entry;

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    uint32_t common = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->bytes, y->bytes, common);
    if (order)
        return order;
    return x->size != y->size ? (x->size > y->size) - (x->size < y->size)
                              : (x->token > y->token) - (x->token < y->token);
}

static bool sort_tokens(gr_token_trie *trie) {
    entry *entries = malloc(((size_t)trie->token_count + 1) * sizeof *entries);
    if (!entries)
        return false;
    for (uint32_t i = 0; i < trie->token_count; i++) {
        gr_str text = gr_trie_text(trie, trie->tokens[i]);
        entries[i] = (entry){text.data, (uint32_t)text.size, trie->tokens[i]};
    }
    qsort(entries, trie->token_count, sizeof *entries, by_bytes);
    for (uint32_t i = 0; i < trie->token_count; i++)
        trie->tokens[i] = entries[i].token;
    free(entries);
    return true;
}

// The nodes of the path from `from` to `to` have all their children: the deepest come first.
static void close_nodes(gr_token_trie *trie, const uint32_t *path, uint32_t from, uint32_t to) {
    for (uint32_t depth = to + 1; depth-- > from;) {
        gr_trie_node *node = &trie->nodes[path[depth]];
        node->end = trie->node_count;
        node->height++;
        if (!depth)
            return;
        gr_trie_node *parent = &trie->nodes[path[depth - 1]];
        parent->height = node->height > parent->height ? node->height : parent->height;
    }
}

uint32_t gr_trie_child(const gr_token_trie *trie, uint32_t node, uint8_t byte) {
    if (!node)
        return trie->root[byte];
    for (uint32_t child = node + 1; child < trie->nodes[node].end; child = trie->nodes[child].end)
        if (trie->nodes[child].byte >= byte)
            return trie->nodes[child].byte == byte ? child : 0;
    return 0;
}

// A node is of the narrowest kind that all texts from its byte on are of.
static void find_kinds(gr_token_trie *trie) {
    for (uint32_t i = 0; i < trie->token_count; i++) {
        gr_str text = gr_trie_text(trie, trie->tokens[i]);
        for (size_t begin = 0, node = 0; begin < text.size; begin++) {
            node = gr_trie_child(trie, (uint32_t)node, (uint8_t)text.data[begin]);
            gr_text_rest rest = GR_REST_NONE;
            gr_text_kind kind = trie->nodes[node].kind;
            for (size_t at = begin; at < text.size && kind < GR_TEXT_OTHER;) {
                gr_text_rest next = gr_text_step(kind, rest, (uint8_t)text.data[at]);
                kind += next == GR_REST_WRONG;
                at += next != GR_REST_WRONG;
                rest = next != GR_REST_WRONG ? next : rest;
            }
            trie->nodes[node].kind = (uint8_t)kind;
        }
    }
}

static bool grow_tree(gr_token_trie *trie) {
    uint32_t path[GR_TOKEN_BYTES_MAX + 1] = {0}, depth = 0, capacity = 0;
    gr_str before = {"", 0};
    if (!gr_grow(&trie->nodes, &capacity, 1, sizeof *trie->nodes))
        return false;
    trie->nodes[0] = (gr_trie_node){0};
    trie->node_count = 1;
    for (uint32_t i = 0; i < trie->token_count; i++) {
        gr_str text = gr_trie_text(trie, trie->tokens[i]);
        uint32_t common = 0;
        while (common < before.size && common < text.size &&
               before.data[common] == text.data[common])
            common++;
        close_nodes(trie, path, common + 1, depth);
        for (depth = common; depth < text.size; trie->node_count++) {
            if (!gr_grow(&trie->nodes, &capacity, trie->node_count + 1u, sizeof *trie->nodes))
                return false;
            path[++depth] = trie->node_count;
            trie->nodes[trie->node_count] = (gr_trie_node){
                .tokens = i, .byte = (uint8_t)text.data[depth - 1], .depth = (uint8_t)depth};
        }
        if (trie->nodes[path[depth]].count < UINT16_MAX)
            trie->nodes[path[depth]].count++;
        before = text;
    }
    close_nodes(trie, path, 0, depth);
    if (!gr_grow(&trie->nodes, &capacity, trie->node_count + 1u, sizeof *trie->nodes))
        return false;
    trie->nodes[trie->node_count] = (gr_trie_node){.tokens = trie->token_count};
    for (uint32_t node = 1; node < trie->node_count; node = trie->nodes[node].end)
        trie->root[trie->nodes[node].byte] = node;
    find_kinds(trie);
    return true;
}

gr_status gr_token_trie_create(const gr_tokenizer *tokenizer, uint32_t vocab,
                               gr_token_trie **out_trie, gr_error *error) {
    *out_trie = NULL;
    gr_token_trie *trie = calloc(1, sizeof *trie);
    if (!trie)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN, "no memory for tokens");
    trie->references = 1;
    trie->vocab = vocab;
    trie->words = (vocab + 31) / 32;
    if (!read_tokens(trie, tokenizer) || !sort_tokens(trie) || !grow_tree(trie)) {
        gr_token_trie_release(trie);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_GRAMMAR_ORIGIN, "no memory for tokens");
    }
    *out_trie = trie;
    return GR_OK;
}

gr_token_trie *gr_token_trie_retain(gr_token_trie *trie) {
    trie->references++;
    return trie;
}

void gr_token_trie_release(gr_token_trie *trie) {
    if (!trie || --trie->references)
        return;
    free(trie->nodes);
    free(trie->tokens);
    free(trie->bytes);
    free(trie->starts);
    free(trie->ends);
    free(trie);
}
