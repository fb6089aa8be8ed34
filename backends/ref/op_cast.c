// SPDX-License-Identifier: Apache-2.0
// op_cast.c: CAST between F32, F16 and BF16 (nearest, ties to even), and COPY.
#include "ref.h"

static void cast(const gr_call *call, const ref_task *task) {
    gr_dtype from = call->node.in[0].dtype, to = call->node.out[0].dtype;
    uint64_t from_bytes = gr_dtype_block_bytes(from), to_bytes = gr_dtype_block_bytes(to), begin,
             end;
    ref_slice(gr_value_count(&call->node.in[0], task->step), task, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        float value = 0;
        gr_row_decode(from, call->in[0] + i * from_bytes, 1, &value);
        gr_row_encode(to, &value, 1, call->out[0] + i * to_bytes);
    }
}

static void copy(const gr_call *call, const ref_task *task) {
    uint64_t size = gr_dtype_block_bytes(call->node.in[0].dtype), begin, end;
    ref_slice(gr_value_count(&call->node.in[0], task->step), task, &begin, &end);
    if (end > begin)
        memmove(call->out[0] + begin * size, call->in[0] + begin * size, (end - begin) * size);
}

const ref_op ref_op_cast = {GR_OP_CAST, NULL, cast, NULL};
const ref_op ref_op_copy = {GR_OP_COPY, NULL, copy, NULL};
