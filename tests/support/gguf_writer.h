// SPDX-License-Identifier: Apache-2.0
// gguf_writer.h: GGUF files for tests: good ones, and ones that lie. Independent of the reader
// under test. One thread a writer. A call that runs out of memory ends the test program.
#ifndef GREGALE_TESTS_GGUF_WRITER_H
#define GREGALE_TESTS_GGUF_WRITER_H

#include <stdbool.h>

#include "gregale/dtype.h"
#include "gregale/status.h"

// Value types by their numbers in the file.
enum {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12
};

typedef struct gguf_buffer {
    uint8_t *data;
    size_t size, capacity;
} gguf_buffer;

void gguf_put(gguf_buffer *buffer, const void *bytes, size_t count);
void gguf_put_number(gguf_buffer *buffer, uint64_t value, uint32_t width); // little-endian
void gguf_put_string(gguf_buffer *buffer, const char *text, size_t size);  // u64 length, bytes

// One tensor to write; `data` NULL is zeros, which take no disk.
typedef struct gguf_writer_tensor {
    char name[300];
    size_t name_size;
    uint32_t rank, type;
    uint64_t dims[8]; // innermost first, as in the file
    uint64_t bytes, offset;
    void *data;
} gguf_writer_tensor;

// Fields may be changed before the file is made, to make it lie. All zero (gguf_writer_init) is an
// empty version 3 file.
typedef struct gguf_writer {
    uint32_t version;
    uint64_t alignment; // of the layout; write "general.alignment" as well when it is not 32
    gguf_buffer meta;
    uint64_t meta_count;
    gguf_writer_tensor *tensors;
    uint64_t tensor_count;
    uint64_t stated_meta_count, stated_tensor_count; // in the head, when not UINT64_MAX
} gguf_writer;

void gguf_writer_init(gguf_writer *writer);
void gguf_writer_deinit(gguf_writer *writer);

void gguf_meta_number(gguf_writer *writer, const char *key, uint32_t type, uint64_t bits);
void gguf_meta_u32(gguf_writer *writer, const char *key, uint32_t value);
void gguf_meta_f32(gguf_writer *writer, const char *key, float value);
void gguf_meta_bool(gguf_writer *writer, const char *key, bool value);
void gguf_meta_string(gguf_writer *writer, const char *key, const char *value);
void gguf_meta_array(gguf_writer *writer, const char *key, uint32_t type, uint64_t count,
                     const void *data, uint32_t element_bytes);
void gguf_meta_strings(gguf_writer *writer, const char *key, uint64_t count,
                       const char *const *values);
// Any bytes as key and value.
void gguf_meta_raw(gguf_writer *writer, const char *key, size_t key_size, uint32_t type,
                   const void *value, size_t value_size);

// Adds a tensor behind the last one; dims outermost first, as in gr_tensor_info. Copies `data`,
// whose size follows from dtype and dims. The result stays valid until the next tensor is added.
gguf_writer_tensor *gguf_tensor(gguf_writer *writer, const char *name, gr_dtype dtype,
                                uint32_t rank, const int64_t *dims, const void *data);

// The whole file; the caller frees it.
uint8_t *gguf_writer_bytes(const gguf_writer *writer, size_t *out_size);
// Writes the file; zeros become holes. False when the system refuses.
bool gguf_writer_save(const gguf_writer *writer, const char *path);

// A small Llama-like decoder. Zero means: the default named here, or absent.
typedef struct gguf_tiny {
    const char *architecture; // "llama"
    const char *name;         // "tiny"
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim, vocab,
        context;     // 2 64 96 4 2 16 96 256
    float rope_base; // absent
    int64_t window;  // 0: the file states none; -1: it states 0
    bool untied;     // has output.weight
    bool no_numbers; // weights are zeros (sparse), of type `dtype`
    gr_dtype dtype;  // of matrices; only F32 gets random numbers
    uint64_t seed;   // of the numbers
} gguf_tiny;

// Adds metadata and tensors of the decoder. Numbers depend on `tiny` alone.
void gguf_writer_tiny(gguf_writer *writer, const gguf_tiny *tiny);

// Adds a SentencePiece vocabulary: <unk>, <s>, </s>, then all 256 bytes or, without `bytes`, the
// printable ASCII characters and a line's end; then `words`, longer ones behind the pieces they are
// merged from; a word that begins with [ is a control token. Returns how many tokens it has, for gguf_tiny.vocab.
uint32_t gguf_writer_vocabulary(gguf_writer *writer, bool bytes, const char *const *words,
                                uint32_t count);

#endif
