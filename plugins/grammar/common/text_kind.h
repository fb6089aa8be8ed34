// SPDX-License-Identifier: Apache-2.0
// text_kind.h: kinds of text that whole subtrees of a vocabulary are of, and that grammars often
// allow as a whole. Inside plugins/grammar/common.
//
// Each kind lies within the next: letters and digits; with spaces; with all of printable ASCII but
// the quotation mark and the backslash, which end or change strings; with all characters beyond
// ASCII, as UTF-8, of which the last may be cut off.
#ifndef GREGALE_GRAMMAR_TEXT_KIND_H
#define GREGALE_GRAMMAR_TEXT_KIND_H

#include <stdbool.h>
#include <stdint.h>

typedef uint32_t gr_text_kind;
enum { GR_TEXT_WORD, GR_TEXT_WORDS, GR_TEXT_ASCII, GR_TEXT_UTF8, GR_TEXT_OTHER };
enum { GR_TEXT_KINDS = GR_TEXT_OTHER };

// What is left of a character: NONE, or which bytes may come next.
typedef uint32_t gr_text_rest;
enum { GR_REST_NONE, GR_REST_1, GR_REST_2, GR_REST_3, GR_REST_E0, GR_REST_ED, GR_REST_F0, GR_REST_F4,
       GR_REST_WRONG };
enum { GR_REST_COUNT = GR_REST_WRONG };

// Behind `byte`: WRONG where a text of the kind does not go on so.
gr_text_rest gr_text_step(gr_text_kind kind, gr_text_rest rest, uint8_t byte);

#endif
