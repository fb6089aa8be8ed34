// SPDX-License-Identifier: Apache-2.0
// host.h: the machine and what it can run on: topology, worker team, backend plugins, choice of
// device. Inside the core. Threads: as said per call; snapshots are immutable.
#ifndef GREGALE_HOST_HOST_H
#define GREGALE_HOST_HOST_H

#include <stdbool.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "base/trace.h"
#include "gregale/backend.h"
#include "graph/graph.h"

// ---- Topology (topology.c, cgroup.c, cpuid.c) ----

typedef struct gr_topology_options {
    const char *xml_path; // an hwloc XML file in place of this machine (tests); NULL: this machine
    // In place of /sys/fs/cgroup (tests), with <root>/proc-self-cgroup in place of
    // /proc/self/cgroup. NULL: the real one for this machine, no limits for a file.
    const char *cgroup_root;
    const gr_cpu_features *features; // in place of CPUID (tests); NULL: the real ones
    bool pci;                        // also find PCI devices (60 to 90 ms)
} gr_topology_options;

// Takes a snapshot of the machine: the processors this process may run on, memory, caches, limits.
// NULL options: this machine as it is. CORRUPT names a file that is no topology.
gr_status gr_topology_create(const gr_topology_options *options, gr_topology **out_topology,
                             gr_error *error);
void gr_topology_destroy(gr_topology *topology);

// ---- Worker team (layout.c, team.c, wait.c) ----

// The processors to use for `threads` workers: physical cores first, SMT siblings last, P-cores
// before E-cores, spread evenly over NUMA nodes and caches, neighbours in number sharing them. 0
// threads: one a physical core of the fastest kinds that make up a third of all cores, no more than
// the cgroup's quota allows, at least one. Only processors in the cpuset are ever used. Writes
// indices into topology->cpus, returns how many: at most `capacity` and cpu_count; 0 only without
// memory.
uint32_t gr_team_layout(const gr_topology *topology, uint32_t threads, uint32_t *out_cpus,
                        uint32_t capacity);
// Starts threads-1 workers (the caller of gr_team_run is worker 0), pinned unless the topology is
// fake or there are more workers than processors. Between runs they spin for a bounded time, then
// sleep on a futex. The topology is not needed afterwards. OUT_OF_RANGE above 1024 threads.
gr_status gr_team_create(const gr_topology *topology, uint32_t threads, gr_team **out_team,
                         gr_error *error);
// Ends and joins the workers. NULL is legal.
void gr_team_destroy(gr_team *team);
// For a team with a worker that hangs: lets go of the threads without joining; their memory is
// never freed.
void gr_team_abandon(gr_team *team);
// Pins the calling thread to worker 0's processor for good, when the team is pinned; threads and
// processes it starts inherit that. Only for a thread of our own: gr_team_run leaves its caller's
// affinity as it is, and moves it for the length of a run only when it stands on a worker's
// processor.
void gr_team_bind_caller(const gr_team *team);
uint32_t gr_team_size(const gr_team *team);
// As gr_host.team_run and gr_host.team_barrier in backend.h.
void gr_team_run(gr_team *team, gr_team_function function, void *argument);
void gr_team_barrier(const gr_worker *worker);

// ---- Plugins and devices (registry.c, choose.c, discover.c, elf.c, abi.c, probe.c, services.c,
// score.c, why.c) ----

typedef struct gr_registry gr_registry;

typedef struct gr_registry_options {
    const char *const *directories; // explicit, searched first; ends with NULL; may be NULL
    bool only_explicit; // skip GREGALE_PLUGIN_PATH, user and library directories (tests)
    gr_topology_options topology;
    gr_log *log;
    gr_trace *trace; // NULL: none
    const gr_plugin_entry
        *linked; // backends linked in (gr_linked_backends()), ends with NULL; may be NULL
    gr_host_flags flags;       // what is asked of every device
    uint32_t probe_timeout_ms; // for a risky probe in its helper process; 0: 10 s
} gr_registry_options;

// A plugin file that was looked at.
typedef struct gr_plugin_entry_info {
    const char *path;
    const char *name; // NULL when it never told
    const char *version;
    bool accepted;
    const char *reason; // for people: why refused, or "" when accepted
} gr_plugin_entry_info;

// A device that some accepted plugin reported.
typedef struct gr_device_entry {
    const char *name; // unique in the registry; "cpu", "cuda0"
    const gr_backend *backend;
    uint32_t plugin; // index
    uint32_t ordinal;
    gr_device_facts facts;
    double score;             // higher is better; see why
    const char *score_reason; // the sum, in words
} gr_device_entry;

