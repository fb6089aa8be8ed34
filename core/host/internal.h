// SPDX-License-Identifier: Apache-2.0
// internal.h: what the files of this room share. Not for other rooms.
#ifndef GREGALE_HOST_INTERNAL_H
#define GREGALE_HOST_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "host/host.h"

// ---- cgroup.c ----

typedef struct gr_cgroup_limits {
    uint32_t cpu_quota_milli; // thousandths of a processor; 0: none
    uint64_t memory_bytes;    // 0: none
} gr_cgroup_limits;

// Reads the smallest limits between this process's control group and the root of the hierarchy.
// `root` stands in for /sys/fs/cgroup, and then <root>/proc-self-cgroup for /proc/self/cgroup;
// NULL: the real ones. What can't be read is no limit.
void gr_cgroup_read(const char *root, gr_cgroup_limits *out_limits);

// ---- cpuid.c ----

// The registers that decide about x86 features, apart from reading them, so that tests can make
// some up.
typedef struct gr_cpuid_words {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx, leaf7_ecx, leaf7_edx;
    uint32_t leaf7_1_eax;
    uint64_t xcr0; // 0 when the system has not turned XSAVE on
} gr_cpuid_words;

gr_cpu_features gr_cpuid_decode(const gr_cpuid_words *words);
// Features of the processor this runs on; 0 on processors not known here.
gr_cpu_features gr_cpu_features_read(void);
// Writes the names of the features, space-separated ("avx2 fma"), cut to fit.
void gr_cpu_features_text(gr_cpu_features features, gr_strbuf *text);

// ---- wait.c ----

// Waits until *word differs from `old`: looks `spins` times, then sleeps. `sleepers` counts who
// sleeps, so that waking costs nothing when nobody does.
void gr_wait_change(_Atomic uint32_t *word, uint32_t old, uint32_t spins,
                    _Atomic uint32_t *sleepers);
// Wakes all who sleep on `word`; to be called after changing it.
void gr_wait_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers);
// How many looks of gr_wait_change take about `ns` nanoseconds here.
uint32_t gr_wait_spins(uint64_t ns);

// ---- services.c ----

// The table one plugin gets; log lines and trace events carry its name.
typedef struct gr_services {
    gr_host table; // first: plugins hand this address back
    const gr_log *log;
    gr_trace *trace;
    const char *name; // borrowed
} gr_services;

void gr_services_init(gr_services *services, const char *name, const gr_log *log, gr_trace *trace,
                      const gr_topology *topology);

// ---- discover.c ----

// A place that was searched, for gr_registry_why.
typedef struct gr_searched {
    const char *path;
    const char *outcome; // "2 files", "does not exist"...
} gr_searched;

typedef struct gr_discovery {
    gr_searched *places;
    uint32_t place_count, place_capacity;
    const char **files; // in order of search, each file once
    uint32_t file_count, file_capacity;
} gr_discovery;

// Lists candidate files by the rules of host.h, strings in `arena`. Release with
// gr_discovery_deinit.
gr_status gr_discovery_run(const char *const *explicit_directories, bool only_explicit,
                           gr_arena *arena, gr_discovery *out_discovery, gr_error *error);
void gr_discovery_deinit(gr_discovery *discovery);

// ---- elf.c ----

// Whether `path` is a regular file that the loader may map: for ELF, with every segment inside the
// file (a cut-off library would otherwise kill the process by SIGBUS while being loaded).
gr_status gr_library_check(const char *path, gr_error *error);

// ---- abi.c ----

enum { GR_PROBE_LIMIT = 64 }; // devices believed of one plugin

// Checks the table of a plugin by the rules of backend.h; an error says what is wrong with it.
gr_status gr_abi_check(const gr_backend *backend, gr_error *error);
// Checks facts that a plugin reported; makes them whole and their description printable.
gr_status gr_abi_check_facts(gr_device_facts *facts, gr_error *error);
// Ends a plugin's text within its array; what terminals obey or JSON cannot hold becomes '?'.
void gr_abi_settle_text(char *text, size_t capacity);
// Makes a support answer sound: unknown levels are NO, text ends within its array.
void gr_abi_settle_support(gr_support *support);
// Whether the plugin has heard of everything node `index` uses; fills `out_support` with NO when
// not.
bool gr_abi_knows_node(const gr_backend *backend, const gr_segment *segment, uint32_t index,
                       gr_support *out_support);

// ---- probe.c ----

typedef struct gr_probe_result {
    uint32_t count;
    gr_device_facts *facts; // heap
} gr_probe_result;

// Asks the plugin for its devices, here. At most GR_PROBE_LIMIT are believed. Release with
// free(facts).
gr_status gr_probe_run(const gr_backend *backend, const gr_host *host, gr_probe_result *out_result,
                       gr_error *error);
// The same in a helper process that may crash, or be stopped after `timeout_ms`.
gr_status gr_probe_apart(const gr_backend *backend, const gr_host *host, uint32_t timeout_ms,
                         gr_probe_result *out_result, gr_error *error);

enum { GR_PROBE_TIMEOUT_MS = 10000 }; // where nobody says otherwise
// Checks a file that is to be loaded (gr_library_check), and where the program has one thread loads it in such a process,
// calls its entry and checks the table: fails when that crashes, hangs or is refused.
// That the library cannot be loaded or has no entry is no failure yet: who loads it sees why.
gr_status gr_probe_load(const char *path, uint32_t timeout_ms, gr_error *error);

// ---- score.c ----

// Fills entry->score, and adds the sum in words to `reason`.
void gr_score_device(gr_device_entry *entry, gr_strbuf *reason);
// Order of devices, best first, as for qsort.
int gr_score_compare(const void *a, const void *b);
// Estimated seconds of `bytes` moved and `operations` of dtype class `dtype` done on a device.
double gr_score_seconds(const gr_device_facts *facts, gr_dtype dtype, uint64_t bytes,
                        uint64_t operations);

// ---- why_machine.c ----

void gr_why_machine_text(const gr_topology *topology, gr_strbuf *out);
// `took_ns`: how long discovery took.
void gr_why_machine_json(const gr_topology *topology, uint64_t took_ns, gr_strbuf *out);

// ---- registry.c ----

typedef struct gr_plugin {
    gr_plugin_entry_info info;
    void *library; // NULL when refused, or linked in
    gr_backend table; // as it was checked: what the plugin does to its own later changes nothing
    const gr_backend *backend; // it; NULL when refused
    gr_services services;
    bool probed_here; // false: only the helper process has probed so far
} gr_plugin;

typedef struct gr_shared_device {
    gr_opened_device opened; // first
    uint32_t plugin, users;
    bool lost;         // its handle answers nothing any more; until the last user has closed it
    uint32_t failures; // in a row
    uint64_t failed_ns, quarantine_ns; // the last failure; until when it is left alone
    char reason[256];  // of that failure
} gr_shared_device;

struct gr_registry {
    gr_topology *topology;
    gr_services services;
    gr_arena arena; // paths and reasons
    gr_discovery discovery;
    gr_plugin **plugins;
    uint32_t plugin_count, plugin_capacity;
    gr_device_entry *devices;
    uint32_t device_count;
    gr_shared_device *shared; // one a device
    pthread_mutex_t lock;     // of `shared` and probed_here
    uint32_t probe_timeout_ms;
    uint64_t started_ns, took_ns;
};

#endif
