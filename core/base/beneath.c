// SPDX-License-Identifier: Apache-2.0
// beneath.c: opening a file that certainly lies below a folder.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/openat2.h>
#include <sys/syscall.h>
#endif

#include "base/os.h"

// Without help from the system: part by part, and no part may be a symbolic link or "..".
static int walk(int folder, const char *path, int flags) {
    char part[NAME_MAX + 1];
    int at = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0) {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (length > NAME_MAX || (length == 2 && memcmp(path, "..", 2) == 0)) {
            errno = length > NAME_MAX ? ENAMETOOLONG : EXDEV;
            break;
        }
        memcpy(part, length ? path : ".", length ? length : 1);
        part[length ? length : 1] = '\0';
        path += length;
        bool last = !path[strspn(path, "/")];
        int next = openat(at, part, (last ? flags : O_RDONLY | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC, 0644);
        int why = errno;
        close(at);
        errno = why;
        if (next < 0 || last)
            return next;
        at = next;
    }
    if (at >= 0) {
        int why = errno;
        close(at);
        errno = why;
    }
    return -1;
}

int gr_file_open_beneath(int folder, const char *path, int flags) {
#if defined(__linux__) && defined(SYS_openat2)
    const struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .mode = flags & O_CREAT ? 0644 : 0,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int tries = 0; tries < 16; tries++) {
        long file = syscall(SYS_openat2, folder, path, &how, sizeof how);
        if (file >= 0 || (errno != EAGAIN && errno != ENOSYS)) // EAGAIN: somebody renames things meanwhile
            return (int)file;
        if (errno == ENOSYS)
            break;
    }
    if (errno != ENOSYS)
        return -1;
#endif
    return walk(folder, path, flags);
}

bool gr_file_name(int file, char *out_path, size_t capacity) {
#ifdef __linux__
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, out_path, capacity);
    if (length < 0 || (size_t)length >= capacity)
        return false;
    out_path[length] = '\0';
    struct stat here, there; // a file that was deleted since has a name that leads elsewhere
    return fstat(file, &here) == 0 && lstat(out_path, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
#elif defined(F_GETPATH)
    return capacity >= PATH_MAX && fcntl(file, F_GETPATH, out_path) == 0;
#else
    (void)file, (void)out_path, (void)capacity;
    return false;
#endif
}
