// SPDX-License-Identifier: Apache-2.0
// turns.c: conversations. The turns are the truth: they are encoded whole by the chat format, and what the
// token log already holds of that encoding stays, cache included.
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"

static gr_status check_format(const gr_session *session, gr_error *error) {
    if (session->model->chat_format || session->encode_turns)
        return GR_OK;
    return gr_fail(error, GR_ERROR_UNSUPPORTED, "engine",
                   "%s: the file names no chat format this build knows; choose one (--chat-format) or use plain text",
                   gr_model_file_path(session->model->source->file));
}

gr_status gr_session_turn(gr_session *session, gr_chat_role role, const char *text, size_t bytes, gr_error *error) {
    gr_status status = check_format(session, error);
    if (status != GR_OK)
        return status;
    if (role > GR_CHAT_TOOL)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "role %u: expected system, user, assistant or tool", role);
    session->turns_applied = 0;
    return gr_chat_add(&session->chat, role, (gr_str){text, bytes}, error);
}

gr_status gr_session_tool_result(gr_session *session, const char *call_id, const char *name, const char *text,
                                 size_t bytes, gr_error *error) {
    session->turns_applied = 0;
    return gr_chat_add_tool_result(&session->chat, call_id, name, (gr_str){text, bytes}, error);
}

gr_status gr_session_tool_calls(gr_session *session, const char *text, size_t bytes, const gr_tool_call_info *calls,
                                uint32_t count, gr_error *error) {
    gr_status status = check_format(session, error);
    if (status != GR_OK)
        return status;
    gr_tool_call *copy = calloc((size_t)count + 1, sizeof *copy);
    if (!copy)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for tool calls");
    for (uint32_t i = 0; i < count; i++) // only read
        copy[i] = (gr_tool_call){.id = (char *)(uintptr_t)calls[i].id,
                                 .name = (char *)(uintptr_t)calls[i].name,
                                 .arguments = (char *)(uintptr_t)calls[i].arguments};
    session->turns_applied = 0;
    status = gr_chat_add_tool_calls(&session->chat, (gr_str){text, bytes}, copy, count, error);
    free(copy);
    return status;
}

gr_status gr_session_tools(gr_session *session, const char *json, gr_error *error) {
    session->turns_applied = 0;
    return gr_chat_set_tools(&session->chat, (gr_str){json, json ? strlen(json) : 0}, error);
}

uint32_t gr_session_turn_count(const gr_session *session) {
    return (uint32_t)session->chat.count;
}

gr_status gr_session_turn_get(const gr_session *session, uint32_t index, gr_chat_role *out_role, const char **out_text,
                              size_t *out_bytes) {
    if (index >= session->chat.count)
        return GR_ERROR_OUT_OF_RANGE;
    *out_role = session->chat.messages[index].role;
    *out_text = session->chat.messages[index].content;
    *out_bytes = session->chat.messages[index].content_bytes;
    return GR_OK;
}

gr_status gr_chat_call_info(const gr_chat *chat, size_t turn, uint32_t index, gr_tool_call_info *out_info) {
    uint32_t size = out_info->struct_size;
    if (turn >= chat->count || index >= chat->messages[turn].tool_call_count)
        return GR_ERROR_OUT_OF_RANGE;
    const gr_tool_call *call = &chat->messages[turn].tool_calls[index];
    const gr_tool_call_info info = {
        .struct_size = size, .id = call->id, .name = call->name, .arguments = call->arguments};
    memcpy(out_info, &info, size < sizeof info ? size : sizeof info);
    return GR_OK;
}

gr_status gr_session_turn_tool_call(const gr_session *session, uint32_t turn, uint32_t index,
                                    gr_tool_call_info *out_info) {
    return gr_chat_call_info(&session->chat, turn, index, out_info);
}

gr_status gr_session_turns_truncate(gr_session *session, uint32_t index, gr_error *error) {
    if (index > session->chat.count)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine", "there are %zu turns, not %u", session->chat.count, index);
    gr_chat_truncate(&session->chat, index);
    session->turns_applied = 0;
    return GR_OK;
}

gr_status gr_session_set_chat_encoder(gr_session *session, gr_chat_encoder encode, void *context) {
    session->encode_turns = encode;
    session->encode_turns_context = context;
    session->turns_applied = 0;
    return GR_OK;
}

static gr_status encode_with_hook(gr_session *session, gr_tokens *tokens, gr_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    const gr_tokenizer *tokenizer = session->model->tokenizer;
    gr_status status = session->encode_turns(session->encode_turns_context, session, &text, &bytes, error);
    if (status != GR_OK)
        return status;
    status = gr_tokenizer_encode(tokenizer, (gr_str){text, bytes}, GR_ENCODE_SPECIAL | GR_ENCODE_PARSE_CONTROL, tokens, error);
    if (status == GR_OK && tokens->count > 1 && tokens->data[0] == tokenizer->vocab.bos && tokens->data[1] == tokens->data[0])
        memmove(tokens->data, tokens->data + 1, --tokens->count * sizeof *tokens->data); // spelled and added
    return status;
}

gr_status gr_turns_apply(gr_session *session, gr_error *error) {
    gr_tokens tokens = {0};
    size_t common = 0;
    if (session->turns_applied == session->chat.count)
        return GR_OK;
    gr_status status = check_format(session, error);
    if (status == GR_OK)
        status = session->encode_turns ? encode_with_hook(session, &tokens, error)
                                       : session->model->chat_format->encode(session->model->tokenizer, &session->chat,
                                                                             &tokens, error);
    if (status == GR_OK && tokens.count > session->context)
        status = gr_fail(error, GR_ERROR_OUT_OF_RANGE, "engine",
                         "the conversation takes %zu tokens: more than the context of %u", tokens.count, session->context);
    if (status == GR_OK) {
        while (common < tokens.count && common < session->tokens.count && tokens.data[common] == session->tokens.data[common])
            common++;
        status = gr_session_set_length(session, common, error);
    }
    if (status == GR_OK && common < tokens.count)
        status = gr_session_append_tokens(session, tokens.data + common, tokens.count - common, error);
    if (status == GR_OK)
        session->turns_applied = session->chat.count;
    gr_tokens_deinit(&tokens);
    return status;
}

gr_status gr_session_apply_turns(gr_session *session, gr_error *error) {
    if (session->request)
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the session is generating");
    return gr_turns_apply(session, error);
}
