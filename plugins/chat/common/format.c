// SPDX-License-Identifier: Apache-2.0
#include "plugins/chat/common/format.h"

#include <string.h>

// ---- Writing ----

void gr_chat_no_memory(gr_chat_writer *writer) {
    if (!writer->status)
        writer->status = gr_fail(writer->error, GR_ERROR_OUT_OF_MEMORY, GR_CHAT_ORIGIN,
                                 "no memory for the conversation");
}

void gr_chat_put_token(gr_chat_writer *writer, gr_token token, const char *name) {
    if (writer->status)
        return;
    if (token == GR_TOKEN_NONE)
        writer->status = gr_fail(writer->error, GR_ERROR_UNSUPPORTED, GR_CHAT_ORIGIN,
                                 "%s: the model's vocabulary has no %s token", writer->format,
                                 name);
    else if (gr_tokens_push(writer->tokens, token))
        gr_chat_no_memory(writer);
}

void gr_chat_put_control(gr_chat_writer *writer, const char *name) {
    gr_token token = gr_tokenizer_find(writer->tokenizer, name);
    gr_chat_put_token(writer, token, name);
}

void gr_chat_put_text(gr_chat_writer *writer, gr_str text) {
    if (!writer->status)
        writer->status = gr_tokenizer_encode(writer->tokenizer, text, 0, writer->tokens,
                                             writer->error);
}

void gr_chat_put_composed(gr_chat_writer *writer, gr_chat_text *text) {
    if (text->failed)
        gr_chat_no_memory(writer);
    gr_chat_put_text(writer, gr_chat_text_str(text));
    gr_chat_text_deinit(text);
}

const char *gr_role_name(gr_role role) {
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return role <= GR_ROLE_TOOL ? names[role] : "unknown";
}

gr_str gr_message_text(const gr_message *message) {
    return (gr_str){message->content, message->content_bytes};
}

void gr_chat_refuse(gr_chat_writer *writer, gr_status status, size_t index, const char *format,
                    ...) {
    char line[320];
    va_list arguments;
    if (writer->status)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    writer->status = gr_fail(
        writer->error, status, GR_CHAT_ORIGIN, "%s: message %zu of %zu (%s): %s", writer->format,
        index + 1, writer->chat->count, gr_role_name(writer->chat->messages[index].role), line);
}

static bool may_answer(const gr_chat *chat, size_t index) {
    const gr_message *before = index ? &chat->messages[index - 1] : NULL;
    return before && (before->role == GR_ROLE_TOOL ||
                      (before->role == GR_ROLE_ASSISTANT && before->tool_call_count));
}

void gr_chat_check_order(gr_chat_writer *writer) {
    const gr_chat *chat = writer->chat;
    for (size_t i = 0; i < chat->count && !writer->status; i++) {
        const gr_message *message = &chat->messages[i];
        if (message->role > GR_ROLE_TOOL)
            gr_chat_refuse(writer, GR_ERROR_INVALID_ARGUMENT, i, "role %u is not known",
                           message->role);
        else if (message->role == GR_ROLE_TOOL && !may_answer(chat, i))
            gr_chat_refuse(
                writer, GR_ERROR_INVALID_ARGUMENT, i,
                "a tool result must follow the assistant's tool calls or another result");
        else if (message->partial && (message->role != GR_ROLE_ASSISTANT || i + 1 < chat->count))
            gr_chat_refuse(writer, GR_ERROR_INVALID_ARGUMENT, i,
                           "only the last message may be partial, and only the assistant's");
    }
}

void gr_chat_refuse_tools(gr_chat_writer *writer) {
    const gr_chat *chat = writer->chat;
    if (chat->tools && !writer->status)
        writer->status = gr_fail(writer->error, GR_ERROR_UNSUPPORTED, GR_CHAT_ORIGIN,
                                 "%s: this format has no tools", writer->format);
    for (size_t i = 0; i < chat->count; i++)
        if (chat->messages[i].role == GR_ROLE_TOOL || chat->messages[i].tool_call_count)
            gr_chat_refuse(writer, GR_ERROR_UNSUPPORTED, i, "this format has no tools");
}

// ---- Recognising ----

gr_str gr_chat_template(const gr_model_file *file) {
    gr_str text = {0};
    gr_meta_get_string(file, "tokenizer.chat_template", &text);
    return text;
}

bool gr_str_contains(gr_str text, const char *part) {
    size_t size = strlen(part);
    return text.size >= size && memmem(text.data, text.size, part, size);
}

static bool contains_any_case(gr_str text, const char *lower) {
    size_t size = strlen(lower);
    for (size_t at = 0; at + size <= text.size; at++) {
        size_t same = 0;
        while (same < size && (text.data[at + same] | 0x20) == lower[same])
            same++;
        if (same == size)
            return true;
    }
    return false;
}

bool gr_chat_is_instruct(const gr_model_file *file) {
    static const char *const keys[] = {"general.name", "general.basename", "general.finetune"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        gr_str value;
        if (gr_meta_get_string(file, keys[i], &value) &&
            (contains_any_case(value, "instruct") || contains_any_case(value, "chat")))
            return true;
    }
    return false;
}

bool gr_chat_has_name(const gr_model_file *file) {
    gr_str value;
    return gr_meta_get_string(file, "general.name", &value) && value.size;
}
