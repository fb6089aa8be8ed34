// SPDX-License-Identifier: Apache-2.0
// grants.c: files that a sandboxed script may reach. A name is compared with the grants as text, and then opened
// below the granted folder, which the system does not let it leave; what lies outside is not even looked at, so that
// a refusal tells nothing about it.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "script/sandbox.h"

// ---- Giving

static void trim_slashes(char *path) {
    for (size_t length = strlen(path); length > 1 && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
}

static bool fill_grant(gr_grant *grant, const char *path) {
    struct stat info;
    grant->given = strdup(path);
    grant->real = realpath(path, NULL);
    if (!grant->given || !grant->real || stat(grant->real, &info) != 0)
        return false;
    trim_slashes(grant->given);
    if (S_ISDIR(info.st_mode)) {
        grant->folder = open(grant->real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return grant->folder >= 0;
    }
    char *slash = strrchr(grant->real, '/');
    char *folder = strndup(grant->real, slash == grant->real ? 1 : (size_t)(slash - grant->real));
    grant->only = strdup(slash + 1);
    grant->folder = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    return grant->folder >= 0 && grant->only;
}

static void drop_grant(gr_grant *grant) {
    if (grant->folder >= 0)
        close(grant->folder);
    free(grant->given);
    free(grant->real);
    free(grant->only);
}

gr_status gr_sandbox_allow(gr_sandbox *sandbox, const char *text, gr_error *error) {
    bool write = strncmp(text, "write:", 6) == 0;
    const char *path = strchr(text, ':');
    if ((!write && strncmp(text, "read:", 5) != 0) || !path[1])
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "sandbox", "expected read:PATH or write:PATH, got '%s'", text);
    if (sandbox->grant_count == GR_SANDBOX_GRANTS)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sandbox", "at most %d grants", GR_SANDBOX_GRANTS);
    gr_grant grant = {.write = write, .folder = -1};
    if (!fill_grant(&grant, path + 1)) {
        gr_status status = errno == ENOMEM ? GR_ERROR_OUT_OF_MEMORY : GR_ERROR_NOT_FOUND;
        gr_fail(error, status, "sandbox", "%s: %s", path + 1, strerror(errno));
        drop_grant(&grant);
        return status;
    }
    sandbox->grants[sandbox->grant_count++] = grant;
    return GR_OK;
}

void gr_sandbox_deinit(gr_sandbox *sandbox) {
    while (sandbox->grant_count)
        drop_grant(&sandbox->grants[--sandbox->grant_count]);
}

// ---- Comparing

// Makes `path` absolute, with "." and ".." taken out as text; false when it does not fit. Where a link makes that
// another file than the system would find, this one is meant, and opened.
static bool normalise(const char *path, char out[PATH_MAX]) {
    size_t used = 0;
    if (*path != '/') {
        if (!getcwd(out, PATH_MAX))
            return false;
        used = strcmp(out, "/") == 0 ? 0 : strlen(out);
    }
    while (*path) {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (length == 2 && memcmp(path, "..", 2) == 0) {
            while (used && out[--used] != '/')
                ;
        } else if (length && !(length == 1 && *path == '.')) {
            if (used + length + 2 > PATH_MAX)
                return false;
            out[used++] = '/';
            memcpy(out + used, path, length);
            used += length;
        }
        path += length;
    }
    if (!used)
        out[used++] = '/';
    out[used] = '\0';
    return true;
}

// What of `path` lies below `folder`; NULL: it does not.
static const char *rest_below(const char *folder, const char *path) {
    size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    if (strncmp(path, folder, length) != 0 || (path[length] && path[length] != '/'))
        return NULL;
    path += length;
    path += strspn(path, "/");
    return *path ? path : ".";
}

// The grant's name for the file: relative to its folder; NULL when it grants nothing like it.
static const char *match(const gr_grant *grant, const char *path, const char *absolute) {
    const char *rest = rest_below(grant->real, absolute);
    if (!rest) // a grant that was given as a link
        rest = rest_below(grant->given, path);
    if (rest && grant->only)
        return strcmp(rest, ".") == 0 ? grant->only : NULL;
    return rest;
}

// ---- Opening

static gr_status refuse(gr_sandbox *sandbox, const char *path, bool write, gr_error *error) {
    sandbox->refused = true;
    return gr_fail(error, GR_ERROR_PERMISSION, "sandbox", "%s: no --allow %s: covers it", path, write ? "write" : "read");
}

// Opens what `path` names below the first grant that covers it.
static int open_granted(gr_sandbox *sandbox, const char *path, bool write, int flags) {
    char absolute[PATH_MAX];
    if (!normalise(path, absolute)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    errno = EXDEV;
    for (uint32_t i = 0; i < sandbox->grant_count; i++) {
        const gr_grant *grant = &sandbox->grants[i];
        const char *name = write && !grant->write ? NULL : match(grant, path, absolute);
        int file = name ? gr_file_open_beneath(grant->folder, name, flags) : -1;
        if (file >= 0 || (name && errno != EXDEV))
            return file;
        errno = EXDEV;
    }
    return -1;
}

static gr_status fail_to_open(gr_sandbox *sandbox, const char *path, bool write, gr_error *error) {
    if (errno == EXDEV)
        return refuse(sandbox, path, write, error);
    gr_status status = errno == ENOENT ? GR_ERROR_NOT_FOUND : GR_ERROR_IO;
    return gr_fail(error, status, "sandbox", "%s: %s", path, strerror(errno));
}

gr_status gr_sandbox_file(gr_sandbox *sandbox, const char *path, int flags, int *out_file, gr_error *error) {
    struct stat info;
    bool write = (flags & O_ACCMODE) != O_RDONLY;
    // A pipe or a device is neither waited for, nor touched.
    int file = open_granted(sandbox, path, write, flags | O_NONBLOCK | O_NOCTTY);
    *out_file = -1;
    if (file < 0)
        return fail_to_open(sandbox, path, write, error);
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(file);
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "sandbox", "%s: it is not a file", path);
    }
    fcntl(file, F_SETFL, fcntl(file, F_GETFL) & ~O_NONBLOCK);
    *out_file = file;
    return GR_OK;
}

