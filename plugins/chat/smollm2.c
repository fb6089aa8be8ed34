// SPDX-License-Identifier: Apache-2.0
// ChatML with the system prompt that SmolLM2's own template puts first when there is none.
#include "plugins/chat/common/chatml.h"

#define SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

extern const gr_chat_format gr_chat_format_smollm2;

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_chatml_match(file, tokenizer) && gr_str_contains(gr_chat_template(file), SYSTEM) ? 90
                                                                                               : 0;
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    return gr_chatml_encode("smollm2", SYSTEM, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_smollm2 = {
    .struct_size = sizeof gr_chat_format_smollm2,
    .name = "smollm2",
    .help = "SmolLM2 Instruct: chatml with its own system prompt when there is none",
    .match = match,
    .encode = encode,
};
