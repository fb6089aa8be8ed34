// SPDX-License-Identifier: Apache-2.0
// Grammars of rules: the notation, recursion, ambiguity, and what is refused.
#include "tests/unit/grammar/grammar_test.h"

static const char json[] =
    "root   ::= object\n"
    "value  ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
    "object ::= \"{\" ws ( string \":\" ws value (\",\" ws string \":\" ws value)* )? \"}\" ws\n"
    "array  ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}) )* \"\\\"\" ws\n"
    "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n"
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

static const char arithmetic[] = "root  ::= (expr \"=\" ws term \"\\n\")+\n"
                                 "expr  ::= term ([-+*/] term)*\n"
                                 "term  ::= ident | num | \"(\" ws expr \")\" ws\n"
                                 "ident ::= [a-z] [a-z0-9_]* ws\n"
                                 "num   ::= [0-9]+ ws\n"
                                 "ws    ::= [ \\t\\n]*\n";

static const char list[] = "# items of a list\nroot ::= item+\n\n"
                           "item ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ \"\\n\"  # one\n";

static void test_common(void **state) {
    (void)state;
    gr_grammar *g = compile("gbnf", json);
    matches(g, "{}");
    matches(g, "{\"a\": [1, -2.5e+1, {\"b\": \"\\u00e9\\n\xC3\xA9\"}], \"c\":null} ");
    differs(g, "{\"a\": [1, }");
    differs(g, "{\"a\": 01}");
    differs(g, "[1]");
    differs(g, "{\"a\": \"\xC3\"}");
    gr_grammar_release(g);
    g = compile("gbnf", arithmetic);
    matches(g, "(a +2)*x1=y\n");
    matches(g, "1=2\n((3))=4\n");
    differs(g, "1+=2\n");
    differs(g, "(1=2\n");
    gr_grammar_release(g);
    g = compile("gbnf", list);
    matches(g, "- one\n- zwei \xC3\xA9\n");
    differs(g, "- one");
    differs(g, "- \xE2\x80\xA8\n");
    gr_grammar_release(g);
}

static void test_notation(void **state) {
    (void)state;
    static const struct {
        const char *text, *yes[4], *no[4];
    } all[] = {
        {"root ::= \"a\" |\n \"b\"", {"a", "b"}, {"", "ab"}},
        {"root ::= \"a\"\n     | \"b\" # or\n  | \"c\"\n", {"a", "b", "c"}, {"ab"}},
        {"root ::= (\n \"a\"\n \"b\"\n)+ x\nx ::= \"c\"?", {"ab", "ababc"}, {"a", "abcab"}},
        {"root ::= \"ab\"{2} [x]{1,} [y]{,2} [z]{ 1 , 2 }", {"ababxz", "ababxxyyzz"}, {"abxz", "ababxyyyz"}},
        {"root ::= \"\\x41\\u00e9\\U0001F600\\\\\\\"\"", {"A\xC3\xA9\xF0\x9F\x98\x80\\\""}, {"A"}},
        {"root ::= [\\]a-c\\-^-] .", {"]x", "-\n", "^\xC3\xA9", "b."}, {"dx", "a"}},
        {"root ::= ", {""}, {"a"}},
        {"root ::= a-b_9\na-b_9 ::= \"x\"", {"x"}, {""}},
        {"root::=\"a\"b\nb::=\"c\"*+", {"a", "acc"}, {"c"}}, // a repetition may be repeated
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        gr_grammar *g = compile("gbnf", all[i].text);
        for (size_t j = 0; j < 4 && all[i].yes[j]; j++)
            matches(g, all[i].yes[j]);
        for (size_t j = 0; j < 4 && all[i].no[j]; j++)
            differs(g, all[i].no[j]);
        gr_grammar_release(g);
    }
}

static void test_recursion(void **state) {
    (void)state;
    gr_grammar *g = compile("gbnf", "root ::= \"(\" root \")\" | \"\"");
    matches(g, "");
    matches(g, "((()))");
    differs(g, "(()");
    differs(g, "())");
    gr_grammar_release(g);
    // Right recursion is a loop: no limit on its length.
    g = compile("gbnf", "root ::= \"a\" root | b\nb ::= \"b\" root | \"\"");
    char text[2001] = "";
    for (int i = 0; i < 2000; i++)
        text[i] = "ab"[i * i / 7 % 2];
    matches(g, text);
    differs(g, "abc");
    gr_grammar_release(g);
    // Nesting is limited, and the way out always stays open.
    g = compile("gbnf", "root ::= \"(\" root \")\" | pair\npair ::= \"x\" tail\ntail ::= \"y\" one\none ::= \"z\" \"w\"");
    memset(text, '(', 2000);
    gr_grammar_state *s = begin(g);
    uint32_t depth = 0;
    const uint32_t *mask;
    assert_int_equal(gr_grammar_state_mask(s, UINT32_MAX, &mask, NULL), GR_OK);
    while (allowed(mask, VOCAB_BYTES + '(')) {
        assert_int_equal(gr_grammar_state_advance(s, VOCAB_BYTES + '(', NULL), GR_OK);
        assert_int_equal(gr_grammar_state_mask(s, UINT32_MAX, &mask, NULL), GR_OK);
        depth++;
    }
    assert_true(depth >= 200 && depth <= 300);
    assert_int_equal(gr_grammar_state_advance(s, VOCAB_BYTES + '(', NULL), GR_ERROR_INVALID_ARGUMENT);
    for (const char *c = "xyzw"; *c; c++)
        assert_int_equal(gr_grammar_state_advance(s, VOCAB_BYTES + *c, NULL), GR_OK);
    while (depth--)
        assert_int_equal(gr_grammar_state_advance(s, VOCAB_BYTES + ')', NULL), GR_OK);
    assert_true(gr_grammar_state_is_over(s));
    gr_grammar_state_destroy(s);
    gr_grammar_release(g);
}

