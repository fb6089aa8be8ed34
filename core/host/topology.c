// SPDX-License-Identifier: Apache-2.0
// topology.c: a snapshot of the machine, taken with hwloc and control groups.
// Invariant: once made, a snapshot is never written again; all its arrays live in one arena.
#include <hwloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "host/internal.h"

typedef struct snapshot {
    gr_topology public; // first: its address is the snapshot's
    gr_arena arena;
} snapshot;

enum { MAX_CPUS = 1 << 16 };

static gr_status no_memory(gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host", "no memory to describe the machine");
}

// ---- Asking hwloc ----

static gr_status open_hwloc(const gr_topology_options *options, hwloc_topology_t *out_tree,
                            gr_error *error) {
    const char *xml = options->xml_path;
    hwloc_topology_t tree = NULL;
    *out_tree = NULL;
    if (hwloc_topology_init(&tree) != 0)
        return no_memory(error);
    if (xml && hwloc_topology_set_xml(tree, xml) != 0) {
        hwloc_topology_destroy(tree);
        return gr_fail(error, GR_ERROR_CORRUPT, "host", "%s: hwloc cannot read it as a topology",
                       xml);
    }
    unsigned long flags = HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS;
    if (!xml)
        flags |= HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM | HWLOC_TOPOLOGY_FLAG_RESTRICT_TO_CPUBINDING;
    hwloc_topology_set_flags(tree, flags);
    hwloc_topology_set_io_types_filter(tree, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_icache_types_filter(tree, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(tree, HWLOC_OBJ_MISC, HWLOC_TYPE_FILTER_KEEP_NONE);
    if (options->pci) {
        hwloc_topology_set_type_filter(tree, HWLOC_OBJ_PCI_DEVICE, HWLOC_TYPE_FILTER_KEEP_ALL);
        hwloc_topology_set_type_filter(tree, HWLOC_OBJ_BRIDGE, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    }
    if (hwloc_topology_load(tree) != 0) {
        hwloc_topology_destroy(tree);
        return xml ? gr_fail(error, GR_ERROR_CORRUPT, "host", "%s: hwloc cannot load this topology",
                             xml)
                   : gr_fail(error, GR_ERROR_IO, "host",
                             "hwloc cannot read this machine's topology");
    }
    *out_tree = tree;
    return GR_OK;
}

// ---- NUMA nodes and memory ----

// Free and easily freed memory of one node, or of the machine when it is the only one; 0 when unknown. Where the kernel
// takes pages into use after the start only (deferred, or not yet accepted by a virtual machine) a node counts those alone
// that it has, the machine all.
static uint64_t node_free_bytes(unsigned node, bool only) {
    static const char *const counted[] = {"MemFree:", "Inactive(file):", "SReclaimable:"};
    char path[64];
    gr_strbuf text = {0};
    uint64_t kib = 0;
    snprintf(path, sizeof path, "/sys/devices/system/node/node%u/meminfo", node);
    if (gr_file_read(only ? "/proc/meminfo" : path, 65536, &text, NULL) == GR_OK && text.size) {
        for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
            const char *at = strstr(text.data, counted[i]);
            kib += at ? strtoull(at + strlen(counted[i]), NULL, 10) : 0;
        }
    }
    gr_strbuf_deinit(&text);
    return kib * 1024;
}

static bool fill_numa(snapshot *s, hwloc_topology_t tree) {
    gr_topology *t = &s->public;
    int found = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_NUMANODE);
    uint32_t count = found > 0 ? (uint32_t)found : 1;
    gr_numa_node *nodes = gr_arena_alloc(&s->arena, count * sizeof *nodes);
    if (!nodes)
        return false;
    const uint64_t machine = t->fake ? 0 : (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 0; i < count; i++) {
        hwloc_obj_t object = hwloc_get_obj_by_type(tree, HWLOC_OBJ_NUMANODE, i);
        nodes[i].struct_size = sizeof nodes[i];
        nodes[i].os_index = object ? object->os_index : 0;
        nodes[i].memory_bytes = object ? object->attr->numanode.local_memory : 0;
        if (count == 1 && nodes[i].memory_bytes < machine)
            nodes[i].memory_bytes = machine;
        if (!t->fake)
            nodes[i].free_bytes = node_free_bytes(nodes[i].os_index, count == 1);
        if (!nodes[i].free_bytes || nodes[i].free_bytes > nodes[i].memory_bytes)
            nodes[i].free_bytes = nodes[i].memory_bytes;
        t->memory_bytes += nodes[i].memory_bytes;
    }
    if (!t->memory_bytes)
        t->memory_bytes = machine;
    t->numa_nodes = nodes;
    t->numa_count = count;
    t->numa_stride = sizeof *nodes;
    return true;
}

static uint32_t numa_index(const gr_topology *t, hwloc_const_bitmap_t nodeset) {
    for (uint32_t i = 0; nodeset && i < t->numa_count; i++) {
        if (hwloc_bitmap_isset(nodeset, t->numa_nodes[i].os_index))
            return i;
    }
    return 0;
}

static void apply_limits(gr_topology *t, const gr_topology_options *options) {
    gr_cgroup_limits limits = {0};
    if (!t->fake || options->cgroup_root)
        gr_cgroup_read(options->cgroup_root, &limits);
    t->cpu_quota_milli = limits.cpu_quota_milli;
    t->memory_limit_bytes = t->memory_bytes;
    if (limits.memory_bytes && (limits.memory_bytes < t->memory_bytes || !t->memory_bytes))
        t->memory_limit_bytes = limits.memory_bytes;
}

// ---- Processors ----

// Numbers objects from 0 in the order in which they are met.
typedef struct numbering {
    hwloc_obj_t *seen;
    uint32_t count;
} numbering;

static uint32_t number_of(numbering *n, hwloc_obj_t object) {
    for (uint32_t i = n->count; i > 0; i--) {
        if (n->seen[i - 1] == object)
            return i - 1;
    }
    n->seen[n->count] = object;
    return n->count++;
}

// What a processor shares its last cache with: that cache, else its package, else itself.
static hwloc_obj_t last_cache(hwloc_topology_t tree, hwloc_obj_t pu) {
    hwloc_obj_t found = NULL;
    for (hwloc_obj_t o = pu->parent; o; o = o->parent) {
        if (hwloc_obj_type_is_dcache(o->type) && o->type <= HWLOC_OBJ_L4CACHE)
            found = o;
    }
    if (!found)
        found = hwloc_get_ancestor_obj_by_type(tree, HWLOC_OBJ_PACKAGE, pu);
    return found ? found : pu;
}

// Efficiency rank; 0 when hwloc can't rank the kinds.
static uint32_t kind_of(hwloc_topology_t tree, hwloc_obj_t pu) {
    int efficiency = 0;
    int kind = hwloc_cpukinds_get_by_cpuset(tree, pu->cpuset, 0);
    if (kind < 0 ||
        hwloc_cpukinds_get_info(tree, (unsigned)kind, NULL, &efficiency, NULL, NULL, 0) != 0)
        return 0;
    return efficiency > 0 ? (uint32_t)efficiency : 0;
}

static uint32_t rank_in_core(const gr_cpu *cpus, uint32_t count, uint32_t core) {
    uint32_t rank = 0;
    for (uint32_t i = 0; i < count; i++)
        rank += cpus[i].core == core;
    return rank;
}

static void fill_cpu(snapshot *s, hwloc_topology_t tree, hwloc_obj_t pu, numbering numbers[3],
                     gr_cpu *cpus) {
    gr_topology *t = &s->public;
    gr_cpu *cpu = &cpus[t->cpu_count];
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(tree, HWLOC_OBJ_CORE, pu);
    hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(tree, HWLOC_OBJ_PACKAGE, pu);
    cpu->struct_size = sizeof *cpu;
    cpu->os_index = pu->os_index;
    cpu->core = number_of(&numbers[0], core ? core : pu);
    cpu->smt_rank = rank_in_core(cpus, t->cpu_count, cpu->core);
    cpu->numa_node = numa_index(t, pu->nodeset);
    cpu->l3_group = number_of(&numbers[1], last_cache(tree, pu));
    cpu->package = number_of(&numbers[2], package);
    cpu->kind = kind_of(tree, pu);
    t->cpu_count++;
}

static bool fill_cpus(snapshot *s, hwloc_topology_t tree) {
    gr_topology *t = &s->public;
    hwloc_const_bitmap_t allowed = hwloc_topology_get_allowed_cpuset(tree);
    int found = hwloc_get_nbobjs_by_type(tree, HWLOC_OBJ_PU);
    uint32_t count = found < 1 ? 1 : found > MAX_CPUS ? MAX_CPUS : (uint32_t)found;
    numbering numbers[3] = {{NULL}};
    hwloc_obj_t *seen = calloc(3 * (size_t)count, sizeof *seen);
    gr_cpu *cpus = gr_arena_alloc(&s->arena, count * sizeof *cpus);
    if (!cpus || !seen) {
        free(seen);
        return false;
    }
    for (uint32_t i = 0; i < 3; i++)
        numbers[i].seen = seen + (size_t)i * count;
    for (uint32_t i = 0; i < count; i++) {
        hwloc_obj_t pu = hwloc_get_obj_by_type(tree, HWLOC_OBJ_PU, i);
        if (pu && (!allowed || hwloc_bitmap_isset(allowed, pu->os_index)))
            fill_cpu(s, tree, pu, numbers, cpus);
    }
    t->cpus = cpus;
    t->cpu_stride = sizeof *cpus;
    t->core_count = numbers[0].count;
    free(seen);
    return true;
}

// ---- Caches ----

static void fill_cache(hwloc_topology_t tree, hwloc_obj_type_t type, uint32_t level,
                       gr_cache *cache) {
    int count = hwloc_get_nbobjs_by_type(tree, type);
    *cache = (gr_cache){.struct_size = sizeof *cache, .level = level};
    for (int i = 0; i < count; i++) {
        hwloc_obj_t object = hwloc_get_obj_by_type(tree, type, (unsigned)i);
        int sharers = hwloc_bitmap_weight(object->cpuset);
        if (object->attr->cache.size > cache->bytes)
            cache->bytes = object->attr->cache.size;
        if (object->attr->cache.linesize > cache->line_bytes)
            cache->line_bytes = object->attr->cache.linesize;
        if (sharers > 0 && (uint32_t)sharers > cache->sharers)
            cache->sharers = (uint32_t)sharers;
        cache->instances++;
    }
}

static bool fill_caches(snapshot *s, hwloc_topology_t tree) {
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                             HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE};
    gr_cache *caches = gr_arena_alloc(&s->arena, sizeof types / sizeof types[0] * sizeof *caches);
    if (!caches)
        return false;
    for (uint32_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        fill_cache(tree, types[i], i + 1, &caches[s->public.cache_count]);
        s->public.cache_count += caches[s->public.cache_count].instances > 0;
    }
    s->public.caches = caches;
    s->public.cache_stride = sizeof *caches;
    return true;
}

