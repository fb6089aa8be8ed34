// SPDX-License-Identifier: Apache-2.0
// cpu.h: the inside of the cpu backend: its objects, and how a program is built and run.
//
// How it works. open picks one function for each kernel of kernels/kernels.h. program_compile
// checks every node that runs, binds its operands to addresses and appends calls to a list; where
// two calls depend on each other, the first is marked to end in a barrier. submit checks the step
// block against every call, then enters the team once: each worker walks the list and takes its
// share of each call. Nothing is allocated in submit. One output element is always computed by one
// worker, in one order of additions that depends on neither the number of rows nor of workers.
#ifndef GREGALE_BACKENDS_CPU_H
#define GREGALE_BACKENDS_CPU_H

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "gregale/sdk/rows.h"
#include "gregale/sdk/structs.h"
#include "kernels/kernels.h"

#define CPU_MAX_IN 7
#define CPU_MAX_OUT 2
#define CPU_MAX_PARTS 8 // of a composite
#define CPU_ORIGIN "cpu"

typedef struct cpu_onednn cpu_onednn; // onednn/onednn.h

struct gr_device {
    const gr_host *host; // borrowed until close
    cpu_kernels kernels;
    bool deterministic; // GR_HOST_DETERMINISTIC: oneDNN is left alone
    pthread_mutex_t onednn_lock;
    bool onednn_tried;
    cpu_onednn *onednn; // opened when a program first wants it; NULL when absent
};

struct gr_buffer {
    uint8_t *data; // NULL only when bytes is 0
    uint64_t bytes;
    bool owned;
};

// Panels of 16 rows, packed (kernels/unpack.h) by the workers that read them, a part in each step.
typedef struct cpu_pack {
    uint8_t *data; // memory.c
    uint64_t bytes, panel_bytes, panels;
    _Atomic bool spread;     // over NUMA nodes
    _Atomic uint64_t packed; // panels
    _Atomic uint8_t state[]; // of a panel: 0, 1 while a worker packs it, 2 packed
} cpu_pack;

struct gr_weight {
    cpu_pack *pack; // NULL: never packed
    const uint8_t *data; // the model file's bytes, or `copy`
    uint8_t *copy;       // own memory when the source was not aligned for its type, else NULL
    uint64_t bytes;
    uint64_t row_bytes; // of the last dimension
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK];
};

// page.c says how a page is laid out.
struct gr_kv {
    uint8_t *data; // mmap: pages that were never written take no memory
    uint64_t mapped_bytes;
    uint64_t page_bytes, layer_bytes;
    uint64_t part_bytes[2]; // K, V of one layer in a page
    uint64_t slab_bytes[2]; // of one head
    uint64_t head_bytes[2]; // of one head of one position, in canonical form
    uint32_t dim[2];
    uint32_t layers, page_tokens, kv_heads, pages;
    gr_dtype dtype;
};

struct gr_fence {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t value;
};

// Neighbours in number that share a cache (queue.c).
typedef struct cpu_group {
    uint32_t first, count;
    uint32_t numa_node, l3_group;
} cpu_group;
#define CPU_GROUP_WORKERS 8

typedef struct cpu_ticket {
    _Alignas(64) _Atomic uint64_t next; // unit, below the stamp of the call that it belongs to
} cpu_ticket;
#define CPU_TICKETS 32 // most calls between two barriers

struct gr_queue {
    gr_team *team; // borrowed; NULL: the calling thread works alone
    uint32_t workers, group_count; // groups are found in the first run
    uint32_t stamp;                // of the next call
    cpu_group *groups;             // room for one a worker
    cpu_ticket *tickets;           // [CPU_TICKETS][groups]
};

typedef union cpu_attrs {
    gr_attrs_none none;
    gr_attrs_norm norm;
    gr_attrs_rope rope;
    gr_attrs_attention attention;
    gr_attrs_glu glu;
    gr_attrs_scale scale;
    gr_attrs_topk topk;
    gr_attrs_cast cast;
    gr_attrs_block block; // of a MATMUL in a composite: eps, activation
    struct {
        gr_attrs_attention attention;
        gr_attrs_rope rope;
    } write; // of a KV_WRITE in a composite
} cpu_attrs;

