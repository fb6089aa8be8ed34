// SPDX-License-Identifier: Apache-2.0
// backend.h: what a hardware backend implements, and what the host gives it. ABI 0.x.
// For backend authors. Needs only libc headers; compiles as C11 and C++17.
//
// A backend is a shared object that links nothing of the host's. Its one symbol, made by
// GR_PLUGIN_ENTRY, returns a gr_backend: a table of functions. The host drives it in this order:
//
//   probe      which devices are here, and what are they capable of?        (facts, no promises)
//   open       one device
//   node_support, weight_import, kv_create, buffer_*, program_compile       (planning; may be slow)
//   queue_create, fence_create, submit, fence_wait                          (every step; no allocation)
//   *_destroy, close                                                        (children before parents)
//
// Evolution. Every struct begins with struct_size, the size its writer knew. Fields are appended,
// never moved or removed; enum numbers are permanent; types have fixed width; arrays carry a stride;
// no struct embeds another. A shorter struct means that the missing fields are zero, their default.
// A longer one is accepted when its unknown tail is all zero. An op, dtype or flag that a plugin does
// not know means "no". abi_major changes when something breaks; abi_minor when something is appended.
//
// Errors. Every fallible call returns a gr_status and fills `error` when it is not NULL. Nothing
// aborts, exits, prints or throws. Out parameters are set to NULL or zero on entry. After
// GR_ERROR_DEVICE_LOST a device answers that to everything except queries and destroy.
// GR_ERROR_OUT_OF_MEMORY changes nothing and may be retried.
//
// Destroying. Children before parents; NULL is legal. The host destroys nothing that a step under way
// uses, but for a device that it gives up (lost, or out of time): there a destroy waits for the steps or
// abandons them.
//
// Threads. Unless a call says otherwise: the host calls into one device from one thread at a time;
// different devices may be called at the same time. No call may keep a pointer to its arguments after
// it returns, except where it says "borrowed".
#ifndef GREGALE_BACKEND_H
#define GREGALE_BACKEND_H

#include "gregale/dtype.h"
#include "gregale/ops.h"
#include "gregale/segment.h"
#include "gregale/status.h"
#include "gregale/step.h"
#include "gregale/topology.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GR_ABI_MAJOR 0
#define GR_ABI_MINOR 2 // 0.2: gr_host.flags

// ---------------------------------------------------------------------------------------------
// Types

typedef struct gr_device gr_device;   // made by open
typedef struct gr_buffer gr_buffer;   // bytes in device memory
typedef struct gr_weight gr_weight;   // a weight as the device likes it
typedef struct gr_kv gr_kv;           // a pool of cache pages for some layers
typedef struct gr_program gr_program; // a compiled segment
typedef struct gr_queue gr_queue;     // steps run in submission order
typedef struct gr_fence gr_fence;     // a counter that only grows
typedef struct gr_team gr_team;       // the host's worker threads

typedef uint32_t gr_log_level;
enum { GR_LOG_ERROR = 0, GR_LOG_WARN = 1, GR_LOG_INFO = 2, GR_LOG_DEBUG = 3 };

// One worker inside a team_run, valid until its function returns.
typedef struct gr_worker {
    uint32_t struct_size;
    uint32_t id;        // 0 to count-1; 0 is the thread that called team_run
    uint32_t count;
    uint32_t l3_group;
    uint32_t numa_node;
    uint32_t reserved;
    void *host;         // the host's own
} gr_worker;

typedef void (*gr_team_function)(const gr_worker *worker, void *argument);

// One thing that a backend did, for `--trace`. Strings are borrowed for the call.
typedef struct gr_trace_event {
    uint32_t struct_size;
    gr_op op;
    int32_t layer;
    uint32_t rows;
    const char *implementation; // "matmul_q4_0_avx512", "onednn", "ref"
    uint64_t start_ns, end_ns;  // gr_host.now_ns
    uint64_t bytes;             // read and written, weights and cache included
    uint64_t operations;        // a multiply and an add count as two
} gr_trace_event;

