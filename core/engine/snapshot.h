// SPDX-License-Identifier: Apache-2.0
// snapshot.h: a session as a file: named blocks under one checksum. Inside the engine room; docs/snapshots.md
// has the format. Threads: the session's or the model's.
//
// A block's fields are put and taken in the same order by one file of this room: snapshot_model.c,
// snapshot_tokens.c, snapshot_turns.c, snapshot_request.c, snapshot_cache.c. snapshot_file.c knows blocks and
// the checksum, snapshot.c the order of things.
#ifndef GREGALE_ENGINE_SNAPSHOT_H
#define GREGALE_ENGINE_SNAPSHOT_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/os.h"
#include "engine/internal.h"

#define GR_SNAPSHOT_MAGIC "\x89GRS\r\n\x1a\n" // 8 bytes: no text, and broken by whatever mends line ends
enum {
    GR_SNAPSHOT_VERSION = 1,
    GR_SNAPSHOT_HEAD = 32,       // bytes before the first block, and of a block's head
    GR_SNAPSHOT_NAME = 16,       // bytes of a block's name
    GR_SNAPSHOT_DIGEST = 32,     // SHA-256 of all before it, at the end
    GR_SNAPSHOT_MUST_KNOW = 1    // flag of a block: a reader that does not know its name refuses the file
};

// What this build knows, in the order of the file. A snapshot has the first two and the last; the others when
// there is something to say.
typedef enum gr_snapshot_kind {
    GR_SNAPSHOT_MODEL, GR_SNAPSHOT_TOKENS, GR_SNAPSHOT_LOGITS, GR_SNAPSHOT_TURNS, GR_SNAPSHOT_GRAMMAR, GR_SNAPSHOT_REQUEST,
    GR_SNAPSHOT_CACHE, GR_SNAPSHOT_KINDS
} gr_snapshot_kind;
extern const char *const gr_snapshot_names[GR_SNAPSHOT_KINDS];

// ---- Putting. Numbers are little-endian; a buffer that ran out of memory says so in `failed`.
void gr_put_u32(gr_strbuf *out, uint32_t value);
void gr_put_u64(gr_strbuf *out, uint64_t value);
void gr_put_f64(gr_strbuf *out, double value);
void gr_put_bytes(gr_strbuf *out, const void *bytes, size_t count);
void gr_put_text(gr_strbuf *out, gr_str text); // data NULL: absent

// ---- Taking. Beyond the end everything is zero and the block is marked short, so one check at the end will do.
typedef struct gr_snapshot_block {
    const char *path, *name;
    const uint8_t *data; // NULL: the file has no such block
    uint64_t bytes, at;
    bool is_short;
} gr_snapshot_block;
uint32_t gr_take_u32(gr_snapshot_block *block);
uint64_t gr_take_u64(gr_snapshot_block *block);
double gr_take_f64(gr_snapshot_block *block);
const void *gr_take_bytes(gr_snapshot_block *block, uint64_t count); // borrowed, unaligned; NULL beyond the end
gr_str gr_take_text(gr_snapshot_block *block);                       // data NULL: absent
// A count of things that take at least `least` bytes each: never more than the rest of the block can hold.
uint64_t gr_take_count(gr_snapshot_block *block, uint64_t least);
// CORRUPT unless all of the block was taken and nothing beyond it.
gr_status gr_snapshot_block_end(const gr_snapshot_block *block, gr_error *error);
// CORRUPT: what is wrong in the block.
GR_PRINTF(3, 4)
gr_status gr_snapshot_damaged(const gr_snapshot_block *block, gr_error *error, const char *format, ...);

// What a call said to a value of the block: fine, no memory, or else the block is CORRUPT.
gr_status gr_snapshot_refused(const gr_snapshot_block *block, gr_status status, const gr_error *said, gr_error *error);

