// SPDX-License-Identifier: Apache-2.0
// output.h: the text of an answer as it grows: whole UTF-8, nothing of a stop string. Inside the engine.
#ifndef GREGALE_ENGINE_OUTPUT_H
#define GREGALE_ENGINE_OUTPUT_H

#include "engine/internal.h"

// Adds a token's bytes. Returns true when a stop string is complete: the text then ends before it.
bool gr_output_add(gr_request *request, const char *bytes, size_t count);
// Nothing more will come: what was held back may be shown; a broken tail becomes U+FFFD.
void gr_output_end(gr_request *request);

#endif
