// SPDX-License-Identifier: Apache-2.0
// host_program.h: programs, queues and fences for a device that computes in host memory and whose
// steps are done when submit returns.
// For backend authors. Needs libc and pthread (see fence.h); C11 and C++17.
//
// program_compile binds each node that runs into a gr_call; submit admits the step to every call,
// so that nothing is half done when one refuses, then lets the workers compute. See host_memory.h
// for what struct gr_device must begin with.
//
// A backend's own structs (GR_SDK_OWN_...) need these members: gr_buffer data and bytes; gr_weight
// data, bytes, dtype, rank and dims; gr_kv shape, a gr_kv_shape. Addresses are only added to and
// compared, so they may be a device's.
#ifndef GREGALE_SDK_HOST_PROGRAM_H
#define GREGALE_SDK_HOST_PROGRAM_H

#include "gregale/sdk/fence.h"
#include "gregale/sdk/host_memory.h"
#include "gregale/sdk/operands.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- Binding ----

// A node bound to addresses that are known to be in bounds.
typedef struct gr_call {
    gr_node_view node;
    uint8_t *in[GR_NODE_IN_MAX]; // NULL for absent, STEP and STATE operands
    uint8_t *out[GR_NODE_OUT_MAX];
    const gr_weight *weight[GR_NODE_IN_MAX]; // set for WEIGHT operands
    gr_kv *kv;                               // of STATE operands
    uint32_t kv_layer, kv_group;
} gr_call;

// Whether a program can be described so.
static inline bool gr_program_desc_ok(const gr_program_desc *desc) {
    return desc && gr_struct_ok(desc, sizeof *desc, sizeof *desc, SIZE_MAX) && desc->step &&
           desc->threads && gr_segment_ok(desc->segment);
}

// The bucket's sizes, as a step that has them.
static inline gr_step gr_program_maxima(const gr_program_desc *desc) {
    gr_step maxima;
    memset(&maxima, 0, sizeof maxima);
    maxima.rows = desc->rows_max;
    maxima.seqs = desc->seqs_max;
    maxima.outputs = desc->outputs_max;
    return maxima;
}

static inline const char *gr_bind_activation(const gr_program_desc *desc, const gr_value *value,
                                             uint8_t **out_data) {
    gr_step maxima = gr_program_maxima(desc);
    uint64_t bytes = gr_value_bytes(value, &maxima);
    const gr_buffer *arena = desc->arena;
    if (value->offset == GR_NO_OFFSET)
        return "a value has no place in the arena";
    if (!bytes)
        return NULL;
    if (!arena || value->offset > arena->bytes || bytes > arena->bytes - value->offset)
        return "a value lies outside the arena";
    if ((uintptr_t)(arena->data + value->offset) % 8)
        return "a value in the arena is not aligned";
    *out_data = arena->data + value->offset;
    return NULL;
}

static inline const char *gr_bind_weight(const gr_program_desc *desc, const gr_value *value,
                                         const gr_weight **out_weight, uint8_t **out_data) {
    if (value->index >= desc->weight_count || !desc->weights || !desc->weights[value->index])
        return "a weight was not given";
    const gr_weight *weight = desc->weights[value->index];
    if (weight->dtype != value->dtype || weight->rank != value->rank ||
        memcmp(weight->dims, value->dims, weight->rank * sizeof weight->dims[0]))
        return "a weight has another dtype or shape than its value";
    *out_weight = weight;
    *out_data = (uint8_t *)(uintptr_t)weight->data;
    return NULL;
}

static inline const gr_attrs_attention *gr_call_attention(const gr_call *call) {
    return call->node.composite ? call->node.attrs.block.attention : &call->node.attrs.attention;
}

