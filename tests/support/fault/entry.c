// SPDX-License-Identifier: Apache-2.0
// entry.c: finds and loads the wrapped plugin, and makes a table like its own.
//
// The interface hands no context to the entry, to probe and to get_extension, so what one shim file
// knows is a global of it.
#include <ctype.h>
#include <dlfcn.h>
#include <stdlib.h>

#include "fault.h"

enum { NAME_LIMIT = 32 };

typedef struct fault_shim {
    struct {
        gr_backend table;
        uint64_t later[4]; // zero
    } long_table;
    char name[NAME_LIMIT]; // "fault", of gregale-backend-fault.so
    void *library;
    const gr_backend *backend; // NULL: `error` says why
    gr_error error;
    fault_skew skew;
    fault_services probing; // what probe was given last
    fault_ledger ledger;
    _Atomic uint32_t open_devices;
} fault_shim;

const gr_backend *gregale_plugin_entry(uint16_t host_major, uint16_t host_minor);

static fault_shim shim = {.ledger.lock = PTHREAD_MUTEX_INITIALIZER};

// ---- Settings: GREGALE_FAULT_PLAN for gregale-backend-fault.so, GREGALE_FAULT_B_PLAN for ...-fault-b.so ----

static void find_name(void) {
    static const char prefix[] = "gregale-backend-";
    Dl_info info;
    const char *file = dladdr(&shim, &info) && info.dli_fname ? info.dli_fname : "";
    file = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    file += strncmp(file, prefix, sizeof prefix - 1) ? 0 : sizeof prefix - 1;
    snprintf(shim.name, sizeof shim.name, "%.*s", (int)strcspn(file, "."), file);
    if (!shim.name[0])
        snprintf(shim.name, sizeof shim.name, FAULT);
}

static const char *setting(const char *what) {
    char variable[2 * NAME_LIMIT];
    snprintf(variable, sizeof variable, "GREGALE_%s_%s", shim.name, what);
    for (char *c = variable; *c; c++)
        *c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
    const char *value = getenv(variable);
    return value && *value ? value : NULL;
}

// ---- The wrapped plugin ----

static void unload(void) {
    bool pinned = shim.backend && shim.backend->flags & GR_BACKEND_PINNED;
    if (shim.library && !pinned)
        dlclose(shim.library);
    shim.library = NULL;
    shim.backend = NULL;
}

static gr_status load(gr_error *error) {
    const char *path = setting("PLUGIN");
    gr_plugin_entry entry, own = gregale_plugin_entry;
    if (!path || path[0] != '/')
        return gr_fail(error, GR_ERROR_NOT_FOUND, FAULT,
                       "no absolute path of a plugin to wrap is set (GREGALE_..._PLUGIN)");
    shim.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!shim.library)
        return gr_fail(error, GR_ERROR_NOT_FOUND, FAULT, "%s", dlerror());
    void *symbol = dlsym(shim.library, GR_PLUGIN_SYMBOL);
    memcpy(&entry, &symbol, sizeof entry);
    if (!entry || entry == own)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, FAULT, "%s: no plugin to wrap", path);
    uint16_t minor = shim.skew & FAULT_OLD_HOST   ? 1
                     : shim.skew & FAULT_NEW_HOST ? GR_ABI_MINOR + 1
                                                  : GR_ABI_MINOR;
    const gr_backend *backend = entry(GR_ABI_MAJOR, minor);
    if (!backend || backend->abi_major != GR_ABI_MAJOR ||
        backend->struct_size < offsetof(gr_backend, get_extension))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, FAULT, "%s: another plugin interface", path);
    shim.backend = backend;
    return GR_OK;
}

// The host closes this library when it is done with it; the wrapped one goes with it.
__attribute__((destructor)) static void end(void) {
    unload();
}

// ---- Probe, open, close ----

static gr_status refuse(gr_error *error) {
    return gr_fail(error, shim.error.code, FAULT, "%s", shim.error.message);
}

// Devices are called as GREGALE_FAULT_NAME says, the second one with "-1" behind; else "fault-cpu".
static void rename_device(char *facts, uint32_t ordinal) {
    char name[sizeof((gr_device_facts *)0)->name], inner[sizeof name];
    const char *wanted = setting("NAME");
    uint32_t size;
    memcpy(&size, facts, sizeof size);
    if (size < offsetof(gr_device_facts, name) + sizeof name)
        return;
    memcpy(inner, facts + offsetof(gr_device_facts, name), sizeof inner);
    inner[sizeof inner - 1] = '\0';
    if (!wanted)
        snprintf(name, sizeof name, "%.24s-%.36s", shim.name, inner);
    else if (ordinal)
        snprintf(name, sizeof name, "%.48s-%u", wanted, ordinal);
    else
        snprintf(name, sizeof name, "%s", wanted);
    memcpy(facts + offsetof(gr_device_facts, name), name, sizeof name);
}

static gr_status fault_probe(const gr_host *host, void *out_facts, uint32_t capacity,
                             uint32_t stride, uint32_t *out_count, gr_error *error) {
    if (out_count)
        *out_count = 0;
    if (!shim.backend)
        return refuse(error);
    if (!gr_host_complete(host))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAULT, "probe: incomplete host");
    fault_services_init(&shim.probing, host, &shim.ledger, shim.skew);
    gr_status status = shim.backend->probe(&shim.probing.table, out_facts, capacity, stride,
                                           out_count, error);
    for (uint32_t i = 0; status == GR_OK && i < capacity && i < *out_count; i++)
        rename_device((char *)out_facts + (size_t)i * stride, i);
    return status;
}

