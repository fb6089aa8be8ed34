// SPDX-License-Identifier: Apache-2.0
// fault.h: the inside of the fault shim, a plugin that wraps any other plugin and injects faults.
//
// Only the device is wrapped: every other handle is the wrapped plugin's own and passes through, as
// do structs unless their version is skewed. A call asks the plan whether it is to fail (plan.c);
// that costs a count and a branch while there is no plan. What fails with DEVICE_LOST loses the
// device; fences that fail, come late or never are held back where they are waited for (hold.c).
#ifndef GREGALE_TESTS_FAULT_H
#define GREGALE_TESTS_FAULT_H

#include <pthread.h>
#include <stdatomic.h>

#include "control.h"
#include "gregale/sdk/fence.h"
#include "gregale/sdk/structs.h"

#define FAULT "fault"

// ---- plan.c: which call fails ----

enum { FAULT_RULES = 32, FAULT_EVENTS = 256 };

// Calls `first` to `last` of a point fail so.
typedef struct fault_rule {
    gr_fault_point point;
    gr_fault_kind kind;
    uint64_t first, last;
    uint64_t delay_ns;
} fault_rule;

typedef struct fault_plan {
    fault_rule rules[FAULT_RULES];
    uint32_t rule_count;
    uint32_t kinds, points; // sets of bits: what draws choose from
    uint64_t seed;
    double rate; // of calls that fail by draw; 0: none
    uint64_t late_ns; // longest delay drawn
    uint64_t limit;   // most faults in all
    bool silent;      // faults leave the error as it was
} fault_plan;

// Reads a plan from text; INVALID_ARGUMENT names the item.
gr_status fault_plan_parse(const char *text, fault_plan *out_plan, gr_error *error);
const char *fault_point_name(gr_fault_point point);
const char *fault_kind_name(gr_fault_kind kind);
// What the plan does to call `number` of `point`; a pure function.
gr_fault_event fault_plan_at(const fault_plan *plan, gr_fault_point point, uint64_t number);

// ---- ledger.c: counts, and what was injected ----

typedef struct fault_ledger {
    _Atomic uint64_t calls[GR_FAULT_POINT_COUNT];
    atomic_bool active; // there is a plan
    atomic_bool silent; // its faults leave the error as it was
    pthread_mutex_t lock; // of what follows
    fault_plan plan;
    gr_fault_event events[FAULT_EVENTS];
    uint64_t event_count;
} fault_ledger;

void fault_ledger_set(fault_ledger *ledger, const fault_plan *plan);
// Counts a call of `point`, and says what is to happen to it.
gr_fault_event fault_ask(fault_ledger *ledger, gr_fault_point point);

// ---- skew.c: other versions of the interface ----

typedef uint32_t fault_skew;
enum {
    FAULT_SHORT_TOPOLOGY = 1u << 0, // the topology ends before what no field in use needs
    FAULT_OLD_HOST = 1u << 1,       // the host speaks ABI 0.1
    FAULT_NEW_HOST = 1u << 2,       // the host has a later minor, and more services
    FAULT_LONG_STRUCTS = 1u << 3,   // every struct is longer, its tail zero
    FAULT_OLD_TABLE = 1u << 4,      // towards the host: the table ends before get_extension
    FAULT_NEW_TABLE = 1u << 5       // a later minor, and a longer table whose tail is zero
};

gr_status fault_skew_parse(const char *text, fault_skew *out_skew, gr_error *error);

// ---- services.c: the host, as the wrapped plugin sees it ----

typedef struct fault_services {
    gr_host table; // first: the wrapped plugin hands this address back
    uint64_t later[4];
    gr_topology topology;
    const gr_host *host;
    fault_ledger *ledger;
} fault_services;

void fault_services_init(fault_services *services, const gr_host *host, fault_ledger *ledger,
                         fault_skew skew);

// ---- hold.c: fences held back ----

enum { FAULT_HOLDS = 64 };

// A fence is not seen to reach `value` before its time, nor what the queue is given later.
typedef struct fault_hold {
    const gr_queue *queue; // NULL once it is destroyed
    const gr_fence *fence; // NULL once it is destroyed, and for a step that signals none
    uint64_t value;
    uint64_t until_ns; // gr_host.now_ns; UINT64_MAX: for good
    bool lost;         // whoever looks finds the device lost
    uint64_t number;   // of GR_FAULT_FENCE
} fault_hold;

// ---- entry.c ----

typedef struct fault_device {
    const gr_backend *backend; // the wrapped plugin's
    gr_device *inner;
    const gr_host *host;
    fault_ledger *ledger;
    fault_skew skew;
    fault_services services;
    pthread_mutex_t lock;   // of what follows
    pthread_cond_t changed; // holds, lost
    fault_hold holds[FAULT_HOLDS];
    _Atomic uint32_t hold_count;
    atomic_bool lost;
    char why[120];
    struct fault_long_program *programs; // skew.c
} fault_device;

static inline fault_device *fault_of(gr_device *device) {
    return (fault_device *)(void *)device;
}

// Loses the device for good, by call `number` of `point`; the lock is held.
void fault_lose(fault_device *device, gr_fault_point point, uint64_t number);
// What every fallible call begins with: fails when the device is lost, else counts it, and fails when
// the plan says so.
gr_status fault_enter(fault_device *device, gr_fault_point point, gr_error *error);
// Fill their part of the table.
void fault_fill_objects(gr_backend *table); // device.c
void fault_fill_steps(gr_backend *table);   // hold.c

// hold.c: waits until what `queue` was given is seen to be done. DEVICE_LOST; TIMEOUT when it hangs.
gr_status fault_ordered(fault_device *device, const gr_queue *queue, gr_error *error);

// ---- skew.c: calls with longer structs ----

void fault_long_node_support(fault_device *device, const gr_segment *segment, uint32_t index,
                             gr_support *out_support);
gr_status fault_long_weight_import(fault_device *device, const gr_weight_desc *desc,
                                   gr_weight **out_weight, gr_weight_info *out_info,
                                   gr_error *error);
gr_status fault_long_kv_create(fault_device *device, const gr_kv_desc *desc, gr_kv **out_kv,
                               gr_error *error);
gr_status fault_long_kv_read(fault_device *device, gr_queue *queue, gr_kv *kv,
                             const gr_kv_region *region, gr_dtype dtype, void *values,
                             uint64_t bytes, gr_error *error);
gr_status fault_long_kv_write(fault_device *device, gr_queue *queue, gr_kv *kv,
                              const gr_kv_region *region, gr_dtype dtype, const void *values,
                              uint64_t bytes, gr_error *error);
gr_status fault_long_compile(fault_device *device, const gr_program_desc *desc,
                             gr_program **out_program, gr_program_info *out_info, gr_error *error);
gr_status fault_long_submit(fault_device *device, gr_queue *queue, const gr_submit *submit,
                            gr_error *error);
// Lets go of what the program was compiled with, once it is destroyed.
void fault_long_forget(fault_device *device, const gr_program *program);

#endif
