// SPDX-License-Identifier: Apache-2.0
// program.c: turns a segment into calls whose operands are known to be in bounds.
#include "cpu.h"

static const char *bind_activation(const cpu_builder *b, const gr_value *value,
                                   uint8_t **out_data) {
    uint64_t bytes = cpu_value_bytes(value, &b->maxima);
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

static const char *bind_weight(const cpu_builder *b, const gr_value *value,
                               const gr_weight **out_weight, uint8_t **out_data) {
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

static const char *bind_state(const cpu_builder *b, const gr_value *value, cpu_call *call) {
    const gr_program_desc *desc = b->desc;
    const gr_attrs_attention *attrs = &call->node.attrs.attention;
    if (value->index != attrs->cache_layer)
        return "the state is not that of the node's cache_layer";
    if (value->index >= desc->cache_layer_count || !desc->cache_layers ||
        desc->cache_layer_stride < sizeof(uint32_t))
        return "a cache layer was not given";
    const void *from =
        (const char *)desc->cache_layers + (size_t)value->index * desc->cache_layer_stride;
    if (!gr_struct_ok(from, offsetof(gr_cache_layer, reserved), sizeof(gr_cache_layer),
                       desc->cache_layer_stride))
        return "a cache layer has another layout";
    gr_cache_layer layer;
    gr_struct_read(from, sizeof layer, &layer);
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

static const char *call_bind(cpu_builder *b, cpu_call *call) {
    cpu_node *node = &call->node;
    const char *why = NULL;
    for (uint32_t i = 0; i < node->in_count && !why; i++) {
        if (!node->has_in[i])
            continue;
        if (node->in[i].kind == CPU_VALUE_INNER)
            cpu_build_inner(b, &node->in[i]);
        else if (node->in[i].kind == GR_VALUE_ACTIVATION)
            why = bind_activation(b, &node->in[i], &call->in[i]);
        else if (node->in[i].kind == GR_VALUE_WEIGHT)
            why = bind_weight(b, &node->in[i], &call->weight[i], &call->in[i]);
        else if (node->in[i].kind == GR_VALUE_STATE)
            why = bind_state(b, &node->in[i], call);
    }
    for (uint32_t i = 0; i < node->out_count && !why; i++) {
        if (node->out[i].kind == CPU_VALUE_INNER)
            cpu_build_inner(b, &node->out[i]);
        else if (node->out[i].kind == GR_VALUE_ACTIVATION)
            why = bind_activation(b, &node->out[i], &call->out[i]);
    }
    return why;
}

static gr_status node_fail(const gr_segment *segment, gr_status code, uint32_t index,
                           const char *why, gr_error *error) {
    gr_op number = gr_segment_node(segment, index)->op;
    const cpu_op *op = cpu_op_find(number);
    return gr_fail(error, code, CPU_ORIGIN, "node %u (op %u %s): %s", index, number,
                   op ? op->name : "", why);
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

static gr_status emit_part(cpu_builder *b, uint32_t index, const cpu_node *part, gr_error *error) {
    cpu_call call = {
        .kernels = &b->device->kernels, .op = cpu_op_find(part->op), .node = *part};
    call.run = call.op->run;
    const char *why = call_bind(b, &call);
    if (why)
        return node_fail(b->desc->segment, GR_ERROR_INVALID_ARGUMENT, index, why, error);
    if (call.op->emit)
        return call.op->emit(b, &call, error);
    return cpu_build_call(b, &call, NULL, 0) ? GR_OK : cpu_no_memory(error);
}

static gr_status emit_node(cpu_builder *b, uint32_t index, gr_error *error) {
    cpu_parts parts;
    const char *why = cpu_node_read(b->desc->segment, index, &parts);
    if (why)
        return node_fail(b->desc->segment, GR_ERROR_UNSUPPORTED, index, why, error);
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < parts.count && status == GR_OK; i++)
        status = emit_part(b, index, &parts.nodes[i], error);
    b->fused_nodes += gr_segment_node(b->desc->segment, index)->subtree;
    return status;
}

static gr_status emit_nodes(cpu_builder *b, gr_error *error) {
    uint32_t index = 0, node;
    gr_status status = GR_OK;
    while (status == GR_OK && next_run(b->desc->segment, &index, &node))
        status = emit_node(b, node, error);
    return status;
}

// Counters and tickets come last: only then are the calls and their barriers known.
static gr_status counters_make(cpu_builder *b, gr_error *error) {
    gr_program *program = b->program;
    if (!program->call_count)
        return GR_OK;
    program->counters = b->device->host->memory_alloc(
        b->device->host, program->call_count * sizeof *program->counters);
    if (!program->counters)
        return cpu_no_memory(error);
    for (uint32_t i = 0, ticket = 0; i < program->call_count; i++) {
        cpu_call *call = &program->calls[i];
        call->counter = &program->counters[i];
        call->ticket = ticket++;
        call->barrier = call->barrier || ticket == CPU_TICKETS;
        ticket = call->barrier ? 0 : ticket;
    }
    return GR_OK;
}

static bool desc_ok(const gr_program_desc *desc) {
    return desc && gr_struct_ok(desc, sizeof *desc, sizeof *desc, SIZE_MAX) && desc->segment &&
           desc->step && desc->threads && cpu_segment_ok(desc->segment);
}

gr_status cpu_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info,
                              gr_error *error) {
    *out_program = NULL;
    gr_program_info info = {.struct_size = sizeof info};
    gr_struct_fill(out_info, &info, sizeof info);
    if (!desc_ok(desc))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "program: incomplete or of another layout");
    gr_program *program = device->host->memory_alloc(device->host, sizeof *program);
    if (!program)
        return cpu_no_memory(error);
    *program = (gr_program){.step = desc->step,
                            .rows_max = desc->rows_max,
                            .seqs_max = desc->seqs_max,
                            .outputs_max = desc->outputs_max,
                            .threads = desc->threads};
    cpu_builder builder = {.device = device, .desc = desc, .program = program};
    builder.maxima =
        (gr_step){.rows = desc->rows_max, .seqs = desc->seqs_max, .outputs = desc->outputs_max};
    gr_status status = emit_nodes(&builder, error);
    if (status == GR_OK)
        status = counters_make(&builder, error);
    if (status != GR_OK) {
        cpu_program_destroy(device, program);
        return status;
    }
    info.fused_nodes = builder.fused_nodes;
    info.scratch_shared_bytes = program->scratch_shared;
    info.scratch_per_thread_bytes = program->scratch_form + program->scratch_work;
    gr_struct_fill(out_info, &info, sizeof info);
    *out_program = program;
    return GR_OK;
}

void cpu_program_destroy(gr_device *device, gr_program *program) {
    const gr_host *host = device->host;
    if (!program)
        return;
    for (cpu_kept *kept = program->kept, *next; kept; kept = next) {
        next = kept->next;
        host->memory_free(host, kept, kept->bytes);
    }
    if (program->counters)
        host->memory_free(host, program->counters, program->call_count * sizeof *program->counters);
    if (program->calls)
        host->memory_free(host, program->calls,
                          (uint64_t)program->call_capacity * sizeof *program->calls);
    host->memory_free(host, program, sizeof *program);
}
