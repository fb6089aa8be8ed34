// SPDX-License-Identifier: Apache-2.0
// why_machine.c: the facts of the machine that decide about devices and threads, as text and as JSON.
#include <string.h>

#include "host/internal.h"

static const double gib = 1024.0 * 1024.0 * 1024.0;

static const char *plural(uint32_t count) {
    return count == 1 ? "" : "s";
}

static const gr_cpu *cpu_at(const gr_topology *t, uint32_t index) {
    return (const gr_cpu *)(const void *)((const char *)t->cpus + (size_t)index * t->cpu_stride);
}

static const gr_numa_node *node_at(const gr_topology *t, uint32_t index) {
    return (const gr_numa_node *)(const void *)((const char *)t->numa_nodes + (size_t)index * t->numa_stride);
}

static const gr_cache *cache_at(const gr_topology *t, uint32_t index) {
    return (const gr_cache *)(const void *)((const char *)t->caches + (size_t)index * t->cache_stride);
}

static const gr_pci_device *pci_at(const gr_topology *t, uint32_t index) {
    return (const gr_pci_device *)(const void *)((const char *)t->pci_devices + (size_t)index * t->pci_stride);
}

// Display controllers and processing accelerators: what a backend may compute on.
static bool computes(const gr_pci_device *device) {
    return device->class_id >> 8 == 0x03 || device->class_id >> 8 == 0x12;
}

static uint32_t cores_of_kind(const gr_topology *t, uint32_t kind) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->cpu_count; i++)
        count += cpu_at(t, i)->smt_rank == 0 && cpu_at(t, i)->kind == kind;
    return count;
}

static uint32_t fastest_kind(const gr_topology *t) {
    uint32_t fastest = 0;
    for (uint32_t i = 0; i < t->cpu_count; i++)
        fastest = cpu_at(t, i)->kind > fastest ? cpu_at(t, i)->kind : fastest;
    return fastest;
}

// System numbers of the processors that a team gets when nobody says how many.
static void default_threads(const gr_topology *t, const char *between, gr_strbuf *out) {
    uint32_t cpus[1024], count = gr_team_layout(t, 0, cpus, sizeof cpus / sizeof cpus[0]);
    for (uint32_t i = 0; i < count; i++)
        gr_strbuf_format(out, "%s%u", i ? between : "", cpu_at(t, cpus[i])->os_index);
}

// ---- Text ----

static void text_processors(const gr_topology *t, gr_strbuf *out) {
    uint32_t fastest = fastest_kind(t);
    gr_strbuf_format(out, "machine   %s%s%u core%s, %u thread%s, %u NUMA node%s, %.1f GiB\n", t->cpu_model,
                     t->cpu_model[0] ? ": " : "", t->core_count, plural(t->core_count), t->cpu_count,
                     plural(t->cpu_count), t->numa_count, plural(t->numa_count), (double)t->memory_bytes / gib);
    for (uint32_t kind = fastest; fastest && kind <= fastest; kind--) // fastest first, down to 0
        gr_strbuf_format(out, "%s%u %s", kind == fastest ? "kinds     " : ", ", cores_of_kind(t, kind),
                         kind == fastest ? "fast cores" : kind ? "slower" : "slow");
    gr_strbuf_text(out, fastest ? "\nfeatures  " : "features  ");
    gr_cpu_features_text(t->cpu_features, out);
    gr_strbuf_text(out, t->cpu_features ? "\n" : "none known\n");
}

static void text_memory(const gr_topology *t, gr_strbuf *out) {
    for (uint32_t i = 0; i < t->cache_count; i++) {
        const gr_cache *c = cache_at(t, i);
        gr_strbuf_format(out, "%s%u of L%u %.0f KiB", i ? ", " : "caches    ", c->instances, c->level,
                         (double)c->bytes / 1024);
    }
    gr_strbuf_text(out, t->cache_count ? "\n" : "");
    for (uint32_t i = 0; i < t->numa_count && t->numa_count > 1; i++)
        gr_strbuf_format(out, "%snode %u %.1f GiB", i ? ", " : "memory    ", node_at(t, i)->os_index,
                         (double)node_at(t, i)->memory_bytes / gib);
    gr_strbuf_text(out, t->numa_count > 1 ? "\n" : "");
    if (t->cpu_quota_milli)
        gr_strbuf_format(out, "limit     %.2f processors by cgroup\n", t->cpu_quota_milli / 1e3);
    if (t->memory_limit_bytes < t->memory_bytes)
        gr_strbuf_format(out, "limit     %.1f GiB of memory by cgroup\n", (double)t->memory_limit_bytes / gib);
}

