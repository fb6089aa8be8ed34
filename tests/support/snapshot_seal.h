// SPDX-License-Identifier: Apache-2.0
// snapshot_seal.h: makes size and checksum of a snapshot right again after its bytes were changed, so that what
// lies behind them is tried. Pure functions.
#ifndef GREGALE_TESTS_SNAPSHOT_SEAL_H
#define GREGALE_TESTS_SNAPSHOT_SEAL_H

#include "engine/snapshot.h"

// `size` is at least GR_SNAPSHOT_HEAD + GR_SNAPSHOT_DIGEST.
static inline void snapshot_seal(uint8_t *data, size_t size) {
    gr_sha256 hash;
    for (int i = 0; i < 8; i++)
        data[16 + i] = (uint8_t)((uint64_t)size >> (8 * i));
    gr_sha256_init(&hash);
    gr_sha256_add(&hash, data, size - GR_SNAPSHOT_DIGEST);
    gr_sha256_finish(&hash, data + size - GR_SNAPSHOT_DIGEST);
}

#endif
