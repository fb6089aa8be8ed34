// SPDX-License-Identifier: Apache-2.0
// model_test.h: what the tests of this room share: bytes to a file to an answer.
#ifndef GREGALE_TESTS_MODEL_TEST_H
#define GREGALE_TESTS_MODEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "model/model.h"

// Writes `bytes` to a new temporary file, whose path goes to `path`; the caller unlinks it.
static inline void write_temporary(const void *bytes, size_t size, char path[64]) {
    strcpy(path, "/tmp/gregale-model-XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, size), size);
    close(file);
}

static inline void save_temporary(const gguf_writer *writer, char path[64]) {
    strcpy(path, "/tmp/gregale-model-XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    assert_true(gguf_writer_save(writer, path));
}

// The file stays mapped after its name is gone.
static inline gr_status open_bytes(const void *bytes, size_t size, gr_model_file **out_file,
                                   gr_error *error) {
    char path[64];
    write_temporary(bytes, size, path);
    gr_error_init(error);
    gr_status status = gr_model_file_open(path, out_file, error);
    unlink(path);
    return status;
}

static inline gr_status open_writer(const gguf_writer *writer, gr_model_file **out_file,
                                    gr_error *error) {
    size_t size;
    uint8_t *bytes = gguf_writer_bytes(writer, &size);
    gr_status status = open_bytes(bytes, size, out_file, error);
    free(bytes);
    return status;
}

static inline gr_status open_source(const gguf_writer *writer, const gr_model_overrides *overrides,
                                    gr_model_source **out_source, gr_error *error) {
    char path[64];
    save_temporary(writer, path);
    gr_error_init(error);
    gr_status status = gr_model_source_open(path, overrides, out_source, error);
    unlink(path);
    return status;
}

// Fails the test unless `error` is one line that says `text`.
static inline void assert_says(const gr_error *error, const char *text) {
    if (!strstr(error->message, text))
        fail_msg("expected '%s' in: %s", text, error->message);
    assert_null(strchr(error->message, '\n'));
}

#endif
