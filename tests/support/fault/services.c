// SPDX-License-Identifier: Apache-2.0
// services.c: the host as the wrapped plugin sees it: its memory may run out, and it may speak
// another minor version. What a shorter struct lacks is poisoned, not zero.
#include "fault.h"

enum { POISON = 0xa5 };

static fault_services *services_of(const gr_host *table) {
    return (fault_services *)(uintptr_t)table;
}

static void service_log(const gr_host *table, gr_log_level level, const char *line) {
    const gr_host *host = services_of(table)->host;
    host->log(host, level, line);
}

static uint64_t service_now(const gr_host *table) {
    const gr_host *host = services_of(table)->host;
    return host->now_ns(host);
}

static void *service_alloc(const gr_host *table, uint64_t bytes) {
    fault_services *services = services_of(table);
    if (fault_ask(services->ledger, GR_FAULT_MEMORY).kind != GR_FAULT_NONE)
        return NULL;
    return services->host->memory_alloc(services->host, bytes);
}

static void service_free(const gr_host *table, void *memory, uint64_t bytes) {
    const gr_host *host = services_of(table)->host;
    host->memory_free(host, memory, bytes);
}

static void service_trace(const gr_host *table, const gr_trace_event *event) {
    const gr_host *host = services_of(table)->host;
    host->trace(host, event);
}

static uint32_t service_trace_enabled(const gr_host *table) {
    const gr_host *host = services_of(table)->host;
    return host->trace_enabled(host);
}

static const void *service_extension(const gr_host *table, const char *name) {
    const gr_host *host = services_of(table)->host;
    return host->get_extension(host, name);
}

static void service_source_done(const gr_host *table, const void *data, uint64_t bytes) {
    const gr_host *host = services_of(table)->host;
    host->source_done(host, data, bytes);
}

// Everything behind `size` bytes of a struct of `whole` bytes is not to be read.
static void cut(void *object, uint32_t size, size_t whole) {
    memcpy(object, &size, sizeof size);
    memset((char *)object + size, POISON, whole - size);
}

// A machine of which only the number of cores is known.
static void shorten_topology(fault_services *services) {
    gr_topology *topology = &services->topology;
    if (!services->table.topology)
        return;
    gr_struct_read(services->table.topology, sizeof *topology, topology);
    topology->cpu_count = topology->numa_count = topology->cache_count = topology->pci_count = 0;
    cut(topology, offsetof(gr_topology, cpu_features), sizeof *topology);
    services->table.topology = topology;
}

void fault_services_init(fault_services *services, const gr_host *host, fault_ledger *ledger,
                         fault_skew skew) {
    gr_host *table = &services->table;
    services->host = host;
    services->ledger = ledger;
    gr_struct_read(host, sizeof *table, table); // the team's functions pass through
    table->struct_size = host->struct_size < sizeof *table ? host->struct_size : sizeof *table;
    table->log = service_log;
    table->now_ns = service_now;
    table->memory_alloc = service_alloc;
    table->memory_free = service_free;
    table->trace = table->trace ? service_trace : NULL;
    table->trace_enabled = table->trace_enabled ? service_trace_enabled : NULL;
    table->get_extension = table->get_extension ? service_extension : NULL;
    table->source_done = table->source_done ? service_source_done : NULL;
    if (skew & FAULT_SHORT_TOPOLOGY)
        shorten_topology(services);
    if (skew & FAULT_OLD_HOST) {
        table->abi_minor = 1;
        cut(table, offsetof(gr_host, flags), sizeof *table + sizeof services->later);
    }
    if (skew & FAULT_NEW_HOST) { // what it offers beyond is no request
        table->abi_minor = GR_ABI_MINOR + 1;
        table->struct_size = sizeof *table + sizeof services->later;
        memset(services->later, POISON, sizeof services->later);
    }
}
