// SPDX-License-Identifier: Apache-2.0
// snapshot_file.c: blocks, their fields, the checksum around them.
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "base/checked.h"
#include "engine/snapshot.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "keys, values, logits and tokens are written as they lie in memory: little-endian"
#endif

enum { DIGEST_PIECE = 1 << 20 };
#define NO_TEXT UINT64_MAX

const char *const gr_snapshot_names[GR_SNAPSHOT_KINDS] = {"model", "tokens", "logits", "turns", "grammar", "request", "cache"};

uint64_t gr_snapshot_padded(uint64_t bytes) {
    return gr_align_up(bytes, 8);
}

gr_status gr_snapshot_advance(gr_snapshot_progress *progress, uint64_t bytes, gr_error *error) {
    progress->done += bytes;
    double fraction = progress->total ? (double)progress->done / (double)progress->total : 1;
    if (!progress->report || progress->report(progress->context, fraction < 1 ? fraction : 1, progress->what))
        return GR_OK;
    return gr_fail(error, GR_ERROR_CANCELLED, "snapshot", "%s was interrupted", progress->what);
}

// ---- Putting

static void put_number(gr_strbuf *out, uint64_t value, size_t bytes) {
    char text[8];
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)(value >> (8 * i));
    gr_strbuf_add(out, text, bytes);
}

void gr_put_u32(gr_strbuf *out, uint32_t value) {
    put_number(out, value, 4);
}

void gr_put_u64(gr_strbuf *out, uint64_t value) {
    put_number(out, value, 8);
}

void gr_put_f64(gr_strbuf *out, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    gr_put_u64(out, bits);
}

void gr_put_bytes(gr_strbuf *out, const void *bytes, size_t count) {
    if (count)
        gr_strbuf_add(out, bytes, count);
}

void gr_put_text(gr_strbuf *out, gr_str text) {
    gr_put_u64(out, text.data ? text.size : NO_TEXT);
    if (text.data)
        gr_put_bytes(out, text.data, text.size);
}

// ---- Taking

const void *gr_take_bytes(gr_snapshot_block *block, uint64_t count) {
    if (!gr_range_fits(block->at, count, block->bytes)) {
        block->is_short = true;
        block->at = block->bytes;
        return NULL;
    }
    block->at += count;
    return block->data + (block->at - count);
}

static uint64_t take_number(gr_snapshot_block *block, uint64_t bytes) {
    const uint8_t *from = gr_take_bytes(block, bytes);
    uint64_t value = 0;
    for (uint64_t i = 0; from && i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

uint32_t gr_take_u32(gr_snapshot_block *block) {
    return (uint32_t)take_number(block, 4);
}

uint64_t gr_take_u64(gr_snapshot_block *block) {
    return take_number(block, 8);
}

double gr_take_f64(gr_snapshot_block *block) {
    double value;
    uint64_t bits = gr_take_u64(block);
    memcpy(&value, &bits, sizeof value);
    return value;
}

gr_str gr_take_text(gr_snapshot_block *block) {
    uint64_t size = gr_take_u64(block);
    if (size == NO_TEXT)
        return (gr_str){0};
    const char *data = gr_take_bytes(block, size);
    return data ? (gr_str){data, (size_t)size} : (gr_str){"", 0};
}

uint64_t gr_take_count(gr_snapshot_block *block, uint64_t least) {
    uint64_t count = gr_take_u64(block);
    if (count <= (block->bytes - block->at) / least)
        return count;
    block->is_short = true;
    return 0;
}

gr_status gr_snapshot_damaged(const gr_snapshot_block *block, gr_error *error, const char *format, ...) {
    char what[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: block '%s': %s", block->path, block->name, what);
}

gr_status gr_snapshot_refused(const gr_snapshot_block *block, gr_status status, const gr_error *said, gr_error *error) {
    if (status == GR_ERROR_OUT_OF_MEMORY)
        return gr_fail(error, status, said->origin, "%s: %s", block->path, said->message);
    return status == GR_OK ? status : gr_snapshot_damaged(block, error, "%s", said->message);
}

gr_status gr_snapshot_block_end(const gr_snapshot_block *block, gr_error *error) {
    if (block->is_short)
        return gr_snapshot_damaged(block, error, "it ends after %llu bytes, within its fields",
                                   (unsigned long long)block->bytes);
    if (block->at != block->bytes)
        return gr_snapshot_damaged(block, error, "%llu bytes behind its fields",
                                   (unsigned long long)(block->bytes - block->at));
    return GR_OK;
}

// ---- Reading a file

static gr_status check_head(const gr_snapshot_file *file, gr_snapshot_block *head, gr_error *error) {
    uint64_t there = file->mapping.bytes, begin = there < 8 ? there : 8;
    if (memcmp(file->mapping.data, GR_SNAPSHOT_MAGIC, (size_t)begin) != 0)
        return gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: not a snapshot of a session", file->path);
    if (there < GR_SNAPSHOT_HEAD + GR_SNAPSHOT_DIGEST)
        return gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: cut off after %llu bytes", file->path,
                       (unsigned long long)there);
    head->at = 8;
    uint32_t version = gr_take_u32(head);
    if (version != GR_SNAPSHOT_VERSION)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "snapshot", "%s: a snapshot of version %u; this build reads version %d",
                       file->path, version, GR_SNAPSHOT_VERSION);
    head->at += 4;
    uint64_t bytes = gr_take_u64(head);
    if (bytes != there)
        return gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: %s: %llu bytes, it was written with %llu", file->path,
                       there < bytes ? "cut off" : "something was added", (unsigned long long)there,
                       (unsigned long long)bytes);
    return GR_OK;
}

