// SPDX-License-Identifier: Apache-2.0
#include "engine/output.h"

#include <string.h>

#include "base/utf8.h"

// Moves `count` pending bytes to the text; what is not UTF-8 becomes U+FFFD.
static void settle(gr_request *request, size_t count) {
    size_t at = 0;
    while (at < count) {
        uint32_t code_point;
        int length = gr_utf8_decode(request->pending.data + at, count - at, &code_point);
        if (length > 0)
            gr_strbuf_add(&request->text, request->pending.data + at, (size_t)length);
        else
            gr_strbuf_text(&request->text, "\xEF\xBF\xBD");
        at += length > 0 ? (size_t)length : length < 0 ? count - at : 1;
    }
    memmove(request->pending.data, request->pending.data + count, request->pending.size - count);
    request->pending.size -= count;
}

// Cuts the text at the first stop string that lies in text[from, size); true when there is one.
static bool cut_at_stop(gr_request *request, size_t from) {
    size_t best = request->text.size;
    for (char **stop = request->stop; stop && *stop; stop++) {
        size_t length = strlen(*stop);
        char *found = length && request->text.size - from >= length
                          ? memmem(request->text.data + from, request->text.size - from, *stop, length)
                          : NULL;
        if (found && (size_t)(found - request->text.data) < best)
            best = (size_t)(found - request->text.data);
    }
    if (best == request->text.size)
        return false;
    request->text.size = best;
    request->text.data[best] = '\0';
    return true;
}

// Length of the longest end of the text that begins a stop string.
static size_t held_back(const gr_request *request) {
    size_t held = 0;
    for (char **stop = request->stop; stop && *stop; stop++) {
        size_t length = strlen(*stop);
        for (size_t n = length ? length - 1 : 0; n > held; n--)
            if (n <= request->text.size && memcmp(request->text.data + request->text.size - n, *stop, n) == 0)
                held = n;
    }
    return held;
}

bool gr_output_add(gr_request *request, const char *bytes, size_t count) {
    size_t from = request->shown;
    gr_strbuf_add(&request->pending, bytes, count);
    if (!request->pending.size)
        return false;
    settle(request, gr_utf8_complete(request->pending.data, request->pending.size));
    if (request->text.size && cut_at_stop(request, from)) {
        gr_strbuf_clear(&request->pending);
        request->shown = request->text.size;
        return true;
    }
    request->shown = request->text.size - held_back(request);
    return false;
}

void gr_output_end(gr_request *request) {
    if (request->pending.size)
        settle(request, request->pending.size);
    request->shown = request->text.size;
}