// How far it is, for whoever waits.
typedef struct gr_snapshot_progress {
    bool (*report)(void *context, double fraction, const char *what); // may be NULL
    void *context;
    const char *what;
    uint64_t done, total; // bytes
} gr_snapshot_progress;
// CANCELLED when the listener says stop.
gr_status gr_snapshot_advance(gr_snapshot_progress *progress, uint64_t bytes, gr_error *error);

// ---- snapshot_file.c: reading. Checks size, checksum and block heads before anybody sees a block.
typedef struct gr_snapshot_file {
    const char *path; // borrowed
    gr_mapping mapping;
    gr_snapshot_block blocks[GR_SNAPSHOT_KINDS];
    gr_arena arena; // texts that had to end with a NUL
} gr_snapshot_file;
gr_status gr_snapshot_open(const char *path, gr_snapshot_progress *progress, gr_snapshot_file *out_file, gr_error *error);
void gr_snapshot_close(gr_snapshot_file *file);
// `text` with a NUL behind it, NULL when it is absent; anything with a NUL inside is CORRUPT.
gr_status gr_snapshot_string(gr_snapshot_file *file, const gr_snapshot_block *block, gr_str text, char **out_string,
                             gr_error *error);

// ---- snapshot_file.c: writing
typedef struct gr_snapshot_writer {
    gr_file_writer file;
    gr_sha256 hash;
    gr_snapshot_progress progress;
} gr_snapshot_writer;
// Begins a file of `bytes` bytes in all, checksum included.
gr_status gr_snapshot_begin(gr_snapshot_writer *writer, const char *path, uint32_t blocks, uint64_t bytes, gr_error *error);
gr_status gr_snapshot_add(gr_snapshot_writer *writer, const void *bytes, size_t count, gr_error *error);
gr_status gr_snapshot_add_head(gr_snapshot_writer *writer, gr_snapshot_kind kind, uint64_t bytes, gr_error *error);
gr_status gr_snapshot_add_padding(gr_snapshot_writer *writer, uint64_t bytes, gr_error *error); // behind so many bytes
gr_status gr_snapshot_commit(gr_snapshot_writer *writer, gr_error *error);
uint64_t gr_snapshot_padded(uint64_t bytes); // with what brings it to a multiple of 8

// ---- The blocks. What is put nothing for has no block.
void gr_snapshot_put_model(const gr_session *session, gr_strbuf *out);
void gr_snapshot_put_tokens(const gr_session *session, gr_strbuf *out);
void gr_snapshot_put_logits(const gr_session *session, gr_strbuf *out);
void gr_snapshot_put_turns(const gr_session *session, gr_strbuf *out);
void gr_snapshot_put_grammar(const gr_session *session, gr_strbuf *out);
void gr_snapshot_put_request(const gr_session *session, gr_strbuf *out);
// The head of the cache block, its numbers follow: gr_snapshot_cache_bytes of them.
void gr_snapshot_put_cache(const gr_session *session, gr_strbuf *out);
uint64_t gr_snapshot_cache_bytes(const gr_session *session);
gr_status gr_snapshot_add_cache(gr_snapshot_writer *writer, const gr_session *session, gr_error *error);

// INCOMPATIBLE when the snapshot is of another model, tokenizer, vocabulary or rotation.
gr_status gr_snapshot_check_model(gr_snapshot_file *file, const gr_model *model, gr_error *error);
// Makes the session, of the file's tokens and context unless `options` says otherwise.
gr_status gr_snapshot_take_tokens(gr_snapshot_file *file, gr_model *model, const gr_session_options *options,
                                  gr_session **out_session, gr_error *error);
gr_status gr_snapshot_take_logits(gr_snapshot_file *file, gr_session *session, gr_error *error);
gr_status gr_snapshot_take_turns(gr_snapshot_file *file, gr_session *session, gr_error *error);
gr_status gr_snapshot_take_request(gr_snapshot_file *file, gr_session *session, gr_request **out_request, gr_error *error);
gr_status gr_snapshot_take_cache(gr_snapshot_file *file, gr_session *session, gr_snapshot_progress *progress,
                                 gr_error *error);

#endif
