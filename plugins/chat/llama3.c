// SPDX-License-Identifier: Apache-2.0
// Llama 3: each turn is a header, an empty line and the content without surrounding space. Llama
// 3.1's dates and tools are not part of it.
#include <string.h>

#include "plugins/chat/common/format.h"

extern const gr_chat_format gr_chat_format_llama3;

static void put_header(gr_chat_writer *writer, const char *role) {
    gr_chat_put_control(writer, "<|start_header_id|>");
    gr_chat_put_text(writer, (gr_str){role, strlen(role)});
    gr_chat_put_control(writer, "<|end_header_id|>");
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// The empty line and the content are one stretch of text.
static void put_content(gr_chat_writer *writer, gr_str content) {
    gr_chat_text text = {0};
    while (content.size && is_space(content.data[content.size - 1]))
        content.size--;
    while (content.size && is_space(*content.data)) {
        content.data++;
        content.size--;
    }
    gr_chat_text_puts(&text, "\n\n");
    gr_chat_text_add(&text, content.data, content.size);
    gr_chat_put_composed(writer, &text);
}

static gr_status encode(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens,
                        gr_error *error) {
    gr_chat_writer writer = {
        .format = "llama3", .tokenizer = tokenizer, .chat = chat, .tokens = tokens, .error = error};
    size_t before = tokens->count;
    gr_chat_check_order(&writer);
    gr_chat_refuse_tools(&writer);
    gr_chat_put_token(&writer, tokenizer->vocab.bos, "beginning");
    for (size_t i = 0; i < chat->count && !writer.status; i++) {
        const gr_message *message = &chat->messages[i];
        put_header(&writer, gr_role_name(message->role));
        put_content(&writer, gr_message_text(message));
        if (!message->partial)
            gr_chat_put_control(&writer, "<|eot_id|>");
    }
    if (!chat->count || chat->messages[chat->count - 1].role != GR_ROLE_ASSISTANT) {
        put_header(&writer, "assistant");
        put_content(&writer, (gr_str){0});
    }
    if (writer.status)
        tokens->count = before;
    return writer.status;
}

static uint32_t match(const gr_model_file *file, const gr_tokenizer *tokenizer) {
    return gr_str_contains(gr_chat_template(file), "<|start_header_id|>") &&
                   gr_tokenizer_find(tokenizer, "<|start_header_id|>") != GR_TOKEN_NONE
               ? 80
               : 0;
}

const gr_chat_format gr_chat_format_llama3 = {
    .struct_size = sizeof gr_chat_format_llama3,
    .name = "llama3",
    .help = "Llama 3 Instruct: headers and <|eot_id|>",
    .match = match,
    .encode = encode,
};