static void text_pci(const gr_topology *t, gr_strbuf *out) {
    uint32_t found = 0;
    if (!t->pci_devices) {
        gr_strbuf_text(out, "pci       not looked at: no plugin asks for it\n");
        return;
    }
    for (uint32_t i = 0; i < t->pci_count; i++) {
        const gr_pci_device *d = pci_at(t, i);
        if (!computes(d))
            continue;
        gr_strbuf_format(out, "pci       %04x:%04x at %04x:%02x:%02x.%u", d->vendor_id, d->device_id, d->domain,
                         d->bus, d->device, d->function);
        gr_strbuf_format(out, d->numa_node < 0 ? "\n" : ", near NUMA node %d\n", d->numa_node);
        found++;
    }
    if (!found)
        gr_strbuf_text(out, "pci       no device that computes\n");
}

void gr_why_machine_text(const gr_topology *t, gr_strbuf *out) {
    text_processors(t, out);
    text_memory(t, out);
    text_pci(t, out);
    gr_strbuf_text(out, "threads   by default on processors ");
    default_threads(t, " ", out);
    gr_strbuf_text(out, t->fake ? "\nnote      this machine was read from a file\n" : "\n");
}

// ---- JSON ----

static void json_lists(const gr_topology *t, gr_strbuf *out) {
    gr_strbuf_text(out, ",\"cores_by_kind\":["); // slowest first
    for (uint32_t kind = 0; kind <= fastest_kind(t); kind++)
        gr_strbuf_format(out, "%s%u", kind ? "," : "", cores_of_kind(t, kind));
    gr_strbuf_text(out, "],\"caches\":[");
    for (uint32_t i = 0; i < t->cache_count; i++) {
        const gr_cache *c = cache_at(t, i);
        gr_strbuf_format(out, "%s{\"level\":%u,\"bytes\":%llu,\"instances\":%u,\"sharers\":%u}", i ? "," : "",
                         c->level, (unsigned long long)c->bytes, c->instances, c->sharers);
    }
    gr_strbuf_text(out, "],\"numa\":[");
    for (uint32_t i = 0; i < t->numa_count; i++)
        gr_strbuf_format(out, "%s{\"index\":%u,\"memory_bytes\":%llu}", i ? "," : "", node_at(t, i)->os_index,
                         (unsigned long long)node_at(t, i)->memory_bytes);
    gr_strbuf_text(out, "],\"default_threads_on\":[");
    default_threads(t, ",", out);
    gr_strbuf_text(out, "],\"pci\":");
    gr_strbuf_text(out, t->pci_devices ? "[" : "null");
    for (uint32_t i = 0; t->pci_devices && i < t->pci_count; i++) {
        const gr_pci_device *d = pci_at(t, i);
        gr_strbuf_format(out,
                         "%s{\"vendor\":%u,\"device\":%u,\"class\":%u,\"at\":\"%04x:%02x:%02x.%u\",\"numa_node\":%d}",
                         i ? "," : "", d->vendor_id, d->device_id, d->class_id, d->domain, d->bus, d->device,
                         d->function, d->numa_node);
    }
    gr_strbuf_text(out, t->pci_devices ? "]" : "");
}

void gr_why_machine_json(const gr_topology *t, uint64_t took_ns, gr_strbuf *out) {
    gr_strbuf features = {0};
    gr_cpu_features_text(t->cpu_features, &features);
    gr_strbuf_text(out, "{\"machine\":{\"cpu\":");
    gr_strbuf_json(out, (gr_str){t->cpu_model, strlen(t->cpu_model)});
    gr_strbuf_format(out, ",\"features\":\"%s\",\"cores\":%u,\"threads\":%u,\"numa_nodes\":%u", gr_strbuf_cstr(&features),
                     t->core_count, t->cpu_count, t->numa_count);
    gr_strbuf_format(out, ",\"memory_bytes\":%llu,\"memory_limit_bytes\":%llu,\"cpu_quota_milli\":%u",
                     (unsigned long long)t->memory_bytes, (unsigned long long)t->memory_limit_bytes,
                     t->cpu_quota_milli);
    json_lists(t, out);
    gr_strbuf_format(out, ",\"probe_ns\":%llu,\"fake\":%s}", (unsigned long long)took_ns, t->fake ? "true" : "false");
    gr_strbuf_deinit(&features);
}
