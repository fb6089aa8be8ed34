// SPDX-License-Identifier: Apache-2.0
// json.h: reads JSON and writes it the one way that chat formats were trained on: as Python's
// json.dumps(json.loads(text), ensure_ascii=False) does. For the chat formats. One thread a
// document.
//
// That is: ", " and ": " between things; members in their order, the last of duplicates at the
// place of the first; integers digit for digit at any size; other numbers as doubles in the fewest
// digits that read back the same. General JSON libraries keep none of the last three.
#ifndef GREGALE_CHAT_JSON_H
#define GREGALE_CHAT_JSON_H

#include "plugins/chat/common/text.h"

typedef enum gr_json_kind {
    GR_JSON_LITERAL, // null, true, false and numbers: `text` is how it is written
    GR_JSON_STRING,  // `text` is what it means
    GR_JSON_ARRAY,
    GR_JSON_OBJECT
} gr_json_kind;

// A value in the tree. `key` is that of an object's member.
typedef struct gr_json {
    gr_json_kind kind;
    gr_str key, text;
    struct gr_json *first, *next; // first child; next sibling
    size_t count;                 // children
} gr_json;

typedef struct gr_json_document {
    const gr_json *root; // NULL: the text was not JSON
    struct gr_json_block *blocks;
} gr_json_document;

// Reads `text` whole. What is not JSON (RFC 8259, plus Python's NaN and Infinity; UTF-8; nested at
// most 500 deep) leaves `root` NULL and is no failure; OUT_OF_MEMORY is. The caller deinits it in
// either case.
gr_status gr_json_read(gr_str text, gr_json_document *out_document);
void gr_json_deinit(gr_json_document *document);
// The member called `key`, or NULL.
const gr_json *gr_json_member(const gr_json *object, const char *key);

void gr_json_write(gr_chat_text *text, const gr_json *value);
void gr_json_write_string(gr_chat_text *text, gr_str string);

#endif
