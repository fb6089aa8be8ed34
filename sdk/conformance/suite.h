// SPDX-License-Identifier: Apache-2.0
// suite.h: a conformance suite for backend plugins. Needs gregale/*.h, libc, pthread and the host's own
// checks of what plugins answer (host/internal.h).
//
// A case is a "rig": a segment of one or a few nodes with random values, a step, weights, perhaps a
// cache. The rig runs on the backend and through an oracle (oracle.c: scalar, F64, written apart
// from any backend), and the outputs are compared by the precision class that the backend declared.
// The arena is filled with NaN first, and every byte that no node may write must come back
// unchanged.
#ifndef GREGALE_CONFORMANCE_SUITE_H
#define GREGALE_CONFORMANCE_SUITE_H

#include <stdbool.h>
#include <stdio.h>

#include "gregale/backend.h"

// ---- random.c ----

typedef struct cf_random {
    uint64_t state;
    double spare; // cf_normal's; 0: none
} cf_random;

uint64_t cf_next(cf_random *random);
uint32_t cf_below(cf_random *random, uint32_t limit); // [0, limit), 0 when limit is 0
double cf_uniform(cf_random *random, double low, double high);
double cf_normal(cf_random *random);
double cf_laplace(cf_random *random); // standard deviation 1
uint64_t cf_hash(uint64_t seed, const char *text);

// ---- team.c: the host's services ----

// A host whose allocations are counted and can be made to fail.
typedef struct cf_host {
    gr_host table; // first: the services get its address
    gr_topology topology;
    uint64_t outstanding; // bytes not freed yet
    uint64_t allocations;
    uint64_t fail_at; // the allocation of that number fails; 0: none
    uint32_t tracing;
    uint32_t traced; // events received
    void (*on_log)(void *context, const char *line); // NULL: nobody listens
    void *log_context;
} cf_host;

void cf_host_init(cf_host *host);
gr_team *cf_team_create(uint32_t workers);
void cf_team_destroy(gr_team *team);

// ---- sdk/conformance/child.c ----

// Deliberate defects, planted in the oracle or the harness to show that the suite sees them.
typedef uint32_t cf_plant;
enum {
    CF_PLANT_NONE,
    CF_PLANT_WINDOW_PLUS,  // a key one too far is visible
    CF_PLANT_WINDOW_MINUS, // the farthest key is not
    CF_PLANT_LAST_K,       // matrix products lose the last element
    CF_PLANT_GQA,          // query heads read the next KV head
    CF_PLANT_PAIRING,      // rotary pairs of the other kind
    CF_PLANT_POSITION,     // rotary positions off by one
    CF_PLANT_SOFTCAP,      // no softcap
    CF_PLANT_BIAS,         // no bias
    CF_PLANT_EXPERT,       // the next expert's matrix
    CF_PLANT_NIBBLE,       // the nibbles of Q4_0 swapped
    CF_PLANT_EPS,          // no epsilon in the norm
    CF_PLANT_RESIDUAL,     // sums lose their first operand
    CF_PLANT_GATE,         // gate and up change places
    CF_PLANT_TIES,         // equal values by higher index
    CF_PLANT_MASK,         // mask bits shifted by one
    CF_PLANT_FUSION,       // one bit of a fused result changes
    CF_PLANT_GUARD,        // one byte beside an output changes
    CF_PLANT_UNWRITTEN,    // one output element is never written
    CF_PLANT_ROW_SCALE,    // activations of products in 8 bits with one scale a row, held to class Q8
    CF_PLANT_BLOCK_SCALE,  // the same with a scale per 32: no defect, the suite must allow it
    CF_PLANT_LIMIT
};
extern const char *const cf_plant_names[CF_PLANT_LIMIT];

// What a child process tells the runner.
typedef uint32_t cf_word;
enum {
    CF_LOADED,
    CF_UNLOADED, // why, in words
    CF_LISTED,
    CF_BEGAN,
    CF_FAILED,
    CF_SKIPPED,
    CF_ENDED,
    CF_CLOSED,
    CF_LOG,
    CF_NO_DEVICE // the wanted one, of those there are
};

// Which cases a child process runs. Cases are counted in the order in which they begin.
typedef struct cf_turn {
    int pipe;
    const uint8_t *wanted; // [cases]; NULL: none is run, all are listed
    uint32_t cases, first, left;
    uint32_t next;  // number of the next case
    uint32_t index; // of the one that runs
    uint32_t depth; // cases that have begun within it, itself included
    uint32_t level; // of the part whose cases begin
    uint32_t passes;
} cf_turn;

