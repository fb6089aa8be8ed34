// SPDX-License-Identifier: Apache-2.0
// A conversation out of one input, encoded in every format; tool calls read out of its text; its
// text as JSON written and read again.
//
// Input: per message a byte of role and kind, a length, and so much text.
#include "gregale/linked/chat.h"
#include "plugins/chat/common/format.h"
#include "tests/fuzz/fuzz_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOOL_CALLS = 4, PARTIAL = 8, TOOLS = 16, LONG = 32 }; // bits 0 and 1: the role

static const char *const controls[] = {"[INST]",
                                       "[/INST]",
                                       "[TOOL_CALLS]",
                                       "[AVAILABLE_TOOLS]",
                                       "[/AVAILABLE_TOOLS]",
                                       "[TOOL_RESULTS]",
                                       "[/TOOL_RESULTS]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]",
                                       "<|im_start|>",
                                       "<|im_end|>",
                                       "<|start_header_id|>",
                                       "<|end_header_id|>",
                                       "<|eot_id|>"};

static gr_tokenizer *make_tokenizer(bool byte_level) {
    fuzz_vocab *v = calloc(1, sizeof *v);
    gr_tokenizer *tokenizer;
    FUZZ_CHECK(v);
    if (byte_level)
        fuzz_bpe(v);
    else
        fuzz_spm(v);
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++)
        fuzz_add_text(v, controls[i], GR_TOKEN_CONTROL);
    gr_model_file *file = fuzz_file(v, byte_level ? "tekken" : NULL, 1, 2);
    FUZZ_CHECK(!gr_tokenizer_create(file, &tokenizer, NULL));
    gr_model_file_close(file);
    free(v);
    return tokenizer;
}

static void add_message(fuzz_input *input, gr_chat *chat) {
    uint8_t kind = fuzz_byte(input);
    size_t length = fuzz_byte(input);
    gr_str text = fuzz_bytes(input, kind & LONG ? length * 16 : length);
    char *copy = strndup(text.data ? text.data : "", text.size);
    FUZZ_CHECK(copy);
    size_t before = chat->count;
    if (kind & TOOLS) {
        (void)gr_chat_set_tools(chat, text, NULL);
    } else if (kind & TOOL_CALLS) {
        gr_tool_call calls[2] = {{.id = copy, .name = copy, .arguments = copy}, {.name = "f"}};
        (void)gr_chat_add_tool_calls(chat, kind & PARTIAL ? text : (gr_str){0}, calls,
                                     1 + (kind >> 7), NULL);
    } else if ((kind & 3) == GR_ROLE_TOOL) {
        FUZZ_CHECK(!gr_chat_add_tool_result(chat, kind & PARTIAL ? NULL : copy, copy, text, NULL));
    } else {
        FUZZ_CHECK(!gr_chat_add(chat, kind & 3, text, NULL));
        chat->messages[before].partial = kind & PARTIAL;
    }
    free(copy);
}

// No text of a conversation becomes a control token: there are as many as the format itself puts.
static void check_formats(const gr_tokenizer *tokenizer, const gr_chat *chat) {
    for (const gr_chat_format *const *format = gr_chat_formats(); *format; format++) {
        gr_tokens tokens = {0};
        gr_error error;
        gr_error_init(&error);
        if ((*format)->encode(tokenizer, chat, &tokens, &error)) {
            FUZZ_CHECK(error.message[0] && tokens.count == 0);
        } else {
            size_t control = 0;
            for (size_t i = 0; i < tokens.count; i++) {
                FUZZ_CHECK(tokens.data[i] >= 0 && (uint32_t)tokens.data[i] < tokenizer->vocab.size);
                control += tokenizer->vocab.types[tokens.data[i]] == GR_TOKEN_CONTROL;
            }
            FUZZ_CHECK(control <= 6 * chat->count + 8);
        }
        gr_tokens_deinit(&tokens);
    }
}

static void check_tool_calls(const gr_tokenizer *tokenizer, gr_str text) {
    const gr_chat_format *format = gr_chat_format_find("mistral-v3");
    gr_chat chat = {0};
    gr_tokens tokens = {0};
    gr_error error;
    bool found;
    gr_error_init(&error);
    FUZZ_CHECK(!gr_tokens_push(&tokens, gr_tokenizer_find(tokenizer, "[TOOL_CALLS]")));
    FUZZ_CHECK(!gr_tokenizer_encode(tokenizer, text, 0, &tokens, NULL));
    gr_status status = format->parse_tool_calls(tokenizer, tokens.data, tokens.count, &chat, &found,
                                                &error);
    FUZZ_CHECK(found == (chat.count == 1) && found == !status);
    gr_tokens_deinit(&tokens);
    gr_chat_deinit(&chat);
}

// What is written reads back as itself.
static void check_json(gr_str text) {
    gr_chat_text once = {0}, twice = {0};
    gr_chat_json_value(&once, text);
    gr_json_document document;
    FUZZ_CHECK(!gr_json_read(gr_chat_text_str(&once), &document));
    if (document.root) { // else a string that is not UTF-8
        gr_json_write(&twice, document.root);
        FUZZ_CHECK(once.size == twice.size && !memcmp(once.data, twice.data, once.size));
    }
    gr_json_deinit(&document);
    gr_chat_text_deinit(&once);
    gr_chat_text_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static gr_tokenizer *tokenizers[2]; // made once: they never change
    fuzz_input input = {data, size};
    gr_chat chat = {0}, copy;
    if (!tokenizers[0])
        for (int i = 0; i < 2; i++)
            tokenizers[i] = make_tokenizer(i);
    check_json((gr_str){(const char *)data, size});
    while (input.size && chat.count < 64)
        add_message(&input, &chat);
    FUZZ_CHECK(!gr_chat_clone(&chat, &copy, NULL));
    for (int i = 0; i < 2; i++) {
        check_formats(tokenizers[i], &copy);
        check_tool_calls(tokenizers[i], (gr_str){(const char *)data, size});
    }
    gr_chat_deinit(&chat);
    gr_chat_deinit(&copy);
    return 0;
}
