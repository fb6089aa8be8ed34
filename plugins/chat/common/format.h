// SPDX-License-Identifier: Apache-2.0
// format.h: what chat formats share: writing a conversation as tokens, recognising a model, reading
// tool calls. For the chat formats. Threads: pure but for what they are given.
#ifndef GREGALE_CHAT_FORMAT_H
#define GREGALE_CHAT_FORMAT_H

#include "gregale/linked/chat.h"
#include "plugins/chat/common/json.h"

#define GR_CHAT_ORIGIN "chat"

// ---- Writing ----

// One conversation on its way to tokens. The first failure sticks in `status`; later calls do
// nothing.
typedef struct gr_chat_writer {
    const char *format; // its name, for messages
    const gr_tokenizer *tokenizer;
    const gr_chat *chat;
    gr_tokens *tokens;
    gr_error *error;
    gr_status status;
} gr_chat_writer;

// Appends the control token spelled `name`; UNSUPPORTED where the vocabulary has none.
void gr_chat_put_control(gr_chat_writer *writer, const char *name);
// Appends a token such as BOS, called `name` in the message when it is GR_TOKEN_NONE.
void gr_chat_put_token(gr_chat_writer *writer, gr_token token, const char *name);
// Appends the tokens of `text`, encoded alone; nothing in it becomes a control token.
void gr_chat_put_text(gr_chat_writer *writer, gr_str text);
// Appends the tokens of what was composed and frees it.
void gr_chat_put_composed(gr_chat_writer *writer, gr_chat_text *text);
// Records a failure that message `index` (counted from 0) is the cause of.
GR_PRINTF(4, 5)
void gr_chat_refuse(gr_chat_writer *writer, gr_status status, size_t index, const char *format,
                    ...);
void gr_chat_no_memory(gr_chat_writer *writer);
// Checks what holds in every format: known roles, tool results only behind tool calls, a partial
// message only from the assistant and only last.
void gr_chat_check_order(gr_chat_writer *writer);
// Refuses tools, tool calls and tool results.
void gr_chat_refuse_tools(gr_chat_writer *writer);

gr_str gr_message_text(const gr_message *message);
const char *gr_role_name(gr_role role); // "user"

// ---- Recognising ----

// tokenizer.chat_template, or empty.
gr_str gr_chat_template(const gr_model_file *file);
bool gr_str_contains(gr_str text, const char *part);
// Whether the file calls itself tuned for conversation (general.name, basename, finetune).
bool gr_chat_is_instruct(const gr_model_file *file);
bool gr_chat_has_name(const gr_model_file *file);

// ---- Tool calls ----

// Implements gr_chat_format.parse_tool_calls for [TOOL_CALLS] followed by a JSON array of calls.
// CORRUPT when what follows is not that.
gr_status gr_chat_parse_tool_calls(const gr_tokenizer *tokenizer, const gr_token *tokens,
                                   size_t count, gr_chat *chat, bool *out_found, gr_error *error);
// Appends `text` as JSON: re-serialised where it is JSON, as a string where it is not, {} where it
// is empty.
void gr_chat_json_value(gr_chat_text *text, gr_str value);

#endif
