// SPDX-License-Identifier: Apache-2.0
#include "plugins/tokenizer/common/merge.h"

#include <stdlib.h>

// Grows an array of `size`-byte elements to hold one more.
static gr_status grow(void **data, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity)
        return GR_OK;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    if (wanted > (size_t)INT32_MAX || wanted > SIZE_MAX / size)
        return GR_ERROR_OUT_OF_MEMORY;
    void *grown = realloc(*data, wanted * size);
    if (!grown)
        return GR_ERROR_OUT_OF_MEMORY;
    *data = grown;
    *capacity = wanted;
    return GR_OK;
}

void gr_merger_clear(gr_merger *merger) {
    merger->count = merger->heap_count = 0;
}

gr_status gr_merger_add(gr_merger *merger, uint32_t start, uint32_t size, gr_token token) {
    gr_status status = grow((void **)&merger->symbols, merger->count, &merger->capacity,
                            sizeof *merger->symbols);
    if (status)
        return status;
    int32_t at = (int32_t)merger->count++;
    merger->symbols[at] = (gr_symbol){start, size, at - 1, -1, token};
    if (at > 0)
        merger->symbols[at - 1].next = at;
    return GR_OK;
}

static gr_status push(gr_merger *merger, gr_merge_candidate candidate) {
    gr_status status = grow((void **)&merger->heap, merger->heap_count, &merger->heap_capacity,
                            sizeof *merger->heap);
    if (status)
        return status;
    gr_merge_candidate *heap = merger->heap;
    size_t at = merger->heap_count++;
    for (size_t parent; at > 0 && heap[parent = (at - 1) / 2].order > candidate.order; at = parent)
        heap[at] = heap[parent];
    heap[at] = candidate;
    return GR_OK;
}

static gr_merge_candidate pop(gr_merger *merger) {
    gr_merge_candidate *heap = merger->heap, best = heap[0], last = heap[--merger->heap_count];
    size_t count = merger->heap_count, at = 0;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= last.order)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return best;
}

// Puts the pair that begins at symbol `at` into the heap when it may merge.
static gr_status consider(gr_merger *merger, int32_t at, gr_merge_rule rule, const void *context) {
    const gr_symbol *left = &merger->symbols[at];
    if (left->next < 0)
        return GR_OK;
    const gr_symbol *right = &merger->symbols[left->next];
    uint32_t rank;
    gr_token merged;
    if (!rule(context, left, right, &rank, &merged))
        return GR_OK;
    return push(merger, (gr_merge_candidate){(uint64_t)rank << 32 | (uint32_t)at,
                                             left->size + right->size, merged});
}

// Joins the symbol at `at` with the one after it.
static void join(gr_merger *merger, int32_t at, gr_token merged) {
    gr_symbol *left = &merger->symbols[at], *right = &merger->symbols[left->next];
    left->size += right->size;
    left->token = merged;
    left->next = right->next;
    if (right->next >= 0)
        merger->symbols[right->next].previous = at;
    right->size = 0;
}

gr_status gr_merger_run(gr_merger *merger, gr_merge_rule rule, const void *context) {
    gr_status status = GR_OK;
    for (size_t i = 0; !status && i + 1 < merger->count; i++)
        status = consider(merger, (int32_t)i, rule, context);
    while (!status && merger->heap_count) {
        gr_merge_candidate best = pop(merger);
        int32_t at = (int32_t)(uint32_t)best.order;
        const gr_symbol *left = &merger->symbols[at];
        // Symbols only grow, so a pair of the same start and size is the very pair that was
        // considered.
        if (!left->size || left->next < 0 ||
            left->size + merger->symbols[left->next].size != best.size)
            continue;
        join(merger, at, best.merged);
        status = consider(merger, at, rule, context);
        if (!status && left->previous >= 0)
            status = consider(merger, left->previous, rule, context);
    }
    return status;
}

const gr_symbol *gr_merger_next(const gr_merger *merger, const gr_symbol *symbol) {
    int32_t at = symbol ? symbol->next : merger->count ? 0 : -1;
    return at < 0 ? NULL : &merger->symbols[at];
}

void gr_merger_deinit(gr_merger *merger) {
    free(merger->symbols);
    free(merger->heap);
    *merger = (gr_merger){0};
}
