// SPDX-License-Identifier: Apache-2.0
// Conversations, what formats refuse, tool calls, and which format a model gets.
#include "gregale/linked/chat.h"
#include "tests/unit/tokenizer/golden.h"
#include "tests/unit/tokenizer/vocab.h"

#define STR(text) ((gr_str){text, sizeof text - 1})

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"clock\", \"parameters\": {}}}]";

static void test_a_conversation_owns_its_messages(void **state) {
    (void)state;
    gr_chat chat = {0}, copy;
    gr_tool_call call = {.id = "abcdefghi", .name = "clock", .arguments = "{}"};
    char text[] = "Hi";
    assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, (gr_str){text, 2}, NULL), GR_OK);
    text[0] = 'X';
    assert_string_equal(chat.messages[0].content, "Hi");
    assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, (gr_str){0}, NULL), GR_OK);
    assert_string_equal(chat.messages[1].content, "");
    assert_int_equal(gr_chat_add_tool_calls(&chat, (gr_str){0}, &call, 1, NULL), GR_OK);
    assert_int_equal(gr_chat_add_tool_result(&chat, "abcdefghi", NULL, STR("1\0002"), NULL), GR_OK);
    assert_int_equal(chat.messages[3].content_bytes, 3);
    assert_int_equal(gr_chat_set_tools(&chat, STR(tools), NULL), GR_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR("more"), NULL), GR_OK);

    assert_int_equal(gr_chat_clone(&chat, &copy, NULL), GR_OK);
    gr_chat_truncate(&chat, 1);
    assert_int_equal(chat.count, 1);
    gr_chat_truncate(&chat, 5);
    assert_int_equal(chat.count, 1);
    gr_chat_deinit(&chat);
    assert_int_equal(copy.count, 24);
    assert_string_equal(copy.messages[2].tool_calls[0].name, "clock");
    assert_string_equal(copy.messages[3].tool_call_id, "abcdefghi");
    assert_null(copy.messages[3].tool_name);
    assert_string_equal(copy.tools, tools);
    gr_chat_deinit(&copy);
    gr_chat_deinit(&copy);
}

static void test_what_cannot_be_added(void **state) {
    (void)state;
    gr_chat chat = {0};
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_chat_add(&chat, 4, STR("x"), &error), GR_ERROR_INVALID_ARGUMENT);
    gr_tool_call call = {0};
    assert_int_equal(gr_chat_add_tool_calls(&chat, STR(""), &call, 1, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "tool call 1 of 1"));
    static const struct {
        const char *json, *message;
    } wrong[] = {
        {"{", "expected a JSON array"},
        {"{}", "expected a JSON array"},
        {"[1]", "tool 1 of 1: expected an object"},
        {"[{}]", "\"function\": expected an object"},
        {"[{\"function\": []}]", "\"function\": expected an object"},
        {"[{\"function\": {\"name\": \"\"}}]", "\"name\": expected a string"},
        {"[{\"function\": {\"name\": \"a\"}}, {\"function\": {\"name\": 1}}]", "tool 2 of 2"},
        {"[{\"type\": \"x\", \"function\": {\"name\": \"a\"}}]", "\"type\""},
        {"[{\"function\": {\"name\": \"a\", \"description\": 1}}]", "\"description\""},
        {"[{\"function\": {\"name\": \"a\", \"parameters\": 1}}]", "\"parameters\""},
    };
    assert_int_equal(gr_chat_set_tools(&chat, STR(tools), NULL), GR_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gr_str json = {wrong[i].json, strlen(wrong[i].json)};
        assert_int_equal(gr_chat_set_tools(&chat, json, &error), GR_ERROR_INVALID_ARGUMENT);
        if (!strstr(error.message, wrong[i].message))
            fail_msg("%s: %s", wrong[i].json, error.message);
        assert_string_equal(chat.tools, tools);
    }
    assert_int_equal(gr_chat_set_tools(&chat, STR("[]"), NULL), GR_OK);
    assert_null(chat.tools);
    assert_int_equal(chat.count, 0);
    gr_chat_deinit(&chat);
}

// ---- Refusals ----