static void device_free(fault_device *device) {
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    device->host->memory_free(device->host, device, sizeof *device);
}

static gr_status fault_open(const gr_host *host, uint32_t ordinal, gr_device **out_device,
                            gr_error *error) {
    *out_device = NULL;
    if (!shim.backend)
        return refuse(error);
    if (!gr_host_complete(host))
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, FAULT, "open: incomplete host");
    fault_device *device = host->memory_alloc(host, sizeof *device);
    if (!device)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, FAULT, "no memory for a device");
    device->backend = shim.backend;
    device->host = host;
    device->ledger = &shim.ledger;
    device->skew = shim.skew;
    pthread_mutex_init(&device->lock, NULL);
    gr_cond_init(&device->changed);
    fault_services_init(&device->services, host, &shim.ledger, shim.skew);
    gr_status status = fault_enter(device, GR_FAULT_OPEN, error);
    if (status == GR_OK)
        status = shim.backend->open(&device->services.table, ordinal, &device->inner, error);
    if (status != GR_OK) {
        device_free(device);
        return status;
    }
    atomic_fetch_add(&shim.open_devices, 1);
    *out_device = (gr_device *)(void *)device;
    return GR_OK;
}

static void fault_close(gr_device *handle) {
    fault_device *device = fault_of(handle);
    if (!device)
        return;
    device->backend->close(device->inner);
    device_free(device);
    atomic_fetch_sub(&shim.open_devices, 1);
}

// ---- Control ----

static gr_status control_plan_set(const char *text, gr_error *error) {
    fault_plan plan;
    gr_status status = fault_plan_parse(text, &plan, error);
    if (status == GR_OK)
        fault_ledger_set(&shim.ledger, &plan);
    return status;
}

static uint64_t control_calls(gr_fault_point point) {
    return point < GR_FAULT_POINT_COUNT ? atomic_load(&shim.ledger.calls[point]) : 0;
}

static uint64_t control_injected(gr_fault_event *out_events, uint32_t capacity) {
    pthread_mutex_lock(&shim.ledger.lock);
    uint64_t count = shim.ledger.event_count;
    for (uint32_t i = 0; i < capacity && i < count && i < FAULT_EVENTS; i++)
        out_events[i] = shim.ledger.events[i];
    pthread_mutex_unlock(&shim.ledger.lock);
    return count;
}

static const gr_fault_control control = {.struct_size = sizeof control,
                                         .plan_set = control_plan_set,
                                         .calls = control_calls,
                                         .injected = control_injected};

static const void *fault_get_extension(const char *name) {
    const gr_backend *b = shim.backend;
    if (name && !strcmp(name, GR_FAULT_EXTENSION))
        return &control;
    bool theirs = b && b->struct_size >= offsetof(gr_backend, get_extension) + sizeof b->get_extension;
    return theirs && b->get_extension ? b->get_extension(name) : NULL;
}

// ---- The table ----

static void make_table(void) {
    gr_backend *table = &shim.long_table.table;
    const gr_backend *inner = shim.backend;
    *table = (gr_backend){.struct_size = sizeof *table,
                          .abi_major = GR_ABI_MAJOR,
                          .abi_minor = GR_ABI_MINOR,
                          .flags = inner ? inner->flags : 0,
                          .name = shim.name,
                          .version = inner ? inner->version : GREGALE_VERSION,
                          .build_id = inner ? inner->build_id : FAULT,
                          .op_limit = inner ? inner->op_limit : GR_OP_LIMIT,
                          .dtype_limit = inner ? inner->dtype_limit : GR_DTYPE_LIMIT,
                          .probe = fault_probe,
                          .open = fault_open,
                          .close = fault_close,
                          .get_extension = fault_get_extension};
    fault_fill_objects(table);
    fault_fill_steps(table);
    if (shim.skew & FAULT_OLD_TABLE) {
        table->struct_size = offsetof(gr_backend, get_extension);
        memset(&table->get_extension, 0xa5, sizeof table->get_extension);
    }
    if (shim.skew & FAULT_NEW_TABLE) {
        table->struct_size = sizeof shim.long_table;
        table->abi_minor = GR_ABI_MINOR + 1;
    }
}

// Reads the settings anew, unless a device is open: then all stays as it is.
static void settle(void) {
    gr_error_init(&shim.error);
    find_name();
    unload();
    gr_status status = fault_skew_parse(setting("SKEW"), &shim.skew, &shim.error);
    if (status == GR_OK)
        status = control_plan_set(setting("PLAN"), &shim.error);
    if (status == GR_OK)
        status = load(&shim.error);
    if (status != GR_OK)
        unload();
    make_table();
}

GR_PLUGIN_ENTRY(fault) {
    (void)host_minor;
    if (host_major != GR_ABI_MAJOR)
        return NULL;
    if (!atomic_load(&shim.open_devices))
        settle();
    return &shim.long_table.table;
}
