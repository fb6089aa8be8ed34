// SPDX-License-Identifier: Apache-2.0
// ref.h: the inside of the reference backend. Stands on gregale/*.h and libc alone.
//
// How it works. program_compile checks every node that runs and binds its operands to addresses,
// which gives a list of calls. submit checks the step block against each call (so that nothing is
// half done when it refuses), then enters the team once: every worker walks the list, takes its
// slice of each call, and waits for the others before the next. Results never depend on the
// slicing: one output element is always computed by one worker, in one order.
#ifndef GREGALE_BACKENDS_REF_H
#define GREGALE_BACKENDS_REF_H

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "gregale/backend.h"

#define REF_MAX_IN 4
#define REF_MAX_OUT 2

struct gr_device {
    const gr_host *host; // borrowed until close
};

struct gr_buffer {
    uint8_t *data; // NULL only when bytes is 0
    uint64_t bytes;
    bool owned;
};

struct gr_weight {
    const uint8_t *data; // the model file's bytes, or `copy`
    uint8_t *copy;       // own memory when the source was not aligned, else NULL
    uint64_t bytes;
    uint64_t row_bytes; // of the last dimension
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK];
};

// Pages are stored whole, one after the other; a page is [layer][K then V][slot][kv head][dim].
struct gr_kv {
    uint8_t *data;
    uint64_t page_bytes, layer_bytes;
    uint64_t row_bytes[2];  // one position of K, of V: all heads
    uint64_t head_bytes[2]; // one head of one position
    uint32_t dim[2];
    uint32_t layers, page_tokens, kv_heads, pages;
    gr_dtype dtype;
};

struct gr_fence {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t value;
};

struct gr_queue {
    gr_team *team; // borrowed; NULL: the calling thread works alone
};

typedef union ref_attrs {
    gr_attrs_none none;
    gr_attrs_norm norm;
    gr_attrs_rope rope;
    gr_attrs_attention attention;
    gr_attrs_glu glu;
    gr_attrs_scale scale;
    gr_attrs_topk topk;
    gr_attrs_cast cast;
} ref_attrs;

// A node as read from a segment: copies, with what a shorter struct lacks set to zero.
typedef struct ref_node {
    gr_op op;
    uint32_t in_count, out_count;
    int32_t layer;
    bool has_in[REF_MAX_IN];
    gr_value in[REF_MAX_IN];
    gr_value out[REF_MAX_OUT];
    ref_attrs attrs;
} ref_node;

struct ref_op;

// A node bound to addresses.
typedef struct ref_call {
    const struct ref_op *op;
    ref_node node;
    uint8_t *in[REF_MAX_IN]; // NULL for absent, STEP and STATE operands
    uint8_t *out[REF_MAX_OUT];
    const gr_weight *weight[REF_MAX_IN]; // set for WEIGHT operands
    gr_kv *kv;                           // KV_WRITE and paged ATTENTION
    uint32_t kv_layer, kv_group;
} ref_call;

struct gr_program {
    const gr_step *step; // borrowed; read anew by every submit
    uint32_t rows_max, seqs_max, outputs_max;
    uint32_t threads;
    uint64_t scratch_per_thread;
    uint64_t bytes; // of this allocation
    uint32_t call_count;
    ref_call calls[];
};

// One submit in progress.
typedef struct ref_run {
    const gr_host *host;
    const gr_program *program;
    gr_step step; // a copy, with what a shorter struct lacks set to zero
    uint8_t *scratch;
    bool alone; // no team: no barriers
} ref_run;

// One worker's share of a run.
typedef struct ref_task {
    const ref_run *run;
    uint32_t id, count;
    void *scratch; // scratch_per_thread bytes, 64-byte aligned
} ref_task;

// What an op must say for itself.
typedef struct ref_op {
    gr_op op;
    const char *name;
    uint32_t attrs_bytes;
    // NULL when the node can run, else why not (a constant string). Shapes, dtypes, attributes.
    const char *(*check)(const ref_node *node);
    // Scratch bytes a worker needs; NULL: none.
    uint64_t (*scratch)(const ref_node *node);
    // Checks the step block for this call before anything runs; NULL: nothing to check.
    gr_status (*admit)(const ref_call *call, const ref_run *run, gr_error *error);
    // Computes this worker's share. Cannot fail.
    void (*run)(const ref_call *call, const ref_task *task);
    // Operations of one step, for traces; NULL: one an output element.
    uint64_t (*operations)(const ref_call *call, const ref_run *run);
} ref_op;

extern const ref_op ref_op_embed, ref_op_rms_norm, ref_op_matmul, ref_op_rope, ref_op_kv_write,
    ref_op_attention, ref_op_glu, ref_op_add, ref_op_mul, ref_op_scale, ref_op_softmax,
    ref_op_gather_rows, ref_op_mask_bits, ref_op_topk, ref_op_cast, ref_op_copy;

// The op's row, NULL when this backend has none (composites, unknown numbers).
const ref_op *ref_op_find(gr_op op);

// ---- node.c: reading segments ----

// Reads node `index` with its values and attributes. Returns NULL, or why it cannot be run.
const char *ref_node_read(const gr_segment *segment, uint32_t index, ref_node *out_node);
// Whether a struct of `known` bytes (to us) can be read: at least `least` bytes, and nothing set
// beyond what we know. `limit` is the room it lies in.
bool ref_struct_ok(const void *object, size_t least, size_t known, size_t limit);
// Copies a struct into `copy` of `known` bytes; what it lacks becomes zero.
void ref_struct_read(const void *object, size_t known, void *copy);
// Fills a caller's struct from `filled` as far as its struct_size goes; its struct_size stays. NULL
// is legal.
void ref_struct_fill(void *object, const void *filled, size_t known);

