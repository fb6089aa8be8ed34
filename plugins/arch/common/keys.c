// SPDX-License-Identifier: Apache-2.0
// keys.c: typed, range-checked reads whose errors say what the file holds in place of what is
// legal.
#include "plugins/arch/common/keys.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { KEY_CAPACITY = 128, PATH_SHOWN = 160 };

gr_status arch_keys_init(arch_keys *keys, const gr_model_file *file, gr_error *error) {
    gr_str architecture;
    const char *path = gr_model_file_path(file);
    size_t size = strlen(path);
    *keys = (arch_keys){
        .file = file, .path = path + (size > PATH_SHOWN ? size - PATH_SHOWN : 0), .error = error};
    if (!gr_meta_get_string(file, "general.architecture", &architecture) || !architecture.size ||
        architecture.size >= sizeof keys->architecture)
        return keys->status = gr_fail(
                   error, GR_ERROR_CORRUPT, "arch",
                   "%s: general.architecture: expected a name of 1 to %zu bytes, found none",
                   keys->path, sizeof keys->architecture - 1);
    memcpy(keys->architecture, architecture.data, architecture.size);
    return GR_OK;
}

gr_status arch_keys_fail(arch_keys *keys, gr_status code, const char *suffix, const char *format,
                         ...) {
    char text[240];
    va_list arguments;
    if (keys->status != GR_OK)
        return keys->status;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return keys->status = gr_fail(keys->error, code, "arch", "%s: %s.%s: %s", keys->path,
                                  keys->architecture, suffix, text);
}

const gr_meta *arch_keys_find(const arch_keys *keys, const char *suffix) {
    char key[KEY_CAPACITY];
    int size = snprintf(key, sizeof key, "%s.%s", keys->architecture, suffix);
    return size > 0 && (size_t)size < sizeof key ? gr_model_file_meta(keys->file, key) : NULL;
}

// Writes what a value is, for the "found" half of a message.
static void describe(const gr_meta *meta, char *out_text, size_t capacity) {
    if (!meta)
        snprintf(out_text, capacity, "no such key");
    else if (meta->type == GR_META_U64)
        snprintf(out_text, capacity, "%" PRIu64, meta->value.u64);
    else if (meta->type == GR_META_I64)
        snprintf(out_text, capacity, "%" PRId64, meta->value.i64);
    else if (meta->type == GR_META_F64)
        snprintf(out_text, capacity, "%g", meta->value.f64);
    else
        snprintf(out_text, capacity, "%s",
                 meta->type == GR_META_STRING ? "a string"
                 : meta->type == GR_META_BOOL ? "a boolean"
                                              : "a list");
}

// Whether `meta` is a whole number, of either sign; out of int64_t counts as no.
static bool whole(const gr_meta *meta, int64_t *out_value) {
    if (meta->type == GR_META_I64)
        *out_value = meta->value.i64;
    else if (meta->type == GR_META_U64 && meta->value.u64 <= INT64_MAX)
        *out_value = (int64_t)meta->value.u64;
    else
        return false;
    return true;
}

uint32_t arch_keys_u32(arch_keys *keys, const char *suffix, uint32_t low, uint32_t high,
                       bool required, uint32_t fallback) {
    char found[48];
    int64_t value;
    const gr_meta *meta = arch_keys_find(keys, suffix);
    if (!meta && !required)
        return fallback;
    if (meta && whole(meta, &value) && value >= low && value <= high)
        return (uint32_t)value;
    describe(meta, found, sizeof found);
    arch_keys_fail(keys, GR_ERROR_CORRUPT, suffix, "expected %" PRIu32 " to %" PRIu32 ", found %s",
                   low, high, found);
    return fallback;
}

uint32_t arch_keys_uniform(arch_keys *keys, const char *suffix, uint32_t low, uint32_t high,
                           bool required, uint32_t fallback) {
    const gr_meta *meta = arch_keys_find(keys, suffix);
    if (!meta || meta->type != GR_META_ARRAY)
        return arch_keys_u32(keys, suffix, low, high, required, fallback);
    int64_t first = gr_meta_array_i64(meta, 0);
    if (first < low || first > high) {
        arch_keys_fail(keys, GR_ERROR_CORRUPT, suffix,
                       "expected entries from %" PRIu32 " to %" PRIu32 ", found %" PRId64, low,
                       high, first);
        return fallback;
    }
    for (uint64_t i = 1; i < meta->value.array.count; i++)
        if (gr_meta_array_i64(meta, i) != first) {
            arch_keys_fail(keys, GR_ERROR_UNSUPPORTED, suffix,
                           "expected one value for all layers, found a list with %" PRId64
                           " and %" PRId64,
                           first, gr_meta_array_i64(meta, i));
            return fallback;
        }
    return (uint32_t)first;
}

double arch_keys_f64(arch_keys *keys, const char *suffix, double low, double high,
                     double fallback) {
    char key[KEY_CAPACITY], found[48];
    double value;
    const gr_meta *meta = arch_keys_find(keys, suffix);
    if (!meta)
        return fallback;
    snprintf(key, sizeof key, "%s.%s", keys->architecture, suffix);
    if (gr_meta_get_f64(keys->file, key, &value) && isfinite(value) && value >= low &&
        value <= high)
        return value;
    describe(meta, found, sizeof found);
    arch_keys_fail(keys, GR_ERROR_CORRUPT, suffix, "expected a number from %g to %g, found %s", low,
                   high, found);
    return fallback;
}
