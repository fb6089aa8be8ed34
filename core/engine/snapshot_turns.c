// SPDX-License-Identifier: Apache-2.0
// snapshot_turns.c: block "turns": the conversation, and how much of it the tokens are.
#include <stdlib.h>
#include <string.h>

#include "engine/snapshot.h"

enum { LEAST_MESSAGE = 8 + 3 * 8 + 8, LEAST_CALL = 3 * 8 };

static gr_str text_of(const char *string) {
    return (gr_str){string, string ? strlen(string) : 0};
}

static const char *format_name(const gr_model *model) {
    return model->chat_format ? model->chat_format->name : "";
}

static void put_message(const gr_message *message, gr_strbuf *out) {
    gr_put_u32(out, message->role);
    gr_put_u32(out, message->partial);
    gr_put_text(out, (gr_str){message->content, message->content_bytes});
    gr_put_text(out, text_of(message->tool_call_id));
    gr_put_text(out, text_of(message->tool_name));
    gr_put_u64(out, message->tool_call_count);
    for (size_t i = 0; i < message->tool_call_count; i++) {
        gr_put_text(out, text_of(message->tool_calls[i].id));
        gr_put_text(out, text_of(message->tool_calls[i].name));
        gr_put_text(out, text_of(message->tool_calls[i].arguments));
    }
}

void gr_snapshot_put_turns(const gr_session *session, gr_strbuf *out) {
    const gr_chat *chat = &session->chat;
    if (!chat->count && !chat->tools)
        return;
    gr_put_text(out, text_of(format_name(session->model)));
    gr_put_u64(out, session->turns_applied);
    gr_put_text(out, text_of(chat->tools));
    gr_put_u64(out, chat->count);
    for (size_t i = 0; i < chat->count; i++)
        put_message(&chat->messages[i], out);
}

// ---- Taking

static gr_status take_calls(gr_snapshot_file *file, gr_snapshot_block *block, uint64_t count, gr_tool_call *calls,
                            gr_error *error) {
    gr_status status = GR_OK;
    for (uint64_t i = 0; status == GR_OK && i < count; i++) {
        char **const texts[] = {&calls[i].id, &calls[i].name, &calls[i].arguments};
        for (int t = 0; status == GR_OK && t < 3; t++)
            status = gr_snapshot_string(file, block, gr_take_text(block), texts[t], error);
    }
    return status;
}

static gr_status add_message(gr_snapshot_block *block, gr_chat *chat, const gr_message *m, gr_error *error) {
    const gr_str content = {m->content, m->content_bytes};
    gr_error inner;
    gr_status status;
    gr_error_init(&inner);
    if (m->tool_call_count && m->role != GR_ROLE_ASSISTANT)
        return gr_snapshot_damaged(block, error, "tool calls in a turn of role %u", m->role);
    if (m->tool_call_count)
        status = gr_chat_add_tool_calls(chat, content, m->tool_calls, m->tool_call_count, &inner);
    else if (m->role == GR_ROLE_TOOL)
        status = gr_chat_add_tool_result(chat, m->tool_call_id, m->tool_name, content, &inner);
    else
        status = gr_chat_add(chat, m->role, content, &inner);
    if (status == GR_OK)
        chat->messages[chat->count - 1].partial = m->partial;
    return gr_snapshot_refused(block, status, &inner, error);
}

static gr_status take_message(gr_snapshot_file *file, gr_snapshot_block *block, gr_chat *chat, gr_error *error) {
    gr_message message = {.role = gr_take_u32(block), .partial = gr_take_u32(block) != 0};
    gr_str content = gr_take_text(block);
    message.content = (char *)(uintptr_t)(content.data ? content.data : ""); // only read
    message.content_bytes = content.size;
    gr_status status =
        gr_snapshot_string(file, block, gr_take_text(block), &message.tool_call_id, error);
    if (status == GR_OK)
        status = gr_snapshot_string(file, block, gr_take_text(block), &message.tool_name, error);
    uint64_t count = gr_take_count(block, LEAST_CALL);
    if (status == GR_OK && count) {
        message.tool_calls = gr_arena_alloc(&file->arena, count * sizeof *message.tool_calls);
        message.tool_call_count = (size_t)count;
        status = message.tool_calls ? take_calls(file, block, count, message.tool_calls, error)
                                    : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory to read it", file->path);
    }
    if (status == GR_OK && block->is_short)
        status = gr_snapshot_block_end(block, error);
    return status == GR_OK ? add_message(block, chat, &message, error) : status;
}

static gr_status check_format(gr_snapshot_block *block, gr_str format, const gr_model *model, gr_error *error) {
    const char *own = format_name(model);
    if (format.size == strlen(own) && memcmp(format.data, own, format.size) == 0)
        return GR_OK;
    return gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: its conversation is in the chat format '%.*s'; expected '%s'",
                   block->path, format.size < 40 ? (int)format.size : 40, format.data ? format.data : "", own);
}

gr_status gr_snapshot_take_turns(gr_snapshot_file *file, gr_session *session, gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_TURNS];
    gr_error inner;
    if (!block->data)
        return GR_OK;
    gr_error_init(&inner);
    gr_status status = check_format(block, gr_take_text(block), session->model, error);
    uint64_t applied = gr_take_u64(block);
    gr_str tools = gr_take_text(block);
    if (status == GR_OK && tools.data)
        status = gr_snapshot_refused(block, gr_chat_set_tools(&session->chat, tools, &inner), &inner, error);
    uint64_t count = gr_take_count(block, LEAST_MESSAGE);
    for (uint64_t i = 0; status == GR_OK && i < count; i++)
        status = take_message(file, block, &session->chat, error);
    if (status == GR_OK)
        status = gr_snapshot_block_end(block, error);
    if (status == GR_OK && applied > count)
        status = gr_snapshot_damaged(block, error, "%llu of %llu turns are encoded", (unsigned long long)applied,
                                     (unsigned long long)count);
    session->turns_applied = (size_t)applied;
    return status;
}
