// SPDX-License-Identifier: Apache-2.0
// linked/format.h: reading model files. Private to the project: linked in, not installed.
// For file-format plugins (which fill a gr_model_file) and everyone who reads one.
// Threads: a gr_model_file is filled by one thread and read-only afterwards; then any thread.
//
// Metadata keys and tensor names are those of the GGUF specification; a plugin for another format
// translates to them.
#ifndef GREGALE_LINKED_FORMAT_H
#define GREGALE_LINKED_FORMAT_H

#include <stdbool.h>

#include "gregale/dtype.h"
#include "gregale/segment.h"
#include "gregale/status.h"

typedef struct gr_model_file gr_model_file;

typedef uint32_t gr_meta_type;
enum {
    GR_META_U64 = 0, // every unsigned width
    GR_META_I64 = 1, // every signed width
    GR_META_F64 = 2, // F32 and F64
    GR_META_BOOL = 3,
    GR_META_STRING = 4,
    GR_META_ARRAY = 5
};

// One metadata value; strings and arrays are borrowed from the file's mapping or arena.
typedef struct gr_meta {
    gr_str key;
    gr_meta_type type;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        bool boolean;
        gr_str string;
        struct {
            gr_meta_type type;     // of the elements; never ARRAY
            uint32_t element_bytes; // width of numbers in `data`
            uint64_t count;
            const void *data;       // numbers: little-endian, unaligned; strings: an array of gr_str
        } array;
    } value;
} gr_meta;

// One tensor; `data` points into a read-only mapping that lives as long as the file.
typedef struct gr_tensor_info {
    gr_str name;
    gr_dtype dtype;
    uint32_t rank;
    int64_t dims[GR_MAX_RANK]; // outermost first
    const void *data;
    uint64_t bytes;
    uint32_t part; // which file of a split model
    uint64_t offset; // in that file
} gr_tensor_info;

// ---- For readers ----

const char *gr_model_file_path(const gr_model_file *file);  // of the first part
const char *gr_model_file_format(const gr_model_file *file); // "GGUF v3"
uint64_t gr_model_file_bytes(const gr_model_file *file);    // all parts
uint32_t gr_model_file_meta_count(const gr_model_file *file);
const gr_meta *gr_model_file_meta_at(const gr_model_file *file, uint32_t index);
uint32_t gr_model_file_tensor_count(const gr_model_file *file);
const gr_tensor_info *gr_model_file_tensor_at(const gr_model_file *file, uint32_t index);
// NULL when absent. `key` and `name` are NUL-terminated. A bisection: O(log n) whatever the names.
const gr_meta *gr_model_file_meta(const gr_model_file *file, const char *key);
const gr_tensor_info *gr_model_file_tensor(const gr_model_file *file, const char *name);

// Typed lookups. Each returns true and sets `*out_...` when the key exists with a convertible type and
// a value that fits; false leaves it untouched.
bool gr_meta_get_u32(const gr_model_file *file, const char *key, uint32_t *out_value);
bool gr_meta_get_f64(const gr_model_file *file, const char *key, double *out_value);
bool gr_meta_get_bool(const gr_model_file *file, const char *key, bool *out_value);
bool gr_meta_get_string(const gr_model_file *file, const char *key, gr_str *out_value);
// Element `index` of an array value, converted; 0, 0.0 or empty when out of range or of another type.
int64_t gr_meta_array_i64(const gr_meta *array, uint64_t index);
double gr_meta_array_f64(const gr_meta *array, uint64_t index);
gr_str gr_meta_array_string(const gr_meta *array, uint64_t index);

// First 16 bytes identify the model: metadata, tensor table, sizes and sampled blocks (not every byte).
void gr_model_file_fingerprint(const gr_model_file *file, uint8_t out_fingerprint[16]);

// Opens `path` with the first linked-in format that recognises it. One error line names the file,
// the place and what was expected. The caller closes it.
gr_status gr_model_file_open(const char *path, gr_model_file **out_file, gr_error *error);
void gr_model_file_close(gr_model_file *file);
// Whether a mapped page of the file vanished under us (truncated on disk) since it was opened.
bool gr_model_file_lost(const gr_model_file *file);

// ---- For format plugins: filling one. The file owns everything it is given. ----

gr_status gr_model_file_create(const char *path, const char *format_name, gr_model_file **out_file,
                               gr_error *error);
// Maps `path` read-only and appends it as the next part.
gr_status gr_model_file_map(gr_model_file *file, const char *path, const uint8_t **out_data,
                            uint64_t *out_bytes, gr_error *error);
// Memory that lives as long as the file (aligned to 16); NULL when there is none.
void *gr_model_file_alloc(gr_model_file *file, uint64_t bytes);
// Adds an entry; CORRUPT when the key is empty or has NUL inside.
gr_status gr_model_file_add_meta(gr_model_file *file, const gr_meta *meta, gr_error *error);
// Checks name, rank, dims, dtype, size and that its bytes lie inside its part; CORRUPT otherwise.
gr_status gr_model_file_add_tensor(gr_model_file *file, const gr_tensor_info *tensor, gr_error *error);
// Ends filling: refuses keys and names that occur twice and tensors that overlap (CORRUPT), and builds
// the look-up tables; until then look-ups find nothing.
gr_status gr_model_file_seal(gr_model_file *file, gr_error *error);

// A file format, linked in: `const gr_format gr_format_<name>` in plugins/format/<name>/.
typedef struct gr_format {
    uint32_t struct_size;
    const char *name;
    // Whether a file that begins with these bytes is of this format. Pure.
    bool (*recognises)(const uint8_t *head, size_t size);
    gr_status (*open)(const char *path, gr_model_file **out_file, gr_error *error);
} gr_format;

#endif
