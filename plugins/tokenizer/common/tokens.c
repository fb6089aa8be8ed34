// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "gregale/linked/tokenizer.h"

static gr_status reserve(gr_tokens *tokens, size_t more) {
    if (more <= tokens->capacity - tokens->count)
        return GR_OK;
    if (more > SIZE_MAX / sizeof *tokens->data - tokens->count)
        return GR_ERROR_OUT_OF_MEMORY;
    size_t capacity = tokens->count + more;
    if (capacity < 64)
        capacity = 64;
    if (capacity < tokens->capacity + tokens->capacity / 2)
        capacity = tokens->capacity + tokens->capacity / 2;
    if (capacity > SIZE_MAX / sizeof *tokens->data)
        return GR_ERROR_OUT_OF_MEMORY;
    gr_token *data = realloc(tokens->data, capacity * sizeof *data);
    if (!data)
        return GR_ERROR_OUT_OF_MEMORY;
    tokens->data = data;
    tokens->capacity = capacity;
    return GR_OK;
}

gr_status gr_tokens_push(gr_tokens *tokens, gr_token token) {
    if (tokens->count == tokens->capacity) {
        gr_status status = reserve(tokens, 1);
        if (status)
            return status;
    }
    tokens->data[tokens->count++] = token;
    return GR_OK;
}

gr_status gr_tokens_append(gr_tokens *tokens, const gr_token *data, size_t count) {
    gr_status status = reserve(tokens, count);
    if (status)
        return status;
    if (count)
        memcpy(tokens->data + tokens->count, data, count * sizeof *data);
    tokens->count += count;
    return GR_OK;
}

void gr_tokens_deinit(gr_tokens *tokens) {
    free(tokens->data);
    *tokens = (gr_tokens){0};
}