// A value that only the parts of one composite share: in the shared scratch, at `offset`. `index`
// tells it from the composite's others.
#define CPU_VALUE_INNER ((gr_value_kind)100)

// A node as read from a segment: copies, with what a shorter struct lacks set to zero; or a part of
// a composite, a primitive that may have operands which no segment gives it.
typedef struct cpu_node {
    gr_op op;
    uint32_t in_count, out_count;
    int32_t layer;
    bool has_in[CPU_MAX_IN];
    gr_value in[CPU_MAX_IN];
    gr_value out[CPU_MAX_OUT];
    cpu_attrs attrs;
} cpu_node;

// What a node of a segment is run as: itself, or the parts of a composite in order.
typedef struct cpu_parts {
    uint32_t count;
    cpu_node nodes[CPU_MAX_PARTS];
} cpu_parts;

struct cpu_call;
struct cpu_task;
struct cpu_run;
struct cpu_builder;

typedef void (*cpu_call_function)(const struct cpu_call *call, const struct cpu_task *task);

// A node bound to addresses, or a helper of the node that follows it.
typedef struct cpu_call {
    cpu_call_function run;
    const struct cpu_op *op;    // NULL for helpers, which leave no trace event of their own
    const cpu_kernels *kernels; // the device's
    char implementation[32];    // for traces
    cpu_node node;
    uint8_t *in[CPU_MAX_IN]; // NULL for absent, STEP and STATE operands; INNER ones: until submit
    uint8_t *out[CPU_MAX_OUT];
    const gr_weight *weight[CPU_MAX_IN];
    gr_kv *kv;
    uint32_t kv_layer, kv_group;
    bool barrier;              // others may only start the next call when all have done this one
    uint64_t scratch;          // offset of what it uses in the shared scratch
    bool own;                  // the form it reads or makes is in each worker's own scratch
    _Atomic uint64_t *counter; // set to zero before each step
    uint32_t ticket;           // its place since the last barrier
    const void *onednn;        // ops/matmul_onednn.c's plan, or NULL
} cpu_call;

// Something a call needs for as long as its program lives.
typedef struct cpu_kept {
    struct cpu_kept *next;
    uint64_t bytes; // of this allocation
} cpu_kept;

struct gr_program {
    const gr_step *step; // borrowed; read anew by every submit
    uint32_t rows_max, seqs_max, outputs_max;
    uint32_t threads;
    uint64_t scratch_shared;
    uint64_t scratch_form, scratch_work; // of each thread: its own form, and what a call needs
    const uint8_t *bound;                // the scratch that INNER operands point to
    uint32_t call_count, call_capacity;
    cpu_call *calls;
    _Atomic uint64_t *counters; // one a call
    uint64_t usual_ns;          // what the last step took, packing apart; 0: none has run
    cpu_kept *kept;
};

// One submit in progress.
typedef struct cpu_run {
    const gr_host *host;
    gr_program *program;
    gr_step step;     // a copy, with what a shorter struct lacks set to zero
    uint8_t *scratch; // shared part first
    const gr_queue *queue;
    uint32_t stamp;     // of the first call
    uint64_t pack_ns;   // each worker may spend on packing
    uint64_t packed_ns; // worker 0 has spent
    bool alone;         // no team: no barriers
    bool trace;
} cpu_run;

// One worker's part in a run.
typedef struct cpu_task {
    const cpu_run *run;
    const gr_worker *worker;
    uint32_t id, count; // id >= count: this worker only keeps the barriers
    uint32_t group;     // of the queue
    uint64_t *pack_ns;  // left to spend on packing
    uint8_t *form;      // its own, 64-byte aligned: for a form that calls share
    uint8_t *scratch;   // and for the call in progress
} cpu_task;