static inline const char *gr_bind_state(const gr_program_desc *desc, const gr_value *value,
                                        gr_call *call) {
    const gr_attrs_attention *attrs = gr_call_attention(call);
    gr_cache_layer layer;
    if (!attrs || value->index != attrs->cache_layer)
        return "the state is not that of the node's cache_layer";
    if (value->index >= desc->cache_layer_count || !desc->cache_layers ||
        desc->cache_layer_stride < sizeof(uint32_t))
        return "a cache layer was not given";
    const void *from =
        (const char *)desc->cache_layers + (size_t)value->index * desc->cache_layer_stride;
    if (!gr_struct_ok(from, offsetof(gr_cache_layer, reserved), sizeof layer,
                      desc->cache_layer_stride))
        return "a cache layer has another layout";
    gr_struct_read(from, sizeof layer, &layer);
    if (!layer.kv || layer.layer >= layer.kv->shape.layers)
        return "a cache layer lies outside its pool";
    const gr_kv_shape *shape = &layer.kv->shape;
    if (shape->kv_heads != attrs->kv_heads || shape->dim[0] != attrs->k_dim ||
        shape->dim[1] != attrs->v_dim)
        return "the cache pool has another geometry than the node";
    call->kv = layer.kv;
    call->kv_layer = layer.layer;
    call->kv_group = layer.group;
    return NULL;
}

static inline const char *gr_bind_operands(const gr_program_desc *desc, gr_call *call) {
    const gr_node_view *node = &call->node;
    const char *why = NULL;
    for (uint32_t i = 0; i < node->in_count && !why; i++) {
        if (!node->has_in[i])
            continue;
        if (node->in[i].kind == GR_VALUE_ACTIVATION)
            why = gr_bind_activation(desc, &node->in[i], &call->in[i]);
        else if (node->in[i].kind == GR_VALUE_WEIGHT)
            why = gr_bind_weight(desc, &node->in[i], &call->weight[i], &call->in[i]);
        else if (node->in[i].kind == GR_VALUE_STATE)
            why = gr_bind_state(desc, &node->in[i], call);
    }
    for (uint32_t i = 0; i < node->out_count && !why; i++) {
        if (node->out[i].kind == GR_VALUE_ACTIVATION)
            why = gr_bind_activation(desc, &node->out[i], &call->out[i]);
    }
    return why;
}

// Reads, checks and binds node `index` of a program for which gr_program_desc_ok holds. A primitive's
// operands are checked; a composite's are the backend's to check.
static inline gr_status gr_call_bind(const gr_program_desc *desc, uint32_t index, gr_call *out_call,
                                     gr_error *error) {
    memset(out_call, 0, sizeof *out_call);
    gr_status code = GR_ERROR_UNSUPPORTED;
    const char *why = gr_node_read(desc->segment, index, &out_call->node);
    if (!why && !out_call->node.composite)
        why = gr_operands_check(&out_call->node);
    if (!why) {
        code = GR_ERROR_INVALID_ARGUMENT;
        why = gr_bind_operands(desc, out_call);
    }
    if (!why)
        return GR_OK;
    gr_op number = gr_segment_node(desc->segment, index)->op;
    const gr_op_row *row = gr_op_row_find(number);
    return gr_fail(error, code, GR_SDK_ORIGIN, "node %u (op %u %s): %s", index, number,
                   row ? row->name : "", why);
}

// ---- Running ----

// Whether a primitive's call can run on this step: every index that it will follow is in range.
static inline gr_status gr_call_admit(const gr_call *call, const gr_step *step, gr_error *error) {
    const gr_node_view *node = &call->node;
    const gr_attrs_attention *attention = &node->attrs.attention;
    switch (node->op) {
    case GR_OP_EMBED:
        return gr_step_index_check(step, node, 1, (uint64_t)node->in[0].dims[0], error);
    case GR_OP_MATMUL:
        return gr_step_index_check(step, node, 3, (uint64_t)node->in[1].dims[0], error);
    case GR_OP_ROPE: return gr_step_index_check(step, node, 1, (uint64_t)INT32_MAX + 1, error);
    case GR_OP_GATHER_ROWS:
        return gr_step_index_check(step, node, 1, gr_value_rows(&node->in[0], step), error);
    case GR_OP_KV_WRITE:
        return gr_kv_write_check(step, call->kv_group, call->kv->shape.page_tokens,
                                 call->kv->shape.pages, error);
    case GR_OP_ATTENTION:
        return gr_attention_check(attention, step, call->kv_group,
                                  call->kv ? call->kv->shape.page_tokens : 0,
                                  call->kv ? call->kv->shape.pages : 0, error);
    default: return GR_OK;
    }
}

