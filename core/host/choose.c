// SPDX-License-Identifier: Apache-2.0
// choose.c: from a name to a device, and from a device to an open handle.
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"

// "there are cpu, ref", or why there are none.
static void list_devices(const gr_registry *r, gr_strbuf *text) {
    if (!r->device_count) {
        gr_strbuf_format(
            text,
            "no device is usable (%u plugin file%s looked at; the list of devices with reasons "
            "says why)",
            r->plugin_count, r->plugin_count == 1 ? "" : "s");
        return;
    }
    gr_strbuf_text(text, "there are ");
    for (uint32_t i = 0; i < r->device_count; i++)
        gr_strbuf_format(text, "%s%s", i ? ", " : "", r->devices[i].name);
}

static gr_status not_found(const gr_registry *r, const char *name, gr_error *error) {
    gr_strbuf text = {0};
    list_devices(r, &text);
    gr_status status =
        name ? gr_fail(error, GR_ERROR_NOT_FOUND, "host", "no device is called %.80s: %s", name,
                       gr_strbuf_cstr(&text))
             : gr_fail(error, GR_ERROR_NOT_FOUND, "host", "%s", gr_strbuf_cstr(&text));
    gr_strbuf_deinit(&text);
    return status;
}

static bool is_called(const gr_registry *r, const gr_device_entry *entry, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", r->plugins[entry->plugin]->info.name, entry->facts.name);
    return !strcmp(entry->name, name) || !strcmp(full, name);
}

gr_status gr_registry_find(const gr_registry *registry, const char *name, uint32_t *out_index,
                           gr_error *error) {
    bool automatic = !name || !*name || !strcmp(name, "auto");
    *out_index = 0;
    if (automatic)
        return registry->device_count ? GR_OK : not_found(registry, NULL, error);
    for (uint32_t i = 0; i < registry->device_count; i++) {
        if (is_called(registry, &registry->devices[i], name)) {
            *out_index = i;
            return GR_OK;
        }
    }
    return not_found(registry, name, error);
}

gr_status gr_registry_best(const gr_registry *registry, uint64_t bytes, uint32_t *out_index,
                           gr_error *error) {
    uint32_t order[GR_MAX_CANDIDATES], count = gr_registry_candidates(registry, NULL, order, GR_MAX_CANDIDATES);
    uint64_t most = 0;
    *out_index = 0;
    for (uint32_t c = 0; c < count; c++) {
        const uint32_t i = order[c];
        uint64_t available = registry->devices[i].facts.memory_free_bytes;
        if (!available || available >= bytes) { // 0: unknown, so not held against it
            *out_index = i;
            return GR_OK;
        }
        most = available > most ? available : most;
    }
    if (!count)
        return not_found(registry, NULL, error);
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host",
                   "no device has %.2f GiB free; the most is %.2f GiB",
                   (double)bytes / (double)(1 << 30), (double)most / (double)(1 << 30));
}

// ---- Opening ----

// After a probe in the helper process the plugin itself knows nothing yet: it is asked here, and
// must find the same device.
static gr_status probe_here(gr_plugin *plugin, const gr_device_entry *entry, gr_error *error) {
    gr_probe_result result;
    if (plugin->probed_here)
        return GR_OK;
    gr_status status = gr_probe_run(plugin->backend, &plugin->services.table, &result, error);
    if (status != GR_OK)
        return status;
    plugin->probed_here = true;
    if (entry->ordinal >= result.count ||
        strcmp(result.facts[entry->ordinal].name, entry->facts.name) != 0)
        status = gr_fail(error, GR_ERROR_NOT_FOUND, "host", "device %s is gone since it was found",
                         entry->name);
    free(result.facts);
    return status;
}

static gr_status open_shared(gr_registry *r, uint32_t index, gr_shared_device *shared,
                             gr_error *error) {
    const gr_device_entry *entry = &r->devices[index];
    gr_plugin *plugin = r->plugins[entry->plugin];
    gr_device *device = NULL;
    gr_error theirs;
    gr_error_init(&theirs);
    gr_status status = probe_here(plugin, entry, &theirs);
    if (status == GR_OK)
        status = entry->backend->open(&plugin->services.table, entry->ordinal, &device, &theirs);
    if (status == GR_OK && !device)
        status = gr_fail(&theirs, GR_ERROR_INTERNAL, "host", "it opened nothing");
    if (gr_abi_settle_error(status, &theirs) != GR_OK)
        return gr_fail(error, status, plugin->info.name, "device %s cannot be opened: %s",
                       entry->name, theirs.message);
    shared->plugin = entry->plugin;
    shared->opened = (gr_opened_device){entry->backend, device, entry->facts, entry->name};
    return GR_OK;
}

gr_status gr_registry_open(gr_registry *registry, uint32_t index,
                           const gr_opened_device **out_device, gr_error *error) {
    *out_device = NULL;
    if (index >= registry->device_count)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "host", "device %u: there are %u", index,
                       registry->device_count);
    gr_shared_device *shared = &registry->shared[index];
    pthread_mutex_lock(&registry->lock);
    gr_status status = GR_OK;
    if (shared->users && shared->lost)
        status = gr_fail(error, GR_ERROR_DEVICE_LOST, "host", "device %s was lost and is still in use: %s",
                         registry->devices[index].name, shared->reason);
    else if (!shared->users)
        status = open_shared(registry, index, shared, error);
    if (status == GR_OK) {
        shared->users++;
        *out_device = &shared->opened;
    }
    pthread_mutex_unlock(&registry->lock);
    return status;
}

void gr_registry_close(gr_registry *registry, const gr_opened_device *device) {
    if (!device)
        return;
    gr_shared_device *shared = (gr_shared_device *)(uintptr_t)device; // opened is its first member
    pthread_mutex_lock(&registry->lock);
    if (shared->users && --shared->users == 0) {
        device->backend->close(device->device);
        shared->opened.device = NULL;
        shared->lost = false;
    }
    pthread_mutex_unlock(&registry->lock);
}
