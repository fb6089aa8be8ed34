// SPDX-License-Identifier: Apache-2.0
// program.c: turns a segment into a list of calls whose operands are known to be in bounds.
#include "ref.h"

// What binding needs at hand.
typedef struct binder {
    const gr_program_desc *desc;
    const gr_segment *segment;
    gr_step maxima; // the bucket's sizes
} binder;

// Bytes a value takes at the bucket's largest sizes. value_check has excluded overflow.
static uint64_t value_bytes(const binder *b, const gr_value *value) {
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < value->rank; i++)
        rows *= ref_dim(value->dims[i], &b->maxima);
    return rows *
           gr_dtype_row_bytes(value->dtype, ref_dim(value->dims[value->rank - 1], &b->maxima));
}

static const char *bind_activation(const binder *b, const gr_value *value, uint8_t **out_data) {
    uint64_t bytes = value_bytes(b, value);
    const gr_buffer *arena = b->desc->arena;
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

static const char *bind_weight(const binder *b, const gr_value *value, const gr_weight **out_weight,
                               uint8_t **out_data) {
    if (value->index >= b->desc->weight_count || !b->desc->weights ||
        !b->desc->weights[value->index])
        return "a weight was not given";
    const gr_weight *weight = b->desc->weights[value->index];
    if (weight->dtype != value->dtype || weight->rank != value->rank ||
        memcmp(weight->dims, value->dims, weight->rank * sizeof weight->dims[0]))
        return "a weight has another dtype or shape than its value";
    *out_weight = weight;
    *out_data = (uint8_t *)(uintptr_t)weight->data;
    return NULL;
}

static const char *bind_state(const binder *b, const gr_value *value, ref_call *call) {
    const gr_program_desc *desc = b->desc;
    const gr_attrs_attention *attrs = &call->node.attrs.attention;
    if (value->index != attrs->cache_layer)
        return "the state is not that of the node's cache_layer";
    if (value->index >= desc->cache_layer_count || !desc->cache_layers ||
        desc->cache_layer_stride < sizeof(uint32_t))
        return "a cache layer was not given";
    const void *from =
        (const char *)desc->cache_layers + (size_t)value->index * desc->cache_layer_stride;
    if (!ref_struct_ok(from, offsetof(gr_cache_layer, reserved), sizeof(gr_cache_layer),
                       desc->cache_layer_stride))
        return "a cache layer has another layout";
    gr_cache_layer layer;
    ref_struct_read(from, sizeof layer, &layer);
    const gr_kv *kv = layer.kv;
    if (!kv || layer.layer >= kv->layers)
        return "a cache layer lies outside its pool";
    if (kv->kv_heads != attrs->kv_heads || kv->dim[0] != attrs->k_dim || kv->dim[1] != attrs->v_dim)
        return "the cache pool has another geometry than the node";
    call->kv = layer.kv;
    call->kv_layer = layer.layer;
    call->kv_group = layer.group;
    return NULL;
}

static const char *call_bind(const binder *b, ref_call *call) {
    ref_node *node = &call->node;
    const char *why = NULL;
    for (uint32_t i = 0; i < node->in_count && !why; i++) {
        if (!node->has_in[i])
            continue;
        if (node->in[i].kind == GR_VALUE_ACTIVATION)
            why = bind_activation(b, &node->in[i], &call->in[i]);
        else if (node->in[i].kind == GR_VALUE_WEIGHT)
            why = bind_weight(b, &node->in[i], &call->weight[i], &call->in[i]);
        else if (node->in[i].kind == GR_VALUE_STATE)
            why = bind_state(b, &node->in[i], call);
    }
    for (uint32_t i = 0; i < node->out_count && !why; i++) {
        if (node->out[i].kind == GR_VALUE_ACTIVATION)
            why = bind_activation(b, &node->out[i], &call->out[i]);
    }
    return why;
}

static gr_status node_fail(const binder *b, gr_status code, uint32_t index, const char *why,
                           gr_error *error) {
    gr_op number = gr_segment_node(b->segment, index)->op;
    const ref_op *op = ref_op_find(number);
    return gr_fail(error, code, "ref", "node %u (op %u %s): %s", index, number, op ? op->name : "",
                   why);
}

// The next node to run at or after *index, which moves past it and its subtree. False at the end.
static bool next_run(const gr_segment *segment, uint32_t *index, uint32_t *out_node) {
    while (*index < segment->node_count) {
        const gr_node *node = gr_segment_node(segment, *index);
        *out_node = *index;
        if (!(node->flags & GR_NODE_RUN)) {
            (*index)++;
            continue;
        }
        uint32_t left = segment->node_count - *index - 1;
        *index += 1 + (node->subtree < left ? node->subtree : left);
        return true;
    }
    return false;
}

static gr_status fill_calls(const binder *b, gr_program *program, gr_error *error) {
    uint32_t index = 0, node;
    for (uint32_t i = 0; next_run(b->segment, &index, &node); i++) {
        ref_call *call = &program->calls[i];
        const char *why = ref_node_read(b->segment, node, &call->node);
        if (why)
            return node_fail(b, GR_ERROR_UNSUPPORTED, node, why, error);
        call->op = ref_op_find(call->node.op);
        why = call_bind(b, call);
        if (why)
            return node_fail(b, GR_ERROR_INVALID_ARGUMENT, node, why, error);
        uint64_t scratch = call->op->scratch ? call->op->scratch(&call->node) : 0;
        if (scratch > program->scratch_per_thread)
            program->scratch_per_thread = scratch;
    }
    program->scratch_per_thread = (program->scratch_per_thread + 63) / 64 * 64;
    return GR_OK;
}

static bool desc_ok(const gr_program_desc *desc) {
    return desc && ref_struct_ok(desc, sizeof *desc, sizeof *desc, SIZE_MAX) && desc->segment &&
           desc->step && desc->threads;
}

static bool segment_ok(const gr_segment *segment) {
    return ref_struct_ok(segment, sizeof *segment, sizeof *segment, SIZE_MAX) &&
           (!segment->node_count ||
            (segment->nodes && segment->node_stride >= offsetof(gr_node, layer))) &&
           (!segment->value_count ||
            (segment->values && segment->value_stride >= sizeof(gr_value)));
}

gr_status ref_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info,
                              gr_error *error) {
    *out_program = NULL;
    gr_program_info info = {.struct_size = sizeof info};
    ref_struct_fill(out_info, &info, sizeof info);
    if (!desc_ok(desc) || !segment_ok(desc->segment))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "program: incomplete or of another layout");
    uint32_t index = 0, node, count = 0;
    while (next_run(desc->segment, &index, &node))
        count++;
    uint64_t bytes = sizeof(gr_program) + (uint64_t)count * sizeof(ref_call);
    gr_program *program = device->host->memory_alloc(device->host, bytes);
    if (!program)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a program of %u nodes",
                       count);
    *program = (gr_program){.step = desc->step,
                            .rows_max = desc->rows_max,
                            .seqs_max = desc->seqs_max,
                            .outputs_max = desc->outputs_max,
                            .threads = desc->threads,
                            .bytes = bytes,
                            .call_count = count};
    binder b = {.desc = desc, .segment = desc->segment};
    b.maxima =
        (gr_step){.rows = desc->rows_max, .seqs = desc->seqs_max, .outputs = desc->outputs_max};
    gr_status status = fill_calls(&b, program, error);
    if (status != GR_OK) {
        ref_program_destroy(device, program);
        return status;
    }
    info.scratch_per_thread_bytes = program->scratch_per_thread;
    ref_struct_fill(out_info, &info, sizeof info);
    *out_program = program;
    return GR_OK;
}

void ref_program_destroy(gr_device *device, gr_program *program) {
    if (program)
        device->host->memory_free(device->host, program, program->bytes);
}
