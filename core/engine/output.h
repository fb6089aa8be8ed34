// SPDX-License-Identifier: Apache-2.0
// output.h: the text of an answer as it grows: whole UTF-8, nothing of a stop string. Inside the engine.
#ifndef GREGALE_ENGINE_OUTPUT_H
#define GREGALE_ENGINE_OUTPUT_H

#include "engine/internal.h"

// Adds a token's bytes. STOPPED: a stop string is complete, and the text ends before it. BANNED: a banned one
// is, and begins at byte *out_at of the text, none of which has been shown from there on.
gr_output gr_output_add(gr_request *request, const char *bytes, size_t count, size_t *out_at);
// Of the answer's first `count` tokens the one in which the character at byte `at` of the text begins.
size_t gr_output_token(const gr_request *request, size_t count, size_t at);
// Where the text stands now.
gr_place gr_output_place(const gr_request *request);
// Takes the text back to where it stood.
void gr_output_go_back(gr_request *request, const gr_place *place);
// Nothing more will come: what was held back may be shown; a broken tail becomes U+FFFD.
void gr_output_end(gr_request *request);

#endif
