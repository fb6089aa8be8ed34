// SPDX-License-Identifier: Apache-2.0
// step.h: the run-time arguments of one step: a ragged batch of rows from many sequences.
// For backend authors and the engine. Self-contained, C11 and C++17.
//
// A step block has a fixed capacity and a stable address for each program, so that a device graph
// recorded against it can be replayed. The host fills it before submit and leaves it alone until the
// step's fence has signalled; a backend only reads it.
#ifndef GREGALE_STEP_H
#define GREGALE_STEP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Pages that several sequences of the step share, so that attention can read them once: sequences
// [seq_first, seq_first+seq_count) have equal table entries for logical pages
// [page_first, page_first+page_count). A page of a sequence is in one run at most; a page that is in
// none may be shared all the same. Reading them is up to the backend: results do not depend on it.
typedef struct gr_page_run {
    uint32_t struct_size;
    uint32_t seq_first;
    uint32_t seq_count;
    uint32_t page_first;
    uint32_t page_count;
    uint32_t reserved;
} gr_page_run;

// The page tables of one cache group: the layers that share a window share a table. A position p of
// sequence s lies in slot p % page_tokens of physical page
// page_table[s*page_table_stride + p/page_tokens - first_page[s]].
typedef struct gr_step_group {
    uint32_t struct_size;
    uint32_t page_tokens;       // positions a page holds, a power of two
    uint32_t page_table_stride; // entries from one sequence to the next
    uint32_t run_count;
    uint32_t run_stride;        // bytes from one gr_page_run to the next
    uint32_t reserved;
    const int32_t *page_table;  // [seqs_max, page_table_stride]
    const int32_t *first_page;  // [seqs_max] logical number of the first entry
    const int32_t *page_count;  // [seqs_max] entries in use
    const gr_page_run *runs;
} gr_step_group;

// Rows are grouped by sequence: sequence s owns rows [seq_rows[s], seq_rows[s+1]), whose positions
// ascend by one. KV_WRITE of all rows of a layer happens before ATTENTION of that layer, so a row
// sees the earlier rows of its own chunk. Pages already hold every earlier position that is visible.
typedef struct gr_step {
    uint32_t struct_size;
    uint32_t rows;    // T
    uint32_t seqs;    // S
    uint32_t outputs; // R
    uint32_t group_count;
    uint32_t group_stride;       // bytes from one gr_step_group to the next
    const int32_t *tokens;       // [T]
    const int32_t *positions;    // [T]
    const int32_t *row_seq;      // [T] in [0, S)
    const int32_t *seq_rows;     // [S+1]
    const int32_t *output_rows;  // [R] in [0, T), ascending
    const int32_t *mask_bits;    // [R, ceil(V/32)], or NULL
    const int32_t *adapters;     // [S] adapter of each sequence, -1 for none, or NULL
    const gr_step_group *groups;
} gr_step;

// Group `index` of `step`; `index` must be below group_count.
static inline const gr_step_group *gr_step_group_at(const gr_step *step, uint32_t index) {
    return (const gr_step_group *)(const void *)((const char *)step->groups +
                                                 (uint64_t)index * step->group_stride);
}

#ifdef __cplusplus
}
#endif
#endif
