// SPDX-License-Identifier: Apache-2.0
// Answers under a grammar: complete within any limit, the same with guesses, and what does not go together.
#include "fixture.h"

static const int32_t prompt[] = {1, 300, 401, 77};
static const char schema[] = "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}, \"age\": {\"type\": \"integer\"},"
                             "\"tags\": {\"type\": \"array\", \"items\": {\"enum\": [\"a\", \"b\"]}}}, \"required\": [\"name\", \"age\"]}";

static gr_grammar *compile(gr_model *model, const char *kind, const char *text) {
    gr_grammar *grammar = NULL;
    OK(gr_model_grammar(model, kind, text, strlen(text), &grammar, error));
    return grammar;
}

// The token that stands for a byte; each has one in breeze's vocabulary.
static int32_t token_of(const gr_model *model, char wanted) {
    for (int32_t token = 0; token < (int32_t)vocab_of(model); token++) {
        char byte;
        if (model->tokenizer->vocab.types[token] == GR_TOKEN_BYTE && gr_model_piece(model, token, false, &byte, 1) == 1 &&
            byte == wanted)
            return token;
    }
    return -1;
}

// Whether the text is a whole answer.
static bool belongs(gr_grammar *grammar, const gr_model *model, const char *text, size_t bytes) {
    gr_grammar_state *state = NULL;
    bool fits = gr_grammar_state_create(grammar, false, &state, NULL) == GR_OK;
    for (size_t i = 0; i < bytes && fits; i++)
        fits = gr_grammar_state_advance(state, token_of(model, text[i]), NULL) == GR_OK;
    fits = fits && gr_grammar_state_can_end(state);
    gr_grammar_state_destroy(state);
    return fits;
}

static gr_request *generate(gr_model *model, gr_generate_options options, gr_request_info *out_info) {
    gr_session *session = begin(model, 256, prompt, 4);
    gr_request *request = NULL;
    options.struct_size = sizeof options;
    options.sampler = options.sampler ? options.sampler : "temperature(1.5)";
    *out_info = (gr_request_info){.struct_size = sizeof *out_info};
    OK(gr_session_generate(session, &options, NULL, NULL, &request, error));
    gr_request_info_get(request, out_info);
    gr_session_release(session);
    return request;
}

static void answers_are_whole_within_any_limit(void **state) {
    gr_model *model = *state;
    gr_grammar *grammar = compile(model, "json-schema", schema);
    gr_grammar_info facts;
    gr_grammar_info_get(grammar, &facts);
    uint32_t ends = 0;
    for (uint32_t limit = facts.shortest; limit < facts.shortest + 30; limit++) {
        gr_request_info info;
        gr_request *request = generate(model, (gr_generate_options){.max_tokens = limit, .seed = limit, .grammar = grammar}, &info);
        if (info.generated_tokens > limit || !belongs(grammar, model, info.text, info.text_bytes))
            fail_msg("%u tokens: %s", limit, info.text);
        assert_true(info.stop_reason == GR_STOP_END || info.generated_tokens == limit);
        ends += info.stop_reason == GR_STOP_END;
        gr_request_release(request);
    }
    assert_true(ends > 5); // nothing can follow the last bracket, so that ends an answer
    gr_grammar_release(grammar);
}

static void the_context_is_a_limit_too(void **state) {
    gr_model *model = *state;
    gr_grammar *grammar = compile(model, "regex", "[a-z ]{20,}\\.");
    gr_session *session = begin(model, 40, prompt, 4);
    gr_request *request = NULL;
    gr_request_info info = {.struct_size = sizeof info};
    const gr_generate_options options = {.struct_size = sizeof options, .seed = 3, .sampler = "temperature(1.5)", .grammar = grammar};
    OK(gr_session_generate(session, &options, NULL, NULL, &request, error));
    gr_request_info_get(request, &info);
    assert_true(info.generated_tokens <= 36 && belongs(grammar, model, info.text, info.text_bytes));
    gr_request_release(request);
    gr_session_release(session);
    gr_grammar_release(grammar);
}

// Guesses that the grammar forbids are never right, and those it allows change nothing.
static void guesses_change_nothing(void **state) {
    gr_model *model = *state;
    gr_grammar *grammar = compile(model, "gbnf", "root ::= (\"the king of the sea and \" [a-z]{2,6} \", \"){4,9} \"the end\"");
    uint32_t right = 0;
    for (uint64_t seed = 1; seed < 6; seed++) {
        gr_request_info plain, guessed;
        gr_generate_options options = {.max_tokens = 150, .seed = seed, .grammar = grammar};
        gr_request *a = generate(model, options, &plain);
        options.guesses = 6;
        gr_request *b = generate(model, options, &guessed);
        assert_string_equal(plain.text, guessed.text);
        assert_int_equal(plain.stop_reason, guessed.stop_reason);
        assert_true(belongs(grammar, model, plain.text, plain.text_bytes));
        right += guessed.guessed_right;
        gr_request_release(a);
        gr_request_release(b);
    }
    assert_true(right > 10);
    gr_grammar_release(grammar);
}

