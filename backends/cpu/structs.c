// SPDX-License-Identifier: Apache-2.0
// structs.c: reading and filling structs by the rules of struct_size.
#include "cpu.h"

bool cpu_struct_ok(const void *object, size_t least, size_t known, size_t limit) {
    uint32_t size;
    memcpy(&size, object, sizeof size);
    if (size < least || size > limit)
        return false;
    for (size_t i = known; i < size; i++) {
        if (((const uint8_t *)object)[i])
            return false;
    }
    return true;
}

void cpu_struct_read(const void *object, size_t known, void *copy) {
    uint32_t size;
    memcpy(&size, object, sizeof size);
    memset(copy, 0, known);
    memcpy(copy, object, size < known ? size : known);
}

void cpu_struct_fill(void *object, const void *filled, size_t known) {
    uint32_t size;
    if (!object)
        return;
    memcpy(&size, object, sizeof size);
    size_t bytes = size < known ? size : known;
    if (bytes > sizeof size)
        memcpy((char *)object + sizeof size, (const char *)filled + sizeof size,
               bytes - sizeof size);
}
