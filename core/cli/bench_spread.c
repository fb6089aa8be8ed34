// SPDX-License-Identifier: Apache-2.0
// bench_spread.c: the median of some measurements and how far it may be off.
#include <math.h>
#include <stdlib.h>

#include "cli/bench.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Each value lies above the true median with probability 1/2, whatever their distribution. So the k-th smallest lies
// above it as rarely as fewer than k of n coins show tails: the largest k for which that is at most 5 %. 0: none.
static uint32_t bound_rank(uint32_t n) {
    double chance = pow(0.5, n), sum = 0; // of exactly k tails
    for (uint32_t k = 0; k <= n; k++) {
        sum += chance;
        if (sum > 0.05)
            return k;
        chance = chance * (n - k) / (k + 1);
    }
    return n;
}

gr_spread gr_spread_of(double *values, uint32_t count) {
    gr_spread s = {NAN, NAN, NAN, NAN, NAN, count};
    if (!count)
        return s;
    qsort(values, count, sizeof *values, ascending);
    uint32_t rank = bound_rank(count);
    s.least = values[0];
    s.most = values[count - 1];
    s.median = (values[(count - 1) / 2] + values[count / 2]) / 2;
    if (rank) {
        s.low = values[rank - 1];
        s.high = values[count - rank];
    }
    return s;
}
