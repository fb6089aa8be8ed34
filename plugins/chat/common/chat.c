// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "gregale/linked/registry.h"
#include "plugins/chat/common/format.h"

static gr_status no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_CHAT_ORIGIN, "no memory for a message");
}

static char *copy_bytes(gr_str text) {
    char *copy = text.size < SIZE_MAX ? malloc(text.size + 1) : NULL;
    if (!copy)
        return NULL;
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

// Copies a string that may be NULL; false when there is no memory.
static bool copy_string(const char *string, char **out_copy) {
    *out_copy = string ? copy_bytes((gr_str){string, strlen(string)}) : NULL;
    return !string || *out_copy;
}

static void message_deinit(gr_message *message) {
    for (size_t i = 0; i < message->tool_call_count; i++) {
        free(message->tool_calls[i].id);
        free(message->tool_calls[i].name);
        free(message->tool_calls[i].arguments);
    }
    free(message->tool_calls);
    free(message->content);
    free(message->tool_call_id);
    free(message->tool_name);
}

// Copies what `from` borrows or owns; on failure the copy is empty.
static gr_status message_copy(const gr_message *from, gr_message *out_message) {
    gr_message copy = {
        .role = from->role, .content_bytes = from->content_bytes, .partial = from->partial};
    bool good = copy_string(from->tool_call_id, &copy.tool_call_id) &&
                copy_string(from->tool_name, &copy.tool_name);
    copy.content = copy_bytes(gr_message_text(from));
    if (from->tool_call_count)
        copy.tool_calls = calloc(from->tool_call_count, sizeof *copy.tool_calls);
    good = good && copy.content && (copy.tool_calls || !from->tool_call_count);
    for (size_t i = 0; good && i < from->tool_call_count; i++) {
        gr_tool_call *call = &copy.tool_calls[copy.tool_call_count++];
        good = copy_string(from->tool_calls[i].id, &call->id);
        good = good && copy_string(from->tool_calls[i].name, &call->name);
        good = good && copy_string(from->tool_calls[i].arguments, &call->arguments);
    }
    *out_message = good ? copy : (gr_message){0};
    if (!good)
        message_deinit(&copy);
    return good ? GR_OK : GR_ERROR_OUT_OF_MEMORY;
}

static gr_status append(gr_chat *chat, const gr_message *message, gr_error *error) {
    if (chat->count == chat->capacity) {
        size_t capacity = chat->capacity ? chat->capacity * 2 : 8;
        gr_message *messages = capacity > SIZE_MAX / sizeof *messages
                                   ? NULL
                                   : realloc(chat->messages, capacity * sizeof *messages);
        if (!messages)
            return no_memory(error);
        chat->messages = messages;
        chat->capacity = capacity;
    }
    if (message_copy(message, &chat->messages[chat->count]))
        return no_memory(error);
    chat->count++;
    return GR_OK;
}

gr_status gr_chat_add(gr_chat *chat, gr_role role, gr_str content, gr_error *error) {
    if (role > GR_ROLE_TOOL)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_CHAT_ORIGIN, "role %u is not known",
                       role);
    const gr_message message = {
        .role = role, .content = (char *)content.data, .content_bytes = content.size};
    return append(chat, &message, error);
}

gr_status gr_chat_add_tool_calls(gr_chat *chat, gr_str content, const gr_tool_call *calls,
                                 size_t count, gr_error *error) {
    for (size_t i = 0; i < count; i++)
        if (!calls[i].name || !*calls[i].name)
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_CHAT_ORIGIN,
                           "tool call %zu of %zu names no function", i + 1, count);
    const gr_message message = {.role = GR_ROLE_ASSISTANT,
                                .content = (char *)content.data,
                                .content_bytes = content.size,
                                .tool_calls = (gr_tool_call *)calls,
                                .tool_call_count = count};
    return append(chat, &message, error);
}

gr_status gr_chat_add_tool_result(gr_chat *chat, const char *call_id, const char *name,
                                  gr_str content, gr_error *error) {
    const gr_message message = {.role = GR_ROLE_TOOL,
                                .content = (char *)content.data,
                                .content_bytes = content.size,
                                .tool_call_id = (char *)call_id,
                                .tool_name = (char *)name};
    return append(chat, &message, error);
}

