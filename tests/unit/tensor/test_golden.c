// SPDX-License-Identifier: Apache-2.0
// The core's conversions against tests/golden/dtypes.gguf, which the gguf package computed, bit for
// bit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "gregale/linked/format.h"
#include "tensor/convert.h"

static const struct {
    gr_dtype dtype;
    const char *blocks, *values, *quantised;
} cases[] = {
    {GR_DTYPE_F32, "f32.blocks", "f32.values", "quantize.f32"},
    {GR_DTYPE_F16, "f16.blocks", "f16.values", "quantize.f16"},
    {GR_DTYPE_BF16, "bf16.blocks", "bf16.values", "quantize.bf16"},
    {GR_DTYPE_Q8_0, "q8_0.blocks", "q8_0.values", "quantize.q8_0"},
};

static gr_model_file *open_golden(void) {
    gr_model_file *file = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_model_file_open(GREGALE_SOURCE_DIR "/tests/golden/dtypes.gguf", &file, &error))
        fail_msg("%s", error.message);
    return file;
}

static const gr_tensor_info *tensor(const gr_model_file *file, const char *name, gr_dtype dtype) {
    const gr_tensor_info *found = gr_model_file_tensor(file, name);
    if (!found || found->dtype != dtype)
        fail_msg("no %s of type %s", name, gr_dtype_name(dtype));
    return found;
}

static void expands_to_the_same_bits(void **state) {
    (void)state;
    gr_model_file *file = open_golden();
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const gr_tensor_info *blocks = tensor(file, cases[c].blocks, cases[c].dtype);
        const gr_tensor_info *values = tensor(file, cases[c].values, GR_DTYPE_F32);
        uint64_t n = values->bytes / sizeof(float);
        float *mine = calloc(n, sizeof *mine);
        assert_non_null(mine);
        assert_true(n && blocks->bytes == gr_dtype_row_bytes(cases[c].dtype, n));
        assert_int_equal(gr_tensor_dequantise_row(cases[c].dtype, blocks->data, n, mine), GR_OK);
        assert_memory_equal(mine, values->data, values->bytes);
        free(mine);
    }
    gr_model_file_close(file);
}

static void quantises_to_the_same_bytes(void **state) {
    (void)state;
    gr_model_file *file = open_golden();
    const gr_tensor_info *input = tensor(file, "quantize.input", GR_DTYPE_F32);
    uint64_t n = input->bytes / sizeof(float);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const gr_tensor_info *expected = tensor(file, cases[c].quantised, cases[c].dtype);
        void *mine = calloc(1, expected->bytes);
        assert_non_null(mine);
        assert_true(expected->bytes == gr_dtype_row_bytes(cases[c].dtype, n));
        assert_int_equal(gr_tensor_quantise_row(cases[c].dtype, input->data, n, mine), GR_OK);
        assert_memory_equal(mine, expected->data, expected->bytes);
        free(mine);
    }
    gr_model_file_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expands_to_the_same_bits),
        cmocka_unit_test(quantises_to_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
