// SPDX-License-Identifier: Apache-2.0
// record.h: what a script's run depended on and what came of it, told as it happens, and compared with an earlier
// run. docs/replay.md has the file's format. One record a state, in the state's thread.
#ifndef GREGALE_SCRIPT_RECORD_H
#define GREGALE_SCRIPT_RECORD_H

#include "script/script.h"

// Models, answers and choices are numbered from 1 in the order in which they begin.
typedef enum gr_recorded_kind { GR_RECORDED_NONE, GR_RECORDED_MODEL, GR_RECORDED_ANSWER, GR_RECORDED_CHOICE } gr_recorded_kind;

typedef struct gr_recorded {
    gr_recorded_kind kind;
    uint64_t seed;          // of an answer
    uint64_t prompt_tokens; // in front of it
    uint64_t hash;          // of those; of a model, the beginning of its fingerprint
    int32_t *tokens;        // of the answer; of a choice, the option's number
    size_t count;
    bool timed;             // a time limit ended it, which is no part of what is compared
} gr_recorded;

typedef struct gr_record {
    // Set by the caller.
    void (*add)(void *context, const char *line); // gets JSON objects, without a line end; NULL: nobody does
    void *context;
    uint64_t random_seed;         // of math.random
    const char *device;           // in place of those the script names; NULL: as it says
    const gr_recorded *expected;  // [expected_count], by number; NULL: nothing is compared
    size_t expected_count;
    // What came of it.
    uint64_t begun, compared, compared_tokens;
    bool diverged;                // the script was interrupted then
    char divergence[400];         // the first, in words
} gr_record;

// Records from now on; seeds math.random. Before the script runs; the record outlives the state.
void gr_script_set_record(gr_script *script, gr_record *record);
// Once the script has ended: whether it did all that was expected is seen now.
void gr_record_finish(gr_record *record);

#endif
