// SPDX-License-Identifier: Apache-2.0
// mistral.h: the instruct formats of Mistral's tokenizer versions. For the chat formats.
//
// The reference is mistral-common (normalisation and encoding of requests). Every stretch of text
// between control tokens is encoded alone, so a SentencePiece vocabulary puts its space before
// each; that is the whole difference between a format and its Tekken sibling.
#ifndef GREGALE_CHAT_MISTRAL_H
#define GREGALE_CHAT_MISTRAL_H

#include "plugins/chat/common/format.h"

typedef struct gr_mistral_rules {
    const char *name;
    bool inst_is_text;   // V1: [INST] is spelled out, the first user message has the system prompt
    bool drop_old_tools; // V2: tool calls and results before the last user message are left out
    bool call_ids;       // V3 and on: tool calls and results carry ids
    bool system_turns;   // V7: system messages have tokens of their own and stay where they are
    bool raw_results;    // V7: tool results are not wrapped in JSON
} gr_mistral_rules;

gr_status gr_mistral_encode(const gr_mistral_rules *rules, const gr_tokenizer *tokenizer,
                            const gr_chat *chat, gr_tokens *tokens, gr_error *error);

// What a file and its vocabulary say about the version, for `match`.
typedef enum gr_mistral_version {
    GR_MISTRAL_NONE,
    GR_MISTRAL_V1,
    GR_MISTRAL_V2,
    GR_MISTRAL_V3,
    GR_MISTRAL_V7
} gr_mistral_version;

// How sure (0 to 100) it is that the file wants `version`, with a Tekken vocabulary or a
// SentencePiece one.
uint32_t gr_mistral_match(const gr_model_file *file, const gr_tokenizer *tokenizer,
                          gr_mistral_version version, bool tekken);

#endif
