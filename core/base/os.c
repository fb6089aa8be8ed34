// SPDX-License-Identifier: Apache-2.0
// os.c: clock, memory, where we are. Files are in file.c, mappings in mapping.c.
#include "base/os.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif
#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define HAVE_SINGLE_THREADED 1
#endif
#endif

#include "base/checked.h"

uint64_t gr_os_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void gr_os_sleep_ns(uint64_t ns) {
    const struct timespec time = {(time_t)(ns / UINT64_C(1000000000)), (long)(ns % UINT64_C(1000000000))};
    nanosleep(&time, NULL);
}

void *gr_os_alloc(uint64_t bytes) {
    if (bytes > SIZE_MAX - 64)
        return NULL;
    size_t size = (size_t)gr_align_up(bytes ? bytes : 1, 64);
    void *memory = NULL;
    if (posix_memalign(&memory, 64, size))
        return NULL;
    memset(memory, 0, size);
    return memory;
}

void gr_os_free(void *memory, uint64_t bytes) {
    (void)bytes;
    free(memory);
}

bool gr_os_single_threaded(void) {
#ifdef HAVE_SINGLE_THREADED
    return __libc_single_threaded;
#else
    return false;
#endif
}

bool gr_os_privileged(void) {
#ifdef __linux__
    return getauxval(AT_SECURE) != 0;
#else
    return getuid() != geteuid() || getgid() != getegid();
#endif
}

bool gr_os_library_directory(const void *symbol, char *out_path, size_t capacity) {
    Dl_info info;
    char resolved[4096];
    if (!dladdr(symbol, &info) || !info.dli_fname)
        return false;
    const char *name = info.dli_fname;
#ifdef __linux__
    ssize_t length = -1;
    if (!strchr(name, '/') || !realpath(name, resolved))
        length = readlink("/proc/self/exe", resolved, sizeof resolved - 1);
    else
        length = (ssize_t)strlen(resolved);
    if (length < 0)
        return false;
    resolved[length] = '\0';
#else
    if (!realpath(name, resolved))
        return false;
#endif
    char *slash = strrchr(resolved, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return (size_t)snprintf(out_path, capacity, "%s", resolved) < capacity;
}
