// SPDX-License-Identifier: Apache-2.0
// chatml.h: conversations between <|im_start|> and <|im_end|>. For the chat formats.
#ifndef GREGALE_CHAT_CHATML_H
#define GREGALE_CHAT_CHATML_H

#include "plugins/chat/common/format.h"

// `system` (NULL: none) is said when a conversation does not begin with a system message.
gr_status gr_chatml_encode(const char *name, const char *system, const gr_tokenizer *tokenizer,
                           const gr_chat *chat, gr_tokens *tokens, gr_error *error);
uint32_t gr_chatml_match(const gr_model_file *file, const gr_tokenizer *tokenizer);

#endif
