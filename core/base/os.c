// SPDX-License-Identifier: Apache-2.0
// os.c: clock, memory, whole files. Mappings are in mapping.c.
#include "base/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static gr_status io_error(gr_error *error, const char *path, const char *verb) {
    gr_status code = errno == ENOENT   ? GR_ERROR_NOT_FOUND
                     : errno == EACCES || errno == EROFS || errno == EPERM ? GR_ERROR_PERMISSION
                                                           : GR_ERROR_IO;
    return gr_fail(error, code, "file", "%s: cannot %s: %s", path, verb, strerror(errno));
}

gr_status gr_file_read(const char *path, uint64_t limit, gr_strbuf *buffer, gr_error *error) {
    char chunk[16384];
    gr_status status = GR_OK;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return io_error(error, path, "open");
    for (;;) {
        ssize_t count = read(file, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            status = io_error(error, path, "read");
        if (count <= 0)
            break;
        if ((uint64_t)count > limit || buffer->size > limit - (uint64_t)count) {
            status = gr_fail(error, GR_ERROR_OUT_OF_RANGE, "file", "%s: longer than the limit of %llu bytes", path,
                             (unsigned long long)limit);
            break;
        }
        gr_strbuf_add(buffer, chunk, (size_t)count);
    }
    close(file);
    if (status == GR_OK && buffer->failed)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "file", "%s: no memory to read it", path);
    return status;
}

static bool write_all(int file, const char *bytes, size_t count) {
    while (count) {
        ssize_t written = write(file, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

// A device or a pipe is written where it is: putting a file in its place would destroy it.
static gr_status write_in_place(const char *path, const void *bytes, size_t count, gr_error *error) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return io_error(error, path, "open");
    bool good = write_all(file, bytes, count);
    int cause = errno;
    good = close(file) == 0 && good;
    errno = good ? 0 : cause;
    return good ? GR_OK : io_error(error, path, "write");
}

gr_status gr_file_write(const char *path, const void *bytes, size_t count, gr_error *error) {
    gr_strbuf temporary = {0};
    struct stat existing;
    bool exists = stat(path, &existing) == 0;
    mode_t mode = exists ? existing.st_mode & 0777 : 0644;
    if (exists && !S_ISREG(existing.st_mode) && !S_ISDIR(existing.st_mode))
        return write_in_place(path, bytes, count, error);
    gr_strbuf_format(&temporary, "%s.XXXXXX", path);
    if (temporary.failed)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "file", "%s: no memory to write it", path);
    int file = mkstemp(temporary.data);
    gr_status status = GR_OK;
    if (file < 0) {
        status = io_error(error, path, "create a temporary file beside it");
    } else {
        bool good = fchmod(file, mode) == 0 && write_all(file, bytes, count) && fsync(file) == 0;
        good = close(file) == 0 && good;
        if (!good || rename(temporary.data, path) != 0) {
            status = io_error(error, path, "write");
            unlink(temporary.data);
        }
    }
    gr_strbuf_deinit(&temporary);
    return status;
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
