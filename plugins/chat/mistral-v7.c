// SPDX-License-Identifier: Apache-2.0
// Mistral V7: system messages have tokens of their own; tool results are not wrapped in JSON.
#include "plugins/chat/common/mistral.h"

extern const gr_chat_format gr_chat_format_mistral_v7;

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_mistral_match(file, tokenizer, GR_MISTRAL_V7, false);
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    static const gr_mistral_rules rules = {
        .name = "mistral-v7", .call_ids = true, .system_turns = true, .raw_results = true};
    return gr_mistral_encode(&rules, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_mistral_v7 = {
    .struct_size = sizeof gr_chat_format_mistral_v7,
    .name = "mistral-v7",
    .help = "Mistral Large 2411: system prompts of their own",
    .match = match,
    .encode = encode,
    .parse_tool_calls = gr_chat_parse_tool_calls,
};
