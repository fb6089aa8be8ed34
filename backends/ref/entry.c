// SPDX-License-Identifier: Apache-2.0
// entry.c: the plugin's table, its one device, and what that device can run.
#include <stdio.h>

#include "ref.h"

static gr_status ref_probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                           uint32_t *out_count, gr_error *error) {
    if (out_count)
        *out_count = 0;
    if (!gr_host_complete(host) || !out_count ||
        (capacity && (!out_facts || stride < 2 * sizeof(uint32_t))))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "probe: incomplete host or output");
    *out_count = 1;
    if (!capacity)
        return GR_OK;
    gr_device_facts facts = {
        .struct_size = sizeof facts, .kind = GR_DEVICE_REFERENCE, .numa_node = -1};
    // BATCH_INVARIANT whether or not the host asks for it (GR_HOST_DETERMINISTIC): there is one path.
    facts.flags = GR_DEVICE_HOST_MEMORY | GR_DEVICE_COHERENT | GR_DEVICE_ALIASES_WEIGHTS |
                  GR_DEVICE_BATCH_INVARIANT | GR_DEVICE_FALLBACK;
    facts.memory_bytes = facts.memory_free_bytes = gr_host_topology(host).memory_limit_bytes;
    snprintf(facts.name, sizeof facts.name, "ref");
    snprintf(facts.description, sizeof facts.description,
             "plain C reference: every op and dtype, F64 accumulation");
    gr_struct_fill(out_facts, &facts, sizeof facts);
    return GR_OK;
}

static gr_status ref_open(const gr_host *host, uint32_t ordinal, gr_device **out_device,
                          gr_error *error) {
    if (!out_device)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "open: no output");
    *out_device = NULL;
    if (!gr_host_complete(host))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "ref", "open: the host's table is incomplete");
    if (ordinal != 0)
        return gr_fail(error, GR_ERROR_NOT_FOUND, "ref", "device %u: there is only device 0",
                       ordinal);
    gr_device *device = host->memory_alloc(host, sizeof *device);
    if (!device)
        return gr_no_memory(error, "a device");
    device->host = host;
    *out_device = device;
    return GR_OK;
}

static void ref_close(gr_device *device) {
    if (device)
        device->host->memory_free(device->host, device, sizeof *device);
}

static void ref_node_support(gr_device *device, const gr_segment *segment, uint32_t index,
                             gr_support *out_support) {
    (void)device;
    gr_node_view node;
    const char *why = "no segment that can be read";
    if (gr_segment_ok(segment))
        why = gr_node_read(segment, index, &node);
    if (!why)
        why = gr_operands_check(&node);
    gr_support support = {.struct_size = sizeof support,
                          .level = why ? GR_SUPPORT_NO : GR_SUPPORT_NATIVE,
                          .precision = GR_PRECISION_F32};
    snprintf(support.reason, sizeof support.reason, "%s", why ? why : "plain C");
    gr_struct_fill(out_support, &support, sizeof support);
}

static const void *ref_get_extension(const char *name) {
    (void)name;
    return NULL;
}

static const gr_backend table = {
    .struct_size = sizeof table,
    .abi_major = GR_ABI_MAJOR,
    .abi_minor = GR_ABI_MINOR,
    .name = "ref",
    .version = GREGALE_VERSION,
    .build_id = "ref-1",
    .op_limit = GR_OP_LIMIT,
    .dtype_limit = GR_DTYPE_LIMIT,
    .probe = ref_probe,
    .open = ref_open,
    .close = ref_close,
    .node_support = ref_node_support,
    .buffer_alloc = gr_host_buffer_alloc,
    .buffer_import = gr_host_buffer_import,
    .buffer_destroy = gr_host_buffer_destroy,
    .buffer_read = gr_host_buffer_read,
    .buffer_write = gr_host_buffer_write,
    .buffer_map = gr_host_buffer_map,
    .weight_import = gr_host_weight_import,
    .weight_destroy = gr_host_weight_destroy,
    .kv_create = gr_host_kv_create,
    .kv_destroy = gr_host_kv_destroy,
    .kv_resize = gr_host_kv_resize,
    .kv_page_bytes = gr_host_kv_page_bytes,
    .kv_copy_page = gr_host_kv_copy_page,
    .kv_read = gr_host_kv_read,
    .kv_write = gr_host_kv_write,
    .program_compile = ref_program_compile,
    .program_destroy = ref_program_destroy,
    .queue_create = gr_host_queue_create,
    .queue_destroy = gr_host_queue_destroy,
    .submit = ref_submit,
    .fence_create = gr_host_fence_create,
    .fence_destroy = gr_host_fence_destroy,
    .fence_wait = gr_host_fence_wait,
    .get_extension = ref_get_extension,
};

GR_PLUGIN_ENTRY(ref) {
    (void)host_minor;
    return host_major == GR_ABI_MAJOR ? &table : NULL;
}
