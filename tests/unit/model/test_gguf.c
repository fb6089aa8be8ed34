// SPDX-License-Identifier: Apache-2.0
// Good GGUF files read back as written; each way of lying is refused by one line that says where.
#include "model_test.h"

static void open_good(const gguf_writer *writer, gr_model_file **out_file) {
    gr_error error;
    if (open_writer(writer, out_file, &error) != GR_OK)
        fail_msg("%s", error.message);
}

static void add_one_tensor(gguf_writer *writer) {
    static const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const int64_t dims[2] = {2, 4};
    gguf_tensor(writer, "a", GR_DTYPE_F32, 2, dims, numbers);
}

static void test_every_type_reads_back(void **state) {
    (void)state;
    gguf_writer writer;
    gr_model_file *file;
    const int16_t shorts[3] = {-2, 0, 7};
    const float floats[2] = {0.5f, -1.5f};
    const uint8_t bools[2] = {0, 1};
    const char *const strings[3] = {"a", "", "long enough"};
    gguf_writer_init(&writer);
    gguf_meta_number(&writer, "u8", GGUF_U8, 255);
    gguf_meta_number(&writer, "i8", GGUF_I8, (uint8_t)-3);
    gguf_meta_number(&writer, "i32", GGUF_I32, (uint32_t)-70000);
    gguf_meta_number(&writer, "u64", GGUF_U64, UINT64_MAX);
    gguf_meta_number(&writer, "i64", GGUF_I64, (uint64_t)INT64_MIN);
    gguf_meta_f32(&writer, "f32", 0.25f);
    gguf_meta_number(&writer, "f64", GGUF_F64, UINT64_C(0x3ff8000000000000)); // 1.5
    gguf_meta_bool(&writer, "bool", true);
    gguf_meta_string(&writer, "string", "words");
    gguf_meta_array(&writer, "shorts", GGUF_I16, 3, shorts, 2);
    gguf_meta_array(&writer, "floats", GGUF_F32, 2, floats, 4);
    gguf_meta_array(&writer, "bools", GGUF_BOOL, 2, bools, 1);
    gguf_meta_array(&writer, "none", GGUF_U32, 0, NULL, 4);
    gguf_meta_strings(&writer, "strings", 3, strings);
    add_one_tensor(&writer);
    open_good(&writer, &file);

    uint32_t u32 = 1;
    double f64;
    bool boolean = false;
    gr_str text;
    assert_string_equal(gr_model_file_format(file), "GGUF v3");
    assert_int_equal(gr_model_file_meta_count(file), 14);
    assert_true(gr_meta_get_u32(file, "u8", &u32) && u32 == 255);
    assert_false(gr_meta_get_u32(file, "i8", &u32));
    assert_false(gr_meta_get_u32(file, "u64", &u32));
    assert_false(gr_meta_get_u32(file, "absent", &u32));
    assert_int_equal(u32, 255);
    assert_int_equal(gr_model_file_meta(file, "i8")->value.i64, -3);
    assert_int_equal(gr_model_file_meta(file, "i32")->value.i64, -70000);
    assert_true(gr_model_file_meta(file, "i64")->value.i64 == INT64_MIN);
    assert_true(gr_meta_get_f64(file, "f32", &f64) && f64 == 0.25);
    assert_true(gr_meta_get_f64(file, "f64", &f64) && f64 == 1.5);
    assert_true(gr_meta_get_f64(file, "i32", &f64) && f64 == -70000);
    assert_true(gr_meta_get_bool(file, "bool", &boolean) && boolean);
    assert_false(gr_meta_get_bool(file, "f32", &boolean));
    assert_true(gr_meta_get_string(file, "string", &text) && text.size == 5);
    assert_memory_equal(text.data, "words", 5);

    const gr_meta *array = gr_model_file_meta(file, "shorts");
    assert_int_equal(gr_meta_array_i64(array, 0), -2);
    assert_int_equal(gr_meta_array_i64(array, 2), 7);
    assert_int_equal(gr_meta_array_i64(array, 3), 0);
    assert_true(gr_meta_array_f64(array, 0) == -2.0);
    assert_true(gr_meta_array_f64(gr_model_file_meta(file, "floats"), 1) == -1.5);
    assert_int_equal(gr_meta_array_i64(gr_model_file_meta(file, "floats"), 1), 0);
    assert_int_equal(gr_meta_array_i64(gr_model_file_meta(file, "bools"), 1), 1);
    assert_int_equal(gr_model_file_meta(file, "none")->value.array.count, 0);
    assert_int_equal(gr_meta_array_string(gr_model_file_meta(file, "strings"), 2).size, 11);
    assert_int_equal(gr_meta_array_string(gr_model_file_meta(file, "strings"), 3).size, 0);
    assert_int_equal(gr_meta_array_string(array, 0).size, 0);

    const gr_tensor_info *tensor = gr_model_file_tensor(file, "a");
    assert_non_null(tensor);
    assert_int_equal(tensor->dims[0], 2);
    assert_int_equal(tensor->dims[1], 4);
    assert_int_equal(tensor->bytes, 32);
    assert_true(((const float *)tensor->data)[7] == 8.0f);
    assert_null(gr_model_file_tensor(file, "A"));
    assert_null(gr_model_file_tensor(file, ""));
    assert_null(gr_model_file_tensor_at(file, 1));
    gr_model_file_close(file);
    gguf_writer_deinit(&writer);
}

