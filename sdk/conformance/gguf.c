// SPDX-License-Identifier: Apache-2.0
// gguf.c: just enough of a GGUF v3 reader to fetch a named array out of a golden file, so that the
// suite needs nothing of the host. Every length is checked; a file that lies simply lacks the
// array.
#include <stdlib.h>
#include <string.h>

#include "suite.h"

typedef struct cursor {
    const uint8_t *data;
    uint64_t size, at;
    bool good;
} cursor;

static uint64_t take(cursor *c, uint32_t bytes) {
    uint64_t value = 0;
    if (!c->good || c->size - c->at < bytes) {
        c->good = false;
        return 0;
    }
    memcpy(&value, c->data + c->at, bytes);
    c->at += bytes;
    return value;
}

static void skip(cursor *c, uint64_t bytes) {
    c->good = c->good && bytes <= c->size - c->at;
    c->at += c->good ? bytes : 0;
}

// Skips one metadata value; arrays of arrays do not occur.
static void skip_value(cursor *c, uint64_t type) {
    static const uint8_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
        skip(c, take(c, 8));
    } else if (type == 9) {
        uint64_t of = take(c, 4), count = take(c, 8);
        c->good = c->good && of < sizeof widths && of != 9 && count <= c->size;
        for (uint64_t i = 0; i < count && c->good; i++)
            skip_value(c, of);
    } else if (type < sizeof widths) {
        skip(c, widths[type]);
    } else {
        c->good = false;
    }
}

// Reads one tensor's entry; true when it is the one.
static bool entry(cursor *c, const char *name, uint64_t *out_count, uint64_t *out_type,
                  uint64_t *out_offset) {
    uint64_t length = take(c, 8), at = c->at;
    skip(c, length);
    bool same = c->good && length == strlen(name) && !memcmp(c->data + at, name, length);
    uint64_t dims = take(c, 4);
    *out_count = 1;
    for (uint64_t i = 0; i < dims && c->good; i++)
        c->good = !__builtin_mul_overflow(*out_count, take(c, 8), out_count);
    *out_type = take(c, 4);
    *out_offset = take(c, 8);
    return same && c->good;
}

const void *cf_gguf_array(const uint8_t *data, uint64_t size, const char *name, gr_dtype dtype,
                          uint64_t *out_count) {
    cursor c = {.data = data, .size = size, .good = true};
    uint64_t magic = take(&c, 4), version = take(&c, 4), tensors = take(&c, 8), metas = take(&c, 8);
    uint64_t count = 0, type = 0, offset = 0, found_count = 0, found_type = 0, found_offset = 0;
    bool found = false;
    *out_count = 0;
    if (magic != 0x46554747 || version != 3)
        return NULL;
    for (uint64_t i = 0; i < metas && c.good; i++) {
        skip(&c, take(&c, 8));
        skip_value(&c, take(&c, 4));
    }
    for (uint64_t i = 0; i < tensors && c.good; i++) {
        if (entry(&c, name, &count, &type, &offset)) {
            found = true;
            found_count = count;
            found_type = type;
            found_offset = offset;
        }
    }
    uint64_t start = (c.at + 31) / 32 * 32;
    uint64_t bytes = gr_dtype_row_bytes(dtype, found_count);
    if ((found_count && !bytes) || !c.good || !found || found_type != dtype || start > size ||
        found_offset > size - start || bytes > size - start - found_offset)
        return NULL;
    *out_count = found_count;
    return data + start + found_offset;
}
