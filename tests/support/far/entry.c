// SPDX-License-Identifier: Apache-2.0
// entry.c: the plugin's table, its settings and its one device.
#include <stdlib.h>

#include "far.h"

const gr_backend *gregale_plugin_entry_ref(uint16_t host_major, uint16_t host_minor);

const gr_backend *far_inner(void) {
    return gregale_plugin_entry_ref(GR_ABI_MAJOR, GR_ABI_MINOR);
}

static uint64_t number(const char *name, uint64_t standard) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : standard;
}

static far_settings settings(const gr_host *host) {
    uint64_t all = gr_host_topology(host).memory_limit_bytes;
    return (far_settings){.delay_ns = 1000 * number("GREGALE_FAR_DELAY_US", 300),
                          .late_ns = 1000 * number("GREGALE_FAR_LATE_US", 20),
                          .memory_bytes = number("GREGALE_FAR_MEMORY", all ? all : UINT64_MAX),
                          .refuse = getenv("GREGALE_FAR_REFUSE")};
}

static const char *op_name(gr_op op) {
    switch (op) {
#define GR_OP(number, name, level, min_in, max_in, min_out, max_out, attrs, backward)              \
    case number:                                                                                   \
        return #name;
#include "gregale/ops.def"
#undef GR_OP
    default: return "?";
    }
}

static bool refused(const char *list, gr_op op) {
    size_t length = strlen(op_name(op));
    for (; list && *list; list += strcspn(list, ","), list += *list == ',') {
        if (strcspn(list, ",") == length && !strncmp(list, op_name(op), length))
            return true;
    }
    return false;
}

static gr_status far_probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                           uint32_t *out_count, gr_error *error) {
    if (out_count)
        *out_count = 0;
    if (!gr_host_complete(host) || !out_count ||
        (capacity && (!out_facts || stride < 2 * sizeof(uint32_t))))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "probe: incomplete host or output");
    *out_count = 1;
    if (!capacity)
        return GR_OK;
    gr_device_facts facts = {.struct_size = sizeof facts,
                             .kind = GR_DEVICE_ACCELERATOR,
                             .flags = GR_DEVICE_BATCH_INVARIANT | GR_DEVICE_FALLBACK,
                             .memory_bytes = settings(host).memory_bytes,
                             .numa_node = -1};
    facts.memory_free_bytes = facts.memory_bytes;
    snprintf(facts.name, sizeof facts.name, "far");
    snprintf(facts.description, sizeof facts.description,
             "a device for tests: memory of its own, lazy queues, late fences");
    gr_struct_fill(out_facts, &facts, sizeof facts);
    return GR_OK;
}

static void far_close(gr_device *handle) {
    far_device *device = far_find(handle, FAR_DEVICE);
    if (!device)
        return;
    far_inner()->close(device->inner);
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    device->host->memory_free(device->host, device, sizeof *device);
}

static gr_status far_open(const gr_host *host, uint32_t ordinal, gr_device **out_device,
                          gr_error *error) {
    if (!out_device)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "open: no output");
    *out_device = NULL;
    if (!gr_host_complete(host))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, FAR, "open: the host's table is incomplete");
    if (ordinal != 0)
        return gr_fail(error, GR_ERROR_NOT_FOUND, FAR, "device %u: there is only device 0",
                       ordinal);
    far_device *device = host->memory_alloc(host, sizeof *device);
    if (!device)
        return far_no_memory(error, "a device");
    device->object.kind = FAR_DEVICE;
    device->host = host;
    device->settings = settings(host);
    far_services_init(&device->services, host, device->settings.memory_bytes);
    pthread_mutex_init(&device->lock, NULL);
    gr_cond_init(&device->changed);
    gr_status status = far_inner()->open(&device->services.table, 0, &device->inner, error);
    if (status == GR_OK)
        *out_device = far_hide(device);
    else
        far_close(far_hide(device));
    return status;
}

gr_status far_ready(far_device *device, gr_error *error) {
    if (!device)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "that is no device of this backend");
    pthread_mutex_lock(&device->lock);
    bool lost = device->lost;
    pthread_mutex_unlock(&device->lock);
    return lost ? gr_fail(error, GR_ERROR_DEVICE_LOST, FAR, "%s", device->why) : GR_OK;
}

gr_status far_no_memory(gr_error *error, const char *what) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, FAR, "no memory for %s", what);
}

void *far_object_alloc(far_device *device, uint64_t bytes, far_kind kind) {
    far_object *object = device->host->memory_alloc(device->host, bytes);
    if (object)
        object->kind = kind;
    return object;
}

void far_object_free(far_device *device, void *object, uint64_t bytes) {
    if (!object)
        return;
    ((far_object *)object)->kind = 0;
    device->host->memory_free(device->host, object, bytes);
}

static void far_node_support(gr_device *handle, const gr_segment *segment, uint32_t index,
                             gr_support *out_support) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_inner()->node_support(device->inner, segment, index, out_support);
    if (index < segment->node_count &&
        refused(device->settings.refuse, gr_segment_node(segment, index)->op)) {
        gr_support no = {.level = GR_SUPPORT_NO, .reason = "refused by GREGALE_FAR_REFUSE"};
        gr_struct_fill(out_support, &no, sizeof no);
    }
}

static const gr_backend table = {
    .struct_size = sizeof table,
    .abi_major = GR_ABI_MAJOR,
    .abi_minor = GR_ABI_MINOR,
    .name = "far",
    .version = GREGALE_VERSION,
    .build_id = "far-1",
    .op_limit = GR_OP_LIMIT,
    .dtype_limit = GR_DTYPE_LIMIT,
    .probe = far_probe,
    .open = far_open,
    .close = far_close,
    .node_support = far_node_support,
    .buffer_alloc = far_buffer_alloc,
    .buffer_import = far_buffer_import,
    .buffer_destroy = far_buffer_destroy,
    .buffer_read = far_buffer_read,
    .buffer_write = far_buffer_write,
    .buffer_map = far_buffer_map,
    .weight_import = far_weight_import,
    .weight_destroy = far_weight_destroy,
    .kv_create = far_kv_create,
    .kv_destroy = far_kv_destroy,
    .kv_resize = far_kv_resize,
    .kv_page_bytes = far_kv_page_bytes,
    .kv_copy_page = far_kv_copy_page,
    .kv_read = far_kv_read,
    .kv_write = far_kv_write,
    .program_compile = far_program_compile,
    .program_destroy = far_program_destroy,
    .queue_create = far_queue_create,
    .queue_destroy = far_queue_destroy,
    .submit = far_submit,
    .fence_create = far_fence_create,
    .fence_destroy = far_fence_destroy,
    .fence_wait = far_fence_wait,
};

GR_PLUGIN_ENTRY(far) {
    (void)host_minor;
    return host_major == GR_ABI_MAJOR ? &table : NULL;
}
