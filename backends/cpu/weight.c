// SPDX-License-Identifier: Apache-2.0
// weight.c: weights stay where they are, in the model file's mapping, and are read in the file's own
// blocks, until they are packed.
//
// A step packs for a part of the time that the last one like it took (submit.c), from its first call
// on, and reads the rest as it lies: so no step waits long, and one weight after the other is packed
// whole and its source's pages given back.
#include <stdio.h>

#include "cpu.h"

// Sizes of a description; returns NULL, or why it cannot be.
static const char *desc_measure(const gr_weight_desc *desc, uint64_t *out_row_bytes) {
    uint64_t rows = 1, bytes;
    if (desc->rank < 1 || desc->rank > GR_MAX_RANK)
        return "its rank is not 1 to 4";
    if (!cpu_can_decode(desc->dtype))
        return "its dtype is unknown";
    for (uint32_t i = 0; i < desc->rank; i++) {
        if (desc->dims[i] < 0)
            return "a dimension is negative";
        if (i + 1 < desc->rank && __builtin_mul_overflow(rows, (uint64_t)desc->dims[i], &rows))
            return "its size overflows";
    }
    uint64_t width = (uint64_t)desc->dims[desc->rank - 1];
    *out_row_bytes = gr_dtype_row_bytes(desc->dtype, width);
    if (width && !*out_row_bytes)
        return "a row is not a whole number of blocks";
    if (__builtin_mul_overflow(rows, *out_row_bytes, &bytes))
        return "its size overflows";
    if (bytes != desc->bytes)
        return "its bytes do not match its shape and dtype";
    return bytes && !desc->data ? "it has no data" : NULL;
}

// The alignment that reading the dtype in C needs: blocks hold F16 scales and bytes.
static uint64_t alignment_of(gr_dtype dtype) {
    uint32_t bytes = gr_dtype_block_bytes(dtype);
    return gr_dtype_block(dtype) == 1 ? bytes : 2;
}

// A pack for a matrix whose rows make whole panels; none when there is no memory for one.
static cpu_pack *pack_create(const gr_device *device, const gr_weight_desc *desc, uint64_t row_bytes) {
    const cpu_kernels *kernels = &device->kernels;
    const gr_host *host = device->host;
    if (desc->consumer != GR_OP_MATMUL || desc->rank < 2 || !desc->bytes ||
        !kernels->pack[desc->dtype] || desc->dims[desc->rank - 2] % CPU_PANEL)
        return NULL;
    uint64_t panels = desc->bytes / row_bytes / CPU_PANEL;
    cpu_pack *pack = host->memory_alloc(host, sizeof *pack + panels);
    if (!pack)
        return NULL;
    pack->panels = panels;
    pack->panel_bytes = (row_bytes * CPU_PANEL + 63) / 64 * 64;
    pack->bytes = panels * pack->panel_bytes;
    pack->data = cpu_memory_map(pack->bytes);
    if (pack->data)
        return pack;
    host->memory_free(host, pack, sizeof *pack + panels);
    return NULL;
}

static void pack_destroy(const gr_host *host, cpu_pack *pack) {
    if (!pack)
        return;
    cpu_memory_unmap(pack->data, pack->bytes);
    host->memory_free(host, pack, sizeof *pack + pack->panels);
}

static void bind(void *context, uint8_t *begin, uint64_t bytes, uint32_t node) {
    const gr_topology *topology = context;
    const gr_numa_node *facts =
        (const void *)((const char *)topology->numa_nodes + (size_t)node * topology->numa_stride);
    if (node < topology->numa_count)
        cpu_memory_bind(begin, bytes, facts->os_index);
}

// Places the memory before it is touched: a panel's reader may not be who packs it.
static void spread_once(const cpu_task *task, const gr_weight *weight) {
    cpu_pack *pack = weight->pack;
    gr_topology topology = gr_host_topology(task->run->host);
    if (topology.fake || topology.numa_count < 2 ||
        atomic_exchange_explicit(&pack->spread, true, memory_order_relaxed))
        return;
    uint64_t panels = (uint64_t)weight->dims[weight->rank - 2] / CPU_PANEL;
    const cpu_spread spread = {.data = pack->data,
                               .matrices = pack->panels / panels,
                               .panels = panels,
                               .panel_bytes = pack->panel_bytes,
                               .queue = task->run->queue,
                               .working = task->count};
    cpu_memory_spread(&spread, bind, &topology);
}

