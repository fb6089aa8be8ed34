// SPDX-License-Identifier: Apache-2.0
// open.c: from a path to the format that can read it.
#include <string.h>

#include "base/strbuf.h"
#include "gregale/linked/registry.h"
#include "model/file.h"

enum { HEAD_BYTES = 64 };

// Copies the first bytes of `path`, the rest zero.
static gr_status read_head(const char *path, uint8_t head[HEAD_BYTES], size_t *out_size,
                           gr_error *error) {
    gr_mapping mapping;
    gr_status status = gr_mapping_open(path, &mapping, error);
    memset(head, 0, HEAD_BYTES);
    *out_size = 0;
    if (status != GR_OK)
        return status;
    *out_size = mapping.bytes < HEAD_BYTES ? (size_t)mapping.bytes : HEAD_BYTES;
    memcpy(head, mapping.data, *out_size);
    gr_mapping_close(&mapping);
    return GR_OK;
}

static gr_status refuse(const char *path, const uint8_t *head, size_t size, gr_error *error) {
    gr_strbuf names = {0};
    char start[8 * 3 + 1] = "";
    for (const gr_format *const *format = gr_linked_formats(); *format; format++) {
        gr_strbuf_text(&names, names.size ? ", " : "");
        gr_strbuf_text(&names, (*format)->name);
    }
    for (size_t i = 0; i < size && i < 8; i++)
        snprintf(start + 3 * i, 4, " %02x", head[i]);
    gr_status status = gr_fail(error, GR_ERROR_UNSUPPORTED, "model",
                               "%s: at byte 0: expected a model file (%s), found bytes%s",
                               gr_path_tail(path), gr_strbuf_cstr(&names), start);
    gr_strbuf_deinit(&names);
    return status;
}

gr_status gr_model_file_open(const char *path, gr_model_file **out_file, gr_error *error) {
    uint8_t head[HEAD_BYTES];
    size_t size;
    *out_file = NULL;
    gr_status status = read_head(path, head, &size, error);
    if (status != GR_OK)
        return status;
    for (const gr_format *const *format = gr_linked_formats(); *format; format++)
        if ((*format)->recognises(head, size))
            return (*format)->open(path, out_file, error);
    return refuse(path, head, size, error);
}
