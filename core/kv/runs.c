// SPDX-License-Identifier: Apache-2.0
// runs.c: which pages neighbouring sequences of a step share.
//
// Forks share a prefix of pages, less what their windows have let go: what two neighbours share is one
// interval of logical pages. Walking the sequences in order, the intervals that are still shared stand on a
// stack, lowest pages and most sequences first, and together cover one interval. A neighbour that shares
// less closes what lies outside; one that shares more opens what is new.
#include <assert.h>

#include "kv/cache.h"

// Logical pages [begin, end) that sequences from `seq` on share.
typedef struct open_run {
    uint32_t seq;
    int64_t begin, end;
} open_run;

typedef struct walk {
    open_run open[GR_KV_STEP_SEQS];
    uint32_t open_count, count;
    gr_page_run *runs;
} walk;

static int32_t entry(const gr_step_group *group, uint32_t seq, int64_t page) {
    return group->page_table[(size_t)seq * group->page_table_stride + (size_t)(page - group->first_page[seq])];
}

// The pages that sequence s has in common with the one before it: [*begin, *end).
static void common(const gr_step_group *group, uint32_t s, int64_t *begin, int64_t *end) {
    int64_t a = group->first_page[s - 1], b = group->first_page[s];
    int64_t a_end = a + group->page_count[s - 1], b_end = b + group->page_count[s], last = a_end < b_end ? a_end : b_end;
    *begin = *end = a > b ? a : b;
    while (*end < last && entry(group, s - 1, *end) == entry(group, s, *end))
        ++*end;
}

static void close_run(walk *w, const open_run *run, int64_t begin, int64_t end, uint32_t s) {
    if (begin >= end)
        return;
    w->runs[w->count++] = (gr_page_run){.struct_size = sizeof(gr_page_run),
                                        .seq_first = run->seq,
                                        .seq_count = s - run->seq,
                                        .page_first = (uint32_t)begin,
                                        .page_count = (uint32_t)(end - begin)};
}

// Closes before sequence s whatever lies outside [begin, end).
static void clip(walk *w, int64_t begin, int64_t end, uint32_t s) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->open_count; i++) {
        open_run run = w->open[i];
        int64_t low = run.begin > begin ? run.begin : begin, high = run.end < end ? run.end : end;
        if (low >= high) {
            close_run(w, &run, run.begin, run.end, s);
            continue;
        }
        close_run(w, &run, run.begin, low, s);
        close_run(w, &run, high, run.end, s);
        w->open[kept++] = (open_run){run.seq, low, high};
    }
    w->open_count = kept;
}

uint32_t gr_kv_runs(const gr_step_group *group, uint32_t seqs, gr_page_run *out_runs) {
    walk w = {.runs = out_runs};
    assert(seqs <= GR_KV_STEP_SEQS);
    for (uint32_t s = 1; s < seqs; s++) {
        int64_t begin, end;
        common(group, s, &begin, &end);
        clip(&w, begin, end, s);
        // Pages before those that are open were let go by a neighbour's window: a few at most, not worth a run.
        if (w.open_count && w.open[w.open_count - 1].end > begin)
            begin = w.open[w.open_count - 1].end;
        if (begin < end)
            w.open[w.open_count++] = (open_run){s - 1, begin, end};
    }
    clip(&w, 0, 0, seqs);
    return w.count;
}
