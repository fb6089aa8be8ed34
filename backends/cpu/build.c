// SPDX-License-Identifier: Apache-2.0
// build.c: the list of calls, and where it needs barriers.
#include "cpu.h"

gr_status cpu_no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, CPU_ORIGIN, "no memory");
}

static bool overlap(const cpu_access *a, const cpu_access *b) {
    return a->space == b->space && a->begin < b->end && b->begin < a->end;
}

// Bytes of a computed value, bound to `data` when it is in the arena.
static cpu_access value_access(const cpu_builder *b, const gr_value *value, const uint8_t *data,
                               bool write) {
    bool inner = value->kind == CPU_VALUE_INNER;
    uint64_t begin = inner ? value->offset : (uint64_t)(uintptr_t)data;
    return (cpu_access){.space = inner ? CPU_SPACE_SCRATCH : CPU_SPACE_ARENA,
                        .write = write,
                        .begin = begin,
                        .end = begin + cpu_value_bytes(value, &b->maxima)};
}

// What a call touches: its operands and what `scratch` lists. Returns how many.
static uint32_t accesses_of(const cpu_builder *b, const cpu_call *call, const cpu_access *scratch,
                            uint32_t scratch_count, cpu_access *out) {
    const cpu_node *node = &call->node;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->has_in[i] && cpu_is_computed(&node->in[i]))
            out[count++] = value_access(b, &node->in[i], call->in[i], false);
    }
    for (uint32_t i = 0; i < node->out_count; i++) {
        if (cpu_is_computed(&node->out[i]))
            out[count++] = value_access(b, &node->out[i], call->out[i], true);
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
    kept->stands = kept->stands && !(access->write && overlap(&kept->value, access));
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
        forget(&b->own, &accesses[i]);
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

uint64_t cpu_build_region(cpu_builder *b, cpu_region *region, uint64_t bytes) {
    if (bytes > region->capacity)
        *region = (cpu_region){cpu_build_shared(b, bytes), bytes};
    return region->offset;
}

void cpu_build_private(cpu_builder *b, uint64_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    if (bytes > b->program->scratch_work)
        b->program->scratch_work = bytes;
}

void cpu_build_inner(cpu_builder *b, gr_value *value) {
    value->offset = cpu_build_region(b, &b->inner[value->index], cpu_value_bytes(value, &b->maxima));
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

cpu_call cpu_helper_of(const cpu_call *bound, cpu_call_function run) {
    cpu_call helper = {.run = run, .kernels = bound->kernels};
    helper.node.in_count = 1;
    helper.node.layer = bound->node.layer;
    helper.node.has_in[0] = true;
    helper.node.in[0] = bound->node.in[0];
    helper.in[0] = bound->in[0];
    return helper;
}

// Whether the form that `kept` tells of is what `helper` would make of `value`.
static bool still_stands(const cpu_builder *b, const cpu_kept_value *kept, const cpu_access *value,
                         const cpu_call *helper) {
    const cpu_call *made = &b->program->calls[kept->helper];
    const cpu_access *at = &kept->value;
    return kept->stands && at->space == value->space && at->begin == value->begin &&
           at->end == value->end && kept->width == cpu_width(&helper->node.in[0]) &&
           made->in[1] == helper->in[1] && made->node.attrs.norm.eps == helper->node.attrs.norm.eps;
}

// Bytes at each worker's own, or in the shared scratch.
static void reserve(cpu_builder *b, cpu_kept_value *kept, uint64_t bytes, bool own) {
    if (own && bytes > b->program->scratch_form)
        b->program->scratch_form = (bytes + 63) / 64 * 64;
    if (own || bytes <= kept->capacity)
        return;
    kept->offset = cpu_build_shared(b, bytes);
    kept->capacity = bytes;
}

gr_status cpu_build_form(cpu_builder *b, const cpu_call *helper, uint64_t row_bytes,
                         cpu_kept_value *kept, cpu_access *out_access, gr_error *error) {
    const gr_value *x = &helper->node.in[0];
    uint64_t bytes = cpu_rows(x, &b->maxima) * row_bytes;
    cpu_access value = value_access(b, x, helper->in[0], false);
    bool stands = still_stands(b, kept, &value, helper);
    if (!stands)
        reserve(b, kept, bytes, helper->own);
    *out_access = (cpu_access){.space = CPU_SPACE_SCRATCH,
                               .begin = kept->offset,
                               .end = kept->offset + (helper->own ? 0 : bytes)};
    if (stands)
        return GR_OK;
    cpu_access write = *out_access;
    write.write = true;
    cpu_call *call = cpu_build_call(b, helper, &write, 1);
    if (!call)
        return cpu_no_memory(error);
    call->scratch = kept->offset;
    *kept = (cpu_kept_value){.stands = true,
                             .value = value,
                             .width = cpu_width(x),
                             .offset = kept->offset,
                             .capacity = kept->capacity,
                             .helper = b->program->call_count - 1};
    return GR_OK;
}