static void pack_panel(const cpu_kernels *kernels, const cpu_task *task, const gr_weight *weight,
                       uint64_t index) {
    cpu_pack *pack = weight->pack;
    const gr_host *host = task->run->host;
    uint64_t start = host->now_ns(host);
    spread_once(task, weight);
    kernels->pack[weight->dtype](weight->data + index * CPU_PANEL * weight->row_bytes,
                                 weight->row_bytes, (uint64_t)weight->dims[weight->rank - 1],
                                 pack->data + index * pack->panel_bytes);
    atomic_store_explicit(&pack->state[index], 2, memory_order_release);
    if (atomic_fetch_add_explicit(&pack->packed, 1, memory_order_relaxed) + 1 == pack->panels &&
        !weight->copy && host->struct_size > offsetof(gr_host, source_done) && host->source_done)
        host->source_done(host, weight->data, weight->bytes);
    uint64_t spent = host->now_ns(host) - start;
    *task->pack_ns -= spent < *task->pack_ns ? spent : *task->pack_ns;
}

const uint8_t *cpu_weight_panel(const cpu_kernels *kernels, const cpu_task *task,
                                const gr_weight *weight, uint64_t index) {
    cpu_pack *pack = weight->pack;
    uint8_t none = 0;
    if (!pack)
        return NULL;
    if (atomic_load_explicit(&pack->state[index], memory_order_acquire) != 2) {
        if (!*task->pack_ns || !atomic_compare_exchange_strong(&pack->state[index], &none, 1))
            return NULL;
        pack_panel(kernels, task, weight, index);
    }
    return pack->data + index * pack->panel_bytes;
}

gr_status cpu_weight_import(gr_device *device, const gr_weight_desc *desc_in,
                            gr_weight **out_weight, gr_weight_info *out_info, gr_error *error) {
    *out_weight = NULL;
    gr_weight_info info = {.struct_size = sizeof info};
    gr_struct_fill(out_info, &info, sizeof info);
    if (!desc_in ||
        !gr_struct_ok(desc_in, offsetof(gr_weight_desc, name), sizeof *desc_in, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "weight: its description has another layout");
    gr_weight_desc desc;
    gr_struct_read(desc_in, sizeof desc, &desc);
    const char *name = desc.name ? desc.name : "a weight";
    uint64_t row_bytes = 0;
    const char *why = desc_measure(&desc, &row_bytes);
    if (why)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN, "%s: %s", name, why);
    const gr_host *host = device->host;
    gr_weight *weight = host->memory_alloc(host, sizeof *weight);
    if (!weight)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, CPU_ORIGIN, "%s: no memory", name);
    *weight = (gr_weight){.data = desc.data,
                          .bytes = desc.bytes,
                          .row_bytes = row_bytes,
                          .dtype = desc.dtype,
                          .rank = desc.rank};
    memcpy(weight->dims, desc.dims, sizeof weight->dims);
    if (desc.bytes && (uintptr_t)desc.data % alignment_of(desc.dtype)) {
        weight->copy = host->memory_alloc(host, desc.bytes);
        if (!weight->copy) {
            host->memory_free(host, weight, sizeof *weight);
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, CPU_ORIGIN,
                           "%s: no memory for %llu bytes", name, (unsigned long long)desc.bytes);
        }
        memcpy(weight->copy, desc.data, desc.bytes);
        weight->data = weight->copy;
    }
    weight->pack = pack_create(device, &desc, row_bytes);
    // A pack replaces the source in memory panel by panel, so only one of the two counts.
    info.aliases_source = weight->copy == NULL;
    info.device_bytes = weight->copy ? desc.bytes : 0;
    snprintf(info.layout, sizeof info.layout, weight->pack ? "gguf, then 16 rows" : "gguf");
    gr_struct_fill(out_info, &info, sizeof info);
    *out_weight = weight;
    return GR_OK;
}

void cpu_weight_destroy(gr_device *device, gr_weight *weight) {
    if (!weight)
        return;
    pack_destroy(device->host, weight->pack);
    if (weight->copy)
        device->host->memory_free(device->host, weight->copy, weight->bytes);
    device->host->memory_free(device->host, weight, sizeof *weight);
}
