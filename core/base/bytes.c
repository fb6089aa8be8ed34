// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

// The power of 1024 that a unit stands for; -1: it is none.
static int power_of(const char *unit) {
    static const char *const letters = "kmgt";
    const char *letter = *unit ? strchr(letters, *unit | 0x20) : NULL;
    if (!*unit || strcasecmp(unit, "b") == 0)
        return 0;
    bool whole = letter && (!unit[1] || strcasecmp(unit + 1, "b") == 0 || strcasecmp(unit + 1, "ib") == 0);
    return whole ? (int)(letter - letters) + 1 : -1;
}

bool gr_bytes_parse(const char *text, uint64_t *out_bytes) {
    char *end;
    double value = strtod(text, &end);
    int power = power_of(end);
    if (*text < '0' || *text > '9' || strpbrk(text, "xXeE") || power < 0)
        return false;
    for (int i = 0; i < power; i++)
        value *= 1024;
    if (!(value >= 1 && value < 9.2e18))
        return false;
    *out_bytes = (uint64_t)value;
    return true;
}
