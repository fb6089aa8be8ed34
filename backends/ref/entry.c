// SPDX-License-Identifier: Apache-2.0
// entry.c: the plugin's table, its one device, and what that device can run.
#include <stdio.h>

#include "ref.h"

// A newer host may offer more services than we know; that is no request, so its tail is not
// checked.
static bool host_ok(const gr_host *host) {
    return host && host->struct_size >= offsetof(gr_host, get_extension) &&
           host->abi_major == GR_ABI_MAJOR && host->log && host->now_ns && host->memory_alloc &&
           host->memory_free && host->team_size && host->team_run && host->team_barrier;
}

static gr_status ref_probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                           uint32_t *out_count, gr_error *error) {
    if (out_count)
        *out_count = 0;
    if (!host_ok(host) || !out_count || (capacity && (!out_facts || stride < 2 * sizeof(uint32_t))))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "probe: incomplete host or output");
    *out_count = 1;
    if (!capacity)
        return GR_OK;
    gr_device_facts facts = {
        .struct_size = sizeof facts, .kind = GR_DEVICE_REFERENCE, .numa_node = -1};
    // BATCH_INVARIANT whether or not the host asks for it (GR_HOST_DETERMINISTIC): there is one path.
    facts.flags = GR_DEVICE_HOST_MEMORY | GR_DEVICE_COHERENT | GR_DEVICE_ALIASES_WEIGHTS |
                  GR_DEVICE_BATCH_INVARIANT | GR_DEVICE_FALLBACK;
    if (host->topology)
        facts.memory_bytes = facts.memory_free_bytes = host->topology->memory_limit_bytes;
    snprintf(facts.name, sizeof facts.name, "ref");
    snprintf(facts.description, sizeof facts.description,
             "plain C reference: every op and dtype, F64 accumulation");
    ref_struct_fill(out_facts, &facts, sizeof facts);
    return GR_OK;
}

static gr_status ref_open(const gr_host *host, uint32_t ordinal, gr_device **out_device,
                          gr_error *error) {
    if (!out_device)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "open: no output");
    *out_device = NULL;
    if (!host_ok(host))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "ref", "open: the host's table is incomplete");
    if (ordinal != 0)
        return gr_fail(error, GR_ERROR_NOT_FOUND, "ref", "device %u: there is only device 0",
                       ordinal);
    gr_device *device = host->memory_alloc(host, sizeof *device);
    if (!device)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a device");
    device->host = host;
    *out_device = device;
    return GR_OK;
}

static void ref_close(gr_device *device) {
    if (device)
        device->host->memory_free(device->host, device, sizeof *device);
}

void ref_node_support(gr_device *device, const gr_segment *segment, uint32_t index,
                      gr_support *out_support) {
    (void)device;
    gr_support support = {.struct_size = sizeof support, .level = GR_SUPPORT_NO};
    ref_node node;
    const char *why = "no segment, or no such node";
    if (segment && ref_struct_ok(segment, sizeof *segment, sizeof *segment, SIZE_MAX) &&
        index < segment->node_count)
        why = ref_node_read(segment, index, &node);
    if (!why)
        support.level = GR_SUPPORT_NATIVE;
    support.precision = GR_PRECISION_F32;
    snprintf(support.reason, sizeof support.reason, "%s", why ? why : "plain C");
    ref_struct_fill(out_support, &support, sizeof support);
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
    .buffer_alloc = ref_buffer_alloc,
    .buffer_import = ref_buffer_import,
    .buffer_destroy = ref_buffer_destroy,
    .buffer_read = ref_buffer_read,
    .buffer_write = ref_buffer_write,
    .buffer_map = ref_buffer_map,
    .weight_import = ref_weight_import,
    .weight_destroy = ref_weight_destroy,
    .kv_create = ref_kv_create,
    .kv_destroy = ref_kv_destroy,
    .kv_resize = ref_kv_resize,
    .kv_page_bytes = ref_kv_page_bytes,
    .kv_copy_page = ref_kv_copy_page,
    .kv_read = ref_kv_read,
    .kv_write = ref_kv_write,
    .program_compile = ref_program_compile,
    .program_destroy = ref_program_destroy,
    .queue_create = ref_queue_create,
    .queue_destroy = ref_queue_destroy,
    .submit = ref_submit,
    .fence_create = ref_fence_create,
    .fence_destroy = ref_fence_destroy,
    .fence_wait = ref_fence_wait,
    .get_extension = ref_get_extension,
};

GR_PLUGIN_ENTRY(ref) {
    (void)host_minor;
    return host_major == GR_ABI_MAJOR ? &table : NULL;
}
