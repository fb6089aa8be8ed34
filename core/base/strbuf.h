// SPDX-License-Identifier: Apache-2.0
// strbuf.h: text that grows. Inside the core. One thread a buffer.
#ifndef GREGALE_BASE_STRBUF_H
#define GREGALE_BASE_STRBUF_H

#include <stdbool.h>

#include "gregale/status.h"

// All zero is empty. `data` is NUL-terminated once anything was added. After running out of memory
// `failed` is set, the text stays as it was and further calls do nothing, so one check at the end will do.
typedef struct gr_strbuf {
    char *data;
    size_t size, capacity;
    bool failed;
} gr_strbuf;

void gr_strbuf_add(gr_strbuf *buffer, const char *bytes, size_t count);
void gr_strbuf_text(gr_strbuf *buffer, const char *text);
GR_PRINTF(2, 3)
void gr_strbuf_format(gr_strbuf *buffer, const char *format, ...);
// Adds `text` as a JSON string, quotes included; invalid UTF-8 becomes U+FFFD.
void gr_strbuf_json(gr_strbuf *buffer, gr_str text);
// Forgets the text, keeps the memory.
void gr_strbuf_clear(gr_strbuf *buffer);
void gr_strbuf_deinit(gr_strbuf *buffer);
// Borrowed view; "" when empty.
const char *gr_strbuf_cstr(const gr_strbuf *buffer);

#endif
