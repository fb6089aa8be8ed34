// SPDX-License-Identifier: Apache-2.0
// paging.h: from (sequence, position) to the address of a key or value, through the step's page
// tables.
#ifndef GREGALE_BACKENDS_REF_PAGING_H
#define GREGALE_BACKENDS_REF_PAGING_H

#include "ref.h"

// The page tables of one call in one step.
typedef struct ref_pages {
    gr_step_group group; // a copy
} ref_pages;

// Finds the tables of the call's cache group; fails when the step lacks them or they do not fit the
// pool.
gr_status ref_pages_open(const ref_call *call, const ref_run *run, ref_pages *out_pages,
                         gr_error *error);
// OK when positions [first, last] of `seq` lie in pages of the pool that the table holds.
gr_status ref_pages_admit(const ref_pages *pages, const ref_call *call, uint32_t seq, int64_t first,
                          int64_t last, gr_error *error);
// Address of all heads of one position, which must have been admitted; part 0 is K, 1 is V.
uint8_t *ref_pages_row(const ref_pages *pages, const ref_call *call, uint32_t part, uint32_t seq,
                       int64_t position);

#endif
