// SPDX-License-Identifier: Apache-2.0
#include "plugins/sampler/common/common.h"

// Descending by logit; equal ones by token, ascending, so that the order never depends on the input's.
static int better(const void *a, const void *b) {
    const gr_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

void gr_candidates_sort(gr_candidates *candidates) {
    if (!candidates->sorted)
        qsort(candidates->data, candidates->count, sizeof *candidates->data, better);
    candidates->sorted = true;
}

void gr_candidates_softmax(gr_candidates *candidates) {
    double sum = 0;
    gr_candidates_sort(candidates);
    if (candidates->normalised)
        return;
    double largest = candidates->data[0].logit;
    for (size_t i = 0; i < candidates->count; i++)
        sum += exp(candidates->data[i].logit - largest);
    for (size_t i = 0; i < candidates->count; i++)
        candidates->data[i].probability = (float)(exp(candidates->data[i].logit - largest) / sum);
    candidates->normalised = true;
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
        gr_candidate t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
        at = child;
    }
}

// The best `count` of `size` come first, in no order: a heap of the best so far.
static void select_best(gr_candidate *data, size_t size, size_t count) {
    for (size_t i = count / 2; i-- > 0;)
        sift_down(data, count, i);
    for (size_t i = count; i < size; i++) {
        if (better(&data[i], &data[0]) > 0)
            continue;
        data[0] = data[i];
        sift_down(data, count, 0);
    }
}

void gr_candidates_keep(gr_candidates *candidates, size_t count) {
    if (!count || count >= candidates->count)
        return;
    if (!candidates->sorted)
        select_best(candidates->data, candidates->count, count);
    candidates->count = count;
    candidates->normalised = false;
    gr_candidates_sort(candidates);
}

size_t gr_candidates_draw(const gr_candidates *candidates, double u) {
    double sum = 0, running = 0;
    for (size_t i = 0; i < candidates->count; i++)
        sum += candidates->data[i].probability;
    for (size_t i = 0; i < candidates->count; i++) {
        running += candidates->data[i].probability;
        if (u * sum < running)
            return i;
    }
    return candidates->count - 1;
}
