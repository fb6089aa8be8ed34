// SPDX-License-Identifier: Apache-2.0
// A vocabulary and a text out of one input. Vocabularies that know every byte must give the text
// back; hostile ones must be refused with a message or work.
//
// Input: a byte of choices, a byte that counts pieces or merges, these, and the text.
#include "tests/fuzz/fuzz_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTE_LEVEL = 1, HOSTILE = 2, SPECIAL = 4, PARSE_CONTROL = 8 }; // bits 4 and 5: the pattern

static void read_vocab(fuzz_input *input, uint8_t choices, fuzz_vocab *v) {
    size_t count = fuzz_byte(input);
    bool hostile = choices & HOSTILE;
    if (choices & BYTE_LEVEL)
        fuzz_bpe(v);
    else
        fuzz_spm(v);
    for (size_t i = 0; i < count; i++) {
        if ((choices & BYTE_LEVEL) && !hostile) {
            size_t left = fuzz_byte(input) * 2u, right = fuzz_byte(input) * 2u;
            fuzz_merge(v, left + (i & 1), right + (i >> 1 & 1));
            continue;
        }
        uint8_t shape = fuzz_byte(input);
        gr_str piece = fuzz_bytes(input, 1 + shape % 8);
        int32_t type = hostile ? (int32_t)(shape >> 5) : GR_TOKEN_NORMAL;
        fuzz_add(v, piece, type, (float)(int8_t)fuzz_byte(input));
        if (hostile && v->merge_count < FUZZ_PIECES)
            v->merges[v->merge_count++] = fuzz_bytes(input, shape % 4);
    }
}

static void check_tokens(const gr_tokenizer *tokenizer, const gr_tokens *tokens) {
    for (size_t i = 0; i < tokens->count; i++) {
        char bytes[4];
        FUZZ_CHECK(tokens->data[i] >= 0 && (uint32_t)tokens->data[i] < tokenizer->vocab.size);
        (void)gr_tokenizer_piece(tokenizer, tokens->data[i], i & 1, bytes, i % 5);
    }
}

// U+2581 and space are one to SentencePiece; either may come back.
static size_t plain_text(bool spm, gr_str text, char *out_text) {
    size_t size = 0;
    for (size_t at = 0; at < text.size; size++) {
        bool space = spm && text.size - at >= 3 && !memcmp(text.data + at, "\xE2\x96\x81", 3);
        out_text[size] = space ? ' ' : text.data[at];
        at += space ? 3 : 1;
    }
    return size;
}

static void check_round(const gr_tokenizer *tokenizer, gr_str text, bool spm) {
    gr_tokens tokens = {0};
    FUZZ_CHECK(!gr_tokenizer_encode(tokenizer, text, GR_ENCODE_NO_PREFIX, &tokens, NULL));
    char *plain = malloc(text.size + 1), *back = malloc(text.size * 3 + 1);
    FUZZ_CHECK(plain && back);
    size_t wanted = plain_text(spm, text, plain), got = 0;
    for (size_t i = 0; i < tokens.count && got <= text.size * 3; i++)
        got += gr_tokenizer_piece(tokenizer, tokens.data[i], false, back + got,
                                  text.size * 3 - got);
    got = plain_text(spm, (gr_str){back, got}, back);
    FUZZ_CHECK(got == wanted && !memcmp(plain, back, got));
    free(plain);
    free(back);
    gr_tokens_deinit(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const patterns[] = {"gpt2", "smollm", "llama-bpe", "tekken"};
    fuzz_input input = {data, size};
    uint8_t choices = fuzz_byte(&input);
    fuzz_vocab *v = calloc(1, sizeof *v);
    FUZZ_CHECK(v);
    read_vocab(&input, choices, v);
    bool byte_level = choices & BYTE_LEVEL, complete = !(choices & HOSTILE);
    gr_model_file *file = fuzz_file(v, byte_level ? patterns[choices >> 4 & 3] : NULL, 1, 2);
    gr_tokenizer *tokenizer;
    gr_error error;
    gr_error_init(&error);
    gr_status status = gr_tokenizer_create(file, &tokenizer, &error);
    FUZZ_CHECK(!complete || !status);
    FUZZ_CHECK(!status == (tokenizer != NULL) && (!status || error.message[0]));
    if (tokenizer) {
        gr_str text = {(const char *)input.data, input.size};
        gr_tokens tokens = {0};
        gr_encode_flags flags = (choices & SPECIAL ? GR_ENCODE_SPECIAL : 0) |
                                (choices & PARSE_CONTROL ? GR_ENCODE_PARSE_CONTROL : 0);
        if (!gr_tokenizer_encode(tokenizer, text, flags, &tokens, &error))
            check_tokens(tokenizer, &tokens);
        if (complete)
            check_round(tokenizer, text, !byte_level);
        gr_tokens_deinit(&tokens);
        gr_tokenizer_destroy(tokenizer);
    }
    gr_model_file_close(file);
    free(v);
    return 0;
}
