// SPDX-License-Identifier: Apache-2.0
// gguf.h: reading GGUF, versions 2 and 3 (github.com/ggml-org/ggml, docs/gguf.md). Private to this
// folder.
//
// Invariant: nothing is read outside [at, size), no count is believed before the bytes that are
// left could hold it, and each failure is one line: path, byte, what was expected, what was found.
#ifndef GREGALE_GGUF_H
#define GREGALE_GGUF_H

#include <stdbool.h>

#include "gregale/linked/format.h"

enum {
    GGUF_DEFAULT_ALIGNMENT = 32,
    GGUF_MAX_KEY = 65535, // bytes, by the specification
    GGUF_MAX_NAME = 255,  // of a tensor; the specification says 64, some files say more
    GGUF_MAX_PARTS = 200, // each part is one guarded mapping
    GGUF_PATH_SHOWN = 160
};

// A cursor over one mapped part. The first failure sticks: later reads give zeros and do nothing.
typedef struct gguf_reader {
    const char *path; // for messages
    const uint8_t *data;
    uint64_t size, at;
    uint32_t part;
    gr_status status;
    gr_error *error;
} gguf_reader;

// The fixed head of a part, and the few keys that reading it depends on.
typedef struct gguf_head {
    uint32_t version;
    uint64_t tensor_count, meta_count;
    uint64_t alignment;
    bool has_split;
    uint64_t split_no, split_count, split_tensors;
} gguf_head;

// Fails at `at`: "PATH: at byte N: expected ..., found ...".
GR_PRINTF(4, 5)
gr_status gguf_fail(gguf_reader *reader, uint64_t at, gr_status code, const char *format, ...);
// The next `bytes` bytes, or NULL and a failure that names `what`.
const uint8_t *gguf_take(gguf_reader *reader, uint64_t bytes, const char *what);
// A little-endian number of 1 to 8 bytes.
uint64_t gguf_number(gguf_reader *reader, uint32_t width, const char *what);
// A string of at most `limit` bytes; NUL inside is a failure.
gr_str gguf_string(gguf_reader *reader, uint64_t limit, const char *what);
// A string of at least one byte, printable ASCII only (names go into messages and terminals).
gr_str gguf_name(gguf_reader *reader, uint64_t limit, const char *what);

gr_status gguf_read_head(gguf_reader *reader, gguf_head *out_head);
// Reads all metadata; adds it to `file` when `file` is not NULL, and fills what `head` keeps of it.
gr_status gguf_read_metadata(gguf_reader *reader, gguf_head *head, gr_model_file *file);
// Reads the tensor table and adds its tensors.
gr_status gguf_read_tensors(gguf_reader *reader, const gguf_head *head, gr_model_file *file);

// Splits "NAME-00002-of-00005.gguf": true with the bytes of "NAME" and both numbers.
bool gguf_split_parse(const char *path, size_t *out_stem, uint32_t *out_no, uint32_t *out_count);
// Writes the path of part `no` (from 1) beside `path`, which gguf_split_parse took; false when too
// long.
bool gguf_split_path(const char *path, uint32_t no, char *out_path, size_t capacity);

#endif