// What the program asks of every device. A plugin ignores the bits that it does not know.
typedef uint64_t gr_host_flags;
#define GR_HOST_DETERMINISTIC (UINT64_C(1) << 0) // only paths that keep GR_DEVICE_BATCH_INVARIANT, so declare it

// Services of the host. Borrowed for the life of the plugin. Any thread, unless stated.
typedef struct gr_host {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    // Logs one line. Never NULL.
    void (*log)(const struct gr_host *host, gr_log_level level, const char *line);
    // Nanoseconds on a monotonic clock.
    uint64_t (*now_ns)(const struct gr_host *host);
    // Allocates zeroed, 64-byte aligned host memory; NULL when there is none. Freed by memory_free.
    void *(*memory_alloc)(const struct gr_host *host, uint64_t bytes);
    void (*memory_free)(const struct gr_host *host, void *memory, uint64_t bytes);
    // Workers of `team`, at least 1.
    uint32_t (*team_size)(const gr_team *team);
    // Runs `function` once on every worker of `team`, the calling thread being worker 0; returns when
    // all have returned. One run at a time a team; never from inside a run. Only within a call of the
    // host, on its thread: devices share the team. A device with a thread of its own brings workers too.
    void (*team_run)(gr_team *team, gr_team_function function, void *argument);
    // Waits until every worker of the run has arrived. All of them must call it equally often.
    void (*team_barrier)(const gr_worker *worker);
    // Records an event. Only worth calling while trace_enabled returns not 0.
    void (*trace)(const struct gr_host *host, const gr_trace_event *event);
    uint32_t (*trace_enabled)(const struct gr_host *host);
    // The machine. PCI devices are absent unless the backend's flags ask for them.
    const gr_topology *topology;
    // Extension by name ("vendor.name"), NULL when unknown.
    const void *(*get_extension)(const struct gr_host *host, const char *name);
    gr_host_flags flags; // since 0.2; the same from probe to close. gr_host_asks reads them
    // Since 0.2. Tells that the device holds its own copy of `bytes` bytes of a weight's source and will
    // seldom read them again: the host may give their memory back to the file. They stay readable.
    void (*source_done)(const struct gr_host *host, const void *data, uint64_t bytes);
} gr_host;

// Whether the host asks for `flag`. One of ABI 0.1 asks for nothing.
static inline uint32_t gr_host_asks(const gr_host *host, gr_host_flags flag) {
    return host->struct_size >= offsetof(gr_host, flags) + sizeof host->flags && (host->flags & flag) != 0;
}

typedef uint32_t gr_device_kind;
enum { GR_DEVICE_CPU = 0, GR_DEVICE_GPU = 1, GR_DEVICE_ACCELERATOR = 2, GR_DEVICE_REFERENCE = 3 };

typedef uint64_t gr_device_flags;
#define GR_DEVICE_HOST_MEMORY (UINT64_C(1) << 0)     // buffers and weights are host pointers
#define GR_DEVICE_COHERENT (UINT64_C(1) << 1)        // host sees device writes without a copy
#define GR_DEVICE_ALIASES_WEIGHTS (UINT64_C(1) << 2) // uses imported weights in place
#define GR_DEVICE_BATCH_INVARIANT (UINT64_C(1) << 3) // same bits for a row in any batch, chunk, bucket
#define GR_DEVICE_FALLBACK (UINT64_C(1) << 4)        // correct, not fast: chosen last

// What a device is, for scoring. Facts, not wishes: 0 means "unknown".
typedef struct gr_device_facts {
    uint32_t struct_size;
    gr_device_kind kind;
    gr_device_flags flags;
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
    uint64_t bandwidth_bytes_per_second;
    uint64_t f32_operations_per_second;
    uint64_t f16_operations_per_second; // F16 or BF16, the faster
    uint64_t int8_operations_per_second;
    int32_t numa_node;                  // -1: any
    uint32_t reserved;
    char name[64];        // short and stable: "cpu", "cuda0"; unique in the plugin
    char description[192]; // for people: model, features in use
} gr_device_facts;

