// SPDX-License-Identifier: Apache-2.0
// random.c: Philox 4x32-10, a counter-based generator (Salmon, Moraes, Dror and Shaw 2011,
// "Parallel random numbers: as easy as 1, 2, 3"): a draw is a function of its key, so it needs no
// state and survives rewinds.
#include "plugins/sampler/common/common.h"

static void philox_round(uint32_t c[4], const uint32_t k[2]) {
    uint64_t p0 = UINT64_C(0xD2511F53) * c[0], p1 = UINT64_C(0xCD9E8D57) * c[2];
    uint32_t n[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k[0], (uint32_t)p1,
                     (uint32_t)(p0 >> 32) ^ c[3] ^ k[1], (uint32_t)p0};
    for (int i = 0; i < 4; i++)
        c[i] = n[i];
}

void gr_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 4; i++)
        out[i] = counter[i];
    for (int round = 0; round < 10; round++) {
        philox_round(out, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

double gr_random_uniform(uint64_t seed, uint64_t position, uint32_t purpose) {
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), purpose, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    gr_philox(counter, key, out);
    return ((double)(out[0] >> 5) * 67108864.0 + (double)(out[1] >> 6)) /
           9007199254740992.0; // 53 bits, [0, 1)
}
