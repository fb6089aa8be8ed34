// SPDX-License-Identifier: Apache-2.0
// registry.c: loads plugins, asks them for devices, keeps opened devices.
//
// Invariants: a plugin that is not accepted has a reason; `devices` is sorted once and then
// constant, so an index stays good for the registry's life; `shared[i]` belongs to `devices[i]`.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "host/internal.h"

static gr_status no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host", "no memory for the list of devices");
}

static const char *keep(gr_registry *r, const char *text) {
    return gr_arena_string(&r->arena, text, strlen(text));
}

static void refuse(gr_registry *r, gr_plugin *plugin, const char *reason) {
    const char *kept = keep(r, reason);
    plugin->info.accepted = false;
    plugin->info.reason = kept ? kept : "refused";
    gr_log_line(r->services.log, GR_LOG_DEBUG, "plugin %s refused: %s", plugin->info.path,
                plugin->info.reason);
}

// ---- Loading ----

static gr_plugin *add_plugin(gr_registry *r, const char *path) {
    if (r->plugin_count == r->plugin_capacity) {
        uint32_t capacity = r->plugin_capacity ? r->plugin_capacity * 2 : 8;
        gr_plugin **grown = realloc(r->plugins, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        r->plugins = grown;
        r->plugin_capacity = capacity;
    }
    gr_plugin *plugin = gr_arena_alloc(&r->arena, sizeof *plugin);
    if (!plugin)
        return NULL;
    plugin->info = (gr_plugin_entry_info){.path = path, .reason = ""};
    r->plugins[r->plugin_count++] = plugin;
    return plugin;
}

static const gr_plugin *namesake(const gr_registry *r, const gr_plugin *plugin) {
    for (uint32_t i = 0; i < r->plugin_count; i++) {
        const gr_plugin *other = r->plugins[i];
        if (other != plugin && other->info.accepted && !strcmp(other->info.name, plugin->info.name))
            return other;
    }
    return NULL;
}

// Copies a table that was checked, its words included; functions that it is too short for are NULL.
static bool keep_table(gr_registry *r, gr_plugin *plugin, const gr_backend *backend) {
    gr_backend *table = &plugin->table;
    size_t size = backend->struct_size < sizeof *table ? backend->struct_size : sizeof *table;
    memcpy(table, backend, size);
    table->struct_size = (uint32_t)size;
    table->name = plugin->info.name = keep(r, backend->name);
    table->version = plugin->info.version = keep(r, backend->version);
    table->build_id = keep(r, backend->build_id);
    plugin->backend = table;
    return table->name && table->version && table->build_id;
}

// Takes in the table that a plugin's entry returned, or refuses it.
static gr_status take_table(gr_registry *r, gr_plugin *plugin, const gr_backend *backend,
                            gr_error *error) {
    char text[512];
    gr_error theirs;
    gr_error_init(&theirs);
    if (gr_abi_check(backend, &theirs) != GR_OK) {
        refuse(r, plugin, theirs.message);
        return GR_OK;
    }
    if (!keep_table(r, plugin, backend))
        return no_memory(error);
    const gr_plugin *other = namesake(r, plugin);
    if (other) {
        snprintf(text, sizeof text, "a backend called %s was already found at %s",
                 plugin->info.name, other->info.path);
        refuse(r, plugin, text);
        return GR_OK;
    }
    plugin->info.accepted = true;
    gr_services_init(&plugin->services, plugin->info.name, r->services.log, r->services.trace,
                     r->topology);
    plugin->services.table.flags = r->services.table.flags;
    return GR_OK;
}

// The loader's complaint without the path in front, which is known already.
static const char *loader_error(const char *path) {
    const char *text = dlerror();
    size_t length = strlen(path);
    if (!text)
        return "the loader refused it";
    return !strncmp(text, path, length) && !strncmp(text + length, ": ", 2) ? text + length + 2
                                                                            : text;
}

static void unload(gr_plugin *plugin) {
    bool pinned = plugin->backend && plugin->backend->flags & GR_BACKEND_PINNED;
    if (plugin->library && !pinned)
        dlclose(plugin->library);
    plugin->library = NULL;
    plugin->backend = NULL;
}

static gr_status load_file(gr_registry *r, const char *path, gr_error *error) {
    gr_error theirs;
    gr_plugin *plugin = add_plugin(r, path);
    if (!plugin)
        return no_memory(error);
    gr_error_init(&theirs);
    if (gr_probe_load(path, r->probe_timeout_ms, &theirs) != GR_OK) {
        refuse(r, plugin, theirs.message);
        return GR_OK;
    }
    plugin->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin->library) {
        refuse(r, plugin, loader_error(path));
        return GR_OK;
    }
    gr_plugin_entry entry;
    *(void **)&entry = dlsym(plugin->library, GR_PLUGIN_SYMBOL); // as POSIX suggests for functions
    gr_status status = GR_OK;
    if (!entry)
        refuse(r, plugin, "it has no symbol " GR_PLUGIN_SYMBOL);
    else
        status = take_table(r, plugin, entry(GR_ABI_MAJOR, GR_ABI_MINOR), error);
    if (!plugin->info.accepted)
        unload(plugin);
    return status;
}

