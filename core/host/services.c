// SPDX-License-Identifier: Apache-2.0
// services.c: the table of host services that a plugin calls.
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/os.h"
#include "host/internal.h"

// From this size on, memory comes straight from the system: pages then belong to the NUMA node of
// the worker that touches them first, and may be huge.
static const uint64_t large_bytes = UINT64_C(4) << 20;
static const uint64_t huge_page = UINT64_C(2) << 20;

static const gr_services *services_of(const gr_host *host) {
    return (const gr_services *)(const void *)host;
}

static void service_log(const gr_host *host, gr_log_level level, const char *line) {
    const gr_services *s = services_of(host);
    gr_log_line(s->log, level, "%s: %s", s->name, line ? line : "");
}

static uint64_t service_now(const gr_host *host) {
    (void)host;
    return gr_os_now_ns();
}

// Maps `bytes`, a multiple of huge_page, at a multiple of huge_page: maps one more and gives the
// rest back.
static void *map_large(uint64_t bytes) {
    char *raw =
        mmap(NULL, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    char *start = (char *)(uintptr_t)gr_align_up((uintptr_t)raw, huge_page);
    uint64_t head = (uint64_t)(start - raw), tail = huge_page - head;
    if (head)
        munmap(raw, head);
    if (tail)
        munmap(start + bytes, tail);
#ifdef MADV_HUGEPAGE
    madvise(start, bytes, MADV_HUGEPAGE);
#endif
    return start;
}

static void *service_alloc(const gr_host *host, uint64_t bytes) {
    (void)host;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    return bytes >= large_bytes ? map_large(gr_align_up(bytes, huge_page)) : gr_os_alloc(bytes);
}

static void service_free(const gr_host *host, void *memory, uint64_t bytes) {
    (void)host;
    if (memory && bytes >= large_bytes)
        munmap(memory, gr_align_up(bytes, huge_page));
    else
        gr_os_free(memory, bytes);
}

static uint32_t service_trace_enabled(const gr_host *host) {
    return services_of(host)->trace != NULL;
}

// A plugin of an older header sends a shorter event: what it lacks is zero.
static void service_trace(const gr_host *host, const gr_trace_event *event) {
    const gr_services *s = services_of(host);
    gr_trace_event whole = {0};
    if (!s->trace || !event || event->struct_size < sizeof event->struct_size)
        return;
    memcpy(&whole, event, event->struct_size < sizeof whole ? event->struct_size : sizeof whole);
    whole.struct_size = sizeof whole;
    const gr_op_info *op = gr_op_info_find(whole.op);
    gr_trace_add(s->trace, s->name, op ? op->name : "?", &whole);
}

static const void *service_extension(const gr_host *host, const char *name) {
    (void)host;
    (void)name;
    return NULL; // none yet
}

static void service_source_done(const gr_host *host, const void *data, uint64_t bytes) {
    (void)host;
    gr_mapping_done(data, bytes);
}

void gr_services_init(gr_services *services, const char *name, const gr_log *log, gr_trace *trace,
                      const gr_topology *topology) {
    services->log = log;
    services->trace = trace;
    services->name = name;
    services->table = (gr_host){.struct_size = sizeof services->table,
                                .abi_major = GR_ABI_MAJOR,
                                .abi_minor = GR_ABI_MINOR,
                                .log = service_log,
                                .now_ns = service_now,
                                .memory_alloc = service_alloc,
                                .memory_free = service_free,
                                .team_size = gr_team_size,
                                .team_run = gr_team_run,
                                .team_barrier = gr_team_barrier,
                                .trace = service_trace,
                                .trace_enabled = service_trace_enabled,
                                .topology = topology,
                                .get_extension = service_extension,
                                .source_done = service_source_done};
}
