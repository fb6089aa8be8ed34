// SPDX-License-Identifier: Apache-2.0
// program.c: programs of the inner backend, with the device's own objects in place of the handles.
#include "far.h"
#include "gregale/sdk/node.h"

static void program_free(far_device *device, far_program *program) {
    const gr_host *host = device->host;
    if (program->inner)
        far_inner()->program_destroy(device->inner, program->inner);
    if (program->weights)
        host->memory_free(host, program->weights, program->weight_count * sizeof(gr_weight *));
    if (program->layers)
        host->memory_free(host, program->layers, program->layer_count * sizeof(gr_cache_layer));
    if (program->kvs)
        host->memory_free(host, program->kvs, program->layer_count * sizeof(far_kv *));
    far_object_free(device, program, sizeof *program);
}

// Arrays of the program; zero elements need none.
static bool arrays_alloc(far_device *device, far_program *program) {
    const gr_host *host = device->host;
    if (program->weight_count)
        program->weights =
            host->memory_alloc(host, program->weight_count * sizeof *program->weights);
    if (program->layer_count) {
        program->layers = host->memory_alloc(host, program->layer_count * sizeof *program->layers);
        program->kvs = host->memory_alloc(host, program->layer_count * sizeof *program->kvs);
    }
    return (!program->weight_count || program->weights) &&
           (!program->layer_count || (program->layers && program->kvs));
}

// One operand of a node that runs. Handles that no such operand names may belong to other devices.
static void take_operand(const gr_program_desc *desc, far_program *program, uint32_t operand) {
    if (operand >= desc->segment->value_count)
        return;
    const gr_value *value = gr_segment_value(desc->segment, operand);
    if (value->kind == GR_VALUE_WEIGHT && value->index < program->weight_count) {
        far_weight *weight = far_find(desc->weights[value->index], FAR_WEIGHT);
        program->weights[value->index] = weight ? weight->inner : NULL;
    }
    if (value->kind == GR_VALUE_STATE && value->index < program->layer_count) {
        gr_cache_layer *layer = &program->layers[value->index];
        gr_struct_read((const char *)desc->cache_layers +
                           (size_t)value->index * desc->cache_layer_stride,
                       sizeof *layer, layer);
        far_kv *kv = far_find(layer->kv, FAR_KV);
        program->kvs[value->index] = kv;
        layer->kv = kv ? kv->inner : NULL;
        layer->struct_size = sizeof *layer;
    }
}

static void take_operands(const gr_program_desc *desc, far_program *program) {
    for (uint32_t i = 0, index; gr_segment_next_run(desc->segment, &i, &index);) {
        const gr_node *node = gr_segment_node(desc->segment, index);
        for (uint32_t k = 0; k < node->in_count; k++)
            take_operand(desc, program, node->in[k]);
        for (uint32_t k = 0; k < node->out_count; k++)
            take_operand(desc, program, node->out[k]);
    }
    for (uint32_t i = 0; i < program->layer_count; i++)
        program->layers[i].struct_size = sizeof(gr_cache_layer);
}

static gr_status program_fill(far_device *device, const gr_program_desc *desc, far_program *program,
                              gr_program_info *out_info, gr_error *error) {
    gr_program_desc own = *desc;
    program->weight_count = desc->weights ? desc->weight_count : 0;
    program->layer_count = desc->cache_layers ? desc->cache_layer_count : 0;
    if (!arrays_alloc(device, program))
        return far_no_memory(error, "a program");
    take_operands(desc, program);
    program->arena = far_find(desc->arena, FAR_BUFFER);
    own.struct_size = sizeof own;
    own.weights = program->weights;
    own.weight_count = program->weight_count;
    own.cache_layers = program->layers;
    own.cache_layer_count = program->layer_count;
    own.cache_layer_stride = sizeof(gr_cache_layer);
    own.arena = program->arena ? program->arena->inner : NULL;
    return far_inner()->program_compile(device->inner, &own, &program->inner, out_info, error);
}

gr_status far_program_compile(gr_device *handle, const gr_program_desc *desc_in,
                              gr_program **out_program, gr_program_info *out_info,
                              gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    gr_program_info info = {.struct_size = sizeof info};
    gr_program_desc desc;
    *out_program = NULL;
    gr_struct_fill(out_info, &info, sizeof info);
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    if (!desc_in || !gr_struct_ok(desc_in, sizeof desc, sizeof desc, SIZE_MAX) ||
        !gr_segment_ok(desc_in->segment) || !desc_in->step)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR,
                       "program: incomplete or of another layout");
    gr_struct_read(desc_in, sizeof desc, &desc);
    far_program *program = far_object_alloc(device, sizeof *program, FAR_PROGRAM);
    if (!program)
        return far_no_memory(error, "a program");
    program->step = desc.step;
    program->rows_max = desc.rows_max;
    program->seqs_max = desc.seqs_max;
    program->outputs_max = desc.outputs_max;
    status = program_fill(device, &desc, program, &info, error);
    if (status != GR_OK) {
        program_free(device, program);
        return status;
    }
    gr_struct_fill(out_info, &info, sizeof info);
    *out_program = far_hide(program);
    return GR_OK;
}

void far_program_destroy(gr_device *handle, gr_program *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_program *program = far_find(which, FAR_PROGRAM);
    if (!program)
        return;
    far_retire(device, &program->object, "a program");
    program_free(device, program);
}

static gr_status take_waits(const gr_submit *submit, far_command *command, gr_error *error) {
    if (submit->wait_count > FAR_WAITS)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, FAR, "submit: %u waits, at most %d",
                       submit->wait_count, FAR_WAITS);
    if (submit->wait_count && (!submit->waits || !submit->wait_values))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "submit: waits without fences");
    command->wait_count = submit->wait_count;
    for (uint32_t i = 0; i < submit->wait_count; i++) {
        command->waits[i] = far_find(submit->waits[i], FAR_FENCE);
        command->wait_values[i] = submit->wait_values[i];
        if (!command->waits[i])
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "submit: wait %u is no fence", i);
    }
    return GR_OK;
}

// What can be seen from here is refused here; the rest the device finds out when it runs.
gr_status far_submit(gr_device *handle, gr_queue *queue, const gr_submit *submit, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    if (!submit || !gr_struct_ok(submit, sizeof *submit, sizeof *submit, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "submit: another layout");
    far_command command = {.program = far_find(submit->program, FAR_PROGRAM),
                           .scratch = far_find(submit->scratch, FAR_BUFFER),
                           .signal = far_find(submit->signal, FAR_FENCE),
                           .signal_value = submit->signal_value};
    if (!command.program || (submit->signal && !command.signal))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR,
                       "submit: no program, or a signal that is no fence");
    const gr_step *step = command.program->step;
    if (step->rows > command.program->rows_max || step->seqs > command.program->seqs_max ||
        step->outputs > command.program->outputs_max)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, FAR,
                       "step of %u rows, %u sequences, %u outputs: the program takes %u, %u, %u",
                       step->rows, step->seqs, step->outputs, command.program->rows_max,
                       command.program->seqs_max, command.program->outputs_max);
    gr_status status = take_waits(submit, &command, error);
    return status == GR_OK ? far_give(device, queue, &command, error) : status;
}