static gr_status encode(const char *format, const golden_tokenizer *golden, const gr_chat *chat,
                        gr_error *error) {
    gr_tokens tokens = {0};
    gr_error_init(error);
    assert_int_equal(gr_tokens_push(&tokens, 77), GR_OK);
    gr_status status = gr_chat_format_find(format)->encode(golden->tokenizer, chat, &tokens, error);
    if (status)
        assert_int_equal(tokens.count, 1);
    gr_tokens_deinit(&tokens);
    return status;
}

static void test_illegal_orders_name_the_message(void **state) {
    (void)state;
    static const char *const formats[] = {"mistral-v2", "mistral-v3", "mistral-v7"};
    golden_tokenizer golden = golden_tokenizer_open("spm-v7", NULL);
    gr_error error;
    for (int f = 0; f < 3; f++) {
        gr_chat chat = {0};
        assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR("a"), NULL), GR_OK);
        assert_int_equal(gr_chat_add_tool_result(&chat, "x", "f", STR("1"), NULL), GR_OK);
        assert_int_equal(encode(formats[f], &golden, &chat, &error), GR_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "message 2 of 2 (tool)"));
        assert_non_null(strstr(error.message, formats[f]));
        gr_chat_truncate(&chat, 1);

        assert_int_equal(gr_chat_add(&chat, GR_ROLE_ASSISTANT, STR(""), NULL), GR_OK);
        assert_int_equal(encode(formats[f], &golden, &chat, &error), GR_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "message 2 of 2 (assistant): neither text"));
        gr_chat_truncate(&chat, 1);

        assert_int_equal(gr_chat_add(&chat, GR_ROLE_ASSISTANT, STR("b"), NULL), GR_OK);
        chat.messages[1].partial = true;
        assert_int_equal(encode(formats[f], &golden, &chat, &error), GR_OK);
        assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR("c"), NULL), GR_OK);
        assert_int_equal(encode(formats[f], &golden, &chat, &error), GR_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "message 2 of 3 (assistant): only the last"));
        chat.messages[1].partial = false;
        chat.messages[2].role = 9;
        assert_int_equal(encode(formats[f], &golden, &chat, &error), GR_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "message 3 of 3 (unknown): role 9"));
        gr_chat_deinit(&chat);
    }
    golden_tokenizer_close(&golden);
}

static void test_results_need_ids_from_v3_on(void **state) {
    (void)state;
    golden_tokenizer golden = golden_tokenizer_open("spm-v7", NULL);
    gr_tool_call call = {.name = "f"};
    gr_error error;
    gr_chat chat = {0};
    assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR("a"), NULL), GR_OK);
    assert_int_equal(gr_chat_add_tool_calls(&chat, STR(""), &call, 1, NULL), GR_OK);
    assert_int_equal(gr_chat_add_tool_result(&chat, NULL, NULL, STR("1"), NULL), GR_OK);
    assert_int_equal(encode("mistral-v2", &golden, &chat, &error), GR_OK);
    assert_int_equal(encode("mistral-v3", &golden, &chat, &error), GR_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "message 3 of 3 (tool)"));
    assert_int_equal(encode("mistral-v7", &golden, &chat, &error), GR_ERROR_INVALID_ARGUMENT);
    gr_chat_deinit(&chat);
    golden_tokenizer_close(&golden);
}

static void test_a_vocabulary_without_the_tokens_is_refused(void **state) {
    (void)state;
    golden_tokenizer golden = golden_tokenizer_open("spm-v1", NULL);
    gr_error error;
    gr_chat chat = {0};
    assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR("a"), NULL), GR_OK);
    assert_int_equal(encode("mistral-v3", &golden, &chat, &error), GR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no [INST] token"));
    assert_int_equal(encode("chatml", &golden, &chat, &error), GR_ERROR_UNSUPPORTED);
    assert_int_equal(encode("llama3", &golden, &chat, &error), GR_ERROR_UNSUPPORTED);
    assert_int_equal(encode("mistral-v1", &golden, &chat, &error), GR_OK);
    gr_chat_deinit(&chat);
    golden_tokenizer_close(&golden);
}

// ---- Tool calls ----

