// SPDX-License-Identifier: Apache-2.0
// meta.c: metadata read as the type a caller needs. A value that does not fit is as good as absent
// here; callers that must tell the two apart look at the gr_meta itself.
#include <string.h>

#include "model/file.h"

bool gr_meta_get_u32(const gr_model_file *file, const char *key, uint32_t *out_value) {
    const gr_meta *meta = gr_model_file_meta(file, key);
    if (!meta)
        return false;
    if (meta->type == GR_META_U64 && meta->value.u64 <= UINT32_MAX)
        *out_value = (uint32_t)meta->value.u64;
    else if (meta->type == GR_META_I64 && meta->value.i64 >= 0 && meta->value.i64 <= UINT32_MAX)
        *out_value = (uint32_t)meta->value.i64;
    else
        return false;
    return true;
}

bool gr_meta_get_f64(const gr_model_file *file, const char *key, double *out_value) {
    const gr_meta *meta = gr_model_file_meta(file, key);
    if (!meta)
        return false;
    if (meta->type == GR_META_F64)
        *out_value = meta->value.f64;
    else if (meta->type == GR_META_U64)
        *out_value = (double)meta->value.u64;
    else if (meta->type == GR_META_I64)
        *out_value = (double)meta->value.i64;
    else
        return false;
    return true;
}

bool gr_meta_get_bool(const gr_model_file *file, const char *key, bool *out_value) {
    const gr_meta *meta = gr_model_file_meta(file, key);
    if (!meta)
        return false;
    if (meta->type == GR_META_BOOL)
        *out_value = meta->value.boolean;
    else if (meta->type == GR_META_U64 && meta->value.u64 <= 1)
        *out_value = meta->value.u64 == 1;
    else
        return false;
    return true;
}

bool gr_meta_get_string(const gr_model_file *file, const char *key, gr_str *out_value) {
    const gr_meta *meta = gr_model_file_meta(file, key);
    if (!meta || meta->type != GR_META_STRING)
        return false;
    *out_value = meta->value.string;
    return true;
}

uint64_t gr_meta_array_bits(const gr_meta *array, uint64_t index) {
    uint32_t width = array->value.array.element_bytes;
    const uint8_t *bytes = (const uint8_t *)array->value.array.data + index * width;
    uint64_t bits = 0;
    for (uint32_t i = 0; i < width; i++)
        bits |= (uint64_t)bytes[i] << (8 * i);
    return bits;
}

static bool has_element(const gr_meta *array, uint64_t index) {
    return array && array->type == GR_META_ARRAY && index < array->value.array.count;
}

int64_t gr_meta_array_i64(const gr_meta *array, uint64_t index) {
    if (!has_element(array, index) || array->value.array.type == GR_META_STRING ||
        array->value.array.type == GR_META_F64)
        return 0;
    uint64_t bits = gr_meta_array_bits(array, index);
    uint32_t width = array->value.array.element_bytes;
    if (array->value.array.type == GR_META_BOOL)
        return bits != 0;
    if (array->value.array.type == GR_META_U64)
        return bits <= INT64_MAX ? (int64_t)bits : 0;
    if (width < 8 && bits >> (8 * width - 1)) // negative: extend the sign
        bits |= UINT64_MAX << (8 * width);
    return (int64_t)bits;
}

double gr_meta_array_f64(const gr_meta *array, uint64_t index) {
    if (!has_element(array, index) || array->value.array.type == GR_META_STRING)
        return 0.0;
    if (array->value.array.type != GR_META_F64)
        return (double)gr_meta_array_i64(array, index);
    uint64_t bits = gr_meta_array_bits(array, index);
    if (array->value.array.element_bytes == 4) {
        uint32_t narrow = (uint32_t)bits;
        float value;
        memcpy(&value, &narrow, sizeof value);
        return value;
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

gr_str gr_meta_array_string(const gr_meta *array, uint64_t index) {
    if (!has_element(array, index) || array->value.array.type != GR_META_STRING)
        return (gr_str){0};
    return ((const gr_str *)array->value.array.data)[index];
}