// ---- Shapes ----

// Size of one dimension in this run.
uint64_t ref_dim(int64_t dim, const gr_step *step);
// Product of all dimensions but the last; of the last; of all.
uint64_t ref_rows(const gr_value *value, const ref_run *run);
uint64_t ref_width(const gr_value *value);
uint64_t ref_count(const gr_value *value, const ref_run *run);
// For `check`: an activation matrix of `dtype`; equal shapes; an I32 value from the arena or the
// step.
bool ref_is_matrix(const gr_value *value, gr_dtype dtype);
bool ref_same_shape(const gr_value *a, const gr_value *b);
bool ref_is_index(const gr_value *value, int64_t rows);
// A vector of `n` F32 values, from a weight or the arena.
bool ref_is_vector(const gr_value *value, int64_t n);
// The operand's I32 data in this run: arena, or the step's field.
const int32_t *ref_index_data(const ref_call *call, unsigned in, const gr_step *step);
// OK when every entry of index operand `in` that comes from the step lies in [0, limit).
gr_status ref_admit_index(const ref_call *call, unsigned in, uint64_t limit, const ref_run *run,
                          gr_error *error);
// This worker's part [*begin, *end) of n units.
void ref_slice(uint64_t n, const ref_task *task, uint64_t *begin, uint64_t *end);

// ---- dtype_*.c ----

// Expands `n` values (whole blocks) of any dtype to F32.
void ref_decode_row(gr_dtype dtype, const void *source, uint64_t n, float *out);
bool ref_can_decode(gr_dtype dtype);
void ref_decode_q2_k(const void *source, uint64_t n, float *out);
void ref_decode_q3_k(const void *source, uint64_t n, float *out);
void ref_decode_q4_k(const void *source, uint64_t n, float *out);
void ref_decode_q5_k(const void *source, uint64_t n, float *out);
void ref_decode_q6_k(const void *source, uint64_t n, float *out);
void ref_decode_q4_0(const void *source, uint64_t n, float *out);
void ref_decode_q4_1(const void *source, uint64_t n, float *out);
void ref_decode_q5_0(const void *source, uint64_t n, float *out);
void ref_decode_q5_1(const void *source, uint64_t n, float *out);
void ref_decode_q8_0(const void *source, uint64_t n, float *out);
void ref_decode_iq4_nl(const void *source, uint64_t n, float *out);
void ref_decode_iq4_xs(const void *source, uint64_t n, float *out);
// Rounds `n` F32 values (whole blocks) to F32, F16, BF16 or Q8_0.
void ref_encode_row(gr_dtype dtype, const float *source, uint64_t n, void *out);
bool ref_can_encode(gr_dtype dtype);
float ref_half_to_float(uint16_t half);
uint16_t ref_float_to_half(float value);
float ref_bfloat_to_float(uint16_t bfloat);
uint16_t ref_float_to_bfloat(float value);

// Sum of a[i]*b[i] in F64, always in the same order.
double ref_dot(const float *a, const float *b, uint64_t n);

// ---- The table's calls ----

void ref_node_support(gr_device *device, const gr_segment *segment, uint32_t index,
                      gr_support *out_support);
gr_status ref_buffer_alloc(gr_device *device, uint64_t bytes, gr_buffer **out_buffer,
                           gr_error *error);
gr_status ref_buffer_import(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                            gr_error *error);
void ref_buffer_destroy(gr_device *device, gr_buffer *buffer);
gr_status ref_buffer_read(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                          void *destination, uint64_t bytes, gr_error *error);
gr_status ref_buffer_write(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                           const void *source, uint64_t bytes, gr_error *error);
void *ref_buffer_map(gr_device *device, gr_buffer *buffer);

gr_status ref_weight_import(gr_device *device, const gr_weight_desc *desc, gr_weight **out_weight,
                            gr_weight_info *out_info, gr_error *error);
void ref_weight_destroy(gr_device *device, gr_weight *weight);

gr_status ref_kv_create(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv, gr_error *error);
void ref_kv_destroy(gr_device *device, gr_kv *kv);
gr_status ref_kv_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error);
uint64_t ref_kv_page_bytes(gr_device *device, const gr_kv *kv);
gr_status ref_kv_copy_page(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error);
gr_status ref_kv_read(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                      gr_dtype dtype, void *values, uint64_t bytes, gr_error *error);
gr_status ref_kv_write(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                       gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error);
// Address of one position of one layer; part 0 is K, 1 is V. Arguments must be in range.
uint8_t *ref_kv_row(const gr_kv *kv, uint32_t layer, uint32_t part, uint32_t page, uint32_t slot);

gr_status ref_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info, gr_error *error);
void ref_program_destroy(gr_device *device, gr_program *program);

gr_status ref_queue_create(gr_device *device, gr_team *team, gr_queue **out_queue, gr_error *error);
void ref_queue_destroy(gr_device *device, gr_queue *queue);
gr_status ref_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error);
gr_status ref_fence_create(gr_device *device, gr_fence **out_fence, gr_error *error);
void ref_fence_destroy(gr_device *device, gr_fence *fence);
gr_status ref_fence_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns,
                         gr_error *error);

#endif
