// SPDX-License-Identifier: Apache-2.0
// metadata.c: the head of a part and its key-value pairs.
#include <inttypes.h>
#include <string.h>

#include "plugins/format/gguf/gguf.h"

// Value types by their numbers in the file.
enum {
    TYPE_U8 = 0,
    TYPE_I8 = 1,
    TYPE_U16 = 2,
    TYPE_I16 = 3,
    TYPE_U32 = 4,
    TYPE_I32 = 5,
    TYPE_F32 = 6,
    TYPE_BOOL = 7,
    TYPE_STRING = 8,
    TYPE_ARRAY = 9,
    TYPE_U64 = 10,
    TYPE_I64 = 11,
    TYPE_F64 = 12,
    TYPE_LIMIT = 13
};

// Width in the file (of strings and arrays: of their smallest spelling) and what it becomes.
static const struct {
    uint8_t width;
    uint8_t type;
} types[TYPE_LIMIT] = {
    [TYPE_U8] = {1, GR_META_U64},        [TYPE_I8] = {1, GR_META_I64},
    [TYPE_U16] = {2, GR_META_U64},       [TYPE_I16] = {2, GR_META_I64},
    [TYPE_U32] = {4, GR_META_U64},       [TYPE_I32] = {4, GR_META_I64},
    [TYPE_F32] = {4, GR_META_F64},       [TYPE_BOOL] = {1, GR_META_BOOL},
    [TYPE_STRING] = {8, GR_META_STRING}, [TYPE_ARRAY] = {12, GR_META_ARRAY},
    [TYPE_U64] = {8, GR_META_U64},       [TYPE_I64] = {8, GR_META_I64},
    [TYPE_F64] = {8, GR_META_F64},
};

enum { SMALLEST_META = 8 + 1 + 4 + 1, SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8 };

static void check_count(gguf_reader *reader, uint64_t at, uint64_t count, uint64_t smallest,
                        const char *what) {
    uint64_t most = (reader->size - reader->at) / smallest;
    if (reader->status == GR_OK && count > most)
        gguf_fail(reader, at, GR_ERROR_CORRUPT,
                  "expected a count of %s that the file could hold (at most %" PRIu64
                  "), found %" PRIu64,
                  what, most, count);
}

gr_status gguf_read_head(gguf_reader *reader, gguf_head *out_head) {
    *out_head = (gguf_head){.alignment = GGUF_DEFAULT_ALIGNMENT, .split_count = 1};
    const uint8_t *magic = gguf_take(reader, 4, "the magic");
    if (magic && memcmp(magic, "GGUF", 4) != 0)
        gguf_fail(reader, 0, GR_ERROR_CORRUPT,
                  "expected the magic 'GGUF', found %02x %02x %02x %02x", magic[0], magic[1],
                  magic[2], magic[3]);
    uint32_t version = (uint32_t)gguf_number(reader, 4, "the version");
    if (reader->status == GR_OK && version >= 0x01000000u && (version & 0xffffffu) == 0)
        gguf_fail(reader, 4, GR_ERROR_UNSUPPORTED,
                  "expected a little-endian file, found a big-endian one (version %u)",
                  version >> 24);
    if (reader->status == GR_OK && version != 2 && version != 3)
        gguf_fail(reader, 4, GR_ERROR_UNSUPPORTED, "expected GGUF version 2 or 3, found %" PRIu32,
                  version);
    out_head->version = version;
    out_head->tensor_count = gguf_number(reader, 8, "the tensor count");
    out_head->meta_count = gguf_number(reader, 8, "the metadata count");
    check_count(reader, 8, out_head->tensor_count, SMALLEST_TENSOR, "tensors");
    check_count(reader, 16, out_head->meta_count, SMALLEST_META, "metadata entries");
    return reader->status;
}

static double widen_f32(uint64_t bits) {
    uint32_t narrow = (uint32_t)bits;
    float value;
    memcpy(&value, &narrow, sizeof value);
    return value;
}

static bool read_bool(gguf_reader *reader) {
    uint64_t at = reader->at, value = gguf_number(reader, 1, "a boolean");
    if (value > 1)
        gguf_fail(reader, at, GR_ERROR_CORRUPT, "expected a boolean of 0 or 1, found %" PRIu64,
                  value);
    return value == 1;
}

static void read_scalar(gguf_reader *reader, uint32_t type, gr_meta *meta) {
    uint32_t width = types[type].width;
    uint64_t bits;
    meta->type = types[type].type;
    switch (meta->type) {
    case GR_META_BOOL: meta->value.boolean = read_bool(reader); return;
    case GR_META_STRING: meta->value.string = gguf_string(reader, UINT64_MAX, "a string"); return;
    default: break;
    }
    bits = gguf_number(reader, width, "a number");
    if (meta->type == GR_META_I64 && width < 8 && bits >> (8 * width - 1))
        bits |= UINT64_MAX << (8 * width); // extend the sign
    if (type == TYPE_F32)
        meta->value.f64 = widen_f32(bits);
    else if (type == TYPE_F64)
        memcpy(&meta->value.f64, &bits, sizeof bits);
    else if (meta->type == GR_META_I64)
        meta->value.i64 = (int64_t)bits;
    else
        meta->value.u64 = bits;
}

