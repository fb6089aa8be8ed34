// SPDX-License-Identifier: Apache-2.0
// bytes.h: amounts of memory as people write them. Inside the core. Any thread.
#ifndef GREGALE_BASE_BYTES_H
#define GREGALE_BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>

// "4096", "512M", "1.5G", "64KiB": a number and perhaps K, M, G or T, in powers of 1024. False when it is
// anything else, less than a byte or more than INT64_MAX.
bool gr_bytes_parse(const char *text, uint64_t *out_bytes);

#endif
