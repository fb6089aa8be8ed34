// SPDX-License-Identifier: Apache-2.0
// structs.h: reading and filling structs that another version of backend.h may have written.
// For backend authors. Needs only libc headers; C11 and C++17. Pure functions: any thread.
//
// Every struct of the interface begins with struct_size, the size its writer knew. A shorter one
// means that the fields it lacks are zero; a longer one is accepted when its unknown tail is zero.
// So: gr_struct_ok, then gr_struct_read into a copy of one's own; and gr_struct_fill for a struct
// that the caller owns.
#ifndef GREGALE_SDK_STRUCTS_H
#define GREGALE_SDK_STRUCTS_H

#include <stdbool.h>
#include <string.h>

#include "gregale/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// Whether a struct of `known` bytes (to us) can be read: it has at least `least` bytes, and nothing
// set beyond what we know. `limit` is the room it lies in: the stride of an array, else SIZE_MAX.
static inline bool gr_struct_ok(const void *object, size_t least, size_t known, size_t limit) {
    uint32_t size;
    memcpy(&size, object, sizeof size);
    if (size < least || size > limit)
        return false;
    for (size_t i = known; i < size; i++) {
        if (((const uint8_t *)object)[i])
            return false;
    }
    return true;
}

// Copies a struct into `copy` of `known` bytes; what it lacks becomes zero.
static inline void gr_struct_read(const void *object, size_t known, void *copy) {
    uint32_t size;
    memcpy(&size, object, sizeof size);
    memset(copy, 0, known);
    memcpy(copy, object, size < known ? size : known);
}

// Fills a caller's struct from `filled` (of `known` bytes) as far as its struct_size goes; its
// struct_size stays. NULL is legal.
static inline void gr_struct_fill(void *object, const void *filled, size_t known) {
    uint32_t size;
    if (!object)
        return;
    memcpy(&size, object, sizeof size);
    size_t bytes = size < known ? size : known;
    if (bytes > sizeof size)
        memcpy((char *)object + sizeof size, (const char *)filled + sizeof size,
               bytes - sizeof size);
}

// Whether the host offers what ABI 0.1 promised. A newer host may offer more than we know; that is
// no request, so its tail is not looked at.
static inline bool gr_host_complete(const gr_host *host) {
    return host && host->struct_size >= offsetof(gr_host, get_extension) &&
           host->abi_major == GR_ABI_MAJOR && host->log && host->now_ns && host->memory_alloc &&
           host->memory_free && host->team_size && host->team_run && host->team_barrier;
}

// The machine as the host describes it. What the host does not know of it is zero: all of it, when
// there is no description.
static inline gr_topology gr_host_topology(const gr_host *host) {
    gr_topology topology;
    memset(&topology, 0, sizeof topology);
    if (host->topology)
        gr_struct_read(host->topology, sizeof topology, &topology);
    return topology;
}

// Tells the host that a weight's source was copied, where the host listens (ABI 0.2).
static inline void gr_host_source_done(const gr_host *host, const void *data, uint64_t bytes) {
    if (host->struct_size >= offsetof(gr_host, source_done) + sizeof host->source_done &&
        host->source_done)
        host->source_done(host, data, bytes);
}

#ifdef __cplusplus
}
#endif
#endif