static gr_status parse(const golden_tokenizer *golden, gr_str before, const char *calls,
                       gr_chat *chat, bool *found, gr_error *error) {
    gr_tokens tokens = {0};
    gr_error_init(error);
    assert_int_equal(gr_tokenizer_encode(golden->tokenizer, before, 0, &tokens, NULL), GR_OK);
    if (calls) {
        gr_token marker = gr_tokenizer_find(golden->tokenizer, "[TOOL_CALLS]");
        assert_int_equal(gr_tokens_push(&tokens, marker), GR_OK);
        assert_int_equal(gr_tokenizer_encode(golden->tokenizer, (gr_str){calls, strlen(calls)}, 0,
                                             &tokens, NULL),
                         GR_OK);
    }
    gr_status status = gr_chat_format_find("mistral-v3")
                           ->parse_tool_calls(golden->tokenizer, tokens.data, tokens.count, chat,
                                              found, error);
    gr_tokens_deinit(&tokens);
    return status;
}

static void check_calls(const golden_tokenizer *golden) {
    gr_chat chat = {0};
    gr_error error;
    bool found;
    assert_int_equal(parse(golden, STR("It is noon."), NULL, &chat, &found, &error), GR_OK);
    assert_false(found);
    assert_int_equal(parse(golden, STR(""),
                           "[{\"name\": \"f\", \"arguments\": {\"a\":1.50, \"\xC3\xA9\": []}, "
                           "\"id\": \"abcdefghi\"}, "
                           "{\"name\": \"g\"}, {\"arguments\": \"22\", \"name\": \"h\"}]",
                           &chat, &found, &error),
                     GR_OK);
    assert_true(found);
    assert_int_equal(chat.count, 1);
    const gr_message *message = &chat.messages[0];
    assert_int_equal(message->role, GR_ROLE_ASSISTANT);
    assert_int_equal(message->tool_call_count, 3);
    assert_string_equal(message->tool_calls[0].name, "f");
    assert_string_equal(message->tool_calls[0].id, "abcdefghi");
    assert_string_equal(message->tool_calls[0].arguments, "{\"a\": 1.5, \"\xC3\xA9\": []}");
    assert_string_equal(message->tool_calls[1].arguments, "{}");
    assert_null(message->tool_calls[1].id);
    assert_string_equal(message->tool_calls[2].arguments, "\"22\"");
    assert_string_equal(message->content, "");

    assert_int_equal(parse(golden, STR("Let me look."), "[{\"name\": \"f\", \"arguments\": {}}]",
                           &chat, &found, &error),
                     GR_OK);
    assert_string_equal(chat.messages[1].content, "Let me look.");
    static const char *const wrong[] = {"",
                                        "[]",
                                        "{}",
                                        "[1]",
                                        "[{}]",
                                        "[{\"name\": 1}]",
                                        "[{\"name\": \"f\", \"id\": 3}]",
                                        "[{\"name\": \"f\\u0000\"}]",
                                        "[{\"name\": \"f\"}",
                                        "[{\"name\": \"f\"}] x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(parse(golden, STR(""), wrong[i], &chat, &found, &error), GR_ERROR_CORRUPT);
        assert_false(found);
        assert_int_equal(chat.count, 2);
        assert_true(error.message[0] != '\0');
    }
    gr_chat_deinit(&chat);
}

static void test_tool_calls_are_read(void **state) {
    (void)state;
    static const char *const vocabs[] = {"spm-v3", "spm-v7", "tekken"};
    for (int i = 0; i < 3; i++) {
        golden_tokenizer golden = golden_tokenizer_open(vocabs[i], NULL);
        check_calls(&golden);
        golden_tokenizer_close(&golden);
    }
}

