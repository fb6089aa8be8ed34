// SPDX-License-Identifier: Apache-2.0
// The patterns are those that the tokenizers' own files carry, with \s written out as Unicode
// White_Space: PCRE2's \s also takes U+180E, and theirs does not.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "plugins/tokenizer/bpe/splitter.h"

#include <pcre2.h>
#include <string.h>

#include "plugins/tokenizer/common/utf8.h"

#define ORIGIN "tokenizer"
#define SPACE "[\\p{Z}\\x{9}-\\x{d}\\x{85}]"
#define NOT_SPACE "[^\\p{Z}\\x{9}-\\x{d}\\x{85}]"
#define OTHER "[^\\p{Z}\\x{9}-\\x{d}\\x{85}\\p{L}\\p{N}]"
#define SPACES SPACE "+(?!" NOT_SPACE ")|" SPACE "+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACES
#define LLAMA3                                                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?" OTHER              \
    "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACES
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TEKKEN                                                                                     \
    LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}| ?" OTHER "+[\\r\\n/]*|" SPACE        \
               "*[\\r\\n]+|" SPACES

static const gr_split_kind kinds[] = {
    {.names = {"gpt2", "gpt-2"}, .patterns = {GPT2}},
    {.names = {"smollm"}, .patterns = {"\\p{N}", GPT2}},
    {.names = {"llama-bpe", "llama3", "llama-v3"},
     .patterns = {LLAMA3},
     .whole_words = true,
     .add_bos = true},
    {.names = {"tekken"}, .patterns = {TEKKEN}, .whole_words = true, .add_bos = true},
};

const char *gr_split_known(void) {
    return "gpt2, gpt-2, smollm, llama-bpe, llama3, llama-v3, tekken";
}

const gr_split_kind *gr_split_kind_find(gr_str name) {
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (const char *const *known = kinds[k].names; *known; known++)
            if (strlen(*known) == name.size && !memcmp(*known, name.data, name.size))
                return &kinds[k];
    return NULL;
}

static gr_status no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, ORIGIN, "no memory to cut text into words");
}

gr_status gr_splitter_init(gr_splitter *splitter, const gr_split_kind *kind, gr_error *error) {
    *splitter = (gr_splitter){0};
    for (int pass = 0; pass < 2 && kind->patterns[pass]; pass++) {
        int number;
        PCRE2_SIZE where;
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)kind->patterns[pass], PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &number, &where, NULL);
        if (!code && number == PCRE2_ERROR_HEAP_FAILED)
            return no_memory(error);
        if (!code)
            return gr_fail(error, GR_ERROR_INTERNAL, ORIGIN,
                           "PCRE2 refuses pattern %d of %s (error %d at %zu)", pass,
                           kind->names[0], number, (size_t)where);
        (void)pcre2_jit_compile(code,
                                PCRE2_JIT_COMPLETE); // where it may not, the interpreter matches
        splitter->codes[pass] = code;
    }
    return GR_OK;
}

void gr_splitter_deinit(gr_splitter *splitter) {
    for (int pass = 0; pass < 2; pass++)
        pcre2_code_free(splitter->codes[pass]);
    *splitter = (gr_splitter){0};
}

typedef struct split_run {
    const gr_splitter *splitter;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    gr_word_visitor visit;
    void *context;
    gr_error *error;
} split_run;

// Finds the next match at or after `at`. A match that outgrows the JIT's stack is tried again
// without it; the interpreter keeps its frames on the heap.
static int find(const split_run *run, const pcre2_code *code, const char *text, size_t size,
                size_t at) {
    int found = pcre2_match(code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, run->match,
                            run->limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT || found == PCRE2_ERROR_MATCHLIMIT)
        found = pcre2_match(code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                            run->match, run->limits);
    return found;
}

// Cuts valid UTF-8 by the pattern of `pass`, and the pieces by those after it.
static gr_status cut(const split_run *run, int pass, const char *text, size_t size) {
    const pcre2_code *code = pass < 2 ? run->splitter->codes[pass] : NULL;
    if (!code)
        return run->visit(run->context, text, size, run->error);
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(run->match);
    for (size_t at = 0; at < size;) {
        int found = find(run, code, text, size, at);
        if (found == PCRE2_ERROR_NOMEMORY)
            return no_memory(run->error);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            return gr_fail(run->error, GR_ERROR_INTERNAL, ORIGIN,
                           "PCRE2 fails with %d on a text of %zu bytes", found, size);
        size_t start = found < 0 ? size : span[0], end = found < 0 ? size : span[1];
        if (found >= 0 && (start < at || end <= start || end > size))
            return gr_fail(run->error, GR_ERROR_INTERNAL, ORIGIN,
                           "a pattern matches nothing at byte %zu", at);
        gr_status status = start > at ? cut(run, pass + 1, text + at, start - at) : GR_OK;
        if (!status && end > start)
            status = cut(run, pass + 1, text + start, end - start);
        if (status)
            return status;
        at = end;
    }
    return GR_OK;
}

static size_t valid_prefix(const char *text, size_t size) {
    size_t at = 0;
    for (size_t step; at < size && (step = gr_char_size(text + at, size - at)); at += step)
        ;
    return at;
}

static gr_status visit_runs(const split_run *run, gr_str text) {
    for (size_t at = 0; at < text.size;) {
        size_t valid = valid_prefix(text.data + at, text.size - at);
        gr_status status = valid ? cut(run, 0, text.data + at, valid) : GR_OK;
        at += valid;
        if (!status && at < text.size) {
            status = run->visit(run->context, text.data + at, 1, run->error);
            at++;
        }
        if (status)
            return status;
    }
    return GR_OK;
}

gr_status gr_splitter_visit(const gr_splitter *splitter, gr_str text, gr_word_visitor visit,
                            void *context, gr_error *error) {
    split_run run = {splitter,
                     pcre2_match_data_create(1, NULL),
                     pcre2_match_context_create(NULL),
                     visit,
                     context,
                     error};
    gr_status status = GR_ERROR_OUT_OF_MEMORY;
    if (run.match && run.limits) {
        pcre2_set_match_limit(run.limits,
                              UINT32_MAX); // every pattern is linear in the word it finds
        pcre2_set_heap_limit(run.limits, UINT32_MAX);
        pcre2_set_depth_limit(run.limits, UINT32_MAX);
        status = visit_runs(&run, text);
    } else {
        (void)no_memory(error);
    }
    pcre2_match_data_free(run.match);
    pcre2_match_context_free(run.limits);
    return status;
}