// What an op must say for itself.
typedef struct cpu_op {
    gr_op op;
    const char *name;
    uint32_t attrs_bytes;
    // NULL when the node can run, else why not (a constant string). Shapes, dtypes, attributes.
    const char *(*check)(const cpu_node *node);
    // How well, for a node that passed check; NULL: native, F32.
    void (*support)(const gr_device *device, const cpu_node *node, gr_support *support);
    // Appends the calls of a bound node; NULL: one call of `run`.
    gr_status (*emit)(struct cpu_builder *builder, const cpu_call *bound, gr_error *error);
    // Checks the step block for this call before anything runs; NULL: nothing to check.
    gr_status (*admit)(const cpu_call *call, const cpu_run *run, gr_error *error);
    cpu_call_function run;
    // Operations of one step and extra bytes read (weights used, cache), for traces; NULL: one an
    // element.
    void (*cost)(const cpu_call *call, const cpu_run *run, gr_trace_event *event);
} cpu_op;

extern const cpu_op cpu_op_embed, cpu_op_rms_norm, cpu_op_matmul, cpu_op_rope, cpu_op_kv_write,
    cpu_op_attention, cpu_op_glu, cpu_op_add, cpu_op_mul, cpu_op_scale, cpu_op_softmax,
    cpu_op_gather_rows, cpu_op_mask_bits, cpu_op_topk, cpu_op_cast, cpu_op_copy;

// ---- node.c, shape.c: reading segments ----

const cpu_op *cpu_op_find(gr_op op);
// Reads node `index` with its values and attributes into parts, all checked. Returns NULL, or why
// it cannot be run.
const char *cpu_node_read(const gr_segment *segment, uint32_t index, cpu_parts *out_parts);
bool cpu_segment_ok(const gr_segment *segment);
// Copies attributes to `out_attrs` of `bytes` bytes. Returns NULL, or what is wrong with them.
const char *cpu_attrs_read(const void *attrs, size_t bytes, void *out_attrs);

// ---- composite.c: composites as parts ----

#define CPU_COMPOSITE_IN 14

// A composite node as it stands in a segment.
typedef struct cpu_composite {
    gr_op op;
    int32_t layer;
    bool has_in[CPU_COMPOSITE_IN];
    gr_value in[CPU_COMPOSITE_IN], out[2];
    const void *attrs;
} cpu_composite;

// Fills the parts, which nobody has checked yet. Returns NULL, or why it is not fused.
const char *cpu_composite_expand(const cpu_composite *composite, cpu_parts *out_parts);

// Size of one dimension in a step.
uint64_t cpu_dim(int64_t dim, const gr_step *step);
// Product of all dimensions but the last; of the last; of all.
uint64_t cpu_rows(const gr_value *value, const gr_step *step);
uint64_t cpu_width(const gr_value *value);
uint64_t cpu_count(const gr_value *value, const gr_step *step);
// Whether it is computed in a step: an activation, or an inner value.
bool cpu_is_computed(const gr_value *value);
// For `check`: a computed matrix of `dtype`; equal shapes; I32[rows] from the arena or the step;
// a vector of n F32 values from a weight or the arena.
bool cpu_is_matrix(const gr_value *value, gr_dtype dtype);
bool cpu_same_shape(const gr_value *a, const gr_value *b);
bool cpu_is_index(const gr_value *value, int64_t rows);
bool cpu_is_vector(const gr_value *value, int64_t n);
// The operand's I32 data in this run: arena, or the step's field.
const int32_t *cpu_index_data(const cpu_call *call, unsigned in, const gr_step *step);
// OK when every entry of index operand `in` that comes from the step lies in [0, limit).
gr_status cpu_admit_index(const cpu_call *call, unsigned in, uint64_t limit, const cpu_run *run,
                          gr_error *error);
// This worker's part [*begin, *end) of n units.
void cpu_slice(uint64_t n, const cpu_task *task, uint64_t *begin, uint64_t *end);
static inline const float *cpu_in_f32(const cpu_call *call, unsigned i) {
    return (const float *)(const void *)call->in[i];
}
static inline float *cpu_out_f32(const cpu_call *call, unsigned i) {
    return (float *)(void *)call->out[i];
}

// ---- build.c: the list of calls ----

typedef uint32_t cpu_space;
enum { CPU_SPACE_ARENA = 0, CPU_SPACE_SCRATCH = 1, CPU_SPACE_STATE = 2 };

// Bytes that a call reads or writes, for finding dependences.
typedef struct cpu_access {
    cpu_space space;
    bool write;
    uint64_t begin, end;
} cpu_access;

