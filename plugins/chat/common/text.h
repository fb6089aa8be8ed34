// SPDX-License-Identifier: Apache-2.0
// text.h: text that grows, for the chat formats. One thread a text.
#ifndef GREGALE_CHAT_TEXT_H
#define GREGALE_CHAT_TEXT_H

#include <stdbool.h>

#include "gregale/status.h"

// All zero is empty. After running out of memory `failed` is set and further calls do nothing.
typedef struct gr_chat_text {
    char *data;
    size_t size, capacity;
    bool failed;
} gr_chat_text;

void gr_chat_text_add(gr_chat_text *text, const char *bytes, size_t size);
void gr_chat_text_puts(gr_chat_text *text, const char *string);
void gr_chat_text_deinit(gr_chat_text *text);
static inline gr_str gr_chat_text_str(const gr_chat_text *text) {
    return (gr_str){text->data, text->size};
}

#endif
