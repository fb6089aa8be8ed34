// SPDX-License-Identifier: Apache-2.0
// Mistral V2: control tokens; tool calls and results older than the last user message are left out.
#include "plugins/chat/common/mistral.h"

extern const gr_chat_format gr_chat_format_mistral_v2;

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_mistral_match(file, tokenizer, GR_MISTRAL_V2, false);
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    static const gr_mistral_rules rules = {.name = "mistral-v2", .drop_old_tools = true};
    return gr_mistral_encode(&rules, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_mistral_v2 = {
    .struct_size = sizeof gr_chat_format_mistral_v2,
    .name = "mistral-v2",
    .help = "Mistral's second tokenizer: control tokens, tools",
    .match = match,
    .encode = encode,
    .parse_tool_calls = gr_chat_parse_tool_calls,
};