static void test_version_2_and_other_alignments(void **state) {
    (void)state;
    for (uint32_t alignment = 8; alignment <= 4096; alignment *= 8) {
        gguf_writer writer;
        gr_model_file *file;
        gguf_writer_init(&writer);
        writer.version = 2;
        writer.alignment = alignment;
        gguf_meta_u32(&writer, "general.alignment", alignment);
        add_one_tensor(&writer);
        add_one_tensor(&writer);
        writer.tensors[1].name[0] = 'b';
        open_good(&writer, &file);
        assert_string_equal(gr_model_file_format(file), "GGUF v2");
        assert_int_equal(gr_model_file_tensor(file, "b")->offset % alignment, 0);
        assert_true(((const float *)gr_model_file_tensor(file, "b")->data)[0] == 1.0f);
        gr_model_file_close(file);
        gguf_writer_deinit(&writer);
    }
}

// ---- Hostile files. Each function makes a good writer lie. ----

static void lie_version(gguf_writer *w) {
    w->version = 7;
}
static void lie_version_1(gguf_writer *w) {
    w->version = 1;
}
static void lie_big_endian(gguf_writer *w) {
    w->version = 0x03000000;
}
static void lie_meta_count(gguf_writer *w) {
    w->stated_meta_count = UINT64_MAX / 2;
}
static void lie_meta_count_by_one(gguf_writer *w) {
    w->stated_meta_count = w->meta_count + 1;
}
static void lie_tensor_count(gguf_writer *w) {
    w->stated_tensor_count = UINT64_C(1) << 61;
}
static void lie_key_nul(gguf_writer *w) {
    gguf_meta_raw(w, "a\0b", 3, GGUF_U8, "\1", 1);
}
static void lie_key_empty(gguf_writer *w) {
    gguf_meta_raw(w, "", 0, GGUF_U8, "\1", 1);
}
static void lie_key_escape(gguf_writer *w) {
    gguf_meta_raw(w, "a\033[2J", 5, GGUF_U8, "\1", 1);
}
static void lie_key_twice(gguf_writer *w) {
    gguf_meta_u32(w, "same", 1);
    gguf_meta_u32(w, "same", 2);
}
static void lie_value_type(gguf_writer *w) {
    gguf_meta_raw(w, "k", 1, 13, "\1", 1);
}
static void lie_bool(gguf_writer *w) {
    gguf_meta_raw(w, "k", 1, GGUF_BOOL, "\2", 1);
}
static void lie_string_nul(gguf_writer *w) {
    gguf_meta_raw(w, "k", 1, GGUF_STRING, "\3\0\0\0\0\0\0\0a\0b", 11);
}
static void lie_string_length(gguf_writer *w) {
    gguf_meta_raw(w, "k", 1, GGUF_STRING, "\377\377\377\377\377\377\377\377a", 9);
}
static void lie_array_type(gguf_writer *w) {
    gguf_meta_array(w, "k", 99, 1, "\1", 1);
}
static void lie_array_nested(gguf_writer *w) {
    gguf_meta_array(w, "k", GGUF_ARRAY, 1, "\4\0\0\0\0\0\0\0\0\0\0\0", 12);
}
static void lie_array_count(gguf_writer *w) {
    gguf_meta_array(w, "k", GGUF_U64, UINT64_MAX / 4, NULL, 0);
}
static void lie_array_count_wraps(gguf_writer *w) {
    gguf_meta_array(w, "k", GGUF_U64, UINT64_C(1) << 61, NULL, 0);
}
static void lie_strings_count(gguf_writer *w) {
    gguf_meta_array(w, "k", GGUF_STRING, UINT64_C(1) << 40, NULL, 0);
}
static void lie_alignment_zero(gguf_writer *w) {
    gguf_meta_u32(w, "general.alignment", 0);
}
static void lie_alignment_odd(gguf_writer *w) {
    gguf_meta_u32(w, "general.alignment", 48);
}
static void lie_alignment_huge(gguf_writer *w) {
    gguf_meta_number(w, "general.alignment", GGUF_U64, UINT64_C(1) << 63);
}
static void lie_alignment_text(gguf_writer *w) {
    gguf_meta_string(w, "general.alignment", "32");
}
static void lie_rank_zero(gguf_writer *w) {
    w->tensors[0].rank = 0;
}
static void lie_rank_five(gguf_writer *w) {
    w->tensors[0].rank = 5;
    w->tensors[0].dims[2] = w->tensors[0].dims[3] = w->tensors[0].dims[4] = 1;
}
static void lie_rank_huge(gguf_writer *w) {
    w->tensors[0].rank = UINT32_MAX;
}
static void lie_dim_zero(gguf_writer *w) {
    w->tensors[0].dims[0] = 0;
}
static void lie_dim_negative(gguf_writer *w) {
    w->tensors[0].dims[1] = UINT64_MAX;
}
static void lie_dims_wrap(gguf_writer *w) {
    w->tensors[0].dims[0] = w->tensors[0].dims[1] = UINT64_C(1) << 32;
}
static void lie_dims_wrap_to_zero(gguf_writer *w) {
    w->tensors[0].dims[0] = w->tensors[0].dims[1] = UINT64_C(1) << 62;
}
static void lie_dims_beyond(gguf_writer *w) {
    w->tensors[0].dims[1] = 1000;
}
static void lie_dtype(gguf_writer *w) {
    w->tensors[0].type = 200;
}
static void lie_dtype_hole(gguf_writer *w) {
    w->tensors[0].type = 4;
} // Q4_2, removed from the format
static void lie_row(gguf_writer *w) {
    w->tensors[0].type = GR_DTYPE_Q4_0;
}
static void lie_offset_unaligned(gguf_writer *w) {
    w->tensors[0].offset = 4;
}
static void lie_offset_beyond(gguf_writer *w) {
    w->tensors[0].offset = 1 << 20;
}
static void lie_offset_wraps(gguf_writer *w) {
    w->tensors[0].offset = UINT64_MAX - 31;
}
static void lie_overlap(gguf_writer *w) {
    add_one_tensor(w);
    w->tensors[1].name[0] = 'b';
    w->tensors[1].offset = 0;
}
static void lie_overlap_partly(gguf_writer *w) {
    static const int64_t dims[1] = {24};
    add_one_tensor(w);
    gguf_tensor(w, "c", GR_DTYPE_F32, 1, dims, NULL); // 96 bytes, at 64
    w->tensors[1].name[0] = 'b';
    w->tensors[1].offset = 96;
}
static void lie_tensor_twice(gguf_writer *w) {
    add_one_tensor(w);
}
static void lie_tensor_nul(gguf_writer *w) {
    memcpy(w->tensors[0].name, "a\0b", 3);
    w->tensors[0].name_size = 3;
}
static void lie_tensor_empty(gguf_writer *w) {
    w->tensors[0].name_size = 0;
}
static void lie_tensor_long(gguf_writer *w) {
    memset(w->tensors[0].name, 'a', 299);
    w->tensors[0].name_size = 299;
}