// A form of a value that stands in the scratch, until the value is overwritten.
typedef struct cpu_kept_value {
    bool stands;
    cpu_access value;
    uint64_t width;
    uint64_t offset, capacity; // of the place in the scratch
    uint32_t helper;           // place of the call that makes it
} cpu_kept_value;

// A region of the shared scratch that calls use in turn.
typedef struct cpu_region {
    uint64_t offset, capacity;
} cpu_region;

#define CPU_OPEN_MAX 64
#define CPU_ROPE_TABLES 8

typedef struct cpu_builder {
    gr_device *device;
    const gr_program_desc *desc;
    gr_program *program;
    gr_step maxima;       // the bucket's sizes
    uint32_t fused_nodes; // below composites
    uint32_t open_count;
    cpu_access open[CPU_OPEN_MAX]; // made since the last barrier
    // Values whose quantised rows, rows rounded to BF16, or rows laid by chunks stand in the
    // scratch; whose quantised rows each worker has in its own.
    cpu_kept_value quantised, rounded, laid, own;
    cpu_region inner[CPU_MAX_PARTS]; // of inner values
    cpu_region attention;            // of results of chunks
    // The tables of cosines and sines made for the step's positions.
    uint32_t rope_count;
    struct {
        gr_attrs_rope attrs;
        uint64_t offset, bytes;
    } ropes[CPU_ROPE_TABLES];
} cpu_builder;

// Appends a call; marks an earlier one with a barrier when they conflict. `scratch` lists what it
// touches of the shared scratch; operands are taken from the call. Returns the call's place, or
// NULL when out of memory.
cpu_call *cpu_build_call(cpu_builder *builder, const cpu_call *call, const cpu_access *scratch,
                         uint32_t scratch_count);
// A helper of `bound` that reads its operand 0.
cpu_call cpu_helper_of(const cpu_call *bound, cpu_call_function run);
// Appends a helper, which makes a form of its operand 0 (normed by operand 1 where it has one) in
// the scratch, or with `own` in that of each worker, unless it stands there. A row takes
// `row_bytes`.
gr_status cpu_build_form(cpu_builder *builder, const cpu_call *helper, uint64_t row_bytes,
                         cpu_kept_value *kept, cpu_access *out_access, gr_error *error);
// Makes `region` hold `bytes`; returns the offset. Calls that write there say so, to wait for each other.
uint64_t cpu_build_region(cpu_builder *builder, cpu_region *region, uint64_t bytes);
// Reserves `bytes` of shared scratch for the whole step; returns the offset.
uint64_t cpu_build_shared(cpu_builder *builder, uint64_t bytes);
// Gives an inner value its place.
void cpu_build_inner(cpu_builder *builder, gr_value *value);
// Makes each worker's scratch at least `bytes`.
void cpu_build_private(cpu_builder *builder, uint64_t bytes);
// Copies something that lives as long as the program; NULL when out of memory.
const void *cpu_build_keep(cpu_builder *builder, const void *data, uint64_t bytes);
// Whether oneDNN beats what this ISA has for many rows of float weights: with AVX-512 it does, on
// AVX2 our own panels are as fast and keep the bits.
static inline bool cpu_onednn_serves(const cpu_kernels *kernels) {
    return !strcmp(kernels->isa, "avx512");
}
// The device's oneDNN, opened now if it was not; NULL when there is none. Any thread.
cpu_onednn *cpu_device_onednn(gr_device *device);
// Bytes a value takes at the bucket's largest sizes.
uint64_t cpu_value_bytes(const gr_value *value, const gr_step *maxima);
gr_status cpu_no_memory(gr_error *error);

// ---- queue.c: groups of workers, and what they take ----

// Joins groups of one worker each, in order of number; returns how many remain.
uint32_t cpu_groups_merge(cpu_group *groups, uint32_t workers);
// Readies a run: its groups and stamps. Before the workers enter.
void cpu_queue_begin(const gr_host *host, gr_queue *queue, cpu_run *run);
uint32_t cpu_group_of(const gr_queue *queue, uint32_t id);
// The part of n units that a group owns when `working` workers take part.
void cpu_group_share(const cpu_group *group, uint32_t working, uint64_t n, uint64_t *begin,
                     uint64_t *end);
