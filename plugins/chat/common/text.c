// SPDX-License-Identifier: Apache-2.0
#include "plugins/chat/common/text.h"

#include <stdlib.h>
#include <string.h>

void gr_chat_text_add(gr_chat_text *text, const char *bytes, size_t size) {
    if (text->failed || !size)
        return;
    if (size > text->capacity - text->size) {
        size_t capacity = size > SIZE_MAX / 2 - text->size ? 0 : (text->size + size) * 2;
        char *data = capacity ? realloc(text->data, capacity) : NULL;
        if (!data) {
            text->failed = true;
            return;
        }
        text->data = data;
        text->capacity = capacity;
    }
    memcpy(text->data + text->size, bytes, size);
    text->size += size;
}

void gr_chat_text_puts(gr_chat_text *text, const char *string) {
    gr_chat_text_add(text, string, strlen(string));
}

void gr_chat_text_deinit(gr_chat_text *text) {
    free(text->data);
    *text = (gr_chat_text){0};
}
