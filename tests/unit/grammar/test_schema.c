// SPDX-License-Identifier: Apache-2.0
// JSON Schema: what is generated for each keyword, and what is refused by name and place.
#include "tests/unit/grammar/grammar_test.h"

typedef struct schema {
    const char *text;
    const char *yes[8], *no[8]; // end with NULL
} schema;

static void check(const schema *all, size_t count) {
    for (size_t i = 0; i < count; i++) {
        gr_grammar *g = compile("json-schema", all[i].text);
        for (size_t j = 0; j < 8 && all[i].yes[j]; j++)
            if (follow(g, all[i].yes[j], strlen(all[i].yes[j])) != 2)
                fail_msg("%s should take %s", all[i].text, all[i].yes[j]);
        for (size_t j = 0; j < 8 && all[i].no[j]; j++)
            if (follow(g, all[i].no[j], strlen(all[i].no[j])) == 2)
                fail_msg("%s should not take %s", all[i].text, all[i].no[j]);
        gr_grammar_release(g);
    }
}
#define CHECK(all) check(all, sizeof all / sizeof *all)

static void test_types(void **state) {
    (void)state;
    static const schema all[] = {
        {"true", {"{}", "[1, \"a\"]", "\"x\"", "-1.5e+3", "null", "{\"a\": {\"b\": []}}"}, {"", "nul", "[1,]", "{\"a\"}"}},
        {"{}", {"0", "[[[]]]"}, {"01", "+1", ".5", "1."}},
        {"{\"type\": \"null\"}", {"null"}, {"false", ""}},
        {"{\"type\": [\"boolean\", \"integer\"]}", {"true", "false", "-7", "0"}, {"1.5", "null", "-0"}},
        {"{\"type\": \"string\"}",
         {"\"\"", "\"\xC3\xA9\\n\\u00e9\\\"\"", "\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\""},
         {"\"\n\"", "\"\\x\"", "\"\\ud83d\"", "\"\\ude00\"", "\"\xC3\"", "\"\xED\xA0\x80\"", "\"a", "a"}},
        {"{\"type\": \"object\", \"title\": \"T\", \"x-mine\": [1]}", {"{}", "{ \"a\": 1,\"b\":[] }"}, {"[]", "{\"a\":1,}"}},
        {"{\"type\": \"array\"}", {"[]", "[ 1,\n    2 ]"}, {"[1 2]", "[1 ,2]", "{}"}},
        // A schema without a type is of the types that its keywords are about.
        {"{\"minLength\": 1}", {"\"a\""}, {"\"\"", "1"}},
        {"{\"items\": true, \"minimum\": 3}", {"[]", "3"}, {"\"\"", "2"}},
    };
    CHECK(all);
}

static void test_values(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"const\": \"a\\\"\xC3\xA9\\n\"}", {"\"a\\\"\xC3\xA9\\n\""}, {"\"a\\\"\\u00e9\\n\"", "\"a\""}},
        {"{\"enum\": [1, 2.50, 1e30, -0.1, null, \"x\", [1, {\"a\": true}], 1.0]}",
         {"1", "2.5", "1e+30", "-0.1", "null", "\"x\"", "[1, {\"a\": true}]", "[1,{\"a\":true}]"}, {"2", "1.0", "[1]", "x"}},
        {"{\"type\": \"string\", \"enum\": [1, \"a\", \"bc\"], \"minLength\": 2}", {"\"bc\""}, {"1", "\"a\""}},
        {"{\"enum\": [\"ab\", \"a1\"], \"pattern\": \"[0-9]\"}", {"\"a1\""}, {"\"ab\""}},
        {"{\"enum\": [1, 1.5, 20], \"type\": \"integer\", \"maximum\": 9}", {"1"}, {"1.5", "20"}},
        {"{\"allOf\": [{\"enum\": [1, 2, 3]}, {\"enum\": [2.0, 3, 4]}], \"const\": 3}", {"3"}, {"2", "1"}},
        {"{\"enum\": [{\"a\": 1}, {\"a\": \"x\"}, {}], \"properties\": {\"a\": {\"type\": \"string\"}}, \"required\": [\"a\"]}",
         {"{\"a\": \"x\"}"}, {"{\"a\": 1}", "{}"}},
        {"{\"enum\": [9007199254740993, -9007199254740993]}", {"9007199254740993", "-9007199254740993"}, {"9007199254740992"}},
    };
    CHECK(all);
}