static const struct {
    const char *what;
    void (*lie)(gguf_writer *writer);
    gr_status status;
    const char *says;
} lies[] = {
    {"version", lie_version, GR_ERROR_UNSUPPORTED,
     "at byte 4: expected GGUF version 2 or 3, found 7"},
    {"version 1", lie_version_1, GR_ERROR_UNSUPPORTED, "found 1"},
    {"big-endian", lie_big_endian, GR_ERROR_UNSUPPORTED, "found a big-endian one (version 3)"},
    {"metadata count", lie_meta_count, GR_ERROR_CORRUPT,
     "at byte 16: expected a count of metadata entries"},
    {"one entry more", lie_meta_count_by_one, GR_ERROR_CORRUPT, "at byte"},
    {"tensor count", lie_tensor_count, GR_ERROR_CORRUPT, "at byte 8: expected a count of tensors"},
    {"key with NUL", lie_key_nul, GR_ERROR_CORRUPT,
     "at byte 33: expected a metadata key without NUL"},
    {"empty key", lie_key_empty, GR_ERROR_CORRUPT, "expected a metadata key, found an empty one"},
    {"key with escape", lie_key_escape, GR_ERROR_CORRUPT, "printable ASCII, found byte 0x1b"},
    {"key twice", lie_key_twice, GR_ERROR_CORRUPT,
     "metadata key 'same': expected once, found twice"},
    {"value type", lie_value_type, GR_ERROR_CORRUPT,
     "expected a value type below 13 for k, found 13"},
    {"boolean", lie_bool, GR_ERROR_CORRUPT, "expected a boolean of 0 or 1, found 2"},
    {"string with NUL", lie_string_nul, GR_ERROR_CORRUPT, "expected a string without NUL"},
    {"string length", lie_string_length, GR_ERROR_CORRUPT,
     "expected 18446744073709551615 bytes of a string"},
    {"array type", lie_array_type, GR_ERROR_CORRUPT, "expected an element type below 13, found 99"},
    {"nested array", lie_array_nested, GR_ERROR_UNSUPPORTED, "found nested arrays"},
    {"array count", lie_array_count, GR_ERROR_CORRUPT, "expected a count of array elements"},
    {"array count wraps", lie_array_count_wraps, GR_ERROR_CORRUPT,
     "expected a count of array elements"},
    {"strings count", lie_strings_count, GR_ERROR_CORRUPT, "expected a count of array elements"},
    {"alignment 0", lie_alignment_zero, GR_ERROR_CORRUPT, "power of two from 8, found 0"},
    {"alignment 48", lie_alignment_odd, GR_ERROR_CORRUPT, "power of two from 8, found 48"},
    {"alignment 2^63", lie_alignment_huge, GR_ERROR_CORRUPT, "power of two from 8"},
    {"alignment text", lie_alignment_text, GR_ERROR_CORRUPT,
     "unsigned number for general.alignment"},
    {"rank 0", lie_rank_zero, GR_ERROR_CORRUPT, "tensor 'a': expected a rank of 1 to 4, found 0"},
    {"rank 5", lie_rank_five, GR_ERROR_CORRUPT, "tensor 'a': expected a rank of 1 to 4, found 5"},
    {"rank 2^32-1", lie_rank_huge, GR_ERROR_CORRUPT, "expected a rank of 1 to 4"},
    {"dim 0", lie_dim_zero, GR_ERROR_CORRUPT,
     "tensor 'a': expected a dimension of at least 1, found 0"},
    {"dim -1", lie_dim_negative, GR_ERROR_CORRUPT, "expected a dimension of at least 1, found -1"},
    {"dims wrap", lie_dims_wrap, GR_ERROR_CORRUPT, "expected a size below 2^63"},
    {"dims wrap to 0", lie_dims_wrap_to_zero, GR_ERROR_CORRUPT, "expected a size below 2^63"},
    {"dims beyond the file", lie_dims_beyond, GR_ERROR_CORRUPT,
     "tensor 'a': expected 16000 bytes at offset 0"},
    {"dtype", lie_dtype, GR_ERROR_UNSUPPORTED, "element type this build knows, found type 200"},
    {"removed dtype", lie_dtype_hole, GR_ERROR_UNSUPPORTED, "found type 4"},
    {"row", lie_row, GR_ERROR_CORRUPT, "expected rows in blocks of 32 (Q4_0), found rows of 4"},
    {"offset unaligned", lie_offset_unaligned, GR_ERROR_CORRUPT, "multiple of 32, found 4"},
    {"offset beyond", lie_offset_beyond, GR_ERROR_CORRUPT, "at offset 1048576 of the data"},
    {"offset wraps", lie_offset_wraps, GR_ERROR_CORRUPT, "of the data, found 32 bytes"},
    {"overlap", lie_overlap, GR_ERROR_CORRUPT, "expected bytes of its own, found an overlap with"},
    {"partial overlap", lie_overlap_partly, GR_ERROR_CORRUPT, "tensor 'b' at byte"},
    {"tensor twice", lie_tensor_twice, GR_ERROR_CORRUPT, "tensor 'a': expected once, found twice"},
    {"tensor name with NUL", lie_tensor_nul, GR_ERROR_CORRUPT,
     "expected a tensor name without NUL"},
    {"empty tensor name", lie_tensor_empty, GR_ERROR_CORRUPT,
     "expected a tensor name, found an empty one"},
    {"long tensor name", lie_tensor_long, GR_ERROR_CORRUPT, "a tensor name of at most 255 bytes"},
};

