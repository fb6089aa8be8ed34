// SPDX-License-Identifier: Apache-2.0
// Chat formats token for token against mistral-common and SmolLM2's own template.
#include <jansson.h>

#include "gregale/linked/chat.h"
#include "tests/unit/tokenizer/golden.h"

static gr_str json_text(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value ? (gr_str){json_string_value(value), json_string_length(value)} : (gr_str){"", 0};
}

// Arguments are JSON text or, where the conversation has them as an object, become such.
static void add_calls(gr_chat *chat, gr_str content, const json_t *list) {
    gr_tool_call calls[8] = {0};
    char *texts[8] = {0};
    size_t count = json_array_size(list);
    assert_in_range(count, 1, 8);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i), *function = json_object_get(item, "function");
        const json_t *arguments = json_object_get(function, "arguments");
        texts[i] = json_is_string(arguments)
                       ? strdup(json_string_value(arguments))
                       : json_dumps(arguments, JSON_ENCODE_ANY | JSON_COMPACT);
        calls[i] = (gr_tool_call){
            .id = (char *)json_string_value(json_object_get(item, "id")),
            .name = (char *)json_string_value(json_object_get(function, "name")),
            .arguments = texts[i]};
    }
    assert_int_equal(gr_chat_add_tool_calls(chat, content, calls, count, NULL), GR_OK);
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
}

static void add_message(gr_chat *chat, const json_t *message) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *calls = json_object_get(message, "tool_calls");
    gr_str content = json_text(message, "content");
    gr_role number = 0;
    while (strcmp(role, roles[number]))
        assert_true(++number <= GR_ROLE_TOOL);
    if (calls)
        add_calls(chat, content, calls);
    else if (number == GR_ROLE_TOOL)
        assert_int_equal(gr_chat_add_tool_result(
                             chat, json_string_value(json_object_get(message, "tool_call_id")),
                             json_string_value(json_object_get(message, "name")), content, NULL),
                         GR_OK);
    else
        assert_int_equal(gr_chat_add(chat, number, content, NULL), GR_OK);
    chat->messages[chat->count - 1].partial = json_is_true(json_object_get(message, "prefix"));
}

static gr_chat read_chat(gr_str text) {
    gr_chat chat = {0};
    json_t *root = json_loadb(text.data, text.size, JSON_ALLOW_NUL, NULL);
    const json_t *message;
    size_t index;
    gr_error error;
    gr_error_init(&error);
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "messages"), index, message)
        add_message(&chat, message);
    const json_t *tools = json_object_get(root, "tools");
    if (tools) {
        char *json = json_dumps(tools, 0);
        if (gr_chat_set_tools(&chat, (gr_str){json, strlen(json)}, &error))
            fail_msg("%s", error.message);
        free(json);
    }
    json_decref(root);
    return chat;
}

static gr_str read_string(const gr_model_file *file, uint32_t n, const char *what) {
    char key[64];
    gr_str value = {0};
    snprintf(key, sizeof key, "chat.%u.%s", n, what);
    assert_true(gr_meta_get_string(file, key, &value));
    return value;
}

static const gr_chat_format *find_format(gr_str name, const golden_tokenizer *golden) {
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)name.size, name.data);
    // The template of this vocabulary is ChatML with a system prompt of its own.
    if (!strcmp(text, "chatml"))
        return gr_chat_format_detect(golden->file, golden->tokenizer);
    return gr_chat_format_find(text);
}

// V1 has no tools. The oracle passes over definitions in silence; we say so, and agree on the rest.
static void refuse_tools_of_v1(const gr_chat_format *format, const golden_tokenizer *golden,
                               gr_chat *chat) {
    gr_tokens tokens = {0};
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(format->encode(golden->tokenizer, chat, &tokens, &error),
                     GR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no tools"));
    assert_int_equal(gr_chat_set_tools(chat, (gr_str){0}, NULL), GR_OK);
    gr_tokens_deinit(&tokens);
}

static void check_case(const gr_model_file *file, uint32_t n, const golden_tokenizer *golden,
                       uint32_t *counts) {
    char key[64], what[160];
    snprintf(key, sizeof key, "chat.%u.conversation", n);
    uint32_t k = golden_u32(file, key);
    gr_str name = {0};
    snprintf(key, sizeof key, "conversation.%u.name", k);
    assert_true(gr_meta_get_string(file, key, &name));
    bool refused = false;
    snprintf(key, sizeof key, "chat.%u.refused", n);
    assert_true(gr_meta_get_bool(file, key, &refused));

    const gr_chat_format *format = find_format(read_string(file, n, "format"), golden);
    assert_non_null(format);
    snprintf(what, sizeof what, "%s on %.*s", format->name, (int)name.size, name.data);
    gr_chat chat = read_chat(golden_bytes(golden_tensor(file, "conversation.%u", k)));
    if (chat.tools && !strcmp(format->name, "mistral-v1"))
        refuse_tools_of_v1(format, golden, &chat);
    gr_tokens tokens = {0};
    gr_error error;
    gr_error_init(&error);
    gr_status status = format->encode(golden->tokenizer, &chat, &tokens, &error);
    if (refused != (status != GR_OK))
        fail_msg("%s: %s", what, status ? error.message : "should have been refused");
    if (refused)
        assert_true(error.message[0] != '\0' && tokens.count == 0);
    size_t count;
    const int32_t *ids = golden_ids(golden_tensor(file, "chat.%u.ids", n), &count);
    golden_compare(what, ids, refused ? 0 : count, &tokens);
    counts[refused]++;
    gr_tokens_deinit(&tokens);
    gr_chat_deinit(&chat);
}

static void test_vocabulary(void **state) {
    const char *vocab = *state;
    gr_model_file *file = golden_open("chat.gguf");
    golden_tokenizer golden = golden_tokenizer_open(vocab, NULL);
    uint32_t counts[2] = {0};
    for (uint32_t n = 0; n < golden_u32(file, "golden.chat.count"); n++) {
        gr_str wanted = read_string(file, n, "vocab");
        if (wanted.size == strlen(vocab) && !memcmp(wanted.data, vocab, wanted.size))
            check_case(file, n, &golden, counts);
    }
    assert_true(counts[0] >= 20);
    golden_tokenizer_close(&golden);
    gr_model_file_close(file);
}

int main(void) {
    static const char *const vocabs[] = {"spm-v1", "spm-v2", "spm-v3",
                                         "spm-v7", "tekken", "smollm2"};
    struct CMUnitTest tests[6];
    for (int i = 0; i < 6; i++)
        tests[i] = (struct CMUnitTest){vocabs[i], test_vocabulary, NULL, NULL, (void *)vocabs[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
