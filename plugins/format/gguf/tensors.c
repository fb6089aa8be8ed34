// SPDX-License-Identifier: Apache-2.0
// tensors.c: the tensor table of a part. Offsets in the file count from the data section, which
// begins at the first multiple of the alignment after the table; dims are innermost first and
// turned round here.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/format/gguf/gguf.h"

static int shown(gr_str name) {
    return (int)(name.size < 96 ? name.size : 96);
}

static void read_dims(gguf_reader *reader, gr_tensor_info *info) {
    uint64_t at = reader->at;
    uint32_t rank = (uint32_t)gguf_number(reader, 4, "a tensor's rank");
    if (reader->status == GR_OK && (rank < 1 || rank > GR_MAX_RANK))
        gguf_fail(reader, at, GR_ERROR_CORRUPT,
                  "tensor '%.*s': expected a rank of 1 to 4, found %" PRIu32, shown(info->name),
                  info->name.data, rank);
    if (reader->status != GR_OK)
        return;
    info->rank = rank;
    for (uint32_t i = 0; i < rank && reader->status == GR_OK; i++) {
        at = reader->at;
        uint64_t size = gguf_number(reader, 8, "a tensor's dimension");
        if (reader->status == GR_OK && (size < 1 || size > INT64_MAX))
            gguf_fail(reader, at, GR_ERROR_CORRUPT,
                      "tensor '%.*s': expected a dimension of at least 1, found %" PRId64,
                      shown(info->name), info->name.data, (int64_t)size);
        info->dims[rank - 1 - i] = (int64_t)size;
    }
    for (uint32_t i = rank; i < GR_MAX_RANK; i++)
        info->dims[i] = 1;
}

// Sets the size by dtype and dims; refuses unknown types, broken rows and sizes beyond 2^63.
static void read_dtype(gguf_reader *reader, gr_tensor_info *info) {
    uint64_t at = reader->at;
    info->dtype = (uint32_t)gguf_number(reader, 4, "a tensor's type");
    if (reader->status != GR_OK)
        return;
    uint32_t block = gr_dtype_block(info->dtype);
    if (!block) {
        gguf_fail(reader, at, GR_ERROR_UNSUPPORTED,
                  "tensor '%.*s': expected an element type this build knows, found type %" PRIu32,
                  shown(info->name), info->name.data, info->dtype);
        return;
    }
    uint64_t row = (uint64_t)info->dims[info->rank - 1];
    uint64_t bytes = gr_dtype_row_bytes(info->dtype, row);
    if (row % block) {
        gguf_fail(reader, at, GR_ERROR_CORRUPT,
                  "tensor '%.*s': expected rows in blocks of %" PRIu32
                  " (%s), found rows of %" PRIu64,
                  shown(info->name), info->name.data, block, gr_dtype_name(info->dtype), row);
        return;
    }
    for (uint32_t i = 0; i + 1 < info->rank && bytes; i++)
        bytes = bytes > INT64_MAX / (uint64_t)info->dims[i] ? 0 : bytes * (uint64_t)info->dims[i];
    if (!bytes || bytes > INT64_MAX)
        gguf_fail(reader, at, GR_ERROR_CORRUPT,
                  "tensor '%.*s': expected a size below 2^63 bytes, found more", shown(info->name),
                  info->name.data);
    info->bytes = bytes;
}

static void read_offset(gguf_reader *reader, uint64_t alignment, gr_tensor_info *info) {
    uint64_t at = reader->at;
    info->offset = gguf_number(reader, 8, "a tensor's offset");
    if (reader->status == GR_OK && info->offset % alignment)
        gguf_fail(reader, at, GR_ERROR_CORRUPT,
                  "tensor '%.*s': expected an offset that is a multiple of %" PRIu64
                  ", found %" PRIu64,
                  shown(info->name), info->name.data, alignment, info->offset);
}

// Turns the offset, so far within the data section, into one in the file, and checks that it fits.
static gr_status place(gguf_reader *reader, uint64_t base, gr_tensor_info *info) {
    uint64_t room = base <= reader->size ? reader->size - base : 0;
    if (base > reader->size || info->offset > room || info->bytes > room - info->offset)
        return gguf_fail(reader, base <= reader->size ? base : reader->size, GR_ERROR_CORRUPT,
                         "tensor '%.*s': expected %" PRIu64 " bytes at offset %" PRIu64
                         " of the data, found %" PRIu64
                         " bytes of data in all (cut short or corrupt)",
                         shown(info->name), info->name.data, info->bytes, info->offset, room);
    info->offset += base;
    info->data = reader->data + info->offset;
    return GR_OK;
}

gr_status gguf_read_tensors(gguf_reader *reader, const gguf_head *head, gr_model_file *file) {
    // gguf_read_head has checked that the file could hold so many entries.
    gr_tensor_info *infos = calloc((size_t)head->tensor_count + 1, sizeof *infos);
    if (!infos)
        return gguf_fail(reader, reader->at, GR_ERROR_OUT_OF_MEMORY,
                         "no memory for %" PRIu64 " tensors", head->tensor_count);
    for (uint64_t i = 0; i < head->tensor_count && reader->status == GR_OK; i++) {
        infos[i].part = reader->part;
        infos[i].name = gguf_name(reader, GGUF_MAX_NAME, "a tensor name");
        read_dims(reader, &infos[i]);
        read_dtype(reader, &infos[i]);
        read_offset(reader, head->alignment, &infos[i]);
    }
    uint64_t base = (reader->at + head->alignment - 1) / head->alignment * head->alignment;
    for (uint64_t i = 0; i < head->tensor_count && reader->status == GR_OK; i++)
        if (place(reader, base, &infos[i]) == GR_OK)
            reader->status = gr_model_file_add_tensor(file, &infos[i], reader->error);
    free(infos);
    return reader->status;
}