// Going back over a banned string takes the grammar back, too.
static void banned_strings_go_with_it(void **state) {
    gr_model *model = *state;
    gr_grammar *grammar = compile(model, "regex", "([ab]{3}-){10}");
    const char *const banned[] = {"ab", "b-a", NULL};
    uint32_t rewinds = 0;
    for (uint64_t seed = 1; seed < 8; seed++) {
        gr_request_info info;
        gr_request *request = generate(model, (gr_generate_options){.seed = seed, .grammar = grammar, .banned = banned}, &info);
        assert_true(belongs(grammar, model, info.text, info.text_bytes));
        assert_null(strstr(info.text, "ab"));
        assert_null(strstr(info.text, "b-a"));
        rewinds += info.rewinds;
        gr_request_release(request);
    }
    assert_true(rewinds > 0);
    gr_grammar_release(grammar);
}

static gr_status never_called(void *context, const gr_session *session, const float *logits, uint32_t vocab, int32_t *out_token,
                              gr_error *unused) {
    (void)context, (void)session, (void)logits, (void)vocab, (void)out_token, (void)unused;
    return GR_ERROR_INTERNAL;
}

static void refuse(gr_model *model, gr_generate_options options, gr_status status, const char *part) {
    gr_session *session = begin(model, 64, prompt, 4);
    gr_request *request = NULL;
    options.struct_size = sizeof options;
    gr_error_init(error);
    assert_int_equal(gr_request_start(session, &options, &request, error), status);
    if (!strstr(error->message, part))
        fail_msg("expected '%s' in: %s", part, error->message);
    assert_null(request);
    assert_null(session->request);
    gr_session_release(session);
}

static void what_does_not_go_together(void **state) {
    gr_model *model = *state, *other = load_alone(SMALL("w8-gqa4"), (gr_model_options){0});
    gr_grammar *grammar = compile(model, "regex", "a{30}b"), *theirs = NULL;
    refuse(model, (gr_generate_options){.grammar = grammar, .choose = never_called}, GR_ERROR_INVALID_ARGUMENT, "choose");
    refuse(model, (gr_generate_options){.grammar = grammar, .heal = 1}, GR_ERROR_INVALID_ARGUMENT, "healing");
    refuse(model, (gr_generate_options){.grammar = grammar, .ignore_end = 1}, GR_ERROR_INVALID_ARGUMENT, "ends");
    refuse(model, (gr_generate_options){.grammar = grammar, .max_tokens = 3}, GR_ERROR_OUT_OF_RANGE, "3 are left");
    gr_grammar *longer = compile(model, "regex", "a{300}b");
    refuse(model, (gr_generate_options){.grammar = longer}, GR_ERROR_OUT_OF_RANGE, "60 are left");
    OK(gr_model_grammar(other, "regex", "a*", 2, &theirs, error));
    refuse(model, (gr_generate_options){.grammar = theirs}, GR_ERROR_INCOMPATIBLE, "another model");
    gr_grammar_release(theirs);
    gr_grammar_release(longer);
    gr_grammar_release(grammar);
    gr_model_release(other);
}

// One grammar for equal texts while it is among those used last; it outlives its model.
static void grammars_are_kept(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){0});
    gr_grammar *first = compile(model, "regex", "a"), *kept[20];
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "b{%d}", i + 1);
        kept[i] = compile(model, "regex", text);
        gr_grammar *again = compile(model, "regex", i < 15 ? "a" : "c");
        assert_true((again == first) == (i < 15));
        gr_grammar_release(again);
    }
    gr_grammar *last = compile(model, "regex", "b{20}"), *early = compile(model, "regex", "b{1}");
    assert_ptr_equal(last, kept[19]);
    assert_ptr_not_equal(early, kept[0]);
    gr_grammar *gbnf = NULL;
    assert_int_equal(gr_model_grammar(model, "gbnf", "a", 1, &gbnf, error), GR_ERROR_INVALID_ARGUMENT); // kinds differ
    gr_grammar_release(last);
    gr_grammar_release(early);
    for (int i = 0; i < 20; i++)
        gr_grammar_release(kept[i]);
    gr_model_release(model);
    gr_grammar_state *place = NULL;
    OK(gr_grammar_state_create(first, false, &place, error));
    const uint32_t *mask;
    OK(gr_grammar_state_mask(place, 9, &mask, error));
    gr_grammar_release(first);
    gr_grammar_state_destroy(place);
}

static int open_model(void **state) {
    *state = load_alone(BREEZE, (gr_model_options){0});
    return *state ? 0 : -1;
}

static int close_model(void **state) {
    gr_model_release(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_whole_within_any_limit), cmocka_unit_test(the_context_is_a_limit_too),
        cmocka_unit_test(guesses_change_nothing),             cmocka_unit_test(banned_strings_go_with_it),
        cmocka_unit_test(what_does_not_go_together),          cmocka_unit_test(grammars_are_kept)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