// Whether `name` in the folder is free, or a file: anything else would be written where it is.
static bool may_replace(int folder, const char *name) {
    struct stat info;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    return fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0 ? S_ISREG(info.st_mode) : errno == ENOENT;
}

static gr_status path_to_write(gr_sandbox *sandbox, const char *path, char *out_path, size_t capacity, gr_error *error) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char parent[PATH_MAX];
    size_t length = slash > path ? (size_t)(slash - path) : 1;
    if (length >= sizeof parent)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "sandbox", "%s: the name is too long", path);
    snprintf(parent, sizeof parent, "%.*s", (int)length, slash ? path : ".");
    int folder = open_granted(sandbox, parent, true, O_RDONLY | O_DIRECTORY);
    if (folder < 0)
        return fail_to_open(sandbox, path, true, error);
    gr_status status = GR_OK;
    if (!may_replace(folder, name))
        status = gr_fail(error, GR_ERROR_UNSUPPORTED, "sandbox", "%s: it is not a file", path);
    else if (!gr_file_name(folder, out_path, capacity) ||
             strlen(out_path) + strlen(name) + 2 > capacity)
        status = gr_fail(error, GR_ERROR_IO, "sandbox", "%s: the system does not tell its name", path);
    else
        strcat(strcat(out_path, "/"), name);
    close(folder);
    return status;
}

gr_status gr_sandbox_path(gr_sandbox *sandbox, const char *path, bool write, char *out_path, size_t capacity,
                          gr_error *error) {
    int file;
    if (write)
        return path_to_write(sandbox, path, out_path, capacity, error);
    gr_status status = gr_sandbox_file(sandbox, path, O_RDONLY, &file, error);
    if (status != GR_OK)
        return status;
    if (!gr_file_name(file, out_path, capacity))
        status = gr_fail(error, GR_ERROR_IO, "sandbox", "%s: the system does not tell its name", path);
    close(file);
    return status;
}
