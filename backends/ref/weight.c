// SPDX-License-Identifier: Apache-2.0
// weight.c: weights stay where they are, in the model file's mapping; rows are expanded when used.
#include <stdio.h>

#include "ref.h"

// Sizes of a description, or why it cannot be.
static const char *desc_measure(const gr_weight_desc *desc, uint64_t *out_row_bytes,
                                uint64_t *out_bytes) {
    if (desc->rank < 1 || desc->rank > GR_MAX_RANK)
        return "its rank is not 1 to 4";
    if (!ref_can_decode(desc->dtype))
        return "its dtype is unknown";
    uint64_t rows = 1;
    for (uint32_t i = 0; i < desc->rank; i++) {
        if (desc->dims[i] < 0)
            return "a dimension is negative";
        if (i + 1 < desc->rank && __builtin_mul_overflow(rows, (uint64_t)desc->dims[i], &rows))
            return "its size overflows";
    }
    uint64_t width = (uint64_t)desc->dims[desc->rank - 1];
    *out_row_bytes = gr_dtype_row_bytes(desc->dtype, width);
    if (width && !*out_row_bytes)
        return "a row is not a whole number of blocks";
    if (__builtin_mul_overflow(rows, *out_row_bytes, out_bytes))
        return "its size overflows";
    if (*out_bytes != desc->bytes)
        return "its bytes do not match its shape and dtype";
    if (desc->bytes && !desc->data)
        return "it has no data";
    return NULL;
}

gr_status ref_weight_import(gr_device *device, const gr_weight_desc *desc_in,
                            gr_weight **out_weight, gr_weight_info *out_info, gr_error *error) {
    *out_weight = NULL;
    gr_weight_info info = {.struct_size = sizeof info};
    ref_struct_fill(out_info, &info, sizeof info);
    if (!desc_in ||
        !ref_struct_ok(desc_in, offsetof(gr_weight_desc, name), sizeof *desc_in, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "weight: its description has another layout");
    gr_weight_desc desc;
    ref_struct_read(desc_in, sizeof desc, &desc);
    const char *name = desc.name ? desc.name : "a weight";
    uint64_t row_bytes = 0, bytes = 0;
    const char *why = desc_measure(&desc, &row_bytes, &bytes);
    if (why)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "%s: %s", name, why);
    const gr_host *host = device->host;
    gr_weight *weight = host->memory_alloc(host, sizeof *weight);
    if (!weight)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "%s: no memory", name);
    *weight = (gr_weight){.data = desc.data,
                          .bytes = bytes,
                          .row_bytes = row_bytes,
                          .dtype = desc.dtype,
                          .rank = desc.rank};
    memcpy(weight->dims, desc.dims, sizeof weight->dims);
    if (bytes &&
        (uintptr_t)desc.data % 8) { // a file may place a tensor anywhere; C may not read it there
        weight->copy = host->memory_alloc(host, bytes);
        if (!weight->copy) {
            host->memory_free(host, weight, sizeof *weight);
            return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "%s: no memory for %llu bytes",
                           name, (unsigned long long)bytes);
        }
        memcpy(weight->copy, desc.data, bytes);
        weight->data = weight->copy;
    }
    info.aliases_source = weight->copy == NULL;
    info.device_bytes = weight->copy ? bytes : 0;
    snprintf(info.layout, sizeof info.layout, "gguf");
    ref_struct_fill(out_info, &info, sizeof info);
    *out_weight = weight;
    return GR_OK;
}

void ref_weight_destroy(gr_device *device, gr_weight *weight) {
    if (!weight)
        return;
    const gr_host *host = device->host;
    if (weight->copy)
        host->memory_free(host, weight->copy, weight->bytes);
    host->memory_free(host, weight, sizeof *weight);
}