static void test_strings(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
         {"\"ab\"", "\"\xC3\xA9\\n\\u00e9\"", "\"\\ud83d\\ude00\xF0\x9F\x98\x80\""}, {"\"a\"", "\"abcd\"", "\"\xF0\x9F\x98\x80\""}},
        {"{\"pattern\": \"b\"}", {"\"b\"", "\"abc\"", "\"\\nb\\\"\""}, {"\"a\"", "\"\""}},
        {"{\"pattern\": \"^a|c$\"}", {"\"ab\"", "\"bc\""}, {"\"bcb\"", "\"\""}},
        {"{\"pattern\": \"^x(,|$)\"}", {"\"x\"", "\"x,y\""}, {"\"xy\"", "\"\"", "\"ax\""}},
        {"{\"pattern\": \"^[\\\"\\\\\\\\]+$\"}", {"\"\\\"\\\\\""}, {"\"\"", "\"\\u0022\""}},
        {"{\"pattern\": \"^[a-z]+$\", \"minLength\": 2, \"maxLength\": 4}", {"\"ab\"", "\"abcd\""}, {"\"a\"", "\"abcde\"", "\"a1\""}},
        {"{\"allOf\": [{\"pattern\": \"^a\"}, {\"pattern\": \"z$\"}]}", {"\"az\"", "\"a-z\""}, {"\"a\"", "\"z\""}},
    };
    CHECK(all);
}

static void test_formats(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"format\": \"date\"}", {"\"2024-02-29\"", "\"2000-02-29\"", "\"0001-12-31\""},
         {"\"2023-02-29\"", "\"1900-02-29\"", "\"2024-04-31\"", "\"2024-13-01\"", "\"0000-01-01\"", "\"2024-1-1\""}},
        {"{\"format\": \"time\"}", {"\"23:59:59Z\"", "\"00:00:00.123+05:30\""}, {"\"24:00:00Z\"", "\"12:00:00\"", "\"12:60:00Z\""}},
        {"{\"format\": \"date-time\"}", {"\"2024-06-01T12:00:00Z\""}, {"\"2024-06-01\"", "\"2024-06-01 12:00:00Z\""}},
        {"{\"format\": \"duration\"}", {"\"P1Y2M3D\"", "\"PT5M\"", "\"P3W\"", "\"P1DT2H\""}, {"\"P\"", "\"P1YT\"", "\"1D\""}},
        {"{\"format\": \"email\"}", {"\"a.b+c@example.org\""}, {"\"a@b\"", "\"@b.c\"", "\"a b@c.d\"", "\"a..b@c.d\""}},
        {"{\"format\": \"hostname\"}", {"\"a\"", "\"x1.example.org\""}, {"\"-a\"", "\"a-\"", "\"a..b\"", "\"\""}},
        {"{\"format\": \"ipv4\"}", {"\"0.0.0.0\"", "\"255.10.1.99\""}, {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
        {"{\"format\": \"ipv6\"}", {"\"::\"", "\"1::\"", "\"::1\"", "\"1:2:3:4:5:6:7:8\"", "\"1:2::7:8\""}, {"\"1:2:3\"", "\"1::2::3\"", "\":::\"", "\"1:2:3:4:5:6:7:8:9\""}},
        {"{\"format\": \"uuid\"}", {"\"01234567-89ab-cdef-0123-456789ABCDEF\""}, {"\"0123456789abcdef0123456789abcdef\""}},
        {"{\"format\": \"uri\", \"maxLength\": 40}", {"\"https://a.org/x?y=1#z\"", "\"s://a\""}, {"\"a.org\"", "\"https:// a\"", "\"https://a/%g0\""}},
        {"{\"format\": \"json-pointer\"}", {"\"\"", "\"/a~1b/0\""}, {"\"a\"", "\"/~\""}},
    };
    CHECK(all);
}

