// SPDX-License-Identifier: Apache-2.0
// Answers that go back to before a banned string: among tokens that end within a character, beside bytes that make
// none, and to the first token of a healed prompt.
#include <unistd.h>

#include "base/utf8.h"
#include "fixture.h"
#include "gguf_writer.h"

#define EMOJI "\xF0\x9F\x98\x80"

// Behind all bytes; spelled as the vocabulary has them. Some end, or begin, within EMOJI.
static const char *const words[] = {"th", "the", "\u2581\xF0\x9F\x98", "x\xF0", "\x9F\x98\x80y", "\u2581the", "a\xE2", "\u2581"};
enum { FIRST_BYTE = 3, FIRST_WORD = FIRST_BYTE + 256, WORDS = sizeof words / sizeof words[0] };

static char path[200];

static int make_model(void **state) {
    gguf_writer writer;
    gguf_tiny tiny = {.layers = 1, .dim = 16, .ffn_dim = 16, .heads = 2, .kv_heads = 1, .context = 512};
    (void)state;
    snprintf(path, sizeof path, GREGALE_BINARY_DIR "/tests/back-%d.gguf", (int)getpid());
    gguf_writer_init(&writer);
    tiny.vocab = gguf_writer_vocabulary(&writer, true, words, WORDS);
    gguf_writer_tiny(&writer, &tiny);
    bool saved = gguf_writer_save(&writer, path);
    gguf_writer_deinit(&writer);
    return saved ? 0 : -1;
}

static int drop_model(void **state) {
    (void)state;
    return unlink(path);
}

// Plays tokens in place of a sampler, whether they are forbidden or not.
typedef struct script {
    const int32_t *tokens; // [count]
    size_t count, next;
} script;

static gr_status play(void *context, const gr_session *session, const float *logits, uint32_t vocab, int32_t *out_token,
                      gr_error *out_error) {
    script *s = context;
    (void)session, (void)logits, (void)vocab, (void)out_error;
    *out_token = s->tokens[s->next++ % s->count];
    return GR_OK;
}

// What the tokens spell; bytes that are no character become U+FFFD, and one that is not complete is left out.
static void spell(const gr_model *model, const int32_t *tokens, size_t count, bool complete, char *out_text) {
    char bytes[512];
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += gr_model_piece(model, tokens[i], false, bytes + size, sizeof bytes - size);
    for (size_t at = 0, end = complete ? size : gr_utf8_complete(bytes, size); at < end;) {
        uint32_t code_point;
        int length = gr_utf8_decode(bytes + at, size - at, &code_point);
        const size_t taken = length > 0 ? (size_t)length : length < 0 ? end - at : 1;
        out_text += sprintf(out_text, "%.*s", length > 0 ? length : 3, length > 0 ? bytes + at : "\xEF\xBF\xBD");
        at += taken;
    }
    *out_text = '\0';
}

// Plays a script and reads after every step: the text is what the tokens spell, what was read is its beginning, and
// nothing banned is in it. Returns how often it went back.
static uint32_t goes_back(gr_model *model, script *s, const char *const *banned, uint32_t most, const char *expected) {
    const gr_generate_options options = {.struct_size = sizeof options, .max_tokens = most, .seed = 1, .banned = banned,
                                         .ignore_end = 1, .choose = play, .choose_context = s};
    gr_session *session = begin(model, 256, (int32_t[]){1}, 1);
    gr_request *request = NULL;
    char seen[1024] = "", spelled[1024];
    OK(gr_request_start(session, &options, &request, error));
    for (bool done = false; !done && s->next < 60;) {
        const char *text;
        size_t bytes;
        bool worked;
        OK(gr_engine_step(model->engine, &worked, error));
        OK(gr_request_read(request, &text, &bytes, &done, error));
        assert_true(bytes < sizeof seen - strlen(seen));
        strncat(seen, text, bytes);
        gr_request_info info = info_of(request);
        spell(model, info.tokens, info.generated_tokens, done, spelled);
        assert_string_equal(info.text, spelled);
        assert_memory_equal(info.text, seen, strlen(seen));
        for (size_t i = 0; banned[i]; i++)
            assert_null(strstr(done ? seen : info.text, banned[i]));
    }
    if (expected)
        assert_string_equal(info_of(request).text, expected);
    uint32_t rewinds = info_of(request).rewinds;
    gr_request_release(request);
    gr_session_release(session);
    return rewinds;
}

static void a_token_that_ends_within_a_character(void **state) {
    (void)state;
    static const char *const banned[] = {EMOJI, NULL};
    const int32_t tokens[] = {FIRST_WORD, FIRST_WORD + 2, FIRST_BYTE + 0x80, FIRST_WORD + 1};
    gr_model *model = load_alone(path, (gr_model_options){.chunk = 8});
    script s = {.tokens = tokens, .count = 4};
    assert_int_equal(goes_back(model, &s, banned, 3, "ththeth"), 1);
    gr_model_release(model);
}

