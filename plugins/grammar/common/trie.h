// SPDX-License-Identifier: Apache-2.0
// trie.h: the vocabulary as a tree over bytes. Inside plugins/grammar/common. Immutable.
//
// Nodes lie in the order of a walk that takes parents before children and children by their bytes,
// so that a subtree is a range, and the tokens of a subtree are one too.
#ifndef GREGALE_GRAMMAR_TRIE_H
#define GREGALE_GRAMMAR_TRIE_H

#include "gregale/linked/grammar.h"
#include "plugins/grammar/common/text_kind.h"

enum { GR_TOKEN_BYTES_MAX = 255 }; // longer tokens are left out: never allowed

typedef struct gr_trie_node {
    uint32_t end;    // of the subtree: the next node that is not in it
    uint32_t tokens; // the first token of the subtree; those of the node itself come first
    uint16_t count;  // tokens of the node itself
    uint8_t byte, depth;
    uint8_t kind, height; // of the texts from this node's byte on, as far as its tokens go; the
                          // longest of them
} gr_trie_node;

struct gr_token_trie {
    uint32_t references;
    uint32_t vocab, words;  // logits; words of a mask
    gr_trie_node *nodes;    // the root is the first, with depth 0; one more at the end has all tokens behind it
    uint32_t node_count, token_count;
    gr_token *tokens;       // by their bytes
    char *bytes;            // of all tokens
    uint32_t *starts;       // [vocab + 1]: into bytes, by token
    uint32_t longest;       // bytes of the longest token
    uint32_t root[256];     // the root's children; 0: none
    gr_token *ends;         // tokens that end an answer
    uint32_t end_count;
};

// The child of `node` at `byte`; 0 when there is none.
uint32_t gr_trie_child(const gr_token_trie *trie, uint32_t node, uint8_t byte);
static inline gr_str gr_trie_text(const gr_token_trie *trie, gr_token token) {
    return (gr_str){trie->bytes + trie->starts[token],
                    trie->starts[token + 1] - trie->starts[token]};
}
// The bytes that lead to `node`: as many as it is deep.
static inline const uint8_t *gr_trie_path(const gr_token_trie *trie, uint32_t node) {
    return (const uint8_t *)trie->bytes + trie->starts[trie->tokens[trie->nodes[node].tokens]];
}

#endif