// Probes the machine and loads every plugin found: files named gregale-backend-*.so in the
// directories of the options, then of GREGALE_PLUGIN_PATH (absolute paths, colon-separated), then
// $XDG_DATA_HOME/gregale/backends, then beside this library or program, then in the directory
// compiled in; never in the working directory. A privileged process looks in the first and last
// only. Of two plugins of one name the first found is kept. One bad plugin never stops the rest.
// Fails only when out of memory or when the topology can't be read. NULL options: all defaults. One
// thread.
gr_status gr_registry_create(const gr_registry_options *options, gr_registry **out_registry,
                             gr_error *error);
void gr_registry_destroy(gr_registry *registry);
const gr_topology *gr_registry_topology(const gr_registry *registry);
uint32_t gr_registry_plugin_count(const gr_registry *registry);
const gr_plugin_entry_info *gr_registry_plugin(const gr_registry *registry, uint32_t index);
uint32_t gr_registry_device_count(const gr_registry *registry); // sorted by score, best first
const gr_device_entry *gr_registry_device(const gr_registry *registry, uint32_t index);
// Resolves "auto" (or NULL) to the best device, a name ("cpu", or "plugin.device") to that device.
// NOT_FOUND lists what there is.
gr_status gr_registry_find(const gr_registry *registry, const char *name, uint32_t *out_index,
                           gr_error *error);
// The best device with `bytes` of free memory (or that does not tell), not in quarantine unless all are.
// OUT_OF_MEMORY when none has.
gr_status gr_registry_best(const gr_registry *registry, uint64_t bytes, uint32_t *out_index,
                           gr_error *error);
// Makes sound what a plugin's failed call left in `error` (NULL is legal): the code is `status`, which it returns; texts
// end, are UTF-8 without control characters, and say at least the status's name. Every call of a plugin's table that
// takes an error is followed by it. Does nothing when the status is OK.
gr_status gr_abi_settle_error(gr_status status, gr_error *error);
const gr_host *gr_registry_host(const gr_registry *registry); // services for opening devices
// Writes the facts that mattered, plugins accepted and refused with reasons, scores and the
// decision.
gr_status gr_registry_why(const gr_registry *registry, bool json, gr_strbuf *out_text,
                          gr_error *error);

// An opened device: backend, handle and what calls need. Opened once a registry entry and shared
// (counted).
typedef struct gr_opened_device {
    const gr_backend *backend;
    gr_device *device;
    gr_device_facts facts;
    const char *name;
} gr_opened_device;
// Every open needs its close. Any thread.
gr_status gr_registry_open(gr_registry *registry, uint32_t index,
                           const gr_opened_device **out_device, gr_error *error);
void gr_registry_close(gr_registry *registry, const gr_opened_device *device);

// A device failed: "auto" leaves it alone for a second, twice as long after every further failure, ten
// minutes at most. `lost`: its handle is dead, and it can be opened again when all who use it have closed it.
void gr_registry_quarantine(gr_registry *registry, const gr_opened_device *device, bool lost, const char *reason);
// Whether device `index` is in quarantine, and how long still.
bool gr_registry_quarantined(const gr_registry *registry, uint32_t index, uint64_t *out_left_ns);
enum { GR_MAX_CANDIDATES = 64 };
// Devices that could take over, best first: those in good standing by score, then by the end of their
// quarantine. `failed` (may be NULL) and lost ones that are still open are left out. Writes at most `capacity`
// indices, returns how many.
uint32_t gr_registry_candidates(const gr_registry *registry, const gr_opened_device *failed, uint32_t *out_order,
                                uint32_t capacity);

// ---- Placement (placement.c) ----

// Chooses a device for every node of `graph`. `layer_devices` [layers] says which device is wanted for
// each layer of the model (NULL: `devices[0]` for all); the rest stand in for nodes it refuses (best
// first). Dynamic programme over the node order:
// cost = a node's estimated time on the device plus the cost of crossing. KV_WRITE and ATTENTION of
// one layer always share a device. An error names the node no device takes, with each device's
// reason.
typedef struct gr_placement gr_placement;
gr_status gr_placement_create(const gr_graph *graph, const gr_opened_device *const *devices,
                              uint32_t count, const uint32_t *layer_devices, bool no_fusion,
                              gr_placement **out_placement, gr_error *error);
void gr_placement_destroy(gr_placement *placement);
// The chooser for gr_plan_create; context is the placement.
int32_t gr_placement_choose(void *placement, uint32_t node);
// Device of cache layer `layer`; and the precision class and reason recorded for a node.
uint32_t gr_placement_cache_device(const gr_placement *placement, uint32_t layer);
const gr_support *gr_placement_support(const gr_placement *placement, uint32_t node);

#endif
