// SPDX-License-Identifier: Apache-2.0
// skew.c: a newer host, towards the wrapped plugin: every struct is longer than this header's, its
// tail zero. Structs that a program borrows are copied when it is compiled and kept until it is
// destroyed; the step block is copied again before every submit.
#include "fault.h"

#define LONGER(type)                                                                               \
    struct {                                                                                       \
        type known;                                                                                \
        uint64_t later[2];                                                                         \
    }
typedef LONGER(gr_value) long_value;
typedef LONGER(gr_node) long_node;
typedef LONGER(gr_segment) long_segment;
typedef LONGER(gr_cache_layer) long_layer;
typedef LONGER(gr_step_group) long_group;
typedef LONGER(gr_step) long_step;

typedef struct fault_long_program {
    struct fault_long_program *next;
    gr_program *program;
    uint64_t bytes; // of this block
    const gr_step *source;
    long_step step;
    long_group *groups;
    uint32_t group_capacity;
    long_segment *segment;
} fault_long_program;

// Writes a longer copy of an object of `known` bytes into `out`, of LATER more.
enum { LATER = 2 * sizeof(uint64_t) };
static void *lengthen(const void *object, size_t known, void *out) {
    const uint32_t size = (uint32_t)known + LATER;
    gr_struct_read(object, known, out);
    memset((char *)out + known, 0, LATER);
    return memcpy(out, &size, sizeof size);
}

gr_status fault_skew_parse(const char *text, fault_skew *out_skew, gr_error *error) {
    static const char *const words[] = {"short-topology", "old-host",  "new-host",
                                        "long-structs",   "old-table", "new-table"};
    *out_skew = 0;
    for (const char *at = text ? text : ""; *at; at += *at == ',') {
        size_t length = strcspn(at, ","), i = 0, count = sizeof words / sizeof words[0];
        while (i < count && (strlen(words[i]) != length || strncmp(words[i], at, length)))
            i++;
        if (i == count)
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAULT,
                           "skew '%.*s': expected short-topology, old-host, new-host, "
                           "long-structs, old-table or new-table",
                           length < 40 ? (int)length : 40, at);
        *out_skew |= 1u << i;
        at += length;
    }
    return GR_OK;
}

// ---- Segments ----

static uint64_t attrs_bytes(const gr_node *node) {
    uint32_t size = 0;
    if (node->attrs)
        memcpy(&size, node->attrs, sizeof size);
    return size ? ((uint64_t)size + 7) / 8 * 8 + LATER : 0;
}

static uint64_t segment_bytes(const gr_segment *segment) {
    uint64_t bytes = sizeof(long_segment) + segment->value_count * sizeof(long_value) +
                     segment->node_count * sizeof(long_node);
    for (uint32_t i = 0; i < segment->node_count; i++)
        bytes += attrs_bytes(gr_segment_node(segment, i));
    return bytes;
}

// Copies a segment into zeroed memory at `at`; returns the end.
static char *segment_write(const gr_segment *segment, char *at) {
    long_segment *copy = (long_segment *)(void *)at;
    long_value *values = (long_value *)(void *)(copy + 1);
    long_node *nodes = (long_node *)(void *)(values + segment->value_count);
    char *attrs = (char *)(nodes + segment->node_count);
    lengthen(segment, sizeof *segment, copy);
    copy->known.value_stride = sizeof *values;
    copy->known.node_stride = sizeof *nodes;
    copy->known.values = &values->known;
    copy->known.nodes = &nodes->known;
    for (uint32_t i = 0; i < segment->value_count; i++)
        lengthen(gr_segment_value(segment, i), sizeof(gr_value), &values[i]);
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        uint64_t bytes = attrs_bytes(node);
        uint32_t size = (uint32_t)bytes;
        lengthen(node, sizeof *node, &nodes[i]);
        if (!bytes)
            continue;
        memcpy(attrs, node->attrs, *(const uint32_t *)node->attrs);
        memcpy(attrs, &size, sizeof size);
        nodes[i].known.attrs = attrs;
        attrs += bytes;
    }
    return attrs;
}

void fault_long_node_support(fault_device *device, const gr_segment *segment, uint32_t index,
                             gr_support *out_support) {
    uint64_t bytes = segment_bytes(segment);
    char *memory = device->host->memory_alloc(device->host, bytes);
    LONGER(gr_support) support = {.known.struct_size = sizeof support};
    if (memory) {
        segment_write(segment, memory);
        device->backend->node_support(device->inner, (gr_segment *)(void *)memory, index,
                                      &support.known);
        device->host->memory_free(device->host, memory, bytes);
    }
    gr_struct_fill(out_support, &support.known, sizeof support.known);
}

// ---- Weights and pools ----

gr_status fault_long_weight_import(fault_device *device, const gr_weight_desc *desc,
                                   gr_weight **out_weight, gr_weight_info *out_info,
                                   gr_error *error) {
    LONGER(gr_weight_desc) given;
    LONGER(gr_weight_info) info = {.known.struct_size = sizeof info};
    gr_status status = device->backend->weight_import(
        device->inner, lengthen(desc, sizeof *desc, &given), out_weight, &info.known, error);
    gr_struct_fill(out_info, &info.known, sizeof info.known);
    return status;
}

