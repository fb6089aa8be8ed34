// SPDX-License-Identifier: Apache-2.0
// gguf_vocabulary.c: a vocabulary for gguf_tiny, so that a test can have text without a trained
// model.
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"

enum { SPECIAL = 3, LARGEST = SPECIAL + 256, UNKNOWN = 2, CONTROL = 3, NORMAL = 1, BYTE = 6 };

// Name and type of token `i` below the words.
static void name_token(uint32_t i, bool bytes, char name[8], int32_t *out_type) {
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    if (i < SPECIAL)
        snprintf(name, 8, "%s", special[i]);
    else if (bytes)
        snprintf(name, 8, "<0x%02X>", i - SPECIAL);
    else if (i == SPECIAL)
        snprintf(name, 8, "\u2581"); // a space
    else
        snprintf(name, 8, "%c", i == SPECIAL + 95 ? '\n' : ' ' + (char)(i - SPECIAL));
    *out_type = i == 0 ? UNKNOWN : i < SPECIAL ? CONTROL : bytes ? BYTE : NORMAL;
}

uint32_t gguf_writer_vocabulary(gguf_writer *writer, bool bytes, const char *const *words,
                                uint32_t count) {
    uint32_t first = SPECIAL + (bytes ? 256 : 96), total = first + count;
    char names[LARGEST][8];
    const char **tokens = calloc(total, sizeof *tokens);
    float *scores = calloc(total, sizeof *scores);
    int32_t *types = calloc(total, sizeof *types);
    if (!tokens || !scores || !types)
        abort();
    for (uint32_t i = 0; i < total; i++) {
        bool control = i >= first && words[i - first][0] == '[' && words[i - first][1];
        types[i] = control ? CONTROL : NORMAL;
        scores[i] = i < first ? 0 : -(float)(i - first);
        if (i < first)
            name_token(i, bytes, names[i], &types[i]);
        tokens[i] = i < first ? names[i] : words[i - first];
    }
    gguf_meta_string(writer, "tokenizer.ggml.model", "llama");
    gguf_meta_strings(writer, "tokenizer.ggml.tokens", total, tokens);
    gguf_meta_array(writer, "tokenizer.ggml.scores", GGUF_F32, total, scores, sizeof *scores);
    gguf_meta_array(writer, "tokenizer.ggml.token_type", GGUF_I32, total, types, sizeof *types);
    gguf_meta_u32(writer, "tokenizer.ggml.bos_token_id", 1);
    gguf_meta_u32(writer, "tokenizer.ggml.eos_token_id", 2);
    free(tokens);
    free(scores);
    free(types);
    return total;
}
