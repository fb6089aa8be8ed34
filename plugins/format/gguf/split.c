// SPDX-License-Identifier: Apache-2.0
// split.c: names of the parts of a split file: NAME-00001-of-00003.gguf, counted from 1.
#include <string.h>

#include "plugins/format/gguf/gguf.h"

enum { TAIL = 20 }; // "-00001-of-00003.gguf"

static bool five_digits(const char *text, uint32_t *out_value) {
    uint32_t value = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    *out_value = value;
    return true;
}

bool gguf_split_parse(const char *path, size_t *out_stem, uint32_t *out_no, uint32_t *out_count) {
    size_t size = strlen(path);
    const char *tail = size > TAIL ? path + size - TAIL : path;
    if (size <= TAIL || tail[0] != '-' || memcmp(tail + 6, "-of-", 4) != 0 ||
        strcmp(tail + 15, ".gguf") != 0)
        return false;
    *out_stem = size - TAIL;
    return five_digits(tail + 1, out_no) && five_digits(tail + 10, out_count) && *out_no >= 1 &&
           *out_no <= *out_count;
}

bool gguf_split_path(const char *path, uint32_t no, char *out_path, size_t capacity) {
    size_t stem;
    uint32_t found_no, count;
    if (!gguf_split_parse(path, &stem, &found_no, &count))
        return false;
    int size = snprintf(out_path, capacity, "%.*s-%05u-of-%05u.gguf", (int)stem, path, no, count);
    return size > 0 && (size_t)size < capacity;
}
