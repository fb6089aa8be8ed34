// SPDX-License-Identifier: Apache-2.0
// far.h: the inside of far, a backend for tests that behaves like a device with its own memory.
//
// It computes nothing itself: an inner backend (ref, linked in) does, on memory that counts as the
// device's. What far adds is distance. A handle is no address: reading through one faults. Work
// stands in a queue until its delay is over or somebody waits for it, and then runs on the queue's
// own thread. Copies take their time, fences fire late, memory is limited. What a device may not be
// asked is refused by name: copying or resizing what is in flight, copies without a queue then. A
// step that turns out wrong while it runs, or an object destroyed while in flight, loses the
// device.
#ifndef GREGALE_TESTS_FAR_H
#define GREGALE_TESTS_FAR_H

#include <stdatomic.h>

#include "gregale/sdk/fence.h"
#include "gregale/sdk/structs.h"

#define FAR "far"

// ---- Handles ----

typedef uint32_t far_kind;
enum { FAR_DEVICE = 0xfa000001, FAR_BUFFER, FAR_WEIGHT, FAR_KV, FAR_PROGRAM, FAR_QUEUE, FAR_FENCE };

// What everything that a handle names begins with.
typedef struct far_object {
    far_kind kind;
    uint32_t in_flight; // commands not done that use it; under the device's lock
} far_object;

// A handle is the object's address with bits that no address has.
#define FAR_TAG ((uintptr_t)0xfa50 << 48)

static inline void *far_hide(void *object) {
    return object ? (void *)((uintptr_t)object ^ FAR_TAG) : NULL;
}

// The object behind a handle; NULL for NULL, and for what is no handle of that kind.
static inline void *far_find(const void *handle, far_kind kind) {
    far_object *object = (far_object *)((uintptr_t)handle ^ FAR_TAG);
    if (!handle || ((uintptr_t)object & FAR_TAG) || object->kind != kind)
        return NULL;
    return object;
}

// ---- Objects ----

// The services that the inner backend gets: the host's, but memory counts as the device's.
typedef struct far_services {
    gr_host table; // first: the inner backend hands this address back
    const gr_host *host;
    _Atomic uint64_t used;
    uint64_t limit;
} far_services;

typedef struct far_settings {
    uint64_t delay_ns; // how long work stands before it starts unasked
    uint64_t late_ns;  // how long a copy takes, and a fence after its work
    uint64_t memory_bytes;
    const char *refuse; // names of ops it says NO to, separated by commas; NULL: none
} far_settings;

typedef struct far_device {
    far_object object;
    const gr_host *host;
    far_services services;
    far_settings settings;
    gr_device *inner;
    pthread_mutex_t lock;   // of queues, fences, in_flight, lost
    pthread_cond_t changed; // any of them did
    struct far_queue *queues;
    bool lost;
    char why[200];
} far_device;

typedef struct far_buffer {
    far_object object;
    gr_buffer *inner;
} far_buffer;

typedef struct far_weight {
    far_object object;
    gr_weight *inner;
    void *data; // the device's copy of the source
    uint64_t bytes;
} far_weight;

typedef struct far_kv {
    far_object object;
    gr_kv *inner;
    uint32_t pages, page_tokens;
} far_kv;

typedef struct far_program {
    far_object object;
    gr_program *inner;
    far_buffer *arena; // may be NULL
    gr_weight **weights;
    gr_cache_layer *layers;
    far_kv **kvs; // of `layers`; NULL where the program does not use one
    uint32_t weight_count, layer_count;
    const gr_step *step;
    uint32_t rows_max, seqs_max, outputs_max;
} far_program;

typedef struct far_fence {
    far_object object;
    uint64_t value;
} far_fence;

enum { FAR_RING = 32, FAR_WAITS = 8 };