typedef struct cf_suite {
    const gr_backend *backend;
    void *library;
    const char *path, *device_wanted;
    const char *scratch; // a folder for files; removed by the runner
    gr_device *device;
    uint32_t ordinal;
    bool missing; // the plugin has devices, but none is `device_wanted`
    gr_device_facts facts;
    cf_host host;
    gr_team *teams[2]; // of 1 and of 3 workers
    gr_queue *queues[2];
    gr_fence *fence;
    uint64_t fence_value;
    const char *only_op; // NULL: all
    uint64_t seed;
    bool deep;
    bool same_bits; // fused and unfused must agree to the last one
    bool whole;     // composites are run whole alone
    cf_plant plant;
    double worst; // largest error of the case that runs, as a multiple of its tolerance
    cf_turn turn;
} cf_suite;

// Whether cases of this op are wanted.
bool cf_wanted(const cf_suite *suite, const char *op);
// Begins a case, or a part of the one that runs: true when it is to run; then cf_case_end ends it.
// Nothing may touch the backend outside.
bool cf_case_begin(cf_suite *suite, const char *name);
void cf_case_end(cf_suite *suite);
// Closes the device, unloads the plugin, loads and opens it again; false with the reason in `why`.
bool cf_suite_reload(cf_suite *suite, char *why, size_t capacity);
// Within a case. A case with a failure has failed; one with skips and no pass is skipped.
void cf_pass(cf_suite *suite, const char *name);
GR_PRINTF(3, 4) void cf_fail(cf_suite *suite, const char *name, const char *format, ...);
// `required`: a primitive, which a complete backend runs.
void cf_skip(cf_suite *suite, const char *name, bool required, const char *reason);

// ---- dtype.c ----

// Values of F64 out of `n` elements of any dtype.
void cf_decode(gr_dtype dtype, const void *source, uint64_t n, double *out, cf_plant plant);
// Random contents of `n` elements: any bits for the integers, scales of modest size.
void cf_fill(cf_random *random, gr_dtype dtype, void *target, uint64_t n);
// Rounds to F16 or BF16 (nearest, ties to even), or F32; the result as a number, and as bits.
double cf_round(gr_dtype dtype, double value);
uint16_t cf_half_bits(double value);

// ---- rig.c ----

#define CF_MAX_VALUES 64
#define CF_MAX_NODES 24
#define CF_MAX_ALLOCS 512
#define CF_MAX_SEQS 8
#define CF_MAX_REGIONS 32

// The cache of a rig: one pool, one layer of which the nodes use.
typedef struct cf_cache {
    gr_kv_desc desc;
    gr_kv *kv;
    uint32_t layer;  // within the pool
    uint32_t window; // only decides which pages exist
    // Positions below forks[0] are the same for all sequences, those below forks[1] also for the second
    // half of them: whole pages are shared, and the step says so. 0: none.
    uint32_t forks[2];
} cf_cache;

typedef struct cf_rig {
    cf_suite *suite;
    bool begun;
    char op[32];
    char name[192];
    cf_random random;
    gr_value values[CF_MAX_VALUES];
    uint32_t value_count;
    gr_node nodes[CF_MAX_NODES];
    uint32_t node_in[CF_MAX_NODES][14], node_out[CF_MAX_NODES][2];
    uint32_t node_count;
    gr_segment segment;
    void *data[CF_MAX_VALUES];    // weights; initial contents of input activations (step's sizes)
    double *exact[CF_MAX_VALUES]; // the oracle's result, NULL where none
    // Of products: sum of (x*w)^2 for each element, the energy it would have if its terms had
    // random signs. Errors are measured against it where terms cancel, which says nothing about the
    // arithmetic. Of sums, gates and products of these: what becomes of it. Else NULL.
    double *energy[CF_MAX_VALUES];
    bool written[CF_MAX_VALUES]; // an output of a node that runs, or of its subtree
    gr_weight *weights[CF_MAX_VALUES];
    uint32_t rows_max, seqs_max, outputs_max;
    gr_step step;
    gr_step_group groups[2];
    int32_t past[CF_MAX_SEQS]; // positions that each sequence had before the step
    gr_cache_layer cache_layer;
    cf_cache cache;
    uint8_t *kv_before; // the pool's bytes before the run
    uint64_t arena_bytes;
    uint8_t *before, *after; // arena images
    gr_precision precision;  // the loosest of the nodes that ran
    bool expect_refusal,
        refused;   // cf_rig_run notes an error in `refused` instead of failing the case
    bool special;  // values that are no ordinary numbers are among the inputs: judged row by row
    bool outliers; // class Q8 is then held to the limit of Q8_OUTLIERS
    double slack;  // times the class's limit, where errors of several nodes add up; 0: 1
    uint32_t again; // times that the program is run again before its outputs are looked at
    void *allocs[CF_MAX_ALLOCS];
    uint32_t alloc_count;
    struct {
        void *base;
        uint64_t bytes;
    } regions[CF_MAX_REGIONS]; // between guard pages
    uint32_t region_count;
} cf_rig;

