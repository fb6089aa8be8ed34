// SPDX-License-Identifier: Apache-2.0
// fence.c: fences.
#include <errno.h>
#include <time.h>

#include "cpu.h"

gr_status cpu_fence_create(gr_device *device, gr_fence **out_fence, gr_error *error) {
    *out_fence = NULL;
    gr_fence *fence = device->host->memory_alloc(device->host, sizeof *fence);
    if (!fence)
        return cpu_no_memory(error);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    pthread_mutex_init(&fence->lock, NULL);
    pthread_cond_init(&fence->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *out_fence = fence;
    return GR_OK;
}

void cpu_fence_destroy(gr_device *device, gr_fence *fence) {
    if (!fence)
        return;
    pthread_cond_destroy(&fence->changed);
    pthread_mutex_destroy(&fence->lock);
    device->host->memory_free(device->host, fence, sizeof *fence);
}

uint64_t cpu_fence_value(gr_fence *fence) {
    pthread_mutex_lock(&fence->lock);
    uint64_t value = fence->value;
    pthread_mutex_unlock(&fence->lock);
    return value;
}

void cpu_fence_signal(gr_fence *fence, uint64_t value) {
    pthread_mutex_lock(&fence->lock);
    if (value > fence->value)
        fence->value = value;
    pthread_cond_broadcast(&fence->changed);
    pthread_mutex_unlock(&fence->lock);
}

// The moment `timeout_ns` from now, on the clock that fences wait by; false when it is beyond time.
static bool deadline(uint64_t timeout_ns, struct timespec *out_moment) {
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, out_moment);
#else
    clock_gettime(CLOCK_MONOTONIC, out_moment);
#endif
    uint64_t seconds = timeout_ns / 1000000000u;
    if (seconds > INT32_MAX / 2)
        return false;
    out_moment->tv_sec += (time_t)seconds;
    out_moment->tv_nsec += (long)(timeout_ns % 1000000000u);
    if (out_moment->tv_nsec >= 1000000000L) {
        out_moment->tv_nsec -= 1000000000L;
        out_moment->tv_sec++;
    }
    return true;
}

gr_status cpu_fence_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns,
                         gr_error *error) {
    (void)device;
    struct timespec moment;
    bool limited = deadline(timeout_ns, &moment);
    int result = 0;
    pthread_mutex_lock(&fence->lock);
    while (fence->value < value && result != ETIMEDOUT && timeout_ns) {
        result = limited ? pthread_cond_timedwait(&fence->changed, &fence->lock, &moment)
                         : pthread_cond_wait(&fence->changed, &fence->lock);
    }
    bool reached = fence->value >= value;
    pthread_mutex_unlock(&fence->lock);
    if (reached)
        return GR_OK;
    return gr_fail(error, GR_ERROR_TIMEOUT, CPU_ORIGIN, "the fence has not reached %llu",
                   (unsigned long long)value);
}