typedef uint32_t gr_support_level;
enum {
    GR_SUPPORT_NO = 0,
    GR_SUPPORT_EMULATED = 1, // works, by a slower generic path; never claimed as native
    GR_SUPPORT_NATIVE = 2
};

// Worst error against exact arithmetic on the same inputs, as normalised mean square error.
typedef uint32_t gr_precision;
enum {
    GR_PRECISION_F32 = 0,          // 1e-10
    GR_PRECISION_F16 = 1,          // 5e-7: activations rounded to F16
    GR_PRECISION_BF16 = 2,         // 1e-5
    GR_PRECISION_Q8 = 3,           // 1e-4: activations quantised to 8 bits, a scale per 32
    GR_PRECISION_Q8_OUTLIERS = 4   // 5e-4
};

typedef struct gr_support {
    uint32_t struct_size;
    gr_support_level level;
    gr_precision precision;
    uint32_t reserved;
    char reason[128]; // why not native; may be empty when it is
} gr_support;

// A weight to import. `data` is a read-only view of the model file, borrowed until weight_destroy
// when the device keeps an alias, else until the call returns.
typedef struct gr_weight_desc {
    uint32_t struct_size;
    gr_dtype dtype;
    uint32_t rank;
    gr_op consumer;            // the op that reads it (MATMUL, EMBED, RMS_NORM...), so the best layout is known;
                               // MATMUL also where EMBED reads the same table
    int64_t dims[GR_MAX_RANK]; // outermost first
    const void *data;
    uint64_t bytes;
    const char *name;          // for messages
} gr_weight_desc;

typedef struct gr_weight_info {
    uint32_t struct_size;
    uint32_t aliases_source; // 1: the file's bytes are still read
    uint64_t device_bytes;   // own memory taken
    char layout[32];         // "gguf", "q4_0x16"
} gr_weight_info;

// A pool of cache pages for `layers` layers of one window and geometry on one device. Within a page
// the bytes are the backend's own; kv_read and kv_write speak the canonical form.
typedef struct gr_kv_desc {
    uint32_t struct_size;
    uint32_t layers;
    uint32_t page_tokens;
    uint32_t kv_heads;
    uint32_t k_dim;
    uint32_t v_dim;
    gr_dtype dtype;   // F32, F16, BF16 or Q8_0
    uint32_t pages;
} gr_kv_desc;

// A rectangle of cache: positions [slot, slot+count) of one page of one layer, K (part 0) or V (1).
typedef struct gr_kv_region {
    uint32_t struct_size;
    uint32_t layer; // within the pool
    uint32_t part;
    uint32_t page;
    uint32_t slot;
    uint32_t count;
} gr_kv_region;

// Where the cache of one layer of the model lives.
typedef struct gr_cache_layer {
    uint32_t struct_size;
    uint32_t group; // index into gr_step.groups
    gr_kv *kv;
    uint32_t layer; // within the pool
    uint32_t reserved;
} gr_cache_layer;

// Everything a program needs. The segment, step block and tables stay valid until program_destroy.
typedef struct gr_program_desc {
    uint32_t struct_size;
    uint32_t rows_max;    // bucket: largest T, S and R that will be submitted
    uint32_t seqs_max;
    uint32_t outputs_max;
    const gr_segment *segment;      // borrowed until program_destroy
    const gr_step *step;            // borrowed; the address every submit of this program reads
    gr_weight *const *weights;      // borrowed; indexed by gr_value.index of WEIGHT values; NULL: not used here
    uint32_t weight_count;
    uint32_t cache_layer_count;
    uint32_t cache_layer_stride;
    uint32_t threads;               // workers of the team that will run it
    const gr_cache_layer *cache_layers; // borrowed; indexed by gr_attrs_attention.cache_layer
    gr_buffer *arena;               // borrowed; gr_value.offset counts from its start
} gr_program_desc;

