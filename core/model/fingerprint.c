// SPDX-License-Identifier: Apache-2.0
// fingerprint.c: which model a file holds, cheap enough to ask at every start.
//
// SHA-256 over metadata, tensor table and sizes, and over 256 bytes from the middle of each tensor
// (of every n-th one where there are more than 4096). Numbers enter as 8 little-endian bytes and
// strings with their length, so no two files spell the same stream. A change elsewhere in a tensor
// goes unseen: hashing every byte is for whoever verifies a download.
#include <string.h>

#include "base/hash.h"
#include "model/file.h"

enum { SAMPLE_BYTES = 256, SAMPLED_TENSORS = 4096 };

static void add_number(gr_sha256 *hash, uint64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    gr_sha256_add(hash, bytes, sizeof bytes);
}

static void add_string(gr_sha256 *hash, gr_str text) {
    add_number(hash, text.size);
    if (text.size)
        gr_sha256_add(hash, text.data, text.size);
}

static void add_array(gr_sha256 *hash, const gr_meta *meta) {
    uint64_t count = meta->value.array.count;
    add_number(hash, meta->value.array.type);
    add_number(hash, count);
    if (meta->value.array.type == GR_META_STRING) {
        for (uint64_t i = 0; i < count; i++)
            add_string(hash, ((const gr_str *)meta->value.array.data)[i]);
    } else if (count) {
        add_number(hash, meta->value.array.element_bytes);
        gr_sha256_add(hash, meta->value.array.data,
                      (size_t)(count * meta->value.array.element_bytes));
    }
}

static void add_meta(gr_sha256 *hash, const gr_meta *meta) {
    uint64_t bits;
    add_string(hash, meta->key);
    add_number(hash, meta->type);
    switch (meta->type) {
    case GR_META_STRING: add_string(hash, meta->value.string); break;
    case GR_META_ARRAY: add_array(hash, meta); break;
    case GR_META_BOOL: add_number(hash, meta->value.boolean); break;
    default: memcpy(&bits, &meta->value.u64, sizeof bits); add_number(hash, bits);
    }
}

static void add_tensor(gr_sha256 *hash, const gr_tensor_info *tensor, bool sampled) {
    uint64_t size = tensor->bytes < SAMPLE_BYTES ? tensor->bytes : SAMPLE_BYTES;
    add_string(hash, tensor->name);
    add_number(hash, tensor->dtype);
    add_number(hash, tensor->rank);
    for (uint32_t i = 0; i < tensor->rank; i++)
        add_number(hash, (uint64_t)tensor->dims[i]);
    add_number(hash, tensor->part);
    add_number(hash, tensor->offset);
    if (sampled)
        gr_sha256_add(hash, (const uint8_t *)tensor->data + (tensor->bytes - size) / 2,
                      (size_t)size);
}

void gr_model_file_fingerprint(const gr_model_file *file, uint8_t out_fingerprint[16]) {
    gr_sha256 hash;
    uint8_t digest[32];
    uint32_t stride = file->tensor_count / SAMPLED_TENSORS + 1;
    gr_sha256_init(&hash);
    add_number(&hash, file->meta_count);
    for (uint32_t i = 0; i < file->meta_count; i++)
        add_meta(&hash, &file->metas[i]);
    add_number(&hash, file->part_count);
    for (uint32_t i = 0; i < file->part_count; i++)
        add_number(&hash, file->parts[i].bytes);
    add_number(&hash, file->tensor_count);
    for (uint32_t i = 0; i < file->tensor_count; i++)
        add_tensor(&hash, &file->tensors[i], i % stride == 0);
    gr_sha256_finish(&hash, digest);
    memcpy(out_fingerprint, digest, 16);
}
