// SPDX-License-Identifier: Apache-2.0
#include "plugins/chat/common/mistral.h"

#include <string.h>

// Messages that follow each other in one role and count as one.
typedef struct span {
    size_t first, count;
} span;

typedef struct mistral_writer {
    gr_chat_writer base;
    const gr_mistral_rules *rules;
    size_t first_user, last_user; // where these spans begin
} mistral_writer;

// The place of the empty user message that opens when the first to speak is not a user; its span is
// empty.
#define STAND_IN SIZE_MAX

static gr_role role_of(const mistral_writer *writer, size_t index) {
    return writer->base.chat->messages[index].role;
}

static bool is_system_text(const mistral_writer *writer, size_t index) {
    return role_of(writer, index) == GR_ROLE_SYSTEM && !writer->rules->system_turns;
}

// The span that begins at `at`. Users and assistants merge with their like; others stand alone.
static span span_at(const mistral_writer *writer, size_t at) {
    span found = {at, 1};
    gr_role role = role_of(writer, at);
    if (role != GR_ROLE_USER && role != GR_ROLE_ASSISTANT)
        return found;
    while (at + found.count < writer->base.chat->count && role_of(writer, at + found.count) == role)
        found.count++;
    return found;
}

static void find_users(mistral_writer *writer) {
    const gr_chat *chat = writer->base.chat;
    bool opened = false;
    writer->first_user = writer->last_user = STAND_IN;
    for (size_t at = 0; at < chat->count; at += span_at(writer, at).count) {
        if (is_system_text(writer, at))
            continue;
        if (role_of(writer, at) == GR_ROLE_USER) {
            writer->last_user = at;
            if (!opened)
                writer->first_user = at;
        }
        opened = true;
    }
}

// Adds the contents that are not empty, an empty line between.
static void add_contents(const mistral_writer *writer, span turn, gr_chat_text *text) {
    size_t before = text->size;
    for (size_t i = turn.first; i < turn.first + turn.count; i++) {
        const gr_message *message = &writer->base.chat->messages[i];
        if (message->content_bytes && text->size > before)
            gr_chat_text_puts(text, "\n\n");
        gr_chat_text_add(text, message->content, message->content_bytes);
    }
}

static void add_system(const mistral_writer *writer, gr_chat_text *text) {
    const gr_chat *chat = writer->base.chat;
    if (writer->rules->system_turns)
        return;
    size_t before = text->size;
    for (size_t i = 0; i < chat->count; i++) {
        const gr_message *message = &chat->messages[i];
        if (message->role != GR_ROLE_SYSTEM || !message->content_bytes)
            continue;
        if (text->size > before)
            gr_chat_text_puts(text, "\n\n");
        gr_chat_text_add(text, message->content, message->content_bytes);
    }
    if (text->size > before)
        gr_chat_text_puts(text, "\n\n");
}

// ---- Tools ----

static void add_member(gr_chat_text *text, const char *start, const gr_json *value,
                       const char *otherwise) {
    gr_chat_text_puts(text, start);
    if (value)
        gr_json_write(text, value);
    else
        gr_chat_text_puts(text, otherwise);
}

// The definitions, in the one order of members that models have seen.
static void put_tools(mistral_writer *writer) {
    gr_json_document document;
    gr_chat_text text = {0};
    const char *json = writer->base.chat->tools;
    if (!json)
        return;
    if (gr_json_read((gr_str){json, strlen(json)}, &document))
        gr_chat_no_memory(&writer->base);
    gr_chat_text_puts(&text, "[");
    for (const gr_json *tool = document.root ? document.root->first : NULL; tool;
         tool = tool->next) {
        const gr_json *function = gr_json_member(tool, "function");
        add_member(&text, "{\"type\": \"function\", \"function\": {\"name\": ",
                   gr_json_member(function, "name"), "\"\"");
        add_member(&text, ", \"description\": ", gr_json_member(function, "description"), "\"\"");
        add_member(&text, ", \"parameters\": ", gr_json_member(function, "parameters"), "{}");
        gr_chat_text_puts(&text, tool->next ? "}}, " : "}}");
    }
    gr_chat_text_puts(&text, "]");
    gr_json_deinit(&document);
    gr_chat_put_control(&writer->base, "[AVAILABLE_TOOLS]");
    gr_chat_put_composed(&writer->base, &text);
    gr_chat_put_control(&writer->base, "[/AVAILABLE_TOOLS]");
}

static void add_call(const mistral_writer *writer, const gr_tool_call *call, gr_chat_text *text) {
    const char *arguments = call->arguments ? call->arguments : "";
    gr_chat_text_puts(text, "{\"name\": ");
    gr_json_write_string(text, (gr_str){call->name, strlen(call->name)});
    gr_chat_text_puts(text, ", \"arguments\": ");
    gr_chat_json_value(text, (gr_str){arguments, strlen(arguments)});
    if (writer->rules->call_ids && call->id && *call->id && strcmp(call->id, "null")) {
        gr_chat_text_puts(text, ", \"id\": ");
        gr_json_write_string(text, (gr_str){call->id, strlen(call->id)});
    }
    gr_chat_text_puts(text, "}");
}

