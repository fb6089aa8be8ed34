// SPDX-License-Identifier: Apache-2.0
// fence.h: a fence for a device whose work is done by host threads: a counter that only grows, and
// waiting for it.
// For backend authors. Needs libc and pthread: C11 and C++17 with POSIX (a compiler's own mode, or
// _POSIX_C_SOURCE=200809L before the first header).
// Threads: gr_counter_value, gr_counter_raise and gr_counter_wait from any; init and deinit from one.
#ifndef GREGALE_SDK_FENCE_H
#define GREGALE_SDK_FENCE_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "gregale/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__APPLE__)
#define GR_COND_CLOCK CLOCK_REALTIME // its condition variables know no other
#else
#define GR_COND_CLOCK CLOCK_MONOTONIC
#endif

// Makes a condition variable that waits by GR_COND_CLOCK.
static inline void gr_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#if !defined(__APPLE__)
    pthread_condattr_setclock(&attributes, GR_COND_CLOCK);
#endif
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

// The moment `timeout_ns` from now; false when it is beyond time (UINT64_MAX: never).
static inline bool gr_cond_deadline(uint64_t timeout_ns, struct timespec *out_moment) {
    uint64_t seconds = timeout_ns / 1000000000u;
    clock_gettime(GR_COND_CLOCK, out_moment);
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

// Waits for `cond` until `moment` (NULL: without end). False once the moment has come.
static inline bool gr_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock,
                                const struct timespec *moment) {
    return (moment ? pthread_cond_timedwait(cond, lock, moment) : pthread_cond_wait(cond, lock)) !=
           ETIMEDOUT;
}

typedef struct gr_counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t value;
} gr_counter;

static inline void gr_counter_init(gr_counter *counter) {
    pthread_mutex_init(&counter->lock, NULL);
    gr_cond_init(&counter->changed);
    counter->value = 0;
}

static inline void gr_counter_deinit(gr_counter *counter) {
    pthread_cond_destroy(&counter->changed);
    pthread_mutex_destroy(&counter->lock);
}

static inline uint64_t gr_counter_value(gr_counter *counter) {
    pthread_mutex_lock(&counter->lock);
    uint64_t value = counter->value;
    pthread_mutex_unlock(&counter->lock);
    return value;
}

// Sets the counter to `value` unless it is there already or beyond, and wakes who waits.
static inline void gr_counter_raise(gr_counter *counter, uint64_t value) {
    pthread_mutex_lock(&counter->lock);
    if (value > counter->value)
        counter->value = value;
    pthread_cond_broadcast(&counter->changed);
    pthread_mutex_unlock(&counter->lock);
}

// Whether the counter is at least `value` within `timeout_ns` (0: now; UINT64_MAX: however long it
// takes).
static inline bool gr_counter_wait(gr_counter *counter, uint64_t value, uint64_t timeout_ns) {
    struct timespec moment;
    bool limited = gr_cond_deadline(timeout_ns, &moment), time = timeout_ns > 0;
    pthread_mutex_lock(&counter->lock);
    while (counter->value < value && time)
        time = gr_cond_wait(&counter->changed, &counter->lock, limited ? &moment : NULL);
    bool reached = counter->value >= value;
    pthread_mutex_unlock(&counter->lock);
    return reached;
}

#ifdef __cplusplus
}
#endif
#endif
