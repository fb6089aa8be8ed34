// SPDX-License-Identifier: Apache-2.0
// Files that are cut off, damaged, foreign or made to deceive: each is refused whole, with a reason. The seed of
// random damage is printed; GREGALE_TEST_SEED repeats a run.
#include <fcntl.h>
#include <sys/mman.h>

#include "base/os.h"
#include "snapshot_fixture.h"
#include "snapshot_seal.h"

// A file in memory, so that it can be cut and mended fast.
typedef struct memory_file {
    int file;
    char path[40];
} memory_file;

static memory_file make_file(const void *data, size_t size) {
    memory_file m = {.file = memfd_create("snapshot", MFD_CLOEXEC)};
    assert_true(m.file >= 0);
    assert_int_equal(pwrite(m.file, data, size, 0), (ssize_t)size);
    snprintf(m.path, sizeof m.path, "/proc/self/fd/%d", m.file);
    return m;
}

static void refill(memory_file *m, const void *data, size_t size) {
    assert_int_equal(ftruncate(m->file, (off_t)size), 0);
    assert_int_equal(pwrite(m->file, data, size, 0), (ssize_t)size);
}

static gr_model *model;
static gr_strbuf good; // a snapshot with every block

static int make_snapshot(void **state) {
    (void)state;
    int32_t tokens[40];
    gr_request *request = NULL;
    bool worked;
    model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.page_tokens = 4, .rewind_reserve = 2, .chat_format = "mistral-v1"});
    fill_tokens(tokens, 12, 1, vocab_of(model));
    gr_session *session = begin(model, 64, tokens, 12);
    OK(gr_session_turn(session, GR_CHAT_USER, "x", 1, error));
    const gr_generate_options options = {.struct_size = sizeof options,
                                         .seed = 3,
                                         .sampler = "mirostat",
                                         .ignore_end = 1,
                                         .raw = 1,
                                         .stop = (const char *const[]){"stop", NULL}};
    OK(gr_request_start(session, &options, &request, error));
    for (int i = 0; i < 4; i++)
        OK(gr_engine_step(model->engine, &worked, error));
    save(session);
    OK(gr_file_read(file_name(), 1 << 24, &good, error));
    gr_request_release(request);
    gr_session_release(session);
    forget_file();
    return 0;
}

static int drop_snapshot(void **state) {
    (void)state;
    gr_strbuf_deinit(&good);
    gr_model_release(model);
    return 0;
}

static gr_status try(const char *path) {
    const gr_session_options options = {.struct_size = sizeof options, .context = 64};
    gr_session *session = NULL;
    gr_request *request = NULL;
    gr_error_init(error);
    gr_status status = gr_session_restore(model, path, &options, NULL, NULL, &session, &request, error);
    if (status != GR_OK && (!error->message[0] || session || request || !strstr(error->message, path)))
        fail_msg("a refusal that says too little: %s", error->message);
    gr_request_release(request);
    gr_session_release(session);
    assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), 0);
    assert_int_equal(model->session_count, 0);
    return status;
}

static void says(const char *path, gr_status status, const char *what) {
    gr_status got = try(path);
    if (got != status || !strstr(error->message, what))
        fail_msg("expected status %d and '%s'; got %d: %s", status, what, got, error->message);
}

// ---- Accidents

static void every_length_is_refused(void **state) {
    (void)state;
    memory_file m = make_file(good.data, good.size);
    assert_int_equal(try(m.path), GR_OK);
    for (size_t size = good.size; size-- > 0;) {
        assert_int_equal(ftruncate(m.file, (off_t)size), 0);
        if (size)
            says(m.path, GR_ERROR_CORRUPT, "cut off");
        else
            says(m.path, GR_ERROR_CORRUPT, "empty");
    }
    refill(&m, good.data, good.size);
    assert_int_equal(pwrite(m.file, "x", 1, (off_t)good.size), 1);
    says(m.path, GR_ERROR_CORRUPT, "something was added");
    close(m.file);
}

