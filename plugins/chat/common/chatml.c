// SPDX-License-Identifier: Apache-2.0
#include "plugins/chat/common/chatml.h"

#include <string.h>

// <|im_start|> role, newline and content as one stretch of text.
static void put_open(gr_chat_writer *writer, const char *role, gr_str content) {
    gr_chat_text text = {0};
    gr_chat_text_puts(&text, role);
    gr_chat_text_puts(&text, "\n");
    gr_chat_text_add(&text, content.data, content.size);
    gr_chat_put_control(writer, "<|im_start|>");
    gr_chat_put_composed(writer, &text);
}

static void put_message(gr_chat_writer *writer, const char *role, gr_str content) {
    put_open(writer, role, content);
    gr_chat_put_control(writer, "<|im_end|>");
    gr_chat_put_text(writer, (gr_str){"\n", 1});
}

gr_status gr_chatml_encode(const char *name, const char *system, const gr_tokenizer *tokenizer,
                           const gr_chat *chat, gr_tokens *tokens, gr_error *error) {
    gr_chat_writer writer = {
        .format = name, .tokenizer = tokenizer, .chat = chat, .tokens = tokens, .error = error};
    size_t before = tokens->count;
    gr_role last = chat->count ? chat->messages[chat->count - 1].role : GR_ROLE_USER;
    gr_chat_check_order(&writer);
    gr_chat_refuse_tools(&writer);
    if (tokenizer->vocab.add_bos)
        gr_chat_put_token(&writer, tokenizer->vocab.bos, "beginning");
    if (system && chat->count && chat->messages[0].role != GR_ROLE_SYSTEM)
        put_message(&writer, "system", (gr_str){system, strlen(system)});
    for (size_t i = 0; i < chat->count && !writer.status; i++) {
        const gr_message *message = &chat->messages[i];
        if (message->partial)
            put_open(&writer, gr_role_name(message->role), gr_message_text(message));
        else
            put_message(&writer, gr_role_name(message->role), gr_message_text(message));
    }
    if (last != GR_ROLE_ASSISTANT)
        put_open(&writer, "assistant", (gr_str){0});
    if (writer.status)
        tokens->count = before;
    return writer.status;
}

uint32_t gr_chatml_match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    gr_str text = gr_chat_template(file);
    if (gr_tokenizer_find(tokenizer, "<|im_start|>") == GR_TOKEN_NONE ||
        gr_tokenizer_find(tokenizer, "<|im_end|>") == GR_TOKEN_NONE)
        return 0;
    if (text.size)
        return gr_str_contains(text, "<|im_start|>") ? 80 : 0;
    return gr_chat_is_instruct(file) ? 50 : 0; // base models have these tokens too
}
