// SPDX-License-Identifier: Apache-2.0
// limits.h: what this machine can do at most, measured. Inside the cli room.
#ifndef GREGALE_CLI_LIMITS_H
#define GREGALE_CLI_LIMITS_H

#include <stdint.h>

typedef struct gr_limits {
    double read_bytes_per_second;      // main memory, all threads, buffers far larger than the caches
    double int8_operations_per_second; // a multiply and an add count as two
    const char *int8_path;             // "avx512-vnni", "avx2"; "" when not measured on this machine
} gr_limits;

// Runs `threads` threads for about half a second a figure; the best of several rounds counts.
gr_limits gr_limits_measure(uint32_t threads);

#endif
