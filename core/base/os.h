// SPDX-License-Identifier: Apache-2.0
// os.h: the few things that Linux and macOS do differently, and files done safely. Inside the core.
// Threads: any, unless said otherwise.
#ifndef GREGALE_BASE_OS_H
#define GREGALE_BASE_OS_H

#include <stdbool.h>

#include "base/strbuf.h"
#include "gregale/status.h"

uint64_t gr_os_now_ns(void); // monotonic
void gr_os_sleep_ns(uint64_t ns);
void *gr_os_alloc(uint64_t bytes); // zeroed, 64-byte aligned; NULL when there is none
void gr_os_free(void *memory, uint64_t bytes);

// A file mapped read-only. When it is truncated by someone else while mapped, the pages that vanished
// read as zeros and `lost` becomes true, in place of SIGBUS killing the process.
typedef struct gr_mapping {
    const uint8_t *data;
    uint64_t bytes;
    uint32_t slot; // in the table of guarded ranges
} gr_mapping;
// An error names the path and what the system said. Directories, devices and empty files are refused.
gr_status gr_mapping_open(const char *path, gr_mapping *out_mapping, gr_error *error);
void gr_mapping_close(gr_mapping *mapping);
bool gr_mapping_lost(const gr_mapping *mapping);
// Gives the memory of `bytes` bytes at `data` back when they lie in a file mapped by
// gr_mapping_open: whole pages only, which are read from the file again when touched. Other memory is
// left alone. Any thread.
void gr_mapping_done(const void *data, uint64_t bytes);

// Reads a whole file of at most `limit` bytes into `buffer`.
gr_status gr_file_read(const char *path, uint64_t limit, gr_strbuf *buffer, gr_error *error);
// Replaces `path` by `bytes`: a temporary file beside it, fsync, rename. On failure the old file stays.
gr_status gr_file_write(const char *path, const void *bytes, size_t count, gr_error *error);
// The same, piece by piece. After a begin that succeeded, each writer ends by one commit or abandon; after
// either, or when the process is killed, `path` is what it was before or all that was added. A device or a
// pipe is written where it is.
typedef struct gr_file_writer {
    const char *path;      // borrowed
    gr_strbuf temporary;   // empty: written in place
    int file;
} gr_file_writer;
gr_status gr_file_begin(const char *path, gr_file_writer *out_writer, gr_error *error);
gr_status gr_file_add(gr_file_writer *writer, const void *bytes, size_t count, gr_error *error);
gr_status gr_file_commit(gr_file_writer *writer, gr_error *error);
void gr_file_abandon(gr_file_writer *writer);
// Opens `path` below the open directory `folder`, and nowhere else: EXDEV where ".." or a symbolic link would leave it
// (where the system cannot tell, ELOOP for every link). `flags` as open's; what is created has mode 0644. -1 and errno.
int gr_file_open_beneath(int folder, const char *path, int flags);
// The absolute name of an open file, free of links. False when the system knows none.
bool gr_file_name(int file, char *out_path, size_t capacity);
// Whether this process surely has no other thread than the caller: only then is a child made by fork() free to do more
// than exec. False where it cannot be told.
bool gr_os_single_threaded(void);
// From now on no thread of this process can start processes or programs, signal others, connect, mount, link, gain
// privileges or use kernel interfaces that do without system calls: EPERM. False where that cannot be had.
bool gr_os_restrict(void);
bool gr_os_privileged(void); // set-user-id or capabilities gained: the environment is not to be trusted
// Directory of the running library or executable that contains `symbol`; false when unknown.
bool gr_os_library_directory(const void *symbol, char *out_path, size_t capacity);

#endif