// Reads `count` strings; into memory of `file`, or over them when `file` is NULL.
static const void *read_strings(gguf_reader *reader, uint64_t count, gr_model_file *file) {
    gr_str *strings = NULL;
    if (file && count) {
        strings = gr_model_file_alloc(file, count * sizeof *strings); // count <= file size / 8
        if (!strings)
            gguf_fail(reader, reader->at, GR_ERROR_OUT_OF_MEMORY,
                      "no memory for %" PRIu64 " strings", count);
    }
    for (uint64_t i = 0; i < count && reader->status == GR_OK; i++) {
        gr_str string = gguf_string(reader, UINT64_MAX, "an array's string");
        if (strings)
            strings[i] = string;
    }
    return strings;
}

static void read_array(gguf_reader *reader, gr_meta *meta, gr_model_file *file) {
    uint64_t at = reader->at;
    uint32_t type = (uint32_t)gguf_number(reader, 4, "an array's element type");
    uint64_t count = gguf_number(reader, 8, "an array's length");
    if (reader->status != GR_OK)
        return;
    if (type >= TYPE_LIMIT) {
        gguf_fail(reader, at, GR_ERROR_CORRUPT, "expected an element type below %d, found %" PRIu32,
                  (int)TYPE_LIMIT, type);
        return;
    }
    if (type == TYPE_ARRAY) {
        gguf_fail(reader, at, GR_ERROR_UNSUPPORTED,
                  "expected an array of plain values, found nested arrays");
        return;
    }
    check_count(reader, at + 4, count, types[type].width, "array elements");
    if (reader->status != GR_OK)
        return;
    meta->type = GR_META_ARRAY;
    meta->value.array.type = types[type].type;
    meta->value.array.count = count;
    meta->value.array.element_bytes =
        type == TYPE_STRING ? (uint32_t)sizeof(gr_str) : types[type].width;
    if (type == TYPE_STRING)
        meta->value.array.data = read_strings(reader, count, file);
    else
        meta->value.array.data = gguf_take(reader, count * types[type].width, "an array");
}

static bool key_is(gr_str key, const char *name) {
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

// A key whose value steers the reader: an unsigned number, in whatever width the writer chose.
static uint64_t steering_number(gguf_reader *reader, uint64_t at, const gr_meta *meta) {
    if (meta->type == GR_META_U64)
        return meta->value.u64;
    if (meta->type == GR_META_I64 && meta->value.i64 >= 0)
        return (uint64_t)meta->value.i64;
    gguf_fail(reader, at, GR_ERROR_CORRUPT,
              "expected an unsigned number for %.*s, found another value",
              (int)(meta->key.size < 64 ? meta->key.size : 64), meta->key.data);
    return 0;
}

static void note_key(gguf_reader *reader, uint64_t at, const gr_meta *meta, gguf_head *head) {
    if (key_is(meta->key, "general.alignment")) {
        uint64_t value = steering_number(reader, at, meta);
        if (value < 8 || value > UINT32_MAX || (value & (value - 1)))
            gguf_fail(reader, at, GR_ERROR_CORRUPT,
                      "expected general.alignment to be a power of two from 8, found %" PRIu64,
                      value);
        else
            head->alignment = value;
    } else if (key_is(meta->key, "split.no")) {
        head->split_no = steering_number(reader, at, meta);
    } else if (key_is(meta->key, "split.count")) {
        head->split_count = steering_number(reader, at, meta);
        head->has_split = true;
    } else if (key_is(meta->key, "split.tensors.count")) {
        head->split_tensors = steering_number(reader, at, meta);
    }
}

gr_status gguf_read_metadata(gguf_reader *reader, gguf_head *head, gr_model_file *file) {
    for (uint64_t i = 0; i < head->meta_count && reader->status == GR_OK; i++) {
        gr_meta meta = {0};
        meta.key = gguf_name(reader, GGUF_MAX_KEY, "a metadata key");
        uint64_t at = reader->at;
        uint32_t type = (uint32_t)gguf_number(reader, 4, "a value type");
        if (reader->status != GR_OK)
            break;
        if (type >= TYPE_LIMIT)
            return gguf_fail(reader, at, GR_ERROR_CORRUPT,
                             "expected a value type below %d for %.*s, found %" PRIu32,
                             (int)TYPE_LIMIT, (int)(meta.key.size < 64 ? meta.key.size : 64),
                             meta.key.data, type);
        if (type == TYPE_ARRAY)
            read_array(reader, &meta, file);
        else
            read_scalar(reader, type, &meta);
        if (reader->status == GR_OK)
            note_key(reader, at, &meta, head);
        if (reader->status == GR_OK && file)
            reader->status = gr_model_file_add_meta(file, &meta, reader->error);
    }
    return reader->status;
}
