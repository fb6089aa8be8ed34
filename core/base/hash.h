// SPDX-License-Identifier: Apache-2.0
// hash.h: SHA-256 (FIPS 180-4) for checksums and fingerprints, FNV-1a for hash tables. Any thread.
#ifndef GREGALE_BASE_HASH_H
#define GREGALE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct gr_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} gr_sha256;

void gr_sha256_init(gr_sha256 *hash);
void gr_sha256_add(gr_sha256 *hash, const void *bytes, size_t count);
void gr_sha256_finish(gr_sha256 *hash, uint8_t out_digest[32]);

// FNV-1a, 64 bits. Not for hostile keys without a length bound on chains.
static inline uint64_t gr_hash_bytes(const void *bytes, size_t count) {
    const uint8_t *b = (const uint8_t *)bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