// ---- PCI devices ----

static gr_pci_device pci_device(const gr_topology *t, hwloc_topology_t tree, hwloc_obj_t object) {
    const struct hwloc_pcidev_attr_s *a = &object->attr->pcidev;
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(tree, object);
    gr_pci_device device = {.struct_size = sizeof device,
                            .domain = a->domain,
                            .bus = a->bus,
                            .device = a->dev,
                            .function = a->func,
                            .vendor_id = a->vendor_id,
                            .device_id = a->device_id,
                            .class_id = a->class_id,
                            .numa_node = -1};
    if (near && near->nodeset && (t->numa_count == 1 || hwloc_bitmap_weight(near->nodeset) == 1))
        device.numa_node = (int32_t)numa_index(t, near->nodeset);
    return device;
}

static bool fill_pci(snapshot *s, hwloc_topology_t tree) {
    uint32_t count = 0;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(tree, o));)
        count++;
    gr_pci_device *devices = gr_arena_alloc(&s->arena, (count ? count : 1) * sizeof *devices);
    if (!devices)
        return false;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(tree, o));)
        devices[s->public.pci_count++] = pci_device(&s->public, tree, o);
    s->public.pci_devices = devices;
    s->public.pci_stride = sizeof *devices;
    return true;
}

// ---- The whole ----

