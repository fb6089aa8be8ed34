// SPDX-License-Identifier: Apache-2.0
// Split files: parts are found by name, checked against each other, and opened through any of them.
#include "model_test.h"

#include <sys/stat.h>

enum { PARTS = 3 };

static void add_split(gguf_writer *writer, uint32_t no, uint32_t count, uint32_t tensors) {
    gguf_meta_number(writer, "split.no", GGUF_U16, no);
    gguf_meta_number(writer, "split.count", GGUF_U16, count);
    gguf_meta_number(writer, "split.tensors.count", GGUF_I32, tensors);
}

// Three parts with one tensor each ("t0", "t1", "t2"); `change` may spoil the writer of a part.
static void write_parts(char folder[64], void (*change)(gguf_writer *writer, uint32_t no)) {
    strcpy(folder, "/tmp/gregale-split-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (uint32_t no = 0; no < PARTS; no++) {
        gguf_writer writer;
        char path[128], name[] = "t0";
        int64_t dims[1] = {4};
        float numbers[4] = {(float)no, 1, 2, 3};
        gguf_writer_init(&writer);
        name[1] = (char)('0' + no);
        if (no == 0)
            gguf_meta_string(&writer, "general.name", "parted");
        add_split(&writer, no, PARTS, PARTS);
        gguf_tensor(&writer, name, GR_DTYPE_F32, 1, dims, numbers);
        if (change)
            change(&writer, no);
        snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", folder, no + 1, PARTS);
        assert_true(gguf_writer_save(&writer, path));
        gguf_writer_deinit(&writer);
    }
}

static void remove_parts(const char *folder) {
    char path[128];
    for (uint32_t no = 0; no < PARTS; no++) {
        snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", folder, no + 1, PARTS);
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static gr_status open_part(const char *folder, uint32_t no, gr_model_file **out_file,
                           gr_error *error) {
    char path[128];
    snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", folder, no, PARTS);
    gr_error_init(error);
    return gr_model_file_open(path, out_file, error);
}

static void test_any_part_opens_the_whole(void **state) {
    (void)state;
    char folder[64];
    gr_model_file *file;
    gr_error error;
    write_parts(folder, NULL);
    for (uint32_t part = 1; part <= PARTS; part++) {
        assert_int_equal(open_part(folder, part, &file, &error), GR_OK);
        assert_int_equal(gr_model_file_tensor_count(file), PARTS);
        assert_non_null(strstr(gr_model_file_path(file), "m-00001-of-00003.gguf"));
        assert_non_null(gr_model_file_meta(file, "general.name"));
        assert_true(*(const float *)gr_model_file_tensor(file, "t2")->data == 2.0f);
        assert_int_equal(gr_model_file_tensor(file, "t2")->part, 2);
        gr_model_file_close(file);
    }
    remove_parts(folder);
}

static void test_a_missing_part_is_named(void **state) {
    (void)state;
    char folder[64], path[128];
    gr_model_file *file;
    gr_error error;
    write_parts(folder, NULL);
    snprintf(path, sizeof path, "%s/m-00002-of-00003.gguf", folder);
    unlink(path);
    assert_int_equal(open_part(folder, 1, &file, &error), GR_ERROR_NOT_FOUND);
    assert_says(&error, "m-00002-of-00003.gguf: expected part 2 of 3");
    assert_null(file);
    snprintf(path, sizeof path, "%s/m-00001-of-00003.gguf", folder);
    unlink(path);
    assert_int_equal(open_part(folder, 3, &file, &error), GR_ERROR_NOT_FOUND);
    assert_says(&error, "m-00001-of-00003.gguf");
    remove_parts(folder);
}

static void wrong_number(gguf_writer *writer, uint32_t no) {
    if (no != 1)
        return;
    writer->meta.size = 0;
    writer->meta_count = 0;
    add_split(writer, 2, PARTS, PARTS);
}

static void wrong_total(gguf_writer *writer, uint32_t no) {
    int64_t dims[1] = {4};
    if (no == 2)
        gguf_tensor(writer, "extra", GR_DTYPE_F32, 1, dims, NULL);
}

static void same_tensor(gguf_writer *writer, uint32_t no) {
    (void)no;
    writer->tensors[0].name[1] = '0';
}

static void huge_count(gguf_writer *writer, uint32_t no) {
    (void)no;
    writer->meta.size = 0;
    writer->meta_count = 0;
    add_split(writer, 0, 65535, 3);
}

static void unlike_name(gguf_writer *writer, uint32_t no) {
    (void)no;
    writer->meta.size = 0;
    writer->meta_count = 0;
    add_split(writer, no, 4, 3);
}

static void broken_part(gguf_writer *writer, uint32_t no) {
    if (no == 1)
        writer->version = 9;
}

static void test_parts_that_disagree_are_refused(void **state) {
    (void)state;
    static const struct {
        void (*change)(gguf_writer *writer, uint32_t no);
        gr_status status;
        const char *says;
    } cases[] = {
        {wrong_number, GR_ERROR_CORRUPT,
         "m-00002-of-00003.gguf: at byte 0: expected split.no 1 of split.count 3, found 2"},
        {wrong_total, GR_ERROR_CORRUPT,
         "expected split.tensors.count 3 tensors in all parts, found 4"},
        {same_tensor, GR_ERROR_CORRUPT, "tensor 't0': expected once, found twice"},
        {huge_count, GR_ERROR_CORRUPT, "expected split.count from 1 to 200, found 65535"},
        {unlike_name, GR_ERROR_NOT_FOUND, "expected a name ending in -00001-of-00004.gguf"},
        {broken_part, GR_ERROR_UNSUPPORTED, "m-00002-of-00003.gguf: at byte 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char folder[64];
        gr_model_file *file;
        gr_error error;
        write_parts(folder, cases[i].change);
        assert_int_equal(open_part(folder, 1, &file, &error), cases[i].status);
        assert_says(&error, cases[i].says);
        assert_null(file);
        remove_parts(folder);
    }
}

static void test_a_part_under_another_name_is_refused(void **state) {
    (void)state;
    char folder[64], from[128], to[128];
    gr_model_file *file;
    gr_error error;
    write_parts(folder, NULL);
    snprintf(from, sizeof from, "%s/m-00002-of-00003.gguf", folder);
    snprintf(to, sizeof to, "%s/renamed.gguf", folder);
    assert_int_equal(rename(from, to), 0);
    gr_error_init(&error);
    assert_int_equal(gr_model_file_open(to, &file, &error), GR_ERROR_UNSUPPORTED);
    assert_says(&error, "expected part 1 of a split model, found part 2");
    unlink(to);
    remove_parts(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_part_opens_the_whole),
        cmocka_unit_test(test_a_missing_part_is_named),
        cmocka_unit_test(test_parts_that_disagree_are_refused),
        cmocka_unit_test(test_a_part_under_another_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
