// SPDX-License-Identifier: Apache-2.0
// hold.c: steps, and fences that fail, come late or never. The wrapped plugin does the work in time;
// who waits for it is held up, and so is what depends on it: later steps of the queue, steps that
// wait for the fence, copies ordered behind them.
#include "fault.h"

static uint64_t now_ns(const fault_device *device) {
    return device->host->now_ns(device->host);
}

static bool over(const fault_hold *hold, uint64_t now) {
    return !hold->lost && hold->until_ns <= now;
}

// Drops the holds whose time has come, or that nobody can ask about.
static void prune(fault_device *device) {
    uint32_t kept = 0, count = atomic_load(&device->hold_count);
    uint64_t now = now_ns(device);
    for (uint32_t i = 0; i < count; i++) {
        const fault_hold *hold = &device->holds[i];
        if ((hold->queue || hold->fence) && !over(hold, now))
            device->holds[kept++] = *hold;
    }
    atomic_store(&device->hold_count, kept);
}

// Of two holds the one that holds longer; NULL is none.
static const fault_hold *longer(const fault_hold *a, const fault_hold *b) {
    if (!a || !b)
        return a ? a : b;
    return b->lost || (!a->lost && b->until_ns > a->until_ns) ? b : a;
}

// What holds `fence` below `value`; or a queue, with no fence.
static const fault_hold *find(const fault_device *device, const gr_queue *queue,
                              const gr_fence *fence, uint64_t value) {
    const fault_hold *found = NULL;
    for (uint32_t i = 0; i < atomic_load(&device->hold_count); i++) {
        const fault_hold *hold = &device->holds[i];
        bool concerned = fence ? hold->fence == fence && hold->value <= value
                               : queue && hold->queue == queue;
        found = concerned ? longer(found, hold) : found;
    }
    return found;
}

// What a step is held up by: its queue, the fences it waits for, and its own fault.
static bool inherit(fault_device *device, const gr_queue *queue, const gr_submit *submit,
                    const gr_fault_event *event, fault_hold *out_hold) {
    fault_hold own = {.lost = event->kind == GR_FAULT_LOST,
                      .until_ns = event->kind == GR_FAULT_LATE ? now_ns(device) + event->delay_ns
                                                               : UINT64_MAX,
                      .number = event->number};
    const fault_hold *hold = find(device, queue, NULL, 0);
    for (uint32_t i = 0; i < submit->wait_count; i++)
        hold = longer(hold, find(device, NULL, submit->waits[i], submit->wait_values[i]));
    hold = longer(hold, event->kind == GR_FAULT_NONE ? NULL : &own);
    if (!hold)
        return false;
    *out_hold = *hold;
    out_hold->queue = queue;
    out_hold->fence = submit->signal;
    out_hold->value = submit->signal_value;
    return true;
}

// Whether there is such a hold already: of the same queue and fence, of no later a value, no shorter.
static bool covered(const fault_device *device, const fault_hold *hold) {
    for (uint32_t i = 0; i < atomic_load(&device->hold_count); i++) {
        const fault_hold *other = &device->holds[i];
        if (other->queue == hold->queue && other->fence == hold->fence &&
            other->value <= hold->value && longer(other, hold) == other)
            return true;
    }
    return false;
}

// Holds what the step will signal, before it can: OUT_OF_MEMORY when too much is held.
static gr_status hold_step(fault_device *device, const gr_queue *queue, const gr_submit *submit,
                           const gr_fault_event *event, gr_error *error) {
    gr_status status = GR_OK;
    fault_hold hold;
    pthread_mutex_lock(&device->lock);
    prune(device);
    uint32_t count = atomic_load(&device->hold_count);
    if (inherit(device, queue, submit, event, &hold) && !covered(device, &hold)) {
        if (count < FAULT_HOLDS)
            device->holds[count++] = hold;
        else
            status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, FAULT, "%d fences are held", count);
        atomic_store(&device->hold_count, count);
    }
    pthread_mutex_unlock(&device->lock);
    return status;
}

static gr_status fault_submit(gr_device *handle, gr_queue *queue, const gr_submit *submit,
                              gr_error *error) {
    fault_device *device = fault_of(handle);
    gr_status status = fault_enter(device, GR_FAULT_SUBMIT, error);
    if (status != GR_OK)
        return status;
    gr_fault_event fence = fault_ask(device->ledger, GR_FAULT_FENCE);
    if (fence.kind != GR_FAULT_NONE || atomic_load(&device->hold_count))
        status = hold_step(device, queue, submit, &fence, error);
    if (status != GR_OK)
        return status;
    return device->skew & FAULT_LONG_STRUCTS
               ? fault_long_submit(device, queue, submit, error)
               : device->backend->submit(device->inner, queue, submit, error);
}

// ---- Waiting ----

// Loses the device over a hold; the lock is held, but not while the work that it holds back ends: a
// lost device touches nothing any more.
static void lose_over(fault_device *device, const fault_hold *hold) {
    const fault_hold copy = *hold;
    gr_fence *fence = (gr_fence *)(uintptr_t)copy.fence;
    pthread_mutex_unlock(&device->lock);
    if (fence)
        device->backend->fence_wait(device->inner, fence, copy.value, UINT64_MAX, NULL);
    pthread_mutex_lock(&device->lock);
    fault_lose(device, GR_FAULT_FENCE, copy.number);
}

