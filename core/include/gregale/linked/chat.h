// SPDX-License-Identifier: Apache-2.0
// linked/chat.h: conversations to exact token sequences. Private to the project: linked in, not installed.
// Threads: formats are pure; a gr_chat belongs to one thread at a time.
#ifndef GREGALE_LINKED_CHAT_H
#define GREGALE_LINKED_CHAT_H

#include <stdbool.h>

#include "gregale/linked/tokenizer.h"
#include "gregale/status.h"

typedef uint32_t gr_role;
enum { GR_ROLE_SYSTEM = 0, GR_ROLE_USER = 1, GR_ROLE_ASSISTANT = 2, GR_ROLE_TOOL = 3 };

// A call the assistant made: id, function name, arguments as JSON text.
typedef struct gr_tool_call {
    char *id, *name, *arguments;
} gr_tool_call;

typedef struct gr_message {
    gr_role role;
    char *content; // UTF-8, never NULL
    size_t content_bytes;
    gr_tool_call *tool_calls;
    size_t tool_call_count;
    char *tool_call_id; // of a TOOL message, or NULL
    char *tool_name;
    bool partial;       // an assistant turn still being written: no end token after it
} gr_message;

// A conversation; owns its messages. `tools` is a JSON array of function definitions, or NULL.
typedef struct gr_chat {
    gr_message *messages;
    size_t count, capacity;
    char *tools;
} gr_chat;

gr_status gr_chat_add(gr_chat *chat, gr_role role, gr_str content, gr_error *error);
gr_status gr_chat_add_tool_calls(gr_chat *chat, gr_str content, const gr_tool_call *calls, size_t count,
                                 gr_error *error);
gr_status gr_chat_add_tool_result(gr_chat *chat, const char *call_id, const char *name, gr_str content,
                                  gr_error *error);
gr_status gr_chat_set_tools(gr_chat *chat, gr_str json, gr_error *error);
gr_status gr_chat_clone(const gr_chat *chat, gr_chat *out_chat, gr_error *error);
void gr_chat_truncate(gr_chat *chat, size_t count); // drops the messages from `count` on
void gr_chat_deinit(gr_chat *chat);

// A chat format, linked in: `const gr_chat_format gr_chat_format_<name>` in plugins/chat/<name>.c.
typedef struct gr_chat_format {
    uint32_t struct_size;
    const char *name; // "mistral-v3-tekken"
    const char *help; // one line
    // How surely the file wants this format, 0 to 100 (from tokenizer.chat_template, vocabulary, name).
    uint32_t (*match)(const gr_model_file *file, const gr_tokenizer *tokenizer);
    // Appends the whole conversation, beginning token included, up to where the assistant speaks. A
    // role sequence the format does not allow is an error that says which message and why.
    gr_status (*encode)(const gr_tokenizer *tokenizer, const gr_chat *chat, gr_tokens *tokens, gr_error *error);
    // Reads tool calls out of what the assistant generated (its tokens, end token excluded); appends an
    // assistant message with them to `chat` and sets *out_found. NULL when the format has no tools.
    gr_status (*parse_tool_calls)(const gr_tokenizer *tokenizer, const gr_token *tokens, size_t count,
                                  gr_chat *chat, bool *out_found, gr_error *error);
} gr_chat_format;

const gr_chat_format *const *gr_chat_formats(void); // ends with NULL
const gr_chat_format *gr_chat_format_find(const char *name);  // NULL when unknown
// The best match for the file, or NULL when it is a base model without one.
const gr_chat_format *gr_chat_format_detect(const gr_model_file *file, const gr_tokenizer *tokenizer);

#endif
