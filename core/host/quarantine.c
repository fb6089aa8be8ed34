// SPDX-License-Identifier: Apache-2.0
// quarantine.c: devices that failed are left alone for a while, twice as long each time.
#include <stdlib.h>

#include "base/os.h"
#include "host/internal.h"

static const uint64_t second_ns = UINT64_C(1000000000);
enum { LONGEST_S = 600, FORGET_S = 1800 };

static gr_shared_device *shared_of(const gr_opened_device *device) {
    return (gr_shared_device *)(uintptr_t)device; // opened is its first member
}

void gr_registry_quarantine(gr_registry *registry, const gr_opened_device *device, bool lost, const char *reason) {
    gr_shared_device *shared = shared_of(device);
    pthread_mutex_lock(&registry->lock);
    uint64_t now = gr_os_now_ns(), seconds;
    if (shared->failures && now - shared->failed_ns > FORGET_S * second_ns)
        shared->failures = 0;
    seconds = shared->failures < 10 ? UINT64_C(1) << shared->failures : LONGEST_S;
    shared->lost |= lost;
    shared->failures++;
    shared->failed_ns = now;
    shared->quarantine_ns = now + (seconds < LONGEST_S ? seconds : LONGEST_S) * second_ns;
    snprintf(shared->reason, sizeof shared->reason, "%s", reason);
    pthread_mutex_unlock(&registry->lock);
}

bool gr_registry_quarantined(const gr_registry *registry, uint32_t index, uint64_t *out_left_ns) {
    uint64_t now = gr_os_now_ns(), until = registry->shared[index].quarantine_ns;
    *out_left_ns = until > now ? until - now : 0;
    return *out_left_ns > 0;
}

typedef struct candidate {
    uint32_t index;
    uint64_t left_ns;
} candidate;

static int by_standing(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->left_ns != y->left_ns)
        return x->left_ns > y->left_ns ? 1 : -1;
    return x->index > y->index ? 1 : -1; // sorted by score
}

uint32_t gr_registry_candidates(const gr_registry *registry, const gr_opened_device *failed, uint32_t *out_order,
                                uint32_t capacity) {
    candidate all[GR_MAX_CANDIDATES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < registry->device_count && count < GR_MAX_CANDIDATES; i++) {
        bool is_dead = registry->shared[i].lost && registry->shared[i].users; // until everybody has let go
        if (is_dead || (failed && &registry->shared[i] == shared_of(failed)))
            continue;
        all[count].index = i;
        gr_registry_quarantined(registry, i, &all[count++].left_ns);
    }
    qsort(all, count, sizeof *all, by_standing);
    count = count < capacity ? count : capacity;
    for (uint32_t i = 0; i < count; i++)
        out_order[i] = all[i].index;
    return count;
}
