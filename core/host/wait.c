// SPDX-License-Identifier: Apache-2.0
// wait.c: waiting for a word to change: a bounded spin, then sleep (futex on Linux, a condition
// variable elsewhere).
//
// No wake-up is lost: a waiter counts itself in *sleepers before it looks at *word for the last
// time, and a waker changes *word before it looks at *sleepers, all four accesses sequentially
// consistent; so either the waiter sees the change, or the waker sees the sleeper.
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <unistd.h>

#include "base/os.h"
#include "host/internal.h"

#if defined(__linux__) && !defined(GREGALE_NO_FUTEX)
#include <linux/futex.h>
#include <sys/syscall.h>

static void sleep_on(_Atomic uint32_t *word, uint32_t old) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#else

// One place to sleep for all words: wakers take the lock after the change, so no waiter misses it.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void sleep_on(_Atomic uint32_t *word, uint32_t old) {
    pthread_mutex_lock(&lock);
    while (atomic_load(word) == old)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void wake(_Atomic uint32_t *word) {
    (void)word;
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

#endif

// Tells the processor that this is a spin.
static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

void gr_wait_change(_Atomic uint32_t *word, uint32_t old, uint32_t spins,
                    _Atomic uint32_t *sleepers) {
    for (uint32_t i = 0; i < spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old)
            return;
        pause_briefly();
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == old)
        sleep_on(word, old);
    atomic_fetch_sub(sleepers, 1);
}

void gr_wait_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers) {
    if (atomic_load(sleepers))
        wake(word);
}

uint32_t gr_wait_spins(uint64_t ns) {
    enum { SAMPLE = 2000, ROUNDS = 3 };
    _Atomic uint32_t word = 0;
    uint64_t best = UINT64_MAX; // the least disturbed round
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = gr_os_now_ns();
        for (uint32_t i = 0; i < SAMPLE && !atomic_load_explicit(&word, memory_order_acquire); i++)
            pause_briefly();
        uint64_t took = gr_os_now_ns() - start;
        best = took < best ? took : best;
    }
    uint64_t spins = ns * SAMPLE / (best ? best : 1);
    return spins > 10000000 ? 10000000 : (uint32_t)spins;
}
