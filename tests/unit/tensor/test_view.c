// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "tensor/view.h"

static void dense_views_have_row_major_strides(void **state) {
    (void)state;
    float data[24];
    for (int i = 0; i < 24; i++)
        data[i] = (float)i;
    gr_tensor_view cube, matrix, row;
    assert_int_equal(
        gr_tensor_view_init(&cube, data, sizeof data, GR_DTYPE_F32, 3, (uint64_t[]){2, 3, 4}, NULL),
        GR_OK);
    assert_int_equal(cube.strides[0], 48);
    assert_int_equal(cube.strides[1], 16);
    assert_int_equal(cube.strides[2], 4);
    assert_int_equal(gr_tensor_view_count(&cube), 24);
    assert_int_equal(gr_tensor_view_at(&cube, 1, &matrix, NULL), GR_OK);
    assert_int_equal(gr_tensor_view_at(&matrix, 2, &row, NULL), GR_OK);
    float values[4];
    assert_int_equal(gr_tensor_view_read_row(&row, values, NULL), GR_OK);
    for (int i = 0; i < 4; i++)
        assert_true(values[i] == (float)(20 + i));
    assert_int_equal(gr_tensor_view_at(&cube, 2, &matrix, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(matrix.rank, 0); // an output is empty after a failure
    assert_int_equal(gr_tensor_view_at(&row, 0, &matrix, NULL), GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_tensor_view_at(&cube, 1, &cube, NULL), GR_OK); // in place
    assert_int_equal(cube.rank, 2);
}

static void slices_stay_inside(void **state) {
    (void)state;
    int32_t data[10] = {0};
    gr_tensor_view all, part;
    assert_int_equal(
        gr_tensor_view_init(&all, data, sizeof data, GR_DTYPE_I32, 1, (uint64_t[]){10}, NULL),
        GR_OK);
    assert_int_equal(gr_tensor_view_slice(&all, 3, 7, &part, NULL), GR_OK);
    assert_ptr_equal(part.data, data + 3);
    assert_int_equal(part.dims[0], 7);
    assert_int_equal(gr_tensor_view_slice(&all, 10, 0, &part, NULL), GR_OK);
    assert_int_equal(gr_tensor_view_count(&part), 0);
    assert_int_equal(gr_tensor_view_slice(&all, 4, 7, &part, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_tensor_view_slice(&all, UINT64_MAX, 2, &part, NULL), GR_ERROR_OUT_OF_RANGE);
    assert_int_equal(gr_tensor_view_read_row(&all, (float[10]){0}, NULL), GR_ERROR_UNSUPPORTED);
}

static void hostile_shapes_are_refused(void **state) {
    (void)state;
    char data[64] = {0};
    gr_tensor_view view;
    gr_error error;
    gr_error_init(&error);
    const uint64_t big = UINT64_MAX / 2;
    assert_int_equal(
        gr_tensor_view_init(&view, data, 64, GR_DTYPE_F32, 2, (uint64_t[]){big, big}, &error),
        GR_ERROR_CORRUPT);
    assert_int_equal(gr_tensor_view_init(&view, data, 64, GR_DTYPE_Q4_0, 4,
                                         (uint64_t[]){0, big, big, 32}, &error),
                     GR_ERROR_CORRUPT);
    assert_int_equal(
        gr_tensor_view_init(&view, data, 64, GR_DTYPE_F32, 1, (uint64_t[]){17}, &error),
        GR_ERROR_CORRUPT);
    assert_int_equal(
        gr_tensor_view_init(&view, data, 64, GR_DTYPE_Q4_0, 1, (uint64_t[]){33}, &error),
        GR_ERROR_CORRUPT);
    assert_non_null(strstr(error.message, "Q4_0"));
    assert_int_equal(gr_tensor_view_init(&view, NULL, 64, GR_DTYPE_F32, 1, (uint64_t[]){4}, &error),
                     GR_ERROR_CORRUPT);
    assert_int_equal(gr_tensor_view_init(&view, data, 64, 5, 1, (uint64_t[]){4}, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_tensor_view_init(&view, data, 64, GR_DTYPE_F32, 0, NULL, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_tensor_view_init(&view, data, 64, GR_DTYPE_F32, 5, NULL, &error),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_tensor_view_count(&view), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_views_have_row_major_strides),
        cmocka_unit_test(slices_stay_inside),
        cmocka_unit_test(hostile_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