// Begins a case; false when its op is not wanted. Sizes of the step; one sequence from position 0
// until cf_rig_sequences says otherwise; output rows are random.
bool cf_rig_begin(cf_rig *rig, cf_suite *suite, const char *op, const char *name, uint32_t rows,
                  uint32_t outputs);
// Lets the step be of `seqs` sequences, each with `rows[s]` rows after `past[s]` positions.
void cf_rig_sequences(cf_rig *rig, uint32_t seqs, const uint32_t *rows, const int32_t *past);
// Zeroed memory until the case ends, 64-byte aligned.
void *cf_rig_alloc(cf_rig *rig, uint64_t bytes);
// Memory between guard pages until the case ends: its last byte just before one, or its first `lead`
// bytes behind one. Sealing makes all regions of the rig read-only.
uint8_t *cf_rig_region(cf_rig *rig, uint64_t bytes, bool flush, uint32_t lead);
void cf_rig_regions_seal(cf_rig *rig);
void cf_rig_regions_free(cf_rig *rig);
// Values. CF_NONE stands for a dimension beyond the rank.
#define CF_NONE INT64_MIN
uint32_t cf_rig_value(cf_rig *rig, gr_dtype dtype, int64_t d0, int64_t d1);
uint32_t cf_rig_input(cf_rig *rig, int64_t d0, int64_t d1, double scale); // F32, random
uint32_t cf_rig_weight(cf_rig *rig, gr_dtype dtype, int64_t d0, int64_t d1, int64_t d2);
uint32_t cf_rig_field(cf_rig *rig, gr_step_field field, int64_t width);
uint32_t cf_rig_state(cf_rig *rig);
// Appends a node flagged RUN; `in` ends at `in_count`.
gr_node *cf_rig_node(cf_rig *rig, gr_op op, const void *attrs, uint32_t in_count,
                     const uint32_t *in, uint32_t out_count, const uint32_t *out);
// Makes the pool and page tables for the sequences: physical pages in random order, the first ones
// rolled away as the window allows, but for up to two more; every byte NaN except the past positions
// that a row of the step may see. rig->cache.forks says what the sequences share.
bool cf_rig_cache(cf_rig *rig, const gr_kv_desc *desc, uint32_t window);
// `count` positions of the cache, read in F32 through kv_read: [count][kv head][dim].
bool cf_rig_cache_read(cf_rig *rig, uint32_t seq, int64_t position, int64_t count, uint32_t part,
                       float *out);
bool cf_rig_cache_write(cf_rig *rig, uint32_t seq, int64_t position, uint32_t part,
                        const float *values);
// Copies one position between two rigs of one geometry, bit for bit.
bool cf_rig_cache_copy(cf_rig *from, uint32_t from_seq, cf_rig *to, uint32_t to_seq,
                       int64_t position, uint32_t part);
// Takes what the pool holds now as what it was before the run.
bool cf_rig_cache_snapshot(cf_rig *rig);
// Lets the pool hold again what it held before the run.
bool cf_rig_cache_restore(cf_rig *rig);
// Moves every position that the sequences hold to a pool with other pages, on a device of its own, and
// back. False when it is refused or a bit changed (said).
bool cf_rig_cache_move(cf_rig *rig);
// Whether position p of a sequence has a page; gives page and slot.
bool cf_rig_cache_slot(const cf_rig *rig, uint32_t seq, int64_t position, uint32_t *out_page,
                       uint32_t *out_slot);
// Elements of a value at the step's sizes, or at the bucket's.
uint64_t cf_rig_count(const cf_rig *rig, const gr_value *value, bool bucket);
// Runs the nodes on the backend, then the oracle, then compares every output. Ends the case.
void cf_rig_finish(cf_rig *rig);
// The parts of finish, for cases that compare in their own way. run: false when skipped or failed
// (said).
bool cf_rig_run(cf_rig *rig);
void cf_rig_end(cf_rig *rig);

// ---- chain.c ----

