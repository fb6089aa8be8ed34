// SPDX-License-Identifier: Apache-2.0
// split.h: which devices a model is asked to run on, and how many of its layers on each. Inside the engine
// room.
#ifndef GREGALE_ENGINE_SPLIT_H
#define GREGALE_ENGINE_SPLIT_H

#include "engine/internal.h"

enum { GR_MAX_SPLIT = 4 };

typedef struct gr_split {
    uint32_t count;
    uint32_t devices[GR_MAX_SPLIT]; // of the registry, in the order of layers
    uint32_t layers[GR_MAX_SPLIT];
} gr_split;

// Reads a specification: NULL or "auto", the best device; "NAME", that one; "NAME:20,OTHER:12", so many layers
// each, where one of them may leave its number out and gets the rest; "split", as many layers on each device,
// best first, as its free memory holds, with a cache of the default context. An error says what is wrong.
gr_status gr_split_parse(const gr_model *model, const char *spec, gr_split *out_split, gr_error *error);
// Adds what it came to: "cpu", "cpu:20,far:12".
void gr_split_describe(const gr_model *model, const gr_split *split, gr_strbuf *text);

#endif
