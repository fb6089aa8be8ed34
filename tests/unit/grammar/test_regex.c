// SPDX-License-Identifier: Apache-2.0
// What regular expressions match and which ones are refused.
#include "tests/unit/grammar/grammar_test.h"

typedef struct expression {
    const char *text;
    const char *yes[8], *no[8]; // end with NULL
} expression;

static void test_matches(void **state) {
    static const expression all[] = {
        {"abc", {"abc"}, {"ab", "abcd", "", "abd"}},
        {"", {""}, {"a"}},
        {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
        {"a*b+c?", {"b", "aabbc", "bc"}, {"a", "c", "bcc"}},
        {"(ab){2,3}", {"abab", "ababab"}, {"ab", "abababab", "aba"}},
        {"a{3}", {"aaa"}, {"aa", "aaaa"}},
        {"a{2,}", {"aa", "aaaaaaaaa"}, {"a", ""}},
        {"a{0,2}", {"", "a", "aa"}, {"aaa"}},
        {"(a?){3}b", {"b", "ab", "aaab"}, {"aaaab"}},
        {"(a*)*b", {"b", "aaab"}, {"aaa"}},
        {"[a-c]x[^a-c]", {"axd", "cx0", "ax\xC3\xA9"}, {"dxd", "axb"}},
        {"[\\]\\-a]", {"]", "-", "a"}, {"\\", "b"}},
        {"[a-]", {"a", "-"}, {"b"}},
        {".", {"a", "\xC3\xA9", "\xF0\x9F\x98\x80"}, {"", "\n", "\xC3", "\x80", "\xED\xA0\x80", "ab"}},
        {"[\xC3\xA0-\xC3\xBF]{2}", {"\xC3\xA9\xC3\xA0"}, {"\xC3\xA9", "aa", "\xC3\x9F\xC3\xA0"}},
        {"[\\u0080-\\u{10FFFF}]", {"\xC2\x80", "\xF4\x8F\xBF\xBF", "\xEF\xBF\xBF"}, {"a", "\xF4\x90\x80\x80"}},
        {"\\d{4}-\\d\\d", {"2024-01"}, {"2024-1", "202a-01", "\xD9\xA3" "024-01"}},
        {"\\w+\\s\\S\\D\\W", {"a_9 xa-"}, {"a xaa", "a \xC2\xA0" "a-"}},
        {"[^\\d]", {"a"}, {"5", "\xD9\xA3"}},
        {"\\S", {"\xC3\xA9"}, {"\xC2\xA0"}},
        {"\\x41\\u0042\\t\\n\\.\\/", {"AB\t\n./"}, {"AB\t\nx/"}},
        {"\\uD83D\\uDE00", {"\xF0\x9F\x98\x80"}, {"\xF0\x9F\x98\x81"}},
        {"(?:a|(?<n>b))c*?", {"a", "bccc"}, {"c"}},
        {"^abc$", {"abc"}, {"abcd"}},
        {"a{1,200}", {"a"}, {""}},
        {"(a|b)*abb", {"abb", "aababb"}, {"ab", "abba"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        gr_grammar *grammar = compile("regex", all[i].text);
        for (size_t j = 0; all[i].yes[j]; j++)
            if (follow(grammar, all[i].yes[j], strlen(all[i].yes[j])) != 2)
                fail_msg("/%s/ should match '%s'", all[i].text, all[i].yes[j]);
        for (size_t j = 0; all[i].no[j]; j++)
            if (follow(grammar, all[i].no[j], strlen(all[i].no[j])) == 2)
                fail_msg("/%s/ should not match '%s'", all[i].text, all[i].no[j]);
        gr_grammar_release(grammar);
    }
}

// A repetition is counted exactly, however it is laid out.
static void check_count(const char *unit, const char *regex, size_t least, size_t most) {
    gr_grammar *grammar = compile("regex", regex);
    size_t size = strlen(unit), counts[] = {0, least ? least - 1 : 0, least, least + 1, most / 2, most - 1, most, most + 1};
    char *text = malloc((most + 1) * size + 1);
    for (size_t i = 0; i < (most + 1) * size; i++)
        text[i] = unit[i % size];
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int expected = counts[i] < least ? 1 : counts[i] > most ? 0 : 2;
        if (follow(grammar, text, counts[i] * size) != expected)
            fail_msg("/%s/ with %zu times '%s': expected %d", regex, counts[i], unit, expected);
    }
    free(text);
    gr_grammar_release(grammar);
}

static void test_counts(void **state) {
    (void)state;
    check_count("a", "a{70,100}", 70, 100);
    check_count("a", "[a-z]{20000}", 20000, 20000);
    check_count("\xC3\xA9", ".{3,5000}", 3, 5000);
    check_count("\xC3\xA9", "[a-z\xC3\xA9]{12345,70001}", 12345, 70001);
    check_count("ab", "(ab|cde|[f-i]x+){0,30000}", 0, 30000);
}

static void test_refusals(void **state) {
    (void)state;
    const gr_status wrong = GR_ERROR_INVALID_ARGUMENT, no = GR_ERROR_UNSUPPORTED;
    refuses("regex", "a(b", wrong, "character 2: this group has no ')'");
    refuses("regex", "ab)", wrong, "character 3: a ')' without its '('");
    refuses("regex", "*a", wrong, "character 1: nothing to repeat");
    refuses("regex", "a**", wrong, "character 3: a repetition of a repetition");
    refuses("regex", "a*+", wrong, "character 3");
    refuses("regex", "\xC3\xA9[b-a]", wrong, "character 3: a range that ends before it begins");
    refuses("regex", "[abc", wrong, "character 1: this class has no ']'");
    refuses("regex", "[]", no, "character 1: an empty class");
    refuses("regex", "a{2,1}", wrong, "character 2: expected {n}, {n,} or {n,m}");
    refuses("regex", "a{,3}", wrong, "character 3: expected a count");
    refuses("regex", "a{2000000}", GR_ERROR_OUT_OF_RANGE, "character 3: a count beyond");
    refuses("regex", "a\\", wrong, "character 2: nothing behind the backslash");
    refuses("regex", "a\\q", wrong, "character 2: there is no such escape");
    refuses("regex", "(a)\\1", no, "character 4: back references");
    refuses("regex", "a\\b", no, "character 2: word boundaries");
    refuses("regex", "\\p{L}", no, "character 1: Unicode properties");
    refuses("regex", "a(?=b)", no, "character 2: look-around");
    refuses("regex", "a(?<!b)", no, "character 2: look-around");
    refuses("regex", "(?i)a", no, "character 1: this kind of group");
    refuses("regex", "[[:alpha:]]", no, "character 2: POSIX");
    refuses("regex", "a^b", no, "character 2: '^' behind something");
    refuses("regex", "a$b", no, "character 2: '$' before something");
    refuses("regex", "(^a)*", no, "character 1: an anchor inside a repetition");
    refuses("regex", "\\u12", wrong, "hexadecimal");
    refuses("regex", "\\uD800", wrong, "surrogates");
    refuses("regex", "\\u{110000}", wrong, "code point");
    refuses("regex", "a\xFF", wrong, "character 2: not UTF-8");
    refuses("regex", "(a|b)*a(a|b){30}", GR_ERROR_OUT_OF_RANGE, "too large");
    refuses("nonsense", "a", GR_ERROR_NOT_FOUND, "nonsense");
    char deep[401];
    memset(deep, '(', 200);
    memset(deep + 200, ')', 200);
    deep[400] = '\0';
    refuses("regex", deep, GR_ERROR_OUT_OF_RANGE, "nested more than");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matches), cmocka_unit_test(test_counts),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
