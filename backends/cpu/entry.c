// SPDX-License-Identifier: Apache-2.0
// entry.c: the plugin's table, its one device, and what that device can run.
#include <stdio.h>
#include <stdlib.h>

#include "cpu.h"
#include "onednn/onednn.h"

static bool deterministic(const gr_host *host) {
    return gr_host_asks(host, GR_HOST_DETERMINISTIC);
}

// Rates that cores of each kind reach, per second: taken from vector width and an assumed 2.5 GHz,
// with two vector pipes. They rank machines and devices; a measured probe of the host's refines
// them.
static void estimate(const cpu_kernels *kernels, const gr_topology *topology,
                     gr_device_facts *facts) {
    uint64_t cores = topology->core_count ? topology->core_count : 1;
    if (topology->cpu_quota_milli && topology->cpu_quota_milli < cores * 1000)
        cores = (topology->cpu_quota_milli + 999) / 1000;
    uint64_t lanes = !strcmp(kernels->isa, "avx512") ? 16 : !strcmp(kernels->isa, "avx2") ? 8 : 4;
    uint64_t clock = UINT64_C(2500000000);
    facts->f32_operations_per_second = cores * clock * lanes * 2;
    facts->f16_operations_per_second = facts->f32_operations_per_second;
    if (kernels->features & GR_CPU_AVX512_BF16 && lanes == 16)
        facts->f16_operations_per_second *= 2;
    facts->int8_operations_per_second = facts->f32_operations_per_second;
    if (kernels->dot_isa) // without an instruction for four products and their sum, half as much
        facts->int8_operations_per_second *=
            strcmp(kernels->dot_isa, "avx2") && strcmp(kernels->dot_isa, "neon") ? 4 : 2;
    // One core draws some 20 GB/s; a node's memory gives out at about 4 such cores, more nodes add
    // up.
    uint64_t nodes = topology->numa_count ? topology->numa_count : 1;
    uint64_t streams = cores < 4 * nodes ? cores : 4 * nodes;
    facts->bandwidth_bytes_per_second = UINT64_C(10000000000) * (streams + 1);
}

static void describe(const gr_host *host, const gr_topology *topology, const cpu_kernels *kernels,
                     gr_device_facts *facts) {
    const char *model = topology->cpu_model ? topology->cpu_model : "processor";
    snprintf(facts->name, sizeof facts->name, "cpu");
    snprintf(facts->description, sizeof facts->description,
             "%.80s: %s kernels, 8-bit products by %s%s", model, kernels->isa,
             kernels->dot_isa ? kernels->dot_isa : "none",
             cpu_onednn_compiled() && !deterministic(host) && cpu_onednn_serves(kernels)
                 ? ", oneDNN for float matrices if found"
                 : "");
}

static gr_status cpu_probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                           uint32_t *out_count, gr_error *error) {
    if (out_count)
        *out_count = 0;
    if (!gr_host_complete(host) || !out_count ||
        (capacity && (!out_facts || stride < 2 * sizeof(uint32_t))))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "probe: incomplete host or output");
    *out_count = 1;
    if (!capacity)
        return GR_OK;
    cpu_kernels kernels;
    const gr_topology topology = gr_host_topology(host);
    cpu_kernels_init(topology.cpu_features, getenv("GREGALE_CPU_ISA"), &kernels);
    gr_device_facts facts = {.struct_size = sizeof facts, .kind = GR_DEVICE_CPU, .numa_node = -1};
    facts.flags = GR_DEVICE_HOST_MEMORY | GR_DEVICE_COHERENT | GR_DEVICE_ALIASES_WEIGHTS;
    if (deterministic(host) || !cpu_onednn_compiled() || !cpu_onednn_serves(&kernels))
        facts.flags |= GR_DEVICE_BATCH_INVARIANT;
    facts.memory_bytes = facts.memory_free_bytes = topology.memory_limit_bytes;
    estimate(&kernels, &topology, &facts);
    describe(host, &topology, &kernels, &facts);
    gr_struct_fill(out_facts, &facts, sizeof facts);
    return GR_OK;
}

static void warn_isa(const gr_host *host) {
    char text[128];
    size_t at = (size_t)snprintf(text, sizeof text, "GREGALE_CPU_ISA is ignored, being none of");
    for (unsigned i = 0; cpu_isa_name(i) && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %s", i ? "," : "", cpu_isa_name(i));
    host->log(host, GR_LOG_WARN, text);
}

static gr_status cpu_open(const gr_host *host, uint32_t ordinal, gr_device **out_device,
                          gr_error *error) {
    if (!out_device)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN, "open: no output");
    *out_device = NULL;
    if (!gr_host_complete(host))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, CPU_ORIGIN,
                       "open: the host's table is incomplete");
    if (ordinal != 0)
        return gr_fail(error, GR_ERROR_NOT_FOUND, CPU_ORIGIN, "device %u: there is only device 0",
                       ordinal);
    gr_device *device = host->memory_alloc(host, sizeof *device);
    if (!device)
        return cpu_no_memory(error);
    *device = (gr_device){.host = host, .deterministic = deterministic(host)};
    if (!cpu_isa_known(getenv("GREGALE_CPU_ISA")))
        warn_isa(host);
    cpu_kernels_init(gr_host_topology(host).cpu_features, getenv("GREGALE_CPU_ISA"),
                     &device->kernels);
    pthread_mutex_init(&device->onednn_lock, NULL);
    *out_device = device;
    return GR_OK;
}

