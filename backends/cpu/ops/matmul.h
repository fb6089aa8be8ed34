// SPDX-License-Identifier: Apache-2.0
// matmul.h: the ways MATMUL runs.
#ifndef GREGALE_BACKENDS_CPU_MATMUL_H
#define GREGALE_BACKENDS_CPU_MATMUL_H

#include "cpu.h"

// The last three only in a composite: the weight of a norm that x passes first (attrs.block.eps); a
// matrix of W's shape: the result is act(x W) * (x UP) (attrs.block.activation); what the result is
// added to.
enum {
    CPU_MATMUL_X,
    CPU_MATMUL_W,
    CPU_MATMUL_BIAS,
    CPU_MATMUL_INDEX,
    CPU_MATMUL_NORM,
    CPU_MATMUL_UP,
    CPU_MATMUL_ADD,
    CPU_MATMUL_IN
};

// Activation rows [begin, end) that use matrix `expert`.
typedef struct cpu_matmul_span {
    uint64_t begin, end;
    int64_t expert;
} cpu_matmul_span;

// The next span at or after row `from`; false at the end. Without an index there is one span.
bool cpu_matmul_span_next(const cpu_call *call, const gr_step *step, uint64_t from,
                          cpu_matmul_span *out_span);
// Columns [begin, end) of a span whose index names no matrix: zeros for a negative one, else NaN.
bool cpu_matmul_unmatched(const cpu_call *call, const cpu_matmul_span *span, uint64_t begin,
                          uint64_t end);

// Whether it has operands of a composite.
bool cpu_matmul_fused(const cpu_node *node);

// matmul_tile.c: block-quantised weights, activations in 8 bits.
gr_status cpu_matmul_tile_emit(cpu_builder *builder, const cpu_call *bound, gr_error *error);
// matmul_float.c: everything else, activations in F32.
gr_status cpu_matmul_float_emit(cpu_builder *builder, const cpu_call *bound, gr_error *error);
// All columns in turn, or columns [begin, end) for all rows, of a call set up by
// cpu_matmul_float_emit or of a dtype that it need not expand; and the name of its kernel.
void cpu_matmul_float_run(const cpu_call *call, const cpu_task *task);
void cpu_matmul_float_columns(const cpu_call *call, const cpu_task *task, uint64_t begin,
                              uint64_t end);
void cpu_matmul_float_name(cpu_call *call);
// matmul_onednn.c: F32, F16 and BF16 weights and many rows. False when the call must go another
// way.
bool cpu_matmul_onednn_emit(cpu_builder *builder, const cpu_call *bound, gr_status *out_status,
                            gr_error *error);
// Whether a node could go that way; whether a call does with so many rows.
bool cpu_matmul_onednn_wanted(const gr_device *device, const cpu_node *node);
bool cpu_matmul_onednn_used(const cpu_call *call, uint64_t rows);

#endif