static void test_numbers(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"type\": \"integer\", \"minimum\": -12, \"maximum\": 105}", {"-12", "-1", "0", "9", "10", "99", "105"}, {"-13", "106", "-0", "1.0", "007", "200", "1e1", "-20"}},
        {"{\"type\": \"integer\", \"exclusiveMinimum\": 17, \"exclusiveMaximum\": 321}", {"18", "99", "100", "320"}, {"17", "321", "8", "1000", "330", "-18"}},
        {"{\"type\": \"integer\", \"minimum\": 0.5, \"maximum\": 2.5}", {"1", "2"}, {"0", "3"}},
        {"{\"type\": \"integer\", \"maximum\": -3}", {"-3", "-10", "-999"}, {"-2", "3", "0"}},
        {"{\"type\": \"integer\", \"minimum\": 9007199254740993}", {"9007199254740993"}, {"9007199254740992"}},
        {"{\"type\": \"integer\", \"minimum\": -9007199254740991, \"maximum\": 9007199254740991}", {"9007199254740991", "0"}, {"9007199254740992", "-9007199254740992"}},
        {"{\"type\": \"integer\", \"multipleOf\": 7, \"minimum\": -20, \"maximum\": 30}", {"-14", "0", "7", "28"}, {"-21", "1", "35", "-0"}},
        {"{\"type\": \"number\", \"allOf\": [{\"multipleOf\": 4}, {\"multipleOf\": 6}], \"minimum\": 1}", {"12", "24"}, {"4", "6", "0", "12.0"}},
        {"{\"type\": \"number\", \"minimum\": 0.25, \"exclusiveMaximum\": 3}", {"0.25", "0.3", "2", "2.99", "1.0", "0.251"}, {"0.24", "0.2", "3", "3.0", "0", "-1", "0.2499"}},
        {"{\"type\": \"number\", \"minimum\": -1.5, \"maximum\": -0.5}", {"-1.5", "-0.5", "-1", "-0.75"}, {"-1.51", "-0.4", "0", "1", "-0"}},
        {"{\"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 0.001}", {"0.001", "0.0001"}, {"0", "0.0", "0.00", "0.0011", "0.01"}},
        {"{\"type\": \"number\", \"minimum\": 99.99}", {"99.99", "100", "123456.5"}, {"99.98", "99", "99.9", "-100"}},
        {"{\"type\": \"number\", \"exclusiveMinimum\": 0.1, \"maximum\": 0.2}", {"0.11", "0.2", "0.15"}, {"0.1", "0.10", "0.1000000000000000", "0.21"}},
        {"{\"type\": \"number\", \"minimum\": -5e-324, \"maximum\": 5e-324}", {"0", "0.0"}, {"-1", "0.1"}},
    };
    CHECK(all);
}

