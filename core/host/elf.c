// SPDX-License-Identifier: Apache-2.0
// elf.c: is a file whole enough for the system's loader? (ELF: System V ABI, generic part, chapters
// 4, 5.)
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <elf.h>
#endif

#include "base/checked.h"
#include "host/internal.h"

#ifdef __linux__

static bool read_at(int file, void *bytes, size_t count, uint64_t offset) {
    return offset <= INT64_MAX && pread(file, bytes, count, (off_t)offset) == (ssize_t)count;
}

static gr_status check_segments(int file, const Elf64_Ehdr *header, uint64_t size,
                                gr_error *error) {
    for (uint32_t i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        if (!read_at(file, &segment, sizeof segment,
                     header->e_phoff + (uint64_t)i * sizeof segment))
            return gr_fail(error, GR_ERROR_CORRUPT, "host",
                           "the file is cut off: its program headers are missing");
        if (segment.p_type == PT_LOAD && !gr_range_fits(segment.p_offset, segment.p_filesz, size))
            return gr_fail(error, GR_ERROR_CORRUPT, "host",
                           "the file is cut off: %llu bytes where %llu are needed",
                           (unsigned long long)size,
                           (unsigned long long)(segment.p_offset + segment.p_filesz));
    }
    return GR_OK;
}

static gr_status check_contents(int file, uint64_t size, gr_error *error) {
    Elf64_Ehdr header;
    if (size < sizeof header || !read_at(file, &header, sizeof header, 0) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return gr_fail(error, GR_ERROR_CORRUPT, "host", "not a shared object");
    if (header.e_ident[EI_CLASS] != ELFCLASS64)
        return GR_OK; // the loader knows better
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > size)
        return gr_fail(error, GR_ERROR_CORRUPT, "host",
                       "not a shared object: its program headers are broken");
    return check_segments(file, &header, size, error);
}

#else

static gr_status check_contents(int file, uint64_t size, gr_error *error) {
    (void)file;
    return size ? GR_OK : gr_fail(error, GR_ERROR_CORRUPT, "host", "the file is empty");
}

#endif

gr_status gr_library_check(const char *path, gr_error *error) {
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe must not make us wait
    if (file < 0)
        return gr_fail(error, GR_ERROR_IO, "host", "cannot be opened: %s", strerror(errno));
    gr_status status = GR_OK;
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode))
        status = gr_fail(error, GR_ERROR_CORRUPT, "host", "not a regular file");
    else
        status = check_contents(file, (uint64_t)info.st_size, error);
    close(file);
    return status;
}
