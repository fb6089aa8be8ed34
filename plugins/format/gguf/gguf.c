// SPDX-License-Identifier: Apache-2.0
// gguf.c: opening a GGUF file, whole or split. All metadata is that of the first part; each part
// has a tensor table of its own.
#include <inttypes.h>
#include <string.h>

#include "plugins/format/gguf/gguf.h"

enum { PATH_CAPACITY = 4096 };

static bool recognises(const uint8_t *head, size_t size) {
    return size >= 4 && memcmp(head, "GGUF", 4) == 0;
}

static gr_status start_part(gr_model_file *file, const char *path, uint32_t part,
                            gguf_reader *reader, gguf_head *head, gr_error *error) {
    *reader = (gguf_reader){.path = path, .part = part, .error = error};
    reader->status = gr_model_file_map(file, path, &reader->data, &reader->size, error);
    return reader->status == GR_OK ? gguf_read_head(reader, head) : reader->status;
}

// Opens part `no` (from 0, never the first) and adds its tensors.
static gr_status read_later_part(gr_model_file *file, const char *first_path,
                                 const gguf_head *first, uint32_t no, gr_error *error) {
    char path[PATH_CAPACITY];
    gguf_reader reader;
    gguf_head head;
    if (!gguf_split_path(first_path, no + 1, path, sizeof path))
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "gguf",
                       "the path of part %" PRIu32 " is too long", no + 1);
    gr_status status = start_part(file, path, no, &reader, &head, error);
    if (status == GR_ERROR_NOT_FOUND)
        return gr_fail(error, status, "gguf",
                       "%s: expected part %" PRIu32 " of %" PRIu64 " here, found no file",
                       strlen(path) > GGUF_PATH_SHOWN ? path + strlen(path) - GGUF_PATH_SHOWN
                                                      : path,
                       no + 1, first->split_count);
    if (status == GR_OK)
        status = gguf_read_metadata(&reader, &head, NULL);
    if (status != GR_OK)
        return status;
    if (head.split_no != no || head.split_count != first->split_count)
        return gguf_fail(&reader, 0, GR_ERROR_CORRUPT,
                         "expected split.no %" PRIu32 " of split.count %" PRIu64 ", found %" PRIu64
                         " of %" PRIu64,
                         no, first->split_count, head.split_no, head.split_count);
    return gguf_read_tensors(&reader, &head, file);
}

static gr_status check_split(gguf_reader *reader, const gguf_head *head) {
    size_t stem;
    uint32_t no, count;
    if (head->split_no != 0)
        return gguf_fail(reader, 0, GR_ERROR_UNSUPPORTED,
                         "expected part 1 of a split model, found part %" PRIu64,
                         head->split_no + 1);
    if (head->split_count < 1 || head->split_count > GGUF_MAX_PARTS)
        return gguf_fail(reader, 0, GR_ERROR_CORRUPT,
                         "expected split.count from 1 to %d, found %" PRIu64, (int)GGUF_MAX_PARTS,
                         head->split_count);
    if (head->split_count > 1 && (!gguf_split_parse(reader->path, &stem, &no, &count) || no != 1 ||
                                  count != head->split_count))
        return gguf_fail(reader, 0, GR_ERROR_NOT_FOUND,
                         "expected a name ending in -00001-of-%05" PRIu64
                         ".gguf, by which the other parts are found, found another",
                         head->split_count);
    return GR_OK;
}

static gr_status read_parts(gr_model_file *file, const char *path, gr_error *error) {
    gguf_reader reader;
    gguf_head head;
    gr_status status = start_part(file, path, 0, &reader, &head, error);
    if (status == GR_OK)
        status = gguf_read_metadata(&reader, &head, file);
    if (status == GR_OK && head.has_split)
        status = check_split(&reader, &head);
    if (status == GR_OK)
        status = gguf_read_tensors(&reader, &head, file);
    for (uint32_t no = 1; status == GR_OK && no < head.split_count; no++)
        status = read_later_part(file, path, &head, no, error);
    if (status == GR_OK && head.split_tensors &&
        head.split_tensors != gr_model_file_tensor_count(file))
        status = gguf_fail(&reader, 0, GR_ERROR_CORRUPT,
                           "expected split.tensors.count %" PRIu64
                           " tensors in all parts, found %" PRIu32,
                           head.split_tensors, gr_model_file_tensor_count(file));
    return status == GR_OK ? gr_model_file_seal(file, error) : status;
}

// The version decides the name, and only the head of the file knows it.
static gr_status peek_version(const char *path, uint32_t *out_version, gr_error *error) {
    gr_model_file *file = NULL;
    gguf_reader reader;
    gguf_head head;
    *out_version = 0;
    gr_status status = gr_model_file_create(path, "GGUF", &file, error);
    if (status == GR_OK)
        status = start_part(file, path, 0, &reader, &head, error);
    if (status == GR_OK)
        *out_version = head.version;
    gr_model_file_close(file);
    return status;
}

static gr_status open_gguf(const char *path, gr_model_file **out_file, gr_error *error) {
    char first[PATH_CAPACITY];
    size_t stem;
    uint32_t no, count, version;
    gr_model_file *file = NULL;
    *out_file = NULL;
    // Any part opens the whole.
    if (gguf_split_parse(path, &stem, &no, &count) && no > 1 &&
        gguf_split_path(path, 1, first, sizeof first))
        path = first;
    gr_status status = peek_version(path, &version, error);
    if (status == GR_OK)
        status = gr_model_file_create(path, version == 2 ? "GGUF v2" : "GGUF v3", &file, error);
    if (status == GR_OK)
        status = read_parts(file, path, error);
    if (status != GR_OK) {
        gr_model_file_close(file);
        return status;
    }
    *out_file = file;
    return GR_OK;
}

const gr_format gr_format_gguf = {
    .struct_size = sizeof(gr_format), .name = "GGUF", .recognises = recognises, .open = open_gguf};
