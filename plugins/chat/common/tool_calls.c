// SPDX-License-Identifier: Apache-2.0
// Reading the tool calls that a Mistral model wrote: [TOOL_CALLS] and then a JSON array of objects
// with "name", "arguments" and, from V3 on, "id". Text may stand before it (V7).
#include <stdlib.h>
#include <string.h>

#include "plugins/chat/common/format.h"

void gr_chat_json_value(gr_chat_text *text, gr_str value) {
    gr_json_document document;
    if (gr_json_read(value, &document))
        text->failed = true;
    else if (!value.size)
        gr_chat_text_puts(text, "{}");
    else if (document.root)
        gr_json_write(text, document.root);
    else
        gr_json_write_string(text, value);
    gr_json_deinit(&document);
}

// The text of tokens. The space that SentencePiece puts before any text is not part of it.
static void decode(const gr_tokenizer *tokenizer, const gr_token *tokens, size_t count,
                   gr_chat_text *out_text) {
    bool skip_space = tokenizer->vocab.add_space_prefix;
    for (size_t i = 0; i < count; i++) {
        char small[256], *bytes = small;
        size_t size = gr_tokenizer_piece(tokenizer, tokens[i], false, small, sizeof small);
        if (size > sizeof small) {
            bytes = malloc(size);
            if (!bytes) {
                out_text->failed = true;
                return;
            }
            gr_tokenizer_piece(tokenizer, tokens[i], false, bytes, size);
        }
        size_t skip = skip_space && size && bytes[0] == ' ';
        if (size)
            skip_space = false;
        gr_chat_text_add(out_text, bytes + skip, size - skip);
        if (bytes != small)
            free(bytes);
    }
}

// A copy of a JSON string, NULL when the value is absent; one with NUL in it is refused.
static gr_status take_string(const gr_json *value, char **out_string) {
    *out_string = NULL;
    if (!value)
        return GR_OK;
    if (value->kind != GR_JSON_STRING ||
        (value->text.size && memchr(value->text.data, '\0', value->text.size)))
        return GR_ERROR_CORRUPT;
    *out_string = strndup(value->text.data ? value->text.data : "", value->text.size);
    return *out_string ? GR_OK : GR_ERROR_OUT_OF_MEMORY;
}

// Arguments stay JSON text, so a string keeps its quotes and reads back as the string it is.
static gr_status take_arguments(const gr_json *value, char **out_text) {
    gr_chat_text text = {0};
    if (value)
        gr_json_write(&text, value);
    else
        gr_chat_text_puts(&text, "{}");
    *out_text = text.failed ? NULL : strndup(text.data, text.size);
    gr_chat_text_deinit(&text);
    return *out_text ? GR_OK : GR_ERROR_OUT_OF_MEMORY;
}

static gr_status take_call(const gr_json *value, gr_tool_call *out_call) {
    const gr_json *name = gr_json_member(value, "name");
    if (!name || !name->text.size)
        return GR_ERROR_CORRUPT;
    gr_status status = take_string(name, &out_call->name);
    if (!status)
        status = take_string(gr_json_member(value, "id"), &out_call->id);
    return status ? status
                  : take_arguments(gr_json_member(value, "arguments"), &out_call->arguments);
}

static void free_calls(gr_tool_call *calls, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(calls[i].id);
        free(calls[i].name);
        free(calls[i].arguments);
    }
    free(calls);
}

static gr_status add_calls(const gr_json *list, gr_str content, gr_chat *chat, gr_error *error) {
    gr_tool_call *calls = calloc(list->count, sizeof *calls);
    gr_status status = calls ? GR_OK : GR_ERROR_OUT_OF_MEMORY;
    size_t index = 0;
    for (const gr_json *value = list->first; value && !status; value = value->next)
        status = take_call(value, &calls[index++]);
    if (status == GR_ERROR_CORRUPT)
        (void)gr_fail(error, status, GR_CHAT_ORIGIN,
                      "tool call %zu of %zu: expected an object with a \"name\"", index,
                      list->count);
    else if (status)
        (void)gr_fail(error, status, GR_CHAT_ORIGIN, "no memory for the tool calls");
    else
        status = gr_chat_add_tool_calls(chat, content, calls, list->count, error);
    free_calls(calls, calls ? list->count : 0);
    return status;
}

gr_status gr_chat_parse_tool_calls(const gr_tokenizer *tokenizer, const gr_token *tokens,
                                   size_t count, gr_chat *chat, bool *out_found, gr_error *error) {
    *out_found = false;
    gr_token marker = gr_tokenizer_find(tokenizer, "[TOOL_CALLS]");
    size_t at = 0;
    while (at < count && tokens[at] != marker)
        at++;
    if (marker == GR_TOKEN_NONE || at == count)
        return GR_OK;
    gr_chat_text content = {0}, calls = {0};
    gr_json_document document = {0};
    decode(tokenizer, tokens, at, &content);
    decode(tokenizer, tokens + at + 1, count - at - 1, &calls);
    gr_status status;
    if (content.failed || calls.failed || gr_json_read(gr_chat_text_str(&calls), &document))
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, GR_CHAT_ORIGIN,
                         "no memory for the tool calls");
    else if (!document.root || document.root->kind != GR_JSON_ARRAY || !document.root->count)
        status = gr_fail(error, GR_ERROR_CORRUPT, GR_CHAT_ORIGIN,
                         "what the model wrote after [TOOL_CALLS] is not a JSON array of calls");
    else
        status = add_calls(document.root, gr_chat_text_str(&content), chat, error);
    *out_found = !status;
    gr_json_deinit(&document);
    gr_chat_text_deinit(&content);
    gr_chat_text_deinit(&calls);
    return status;
}
