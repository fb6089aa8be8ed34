// SPDX-License-Identifier: Apache-2.0
// mapping.c: files mapped read-only, guarded against being truncated while mapped.
//
// Invariant: `slots` is the one piece of process-wide state in the core. A SIGBUS handler cannot be
// given a context, so the ranges it may repair live in a fixed table of atomics, which the handler reads
// without locks. A fault outside every range goes to the handler that was installed before.
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOT_COUNT = 256, NO_SLOT = SLOT_COUNT };

typedef struct guarded_range {
    atomic_uintptr_t begin, end; // end 0: free
    atomic_bool lost;
} guarded_range;

static guarded_range slots[SLOT_COUNT];
static struct sigaction previous_action;
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static bool repair(uintptr_t address) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < SLOT_COUNT; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin), end = atomic_load(&slots[i].end);
        if (!end || address < begin || address >= end)
            continue;
        void *start = (void *)(address & ~(page - 1));
        if (mmap(start, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            return false;
        atomic_store(&slots[i].lost, true);
        return true;
    }
    return false;
}

static void on_sigbus(int number, siginfo_t *info, void *context) {
    int kept_errno = errno;
    bool repaired = repair((uintptr_t)info->si_addr);
    errno = kept_errno;
    if (repaired)
        return;
    if (previous_action.sa_flags & SA_SIGINFO) {
        previous_action.sa_sigaction(number, info, context);
    } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(number);
    } else {
        signal(SIGBUS, SIG_DFL); // the faulting access runs again and ends the process as usual
    }
}

static void install_handler(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_action);
}

static uint32_t guard(const void *data, uint64_t bytes) {
    uint32_t found = NO_SLOT;
    pthread_once(&handler_once, install_handler);
    pthread_mutex_lock(&slots_lock);
    for (uint32_t i = 0; i < SLOT_COUNT && found == NO_SLOT; i++)
        if (!atomic_load(&slots[i].end))
            found = i;
    if (found != NO_SLOT) {
        atomic_store(&slots[found].lost, false);
        atomic_store(&slots[found].begin, (uintptr_t)data);
        atomic_store(&slots[found].end, (uintptr_t)data + (uintptr_t)bytes);
    }
    pthread_mutex_unlock(&slots_lock);
    return found;
}

static gr_status open_error(gr_error *error, const char *path) {
    gr_status code = errno == ENOENT ? GR_ERROR_NOT_FOUND : errno == EACCES ? GR_ERROR_PERMISSION : GR_ERROR_IO;
    return gr_fail(error, code, "file", "%s: cannot open: %s", path, strerror(errno));
}

gr_status gr_mapping_open(const char *path, gr_mapping *out_mapping, gr_error *error) {
    struct stat facts;
    gr_status status = GR_OK;
    *out_mapping = (gr_mapping){.slot = NO_SLOT};
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return open_error(error, path);
    if (fstat(file, &facts) != 0)
        status = open_error(error, path);
    else if (!S_ISREG(facts.st_mode))
        status = gr_fail(error, GR_ERROR_IO, "file", "%s: expected a regular file, found %s", path,
                         S_ISDIR(facts.st_mode) ? "a directory" : "a device or pipe");
    else if (facts.st_size == 0)
        status = gr_fail(error, GR_ERROR_CORRUPT, "file", "%s: the file is empty", path);
    if (status == GR_OK) {
        void *data = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, file, 0);
        if (data == MAP_FAILED) {
            status = gr_fail(error, GR_ERROR_IO, "file", "%s: cannot map %lld bytes: %s", path,
                             (long long)facts.st_size, strerror(errno));
        } else {
            out_mapping->data = data;
            out_mapping->bytes = (uint64_t)facts.st_size;
            out_mapping->slot = guard(data, out_mapping->bytes);
        }
    }
    close(file);
    return status;
}

void gr_mapping_close(gr_mapping *mapping) {
    if (!mapping->data)
        return;
    if (mapping->slot < SLOT_COUNT)
        atomic_store(&slots[mapping->slot].end, 0);
    munmap((void *)(uintptr_t)mapping->data, (size_t)mapping->bytes);
    *mapping = (gr_mapping){.slot = NO_SLOT};
}

bool gr_mapping_lost(const gr_mapping *mapping) {
    return mapping->slot < SLOT_COUNT && atomic_load(&slots[mapping->slot].lost);
}

void gr_mapping_done(const void *data, uint64_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data;
    uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
    for (int i = 0; i < SLOT_COUNT && first < last; i++) {
        if (begin >= atomic_load(&slots[i].begin) && begin + bytes <= atomic_load(&slots[i].end))
            madvise((void *)first, last - first, MADV_DONTNEED);
    }
}
