// SPDX-License-Identifier: Apache-2.0
// mutants.h: what the longer defects of CMakeLists.txt are made of; included before every source.
#ifndef MUTANTS_H
#define MUTANTS_H

#include <stdlib.h>
#include <string.h>

#include "gregale/backend.h"

// Lets go of nothing.
static inline void mutant_forget(gr_device *device, gr_weight *weight) {
    (void)device;
    (void)weight;
}

// Keeps the page tables of a program's first step, and uses them in every later one.
static inline void mutant_keep_tables(gr_step *step, const void *program, uint32_t seqs) {
    enum { GROUPS = 4, ENTRIES = 4096 };
    static const void *of;
    static gr_step_group groups[GROUPS];
    static int32_t tables[GROUPS][ENTRIES];
    for (uint32_t g = 0; g < step->group_count && g < GROUPS; g++) {
        size_t size = (size_t)seqs * gr_step_group_at(step, g)->page_table_stride;
        groups[g] = *gr_step_group_at(step, g);
        if (size > ENTRIES)
            return;
        if (of != program)
            memcpy(tables[g], groups[g].page_table, size * sizeof tables[g][0]);
        groups[g].page_table = tables[g];
    }
    of = program;
    step->group_stride = sizeof groups[0];
    step->groups = groups;
}

#endif