// The I32 data of operand `in` in this step: the arena's, or the step's field.
static inline const int32_t *gr_call_index(const gr_call *call, uint32_t in, const gr_step *step) {
    const gr_value *value = &call->node.in[in];
    return value->kind == GR_VALUE_STEP ? gr_step_data(step, value->index)
                                        : (const int32_t *)(const void *)call->in[in];
}

#ifndef GR_SDK_OWN_KV
// Address of all heads of one position in the pool of a KV_WRITE or paged ATTENTION; `pages` are the
// step's tables of its group, and hold the position. Part 0 is K, 1 is V.
static inline uint8_t *gr_call_kv_row(const gr_call *call, const gr_step_group *pages, uint32_t part,
                                      uint32_t seq, int64_t position) {
    uint32_t slot, page = gr_step_page_of(pages, seq, position, &slot);
    return gr_host_kv_row(call->kv, call->kv_layer, part, page, slot);
}
#endif

static inline const float *gr_call_in(const gr_call *call, uint32_t i) {
    return (const float *)(const void *)call->in[i];
}

static inline float *gr_call_out(const gr_call *call, uint32_t i) {
    return (float *)(void *)call->out[i];
}

// The part [*begin, *end) of n units of worker `id` of `count`; empty for workers beyond.
static inline void gr_slice(uint64_t n, uint32_t id, uint32_t count, uint64_t *begin,
                            uint64_t *end) {
    uint64_t each = n / count, rest = n % count;
    *begin = *end = 0;
    if (id >= count)
        return;
    *begin = each * id + (id < rest ? id : rest);
    *end = *begin + each + (id < rest);
}

static inline bool gr_host_traces(const gr_host *host) {
    return host->trace && host->trace_enabled && host->trace_enabled(host);
}

// Records that a call ran from `start_ns` until now. Bytes are those of its operands.
static inline void gr_call_trace(const gr_call *call, const gr_host *host, const gr_step *step,
                                 const char *implementation, uint64_t start_ns,
                                 uint64_t operations) {
    const gr_node_view *node = &call->node;
    const gr_value *rows = node->out[0].kind == GR_VALUE_STATE ? &node->in[0] : &node->out[0];
    gr_trace_event event;
    memset(&event, 0, sizeof event);
    event.struct_size = (uint32_t)sizeof event;
    event.op = node->op;
    event.layer = node->layer;
    event.rows = (uint32_t)gr_value_rows(rows, step);
    event.implementation = implementation;
    event.start_ns = start_ns;
    event.operations = operations;
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (call->weight[i])
            event.bytes += call->weight[i]->bytes;
        else if (node->has_in[i] && node->in[i].kind != GR_VALUE_STATE)
            event.bytes += gr_value_bytes(&node->in[i], step);
    }
    for (uint32_t i = 0; i < node->out_count; i++) {
        if (node->out[i].kind == GR_VALUE_ACTIVATION)
            event.bytes += gr_value_bytes(&node->out[i], step);
    }
    event.end_ns = host->now_ns(host);
    host->trace(host, &event);
}

// ---- Fences and queues ----

struct gr_fence {
    gr_counter counter;
};

