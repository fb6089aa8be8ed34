// SPDX-License-Identifier: Apache-2.0
// build.c: the list of calls, and where it needs barriers.
#include "cpu.h"

gr_status cpu_no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, CPU_ORIGIN, "no memory");
}

static bool overlap(const cpu_access *a, const cpu_access *b) {
    return a->space == b->space && a->begin < b->end && b->begin < a->end;
}

static cpu_access arena_access(const uint8_t *data, uint64_t bytes, bool write) {
    uint64_t begin = (uint64_t)(uintptr_t)data;
    return (cpu_access){
        .space = CPU_SPACE_ARENA, .write = write, .begin = begin, .end = begin + bytes};
}

// What a call touches: its operands and what `scratch` lists. Returns how many.
static uint32_t accesses_of(const cpu_builder *b, const cpu_call *call, const cpu_access *scratch,
                            uint32_t scratch_count, cpu_access *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < call->node.in_count; i++) {
        if (call->in[i] && call->node.in[i].kind == GR_VALUE_ACTIVATION)
            out[count++] =
                arena_access(call->in[i], cpu_value_bytes(&call->node.in[i], &b->maxima), false);
    }
    for (uint32_t i = 0; i < call->node.out_count; i++) {
        if (call->out[i])
            out[count++] =
                arena_access(call->out[i], cpu_value_bytes(&call->node.out[i], &b->maxima), true);
    }
    if (call->kv && call->op) { // one layer of a pool; a clash of two numbers only costs a barrier
        uint64_t begin = (uint64_t)(uintptr_t)call->kv + call->kv_layer;
        out[count++] = (cpu_access){.space = CPU_SPACE_STATE,
                                    .write = call->op->op == GR_OP_KV_WRITE,
                                    .begin = begin,
                                    .end = begin + 1};
    }
    for (uint32_t i = 0; i < scratch_count; i++)
        out[count++] = scratch[i];
    return count;
}

static bool conflicts(const cpu_builder *b, const cpu_access *accesses, uint32_t count) {
    if (b->open_count + count > CPU_OPEN_MAX)
        return true;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < b->open_count; j++) {
            if ((accesses[i].write || b->open[j].write) && overlap(&accesses[i], &b->open[j]))
                return true;
        }
    }
    return false;
}

// A kept form is worthless once its value is written anew.
static void forget(cpu_kept_value *kept, const cpu_access *access) {
    cpu_access value = arena_access(kept->data, kept->data_bytes, false);
    if (kept->data && access->write && overlap(&value, access))
        kept->data = NULL;
}

static bool calls_grow(cpu_builder *b) {
    gr_program *program = b->program;
    if (program->call_count < program->call_capacity)
        return true;
    const gr_host *host = b->device->host;
    uint32_t capacity = program->call_capacity ? program->call_capacity * 2 : 64;
    cpu_call *calls = host->memory_alloc(host, (uint64_t)capacity * sizeof *calls);
    if (!calls)
        return false;
    if (program->calls) {
        memcpy(calls, program->calls, program->call_count * sizeof *calls);
        host->memory_free(host, program->calls, (uint64_t)program->call_capacity * sizeof *calls);
    }
    program->calls = calls;
    program->call_capacity = capacity;
    return true;
}

cpu_call *cpu_build_call(cpu_builder *b, const cpu_call *call, const cpu_access *scratch,
                         uint32_t scratch_count) {
    cpu_access accesses[CPU_MAX_IN + CPU_MAX_OUT + 1 + 4];
    uint32_t count = accesses_of(b, call, scratch, scratch_count, accesses);
    gr_program *program = b->program;
    if (!calls_grow(b))
        return NULL;
    if (program->call_count && conflicts(b, accesses, count)) {
        program->calls[program->call_count - 1].barrier = true;
        b->open_count = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        b->open[b->open_count++] = accesses[i];
        forget(&b->quantised, &accesses[i]);
        forget(&b->rounded, &accesses[i]);
        forget(&b->laid, &accesses[i]);
    }
    cpu_call *place = &program->calls[program->call_count++];
    *place = *call;
    return place;
}

uint64_t cpu_build_shared(cpu_builder *b, uint64_t bytes) {
    uint64_t offset = b->program->scratch_shared;
    b->program->scratch_shared += (bytes + 63) / 64 * 64;
    return offset;
}

void cpu_build_private(cpu_builder *b, uint64_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    if (bytes > b->program->scratch_per_thread)
        b->program->scratch_per_thread = bytes;
}

const void *cpu_build_keep(cpu_builder *b, const void *data, uint64_t bytes) {
    const gr_host *host = b->device->host;
    cpu_kept *kept = host->memory_alloc(host, sizeof *kept + bytes);
    if (!kept)
        return NULL;
    kept->bytes = sizeof *kept + bytes;
    kept->next = b->program->kept;
    b->program->kept = kept;
    memcpy(kept + 1, data, bytes);
    return kept + 1;
}

gr_status cpu_build_form(cpu_builder *b, const cpu_call *bound, cpu_call_function run,
                         uint64_t row_bytes, cpu_kept_value *kept, cpu_access *out_access,
                         gr_error *error) {
    const gr_value *x = &bound->node.in[0];
    uint64_t rows = cpu_rows(x, &b->maxima), bytes = rows * row_bytes, width = cpu_width(x);
    bool stands = kept->data && kept->data == bound->in[0] && kept->width == width &&
                  kept->data_bytes == cpu_value_bytes(x, &b->maxima);
    if (!stands && bytes > kept->capacity) {
        kept->offset = cpu_build_shared(b, bytes);
        kept->capacity = bytes;
    }
    *out_access = (cpu_access){
        .space = CPU_SPACE_SCRATCH, .begin = kept->offset, .end = kept->offset + bytes};
    if (stands)
        return GR_OK;
    cpu_call helper = {.run = run, .kernels = bound->kernels, .scratch = kept->offset};
    helper.node.in_count = 1;
    helper.node.layer = bound->node.layer;
    helper.node.has_in[0] = true;
    helper.node.in[0] = *x;
    helper.in[0] = bound->in[0];
    cpu_access write = *out_access;
    write.write = true;
    if (!cpu_build_call(b, &helper, &write, 1))
        return cpu_no_memory(error);
    kept->data = bound->in[0];
    kept->data_bytes = cpu_value_bytes(x, &b->maxima);
    kept->width = width;
    return GR_OK;
}