static bool fill_model(snapshot *s, hwloc_topology_t tree) {
    hwloc_obj_t package = hwloc_get_obj_by_type(tree, HWLOC_OBJ_PACKAGE, 0);
    const char *name = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    if (!name)
        name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(tree), "CPUModel");
    if (!name)
        name = "";
    name += strspn(name, " ");
    s->public.cpu_model = gr_arena_string(&s->arena, name, strlen(name));
    return s->public.cpu_model != NULL;
}

gr_status gr_topology_create(const gr_topology_options *options, gr_topology **out_topology,
                             gr_error *error) {
    static const gr_topology_options defaults = {0};
    hwloc_topology_t tree = NULL;
    *out_topology = NULL;
    options = options ? options : &defaults;
    snapshot *s = calloc(1, sizeof *s);
    if (!s)
        return no_memory(error);
    gr_status status = open_hwloc(options, &tree, error);
    if (status != GR_OK)
        goto fail;
    s->public.struct_size = sizeof s->public;
    s->public.fake = options->xml_path || !hwloc_topology_is_thissystem(tree);
    s->public.cpu_features = options->features ? *options->features : gr_cpu_features_read();
    if (!fill_numa(s, tree) || !fill_cpus(s, tree) || !fill_caches(s, tree) ||
        !fill_model(s, tree) || (options->pci && !fill_pci(s, tree))) {
        status = no_memory(error);
        goto fail;
    }
    if (!s->public.cpu_count) {
        status = gr_fail(error, GR_ERROR_CORRUPT, "host", "%s: no processor that may be used",
                         options->xml_path ? options->xml_path : "this machine");
        goto fail;
    }
    apply_limits(&s->public, options);
    hwloc_topology_destroy(tree);
    *out_topology = &s->public;
    return GR_OK;
fail:
    if (tree)
        hwloc_topology_destroy(tree);
    gr_topology_destroy(&s->public);
    return status;
}

void gr_topology_destroy(gr_topology *topology) {
    if (!topology)
        return;
    snapshot *s = (snapshot *)(void *)topology;
    gr_arena_deinit(&s->arena);
    free(s);
}
