// SPDX-License-Identifier: Apache-2.0
// fuzz_gguf.c: any bytes as a model file: opened, every table walked, hyperparameters read, graph
// built.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Touches what the file hands out, so that a pointer astray is seen by the sanitizer.
static uint64_t walk(const gr_model_file *file) {
    uint64_t sum = 0;
    uint8_t fingerprint[16];
    for (uint32_t i = 0; i < gr_model_file_meta_count(file); i++) {
        const gr_meta *meta = gr_model_file_meta_at(file, i);
        if (meta->type != GR_META_ARRAY)
            continue;
        for (uint64_t e = 0; e < meta->value.array.count && e < 64; e++)
            sum += (uint64_t)gr_meta_array_i64(meta, e) + gr_meta_array_string(meta, e).size;
    }
    for (uint32_t i = 0; i < gr_model_file_tensor_count(file); i++) {
        const gr_tensor_info *tensor = gr_model_file_tensor_at(file, i);
        sum +=
            ((const uint8_t *)tensor->data)[0] + ((const uint8_t *)tensor->data)[tensor->bytes - 1];
    }
    gr_model_file_fingerprint(file, fingerprint);
    return sum + fingerprint[0];
}

static void open_model(const char *path) {
    gr_error error;
    gr_model_file *file = NULL;
    gr_model_source *source = NULL;
    gr_graph *graph = NULL;
    gr_error_init(&error);
    gr_status status = gr_model_file_open(path, &file, &error);
    if (status == GR_OK) {
        volatile uint64_t sum = walk(file);
        (void)sum;
        status = gr_model_source_open(path, NULL, &source, &error);
    }
    if (status == GR_OK)
        status = gr_model_source_graph(source, &graph, &error);
    if (status != GR_OK && !error.message[0])
        abort(); // a refusal has to say why
    gr_graph_destroy(graph);
    gr_model_source_close(source);
    gr_model_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int file = memfd_create("gguf", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    open_model(path);
    close(file);
    return 0;
}
