// SPDX-License-Identifier: Apache-2.0
// Mistral V1: [INST] and [/INST] are ordinary text; the system prompt opens the first user message.
#include "plugins/chat/common/mistral.h"

extern const gr_chat_format gr_chat_format_mistral_v1;

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_mistral_match(file, tokenizer, GR_MISTRAL_V1, false);
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    static const gr_mistral_rules rules = {.name = "mistral-v1", .inst_is_text = true};
    return gr_mistral_encode(&rules, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_mistral_v1 = {
    .struct_size = sizeof gr_chat_format_mistral_v1,
    .name = "mistral-v1",
    .help = "Mistral 7B Instruct v0.1 and v0.2, Mixtral 8x7B: [INST] spelled out",
    .match = match,
    .encode = encode,
};
