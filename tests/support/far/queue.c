// SPDX-License-Identifier: Apache-2.0
// queue.c: work that stands until its delay is over or somebody waits, then runs on the queue's own
// thread; fences that are raised late.
#include "far.h"

// The system's own sleep takes three times as long as the shortest ones, and there are tens of thousands of them. They do not
// yield: beside a busy neighbour that costs its whole slice, milliseconds.
void far_sleep(const far_device *device, uint64_t ns) {
    const struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    const uint64_t end = ns < 100000 ? device->host->now_ns(device->host) + ns : 0;
    if (ns >= 100000)
        nanosleep(&time, NULL);
    while (ns && end > device->host->now_ns(device->host))
        ;
}

static uint64_t now_ns(const far_device *device) {
    return device->host->now_ns(device->host);
}

static void lose_locked(far_device *device, const char *why) {
    if (!device->lost)
        snprintf(device->why, sizeof device->why, "%s", why);
    device->lost = true;
    pthread_cond_broadcast(&device->changed);
}

void far_lose(far_device *device, const char *why) {
    pthread_mutex_lock(&device->lock);
    lose_locked(device, why);
    pthread_mutex_unlock(&device->lock);
    device->host->log(device->host, GR_LOG_ERROR, why);
}

// ---- What commands use ----

static void count(far_object *object, uint32_t by) {
    if (object)
        object->in_flight += by;
}

// Adds `by` (1, or -1 as an unsigned number) to everything a command uses.
static void count_all(const far_command *command, uint32_t by) {
    const far_program *program = command->program;
    count(program ? (far_object *)(uintptr_t)&program->object : NULL, by);
    count(program && program->arena ? &program->arena->object : NULL, by);
    for (uint32_t i = 0; program && i < program->layer_count; i++)
        count(program->kvs[i] ? &program->kvs[i]->object : NULL, by);
    count(command->scratch ? &command->scratch->object : NULL, by);
    count(command->kv ? &command->kv->object : NULL, by);
    count(command->signal ? &command->signal->object : NULL, by);
    for (uint32_t i = 0; i < command->wait_count; i++)
        count(&command->waits[i]->object, by);
}

gr_status far_idle(far_device *device, far_object *object, const char *what, gr_error *error) {
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    pthread_mutex_lock(&device->lock);
    bool busy = object->in_flight > 0;
    pthread_mutex_unlock(&device->lock);
    return busy ? gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "%s of what is in flight", what)
                : GR_OK;
}

// ---- Waiting ----

// Lets everything that stands start now: somebody waits.
static void want_all(far_device *device) {
    for (far_queue *queue = device->queues; queue; queue = queue->next)
        queue->wanted = queue->given;
    pthread_cond_broadcast(&device->changed);
}

static void drain(far_device *device, far_queue *queue) {
    pthread_mutex_lock(&device->lock);
    uint64_t until = queue->given;
    want_all(device);
    while (queue->done < until)
        pthread_cond_wait(&device->changed, &device->lock);
    pthread_mutex_unlock(&device->lock);
}

gr_status far_settle(far_device *device, gr_queue *which, far_object *object, gr_error *error) {
    far_queue *queue = far_find(which, FAR_QUEUE);
    if (which && !queue)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "that is no queue of this device");
    if (queue)
        drain(device, queue);
    gr_status status = queue ? far_ready(device, error)
                             : far_idle(device, object, "a copy without a queue", error);
    if (status == GR_OK)
        far_sleep(device, device->settings.late_ns);
    return status;
}

void far_retire(far_device *device, far_object *object, const char *what) {
    char why[120];
    pthread_mutex_lock(&device->lock);
    bool busy = object->in_flight > 0;
    want_all(device);
    while (object->in_flight)
        pthread_cond_wait(&device->changed, &device->lock);
    pthread_mutex_unlock(&device->lock);
    if (!busy)
        return;
    snprintf(why, sizeof why, "%s was destroyed while in flight", what);
    far_lose(device, why);
}

// ---- The queue's thread ----

static bool waits_met(const far_command *command) {
    for (uint32_t i = 0; i < command->wait_count; i++) {
        if (command->waits[i]->value < command->wait_values[i])
            return false;
    }
    return true;
}

// Waits, with the lock held, until the queue's next command may start; NULL when the queue ends.
static const far_command *next(far_queue *queue) {
    far_device *device = queue->device;
    for (;;) {
        const far_command *command = &queue->ring[queue->done % FAR_RING];
        bool any = queue->done < queue->given;
        if (!any && queue->stop)
            return NULL;
        bool urgent = queue->wanted > queue->done || queue->stop || device->lost;
        uint64_t now = any ? now_ns(device) : 0;
        if (any && (urgent || now >= command->due_ns)) {
            if (waits_met(command) || device->lost)
                return command;
            want_all(device); // whoever signals them
        }
        struct timespec moment;
        bool limited = any && !urgent && now < command->due_ns &&
                       gr_cond_deadline(command->due_ns - now, &moment);
        gr_cond_wait(&device->changed, &device->lock, limited ? &moment : NULL);
    }
}

