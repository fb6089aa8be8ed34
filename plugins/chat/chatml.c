// SPDX-License-Identifier: Apache-2.0
// ChatML without a system prompt of its own.
#include "plugins/chat/common/chatml.h"

extern const gr_chat_format gr_chat_format_chatml;

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    return gr_chatml_encode("chatml", NULL, tokenizer, chat, tokens, error);
}

const gr_chat_format gr_chat_format_chatml = {
    .struct_size = sizeof gr_chat_format_chatml,
    .name = "chatml",
    .help = "turns between <|im_start|> and <|im_end|>, as many models have it",
    .match = gr_chatml_match,
    .encode = encode,
};
