// SPDX-License-Identifier: Apache-2.0
#include "tensor/view.h"

#include <string.h>

#include "base/checked.h"
#include "tensor/convert.h"

gr_status gr_tensor_view_init(gr_tensor_view *view, const void *data, uint64_t bytes,
                              gr_dtype dtype, uint32_t rank, const uint64_t *dims,
                              gr_error *error) {
    memset(view, 0, sizeof *view);
    if (rank < 1 || rank > GR_MAX_RANK || !gr_dtype_block(dtype))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "tensor", "a view of rank %u and dtype %u",
                       rank, dtype);
    uint64_t total = gr_dtype_row_bytes(dtype, dims[rank - 1]), count = 1;
    if (dims[rank - 1] && !total)
        return gr_fail(error, GR_ERROR_CORRUPT, "tensor",
                       "a row of %llu values is not whole blocks of %s",
                       (unsigned long long)dims[rank - 1], gr_dtype_name(dtype));
    view->strides[rank - 1] = gr_dtype_block(dtype) == 1 ? gr_dtype_block_bytes(dtype) : 0;
    for (uint32_t i = rank - 1; i-- > 0;) {
        view->strides[i] = total;
        if (!gr_mul_u64(total, dims[i], &total))
            return gr_fail(error, GR_ERROR_CORRUPT, "tensor", "the size of a view overflows");
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (!gr_mul_u64(count, dims[i], &count))
            return gr_fail(error, GR_ERROR_CORRUPT, "tensor", "the size of a view overflows");
    }
    if (total > bytes || (total && !data))
        return gr_fail(error, GR_ERROR_CORRUPT, "tensor", "a view needs %llu bytes, there are %llu",
                       (unsigned long long)total, (unsigned long long)bytes);
    view->data = data;
    view->dtype = dtype;
    view->rank = rank;
    memcpy(view->dims, dims, rank * sizeof dims[0]);
    return GR_OK;
}

uint64_t gr_tensor_view_count(const gr_tensor_view *view) {
    uint64_t count = view->rank ? 1 : 0;
    for (uint32_t i = 0; i < view->rank; i++)
        count *= view->dims[i];
    return count;
}

gr_status gr_tensor_view_at(const gr_tensor_view *view, uint64_t index, gr_tensor_view *out_view,
                            gr_error *error) {
    gr_tensor_view from = *view;
    memset(out_view, 0, sizeof *out_view);
    if (from.rank < 2)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "tensor", "a view of rank %u has no rows",
                       from.rank);
    if (index >= from.dims[0])
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "tensor", "row %llu of %llu",
                       (unsigned long long)index, (unsigned long long)from.dims[0]);
    out_view->data = from.data ? (const char *)from.data + index * from.strides[0] : NULL;
    out_view->dtype = from.dtype;
    out_view->rank = from.rank - 1;
    memcpy(out_view->dims, from.dims + 1, out_view->rank * sizeof from.dims[0]);
    memcpy(out_view->strides, from.strides + 1, out_view->rank * sizeof from.strides[0]);
    return GR_OK;
}

gr_status gr_tensor_view_slice(const gr_tensor_view *view, uint64_t begin, uint64_t count,
                               gr_tensor_view *out_view, gr_error *error) {
    gr_tensor_view from = *view;
    memset(out_view, 0, sizeof *out_view);
    if (from.rank < 1 || !gr_range_fits(begin, count, from.dims[0]))
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "tensor", "rows %llu+%llu of %llu",
                       (unsigned long long)begin, (unsigned long long)count,
                       (unsigned long long)(from.rank ? from.dims[0] : 0));
    if (from.rank == 1 && gr_dtype_block(from.dtype) != 1)
        return gr_fail(error, GR_ERROR_UNSUPPORTED, "tensor", "a row of %s cannot be cut",
                       gr_dtype_name(from.dtype));
    *out_view = from;
    out_view->data =
        from.data && count ? (const char *)from.data + begin * from.strides[0] : from.data;
    out_view->dims[0] = count;
    return GR_OK;
}

gr_status gr_tensor_view_read_row(const gr_tensor_view *view, float *out, gr_error *error) {
    if (view->rank != 1)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "tensor", "a view of rank %u is no row",
                       view->rank);
    gr_status status = gr_tensor_dequantise_row(view->dtype, view->data, view->dims[0], out);
    if (status != GR_OK)
        return gr_fail(error, status, "tensor", "a row of %s cannot be read as F32",
                       gr_dtype_name(view->dtype));
    return GR_OK;
}