static const char *what_is_wrong(const gr_json *tool) {
    const gr_json *function = gr_json_member(tool, "function"),
                  *name = gr_json_member(function, "name");
    const gr_json *description = gr_json_member(function, "description");
    const gr_json *parameters = gr_json_member(function, "parameters"),
                  *type = gr_json_member(tool, "type");
    if (tool->kind != GR_JSON_OBJECT)
        return "expected an object";
    if (type && (type->kind != GR_JSON_STRING || type->text.size != 8 ||
                 memcmp(type->text.data, "function", 8)))
        return "\"type\": expected \"function\"";
    if (!function || function->kind != GR_JSON_OBJECT)
        return "\"function\": expected an object";
    if (!name || name->kind != GR_JSON_STRING || !name->text.size)
        return "\"function\": \"name\": expected a string";
    if (description && description->kind != GR_JSON_STRING)
        return "\"function\": \"description\": expected a string";
    if (parameters && parameters->kind != GR_JSON_OBJECT)
        return "\"function\": \"parameters\": expected an object (a JSON schema)";
    return NULL;
}

static gr_status check_tools(const gr_json *tools, gr_error *error) {
    if (!tools || tools->kind != GR_JSON_ARRAY)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_CHAT_ORIGIN,
                       "tools: expected a JSON array of functions");
    size_t index = 0;
    for (const gr_json *tool = tools->first; tool; tool = tool->next) {
        const char *wrong = what_is_wrong(tool);
        index++;
        if (wrong)
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_CHAT_ORIGIN, "tool %zu of %zu: %s",
                           index, tools->count, wrong);
    }
    return GR_OK;
}

// An empty text or list means no tools.
gr_status gr_chat_set_tools(gr_chat *chat, gr_str json, gr_error *error) {
    gr_json_document document = {0};
    char *copy = NULL;
    gr_status status = gr_json_read(json, &document) ? no_memory(error) : GR_OK;
    if (!status && json.size)
        status = check_tools(document.root, error);
    if (!status && document.root && document.root->count) {
        copy = copy_bytes(json);
        status = copy ? GR_OK : no_memory(error);
    }
    gr_json_deinit(&document);
    if (status)
        return status;
    free(chat->tools);
    chat->tools = copy;
    return GR_OK;
}

gr_status gr_chat_clone(const gr_chat *chat, gr_chat *out_chat, gr_error *error) {
    *out_chat = (gr_chat){0};
    gr_status status = copy_string(chat->tools, &out_chat->tools) ? GR_OK : no_memory(error);
    for (size_t i = 0; !status && i < chat->count; i++)
        status = append(out_chat, &chat->messages[i], error);
    if (status)
        gr_chat_deinit(out_chat);
    return status;
}

void gr_chat_truncate(gr_chat *chat, size_t count) {
    while (chat->count > count)
        message_deinit(&chat->messages[--chat->count]);
}

void gr_chat_deinit(gr_chat *chat) {
    gr_chat_truncate(chat, 0);
    free(chat->messages);
    free(chat->tools);
    *chat = (gr_chat){0};
}

const gr_chat_format *const *gr_chat_formats(void) {
    return gr_linked_chat_formats();
}

const gr_chat_format *gr_chat_format_find(const char *name) {
    for (const gr_chat_format *const *format = gr_chat_formats(); *format; format++)
        if (!strcmp((*format)->name, name))
            return *format;
    return NULL;
}

const gr_chat_format *gr_chat_format_detect(const gr_model_file *file,
                                            const gr_tokenizer *tokenizer) {
    const gr_chat_format *best = NULL;
    uint32_t best_score = 0;
    for (const gr_chat_format *const *format = gr_chat_formats(); *format; format++) {
        uint32_t score = (*format)->match(file, tokenizer);
        if (score > best_score) {
            best_score = score;
            best = *format;
        }
    }
    return best;
}