static gr_status execute(const far_queue *queue, const far_command *command, gr_error *error) {
    const far_device *device = queue->device;
    if (!command->program)
        return far_inner()->kv_copy_page(device->inner, NULL, command->kv->inner, command->from,
                                         command->to, command->slots, error);
    const gr_submit submit = {.struct_size = sizeof submit,
                              .program = command->program->inner,
                              .scratch = command->scratch ? command->scratch->inner : NULL};
    return far_inner()->submit(device->inner, queue->inner, &submit, error);
}

static void *serve(void *argument) {
    far_queue *queue = argument;
    far_device *device = queue->device;
    const far_command *command;
    pthread_mutex_lock(&device->lock);
    while ((command = next(queue))) {
        gr_error error;
        gr_error_init(&error);
        gr_status status = device->lost ? GR_ERROR_DEVICE_LOST : GR_OK;
        pthread_mutex_unlock(&device->lock);
        if (status == GR_OK) {
            status = execute(queue, command, &error);
            if (status != GR_OK)
                far_lose(device, error.message);
            far_sleep(device, device->settings.late_ns);
        }
        pthread_mutex_lock(&device->lock);
        if (status == GR_OK && command->signal && command->signal->value < command->signal_value)
            command->signal->value = command->signal_value;
        count_all(command, UINT32_MAX);
        queue->done++;
        pthread_cond_broadcast(&device->changed);
    }
    pthread_mutex_unlock(&device->lock);
    return NULL;
}

gr_status far_give(far_device *device, gr_queue *which, const far_command *command,
                   gr_error *error) {
    far_queue *queue = far_find(which, FAR_QUEUE);
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    if (!queue)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "that is no queue of this device");
    pthread_mutex_lock(&device->lock);
    while (queue->given - queue->done == FAR_RING) {
        want_all(device);
        pthread_cond_wait(&device->changed, &device->lock);
    }
    far_command *place = &queue->ring[queue->given % FAR_RING];
    *place = *command;
    place->due_ns = now_ns(device) + device->settings.delay_ns;
    count_all(place, 1);
    queue->given++;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    return GR_OK;
}

// ---- Queues ----

static void queue_free(far_device *device, far_queue *queue) {
    if (queue->inner)
        far_inner()->queue_destroy(device->inner, queue->inner);
    far_object_free(device, queue, sizeof *queue);
}

// The host's team is left alone: the device has an engine of its own.
gr_status far_queue_create(gr_device *handle, gr_team *team, gr_queue **out_queue,
                           gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    (void)team;
    *out_queue = NULL;
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    far_queue *queue = far_object_alloc(device, sizeof *queue, FAR_QUEUE);
    if (!queue)
        return far_no_memory(error, "a queue");
    queue->device = device;
    status = far_inner()->queue_create(device->inner, NULL, &queue->inner, error);
    if (status == GR_OK && pthread_create(&queue->thread, NULL, serve, queue))
        status = far_no_memory(error, "a queue's thread");
    if (status != GR_OK) {
        queue_free(device, queue);
        return status;
    }
    pthread_mutex_lock(&device->lock);
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&device->lock);
    *out_queue = far_hide(queue);
    return GR_OK;
}

void far_queue_destroy(gr_device *handle, gr_queue *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_queue *queue = far_find(which, FAR_QUEUE);
    if (!queue)
        return;
    pthread_mutex_lock(&device->lock);
    for (far_queue **at = &device->queues; *at; at = &(*at)->next) {
        if (*at == queue) {
            *at = queue->next;
            break;
        }
    }
    queue->stop = true;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    pthread_join(queue->thread, NULL);
    queue_free(device, queue);
}

// ---- Fences ----

gr_status far_fence_create(gr_device *handle, gr_fence **out_fence, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    *out_fence = NULL;
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    far_fence *fence = far_object_alloc(device, sizeof *fence, FAR_FENCE);
    if (!fence)
        return far_no_memory(error, "a fence");
    *out_fence = far_hide(fence);
    return GR_OK;
}

void far_fence_destroy(gr_device *handle, gr_fence *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_fence *fence = far_find(which, FAR_FENCE);
    if (!fence)
        return;
    far_retire(device, &fence->object, "a fence");
    far_object_free(device, fence, sizeof *fence);
}

gr_status far_fence_wait(gr_device *handle, gr_fence *which, uint64_t value, uint64_t timeout_ns,
                         gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_fence *fence = far_find(which, FAR_FENCE);
    struct timespec moment;
    bool limited = gr_cond_deadline(timeout_ns, &moment), time = timeout_ns > 0;
    if (!device || !fence)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "that is no fence of this device");
    pthread_mutex_lock(&device->lock);
    if (time)
        want_all(device); // to ask is not to wait
    while (fence->value < value && !device->lost && time)
        time = gr_cond_wait(&device->changed, &device->lock, limited ? &moment : NULL);
    bool reached = fence->value >= value, lost = device->lost;
    pthread_mutex_unlock(&device->lock);
    if (reached)
        return GR_OK;
    return lost ? gr_fail(error, GR_ERROR_DEVICE_LOST, FAR, "%s", device->why)
                : gr_fail(error, GR_ERROR_TIMEOUT, FAR, "the fence has not reached %llu",
                          (unsigned long long)value);
}