static gr_status check_digest(const gr_snapshot_file *file, gr_snapshot_progress *progress, gr_error *error) {
    uint64_t bytes = file->mapping.bytes - GR_SNAPSHOT_DIGEST;
    gr_status status = GR_OK;
    gr_sha256 hash;
    uint8_t digest[GR_SNAPSHOT_DIGEST];
    gr_sha256_init(&hash);
    for (uint64_t at = 0, piece; status == GR_OK && at < bytes; at += piece) {
        piece = bytes - at < DIGEST_PIECE ? bytes - at : DIGEST_PIECE;
        gr_sha256_add(&hash, file->mapping.data + at, (size_t)piece);
        status = gr_snapshot_advance(progress, piece, error);
    }
    gr_sha256_finish(&hash, digest);
    if (status == GR_OK && memcmp(digest, file->mapping.data + bytes, sizeof digest) != 0)
        status = gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: damaged: its checksum does not match its contents",
                         file->path);
    return status;
}

// A name is bytes, then zeros; it is copied, so that messages can show it.
static bool take_name(gr_snapshot_block *from, char name[GR_SNAPSHOT_NAME + 1]) {
    const char *bytes = gr_take_bytes(from, GR_SNAPSHOT_NAME);
    if (!bytes)
        return false;
    memcpy(name, bytes, GR_SNAPSHOT_NAME);
    name[GR_SNAPSHOT_NAME] = '\0';
    size_t size = strlen(name);
    for (size_t i = 0; i < GR_SNAPSHOT_NAME; i++)
        if (i < size ? name[i] < ' ' || name[i] > '~' : name[i] != '\0')
            return false;
    return size > 0;
}

static gr_status take_block(gr_snapshot_file *file, gr_snapshot_block *from, gr_error *error) {
    char name[GR_SNAPSHOT_NAME + 1];
    uint32_t kind = 0;
    bool named = take_name(from, name);
    uint32_t flags = gr_take_u32(from), reserved = gr_take_u32(from);
    uint64_t bytes = gr_take_u64(from);
    const uint8_t *data = bytes <= from->bytes ? gr_take_bytes(from, gr_snapshot_padded(bytes)) : NULL;
    bool good = named && data && !reserved && flags <= GR_SNAPSHOT_MUST_KNOW;
    for (uint64_t i = bytes; good && i < gr_snapshot_padded(bytes); i++)
        good = data[i] == 0;
    if (!good)
        return gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: the head of a block makes no sense", file->path);
    while (kind < GR_SNAPSHOT_KINDS && strcmp(gr_snapshot_names[kind], name) != 0)
        kind++;
    if (kind == GR_SNAPSHOT_KINDS)
        return flags & GR_SNAPSHOT_MUST_KNOW
                   ? gr_fail(error, GR_ERROR_UNSUPPORTED, "snapshot",
                             "%s: it holds '%s', which this build does not know and may not leave out", file->path, name)
                   : GR_OK;
    if (file->blocks[kind].data)
        return gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: two blocks '%s'", file->path, name);
    file->blocks[kind].data = data;
    file->blocks[kind].bytes = bytes;
    return GR_OK;
}

static gr_status take_blocks(gr_snapshot_file *file, gr_snapshot_block *all, gr_error *error) {
    static const gr_snapshot_kind needed[] = {GR_SNAPSHOT_MODEL, GR_SNAPSHOT_TOKENS, GR_SNAPSHOT_CACHE};
    gr_status status = GR_OK;
    all->at = 12;
    uint32_t count = gr_take_u32(all);
    all->at += 8;
    bool reserved = gr_take_u64(all) != 0;
    for (uint32_t i = 0; status == GR_OK && i < count; i++)
        status = take_block(file, all, error);
    if (status == GR_OK && (reserved || all->at != all->bytes))
        status = gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: its %u blocks are not all of it", file->path, count);
    for (size_t i = 0; status == GR_OK && i < sizeof needed / sizeof needed[0]; i++)
        if (!file->blocks[needed[i]].data)
            status = gr_fail(error, GR_ERROR_CORRUPT, "snapshot", "%s: no block '%s'", file->path,
                             gr_snapshot_names[needed[i]]);
    return status;
}

