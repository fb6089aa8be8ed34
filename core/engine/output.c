// SPDX-License-Identifier: Apache-2.0
#include "engine/output.h"

#include <string.h>

#include "base/utf8.h"

// Moves `count` pending bytes to the text; what is not UTF-8 becomes U+FFFD.
static void settle(gr_request *request, size_t count) {
    size_t at = 0;
    while (at < count) {
        uint32_t code_point;
        int length = gr_utf8_decode(request->pending.data + at, request->pending.size - at, &code_point);
        if (length > 0)
            gr_strbuf_add(&request->text, request->pending.data + at, (size_t)length);
        else
            gr_strbuf_text(&request->text, "\xEF\xBF\xBD");
        at += length > 0 ? (size_t)length : length < 0 ? count - at : 1;
    }
    memmove(request->pending.data, request->pending.data + count, request->pending.size - count);
    request->pending.size -= count;
}

// Where the first of `strings` begins that lies in text[from, size); size when none does.
static size_t first_of(const gr_request *request, char **strings, size_t from) {
    size_t best = request->text.size;
    for (char **string = strings; string && *string; string++) {
        size_t length = strlen(*string);
        char *found = length && request->text.size - from >= length
                          ? memmem(request->text.data + from, request->text.size - from, *string, length)
                          : NULL;
        if (found && (size_t)(found - request->text.data) < best)
            best = (size_t)(found - request->text.data);
    }
    return best;
}

// Length of the longest end of text[0, size) that begins one of `strings`.
static size_t held_back(const gr_request *request, char **strings, size_t size) {
    size_t held = 0;
    for (char **string = strings; string && *string; string++) {
        size_t length = strlen(*string);
        for (size_t n = length ? length - 1 : 0; n > held; n--)
            if (n <= size && memcmp(request->text.data + size - n, *string, n) == 0)
                held = n;
    }
    return held;
}

static void stop_at(gr_request *request, size_t at) {
    request->text.size = at;
    request->text.data[at] = '\0';
    gr_strbuf_clear(&request->pending);
    request->shown = at;
}

size_t gr_output_token(const gr_request *request, size_t count, size_t at) {
    size_t index = count - 1;
    for (const gr_place *place = &request->places[index];
         index && (place->text > at || (place->text == at && place->pending_bytes)); place--)
        index--;
    return index;
}

gr_place gr_output_place(const gr_request *request) {
    gr_place place = {.text = request->text.size, .healed = request->healed};
    const size_t most = sizeof place.pending, pending = request->pending.size;
    place.pending_bytes = (uint8_t)(pending < most ? pending : most); // more would be a whole character
    if (place.pending_bytes)
        memcpy(place.pending, request->pending.data, place.pending_bytes);
    return place;
}

void gr_output_go_back(gr_request *request, const gr_place *place) {
    request->text.size = place->text;
    if (request->text.data)
        request->text.data[place->text] = '\0';
    request->healed = place->healed;
    gr_strbuf_clear(&request->pending);
    gr_strbuf_add(&request->pending, place->pending, place->pending_bytes);
    request->shown = request->shown < place->text ? request->shown : place->text;
    request->read = request->read < request->shown ? request->read : request->shown;
}

// The text that stays whatever comes. Whole tokens are taken back, so it then ends before them: perhaps within a
// character, which may become another, perhaps again with the beginning of a banned string.
static size_t lasting(const gr_request *request) {
    size_t count = request->tokens.count, end = request->text.size, open = request->pending.size, bans = 0;
    while (request->banned[0] && count && (open || (bans = held_back(request, request->banned, end)))) {
        count = gr_output_token(request, count, open ? end : end - bans);
        end = request->places[count].text;
        open = request->places[count].pending_bytes;
    }
    return end;
}

gr_output gr_output_add(gr_request *request, const char *bytes, size_t count, size_t *out_at) {
    size_t from = request->shown;
    gr_strbuf_add(&request->pending, bytes, count);
    if (!request->pending.size)
        return GR_OUTPUT_GOES_ON;
    settle(request, gr_utf8_complete(request->pending.data, request->pending.size));
    size_t stop = first_of(request, request->stop, from), banned = first_of(request, request->banned, from);
    *out_at = banned;
    if (banned < stop)
        return GR_OUTPUT_BANNED;
    if (stop < request->text.size) {
        stop_at(request, stop);
        return GR_OUTPUT_STOPPED;
    }
    size_t whole = request->text.size - held_back(request, request->stop, request->text.size), stays = lasting(request);
    request->shown = whole < stays ? whole : stays;
    return GR_OUTPUT_GOES_ON;
}

void gr_output_end(gr_request *request) {
    if (request->pending.size)
        settle(request, request->pending.size);
    request->shown = request->text.size;
}
