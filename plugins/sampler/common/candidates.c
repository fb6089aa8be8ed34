// SPDX-License-Identifier: Apache-2.0
// candidates.c: ordering and weighing what is left to choose from. A vocabulary has 32 to 131
// thousand tokens, of which a handful matters: whatever can do without sorting all of them does.
#include <float.h>

#include "plugins/sampler/common/common.h"

// Descending by logit; equal ones by token, ascending, so that the order never depends on the
// input's.
static int better(const void *a, const void *b) {
    const gr_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

// A number that ascends where `better` does: the logit's bits made monotonic, above the token's.
static uint64_t rank(gr_candidate candidate) {
    float logit = candidate.logit + 0.0f; // -0 is 0
    uint32_t bits;
    memcpy(&bits, &logit, sizeof bits);
    bits = bits >> 31 ? bits : ~bits & 0x7FFFFFFF;
    return (uint64_t)bits << 32 | (uint32_t)candidate.token;
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, RADIX_LEAST = 2048 };

// One pass of a radix sort, by the digit at `shift`; false when all digits are alike and nothing
// moved.
static bool sort_pass(const gr_candidate *from, gr_candidate *to, size_t count, unsigned shift) {
    size_t at[DIGITS] = {0}, sum = 0;
    for (size_t i = 0; i < count; i++)
        at[rank(from[i]) >> shift & (DIGITS - 1)]++;
    if (at[rank(from[0]) >> shift & (DIGITS - 1)] == count)
        return false;
    for (size_t i = 0; i < DIGITS; i++) {
        size_t here = at[i];
        at[i] = sum;
        sum += here;
    }
    for (size_t i = 0; i < count; i++)
        to[at[rank(from[i]) >> shift & (DIGITS - 1)]++] = from[i];
    return true;
}

// Sorts like qsort with `better`, in linear time when there are many and there is memory.
static void sort_best(gr_candidate *data, size_t count) {
    gr_candidate *spare = count >= RADIX_LEAST ? malloc(count * sizeof *spare) : NULL;
    gr_candidate *from = data, *to = spare;
    if (!spare) {
        qsort(data, count, sizeof *data, better);
        return;
    }
    for (unsigned shift = 0; shift < 64; shift += DIGIT_BITS)
        if (sort_pass(from, to, count, shift)) {
            gr_candidate *t = from;
            from = to;
            to = t;
        }
    if (from != data)
        memcpy(data, from, count * sizeof *data);
    free(spare);
}

void gr_candidates_sort(gr_candidates *candidates) {
    if (!candidates->sorted)
        sort_best(candidates->data, candidates->count);
    candidates->sorted = true;
}

float gr_candidates_largest(const gr_candidates *candidates) {
    float largest = candidates->data[0].logit;
    for (size_t i = 1; i < candidates->count && !candidates->sorted; i++)
        largest = candidates->data[i].logit > largest ? candidates->data[i].logit : largest;
    return largest;
}

// exp(logit - largest), also where both are the same infinity.
static double weight(float logit, float largest) {
    return logit == largest ? 1 : exp((double)logit - (double)largest);
}

static double total_weight(const gr_candidates *candidates, float largest) {
    double total = 0;
    for (size_t i = 0; i < candidates->count; i++)
        total += weight(candidates->data[i].logit, largest);
    return total;
}

void gr_candidates_normalise(gr_candidates *candidates) {
    if (candidates->normalised)
        return;
    float largest = gr_candidates_largest(candidates);
    double total = total_weight(candidates, largest);
    for (size_t i = 0; i < candidates->count; i++)
        candidates->data[i].probability =
            (float)(weight(candidates->data[i].logit, largest) / total);
    candidates->normalised = true;
}

void gr_candidates_softmax(gr_candidates *candidates) {
    gr_candidates_sort(candidates);
    gr_candidates_normalise(candidates);
}

static void swap(gr_candidate *a, gr_candidate *b) {
    gr_candidate t = *a;
    *a = *b;
    *b = t;
}

// Restores the heap (worst on top) of `count` candidates below position `at`.
static void sift_down(gr_candidate *heap, size_t count, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && better(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (better(&heap[child], &heap[at]) <= 0)
            return;
        swap(&heap[at], &heap[child]);
        at = child;
    }
}

// Brings the best `count` of `size` to the front, sorted; the rest follow in no order.
static void sort_head(gr_candidate *data, size_t size, size_t count) {
    if (count > size / 16) { // a heap is slower than sorting everything
        sort_best(data, size);
        return;
    }
    for (size_t i = count / 2; i-- > 0;)
        sift_down(data, count, i);
    for (size_t i = count; i < size; i++) {
        if (better(&data[i], &data[0]) > 0)
            continue;
        swap(&data[i], &data[0]);
        sift_down(data, count, 0);
    }
    sort_best(data, count);
}

void gr_candidates_keep(gr_candidates *candidates, size_t count) {
    if (!count || count >= candidates->count)
        return;
    if (!candidates->sorted)
        sort_head(candidates->data, candidates->count, count);
    candidates->count = count;
    candidates->sorted = true;
    candidates->normalised = false;
}

void gr_candidates_at_least(gr_candidates *candidates, double least) {
    float largest = gr_candidates_largest(candidates);
    size_t kept = 0;
    for (size_t i = 0; i < candidates->count; i++)
        if (candidates->data[i].logit >= least || candidates->data[i].logit == largest)
            candidates->data[kept++] = candidates->data[i];
    candidates->normalised = candidates->normalised && kept == candidates->count;
    candidates->count = kept;
}

size_t gr_candidates_head(gr_candidates *candidates, double share, bool reaching) {
    float largest = gr_candidates_largest(candidates);
    double total = total_weight(candidates, largest), running = 0;
    size_t possible = 0; // up to the last one that has a weight
    for (size_t i = 0, ready = candidates->sorted ? candidates->count : 0; i < candidates->count;
         i++) {
        if (i == ready) { // the next few, each time eight times as many
            size_t left = candidates->count - ready, more = ready ? ready * 7 : 64;
            more = more < left ? more : left;
            sort_head(candidates->data + ready, left, more);
            ready += more;
            candidates->sorted = ready == candidates->count;
        }
        double w = weight(candidates->data[i].logit, largest);
        running += w;
        possible = w > 0 ? i + 1 : possible;
        if (reaching ? running >= share * total : running > share * total)
            return i + 1;
    }
    return possible;
}

gr_token gr_candidates_draw(gr_candidates *candidates, double u) {
    return candidates->data[gr_candidates_head(candidates, u, false) - 1].token;
}

// Below this the likeliest token wins but for ties, and those are broken as greedy does: by the lower id.
#define LEAST_TEMPERATURE 1e-5

void gr_candidates_temper(gr_candidates *candidates, double temperature) {
    float largest = gr_candidates_largest(candidates);
    if (temperature < LEAST_TEMPERATURE || fabs((double)largest) > temperature * FLT_MAX) {
        gr_candidates_keep(candidates, 1);
        return;
    }
    for (size_t i = 0; i < candidates->count; i++)
        candidates->data[i].logit = (float)(candidates->data[i].logit / temperature);
    candidates->normalised = false;
}
