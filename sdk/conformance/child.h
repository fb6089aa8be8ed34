// SPDX-License-Identifier: Apache-2.0
// child.h: what the runner and its child processes say to each other. Inside the suite.
#ifndef GREGALE_CONFORMANCE_CHILD_H
#define GREGALE_CONFORMANCE_CHILD_H

#include "conformance.h"
#include "suite.h"

// A message is written whole by one call: it is shorter than PIPE_BUF.
typedef struct cf_message {
    cf_word word;
    uint32_t index;  // of the case
    uint32_t number; // LISTED: its level; SKIPPED: 1 for a primitive; ENDED: checks passed
    uint32_t reserved;
    double worst;
    uint64_t bytes; // CLOSED: host memory that was not given back
    char text[472];
} cf_message;

// What a child is to do.
typedef struct cf_order {
    const gr_conformance_options *options;
    const uint8_t *wanted;        // [cases]; NULL: list the cases
    const char *scratch;          // a folder for files
    uint32_t cases, first, limit; // runs at most `limit` of the wanted ones, from `first` on
} cf_order;

// Runs in the child: loads, opens, does what the order says, closes; leaves by exit.
_Noreturn void cf_child_main(const cf_order *order, int pipe);
// Whether there is such a defect to plant.
bool cf_plant_find(const char *name, cf_plant *out_plant);

#endif