static gr_status load_linked(gr_registry *r, const gr_plugin_entry *linked, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; linked && linked[i] && status == GR_OK; i++) {
        gr_plugin *plugin = add_plugin(r, "(linked in)");
        status = plugin ? take_table(r, plugin, linked[i](GR_ABI_MAJOR, GR_ABI_MINOR), error)
                        : no_memory(error);
    }
    return status;
}

static gr_status load_all(gr_registry *r, const gr_registry_options *options, gr_error *error) {
    gr_status status = gr_discovery_run(options->directories, options->only_explicit, &r->arena,
                                        &r->discovery, error);
    for (uint32_t i = 0; i < r->discovery.file_count && status == GR_OK; i++)
        status = load_file(r, r->discovery.files[i], error);
    return status == GR_OK ? load_linked(r, options->linked, error) : status;
}

// Finding PCI devices is slow, so the snapshot has them only when an accepted plugin wants them.
static gr_status find_pci(gr_registry *r, const gr_topology_options *options, gr_error *error) {
    bool wanted = false;
    for (uint32_t i = 0; i < r->plugin_count; i++)
        wanted |=
            r->plugins[i]->info.accepted && r->plugins[i]->backend->flags & GR_BACKEND_NEEDS_PCI;
    if (!wanted || r->topology->pci_devices)
        return GR_OK;
    gr_topology_options with_pci = *options;
    gr_topology *topology;
    with_pci.pci = true;
    gr_status status = gr_topology_create(&with_pci, &topology, error);
    if (status != GR_OK)
        return status;
    gr_topology_destroy(r->topology);
    r->topology = topology;
    r->services.table.topology = topology;
    for (uint32_t i = 0; i < r->plugin_count; i++)
        r->plugins[i]->services.table.topology = topology;
    return GR_OK;
}

// ---- Probing ----

static gr_status add_devices(gr_registry *r, uint32_t plugin, const gr_probe_result *result,
                             gr_error *error) {
    gr_device_entry *grown =
        realloc(r->devices, ((size_t)r->device_count + result->count + 1) * sizeof *grown);
    if (!grown)
        return no_memory(error);
    r->devices = grown;
    for (uint32_t i = 0; i < result->count; i++) {
        gr_strbuf reason = {0};
        gr_device_entry *entry = &grown[r->device_count];
        *entry = (gr_device_entry){.backend = r->plugins[plugin]->backend,
                                   .plugin = plugin,
                                   .ordinal = i,
                                   .facts = result->facts[i]};
        gr_score_device(entry, &reason);
        entry->score_reason = keep(r, gr_strbuf_cstr(&reason));
        gr_strbuf_deinit(&reason);
        if (!entry->score_reason)
            return no_memory(error);
        r->device_count++;
    }
    return GR_OK;
}

// Whether the plugin is asked in a helper process first: a driver that crashes or hangs then costs
// its own plugin. Where other threads run a helper is no matter of course, so there only plugins
// that ask for it get one.
static bool is_probed_apart(const gr_plugin *plugin) {
    return plugin->backend->flags & GR_BACKEND_RISKY_PROBE ||
           (plugin->library && gr_os_single_threaded());
}

static gr_status probe_plugin(gr_registry *r, uint32_t index, gr_error *error) {
    gr_plugin *plugin = r->plugins[index];
    gr_probe_result result;
    gr_error theirs;
    gr_error_init(&theirs);
    plugin->probed_here = !is_probed_apart(plugin);
    gr_status status =
        plugin->probed_here
            ? gr_probe_run(plugin->backend, &plugin->services.table, &result, &theirs)
            : gr_probe_apart(plugin->backend, &plugin->services.table, r->probe_timeout_ms, &result,
                             &theirs);
    if (status != GR_OK) {
        refuse(r, plugin, theirs.message);
        unload(plugin);
        return GR_OK;
    }
    status = add_devices(r, index, &result, error);
    free(result.facts);
    return status;
}