// What was read encodes as what the model wrote.
static void test_tool_calls_go_round(void **state) {
    (void)state;
    static const char calls[] =
        "[{\"name\": \"f\", \"arguments\": {\"a\": 1.5}, \"id\": \"abcdefghi\"}, "
        "{\"name\": \"g\", \"arguments\": \"22\", \"id\": \"ihgfedcba\"}]";
    golden_tokenizer golden = golden_tokenizer_open("spm-v3", NULL);
    gr_chat chat = {0};
    gr_error error;
    bool found;
    gr_tokens whole = {0}, wanted = {0};
    assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR("a"), NULL), GR_OK);
    assert_int_equal(parse(&golden, STR(""), calls, &chat, &found, &error), GR_OK);
    assert_int_equal(
        gr_chat_format_find("mistral-v3")->encode(golden.tokenizer, &chat, &whole, NULL), GR_OK);
    assert_int_equal(gr_tokens_push(&wanted, gr_tokenizer_find(golden.tokenizer, "[TOOL_CALLS]")),
                     GR_OK);
    assert_int_equal(gr_tokenizer_encode(golden.tokenizer, STR(calls), 0, &wanted, NULL), GR_OK);
    assert_int_equal(gr_tokens_push(&wanted, golden.tokenizer->vocab.eos), GR_OK);
    assert_true(whole.count > wanted.count);
    assert_memory_equal(whole.data + whole.count - wanted.count, wanted.data,
                        wanted.count * sizeof *wanted.data);
    gr_tokens_deinit(&whole);
    gr_tokens_deinit(&wanted);
    gr_chat_deinit(&chat);
    golden_tokenizer_close(&golden);
}

// ---- Llama 3 ----

static void test_llama3(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    gr_token start = vocab_add(&v, "<|start_header_id|>", GR_TOKEN_CONTROL, 0);
    gr_token end = vocab_add(&v, "<|end_header_id|>", GR_TOKEN_CONTROL, 0);
    gr_token turn = vocab_add(&v, "<|eot_id|>", GR_TOKEN_CONTROL, 0);
    gr_token user = vocab_add(&v, "user", GR_TOKEN_NORMAL, 0);
    gr_token assistant = vocab_add(&v, "assistant", GR_TOKEN_NORMAL, 0);
    gr_token line = vocab_add(&v, "\xC4\x8A\xC4\x8A", GR_TOKEN_NORMAL, 0);
    v.pre = "llama-bpe";
    v.score_count = SIZE_MAX;
    v.chat_template = "{{ '<|start_header_id|>' + message['role'] }}";
    gr_model_file *file = vocab_file(&v);
    gr_tokenizer *tokenizer = vocab_open(&v);
    const gr_chat_format *format = gr_chat_format_detect(file, tokenizer);
    assert_non_null(format);
    assert_string_equal(format->name, "llama3");
    gr_chat chat = {0};
    gr_tokens tokens = {0};
    assert_int_equal(gr_chat_add(&chat, GR_ROLE_USER, STR(" \nx "), NULL), GR_OK);
    assert_int_equal(format->encode(tokenizer, &chat, &tokens, NULL), GR_OK);
    const gr_token expected[] = {
        VOCAB_BPE_BOS, start, user,      end, line, VOCAB_BPE_A + 'x' - 'a',
        turn,          start, assistant, end, line};
    assert_int_equal(tokens.count, sizeof expected / sizeof *expected);
    assert_memory_equal(tokens.data, expected, sizeof expected);
    gr_tokens_deinit(&tokens);
    gr_chat_deinit(&chat);
    gr_tokenizer_destroy(tokenizer);
    gr_model_file_close(file);
}

// ---- Which format ----

static void expect(const vocab *v, const char *wanted) {
    gr_model_file *file = vocab_file(v);
    gr_tokenizer *tokenizer = vocab_open(v);
    const gr_chat_format *format = gr_chat_format_detect(file, tokenizer);
    const char *name = format ? format->name : "none";
    if (strcmp(name, wanted ? wanted : "none"))
        fail_msg("%s | %s: %s, expected %s", v->name ? v->name : "-",
                 v->chat_template ? v->chat_template : "-", name, wanted ? wanted : "none");
    gr_tokenizer_destroy(tokenizer);
    gr_model_file_close(file);
}