typedef struct gr_program_info {
    uint32_t struct_size;
    uint32_t fused_nodes;              // nodes that were joined with others
    uint64_t scratch_shared_bytes;     // the host provides scratch_shared + threads * scratch_per_thread
    uint64_t scratch_per_thread_bytes; // in gr_submit.scratch, 64-byte aligned
} gr_program_info;

typedef struct gr_submit {
    uint32_t struct_size;
    uint32_t wait_count;
    gr_program *program;
    gr_buffer *scratch;           // at least what gr_program_info declared; shared by a queue's programs
    gr_fence *const *waits;       // of the same device
    const uint64_t *wait_values;
    gr_fence *signal;             // set to signal_value when the step is done; NULL: none
    uint64_t signal_value;
} gr_submit;

// ---------------------------------------------------------------------------------------------
// The table a backend fills

typedef uint64_t gr_backend_flags;
#define GR_BACKEND_PINNED (UINT64_C(1) << 0)   // never dlclose: it started threads of a foreign runtime
#define GR_BACKEND_NEEDS_PCI (UINT64_C(1) << 1) // wants gr_topology.pci_devices
#define GR_BACKEND_RISKY_PROBE (UINT64_C(1) << 2) // probe may crash or hang: never try it but in a helper process first

typedef struct gr_backend {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor; // GR_ABI_MAJOR, GR_ABI_MINOR of the header it was built with
    gr_backend_flags flags;
    const char *name;              // "cpu": letters, digits, '-', '_'
    const char *version;           // of the plugin
    const char *build_id;          // changes whenever packed layouts or results may
    uint32_t op_limit;             // GR_OP_LIMIT and GR_DTYPE_LIMIT it was built with: the host answers
    uint32_t dtype_limit;          // "no" for anything beyond

    // Reports the devices present. Calls with capacity 0 only count. `out_facts` is an array of
    // `capacity` elements, `stride` bytes apart, each with struct_size set.
    gr_status (*probe)(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                       uint32_t *out_count, gr_error *error);
    // Opens device `ordinal` of the last probe; may be called again while it is open, for a device apart
    // from the first. The host table is borrowed until close.
    gr_status (*open)(const gr_host *host, uint32_t ordinal, gr_device **out_device, gr_error *error);
    // Closes it. Every object made from it has been destroyed. NULL is legal.
    void (*close)(gr_device *device);

    // Says how well the device would run node `index` (a composite counts as one, fused). Cheap, pure.
    void (*node_support)(gr_device *device, const gr_segment *segment, uint32_t index,
                         gr_support *out_support);

    // Buffers. alloc gives `bytes` bytes, 64-byte aligned, contents undefined. import wraps host
    // memory without copying (UNSUPPORTED when it cannot), borrowed until destroy.
    gr_status (*buffer_alloc)(gr_device *device, uint64_t bytes, gr_buffer **out_buffer, gr_error *error);
    gr_status (*buffer_import)(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                               gr_error *error);
    void (*buffer_destroy)(gr_device *device, gr_buffer *buffer);
    // Copies between host memory and a buffer; ordered after what `queue` was given before, and done
    // when it returns. queue may be NULL when nothing is in flight.
    gr_status (*buffer_read)(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                             void *destination, uint64_t bytes, gr_error *error);
    gr_status (*buffer_write)(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                              const void *source, uint64_t bytes, gr_error *error);
    // Host pointer to the buffer's bytes, or NULL when the device is not GR_DEVICE_HOST_MEMORY.
    void *(*buffer_map)(gr_device *device, gr_buffer *buffer);

    // Weights. Any thread, beside every other call to the device (other imports and compilations too), except a
    // step that uses the weight: the host readies a device for one model while another runs on it.
    gr_status (*weight_import)(gr_device *device, const gr_weight_desc *desc, gr_weight **out_weight,
                               gr_weight_info *out_info, gr_error *error);
    void (*weight_destroy)(gr_device *device, gr_weight *weight);

    // Cache pools. resize keeps the contents of pages below both counts; nothing may be in flight.
    gr_status (*kv_create)(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv, gr_error *error);
    void (*kv_destroy)(gr_device *device, gr_kv *kv);
    gr_status (*kv_resize)(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error);
    // Bytes one page takes over all layers of the pool, K and V.
    uint64_t (*kv_page_bytes)(gr_device *device, const gr_kv *kv);
    // Copies slots [0, slots) of a page to another, all layers. Ordered on `queue` (NULL: nothing in flight).
    gr_status (*kv_copy_page)(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from, uint32_t to,
                              uint32_t slots, gr_error *error);
    // Canonical access: `values` is [count][kv head][dim] of `dtype` (F32, or the pool's own dtype, which
    // must round-trip exactly). Ordered like kv_copy_page, done when it returns.
    gr_status (*kv_read)(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                         gr_dtype dtype, void *values, uint64_t bytes, gr_error *error);
    gr_status (*kv_write)(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                          gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error);

    // Programs. compile may take long, so it may run on any thread, as weight_import may.
    gr_status (*program_compile)(gr_device *device, const gr_program_desc *desc, gr_program **out_program,
                                 gr_program_info *out_info, gr_error *error);
    void (*program_destroy)(gr_device *device, gr_program *program);

    // Queues. `team` is borrowed until queue_destroy; NULL: there is none, as for a device with engines of
    // its own, which may ignore it.
    gr_status (*queue_create)(gr_device *device, gr_team *team, gr_queue **out_queue, gr_error *error);
    void (*queue_destroy)(gr_device *device, gr_queue *queue);
    // Runs a program on the step block it was compiled with. May return before the work is done.
    // Allocates nothing.
    gr_status (*submit)(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error);

    // Fences start at 0. wait returns OK once the counter is at least `value`, TIMEOUT after
    // timeout_ns (UINT64_MAX: never; 0: only asks), DEVICE_LOST when it will never come. Any thread.
    gr_status (*fence_create)(gr_device *device, gr_fence **out_fence, gr_error *error);
    void (*fence_destroy)(gr_device *device, gr_fence *fence);
    gr_status (*fence_wait)(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns,
                            gr_error *error);

    // Extension by name, NULL when unknown. May be NULL itself.
    const void *(*get_extension)(const char *name);
} gr_backend;

