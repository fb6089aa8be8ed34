// SPDX-License-Identifier: Apache-2.0
// checked.h: arithmetic on sizes that come from files or users. Inside the core. Any thread.
#ifndef GREGALE_BASE_CHECKED_H
#define GREGALE_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

// Each sets *out and returns true, or returns false on overflow and leaves *out alone.
static inline bool gr_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (a > UINT64_MAX - b)
        return false;
    *out = a + b;
    return true;
}

static inline bool gr_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (b && a > UINT64_MAX / b)
        return false;
    *out = a * b;
    return true;
}

// Whether [offset, offset+length) lies inside [0, size).
static inline bool gr_range_fits(uint64_t offset, uint64_t length, uint64_t size) {
    return offset <= size && length <= size - offset;
}

// Rounds up to a multiple of `alignment`, a power of two. The caller keeps value + alignment in range.
static inline uint64_t gr_align_up(uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

#endif