static inline gr_status gr_host_fence_create(gr_device *device, gr_fence **out_fence,
                                             gr_error *error) {
    const gr_host *host = gr_device_host(device);
    *out_fence = NULL;
    gr_fence *fence = (gr_fence *)host->memory_alloc(host, sizeof *fence);
    if (!fence)
        return gr_no_memory(error, "a fence");
    gr_counter_init(&fence->counter);
    *out_fence = fence;
    return GR_OK;
}

static inline void gr_host_fence_destroy(gr_device *device, gr_fence *fence) {
    if (!fence)
        return;
    const gr_host *host = gr_device_host(device);
    gr_counter_deinit(&fence->counter);
    host->memory_free(host, fence, sizeof *fence);
}

static inline gr_status gr_host_fence_wait(gr_device *device, gr_fence *fence, uint64_t value,
                                           uint64_t timeout_ns, gr_error *error) {
    (void)device;
    if (gr_counter_wait(&fence->counter, value, timeout_ns))
        return GR_OK;
    return gr_fail(error, GR_ERROR_TIMEOUT, GR_SDK_ORIGIN, "the fence has not reached %llu",
                   (unsigned long long)value);
}

#ifndef GR_SDK_OWN_QUEUE // a backend with queues of its own defines it before this header
struct gr_queue {
    gr_team *team; // borrowed; NULL: the calling thread works alone
};

static inline gr_status gr_host_queue_create(gr_device *device, gr_team *team, gr_queue **out_queue,
                                             gr_error *error) {
    const gr_host *host = gr_device_host(device);
    *out_queue = NULL;
    gr_queue *queue = (gr_queue *)host->memory_alloc(host, sizeof *queue);
    if (!queue)
        return gr_no_memory(error, "a queue");
    queue->team = team;
    *out_queue = queue;
    return GR_OK;
}

static inline void gr_host_queue_destroy(gr_device *device, gr_queue *queue) {
    const gr_host *host = gr_device_host(device);
    if (queue)
        host->memory_free(host, queue, sizeof *queue);
}

// Enters the team once; without one, the calling thread is the only worker (its count is 1 and it
// has no barrier).
static inline void gr_host_queue_run(const gr_host *host, const gr_queue *queue,
                                     gr_team_function function, void *argument) {
    if (queue->team) {
        host->team_run(queue->team, function, argument);
        return;
    }
    gr_worker alone;
    memset(&alone, 0, sizeof alone);
    alone.struct_size = (uint32_t)sizeof alone;
    alone.count = 1;
    function(&alone, argument);
}

// Whether a submit can be read, its waits have come and its signal does not go back, and it brings
// `scratch` bytes. Steps run inside submit, so a value that is not there yet would never come.
static inline gr_status gr_submit_check(const gr_queue *queue, const gr_submit *submit,
                                        gr_error *error) {
    if (!queue || !submit || !gr_struct_ok(submit, sizeof *submit, sizeof *submit, SIZE_MAX) ||
        !submit->program || (submit->wait_count && (!submit->waits || !submit->wait_values)))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "submit: incomplete or of another layout");
    for (uint32_t i = 0; i < submit->wait_count; i++) {
        if (!submit->waits[i] ||
            gr_counter_value(&submit->waits[i]->counter) < submit->wait_values[i])
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                           "submit: waits for a value that nothing submitted will signal");
    }
    if (submit->signal && gr_counter_value(&submit->signal->counter) > submit->signal_value)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "submit: a fence cannot go back");
    return GR_OK;
}
#endif

// Whether a submit brings `bytes` bytes of scratch, aligned to 64.
static inline gr_status gr_scratch_check(const gr_submit *submit, uint64_t bytes, gr_error *error) {
    const gr_buffer *scratch = submit->scratch;
    if (!bytes || (scratch && scratch->bytes >= bytes && (uintptr_t)scratch->data % 64 == 0))
        return GR_OK;
    return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                   "submit: %llu bytes of scratch, aligned to 64, are needed",
                   (unsigned long long)bytes);
}

#ifdef __cplusplus
}
#endif
#endif
