// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/strbuf.h"
#include "base/trace.h"
#include "base/utf8.h"

static void test_checked_arithmetic_refuses_overflow(void **state) {
    (void)state;
    uint64_t out = 7;
    assert_false(gr_add_u64(UINT64_MAX, 1, &out));
    assert_false(gr_mul_u64(UINT64_MAX / 2, 3, &out));
    assert_int_equal(out, 7);
    assert_true(gr_range_fits(10, 0, 10));
    assert_false(gr_range_fits(10, 1, 10));
    assert_false(gr_range_fits(5, UINT64_MAX, 10));
}

static void test_arena_keeps_alignment_and_zeroes(void **state) {
    (void)state;
    gr_arena arena = {0};
    for (uint64_t size = 0; size < 9000; size += 37) {
        unsigned char *memory = gr_arena_alloc(&arena, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        for (uint64_t i = 0; i < size; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xAA, (size_t)size);
    }
    assert_null(gr_arena_alloc(&arena, UINT64_MAX));
    gr_arena_deinit(&arena);
}

// Digests of FIPS 180-4's examples, and of a million letters a.
static void test_sha256_known_answers(void **state) {
    (void)state;
    static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf}, million[4] = {0xcd, 0xc7, 0x6e, 0x5c};
    uint8_t digest[32];
    gr_sha256 hash;
    gr_sha256_init(&hash);
    gr_sha256_add(&hash, "abc", 3);
    gr_sha256_finish(&hash, digest);
    assert_memory_equal(digest, abc, 4);
    gr_sha256_init(&hash);
    for (int i = 0; i < 1000; i++) {
        char chunk[1000];
        memset(chunk, 'a', sizeof chunk);
        gr_sha256_add(&hash, chunk, sizeof chunk);
    }
    gr_sha256_finish(&hash, digest);
    assert_memory_equal(digest, million, 4);
}

static void test_utf8_follows_rfc_3629(void **state) {
    (void)state;
    uint32_t c;
    assert_int_equal(gr_utf8_decode("\xF0\x9F\x8C\xAC", 4, &c), 4);
    assert_int_equal(c, 0x1F32C);
    assert_int_equal(gr_utf8_decode("\xC0\x80", 2, &c), 0);         // overlong
    assert_int_equal(gr_utf8_decode("\xED\xA0\x80", 3, &c), 0);     // surrogate
    assert_int_equal(gr_utf8_decode("\xF4\x90\x80\x80", 4, &c), 0); // beyond U+10FFFF
    assert_int_equal(gr_utf8_decode("\xE2\x96", 2, &c), -1);        // cut off
    assert_int_equal(gr_utf8_valid("ab\xFFz", 4), 2);
    assert_int_equal(gr_utf8_complete("a\xE2\x96", 3), 1);
    for (uint32_t point = 0; point <= 0x110000; point += 77) {
        char bytes[4];
        int length = gr_utf8_encode(point, bytes);
        if (length) {
            assert_int_equal(gr_utf8_decode(bytes, (size_t)length, &c), length);
            assert_int_equal(c, point);
        }
    }
}

static void test_json_text_is_escaped(void **state) {
    (void)state;
    gr_strbuf text = {0};
    gr_strbuf_json(&text, (gr_str){"a\"\\\n\x01\xFF", 6});
    assert_string_equal(gr_strbuf_cstr(&text), "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBD\"");
    gr_strbuf_deinit(&text);
}

static void test_a_truncated_mapping_reads_zeros_and_says_so(void **state) {
    (void)state;
    char path[] = "/tmp/gregale-mapping-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, 3 * 65536), 0);
    gr_mapping mapping;
    assert_int_equal(gr_mapping_open(path, &mapping, NULL), GR_OK);
    assert_int_equal(ftruncate(file, 10), 0);
    assert_int_equal(((volatile const uint8_t *)mapping.data)[2 * 65536], 0);
    assert_true(gr_mapping_lost(&mapping));
    gr_mapping_close(&mapping);
    close(file);
    unlink(path);
}

#ifdef __linux__
// Kilobytes of files that this process has in memory, those of a tmpfs too; -1: the system does not say.
static long resident_files(void) {
    char line[200];
    long file = -1, shared = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        (void)(sscanf(line, "RssFile: %ld", &file) || sscanf(line, "RssShmem: %ld", &shared));
    if (status)
        fclose(status);
    return file < 0 ? -1 : file + shared;
}

