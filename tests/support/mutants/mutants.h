// SPDX-License-Identifier: Apache-2.0
// mutants.h: what the longer defects of CMakeLists.txt are made of; included before every source.
#ifndef MUTANTS_H
#define MUTANTS_H

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gregale/backend.h"

// Lets go of nothing.
static inline void mutant_forget(gr_device *device, gr_weight *weight) {
    (void)device;
    (void)weight;
}

static inline void *mutant_sleep(void *argument) {
    for (;;)
        pause();
    return argument;
}

// A thread that nobody joins.
static inline void mutant_thread(void) {
    pthread_t thread;
    if (!pthread_create(&thread, NULL, mutant_sleep, NULL))
        pthread_detach(thread);
}

// Memory of its own that is never freed: 4 MiB, every page of it touched.
static inline void mutant_hoard(void) {
    enum { BYTES = 4 << 20, PAGE = 4096 };
    volatile char *memory = malloc(BYTES);
    for (int i = 0; memory && i < BYTES; i += PAGE)
        memory[i] = 1;
}

// A number with the 11 bits that F16 has.
static inline float mutant_coarse(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= ~UINT32_C(0x1fff);
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Keeps itself loaded.
static inline void mutant_stay(void) {
    Dl_info info;
    void *anchor = (void *)(uintptr_t)mutant_stay;
    if (dladdr(anchor, &info))
        dlopen(info.dli_fname, RTLD_NOW);
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