#define CF_CHAIN_ROWS 5
#define CF_CHAIN_WIDTH 64

// Program 0 computes b = a + x, program 1 a = b + x. Link i runs program i % 2.
typedef struct cf_chain {
    cf_suite *suite;
    gr_value values[3]; // a, b, x
    uint32_t in[2][2], out[2];
    gr_node nodes[2];
    gr_segment segments[2];
    gr_step step;
    int32_t positions[CF_CHAIN_ROWS], row_seq[CF_CHAIN_ROWS], seq_rows[2];
    gr_buffer *arena, *scratch[2];
    gr_program *programs[2];
    gr_fence *fence;
    float x[CF_CHAIN_ROWS * CF_CHAIN_WIDTH];
} cf_chain;

// Makes everything on `device`, with a = 0; false with a failure or a skip said. Unmake it in either case.
bool cf_chain_make(cf_chain *c, cf_suite *suite, gr_device *device, const char *name);
void cf_chain_unmake(cf_chain *c, gr_device *device);
gr_status cf_chain_compile(cf_chain *c, gr_device *device, uint32_t which, gr_program **out_program,
                           gr_program_info *out_info);
// Gives link `i` (from 0) to a queue; its signal is i + 1. `wait`: it waits for link i - 1 first.
gr_status cf_chain_give(cf_chain *c, gr_device *device, gr_queue *queue, uint64_t i, bool wait);
gr_status cf_chain_wait(cf_chain *c, gr_device *device, uint64_t links);
// Whether the last of `links` links gave links * x.
bool cf_chain_right(cf_chain *c, gr_device *device, uint64_t links);

// ---- oracle.c ----

// Computes rig->exact of every primitive node's outputs, in F64. False when an op is unknown to it.
bool cf_oracle(cf_rig *rig);

// ---- gguf.c ----

// The bytes of a tensor of that dtype in a GGUF v3 file held in memory; NULL when it is not there
// whole.
const void *cf_gguf_array(const uint8_t *data, uint64_t size, const char *name, gr_dtype dtype,
                          uint64_t *out_count);

// ---- compare.c ----

// Compares one output with the oracle; true when it is right, else says why in `why`.
bool cf_compare(cf_rig *rig, uint32_t value, char *why, size_t capacity);
double cf_limit(gr_precision precision);
double cf_rig_limit(const cf_rig *rig);
// True when every byte outside the outputs is as before.
bool cf_guards(cf_rig *rig, char *why, size_t capacity);
// True when KV_WRITE changed exactly the step's positions of its layer, to the given values.
bool cf_cache_check(cf_rig *rig, char *why, size_t capacity);

// ---- case_*.c: the cases ----

void cf_cases_table(cf_suite *suite);    // the descriptor, devices
void cf_cases_memory(cf_suite *suite);   // buffers, weights, fences, hostile descriptions
void cf_cases_cache(cf_suite *suite);    // pools
void cf_cases_programs(cf_suite *suite); // compile and submit refuse what they must
void cf_cases_model(cf_suite *suite);    // whole small models, by the engine
void cf_cases_moves(cf_suite *suite);    // caches that move, pages used again
void cf_cases_sessions(cf_suite *suite); // sessions that move, fail over, are cancelled
void cf_cases_live(cf_suite *suite);     // beside and after other work
void cf_cases_versions(cf_suite *suite); // structs of newer and older hosts
void cf_cases_golden(cf_suite *suite);   // dtypes against the gguf package
void cf_cases_steps(cf_suite *suite);    // step blocks that lie: the reference refuses them
void cf_cases_matmul(cf_suite *suite);
void cf_cases_rows(cf_suite *suite);       // EMBED, GATHER_ROWS, MASK_BITS, TOPK, CAST, COPY
void cf_cases_pointwise(cf_suite *suite);  // RMS_NORM, ROPE, GLU, ADD, MUL, SCALE, SOFTMAX
void cf_cases_attention(cf_suite *suite);  // KV_WRITE, ATTENTION
void cf_cases_blocks(cf_suite *suite);     // composites, whole and decomposed
void cf_cases_invariance(cf_suite *suite); // same bits in any batch, where declared
void cf_cases_values(cf_suite *suite);     // NaN, infinities, very large and very small numbers

// Row counts that every op is tried with.
#define CF_ROW_COUNTS 7
extern const uint32_t cf_row_counts[CF_ROW_COUNTS];
// The dtypes a weight may have.
#define CF_WEIGHT_DTYPES 15
extern const gr_dtype cf_weight_dtypes[CF_WEIGHT_DTYPES];

#endif