static void put_calls(mistral_writer *writer, span turn) {
    gr_chat_text text = {0};
    for (size_t i = turn.first; i < turn.first + turn.count; i++) {
        const gr_message *message = &writer->base.chat->messages[i];
        for (size_t c = 0; c < message->tool_call_count; c++) {
            gr_chat_text_puts(&text, text.size ? ", " : "[");
            add_call(writer, &message->tool_calls[c], &text);
        }
    }
    gr_chat_text_puts(&text, "]");
    gr_chat_put_control(&writer->base, "[TOOL_CALLS]");
    gr_chat_put_composed(&writer->base, &text);
}

// V2: [{"name": .., "content": ..}]; V3: {"content": .., "call_id": ..}.
static void add_result(const mistral_writer *writer, const gr_message *message,
                       gr_chat_text *text) {
    if (writer->rules->call_ids) {
        gr_chat_text_puts(text, "{\"content\": ");
        gr_chat_json_value(text, gr_message_text(message));
        gr_chat_text_puts(text, ", \"call_id\": ");
        gr_json_write_string(text, (gr_str){message->tool_call_id, strlen(message->tool_call_id)});
        gr_chat_text_puts(text, "}");
        return;
    }
    gr_chat_text_puts(text, "[{\"name\": ");
    if (message->tool_name)
        gr_json_write_string(text, (gr_str){message->tool_name, strlen(message->tool_name)});
    else
        gr_chat_text_puts(text, "null");
    gr_chat_text_puts(text, ", \"content\": ");
    gr_chat_json_value(text, gr_message_text(message));
    gr_chat_text_puts(text, "}]");
}

// Whether this is left out for being older than the last user message.
static bool is_dropped(const mistral_writer *writer, span turn) {
    return writer->rules->drop_old_tools && writer->last_user != STAND_IN &&
           turn.first < writer->last_user;
}

static void put_result(mistral_writer *writer, span turn) {
    const gr_message *message = &writer->base.chat->messages[turn.first];
    if (is_dropped(writer, turn))
        return;
    if (writer->rules->call_ids && !message->tool_call_id) {
        gr_chat_refuse(&writer->base, GR_ERROR_INVALID_ARGUMENT, turn.first,
                       "a tool result needs the id of its call");
        return;
    }
    if (!writer->rules->call_ids && message[-1].role == GR_ROLE_TOOL) {
        gr_chat_refuse(&writer->base, GR_ERROR_UNSUPPORTED, turn.first,
                       "this format has one tool result a turn of the assistant");
        return;
    }
    gr_chat_put_control(&writer->base, "[TOOL_RESULTS]");
    if (writer->rules->raw_results) {
        gr_chat_put_text(&writer->base,
                         (gr_str){message->tool_call_id, strlen(message->tool_call_id)});
        gr_chat_put_control(&writer->base, "[TOOL_CONTENT]");
        gr_chat_put_text(&writer->base, gr_message_text(message));
    } else {
        gr_chat_text text = {0};
        add_result(writer, message, &text);
        gr_chat_put_composed(&writer->base, &text);
    }
    gr_chat_put_control(&writer->base, "[/TOOL_RESULTS]");
}

// ---- Turns ----

static void put_user(mistral_writer *writer, span turn) {
    size_t at = turn.count ? turn.first : STAND_IN;
    bool last = at == writer->last_user;
    gr_chat_text text = {0};
    if (writer->rules->inst_is_text) {
        gr_chat_text_puts(&text, "[INST] ");
        if (at == writer->first_user)
            add_system(writer, &text);
        add_contents(writer, turn, &text);
        gr_chat_text_puts(&text, " [/INST]");
        gr_chat_put_composed(&writer->base, &text);
        return;
    }
    if (last) {
        put_tools(writer);
        add_system(writer, &text);
    }
    add_contents(writer, turn, &text);
    gr_chat_put_control(&writer->base, "[INST]");
    gr_chat_put_composed(&writer->base, &text);
    gr_chat_put_control(&writer->base, "[/INST]");
}

static void put_content(mistral_writer *writer, gr_chat_text *text) {
    while (!writer->rules->inst_is_text && text->size && text->data[text->size - 1] == ' ')
        text->size--;
    gr_chat_put_text(&writer->base, gr_chat_text_str(text));
}

