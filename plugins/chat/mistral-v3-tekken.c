// SPDX-License-Identifier: Apache-2.0
// Mistral V3 with a Tekken vocabulary: no space before each stretch of text.
#include "plugins/chat/common/mistral.h"

extern const gr_chat_format gr_chat_format_mistral_v3_tekken;

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_mistral_match(file, tokenizer, GR_MISTRAL_V3, true);
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    static const gr_mistral_rules rules = {.name = "mistral-v3-tekken", .call_ids = true};
    return gr_mistral_encode(&rules, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_mistral_v3_tekken = {
    .struct_size = sizeof gr_chat_format_mistral_v3_tekken,
    .name = "mistral-v3-tekken",
    .help = "Mistral Nemo, Ministral: as mistral-v3, Tekken vocabulary",
    .match = match,
    .encode = encode,
    .parse_tool_calls = gr_chat_parse_tool_calls,
};
