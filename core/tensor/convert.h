// SPDX-License-Identifier: Apache-2.0
// convert.h: rows of numbers between F32 and the types that the core itself stores: F16, BF16,
// Q8_0. Inside the core. Pure functions; any thread. Weights of other types are a backend's
// business.
#ifndef GREGALE_TENSOR_CONVERT_H
#define GREGALE_TENSOR_CONVERT_H

#include <stdbool.h>

#include "gregale/dtype.h"
#include "gregale/status.h"

// IEEE 754 binary16. To F32 is exact; from F32 rounds to nearest, ties to even, beyond 65504 to
// infinity; NaN stays NaN.
float gr_f16_to_f32(uint16_t bits);
uint16_t gr_f16_from_f32(float value);

// bfloat16, the upper half of an F32, by the same rules.
float gr_bf16_to_f32(uint16_t bits);
uint16_t gr_bf16_from_f32(float value);

// Whether the two calls below know `dtype`: F32, F16, BF16, Q8_0.
bool gr_tensor_can_convert(gr_dtype dtype);

// Expands a row of `n` values from `source` (gr_dtype_row_bytes bytes, any alignment) to out[n],
// which must not overlap it. UNSUPPORTED for other dtypes; INVALID_ARGUMENT when n is not whole
// blocks.
gr_status gr_tensor_dequantise_row(gr_dtype dtype, const void *source, uint64_t n, float *out);

// Rounds a row of `n` values to `dtype` at `out` (any alignment). Q8_0 takes the largest magnitude
// of each 32 values over 127 as the scale (as the GGUF format's own quantiser does); a block whose
// scale is no F16 keeps as much as fits, one with a NaN or an infinity is NaN whole, so that none vanishes. Fails like gr_tensor_dequantise_row.
gr_status gr_tensor_quantise_row(gr_dtype dtype, const float *source, uint64_t n, void *out);

#endif