// What one worker still finds of the units of a call.
typedef struct cpu_allotment {
    const cpu_task *task;
    cpu_ticket *tickets; // one a group
    uint32_t stamp;
    uint32_t tried, group; // groups that have nothing left; the one looked at
    uint64_t begin, end;   // its share, of blocks of `each`
    uint64_t count, each;
} cpu_allotment;
// `count` units of a call, to be taken `each` at a time. Shares are cut at multiples of `each`.
void cpu_allot(const cpu_call *call, const cpu_task *task, uint64_t count, uint64_t each,
               cpu_allotment *out_allotment);
// Takes the next ones, of the group's own share first; false when none are left.
bool cpu_take(cpu_allotment *allotment, uint64_t *out_begin, uint64_t *out_end);
// How many panels of a matrix are taken at once.
uint64_t cpu_panels_each(uint64_t panels, uint32_t workers);

// ---- memory.c: memory for packed weights ----

// Zeroed, at a multiple of a page, and taken from the system as it is touched; NULL when there is none.
uint8_t *cpu_memory_map(uint64_t bytes);
void cpu_memory_unmap(uint8_t *data, uint64_t bytes);
// Prefers a node (by the system's number) for whole pages that nobody has touched yet; false when the
// system will not.
bool cpu_memory_bind(uint8_t *begin, uint64_t bytes, uint32_t os_node);

typedef struct cpu_spread {
    uint8_t *data;
    uint64_t matrices, panels, panel_bytes; // panels of one matrix
    const gr_queue *queue;
    uint32_t working;
} cpu_spread;
typedef void (*cpu_bind_function)(void *context, uint8_t *begin, uint64_t bytes, uint32_t node);
// Calls `bind` for runs of whole pages, ascending, all of them: each with the node of the group that
// owns the panels which end in it.
void cpu_memory_spread(const cpu_spread *spread, cpu_bind_function bind, void *context);

// ---- rows.c: rows of numbers in any dtype ----

// Expands n values (whole blocks) of any dtype to F32.
void cpu_decode_row(const cpu_kernels *kernels, gr_dtype dtype, const uint8_t *source, uint64_t n,
                    float *out);
bool cpu_can_decode(gr_dtype dtype);
// Rounds n F32 values (whole blocks) to a dtype that gr_row_encodes.
void cpu_encode_row(const cpu_kernels *kernels, gr_dtype dtype, const float *source, uint64_t n,
                    uint8_t *out);

// ---- page.c: the layout of a page ----

typedef struct cpu_place {
    uint32_t layer, page, head, slot;
} cpu_place;

// Fills the sizes of `kv` from its dtype and geometry; returns NULL, or why such a pool cannot be.
const char *cpu_page_measure(gr_kv *kv);
// The panel of sixteen keys that `at.slot` is in; panels of the page's next keys stand behind it.
uint8_t *cpu_page_keys(const gr_kv *kv, cpu_place at);
uint64_t cpu_page_panel_bytes(const gr_kv *kv);
// The row of `at.slot` in the panel of values' dimensions [dim, dim + 16) and, of Q8_0, its scale (else
// NULL); those of the page's next slots stand behind them.
void cpu_page_values(const gr_kv *kv, cpu_place at, uint32_t dim, uint8_t **out_panel,
                     uint8_t **out_scales);
// Values [first, first + n) (whole blocks) of a key (part 0) or value (1), in canonical form.
void cpu_page_put(const gr_kv *kv, cpu_place at, uint32_t part, uint32_t first, uint32_t n,
                  const uint8_t *row);
void cpu_page_get(const gr_kv *kv, cpu_place at, uint32_t part, uint32_t first, uint32_t n,
                  uint8_t *row);
// The whole of it, as F32.
void cpu_page_encode(const cpu_kernels *kernels, const gr_kv *kv, cpu_place at, uint32_t part,
                     const float *values);
void cpu_page_decode(const cpu_kernels *kernels, const gr_kv *kv, cpu_place at, uint32_t part,
                     float *out_values);