gr_status fault_long_kv_create(fault_device *device, const gr_kv_desc *desc, gr_kv **out_kv,
                               gr_error *error) {
    LONGER(gr_kv_desc) given;
    return device->backend->kv_create(device->inner, lengthen(desc, sizeof *desc, &given), out_kv,
                                      error);
}

gr_status fault_long_kv_read(fault_device *device, gr_queue *queue, gr_kv *kv,
                             const gr_kv_region *region, gr_dtype dtype, void *values,
                             uint64_t bytes, gr_error *error) {
    LONGER(gr_kv_region) given;
    return device->backend->kv_read(device->inner, queue, kv,
                                    lengthen(region, sizeof *region, &given), dtype, values, bytes,
                                    error);
}

gr_status fault_long_kv_write(fault_device *device, gr_queue *queue, gr_kv *kv,
                              const gr_kv_region *region, gr_dtype dtype, const void *values,
                              uint64_t bytes, gr_error *error) {
    LONGER(gr_kv_region) given;
    return device->backend->kv_write(device->inner, queue, kv,
                                     lengthen(region, sizeof *region, &given), dtype, values, bytes,
                                     error);
}

// ---- Programs ----

static void refresh_step(fault_long_program *copy) {
    const gr_step *source = copy->source;
    lengthen(source, sizeof *source, &copy->step);
    if (!source->group_count || source->group_count > copy->group_capacity)
        return;
    for (uint32_t i = 0; i < source->group_count; i++)
        lengthen(gr_step_group_at(source, i), sizeof(gr_step_group), &copy->groups[i]);
    copy->step.known.groups = &copy->groups->known;
    copy->step.known.group_stride = sizeof *copy->groups;
}

static const gr_cache_layer *copy_layers(const gr_program_desc *desc, long_layer *layers) {
    for (uint32_t i = 0; i < desc->cache_layer_count; i++)
        lengthen((const char *)desc->cache_layers + (size_t)i * desc->cache_layer_stride,
                 sizeof(gr_cache_layer), &layers[i]);
    return &layers->known;
}

static fault_long_program *copy_program(fault_device *device, const gr_program_desc *desc,
                                        long_layer **out_layers) {
    uint32_t groups = desc->step->group_count;
    uint64_t bytes = sizeof(fault_long_program) + segment_bytes(desc->segment) +
                     groups * sizeof(long_group) + desc->cache_layer_count * sizeof(long_layer);
    fault_long_program *copy = device->host->memory_alloc(device->host, bytes);
    if (!copy)
        return NULL;
    copy->bytes = bytes;
    copy->source = desc->step;
    copy->segment = (long_segment *)(void *)(copy + 1);
    copy->groups = (long_group *)(void *)segment_write(desc->segment, (char *)copy->segment);
    copy->group_capacity = groups;
    *out_layers = (long_layer *)(void *)(copy->groups + groups);
    refresh_step(copy);
    return copy;
}

gr_status fault_long_compile(fault_device *device, const gr_program_desc *desc,
                             gr_program **out_program, gr_program_info *out_info, gr_error *error) {
    LONGER(gr_program_desc) given;
    LONGER(gr_program_info) info = {.known.struct_size = sizeof info};
    long_layer *layers;
    fault_long_program *copy = copy_program(device, desc, &layers);
    if (!copy)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, FAULT, "no memory for a longer segment");
    lengthen(desc, sizeof *desc, &given);
    given.known.segment = &copy->segment->known;
    given.known.step = &copy->step.known;
    given.known.cache_layers = copy_layers(desc, layers);
    given.known.cache_layer_stride = sizeof *layers;
    gr_status status = device->backend->program_compile(device->inner, &given.known, out_program,
                                                        &info.known, error);
    gr_struct_fill(out_info, &info.known, sizeof info.known);
    if (status != GR_OK) {
        device->host->memory_free(device->host, copy, copy->bytes);
        return status;
    }
    copy->program = *out_program;
    pthread_mutex_lock(&device->lock);
    copy->next = device->programs;
    device->programs = copy;
    pthread_mutex_unlock(&device->lock);
    return GR_OK;
}

gr_status fault_long_submit(fault_device *device, gr_queue *queue, const gr_submit *submit,
                            gr_error *error) {
    LONGER(gr_submit) given;
    pthread_mutex_lock(&device->lock);
    fault_long_program *copy = device->programs;
    while (copy && copy->program != submit->program)
        copy = copy->next;
    pthread_mutex_unlock(&device->lock);
    if (copy)
        refresh_step(copy);
    return device->backend->submit(device->inner, queue, lengthen(submit, sizeof *submit, &given),
                                   error);
}

void fault_long_forget(fault_device *device, const gr_program *program) {
    pthread_mutex_lock(&device->lock);
    fault_long_program **at = &device->programs;
    while (*at && (*at)->program != program)
        at = &(*at)->next;
    fault_long_program *copy = *at;
    if (copy)
        *at = copy->next;
    pthread_mutex_unlock(&device->lock);
    if (copy)
        device->host->memory_free(device->host, copy, copy->bytes);
}
