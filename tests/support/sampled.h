// SPDX-License-Identifier: Apache-2.0
// sampled.h: how much of a long family one run tries.
#ifndef GREGALE_TESTS_SAMPLED_H
#define GREGALE_TESTS_SAMPLED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// ./check --deep: everything, whole.
static inline bool tests_are_deep(void) {
    const char *value = getenv("GREGALE_DEEP");
    return value && *value && strcmp(value, "0") != 0;
}

// How many of `count` seeds or rounds to try: under a sanitizer or on a device that stands for another one, either of
// which makes each many times as dear, an eighth, at least one; all in depth.
static inline uint32_t sampled(uint32_t count) {
    bool dear = getenv("GREGALE_TEST_DEVICE") != NULL;
#ifdef GREGALE_SANITIZED
    dear = true;
#endif
    return dear && !tests_are_deep() ? (count + 7) / 8 : count;
}

// The same for a family that in depth tries `deep` of them. A sanitizer looks at the code, of which so many seeds show no
// more: under one it is `count`.
static inline uint32_t sampled_deep(uint32_t count, uint32_t deep) {
#ifndef GREGALE_SANITIZED
    if (tests_are_deep())
        return deep;
#endif
    (void)deep;
    return sampled(count);
}

#endif