// What nobody reads any more leaves this process's memory; it can be read again all the same.
static void test_a_part_that_is_done_takes_no_memory(void **state) {
    enum { PART = 64 << 20, ALL = 2 * PART };
    (void)state;
    char path[] = "/tmp/gregale-mapping-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, ALL), 0);
    gr_mapping mapping;
    assert_int_equal(gr_mapping_open(path, &mapping, NULL), GR_OK);
    const volatile uint8_t *bytes = mapping.data;
    const long before = resident_files();
    if (before < 0)
        skip();
    for (size_t i = 0; i < ALL; i += 4096)
        assert_int_equal(bytes[i], 0);
    const long touched = resident_files();
    gr_mapping_done((const uint8_t *)mapping.data + 100, PART);
    const long done = resident_files();
    assert_true(touched - before >= (ALL >> 10) * 9 / 10);
    assert_in_range(touched - done, (PART >> 10) * 9 / 10, (PART >> 10) * 11 / 10);
    assert_int_equal(bytes[PART / 2], 0);
    gr_mapping_close(&mapping);
    close(file);
    unlink(path);
}
#endif

static void test_files_that_cannot_be_mapped_are_named(void **state) {
    (void)state;
    gr_mapping mapping;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_mapping_open("/nonexistent/model", &mapping, &error), GR_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "/nonexistent/model"));
    assert_int_equal(gr_mapping_open("/tmp", &mapping, &error), GR_ERROR_IO);
    assert_non_null(strstr(error.message, "directory"));
}

static void test_a_file_is_replaced_whole_or_not_at_all(void **state) {
    (void)state;
    char path[] = "/tmp/gregale-write-XXXXXX";
    close(mkstemp(path));
    gr_strbuf text = {0};
    assert_int_equal(gr_file_write(path, "new", 3, NULL), GR_OK);
    assert_int_equal(gr_file_read(path, 100, &text, NULL), GR_OK);
    assert_string_equal(gr_strbuf_cstr(&text), "new");
    assert_int_equal(gr_file_read(path, 2, &text, NULL), GR_ERROR_OUT_OF_RANGE);
    gr_error error;
    assert_int_not_equal(gr_file_write("/nonexistent/folder/file", "x", 1, &error), GR_OK);
    gr_strbuf_deinit(&text);
    unlink(path);
}

static void count_event(void *context, const char *category, const char *op_name, const gr_trace_event *event) {
    assert_string_equal(category, "cpu");
    assert_string_equal(op_name, "MATMUL");
    assert_string_equal(event->implementation, "x");
    ++*(int *)context;
}

static void test_a_trace_keeps_what_it_was_given(void **state) {
    (void)state;
    gr_trace *trace;
    int seen = 0;
    char implementation[] = "x";
    assert_int_equal(gr_trace_create(&trace, NULL), GR_OK);
    gr_trace_event event = {.struct_size = sizeof event, .implementation = implementation};
    for (int i = 0; i < 3000; i++)
        gr_trace_add(trace, "cpu", "MATMUL", &event);
    implementation[0] = 'y';
    gr_trace_visit(trace, count_event, &seen);
    assert_int_equal(seen, 3000);
    gr_trace_destroy(trace);
}

static void test_sizes_are_read_as_people_write_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes; // 0: refused
    } cases[] = {{"1", 1},           {"4096", 4096},       {"512M", UINT64_C(512) << 20}, {"512m", UINT64_C(512) << 20},
                 {"64KiB", 65536},   {"64kb", 65536},      {"1.5G", UINT64_C(3) << 29},   {"2T", UINT64_C(1) << 41},
                 {"12B", 12},        {"0", 0},             {"", 0},                       {"M", 0},
                 {"-1M", 0},         {" 1M", 0},           {"1 M", 0},                    {"1X", 0},
                 {"1MM", 0},         {"1Mi", 0},           {"0x10", 0},                   {"1e3", 0},
                 {"inf", 0},         {"99999999T", 0},     {"0.0001K", 0},                {"1M,", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t bytes = 0;
        bool read = gr_bytes_parse(cases[i].text, &bytes);
        if (read != (cases[i].bytes != 0) || bytes != cases[i].bytes)
            fail_msg("'%s': %llu bytes", cases[i].text, (unsigned long long)bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checked_arithmetic_refuses_overflow),
        cmocka_unit_test(test_arena_keeps_alignment_and_zeroes),
        cmocka_unit_test(test_sha256_known_answers),
        cmocka_unit_test(test_utf8_follows_rfc_3629),
        cmocka_unit_test(test_json_text_is_escaped),
        cmocka_unit_test(test_a_truncated_mapping_reads_zeros_and_says_so),
#ifdef __linux__
        cmocka_unit_test(test_a_part_that_is_done_takes_no_memory),
#endif
        cmocka_unit_test(test_files_that_cannot_be_mapped_are_named),
        cmocka_unit_test(test_a_file_is_replaced_whole_or_not_at_all),
        cmocka_unit_test(test_a_trace_keeps_what_it_was_given),
        cmocka_unit_test(test_sizes_are_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