// Returns the backend's table, which lives as long as the library. `host_major` and `host_minor` are
// the host's ABI; a plugin may return NULL when it cannot work with that host.
typedef const gr_backend *(*gr_plugin_entry)(uint16_t host_major, uint16_t host_minor);

#define GR_PLUGIN_SYMBOL "gregale_plugin_entry"

#if defined(_WIN32)
#define GR_EXPORT __declspec(dllexport)
#else
#define GR_EXPORT __attribute__((visibility("default")))
#endif
#ifdef __cplusplus
#define GR_EXTERN_C extern "C"
#else
#define GR_EXTERN_C
#endif

// Defines the plugin's one symbol: GR_PLUGIN_ENTRY(cpu) { return &table; }, with parameters
// host_major and host_minor. Name-suffixed when GR_PLUGIN_STATIC is defined.
#ifdef GR_PLUGIN_STATIC
#define GR_PLUGIN_ENTRY(name)                                                         \
    GR_EXTERN_C const gr_backend *gregale_plugin_entry_##name(uint16_t, uint16_t);     \
    GR_EXTERN_C const gr_backend *gregale_plugin_entry_##name(uint16_t host_major, uint16_t host_minor)
#else
#define GR_PLUGIN_ENTRY(name)                                                          \
    GR_EXTERN_C GR_EXPORT const gr_backend *gregale_plugin_entry(uint16_t, uint16_t);   \
    GR_EXTERN_C GR_EXPORT const gr_backend *gregale_plugin_entry(uint16_t host_major, uint16_t host_minor)
#endif

#ifdef __cplusplus
}
#endif
#endif
