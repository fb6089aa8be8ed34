// SPDX-License-Identifier: Apache-2.0
// JSON as Python's json.dumps(json.loads(text), ensure_ascii=False) writes it; expected values are
// its.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/chat/common/format.h"

static void check(const char *text, const char *expected) {
    gr_chat_text out = {0};
    gr_chat_json_value(&out, (gr_str){text, strlen(text)});
    assert_false(out.failed);
    if (out.size != strlen(expected) || memcmp(out.data, expected, out.size))
        fail_msg("%s gives %.*s, expected %s", text, (int)out.size, out.data, expected);
    gr_chat_text_deinit(&out);
}

static void test_spacing_and_order(void **state) {
    (void)state;
    check("", "{}");
    check(" { \"b\" :[1,2 ,\n[ ]], \"a\":{ } }\t", "{\"b\": [1, 2, []], \"a\": {}}");
    check("{\"a\": 1, \"b\": 2, \"a\": 3}", "{\"a\": 3, \"b\": 2}");
    check("{\"\": 1, \"b\": {\"c\": 1, \"c\": 2}, \"\": null, \"a\": true, \"b\": false}",
          "{\"\": null, \"b\": false, \"a\": true}");
}

static void test_numbers(void **state) {
    (void)state;
    check("[0, -0, 7, -12, 123456789012345678901234567890]",
          "[0, 0, 7, -12, 123456789012345678901234567890]");
    check("[1.0, -0.0, 1e5, 1E2, 100.50, 0.1]", "[1.0, -0.0, 100000.0, 100.0, 100.5, 0.1]");
    check("[1e15, 1e16, 0.0001, 0.00001, 1.5e-7, 123e20]",
          "[1000000000000000.0, 1e+16, 0.0001, 1e-05, 1.5e-07, 1.23e+22]");
    check("[5e-324, 1.7976931348623157e308, 9007199254740993.0]",
          "[5e-324, 1.7976931348623157e+308, 9007199254740992.0]");
    check("5.6843418860808015e-14",
          "5.684341886080802e-14"); // a power of two: the nearest 16 digits read back as less
    check("[1e999, -1e999, NaN, Infinity, -Infinity]",
          "[Infinity, -Infinity, NaN, Infinity, -Infinity]");
}

static void test_strings(void **state) {
    (void)state;
    check("\"q\\\"b\\\\s\\/n\\nt\\tr\\rb\\bf\\f\"", "\"q\\\"b\\\\s/n\\nt\\tr\\rb\\bf\\f\"");
    check("\"\\u0001\\u001F\\u007f\\u00e9\\u20ac\\ud83d\\ude00\"",
          "\"\\u0001\\u001f\x7f\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    check("\"\\u0000\"", "\"\\u0000\"");
}

static void test_what_is_not_json_becomes_a_string(void **state) {
    (void)state;
    check("sunny, 22 \xC2\xB0", "\"sunny, 22 \xC2\xB0\"");
    check("{broken", "\"{broken\"");
    check("city=\"Paris\"\n", "\"city=\\\"Paris\\\"\\n\"");
    static const char *const wrong[] = {
        " ",           "1 2",         "01",          "1.",   ".5",     "+1",
        "-",           "1e",          "[1,]",        "[,1]", "[1 2]",  "{\"a\"}",
        "{\"a\":}",    "{a: 1}",      "{\"a\": 1,}", "'a'",  "\"a",    "\"\\x\"",
        "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "nul",  "True",   "\"a\nb\"",
        "\"\xFF\"",    "[",           "]",           "[1}",  "\"\\\"", "\"\\"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gr_json_document document;
        assert_int_equal(gr_json_read((gr_str){wrong[i], strlen(wrong[i])}, &document), GR_OK);
        if (document.root)
            fail_msg("%s is taken for JSON", wrong[i]);
        gr_json_deinit(&document);
    }
}

static void test_depth_and_size_are_bounded(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    gr_json_document document;
    char *text = malloc(2 * DEPTH);
    assert_non_null(text);
    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    assert_int_equal(gr_json_read((gr_str){text, 2 * DEPTH}, &document), GR_OK);
    assert_null(document.root);
    gr_json_deinit(&document);
    assert_int_equal(gr_json_read((gr_str){text + DEPTH - 500, 1000}, &document), GR_OK);
    assert_non_null(document.root);
    gr_json_deinit(&document);
    free(text);
}

// An object of 200 000 members, each key twice: must not take quadratic time.
static void test_many_duplicates(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    char *text = malloc(COUNT * 16 + 16);
    assert_non_null(text);
    size_t size = 0;
    for (int i = 0; i < COUNT; i++)
        size += (size_t)sprintf(text + size, "%c\"%d\":%d", i ? ',' : '{', i % (COUNT / 2), i);
    text[size++] = '}';
    gr_json_document document;
    assert_int_equal(gr_json_read((gr_str){text, size}, &document), GR_OK);
    assert_non_null(document.root);
    assert_int_equal(document.root->count, COUNT / 2);
    assert_memory_equal(document.root->first->key.data, "0", 1);
    assert_memory_equal(document.root->first->text.data, "100000", 6);
    gr_json_deinit(&document);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spacing_and_order),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_what_is_not_json_becomes_a_string),
        cmocka_unit_test(test_depth_and_size_are_bounded),
        cmocka_unit_test(test_many_duplicates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
