// SPDX-License-Identifier: Apache-2.0
// random.c: numbers for the cases: SplitMix64 (Steele, Lea, Flood 2014), the same on every machine.
#include <math.h>

#include "suite.h"

uint64_t cf_next(cf_random *random) {
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint32_t cf_below(cf_random *random, uint32_t limit) {
    return limit ? (uint32_t)(cf_next(random) % limit) : 0;
}

double cf_uniform(cf_random *random, double low, double high) {
    return low + (high - low) * (double)(cf_next(random) >> 11) * 0x1p-53;
}

// Box and Muller 1958: two at a time, of which one is kept for the next call.
double cf_normal(cf_random *random) {
    if (random->spare != 0) {
        double spare = random->spare;
        random->spare = 0;
        return spare;
    }
    double u = 1.0 - cf_uniform(random, 0.0, 1.0), v = cf_uniform(random, 0.0, 1.0);
    double radius = sqrt(-2.0 * log(u));
    random->spare = radius * sin(6.283185307179586 * v);
    return radius * cos(6.283185307179586 * v);
}

double cf_laplace(cf_random *random) {
    double size = -log(1.0 - cf_uniform(random, 0.0, 1.0)) * sqrt(0.5);
    return cf_below(random, 2) ? size : -size;
}

uint64_t cf_hash(uint64_t seed, const char *text) {
    cf_random random = {seed};
    for (; *text; text++)
        random.state = cf_next(&random) ^ (uint8_t)*text;
    return cf_next(&random);
}