static uint64_t next(uint64_t *random) {
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t seed(void) {
    const char *text = getenv("GREGALE_TEST_SEED");
    uint64_t number = text ? strtoull(text, NULL, 0) : gr_os_now_ns();
    print_message("GREGALE_TEST_SEED=%llu\n", (unsigned long long)number);
    return number;
}

// Every bit of the heads, thousands anywhere: none is taken for good.
static void every_flipped_bit_is_refused(void **state) {
    (void)state;
    uint64_t random = seed();
    memory_file m = make_file(good.data, good.size);
    for (size_t i = 0; i < 6000; i++) {
        size_t bit = i < 2048 ? i : next(&random) % (good.size * 8);
        char byte = (char)(good.data[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(pwrite(m.file, &byte, 1, (off_t)(bit / 8)), 1);
        gr_status status = try(m.path);
        if (status != GR_ERROR_CORRUPT && status != GR_ERROR_UNSUPPORTED)
            fail_msg("bit %zu flipped: status %d, %s", bit, status, error->message);
        assert_int_equal(pwrite(m.file, &good.data[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    assert_int_equal(try(m.path), GR_OK);
    close(m.file);
}

static void foreign_files_are_refused(void **state) {
    (void)state;
    says(SMALL("w8-gqa4"), GR_ERROR_CORRUPT, "not a snapshot");
    says(GREGALE_SOURCE_DIR "/README.md", GR_ERROR_CORRUPT, "not a snapshot");
    says(GREGALE_SOURCE_DIR, GR_ERROR_IO, "a directory");
    says("/nonexistent/x.grs", GR_ERROR_NOT_FOUND, "cannot open");
    says("/dev/null", GR_ERROR_IO, "a device or pipe");
}

// ---- Intent: size and checksum are right

static void sealed_says(const gr_strbuf *bytes, gr_status status, const char *what) {
    memory_file m = make_file(bytes->data, bytes->size);
    snapshot_seal((uint8_t *)bytes->data, bytes->size);
    refill(&m, bytes->data, bytes->size);
    says(m.path, status, what);
    close(m.file);
}

static gr_strbuf copy_of(const gr_strbuf *from) {
    gr_strbuf copy = {0};
    gr_strbuf_add(&copy, from->data, from->size);
    return copy;
}

// Where the head of a block lies.
static size_t find_block(const gr_strbuf *bytes, const char *name) {
    for (size_t at = GR_SNAPSHOT_HEAD; at + GR_SNAPSHOT_HEAD < bytes->size;) {
        uint64_t size;
        if (strncmp(bytes->data + at, name, GR_SNAPSHOT_NAME) == 0)
            return at;
        memcpy(&size, bytes->data + at + 24, sizeof size);
        at += GR_SNAPSHOT_HEAD + (size_t)gr_snapshot_padded(size);
    }
    fail_msg("no block %s", name);
    return 0;
}

static void change(const char *name, size_t offset, uint64_t value, size_t width, gr_status status, const char *what) {
    gr_strbuf bytes = copy_of(&good);
    size_t at = find_block(&bytes, name) + offset;
    for (size_t i = 0; i < width; i++)
        bytes.data[at + i] = (char)(value >> (8 * i));
    sealed_says(&bytes, status, what);
    gr_strbuf_deinit(&bytes);
}

// Puts a block of this name before the checksum.
static gr_strbuf with_block(const char *name, uint32_t flags) {
    gr_strbuf bytes = {0};
    char padded[GR_SNAPSHOT_NAME] = {0}, digest[GR_SNAPSHOT_DIGEST] = {0};
    memcpy(padded, name, strlen(name));
    gr_put_bytes(&bytes, good.data, good.size - sizeof digest);
    gr_put_bytes(&bytes, padded, sizeof padded);
    gr_put_u32(&bytes, flags);
    gr_put_u32(&bytes, 0);
    gr_put_u64(&bytes, 3);
    gr_put_bytes(&bytes, "abc\0\0\0\0", 8);
    gr_put_bytes(&bytes, digest, sizeof digest);
    bytes.data[12]++; // blocks
    return bytes;
}

static void blocks_that_nobody_knows(void **state) {
    (void)state;
    gr_strbuf bytes = with_block("orchard", GR_SNAPSHOT_MUST_KNOW);
    sealed_says(&bytes, GR_ERROR_UNSUPPORTED, "'orchard'");
    gr_strbuf_deinit(&bytes);
    bytes = with_block("remark", 0); // may be left out
    snapshot_seal((uint8_t *)bytes.data, bytes.size);
    memory_file m = make_file(bytes.data, bytes.size);
    assert_int_equal(try(m.path), GR_OK);
    close(m.file);
    bytes.data[bytes.size - GR_SNAPSHOT_DIGEST - 1] = 1; // what fills up a block is zero
    sealed_says(&bytes, GR_ERROR_CORRUPT, "makes no sense");
    gr_strbuf_deinit(&bytes);
    bytes = with_block("tokens", 0);
    sealed_says(&bytes, GR_ERROR_CORRUPT, "two blocks 'tokens'");
    gr_strbuf_deinit(&bytes);
    change("cache", 0, 'C', 1, GR_ERROR_UNSUPPORTED, "'Cache'");
    change("cache", 0, 1, 1, GR_ERROR_CORRUPT, "makes no sense");      // no name
    change("cache", 24, UINT64_MAX, 8, GR_ERROR_CORRUPT, "makes no sense");
    change("cache", 24, 0, 8, GR_ERROR_CORRUPT, "");
    change("cache", 16, 3, 4, GR_ERROR_CORRUPT, "makes no sense");     // a flag
    change("cache", 20, 1, 4, GR_ERROR_CORRUPT, "makes no sense");     // reserved
    gr_strbuf head = copy_of(&good);
    head.data[8] = 2;
    sealed_says(&head, GR_ERROR_UNSUPPORTED, "version 2; this build reads version 1");
    head.data[8] = 1;
    head.data[12]--;
    sealed_says(&head, GR_ERROR_CORRUPT, "are not all of it");
    head.data[12] += 2;
    sealed_says(&head, GR_ERROR_CORRUPT, "makes no sense");
    gr_strbuf_deinit(&head);
}

// Where the first token of the answer lies in the block "request".
static size_t answer_at(void) {
    uint64_t chain, stops, stop;
    size_t body = find_block(&good, "request") + GR_SNAPSHOT_HEAD, at = body + 32;
    memcpy(&chain, good.data + at, 8);
    at += 8 + (size_t)chain;
    memcpy(&stops, good.data + at, 8);
    assert_int_equal(stops, 1);
    memcpy(&stop, good.data + at + 8, 8);
    return at + 16 + (size_t)stop + 8 - body + GR_SNAPSHOT_HEAD;
}

static void fields_that_deceive(void **state) {
    (void)state;
    enum { BODY = GR_SNAPSHOT_HEAD };
    change("tokens", BODY, 0, 8, GR_ERROR_CORRUPT, "in a context of 0");
    change("tokens", BODY, UINT64_MAX, 8, GR_ERROR_CORRUPT, "in a context of");
    change("tokens", BODY + 8, UINT64_MAX, 8, GR_ERROR_CORRUPT, "within its fields");
    change("tokens", BODY + 16, 0x7fffffff, 4, GR_ERROR_CORRUPT, "the vocabulary has");
    change("tokens", BODY + 16, 0xffffffff, 4, GR_ERROR_CORRUPT, "token -1");
    change("logits", BODY, 0, 8, GR_ERROR_CORRUPT, "logits behind token 0");
    change("logits", BODY, 1000, 8, GR_ERROR_CORRUPT, "logits behind token 1000");
    change("logits", BODY, 1, 8, GR_ERROR_CORRUPT, "no logits behind the last");
    change("turns", BODY + 8 + 10, 9, 8, GR_ERROR_CORRUPT, "turns are encoded");
    change("cache", BODY, GR_DTYPE_Q4_K, 4, GR_ERROR_CORRUPT, "numbers of type");
    change("cache", BODY, GR_DTYPE_F32, 4, GR_ERROR_CORRUPT, "bytes of keys and values");
    change("cache", BODY + 4, 1, 4, GR_ERROR_INCOMPATIBLE, "1 layers");
    change("cache", BODY + 8, 1000, 8, GR_ERROR_CORRUPT, "positions of");
    change("cache", BODY + 16, 9, 4, GR_ERROR_INCOMPATIBLE, "window of 9");
    change("cache", BODY + 20, 9, 4, GR_ERROR_INCOMPATIBLE, "9 heads");
    change("cache", BODY + 32, 15, 8, GR_ERROR_CORRUPT, "layer 0 begins at position 15");
    change("cache", BODY + 32, UINT64_MAX, 8, GR_ERROR_CORRUPT, "layer 0 begins at");
    change("cache", BODY + 32, 0, 8, GR_ERROR_CORRUPT, "layers of one window begin");
    change("request", BODY, 16, 4, GR_ERROR_CORRUPT, "flags 0x10");
    change("request", BODY + 16, 10000, 8, GR_ERROR_CORRUPT, "a prompt of 10000");
    change("request", BODY + 16, 5, 8, GR_ERROR_CORRUPT, "a prompt of 5"); // the log has more behind it
    change("request", answer_at(), 1, 4, GR_ERROR_CORRUPT, "an answer of"); // of another token than the log
    change("request", BODY + 24, 10000, 8, GR_ERROR_CORRUPT, "10000 bytes handed out");
    change("request", BODY + 40, 'z', 1, GR_ERROR_CORRUPT, "no sampler is called 'zirostat'");
    change("request", BODY + 40, 0, 1, GR_ERROR_CORRUPT, "a NUL inside");
}

// Random damage under a checksum that is right: refused with a reason, or a session that can be used.
static void sealed_damage_never_crashes(void **state) {
    (void)state;
    uint64_t random = seed(), accepted = 0;
    memory_file m = make_file(good.data, good.size);
    for (size_t i = 0; i < 4000; i++) {
        gr_strbuf bytes = copy_of(&good);
        for (uint64_t flips = 1 + next(&random) % 4; flips; flips--) {
            size_t limit = next(&random) % 4 ? 1200 : bytes.size; // fields lie in front
            bytes.data[next(&random) % limit] ^= (char)(1 << next(&random) % 8);
        }
        snapshot_seal((uint8_t *)bytes.data, bytes.size);
        refill(&m, bytes.data, bytes.size);
        accepted += try(m.path) == GR_OK;
        gr_strbuf_deinit(&bytes);
    }
    print_message("%llu of 4000 accepted\n", (unsigned long long)accepted);
    assert_true(accepted > 100 && accepted < 3900); // both ways were gone
    close(m.file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(blocks_that_nobody_knows),
        cmocka_unit_test(fields_that_deceive),
        cmocka_unit_test(sealed_damage_never_crashes),
    };
    return cmocka_run_group_tests(tests, make_snapshot, drop_snapshot);
}