static void test_sentencepiece_models(void **state) {
    (void)state;
    vocab v;
    vocab_spm(&v);
    v.name = "breeze";
    expect(&v, NULL);
    v.types[VOCAB_INST] = GR_TOKEN_NORMAL; // as in V1's vocabulary
    v.chat_template = "{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}";
    expect(&v, "mistral-v1");
    v.chat_template = "{{ '[INST] <<SYS>>\\n' }}"; // Llama 2
    expect(&v, NULL);
    v.chat_template = "{{ 'USER: ' }}";
    v.name = "mistralai_Mistral-7B-Instruct-v0.2";
    expect(&v, NULL);
    v.chat_template = NULL;
    expect(&v, "mistral-v1");
    v.name = "Mistral-7B-v0.1";
    expect(&v, NULL);

    vocab_spm(&v);
    vocab_add(&v, "[/INST]", GR_TOKEN_CONTROL, 0);
    v.chat_template = "{{ '[AVAILABLE_TOOLS] [' }}{{ '[INST] ' }}{{ '\"call_id\": ' }}";
    expect(&v, "mistral-v3");
    v.chat_template = "{{ '[INST]' }}";
    expect(&v, "mistral-v3");
    v.chat_template = "{{ '[AVAILABLE_TOOLS] [' }}{{ '[INST] ' }}";
    expect(&v, "mistral-v2");
    v.chat_template = "{{ '[SYSTEM_PROMPT] ' }}{{ '[INST] ' }}";
    expect(&v, "mistral-v7");
    v.chat_template = NULL;
    v.name = "Mistral-7B-v0.3"; // the base model has the same vocabulary
    expect(&v, NULL);
    v.name = "Mistral-7B-Instruct-v0.3";
    expect(&v, "mistral-v3");
    v.name = NULL;
    expect(&v, "mistral-v3");
}

static void test_byte_level_models(void **state) {
    (void)state;
    vocab v;
    vocab_bpe(&v);
    v.name = "gpt2";
    expect(&v, NULL);
    vocab_add(&v, "[INST]", GR_TOKEN_CONTROL, 0);
    vocab_add(&v, "[/INST]", GR_TOKEN_CONTROL, 0);
    vocab_add(&v, "[SYSTEM_PROMPT]", GR_TOKEN_CONTROL, 0);
    v.pre = "tekken";
    v.score_count = SIZE_MAX;
    v.name = "Mistral-Nemo-Instruct-2407";
    expect(&v, "mistral-v3-tekken");
    v.chat_template = "{{ '[INST]' }}{{ '[AVAILABLE_TOOLS][' }}{{ 'call_id' }}";
    expect(&v, "mistral-v3-tekken");
    v.chat_template = "{{ '[SYSTEM_PROMPT]' }}{{ '[INST]' }}";
    expect(&v, "mistral-v7-tekken");

    vocab_bpe(&v);
    vocab_add(&v, "<|im_start|>", GR_TOKEN_CONTROL, 0);
    vocab_add(&v, "<|im_end|>", GR_TOKEN_CONTROL, 0);
    v.score_count = SIZE_MAX;
    v.name = "SmolLM2 base";
    expect(&v, NULL);
    v.name = "Something Chat";
    expect(&v, "chatml");
    v.chat_template = "{{ '<|im_start|>' }}";
    expect(&v, "chatml");
    v.chat_template = "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
                      "trained by Hugging Face' }}";
    expect(&v, "smollm2");
}

static void test_formats_are_listed(void **state) {
    (void)state;
    static const char *const names[] = {"chatml",     "llama3",
                                        "mistral-v1", "mistral-v2",
                                        "mistral-v3", "mistral-v3-tekken",
                                        "mistral-v7", "mistral-v7-tekken",
                                        "smollm2"};
    size_t count = 0;
    while (gr_chat_formats()[count])
        count++;
    assert_int_equal(count, sizeof names / sizeof *names);
    for (size_t i = 0; i < count; i++) {
        const gr_chat_format *format = gr_chat_format_find(names[i]);
        assert_non_null(format);
        assert_int_equal(format->struct_size, sizeof *format);
        assert_true(format->help && *format->help);
    }
    assert_null(gr_chat_format_find("mistral"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_conversation_owns_its_messages),
        cmocka_unit_test(test_what_cannot_be_added),
        cmocka_unit_test(test_illegal_orders_name_the_message),
        cmocka_unit_test(test_results_need_ids_from_v3_on),
        cmocka_unit_test(test_a_vocabulary_without_the_tokens_is_refused),
        cmocka_unit_test(test_tool_calls_are_read),
        cmocka_unit_test(test_tool_calls_go_round),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_sentencepiece_models),
        cmocka_unit_test(test_byte_level_models),
        cmocka_unit_test(test_formats_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
