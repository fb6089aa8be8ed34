// SPDX-License-Identifier: Apache-2.0
// embedded.h: files that were compiled in (gregale_embed in cmake/GregaleRooms.cmake). Constant data:
// any thread.
#ifndef GREGALE_BASE_EMBEDDED_H
#define GREGALE_BASE_EMBEDDED_H

#include <stdbool.h>
#include <stddef.h>

// A table of these ends with a NULL name. A zero stands behind the last byte.
typedef struct gr_embedded {
    const char *name; // path within the folder that was embedded
    const unsigned char *data;
    size_t size;
    bool executable;
} gr_embedded;

#endif
