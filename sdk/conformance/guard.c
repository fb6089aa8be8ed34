// SPDX-License-Identifier: Apache-2.0
// guard.c: memory between pages that nobody may touch: reading or writing past it ends the case.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

uint8_t *cf_rig_region(cf_rig *rig, uint64_t bytes, bool flush, uint32_t lead) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t inner = (bytes + lead + page - 1) / page * page;
    uint8_t *base = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || rig->region_count == CF_MAX_REGIONS ||
        (inner && mprotect(base + page, inner, PROT_READ | PROT_WRITE))) {
        fprintf(stderr, "conformance: out of memory\n");
        abort();
    }
    rig->regions[rig->region_count].base = base;
    rig->regions[rig->region_count++].bytes = inner + 2 * page;
    return flush ? base + page + inner - bytes : base + page + lead;
}

void cf_rig_regions_seal(cf_rig *rig) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 0; i < rig->region_count; i++) {
        if (rig->regions[i].bytes > 2 * page)
            mprotect((uint8_t *)rig->regions[i].base + page, rig->regions[i].bytes - 2 * page,
                     PROT_READ);
    }
}

void cf_rig_regions_free(cf_rig *rig) {
    while (rig->region_count) {
        rig->region_count--;
        munmap(rig->regions[rig->region_count].base, rig->regions[rig->region_count].bytes);
    }
}