static void test_objects(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"null\"}, \"c\": true}, \"required\": [\"b\"]}",
         {"{\"b\":null}", "{\"a\": 1, \"b\": null}", "{\n  \"b\": null,\n  \"c\": [1]\n}", "{\"a\":1,\"b\":null,\"c\":{}}"},
         {"{}", "{\"a\":1}", "{\"b\":null,\"a\":1}", "{\"b\":null,}", "{,\"b\":null}", "{\"b\":null,\"d\":1}", "{\"a\":1\"b\":null}", "{\"b\":1}"}},
        {"{\"properties\": {\"a\": true, \"b\": true}, \"additionalProperties\": {\"type\": \"integer\"}}",
         {"{}", "{\"c\":1}", "{\"a\":\"x\",\"d\":1, \"\":2}", "{\"aa\":1}"}, {"{\"c\":\"x\"}", "{\"c\":1,\"a\":1}", "{\"b\":1,\"a\":2}"}},
        {"{\"type\": \"object\", \"additionalProperties\": {\"type\": \"null\"}, \"minProperties\": 1, \"maxProperties\": 2}",
         {"{\"a\":null}", "{\"a\":null,\"b\":null}"}, {"{}", "{\"a\":null,\"b\":null,\"c\":null}"}},
        {"{\"properties\": {\"a\": true, \"b\": true, \"c\": true}, \"minProperties\": 2, \"additionalProperties\": false}",
         {"{\"a\":1,\"c\":1}", "{\"b\":1,\"c\":1}", "{\"a\":1,\"b\":1,\"c\":1}"}, {"{\"a\":1}", "{}"}},
        // Members that are not listed may bear one name: they count once.
        {"{\"properties\": {\"a\": true, \"b\": true}, \"additionalProperties\": {\"type\": \"integer\"}, \"minProperties\": 2}",
         {"{\"a\":1,\"b\":1}", "{\"a\":1,\"c\":1}", "{\"b\":1,\"c\":1,\"d\":1}", "{\"a\":1,\"b\":1,\"c\":1}"},
         {"{}", "{\"a\":1}", "{\"c\":1}", "{\"c\":1,\"c\":1}", "{\"c\":1,\"d\":1}"}},
        {"{\"type\": \"object\", \"propertyNames\": {\"enum\": [\"x\"]}, \"minProperties\": 1}", {"{\"x\":1}"}, {"{}", "{\"y\":1}"}},
        {"{\"properties\": {\"a\": true, \"b\": true, \"c\": true}, \"maxProperties\": 1}", {"{}", "{\"c\":1}"}, {"{\"a\":1,\"b\":1}"}},
        {"{\"properties\": {\"a\": true, \"bb\": true}, \"propertyNames\": {\"minLength\": 2}, \"additionalProperties\": true}",
         {"{}", "{\"bb\":1,\"xyz\":2}"}, {"{\"a\":1}", "{\"b\":1}"}},
        {"{\"type\": \"object\", \"propertyNames\": {\"enum\": [\"x\", \"y\"]}, \"additionalProperties\": true}", {"{\"y\":1,\"x\":0}"}, {"{\"z\":1}"}},
        {"{\"type\": \"object\", \"required\": [\"k\"], \"additionalProperties\": {\"type\": \"boolean\"}}", {"{\"k\":true,\"l\":false}"}, {"{\"l\":true}", "{}"}},
        {"{\"type\": \"object\", \"required\": [\"\\\"\\n\"]}", {"{\"\\\"\\n\":0}"}, {"{}"}},
        {"{\"properties\": {\"a\": false, \"b\": true}}", {"{}", "{\"b\":1}"}, {"{\"a\":1}"}},
    };
    CHECK(all);
}

static void test_arrays(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 3}", {"[1]", "[1,2,3]", "[ 1, 2 ]"}, {"[]", "[1,2,3,4]", "[\"a\"]"}},
        {"{\"prefixItems\": [{\"type\": \"integer\"}, {\"type\": \"null\"}], \"items\": {\"type\": \"boolean\"}}",
         {"[]", "[1]", "[1,null]", "[1,null,true,false]"}, {"[null]", "[1,true]", "[1,null,2]"}},
        {"{\"prefixItems\": [true, true], \"items\": false, \"minItems\": 2}", {"[1,2]"}, {"[]", "[1]", "[1,2,3]"}},
        {"{\"prefixItems\": [{\"type\": \"null\"}]}", {"[]", "[null]"}, {"[1]", "[null,1]"}},
        {"{\"prefixItems\": [{\"type\": \"null\"}], \"minItems\": 2}", {"[null,1]", "[null,1,2]"}, {"[null]"}},
        {"{\"prefixItems\": [{\"type\": \"null\"}, true], \"maxItems\": 1}", {"[]", "[null]"}, {"[null,1]"}},
        {"{\"items\": false}", {"[]"}, {"[1]"}},
        {"{\"items\": true, \"minItems\": 2, \"uniqueItems\": false}", {"[1,1]", "[[],{},0]"}, {"[1]"}},
        {"{\"items\": true, \"maxItems\": 0}", {"[]"}, {"[0]"}},
    };
    CHECK(all);
}