static void test_lies_are_refused_by_name_and_place(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        gguf_writer writer;
        gr_model_file *file = (gr_model_file *)&writer;
        gr_error error;
        gguf_writer_init(&writer);
        add_one_tensor(&writer);
        lies[i].lie(&writer);
        gr_status status = open_writer(&writer, &file, &error);
        if (status != lies[i].status)
            fail_msg("%s: expected %s, found %s: %s", lies[i].what, gr_status_name(lies[i].status),
                     gr_status_name(status), error.message);
        assert_null(file);
        assert_says(&error, lies[i].says);
        assert_says(&error, "/tmp/gregale-model-");
        gguf_writer_deinit(&writer);
    }
}

static void test_truncated_anywhere_is_refused(void **state) {
    (void)state;
    gguf_writer writer;
    gguf_tiny tiny = {.layers = 1, .dim = 8, .ffn_dim = 8, .heads = 2, .kv_heads = 1, .vocab = 4};
    const char *const strings[3] = {"one", "two", "three"};
    size_t size;
    gr_error error;
    gr_model_file *file;
    gguf_writer_init(&writer);
    gguf_meta_strings(&writer, "tokenizer.ggml.tokens", 3, strings);
    gguf_writer_tiny(&writer, &tiny);
    uint8_t *bytes = gguf_writer_bytes(&writer, &size);
    for (size_t length = 1; length < size; length++) {
        gr_status status = open_bytes(bytes, length, &file, &error);
        if (status == GR_OK || !error.message[0])
            fail_msg("%zu of %zu bytes were accepted, or refused without a word", length, size);
    }
    assert_int_equal(open_bytes(bytes, size, &file, &error), GR_OK);
    gr_model_file_close(file);
    free(bytes);
    gguf_writer_deinit(&writer);
}