static void put_assistant(mistral_writer *writer, span turn) {
    const gr_message *last = &writer->base.chat->messages[turn.first + turn.count - 1];
    gr_chat_text text = {0};
    size_t calls = 0;
    add_contents(writer, turn, &text);
    for (size_t i = turn.first; i < turn.first + turn.count; i++)
        calls += writer->base.chat->messages[i].tool_call_count;
    if (text.failed)
        gr_chat_no_memory(&writer->base);
    else if (!calls && !text.size)
        gr_chat_refuse(&writer->base, GR_ERROR_INVALID_ARGUMENT, turn.first,
                       "neither text nor tool calls");
    else if (calls && text.size && !writer->rules->system_turns)
        gr_chat_refuse(&writer->base, GR_ERROR_UNSUPPORTED, turn.first,
                       "this format has either text or tool calls in a turn, not both");
    bool dropped = calls && is_dropped(writer, turn);
    if (text.size)
        put_content(writer, &text);
    if (calls && !dropped)
        put_calls(writer, turn);
    if (!last->partial && !dropped)
        gr_chat_put_token(&writer->base, writer->base.tokenizer->vocab.eos, "end");
    gr_chat_text_deinit(&text);
}

static void put_system(mistral_writer *writer, span turn) {
    gr_chat_put_control(&writer->base, "[SYSTEM_PROMPT]");
    gr_chat_put_text(&writer->base, gr_message_text(&writer->base.chat->messages[turn.first]));
    gr_chat_put_control(&writer->base, "[/SYSTEM_PROMPT]");
}

static void put_turn(mistral_writer *writer, span turn) {
    switch (role_of(writer, turn.first)) {
    case GR_ROLE_SYSTEM: put_system(writer, turn); break;
    case GR_ROLE_USER: put_user(writer, turn); break;
    case GR_ROLE_ASSISTANT: put_assistant(writer, turn); break;
    default: put_result(writer, turn); break;
    }
}

gr_status gr_mistral_encode(const gr_mistral_rules *rules, const gr_tokenizer *tokenizer,
                            const gr_chat *chat, gr_tokens *tokens, gr_error *error) {
    mistral_writer writer = {.base = {.format = rules->name,
                                      .tokenizer = tokenizer,
                                      .chat = chat,
                                      .tokens = tokens,
                                      .error = error},
                             .rules = rules};
    size_t before = tokens->count;
    gr_chat_check_order(&writer.base);
    if (rules->inst_is_text)
        gr_chat_refuse_tools(&writer.base);
    if (!writer.base.status)
        find_users(&writer);
    gr_chat_put_token(&writer.base, tokenizer->vocab.bos, "beginning");
    bool opens = rules->system_turns ? !chat->count : writer.first_user == STAND_IN;
    if (!writer.base.status && opens)
        put_user(&writer, (span){0});
    for (size_t at = 0; at < chat->count && !writer.base.status;) {
        span turn = span_at(&writer, at);
        if (!is_system_text(&writer, at))
            put_turn(&writer, turn);
        at += turn.count;
    }
    if (writer.base.status)
        tokens->count = before;
    return writer.base.status;
}

// ---- Recognising ----

static bool has(const gr_tokenizer *tokenizer, const char *name) {
    return gr_tokenizer_find(tokenizer, name) != GR_TOKEN_NONE;
}

// By the template, which knows more than the vocabulary: one vocabulary serves several versions.
static gr_mistral_version version_of_template(gr_str text, const gr_tokenizer *tokenizer) {
    if (!gr_str_contains(text, "[INST]") ||
        gr_str_contains(text, "<<SYS>>")) // the latter is Llama 2
        return GR_MISTRAL_NONE;
    if (!has(tokenizer, "[INST]"))
        return GR_MISTRAL_V1;
    if (gr_str_contains(text, "[SYSTEM_PROMPT]"))
        return GR_MISTRAL_V7;
    bool tools = gr_str_contains(text, "[AVAILABLE_TOOLS]") ||
                 gr_str_contains(text, "[TOOL_CALLS]");
    return tools && !gr_str_contains(text, "call_id") ? GR_MISTRAL_V2 : GR_MISTRAL_V3;
}

static gr_mistral_version version_of_vocabulary(const gr_model_file *file,
                                                const gr_tokenizer *tokenizer, bool tekken) {
    if (has(tokenizer, "[INST]") && has(tokenizer, "[/INST]"))
        return has(tokenizer, "[SYSTEM_PROMPT]") && !tekken ? GR_MISTRAL_V7 : GR_MISTRAL_V3;
    gr_str name = {0};
    gr_meta_get_string(file, "general.name", &name);
    bool mistral = gr_str_contains(name, "istral") || gr_str_contains(name, "ixtral");
    return mistral && !tekken ? GR_MISTRAL_V1 : GR_MISTRAL_NONE;
}

uint32_t gr_mistral_match(const gr_model_file *file, const gr_tokenizer *tokenizer,
                          gr_mistral_version version, bool tekken) {
    gr_str text = gr_chat_template(file);
    if (tekken == !strcmp(tokenizer->type->name, "spm"))
        return 0;
    if (text.size)
        return version_of_template(text, tokenizer) == version ? 90 : 0;
    // Base models share the vocabulary of their tuned siblings: without a template the name
    // decides.
    if (version_of_vocabulary(file, tokenizer, tekken) != version)
        return 0;
    if (gr_chat_is_instruct(file))
        return 60;
    return gr_chat_has_name(file) || version == GR_MISTRAL_V1 ? 0 : 30;
}