static void bytes_that_make_no_character(void **state) {
    (void)state;
    static const char *const banned[] = {"B", NULL};
    const int32_t tokens[] = {FIRST_BYTE + 0xE2, FIRST_BYTE + 'B', FIRST_BYTE + 'C'};
    gr_model *model = load_alone(path, (gr_model_options){.chunk = 8});
    script s = {.tokens = tokens, .count = 3};
    assert_int_equal(goes_back(model, &s, banned, 2, "\xEF\xBF\xBD" "C"), 1);
    gr_model_release(model);
}

static void any_tokens(void **state) {
    (void)state;
    static const int32_t bytes[] = {0xF0, 0x9F, 0x98, 0x80, 0xE2, 'x', 'y', 't', ' ', 0x81};
    static const char *const banned[] = {EMOJI "y", "x" EMOJI, " \xF0\x9F\x98\x81", "the", "\xEF\xBF\xBDt", NULL};
    gr_model *model = load_alone(path, (gr_model_options){.chunk = 8});
    uint64_t random = 1;
    uint32_t rewinds = 0;
    const uint32_t rounds = sampled(1500);
    for (uint32_t round = 0; round < rounds; round++) {
        int32_t tokens[40];
        for (size_t i = 0; i < 40; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            const uint32_t drawn = (uint32_t)(random >> 33) % (10 + WORDS);
            tokens[i] = drawn < 10 ? FIRST_BYTE + bytes[drawn] : FIRST_WORD + (int32_t)drawn - 10;
        }
        script s = {.tokens = tokens, .count = 40};
        rewinds += goes_back(model, &s, banned, 16, NULL);
    }
    assert_true(rewinds > rounds / 3);
    gr_model_release(model);
}

// Who is refused, ends at once or is let go of leaves the prompt as it was.
static void a_prompt_keeps_its_token(void **state) {
    (void)state;
    gr_model *model = load_alone(path, (gr_model_options){.chunk = 8});
    gr_generate_options options = {.struct_size = sizeof options, .seed = 1, .heal = 1};
    gr_session *session = NULL;
    gr_request *request = NULL;
    bool worked;
    OK(gr_session_create(model, NULL, &session, error));
    OK(gr_session_append_text(session, "the th", 6, error));
    const size_t count = session->tokens.count;
    OK(gr_model_grammar(model, "regex", "[a-z]+", 6, &options.grammar, error));
    assert_int_equal(gr_request_start(session, &options, &request, NULL), GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(session->tokens.count, count);
    gr_grammar_release(options.grammar);
    options.grammar = NULL;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        OK(gr_request_start(session, &options, &request, error));
        assert_int_equal(session->tokens.count, count - 1);
        if (cancelled) {
            gr_request_cancel(request);
            OK(gr_engine_step(model->engine, &worked, error));
            assert_int_equal(info_of(request).prompt_tokens, count);
        }
        gr_request_release(request);
        assert_int_equal(session->tokens.count, count);
        same_as_fresh(session);
    }
    gr_session_release(session);
    gr_model_release(model);
}

// The prompt stays whole when the token that healed it is taken back, and when the answer ends before it is healed.
static void what_was_healed_is_healed_again(void **state) {
    (void)state;
    static const char *const banned[] = {"e", NULL}, prompt[] = "the th";
    gr_model *model = load_alone(path, (gr_model_options){.chunk = 8});
    uint32_t rewinds = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        const gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 1 + seed % 4, .seed = seed, .banned = banned,
                                             .heal = 1, .ignore_end = 1, .sampler = "temperature(1.5)"};
        gr_session *session = NULL;
        gr_request *request = NULL;
        char text[1024], expected[1024];
        size_t count;
        OK(gr_session_create(model, NULL, &session, error));
        OK(gr_session_append_text(session, prompt, strlen(prompt), error));
        OK(gr_session_generate(session, &options, NULL, NULL, &request, error));
        const int32_t *tokens = gr_session_tokens(session, &count);
        spell(model, tokens, count, true, text);
        snprintf(expected, sizeof expected, " %s%s", prompt, info_of(request).text);
        assert_string_equal(text, expected);
        rewinds += info_of(request).rewinds;
        gr_request_release(request);
        gr_session_release(session);
    }
    assert_true(rewinds > 5);
    gr_model_release(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_token_that_ends_within_a_character),
                                       cmocka_unit_test(bytes_that_make_no_character), cmocka_unit_test(any_tokens), cmocka_unit_test(a_prompt_keeps_its_token),
                                       cmocka_unit_test(what_was_healed_is_healed_again)};
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
