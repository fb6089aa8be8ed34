// SPDX-License-Identifier: Apache-2.0
// grammar.c: gregale-bench-grammar MODEL.gguf [--print] <CASES: answers of a model that knows
// nothing, each token drawn evenly from those allowed; how long masks and compiling take.
//
// A case is a line of JSON: {"kind": "json-schema", "text": "...", "samples": 3, "max_tokens": 200,
// "seed": 1}. MODEL needs no more than a vocabulary (scripts/dev/make-vocabularies). --print writes a
// line for each case: {"error": "..."} or {"texts": [...], "tokens": [...]}. Times are of this
// thread alone, so that neighbours on the machine count for little; the summary goes to standard error.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gregale/linked/format.h"
#include "gregale/linked/grammar.h"

typedef struct times {
    double *data;
    size_t count, capacity;
} times;

static times masks, compiles, first_masks, advances;
static gr_tokenizer *tokenizer;
static gr_token_trie *trie;

static void die(const char *what, const gr_error *error) {
    fprintf(stderr, "gregale-bench-grammar: %s: %s\n", what, error ? error->message : "");
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void record(times *t, double microseconds) {
    if (t->count == t->capacity) {
        t->capacity = t->capacity * 2 + 1024;
        t->data = realloc(t->data, t->capacity * sizeof *t->data);
        if (!t->data)
            die("no memory", NULL);
    }
    t->data[t->count++] = microseconds;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summary(const char *name, times *t) {
    if (!t->count)
        return;
    qsort(t->data, t->count, sizeof *t->data, by_size);
    double total = 0;
    for (size_t i = 0; i < t->count; i++)
        total += t->data[i];
    fprintf(stderr, "%-12s %8zu times, us: median %.2f, mean %.2f, 90 %% %.2f, 99 %% %.2f, 99.9 %% %.2f, most %.2f\n",
            name, t->count, t->data[t->count / 2], total / (double)t->count, t->data[t->count * 90 / 100],
            t->data[t->count * 99 / 100], t->data[t->count * 999 / 1000], t->data[t->count - 1]);
}

static uint64_t random_state;

static uint64_t next_random(void) { // xorshift64
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static gr_token draw(const uint32_t *mask, uint32_t words) {
    uint64_t count = 0, which;
    for (uint32_t i = 0; i < words; i++)
        count += (uint64_t)__builtin_popcount(mask[i]);
    which = count ? next_random() % count : 0;
    for (uint32_t i = 0; i < words; i++) {
        uint32_t bits = mask[i];
        if (which >= (uint64_t)__builtin_popcount(bits)) {
            which -= (uint64_t)__builtin_popcount(bits);
            continue;
        }
        for (; which; which--)
            bits &= bits - 1;
        return (gr_token)(i * 32 + (uint32_t)__builtin_ctz(bits));
    }
    return GR_TOKEN_NONE;
}

static json_t *sample(gr_grammar *grammar, uint32_t max_tokens, uint32_t *out_tokens) {
    static char text[1 << 20];
    size_t size = 0;
    gr_error error;
    gr_error_init(&error);
    gr_grammar_state *state;
    const uint32_t *mask;
    uint32_t words = (tokenizer->vocab.size + 31) / 32;
    if (gr_grammar_state_create(grammar, false, &state, &error) != GR_OK)
        die("state", &error);
    *out_tokens = 0;
    for (uint32_t left = max_tokens; left && !gr_grammar_state_is_over(state); left--, ++*out_tokens) {
        double begin = now();
        if (gr_grammar_state_mask(state, left, &mask, &error) != GR_OK)
            die("mask", &error);
        double end = now();
        record(left == max_tokens ? &first_masks : &masks, end - begin);
        gr_token token = draw(mask, words);
        begin = now();
        if (gr_grammar_state_advance(state, token, &error) != GR_OK)
            die("advance", &error);
        record(&advances, now() - begin);
        if (gr_tokenizer_is_end(tokenizer, token))
            break;
        size += gr_tokenizer_piece(tokenizer, token, false, text + size, sizeof text - size);
    }
    if (!gr_grammar_state_can_end(state))
        die("an answer that does not end", NULL);
    gr_grammar_state_destroy(state);
    json_t *string = json_stringn(text, size);
    return string ? string : json_stringn_nocheck(text, size);
}

static int run(const char *line, bool print) {
    json_error_t at;
    json_t *test = json_loads(line, JSON_ALLOW_NUL, &at), *result = json_object(), *texts = json_array(),
           *tokens = json_array();
    gr_grammar *grammar;
    gr_error error;
    gr_error_init(&error);
    if (!test)
        die(at.text, NULL);
    json_t *text = json_object_get(test, "text");
    gr_str source = {json_string_value(text), json_string_length(text)};
    random_state = (uint64_t)json_integer_value(json_object_get(test, "seed")) * 0x9E3779B97F4A7C15u | 1;
    uint32_t samples = (uint32_t)json_integer_value(json_object_get(test, "samples"));
    uint32_t limit = (uint32_t)json_integer_value(json_object_get(test, "max_tokens"));
    double begin = now();
    gr_status status =
        gr_grammar_create(trie, json_string_value(json_object_get(test, "kind")), source, &grammar, &error);
    record(&compiles, now() - begin);
    if (status != GR_OK) {
        json_object_set_new(result, "error", json_string(error.message));
    } else {
        gr_grammar_info info;
        gr_grammar_info_get(grammar, &info);
        for (uint32_t i = 0; i < samples; i++) {
            uint32_t count, room = limit > info.shortest ? limit : info.shortest;
            json_array_append_new(texts, sample(grammar, room, &count));
            json_array_append_new(tokens, json_integer(count));
        }
        json_object_set(result, "texts", texts);
        json_object_set(result, "tokens", tokens);
        json_object_set_new(result, "states", json_integer(info.states));
        json_object_set_new(result, "shortest", json_integer(info.shortest));
        gr_grammar_release(grammar);
    }
    if (print) {
        json_dumpf(result, stdout, JSON_COMPACT);
        putchar('\n');
    }
    json_decref(test);
    json_decref(result);
    json_decref(texts);
    json_decref(tokens);
    return status != GR_OK;
}

int main(int argc, char **argv) {
    gr_model_file *file;
    gr_error error;
    char *line = NULL;
    size_t room = 0;
    int cases = 0, refused = 0;
    gr_error_init(&error);
    if (argc < 2)
        die("usage: gregale-bench-grammar MODEL.gguf [--print] <CASES", NULL);
    if (gr_model_file_open(argv[1], &file, &error) != GR_OK ||
        gr_tokenizer_create(file, &tokenizer, &error) != GR_OK)
        die(argv[1], &error);
    double begin = now();
    if (gr_token_trie_create(tokenizer, tokenizer->vocab.size, &trie, &error) != GR_OK)
        die(argv[1], &error);
    fprintf(stderr, "%u tokens, their tree %.1f ms\n", tokenizer->vocab.size, (now() - begin) * 1e-3);
    while (getline(&line, &room, stdin) > 0) {
        refused += run(line, argc > 2);
        cases++;
    }
    fprintf(stderr, "%d cases, %d refused\n", cases, refused);
    summary("compile", &compiles);
    summary("first mask", &first_masks);
    summary("mask", &masks);
    summary("advance", &advances);
    free(line);
    gr_token_trie_release(trie);
    gr_tokenizer_destroy(tokenizer);
    gr_model_file_close(file);
    return 0;
}