static void test_combinations(void **state) {
    (void)state;
    static const schema all[] = {
        {"{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"string\", \"maxLength\": 1}]}", {"5", "\"a\""}, {"\"ab\"", "null"}},
        {"{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"string\"}, {\"const\": null}]}", {"5", "\"ab\"", "null"}, {"true"}},
        {"{\"oneOf\": [{\"properties\": {\"t\": {\"const\": \"a\"}, \"n\": {\"type\": \"integer\"}}, \"required\": [\"t\"]},"
         "{\"properties\": {\"t\": {\"const\": \"b\"}}, \"required\": [\"t\"]}]}",
         {"{\"t\":\"a\",\"n\":1}", "{\"t\":\"b\"}"}, {"{\"t\":\"b\",\"n\":1}", "{}"}},
        {"{\"oneOf\": [{\"type\": \"number\", \"maximum\": 5}, {\"type\": \"number\", \"exclusiveMinimum\": 5}]}", {"5", "6"}, {"\"\""}},
        {"{\"oneOf\": [{\"type\": \"string\", \"pattern\": \"^a\"}, {\"type\": \"string\", \"pattern\": \"^b\"}]}", {"\"a\"", "\"bx\""}, {"\"c\""}},
        {"{\"oneOf\": [{\"properties\": {\"a\": true}, \"required\": [\"a\"]}, {\"properties\": {\"b\": true}, \"required\": [\"b\"]}]}",
         {"{\"a\":1}", "{\"b\":1}"}, {"{\"a\":1,\"b\":1}", "{}"}},
        {"{\"allOf\": [{\"properties\": {\"a\": {\"minimum\": 3}}, \"required\": [\"a\"]}, {\"properties\": {\"a\": {\"type\": \"integer\", \"maximum\": 4}, \"b\": true}}],"
         "\"type\": \"object\"}", {"{\"a\":3}", "{\"a\":4,\"b\":0}"}, {"{\"a\":2}", "{\"a\":3.5}", "{}"}},
        {"{\"allOf\": [{\"properties\": {\"a\": true}, \"additionalProperties\": false}, {\"properties\": {\"b\": true}}]}", {"{}", "{\"a\":1}"}, {"{\"b\":1}"}},
        {"{\"type\": \"object\", \"properties\": {\"a\": true, \"b\": true}, \"anyOf\": [{\"required\": [\"a\"]}, {\"required\": [\"b\"]}]}",
         {"{\"a\":1}", "{\"b\":1}", "{\"a\":1,\"b\":1}"}, {"{}"}},
        {"{\"$ref\": \"#/$defs/a%20b~1c\", \"minimum\": 2, \"$defs\": {\"a b/c\": {\"type\": \"integer\"}}}", {"2"}, {"1", "\"\""}},
        {"{\"$id\": \"http://x/y\", \"$ref\": \"http://x/y#/$defs/a\", \"$defs\": {\"a\": {\"type\": \"null\"}}}", {"null"}, {"1"}},
        {"{\"$defs\": {\"node\": {\"properties\": {\"v\": {\"type\": \"integer\"}, \"next\": {\"$ref\": \"#/$defs/node\"}}, \"required\": [\"v\"],"
         "\"additionalProperties\": false}}, \"$ref\": \"#/$defs/node\"}",
         {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}"}, {"{\"v\":1,\"next\":{}}", "{\"next\":{\"v\":1}}"}},
        {"{\"anyOf\": [{\"type\": \"null\"}, {\"items\": {\"$ref\": \"#\"}}]}", {"null", "[]", "[null,[[],null]]"}, {"[1]"}},
        {"{\"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"$ref\": \"#/properties/a\"}}, \"required\": [\"b\"]}", {"{\"b\":1}"}, {"{\"b\":null}"}},
    };
    CHECK(all);
}

static void test_refusals(void **state) {
    (void)state;
    const gr_status wrong = GR_ERROR_INVALID_ARGUMENT, no = GR_ERROR_UNSUPPORTED;
    static const char *const keywords[] = {"not", "if", "then", "contains", "patternProperties", "dependentRequired", "unevaluatedItems",
                                           "$dynamicRef", "minContains", "nullable", "additionalItems", "$anchor"};
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        char text[200], expected[200];
        snprintf(text, sizeof text, "{\"properties\": {\"a/b\": {\"items\": {\"%s\": {}}}}}", keywords[i]);
        snprintf(expected, sizeof expected, "/properties/a/b/items/%s: this keyword is not supported", keywords[i]);
        refuses("json-schema", text, no, expected);
    }
    refuses("json-schema", "{\"uniqueItems\": true}", no, "/uniqueItems: this keyword");
    refuses("json-schema", "{\"properties\": {\"a\": {\"$id\": \"x\"}}}", no, "/properties/a/$id");
    refuses("json-schema", "{\"anyOf\": [true, {\"format\": \"color\"}]}", no, "/anyOf/1/format: 'color' is not supported");
    // Texts are cut between characters.