gr_status gr_snapshot_open(const char *path, gr_snapshot_progress *progress, gr_snapshot_file *out_file, gr_error *error) {
    *out_file = (gr_snapshot_file){.path = path};
    for (uint32_t i = 0; i < GR_SNAPSHOT_KINDS; i++)
        out_file->blocks[i] = (gr_snapshot_block){.path = path, .name = gr_snapshot_names[i]};
    gr_status status = gr_mapping_open(path, &out_file->mapping, error);
    if (status != GR_OK)
        return status;
    gr_snapshot_block all = {.path = path, .name = "head", .data = out_file->mapping.data, .bytes = out_file->mapping.bytes};
    status = check_head(out_file, &all, error);
    progress->total = 2 * all.bytes; // read once to be checked, once to be used
    if (status == GR_OK)
        status = check_digest(out_file, progress, error);
    all.bytes -= GR_SNAPSHOT_DIGEST;
    if (status == GR_OK)
        status = take_blocks(out_file, &all, error);
    if (status != GR_OK)
        gr_snapshot_close(out_file);
    return status;
}

void gr_snapshot_close(gr_snapshot_file *file) {
    gr_mapping_close(&file->mapping);
    gr_arena_deinit(&file->arena);
}

gr_status gr_snapshot_string(gr_snapshot_file *file, const gr_snapshot_block *block, gr_str text, char **out_string,
                             gr_error *error) {
    *out_string = NULL;
    if (!text.data)
        return GR_OK;
    if (text.size && memchr(text.data, '\0', text.size))
        return gr_snapshot_damaged(block, error, "a text with a NUL inside");
    *out_string = gr_arena_string(&file->arena, text.data, text.size);
    return *out_string ? GR_OK : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "%s: no memory to read it", file->path);
}

// ---- Writing a file

gr_status gr_snapshot_add(gr_snapshot_writer *writer, const void *bytes, size_t count, gr_error *error) {
    gr_sha256_add(&writer->hash, bytes, count);
    gr_status status = gr_file_add(&writer->file, bytes, count, error);
    return status == GR_OK ? gr_snapshot_advance(&writer->progress, count, error) : status;
}

static gr_status add_buffer(gr_snapshot_writer *writer, gr_strbuf *buffer, gr_error *error) {
    gr_status status = buffer->failed ? gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "snapshot", "no memory to write a snapshot")
                                      : gr_snapshot_add(writer, buffer->data, buffer->size, error);
    gr_strbuf_deinit(buffer);
    return status;
}

gr_status gr_snapshot_begin(gr_snapshot_writer *writer, const char *path, uint32_t blocks, uint64_t bytes, gr_error *error) {
    gr_strbuf head = {0};
    writer->progress.total = bytes - GR_SNAPSHOT_DIGEST;
    gr_sha256_init(&writer->hash);
    gr_status status = gr_file_begin(path, &writer->file, error);
    if (status != GR_OK)
        return status;
    gr_put_bytes(&head, GR_SNAPSHOT_MAGIC, 8);
    gr_put_u32(&head, GR_SNAPSHOT_VERSION);
    gr_put_u32(&head, blocks);
    gr_put_u64(&head, bytes);
    gr_put_u64(&head, 0);
    status = add_buffer(writer, &head, error);
    if (status != GR_OK)
        gr_file_abandon(&writer->file);
    return status;
}

gr_status gr_snapshot_add_head(gr_snapshot_writer *writer, gr_snapshot_kind kind, uint64_t bytes, gr_error *error) {
    char name[GR_SNAPSHOT_NAME] = {0};
    gr_strbuf head = {0};
    memcpy(name, gr_snapshot_names[kind], strlen(gr_snapshot_names[kind]));
    gr_put_bytes(&head, name, sizeof name);
    gr_put_u32(&head, GR_SNAPSHOT_MUST_KNOW);
    gr_put_u32(&head, 0);
    gr_put_u64(&head, bytes);
    return add_buffer(writer, &head, error);
}

gr_status gr_snapshot_add_padding(gr_snapshot_writer *writer, uint64_t bytes, gr_error *error) {
    static const char zeros[8];
    return gr_snapshot_add(writer, zeros, (size_t)(gr_snapshot_padded(bytes) - bytes), error);
}

gr_status gr_snapshot_commit(gr_snapshot_writer *writer, gr_error *error) {
    uint8_t digest[GR_SNAPSHOT_DIGEST];
    assert(writer->progress.done == writer->progress.total); // the size that the head tells
    gr_sha256_finish(&writer->hash, digest);
    gr_status status = gr_file_add(&writer->file, digest, sizeof digest, error);
    if (status == GR_OK)
        return gr_file_commit(&writer->file, error);
    gr_file_abandon(&writer->file);
    return status;
}