static const gr_device_entry *device_called(const gr_registry *r, const char *name,
                                            uint32_t limit) {
    for (uint32_t i = 0; i < limit; i++) {
        if (r->devices[i].name && !strcmp(r->devices[i].name, name))
            return &r->devices[i];
    }
    return NULL;
}

// A device keeps its own name unless another plugin's device came first; then it is
// "plugin.device". A name is only a handle: nothing is chosen by it.
static gr_status name_devices(gr_registry *r, gr_error *error) {
    char text[128];
    for (uint32_t i = 0; i < r->device_count; i++) {
        gr_device_entry *entry = &r->devices[i];
        snprintf(text, sizeof text, "%s", entry->facts.name);
        if (device_called(r, text, i))
            snprintf(text, sizeof text, "%s.%s", r->plugins[entry->plugin]->info.name,
                     entry->facts.name);
        entry->name = keep(r, text);
        if (!entry->name)
            return no_memory(error);
    }
    return GR_OK;
}

static gr_status probe_all(gr_registry *r, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < r->plugin_count && status == GR_OK; i++) {
        if (r->plugins[i]->info.accepted)
            status = probe_plugin(r, i, error);
    }
    if (status == GR_OK)
        status = name_devices(r, error);
    if (status != GR_OK)
        return status;
    if (r->device_count)
        qsort(r->devices, r->device_count, sizeof *r->devices, gr_score_compare);
    r->shared = gr_arena_alloc(&r->arena, ((uint64_t)r->device_count + 1) * sizeof *r->shared);
    return r->shared ? GR_OK : no_memory(error);
}

// ---- Public ----

gr_status gr_registry_create(const gr_registry_options *options, gr_registry **out_registry,
                             gr_error *error) {
    static const gr_registry_options defaults = {0};
    *out_registry = NULL;
    options = options ? options : &defaults;
    gr_registry *r = calloc(1, sizeof *r);
    if (!r)
        return no_memory(error);
    pthread_mutex_init(&r->lock, NULL);
    r->started_ns = gr_os_now_ns();
    r->probe_timeout_ms =
        options->probe_timeout_ms ? options->probe_timeout_ms : GR_PROBE_TIMEOUT_MS;
    gr_status status = gr_topology_create(&options->topology, &r->topology, error);
    gr_services_init(&r->services, "host", options->log, options->trace, r->topology);
    r->services.table.flags = options->flags;
    if (status == GR_OK)
        status = load_all(r, options, error);
    if (status == GR_OK)
        status = find_pci(r, &options->topology, error);
    if (status == GR_OK)
        status = probe_all(r, error);
    if (status != GR_OK) {
        gr_registry_destroy(r);
        return status;
    }
    r->took_ns = gr_os_now_ns() - r->started_ns;
    *out_registry = r;
    return GR_OK;
}

void gr_registry_destroy(gr_registry *registry) {
    if (!registry)
        return;
    for (uint32_t i = 0; registry->shared && i < registry->device_count; i++) {
        gr_shared_device *shared = &registry->shared[i];
        if (shared->users) {
            // Someone still uses it: closing would pull the rug. Its library stays loaded too.
            gr_log_line(registry->services.log, GR_LOG_WARN, "device %s is still open at the end",
                        shared->opened.name);
            registry->plugins[shared->plugin]->library = NULL;
        }
    }
    for (uint32_t i = 0; i < registry->plugin_count; i++)
        unload(registry->plugins[i]);
    gr_topology_destroy(registry->topology);
    gr_discovery_deinit(&registry->discovery);
    pthread_mutex_destroy(&registry->lock);
    gr_arena_deinit(&registry->arena);
    free(registry->plugins);
    free(registry->devices);
    free(registry);
}

const gr_topology *gr_registry_topology(const gr_registry *registry) {
    return registry->topology;
}

uint32_t gr_registry_plugin_count(const gr_registry *registry) {
    return registry->plugin_count;
}

const gr_plugin_entry_info *gr_registry_plugin(const gr_registry *registry, uint32_t index) {
    return index < registry->plugin_count ? &registry->plugins[index]->info : NULL;
}

uint32_t gr_registry_device_count(const gr_registry *registry) {
    return registry->device_count;
}

const gr_device_entry *gr_registry_device(const gr_registry *registry, uint32_t index) {
    return index < registry->device_count ? &registry->devices[index] : NULL;
}

const gr_host *gr_registry_host(const gr_registry *registry) {
    return &registry->services.table;
}