// Waits until nothing holds the fence, or the queue when there is none, any longer. TIMEOUT after
// `timeout_ns`, and at once when a queue hangs: no copy would ever be done.
static gr_status wait_released(fault_device *device, const gr_queue *queue, const gr_fence *fence,
                               uint64_t value, uint64_t timeout_ns, gr_error *error) {
    uint64_t now = now_ns(device), deadline = now + timeout_ns;
    deadline = deadline < now ? UINT64_MAX : deadline;
    gr_status status = GR_OK;
    const fault_hold *hold;
    pthread_mutex_lock(&device->lock);
    while ((hold = find(device, queue, fence, value)) && !over(hold, now)) {
        if (hold->lost && !atomic_load(&device->lost)) {
            lose_over(device, hold);
            continue;
        }
        bool hangs = hold->until_ns == UINT64_MAX && !fence;
        if (atomic_load(&device->lost) || hangs || now >= deadline) {
            status = atomic_load(&device->lost) ? GR_ERROR_DEVICE_LOST : GR_ERROR_TIMEOUT;
            break;
        }
        uint64_t until = hold->until_ns < deadline ? hold->until_ns : deadline;
        struct timespec moment;
        bool limited = until != UINT64_MAX && gr_cond_deadline(until - now, &moment);
        gr_cond_wait(&device->changed, &device->lock, limited ? &moment : NULL);
        now = now_ns(device);
    }
    pthread_mutex_unlock(&device->lock);
    if (status == GR_ERROR_DEVICE_LOST)
        return gr_fail(error, status, FAULT, "%s", device->why);
    return status == GR_OK ? GR_OK
                           : gr_fail(error, status, FAULT, "%s",
                                     fence ? "the fence has not come" : "the queue hangs");
}

gr_status fault_ordered(fault_device *device, const gr_queue *queue, gr_error *error) {
    if (!queue || !atomic_load(&device->hold_count))
        return GR_OK;
    return wait_released(device, queue, NULL, 0, UINT64_MAX, error);
}

static gr_status fault_fence_wait(gr_device *handle, gr_fence *fence, uint64_t value,
                                  uint64_t timeout_ns, gr_error *error) {
    fault_device *device = fault_of(handle);
    uint64_t left = timeout_ns;
    if (atomic_load(&device->hold_count)) {
        uint64_t start = now_ns(device);
        gr_status status = wait_released(device, NULL, fence, value, timeout_ns, error);
        if (status != GR_OK)
            return status;
        uint64_t spent = now_ns(device) - start;
        if (timeout_ns != UINT64_MAX)
            left = timeout_ns > spent ? timeout_ns - spent : 0;
    }
    bool lost = atomic_load(&device->lost); // then only what came before is there
    gr_status status =
        device->backend->fence_wait(device->inner, fence, value, lost ? 0 : left, error);
    return status == GR_OK || !lost ? status
                                    : gr_fail(error, GR_ERROR_DEVICE_LOST, FAULT, "%s", device->why);
}

// ---- Making and destroying ----

static gr_status fault_queue_create(gr_device *handle, gr_team *team, gr_queue **out_queue,
                                    gr_error *error) {
    fault_device *device = fault_of(handle);
    *out_queue = NULL;
    gr_status status = fault_enter(device, GR_FAULT_QUEUE, error);
    return status == GR_OK ? device->backend->queue_create(device->inner, team, out_queue, error)
                           : status;
}

static gr_status fault_fence_create(gr_device *handle, gr_fence **out_fence, gr_error *error) {
    fault_device *device = fault_of(handle);
    *out_fence = NULL;
    gr_status status = fault_enter(device, GR_FAULT_QUEUE, error);
    return status == GR_OK ? device->backend->fence_create(device->inner, out_fence, error)
                           : status;
}

// A new object may get the address of an old one.
static void forget(fault_device *device, const gr_queue *queue, const gr_fence *fence) {
    pthread_mutex_lock(&device->lock);
    for (uint32_t i = 0; i < atomic_load(&device->hold_count); i++) {
        fault_hold *hold = &device->holds[i];
        hold->queue = hold->queue == queue ? NULL : hold->queue;
        hold->fence = hold->fence == fence ? NULL : hold->fence;
    }
    pthread_mutex_unlock(&device->lock);
}

static void fault_queue_destroy(gr_device *handle, gr_queue *queue) {
    fault_device *device = fault_of(handle);
    forget(device, queue, NULL);
    device->backend->queue_destroy(device->inner, queue);
}

static void fault_fence_destroy(gr_device *handle, gr_fence *fence) {
    fault_device *device = fault_of(handle);
    forget(device, NULL, fence);
    device->backend->fence_destroy(device->inner, fence);
}

void fault_fill_steps(gr_backend *table) {
    table->queue_create = fault_queue_create;
    table->queue_destroy = fault_queue_destroy;
    table->submit = fault_submit;
    table->fence_create = fault_fence_create;
    table->fence_destroy = fault_fence_destroy;
    table->fence_wait = fault_fence_wait;
}
