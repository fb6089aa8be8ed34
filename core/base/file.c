// SPDX-License-Identifier: Apache-2.0
// file.c: files read whole, and replaced whole or not at all.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"

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

// ---- Writing

// A device or a pipe is written where it is: putting a file in its place would destroy it.
static gr_status begin_in_place(gr_file_writer *writer, gr_error *error) {
    writer->file = open(writer->path, O_WRONLY | O_CLOEXEC);
    return writer->file < 0 ? io_error(error, writer->path, "open") : GR_OK;
}

gr_status gr_file_begin(const char *path, gr_file_writer *out_writer, gr_error *error) {
    struct stat existing;
    bool exists = stat(path, &existing) == 0;
    *out_writer = (gr_file_writer){.path = path, .file = -1};
    if (exists && !S_ISREG(existing.st_mode) && !S_ISDIR(existing.st_mode))
        return begin_in_place(out_writer, error);
    gr_strbuf_format(&out_writer->temporary, "%s.XXXXXX", path);
    if (out_writer->temporary.failed)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "file", "%s: no memory to write it", path);
    out_writer->file = mkostemp(out_writer->temporary.data, O_CLOEXEC);
    gr_status status = GR_OK;
    if (out_writer->file < 0) {
        status = io_error(error, path, "create a temporary file beside it");
        gr_strbuf_deinit(&out_writer->temporary);
    } else if (fchmod(out_writer->file, exists ? existing.st_mode & 0777 : 0644) != 0) {
        status = io_error(error, path, "write");
        gr_file_abandon(out_writer);
    }
    return status;
}

gr_status gr_file_add(gr_file_writer *writer, const void *bytes, size_t count, gr_error *error) {
    const char *from = bytes;
    while (count) {
        ssize_t written = write(writer->file, from, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return io_error(error, writer->path, "write");
        from += written;
        count -= (size_t)written;
    }
    return GR_OK;
}

// Makes the new name last, where the system can: a folder that cannot be synced has been renamed in all the same.
static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int file = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (file >= 0) {
        fsync(file);
        close(file);
    }
    free(folder);
}

gr_status gr_file_commit(gr_file_writer *writer, gr_error *error) {
    bool in_place = !writer->temporary.size;
    bool good = in_place || fsync(writer->file) == 0;
    good = close(writer->file) == 0 && good;
    writer->file = -1;
    good = good && (in_place || rename(writer->temporary.data, writer->path) == 0);
    gr_status status = good ? GR_OK : io_error(error, writer->path, "write");
    if (good && !in_place) {
        gr_strbuf_deinit(&writer->temporary);
        sync_folder(writer->path);
    }
    gr_file_abandon(writer);
    return status;
}

void gr_file_abandon(gr_file_writer *writer) {
    if (writer->file >= 0)
        close(writer->file);
    if (writer->temporary.size)
        unlink(writer->temporary.data);
    gr_strbuf_deinit(&writer->temporary);
    writer->file = -1;
}

gr_status gr_file_write(const char *path, const void *bytes, size_t count, gr_error *error) {
    gr_file_writer writer;
    gr_status status = gr_file_begin(path, &writer, error);
    if (status != GR_OK)
        return status;
    status = gr_file_add(&writer, bytes, count, error);
    if (status == GR_OK)
        return gr_file_commit(&writer, error);
    gr_file_abandon(&writer);
    return status;
}