#define NINES "999999999"
    refuses("json-schema", "{\"format\": \"" NINES NINES NINES NINES "999\xC3\xA9\"}", no, NINES "999' is not supported");
    refuses("json-schema", "{\"format\": \"" NINES NINES NINES NINES "99\xC3\xA9\"}", no, NINES "99\xC3\xA9' is not supported");
    refuses("json-schema", "{\"$ref\": \"#/" NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES "9999999\xE2\x82\xAC\"}", wrong,
            "9999999 here");
    refuses("json-schema", "{\"properties\": {\"" NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES NINES
            NINES NINES NINES NINES NINES "\xF0\x9F\x98\x80\xF0\x9F\x98\x80\": {\"not\": {}}}}", no, NINES "/not: this");
#undef NINES
    refuses("json-schema", // not its format
            "{\"properties\": {\"a\": {\"pattern\": \"^(a|b)*a(a|b){30}$\", \"format\": \"uri\"}, \"b\": {\"format\": \"uri\"}}}",
            GR_ERROR_OUT_OF_RANGE, "too large");
    refuses("json-schema", "{\"items\": [{}]}", no, "/items: a list of schemas is called prefixItems");
    refuses("json-schema", "{\"$ref\": \"other.json\"}", no, "/$ref: expected '#'");
    refuses("json-schema", "{\"$ref\": \"#/$defs/x\"}", wrong, "/$ref: there is no #/$defs/x here");
    refuses("json-schema", "{\"$defs\": {\"x\": {\"not\": {}}}, \"$ref\": \"#/$defs/x\"}", no, "/$defs/x/not");
    refuses("json-schema", "{\"allOf\": [{\"$ref\": \"#\"}]}", wrong, "refers to itself");
    refuses("json-schema", "{\"$defs\": {\"a\": {\"anyOf\": [{\"$ref\": \"#/$defs/a\"}, true]}}, \"$ref\": \"#/$defs/a\"}", wrong, "/$defs/a: the schema refers to itself");
    refuses("json-schema", "{\"oneOf\": [{\"type\": \"number\"}, {\"type\": \"integer\"}]}", no, "/oneOf: what satisfies branch 0 may satisfy branch 1");
    refuses("json-schema", "{\"oneOf\": [{\"required\": [\"a\"]}, {\"required\": [\"b\"]}]}", no, "/oneOf");
    refuses("json-schema", "{\"type\": \"strin\"}", wrong, "/type: expected null, boolean");
    refuses("json-schema", "{\"type\": []}", wrong, "/type: expected");
    refuses("json-schema", "{\"minLength\": -1}", wrong, "/minLength: expected a whole number");
    refuses("json-schema", "{\"minLength\": 1.5}", wrong, "/minLength");
    refuses("json-schema", "{\"minimum\": \"1\"}", wrong, "/minimum: expected a number");
    refuses("json-schema", "{\"type\": \"number\", \"multipleOf\": 0.01}", no, "/multipleOf: only whole numbers");
    refuses("json-schema", "{\"type\": \"number\", \"multipleOf\": 0}", wrong, "/multipleOf: expected a number above 0");
    refuses("json-schema", "{\"pattern\": \"a(?=b)\"}", no, "/pattern: regular expression, character 2: look-around");
    refuses("json-schema", "{\"pattern\": 1}", wrong, "/pattern: expected a string");
    refuses("json-schema", "{\"enum\": 1}", wrong, "/enum: expected an array");
    refuses("json-schema", "{\"properties\": []}", wrong, "/properties: expected an object");
    refuses("json-schema", "{\"required\": [1], \"type\": \"object\"}", wrong, "/required: expected a list of names");
    refuses("json-schema", "{\"items\": 1}", wrong, "/items: expected a schema");
    refuses("json-schema", "{\"anyOf\": [1]}", wrong, "/anyOf/0: expected a schema");
    refuses("json-schema", "{\"type\": \"object\", \"minProperties\": 3, \"propertyNames\": {\"enum\": [\"a\", \"b\"]}}", no, "/minProperties: more members");
    refuses("json-schema", "{\"type\": \"object\", \"minProperties\": 2}", no, "/minProperties: more members");
    refuses("json-schema", "{\"items\": {\"allOf\": [{\"properties\": {\"a\": false, \"b\": true}}, {\"minProperties\": 3}]}}", no,
            "/items/allOf/1/minProperties: more members");
    refuses("json-schema", "{\"type\": \"object\", \"minProperties\": 2, \"maxProperties\": 1}", wrong, "nothing at all satisfies");
    refuses("json-schema", "[]", wrong, "at its root: expected a schema");
    refuses("json-schema", "{\"a\": 1, }", wrong, "line 1, column");
    refuses("json-schema", "{\"type\": 1, \"type\": 2}", wrong, "duplicate");
    refuses("json-schema", "", wrong, "line 1, column 0");
    refuses("json-schema", "false", wrong, "nothing at all satisfies");
    refuses("json-schema", "{\"type\": \"string\", \"const\": 1}", wrong, "nothing at all satisfies");
    refuses("json-schema", "{\"minimum\": 3, \"maximum\": 2}", wrong, "nothing at all satisfies");
    refuses("json-schema", "{\"required\": [\"a\"], \"properties\": {\"a\": {\"$ref\": \"#\"}}}", wrong, "nothing at all satisfies");
    refuses("choice", "[]", wrong, "expected a list");
    refuses("choice", "[\"a\", 1]", wrong, "entry 2 is no text");
    refuses("choice", "{", wrong, "line 1, column");
}