// Slots [0, slots) of one layer and head; the places' own slots are ignored.
void cpu_page_copy_slots(const gr_kv *kv, cpu_place from, cpu_place to, uint32_t slots);

// ---- ops/rope.c: rotations ----

// What is wrong with rotating `x` at `positions` to `out`, or NULL.
const char *cpu_rope_check(const gr_attrs_rope *attrs, const gr_value *x, const gr_value *positions,
                           const gr_value *out);
// Sees to it that the table of the bound call's operand `positions` stands in the scratch.
gr_status cpu_rope_table(cpu_builder *builder, const cpu_call *bound, const gr_attrs_rope *attrs,
                         uint32_t positions, cpu_access *out_table, gr_error *error);
// Rotates one head of row `row`.
void cpu_rope_head(const cpu_kernels *kernels, const gr_attrs_rope *attrs, const float *table,
                   uint64_t row, const float *x, float *out);

// ---- paging.c: page tables ----

// The page tables of one call in one step.
typedef struct cpu_pages {
    gr_step_group group; // a copy
} cpu_pages;

// Finds the tables of the call's cache group; fails when the step lacks them or they do not fit the
// pool.
gr_status cpu_pages_open(const cpu_call *call, const gr_step *step, cpu_pages *out_pages,
                         gr_error *error);
// OK when positions [first, last] of `seq` lie in pages of the pool that the table holds.
gr_status cpu_pages_admit(const cpu_pages *pages, const cpu_call *call, uint32_t seq, int64_t first,
                          int64_t last, gr_error *error);
// Where one head at one position lies, which must have been admitted.
cpu_place cpu_pages_place(const cpu_pages *pages, const cpu_call *call, uint32_t seq, uint32_t head,
                          int64_t position);

// ---- The table's calls ----

void cpu_node_support(gr_device *device, const gr_segment *segment, uint32_t index,
                      gr_support *out_support);

gr_status cpu_buffer_alloc(gr_device *device, uint64_t bytes, gr_buffer **out_buffer,
                           gr_error *error);
gr_status cpu_buffer_import(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                            gr_error *error);
void cpu_buffer_destroy(gr_device *device, gr_buffer *buffer);
gr_status cpu_buffer_read(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                          void *destination, uint64_t bytes, gr_error *error);
gr_status cpu_buffer_write(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                           const void *source, uint64_t bytes, gr_error *error);
void *cpu_buffer_map(gr_device *device, gr_buffer *buffer);

gr_status cpu_weight_import(gr_device *device, const gr_weight_desc *desc, gr_weight **out_weight,
                            gr_weight_info *out_info, gr_error *error);
void cpu_weight_destroy(gr_device *device, gr_weight *weight);
// Packed panel `index`; NULL when there is none: never, not yet, or while another worker packs it. It
// is packed now when the task has time left for that.
const uint8_t *cpu_weight_panel(const cpu_kernels *kernels, const cpu_task *task,
                                const gr_weight *weight, uint64_t index);

gr_status cpu_kv_create(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv, gr_error *error);
void cpu_kv_destroy(gr_device *device, gr_kv *kv);
gr_status cpu_kv_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error);
uint64_t cpu_kv_page_bytes(gr_device *device, const gr_kv *kv);
gr_status cpu_kv_copy_page(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error);
gr_status cpu_kv_read(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                      gr_dtype dtype, void *values, uint64_t bytes, gr_error *error);
gr_status cpu_kv_write(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                       gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error);

gr_status cpu_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info, gr_error *error);
void cpu_program_destroy(gr_device *device, gr_program *program);

gr_status cpu_queue_create(gr_device *device, gr_team *team, gr_queue **out_queue, gr_error *error);
void cpu_queue_destroy(gr_device *device, gr_queue *queue);
gr_status cpu_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error);
gr_status cpu_fence_create(gr_device *device, gr_fence **out_fence, gr_error *error);
void cpu_fence_destroy(gr_device *device, gr_fence *fence);
gr_status cpu_fence_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns,
                         gr_error *error);
uint64_t cpu_fence_value(gr_fence *fence);
void cpu_fence_signal(gr_fence *fence, uint64_t value);

#endif