// Every byte of the head turned into each of a few nasty values: refused or read, never a crash.
static void test_corrupted_head_never_crashes(void **state) {
    (void)state;
    static const uint8_t nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    gguf_writer writer;
    gguf_tiny tiny = {.layers = 1, .dim = 8, .ffn_dim = 8, .heads = 2, .kv_heads = 1, .vocab = 4};
    size_t size, refused = 0;
    gguf_writer_init(&writer);
    gguf_writer_tiny(&writer, &tiny);
    uint8_t *bytes = gguf_writer_bytes(&writer, &size);
    size_t head = size < 1200 ? size : 1200;
    for (size_t i = 0; i < head; i++)
        for (size_t n = 0; n < sizeof nasty; n++) {
            gr_error error;
            gr_model_file *file;
            uint8_t kept = bytes[i];
            bytes[i] = nasty[n];
            gr_status status = open_bytes(bytes, size, &file, &error);
            refused += status != GR_OK;
            assert_true(status == GR_OK || error.message[0]);
            gr_model_file_close(file);
            bytes[i] = kept;
        }
    assert_true(refused > head);
    free(bytes);
    gguf_writer_deinit(&writer);
}

static void test_what_is_no_model_is_refused(void **state) {
    (void)state;
    gr_model_file *file;
    gr_error error;
    assert_int_equal(open_bytes("hello, world", 12, &file, &error), GR_ERROR_UNSUPPORTED);
    assert_says(&error, "at byte 0: expected a model file (GGUF), found bytes 68 65 6c 6c");
    assert_int_equal(open_bytes("GGU", 3, &file, &error), GR_ERROR_UNSUPPORTED);
    assert_int_equal(open_bytes("GGUF", 4, &file, &error), GR_ERROR_CORRUPT);
    assert_says(&error, "at byte 4: expected 4 bytes of the version");
    assert_int_equal(gr_model_file_open("/nonexistent.gguf", &file, &error), GR_ERROR_NOT_FOUND);
    assert_says(&error, "/nonexistent.gguf");
    assert_int_equal(gr_model_file_open("/tmp", &file, &error), GR_ERROR_IO);
    assert_int_equal(gr_model_file_open("/dev/null", &file, &error), GR_ERROR_IO);
    assert_null(file);
    assert_int_equal(gr_model_file_open("/nonexistent.gguf", &file, NULL), GR_ERROR_NOT_FOUND);
}

