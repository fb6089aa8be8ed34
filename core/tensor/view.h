// SPDX-License-Identifier: Apache-2.0
// view.h: a borrowed, strided look at numbers in memory: shape, strides, checked access.
// Inside the core. A view owns nothing; whoever owns the bytes decides which threads may use it.
#ifndef GREGALE_TENSOR_VIEW_H
#define GREGALE_TENSOR_VIEW_H

#include <stdbool.h>

#include "gregale/dtype.h"
#include "gregale/segment.h"
#include "gregale/status.h"

// Dimension 0 is the outermost. Strides are in bytes from one index to the next. The last dimension
// of a blocked dtype is dense: whole blocks, one after the other.
typedef struct gr_tensor_view {
    const void *data;
    gr_dtype dtype;
    uint32_t rank;
    uint64_t dims[GR_MAX_RANK];
    uint64_t strides[GR_MAX_RANK];
} gr_tensor_view;

// Makes a dense view of `rank` dimensions over `bytes` bytes at `data`. CORRUPT when the shape does
// not fit (sizes overflow, blocks are not whole, the bytes are too few); INVALID_ARGUMENT for rank
// 0 or above GR_MAX_RANK, or an unknown dtype.
gr_status gr_tensor_view_init(gr_tensor_view *view, const void *data, uint64_t bytes,
                              gr_dtype dtype, uint32_t rank, const uint64_t *dims, gr_error *error);
// Elements in all; never overflows for a view that init accepted.
uint64_t gr_tensor_view_count(const gr_tensor_view *view);
// The view of rank-1 at `index` of dimension 0; OUT_OF_RANGE beyond it, INVALID_ARGUMENT when rank
// is 1.
gr_status gr_tensor_view_at(const gr_tensor_view *view, uint64_t index, gr_tensor_view *out_view,
                            gr_error *error);
// The same rank with dimension 0 cut to [begin, begin+count).
gr_status gr_tensor_view_slice(const gr_tensor_view *view, uint64_t begin, uint64_t count,
                               gr_tensor_view *out_view, gr_error *error);
// Copies a view of rank 1 to out[dims[0]] as F32 (F32, F16, BF16, Q8_0).
gr_status gr_tensor_view_read_row(const gr_tensor_view *view, float *out, gr_error *error);

#endif
