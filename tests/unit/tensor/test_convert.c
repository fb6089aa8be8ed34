// SPDX-License-Identifier: Apache-2.0
// Conversions are judged by arithmetic on F64: every half, the neighbours of every half, random
// floats.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/convert.h"

// What a half means, by its definition.
static double meaning(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static void halves_expand_exactly(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float value = gr_f16_to_f32((uint16_t)bits);
        if ((bits & 0x7fff) > 0x7c00)
            assert_true(isnan(value));
        else if ((bits & 0x7fff) == 0x7c00)
            assert_true(isinf(value) && !signbit(value) == !(bits & 0x8000));
        else
            assert_true((double)value == meaning((uint16_t)bits) &&
                        !signbit(value) == !(bits & 0x8000));
    }
}

static void halves_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t back = gr_f16_from_f32(gr_f16_to_f32((uint16_t)bits));
        if ((bits & 0x7fff) > 0x7c00)
            assert_true((back & 0x7fff) > 0x7c00);
        else
            assert_int_equal(back, bits);
    }
}

// Between two neighbouring halves the nearer wins; the middle goes to the even one.
static void halves_round_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        double low = meaning((uint16_t)bits), high = meaning((uint16_t)(bits + 1)),
               middle = (low + high) / 2;
        float at = (float)middle; // exact: one more bit than a half
        assert_true((double)at == middle);
        assert_int_equal(gr_f16_from_f32(at), bits & 1 ? bits + 1 : bits);
        assert_int_equal(gr_f16_from_f32(nextafterf(at, INFINITY)), bits + 1);
        assert_int_equal(gr_f16_from_f32(nextafterf(at, 0.0f)), bits);
        assert_int_equal(gr_f16_from_f32(-at), (bits & 1 ? bits + 1 : bits) | 0x8000);
    }
    assert_int_equal(gr_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(gr_f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(gr_f16_from_f32(3e38f), 0x7c00);
    assert_int_equal(gr_f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(gr_f16_from_f32(1e-45f), 0);
    assert_int_equal(gr_f16_from_f32(-1e-45f), 0x8000);
}

static void bfloats_round_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x7f7f; bits++) {
        double low = (double)gr_bf16_to_f32((uint16_t)bits),
               high = (double)gr_bf16_to_f32((uint16_t)(bits + 1));
        float at = (float)((low + high) / 2);
        assert_int_equal(gr_bf16_from_f32((float)low), bits);
        assert_int_equal(gr_bf16_from_f32(at), bits & 1 ? bits + 1 : bits);
        assert_int_equal(gr_bf16_from_f32(nextafterf(at, INFINITY)), bits + 1);
    }
    assert_int_equal(gr_bf16_from_f32(INFINITY), 0x7f80);
    assert_int_equal(gr_bf16_from_f32(3.4e38f), 0x7f80);
    assert_true(isnan(gr_bf16_to_f32(gr_bf16_from_f32(NAN))));
}

static float random_float(void) {
    return (float)(rand() - RAND_MAX / 2) / (float)(RAND_MAX / 8);
}

// No value is further from its own than half a step, and the largest of a block is nearly exact.
static void q8_0_keeps_within_half_a_step(void **state) {
    (void)state;
    srand(7);
    float source[256], back[256], largest = 0;
    char packed[8 * sizeof(gr_block_q8_0) + 1];
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 256; i++)
            source[i] = random_float() * powf(10.0f, (float)(round % 7 - 3));
        assert_int_equal(gr_tensor_quantise_row(GR_DTYPE_Q8_0, source, 256, packed + 1),
                         GR_OK); // unaligned
        assert_int_equal(gr_tensor_dequantise_row(GR_DTYPE_Q8_0, packed + 1, 256, back), GR_OK);
        for (int i = 0; i < 256; i++) {
            if (i % 32 == 0) {
                largest = 0;
                for (int j = 0; j < 32; j++)
                    largest = fmaxf(largest, fabsf(source[i + j]));
            }
            assert_true(fabsf(back[i] - source[i]) <= largest / 127.0f * 0.5f + largest * 0x1p-10f);
        }
    }
}

static void q8_0_survives_what_is_not_a_number(void **state) {
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 1e38f, 1e-42f};
    float source[32] = {0}, back[32];
    gr_block_q8_0 block;
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
        source[7] = odd[k];
        assert_int_equal(gr_tensor_quantise_row(GR_DTYPE_Q8_0, source, 32, &block), GR_OK);
        assert_int_equal(gr_tensor_dequantise_row(GR_DTYPE_Q8_0, &block, 32, back), GR_OK);
        for (int i = 0; i < 32; i++)
            assert_true(k < 3 ? isnan(back[i]) : isfinite(back[i])); // nobody takes it for a number
    }
    memset(source, 0, sizeof source);
    assert_int_equal(gr_tensor_quantise_row(GR_DTYPE_Q8_0, source, 32, &block), GR_OK);
    assert_int_equal(block.d, 0);
}

static void rows_are_checked(void **state) {
    (void)state;
    float value[64] = {0};
    char packed[256];
    assert_int_equal(gr_tensor_quantise_row(GR_DTYPE_Q4_K, value, 64, packed),
                     GR_ERROR_UNSUPPORTED);
    assert_int_equal(gr_tensor_dequantise_row(GR_DTYPE_LIMIT, packed, 64, value),
                     GR_ERROR_UNSUPPORTED);
    assert_int_equal(gr_tensor_quantise_row(GR_DTYPE_Q8_0, value, 33, packed),
                     GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_tensor_dequantise_row(GR_DTYPE_F16, NULL, 0, NULL), GR_OK);
    for (int i = 0; i < 64; i++)
        value[i] = (float)i / 8.0f;
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16};
    for (int d = 0; d < 3; d++) { // these hold such values exactly
        float back[64];
        assert_true(gr_tensor_can_convert(dtypes[d]));
        assert_int_equal(gr_tensor_quantise_row(dtypes[d], value, 64, packed), GR_OK);
        assert_int_equal(gr_tensor_dequantise_row(dtypes[d], packed, 64, back), GR_OK);
        for (int i = 0; i < 64; i++)
            assert_true(back[i] == value[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_expand_exactly),
        cmocka_unit_test(halves_round_trip),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(bfloats_round_to_nearest_even),
        cmocka_unit_test(q8_0_keeps_within_half_a_step),
        cmocka_unit_test(q8_0_survives_what_is_not_a_number),
        cmocka_unit_test(rows_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