cpu_onednn *cpu_device_onednn(gr_device *device) {
    pthread_mutex_lock(&device->onednn_lock);
    if (!device->onednn_tried)
        device->onednn = cpu_onednn_open(device->host);
    device->onednn_tried = true;
    pthread_mutex_unlock(&device->onednn_lock);
    return device->onednn;
}

static void cpu_close(gr_device *device) {
    if (!device)
        return;
    cpu_onednn_close(device->onednn);
    pthread_mutex_destroy(&device->onednn_lock);
    device->host->memory_free(device->host, device, sizeof *device);
}

// A composite is claimed when each of its parts is native; its precision is that of the worst.
static void support_parts(const gr_device *device, const cpu_parts *parts, gr_support *support) {
    support->level = GR_SUPPORT_NATIVE;
    for (uint32_t i = 0; i < parts->count && support->level != GR_SUPPORT_NO; i++) {
        const cpu_op *op = cpu_op_find(parts->nodes[i].op);
        gr_support part = {.level = GR_SUPPORT_NATIVE, .precision = GR_PRECISION_F32};
        if (op->support)
            op->support(device, &parts->nodes[i], &part);
        if (part.level < support->level)
            support->level = parts->count > 1 ? GR_SUPPORT_NO : part.level;
        if (part.precision > support->precision)
            support->precision = part.precision;
        if (part.reason[0])
            memcpy(support->reason, part.reason, sizeof support->reason);
    }
}

void cpu_node_support(gr_device *device, const gr_segment *segment, uint32_t index,
                      gr_support *out_support) {
    gr_support support = {.struct_size = sizeof support,
                          .level = GR_SUPPORT_NO,
                          .precision = GR_PRECISION_F32};
    cpu_parts parts;
    const char *why = "no segment, or no such node";
    if (cpu_segment_ok(segment) && index < segment->node_count)
        why = cpu_node_read(segment, index, &parts);
    if (!why)
        support_parts(device, &parts, &support);
    else
        snprintf(support.reason, sizeof support.reason, "%s", why);
    gr_struct_fill(out_support, &support, sizeof support);
}

static const void *cpu_get_extension(const char *name) {
    (void)name;
    return NULL;
}

static const gr_backend table = {
    .struct_size = sizeof table,
    .abi_major = GR_ABI_MAJOR,
    .abi_minor = GR_ABI_MINOR,
    .flags = GR_BACKEND_PINNED, // oneDNN starts OpenMP
    .name = "cpu",
    .version = GREGALE_VERSION,
    .build_id = "cpu-1",
    .op_limit = GR_OP_LIMIT,
    .dtype_limit = GR_DTYPE_LIMIT,
    .probe = cpu_probe,
    .open = cpu_open,
    .close = cpu_close,
    .node_support = cpu_node_support,
    .buffer_alloc = cpu_buffer_alloc,
    .buffer_import = cpu_buffer_import,
    .buffer_destroy = cpu_buffer_destroy,
    .buffer_read = cpu_buffer_read,
    .buffer_write = cpu_buffer_write,
    .buffer_map = cpu_buffer_map,
    .weight_import = cpu_weight_import,
    .weight_destroy = cpu_weight_destroy,
    .kv_create = cpu_kv_create,
    .kv_destroy = cpu_kv_destroy,
    .kv_resize = cpu_kv_resize,
    .kv_page_bytes = cpu_kv_page_bytes,
    .kv_copy_page = cpu_kv_copy_page,
    .kv_read = cpu_kv_read,
    .kv_write = cpu_kv_write,
    .program_compile = cpu_program_compile,
    .program_destroy = cpu_program_destroy,
    .queue_create = cpu_queue_create,
    .queue_destroy = cpu_queue_destroy,
    .submit = cpu_submit,
    .fence_create = cpu_fence_create,
    .fence_destroy = cpu_fence_destroy,
    .fence_wait = cpu_fence_wait,
    .get_extension = cpu_get_extension,
};

GR_PLUGIN_ENTRY(cpu) {
    (void)host_minor;
    return host_major == GR_ABI_MAJOR ? &table : NULL;
}
