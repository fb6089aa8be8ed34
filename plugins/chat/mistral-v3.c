// SPDX-License-Identifier: Apache-2.0
// Mistral V3: control tokens, tool calls with ids.
#include "plugins/chat/common/mistral.h"

extern const gr_chat_format gr_chat_format_mistral_v3;

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_mistral_match(file, tokenizer, GR_MISTRAL_V3, false);
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    static const gr_mistral_rules rules = {.name = "mistral-v3", .call_ids = true};
    return gr_mistral_encode(&rules, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_mistral_v3 = {
    .struct_size = sizeof gr_chat_format_mistral_v3,
    .name = "mistral-v3",
    .help = "Mistral 7B Instruct v0.3, Mixtral 8x22B: control tokens, tools with ids",
    .match = match,
    .encode = encode,
    .parse_tool_calls = gr_chat_parse_tool_calls,
};
