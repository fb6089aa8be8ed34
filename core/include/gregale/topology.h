// SPDX-License-Identifier: Apache-2.0
// topology.h: a snapshot of the machine, the same for plugins, the thread pool and placement.
// For backend authors and the host. Self-contained, C11 and C++17. Immutable once made; any thread.
#ifndef GREGALE_TOPOLOGY_H
#define GREGALE_TOPOLOGY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// CPU features that the processor has and the operating system has enabled (XCR0 checked).
typedef uint64_t gr_cpu_features;
#define GR_CPU_SSE42 (UINT64_C(1) << 0)
#define GR_CPU_AVX (UINT64_C(1) << 1)
#define GR_CPU_AVX2 (UINT64_C(1) << 2)
#define GR_CPU_FMA (UINT64_C(1) << 3)
#define GR_CPU_F16C (UINT64_C(1) << 4)
#define GR_CPU_BMI2 (UINT64_C(1) << 5)
#define GR_CPU_AVX_VNNI (UINT64_C(1) << 6)
#define GR_CPU_AVX512 (UINT64_C(1) << 7) // F, BW, CD, DQ and VL together
#define GR_CPU_AVX512_VNNI (UINT64_C(1) << 8)
#define GR_CPU_AVX512_BF16 (UINT64_C(1) << 9)
#define GR_CPU_AVX512_FP16 (UINT64_C(1) << 10)
#define GR_CPU_AVX512_VBMI (UINT64_C(1) << 11)
#define GR_CPU_AMX_TILE (UINT64_C(1) << 12)
#define GR_CPU_AMX_INT8 (UINT64_C(1) << 13)
#define GR_CPU_AMX_BF16 (UINT64_C(1) << 14)
#define GR_CPU_NEON (UINT64_C(1) << 32)
#define GR_CPU_NEON_DOTPROD (UINT64_C(1) << 33)
#define GR_CPU_NEON_I8MM (UINT64_C(1) << 34)
#define GR_CPU_NEON_BF16 (UINT64_C(1) << 35)
#define GR_CPU_SVE (UINT64_C(1) << 36)

typedef struct gr_numa_node {
    uint32_t struct_size;
    uint32_t os_index;
    uint64_t memory_bytes;
    uint64_t free_bytes; // as of the snapshot
} gr_numa_node;

// One logical processor that this process may run on.
typedef struct gr_cpu {
    uint32_t struct_size;
    uint32_t os_index;
    uint32_t core;      // physical core, numbered from 0; SMT siblings share it
    uint32_t smt_rank;  // 0 for the first thread of its core
    uint32_t numa_node; // index into gr_topology.numa_nodes
    uint32_t l3_group;  // last-level cache, numbered from 0
    uint32_t package;
    uint32_t kind;      // efficiency rank: higher is faster (P-cores above E-cores)
} gr_cpu;

typedef struct gr_cache {
    uint32_t struct_size;
    uint32_t level;    // 1 to 4
    uint64_t bytes;    // of one instance
    uint32_t line_bytes;
    uint32_t sharers;  // logical processors on one instance
    uint32_t instances;
    uint32_t reserved;
} gr_cache;

typedef struct gr_pci_device {
    uint32_t struct_size;
    uint32_t domain, bus, device, function;
    uint32_t vendor_id, device_id, class_id;
    int32_t numa_node; // nearest, -1 when unknown
} gr_pci_device;

typedef struct gr_topology {
    uint32_t struct_size;
    uint32_t cpu_count, cpu_stride;
    uint32_t numa_count, numa_stride;
    uint32_t cache_count, cache_stride;
    uint32_t pci_count, pci_stride;
    uint32_t core_count;          // physical cores among the cpus
    gr_cpu_features cpu_features;
    uint64_t memory_bytes;        // of the machine
    uint64_t memory_limit_bytes;  // the smaller of the machine's and the cgroup's
    uint32_t cpu_quota_milli;     // cgroup cpu.max in thousandths of a processor; 0: no quota
    uint32_t fake;                // 1 when read from a file (tests), not from this machine
    const gr_cpu *cpus;
    const gr_numa_node *numa_nodes;
    const gr_cache *caches;
    const gr_pci_device *pci_devices; // NULL until asked for: finding them costs 60 to 90 ms
    const char *cpu_model;
} gr_topology;

#ifdef __cplusplus
}
#endif
#endif