static void fingerprint(const gguf_writer *writer, uint8_t out_fingerprint[16]) {
    gr_model_file *file;
    open_good(writer, &file);
    gr_model_file_fingerprint(file, out_fingerprint);
    gr_model_file_close(file);
}

static void test_fingerprint_follows_the_content(void **state) {
    (void)state;
    uint8_t first[16], second[16];
    gguf_writer writer;
    gguf_writer_init(&writer);
    gguf_meta_string(&writer, "general.name", "one");
    add_one_tensor(&writer);
    fingerprint(&writer, first);
    fingerprint(&writer, second);
    assert_memory_equal(first, second, 16);
    ((float *)writer.tensors[0].data)[3] = 9;
    fingerprint(&writer, second);
    assert_memory_not_equal(first, second, 16);
    ((float *)writer.tensors[0].data)[3] = 4;
    gguf_meta_u32(&writer, "more", 1);
    fingerprint(&writer, second);
    assert_memory_not_equal(first, second, 16);
    gguf_writer_deinit(&writer);
}

// A file cut short on disk while it is open reads as zeros and says so; it kills nobody.
static void test_a_file_cut_short_while_open_is_noticed(void **state) {
    (void)state;
    static const int64_t dims[1] = {1 << 20};
    char path[64];
    gguf_writer writer;
    gr_model_file *file;
    gr_error error;
    gguf_writer_init(&writer);
    gguf_tensor(&writer, "big", GR_DTYPE_F32, 1, dims, NULL);
    save_temporary(&writer, path);
    assert_int_equal(gr_model_file_open(path, &file, &error), GR_OK);
    assert_false(gr_model_file_lost(file));
    assert_int_equal(truncate(path, 4096), 0);
    const volatile float *numbers = gr_model_file_tensor(file, "big")->data;
    assert_true(numbers[(1 << 20) - 1] == 0.0f);
    assert_true(gr_model_file_lost(file));
    gr_model_file_close(file);
    unlink(path);
    gguf_writer_deinit(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        // First: cmocka takes SIGBUS at each test's start, and the guard is installed only once.
        cmocka_unit_test(test_a_file_cut_short_while_open_is_noticed),
        cmocka_unit_test(test_every_type_reads_back),
        cmocka_unit_test(test_version_2_and_other_alignments),
        cmocka_unit_test(test_lies_are_refused_by_name_and_place),
        cmocka_unit_test(test_truncated_anywhere_is_refused),
        cmocka_unit_test(test_corrupted_head_never_crashes),
        cmocka_unit_test(test_what_is_no_model_is_refused),
        cmocka_unit_test(test_fingerprint_follows_the_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
