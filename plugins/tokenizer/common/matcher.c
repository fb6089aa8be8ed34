// SPDX-License-Identifier: Apache-2.0
#include "plugins/tokenizer/common/matcher.h"

#include <stdlib.h>
#include <string.h>

static int compare(const gr_str *a, const gr_str *b) {
    size_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->data, b->data, common);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare_tokens(const gr_str *pieces, gr_token a, gr_token b) {
    int order = compare(&pieces[a], &pieces[b]);
    return order ? order : (a > b) - (a < b);
}

static void sift_down(gr_matcher *matcher, size_t at, size_t count) {
    gr_token *sorted = matcher->sorted;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count &&
            compare_tokens(matcher->pieces, sorted[child], sorted[child + 1]) < 0)
            child++;
        if (compare_tokens(matcher->pieces, sorted[at], sorted[child]) >= 0)
            return;
        gr_token swap = sorted[at];
        sorted[at] = sorted[child];
        sorted[child] = swap;
    }
}

// Heapsort: qsort passes no context, and its worst case is nobody's promise.
static void sort(gr_matcher *matcher) {
    for (size_t i = matcher->count / 2; i-- > 0;)
        sift_down(matcher, i, matcher->count);
    for (size_t end = matcher->count; end > 1; end--) {
        gr_token swap = matcher->sorted[0];
        matcher->sorted[0] = matcher->sorted[end - 1];
        matcher->sorted[end - 1] = swap;
        sift_down(matcher, 0, end - 1);
    }
}

gr_status gr_matcher_init(gr_matcher *matcher, const gr_vocab *vocab, gr_token_type type,
                          gr_token_type or_type) {
    *matcher = (gr_matcher){.pieces = vocab->pieces};
    size_t count = 0;
    for (uint32_t i = 0; i < vocab->size; i++)
        count += vocab->pieces[i].size && (vocab->types[i] == type || vocab->types[i] == or_type);
    if (!count)
        return GR_OK;
    matcher->sorted = malloc(count * sizeof *matcher->sorted);
    if (!matcher->sorted)
        return GR_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < vocab->size; i++) {
        if (!vocab->pieces[i].size || (vocab->types[i] != type && vocab->types[i] != or_type))
            continue;
        matcher->sorted[matcher->count++] = (gr_token)i;
        matcher->begins[(uint8_t)vocab->pieces[i].data[0]] = true;
    }
    sort(matcher);
    return GR_OK;
}

// First place in [low, high) whose piece has at `depth` a byte of at least `byte`; all there agree
// before `depth`, and pieces that end at `depth` come first.
static size_t lower_bound(const gr_matcher *matcher, size_t low, size_t high, size_t depth,
                          unsigned byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const gr_str *piece = &matcher->pieces[matcher->sorted[middle]];
        if (piece->size <= depth || (uint8_t)piece->data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t gr_matcher_longest(const gr_matcher *matcher, const char *text, size_t size,
                          gr_token *out_token) {
    size_t low = 0, high = matcher->count, best = 0;
    for (size_t depth = 0; low < high && depth < size; depth++) {
        unsigned byte = (uint8_t)text[depth];
        low = lower_bound(matcher, low, high, depth, byte);
        high = lower_bound(matcher, low, high, depth, byte + 1);
        if (low < high && matcher->pieces[matcher->sorted[low]].size == depth + 1) {
            best = depth + 1;
            *out_token = matcher->sorted[low];
        }
    }
    return best;
}

size_t gr_matcher_search(const gr_matcher *matcher, const char *text, size_t size,
                         gr_token *out_token, size_t *out_size) {
    *out_size = 0;
    if (!matcher->count)
        return size;
    for (size_t at = 0; at < size; at++) {
        if (!matcher->begins[(uint8_t)text[at]])
            continue;
        *out_size = gr_matcher_longest(matcher, text + at, size - at, out_token);
        if (*out_size)
            return at;
    }
    return size;
}

gr_token gr_matcher_find(const gr_matcher *matcher, const char *text, size_t size) {
    gr_token token = GR_TOKEN_NONE;
    return size && gr_matcher_longest(matcher, text, size, &token) == size ? token : GR_TOKEN_NONE;
}

void gr_matcher_deinit(gr_matcher *matcher) {
    free(matcher->sorted);
    *matcher = (gr_matcher){0};
}