// Ambiguous grammars cost no more than others: equal rests are one.
static void test_ambiguity(void **state) {
    (void)state;
    static const char *const all[] = {
        "root ::= s\ns ::= \"a\" s \"x\" | \"a\" s \"y\" | b s? | \"\"\nb ::= \"a\"",
        "root ::= e e\ne ::= \"a\" | \"a\" e e",
        "root ::= (x | y)* \"!\"\nx ::= \"a\" x?\ny ::= \"a\" y | \"a\" z\nz ::= x?",
        "root ::= (\"a\"? n)*\nn ::= \"\" | \"a\" n \"a\"",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        gr_grammar *g = compile("gbnf", all[i]);
        gr_grammar_state *s = begin(g);
        for (int n = 0; n < 60; n++) {
            const uint32_t *mask;
            gr_error error;
            gr_error_init(&error);
            if (gr_grammar_state_mask(s, 400, &mask, &error) != GR_OK ||
                gr_grammar_state_advance(s, VOCAB_BYTES + 'a', &error) != GR_OK)
                fail_msg("%s after %d: %s", all[i], n, error.message);
        }
        gr_grammar_state_destroy(s);
        gr_grammar_release(g);
    }
}

static void test_refusals(void **state) {
    (void)state;
    const gr_status wrong = GR_ERROR_INVALID_ARGUMENT;
    refuses("gbnf", "", wrong, "line 1, column 1: no rule is called root");
    refuses("gbnf", "x ::= \"a\"\n", wrong, "line 2, column 1: no rule is called root");
    refuses("gbnf", "root ::= a\n  b ::= \"x\"", wrong, "line 1, column 10: this rule is not defined");
    refuses("gbnf", "root ::= \"a\"\nroot ::= \"b\"", wrong, "line 2, column 1: this rule is defined already");
    refuses("gbnf", "root = \"a\"", wrong, "line 1, column 6: expected '::='");
    refuses("gbnf", "root ::= \"a", wrong, "line 1, column 10: this text has no end");
    refuses("gbnf", "root ::= [a", wrong, "column 10: this class has no ']'");
    refuses("gbnf", "root ::= (\"a\"", wrong, "column 10: this group has no ')'");
    refuses("gbnf", "root ::= \"a\")", wrong, "column 13: expected the end of the rule");
    refuses("gbnf", "root ::= [b-a]", wrong, "a range that ends before it begins");
    refuses("gbnf", "root ::= \"\\q\"", wrong, "column 11: there is no such escape");
    refuses("gbnf", "root ::= \"\\xg\"", wrong, "hexadecimal");
    refuses("gbnf", "root ::= \"\\ud800\"", wrong, "no code point");
    refuses("gbnf", "root ::= \"a\"{2,1}", wrong, "column 13: expected {n}");
    refuses("gbnf", "root ::= \"a\"{2000000}", GR_ERROR_OUT_OF_RANGE, "a count beyond");
    refuses("gbnf", "root ::= <think>", GR_ERROR_UNSUPPORTED, "column 10: tokens by name");
    refuses("gbnf", "root ::= expr\nexpr ::= expr \"+\" \"1\" | \"1\"", wrong, "'expr' begins with itself");
    refuses("gbnf", "root ::= a \"x\"\na ::= n b \"y\" | \"z\"\nb ::= a \"w\"\nn ::= \"\" | \"(\" n \")\"", wrong,
            "begins with itself");
    refuses("gbnf", "root ::= a \"x\"\na ::= \"y\" a \"z\"", wrong, "nothing at all satisfies");
    refuses("gbnf", "root ::= \"a\xFF\"", wrong, "column 12: not UTF-8");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_common), cmocka_unit_test(test_notation),
                                       cmocka_unit_test(test_recursion), cmocka_unit_test(test_ambiguity),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
