// SPDX-License-Identifier: Apache-2.0
// conformance.h: judging a backend plugin, for `gregale backend test`. One thread; it forks, so the
// process should have no other.
//
// Every case runs in a child process that loads the plugin, opens the device and runs that case
// alone: one that crashes or hangs costs its own verdict and nothing more. Random values depend on
// the seed and the case's name only, so that a case can be repeated alone.
#ifndef GREGALE_CONFORMANCE_H
#define GREGALE_CONFORMANCE_H

#include <stdbool.h>

#include "gregale/status.h"

// What is judged.
enum {
    GR_LEVEL_ABI = 1,   // the descriptor, memory, pools, programs; hostile arguments; versions
    GR_LEVEL_OPS = 2,   // every op against the F64 oracle; the same bits in any batch
    GR_LEVEL_MODEL = 4, // whole small models
    GR_LEVEL_LIVE = 8,  // beside and after other work: threads, moves, rounds of loading
    GR_LEVEL_ALL = 15
};
// "abi", "ops"...; NULL when there is no such level.
const char *gr_level_name(uint32_t level);

typedef enum gr_verdict {
    GR_VERDICT_PASS,
    GR_VERDICT_FAIL,
    GR_VERDICT_SKIP,       // the backend said NO, with a reason
    GR_VERDICT_CRASH,      // the child process died
    GR_VERDICT_HANG,       // it ran out of time
    GR_VERDICT_KNOWN,      // failed, crashed or hung, as the list of known failures says
    GR_VERDICT_UNEXPECTED, // passed, though it is on that list
    GR_VERDICT_COUNT
} gr_verdict;
const char *gr_verdict_name(gr_verdict verdict); // "pass", "fail", ... "unexpected pass"

typedef struct gr_conformance_case {
    const char *name;
    uint32_t level;
    gr_verdict verdict;
    const char *message; // what was expected and found; why it was skipped; how the child died
    bool primitive;      // a skip concerns a primitive, which a complete backend runs
    double worst;        // largest error as a multiple of what the precision class allows
    double seconds;
} gr_conformance_case;

typedef struct gr_conformance_options {
    const char *plugin;
    const char *device; // name or number; NULL: the first
    uint32_t levels;    // GR_LEVEL_ bits; 0: all
    const char *op;     // only the cases of this op or part; NULL: all
    const char *only;   // only cases whose name holds this; NULL: all
    const char *plant;  // a defect to plant in the oracle; NULL: none
    const char *const
        *known; // names of cases that are known to fail, or their beginnings with a '*'
    uint32_t known_count;
    uint64_t seed;
    uint32_t batch;     // cases a child runs; 0: one
    uint32_t timeout_s; // of a case; 0: 60
    bool deep;          // more and larger cases
    bool same_bits;     // fused composites must give the bits of their parts
    bool whole;         // composites are not tried part by part
    // Called once the device is open, and for every case in order. Strings are borrowed for the call.
    void (*on_device)(void *context, const char *backend, const char *device,
                      const char *description, uint32_t cases);
    void (*on_case)(void *context, const gr_conformance_case *result);
    void (*on_log)(void *context, const char *line); // what the plugin says; may be NULL
    void *context;
} gr_conformance_options;

typedef struct gr_conformance_tally {
    uint32_t counts[GR_VERDICT_COUNT];
    uint32_t primitive_skips;
    // Cases at levels ops and model, which need nodes that the device takes: none passed means that it claims nothing.
    uint32_t nodes_passed;
    bool nodes_judged;
    double worst;
} gr_conformance_tally;

// Judges a plugin. A plugin that cannot be loaded, or has no device, is a failed case called LOAD.
// INVALID_ARGUMENT: no such defect to plant. NOT_FOUND: no device or no case is called so.
gr_status gr_conformance_run(const gr_conformance_options *options, gr_conformance_tally *out_tally,
                             gr_error *error);
// Whether nothing is wrong: no failure, crash, hang or unexpected pass, and something was claimed.
bool gr_conformance_good(const gr_conformance_tally *tally);

#endif