// A step to run, or (no program) slots of a cache page to copy.
typedef struct far_command {
    far_program *program;
    far_buffer *scratch;
    far_kv *kv;
    uint32_t from, to, slots;
    uint32_t wait_count;
    far_fence *waits[FAR_WAITS];
    uint64_t wait_values[FAR_WAITS];
    far_fence *signal;
    uint64_t signal_value;
    uint64_t due_ns; // starts then at the latest
} far_command;

typedef struct far_queue {
    far_object object;
    far_device *device;
    struct far_queue *next;
    gr_queue *inner;
    pthread_t thread;
    bool stop;
    uint64_t given, done; // commands
    uint64_t wanted;      // somebody waits for the commands before this one
    far_command ring[FAR_RING];
} far_queue;

// ---- entry.c ----

// The backend that computes.
const gr_backend *far_inner(void);
// OK, or why the device is lost.
gr_status far_ready(far_device *device, gr_error *error);
gr_status far_no_memory(gr_error *error, const char *what);
// Zeroed memory of the host's for an object, which gets `kind`; not the device's.
void *far_object_alloc(far_device *device, uint64_t bytes, far_kind kind);
void far_object_free(far_device *device, void *object, uint64_t bytes);

// ---- queue.c ----

void far_sleep(const far_device *device, uint64_t ns);
// Loses the device for good; the lock is not held.
void far_lose(far_device *device, const char *why);
// Waits until `queue` (a handle) has done what it was given, then as long as a copy takes. Refuses
// a call without a queue while `object` is in flight.
gr_status far_settle(far_device *device, gr_queue *queue, far_object *object, gr_error *error);
// Refuses a call while `object` is in flight.
gr_status far_idle(far_device *device, far_object *object, const char *what, gr_error *error);
// Whether `object` may be destroyed now; else the device is lost once the work that uses it is
// done.
void far_retire(far_device *device, far_object *object, const char *what);
// Gives a command to a queue (a handle). Allocates nothing.
gr_status far_give(far_device *device, gr_queue *queue, const far_command *command,
                   gr_error *error);

gr_status far_queue_create(gr_device *device, gr_team *team, gr_queue **out_queue, gr_error *error);
void far_queue_destroy(gr_device *device, gr_queue *queue);
gr_status far_fence_create(gr_device *device, gr_fence **out_fence, gr_error *error);
void far_fence_destroy(gr_device *device, gr_fence *fence);
gr_status far_fence_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns,
                         gr_error *error);

// ---- memory.c ----

void far_services_init(far_services *services, const gr_host *host, uint64_t limit);
gr_status far_buffer_alloc(gr_device *device, uint64_t bytes, gr_buffer **out_buffer,
                           gr_error *error);
gr_status far_buffer_import(gr_device *device, void *memory, uint64_t bytes, gr_buffer **out_buffer,
                            gr_error *error);
void far_buffer_destroy(gr_device *device, gr_buffer *buffer);
gr_status far_buffer_read(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                          void *destination, uint64_t bytes, gr_error *error);
gr_status far_buffer_write(gr_device *device, gr_queue *queue, gr_buffer *buffer, uint64_t offset,
                           const void *source, uint64_t bytes, gr_error *error);
void *far_buffer_map(gr_device *device, gr_buffer *buffer);
gr_status far_weight_import(gr_device *device, const gr_weight_desc *desc, gr_weight **out_weight,
                            gr_weight_info *out_info, gr_error *error);
void far_weight_destroy(gr_device *device, gr_weight *weight);

// ---- kv.c ----

gr_status far_kv_create(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv, gr_error *error);
void far_kv_destroy(gr_device *device, gr_kv *kv);
gr_status far_kv_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error);
uint64_t far_kv_page_bytes(gr_device *device, const gr_kv *kv);
gr_status far_kv_copy_page(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error);
gr_status far_kv_read(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                      gr_dtype dtype, void *values, uint64_t bytes, gr_error *error);
gr_status far_kv_write(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region,
                       gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error);

// ---- program.c ----

gr_status far_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info, gr_error *error);
void far_program_destroy(gr_device *device, gr_program *program);
gr_status far_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error);

#endif
