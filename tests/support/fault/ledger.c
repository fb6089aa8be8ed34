// SPDX-License-Identifier: Apache-2.0
// ledger.c: how often each point was passed since the plan was taken, and what was injected.
#include "fault.h"

void fault_ledger_set(fault_ledger *ledger, const fault_plan *plan) {
    pthread_mutex_lock(&ledger->lock);
    ledger->plan = *plan;
    ledger->event_count = 0;
    for (gr_fault_point point = 0; point < GR_FAULT_POINT_COUNT; point++)
        atomic_store(&ledger->calls[point], 0);
    atomic_store(&ledger->silent, plan->silent);
    atomic_store(&ledger->active, plan->rule_count || plan->rate > 0);
    pthread_mutex_unlock(&ledger->lock);
}

static uint64_t count(fault_ledger *ledger, gr_fault_point point) {
    return 1 + atomic_fetch_add_explicit(&ledger->calls[point], 1, memory_order_relaxed);
}

gr_fault_event fault_ask(fault_ledger *ledger, gr_fault_point point) {
    bool allocates = point >= GR_FAULT_BUFFER && point <= GR_FAULT_QUEUE;
    uint64_t number = count(ledger, point);
    uint64_t allocation = allocates ? count(ledger, GR_FAULT_ALLOC) : 0;
    gr_fault_event event = {.point = point, .number = number};
    if (!atomic_load_explicit(&ledger->active, memory_order_relaxed))
        return event;
    pthread_mutex_lock(&ledger->lock);
    bool more = ledger->event_count < ledger->plan.limit;
    if (more)
        event = fault_plan_at(&ledger->plan, point, number);
    if (more && allocates && event.kind == GR_FAULT_NONE)
        event = fault_plan_at(&ledger->plan, GR_FAULT_ALLOC, allocation);
    if (event.kind != GR_FAULT_NONE) {
        if (ledger->event_count < FAULT_EVENTS)
            ledger->events[ledger->event_count] = event;
        ledger->event_count++;
    }
    pthread_mutex_unlock(&ledger->lock);
    return event;
}
