// SPDX-License-Identifier: Apache-2.0
// machine.c: plugins whose facts follow from the topology they are shown, so that a test can change
// one fact of the machine and watch the choice. MACHINE_KIND: 1 processor, 2 PCI accelerator, 3 a
// steady one that never changes, 4 a fallback that claims to be fast.
#include <stdio.h>

#include "fake.h"

static const uint64_t giga = 1000000000;

static uint32_t count_devices(const gr_topology *t) {
#if MACHINE_KIND == 2
    uint32_t count = 0;
    for (uint32_t i = 0; t->pci_devices && i < t->pci_count; i++)
        count += t->pci_devices[i].vendor_id == 0x10de;
    return count;
#else
    (void)t;
    return 1;
#endif
}

static void describe(const gr_topology *t, gr_device_facts *f) {
    f->struct_size = sizeof *f;
    f->numa_node = -1;
    f->memory_bytes = f->memory_free_bytes = t->memory_limit_bytes;
#if MACHINE_KIND == 1
    uint64_t cores = t->cpu_quota_milli && t->cpu_quota_milli / 1000 < t->core_count
                         ? t->cpu_quota_milli / 1000
                         : t->core_count;
    f->kind = GR_DEVICE_CPU;
    f->flags = GR_DEVICE_HOST_MEMORY;
    f->bandwidth_bytes_per_second = 50 * giga * t->numa_count;
    f->int8_operations_per_second =
        cores * giga * (t->cpu_features & GR_CPU_AVX512_VNNI ? 450 : 60);
    snprintf(f->name, sizeof f->name, "processor");
#elif MACHINE_KIND == 2
    f->kind = GR_DEVICE_GPU;
    f->memory_bytes = f->memory_free_bytes = 8ull << 30;
    f->bandwidth_bytes_per_second = 1000 * giga;
    f->f16_operations_per_second = 100000 * giga;
    snprintf(f->name, sizeof f->name, "accelerator");
#elif MACHINE_KIND == 3
    f->kind = GR_DEVICE_ACCELERATOR;
    f->bandwidth_bytes_per_second = 50 * giga;
    f->int8_operations_per_second = 700 * giga;
    snprintf(f->name, sizeof f->name, "steady");
#else
    f->kind = GR_DEVICE_REFERENCE;
    f->flags = GR_DEVICE_HOST_MEMORY | GR_DEVICE_FALLBACK;
    f->bandwidth_bytes_per_second = 9000 * giga;
    f->int8_operations_per_second = 900000 * giga;
    snprintf(f->name, sizeof f->name, "fallback");
#endif
    snprintf(f->description, sizeof f->description, "pretended %s", f->name);
}

static gr_status probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                       uint32_t *out_count, gr_error *error) {
    (void)error;
    gr_device_facts facts;
    *out_count = count_devices(host->topology);
    for (uint32_t i = 0; i < *out_count && i < capacity; i++) {
        memset(&facts, 0, sizeof facts);
        describe(host->topology, &facts);
        if (gr_host_asks(host, GR_HOST_DETERMINISTIC))
            facts.flags |= GR_DEVICE_BATCH_INVARIANT;
        fake_put(out_facts, stride, i, &facts);
    }
    return GR_OK;
}

static gr_backend table;

GR_PLUGIN_ENTRY(machine) {
    (void)host_major, (void)host_minor;
    table = fake_table(MACHINE_NAME, MACHINE_KIND == 2 ? GR_BACKEND_NEEDS_PCI : 0, probe);
    return &table;
}