// Much of little: what a short text could make of a machine is refused instead.
static void test_hostile(void **state) {
    (void)state;
    char *text = malloc(1 << 20), *at = text;
    at += sprintf(at, "{\"$defs\": {\"a0\": {\"type\": \"null\"}");
    for (int i = 1; i < 40; i++) // doubles 40 times when it is written out
        at += sprintf(at, ", \"a%d\": {\"type\": \"array\", \"prefixItems\": [{\"$ref\": \"#/$defs/a%d\"}, {\"$ref\": \"#/$defs/a%d\"}], \"items\": false}", i, i - 1, i - 1);
    sprintf(at, "}, \"$ref\": \"#/$defs/a39\"}");
    gr_grammar_release(compile("json-schema", text));
    at = text + sprintf(text, "{\"type\": \"object\", \"allOf\": [");
    for (int i = 0; i < 30; i++) // 2 to the power of 30 ways to choose
        at += sprintf(at, "%s{\"anyOf\": [{\"required\": [\"a%d\"]}, {\"required\": [\"b%d\"]}]}", i ? "," : "", i, i);
    sprintf(at, "]}");
    refuses("json-schema", text, GR_ERROR_OUT_OF_RANGE, "");
    at = text + sprintf(text, "{\"oneOf\": [");
    for (int i = 0; i < 12; i++)
        at += sprintf(at, "%s{\"type\": \"object\", \"required\": [\"a\"], \"properties\": {\"a\": {\"anyOf\": [{\"$ref\": \"#\"}, {\"const\": %d}]}}}", i ? "," : "", i);
    sprintf(at, "]}");
    gr_grammar *g;
    gr_error error;
    gr_status status = gr_grammar_create(test_trie, "json-schema", (gr_str){text, strlen(text)}, &g, &error);
    assert_true(status == GR_ERROR_OUT_OF_RANGE || status == GR_ERROR_UNSUPPORTED);
    for (int i = 0; i < 3000; i++)
        memcpy(text + i * 9, "{\"items\":", 9);
    refuses("json-schema", text, GR_ERROR_INVALID_ARGUMENT, "line 1");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),   cmocka_unit_test(test_values),  cmocka_unit_test(test_strings),
        cmocka_unit_test(test_formats), cmocka_unit_test(test_numbers), cmocka_unit_test(test_objects),
        cmocka_unit_test(test_arrays),  cmocka_unit_test(test_combinations), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, open_vocabulary, close_vocabulary);
}
