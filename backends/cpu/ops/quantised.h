// SPDX-License-Identifier: Apache-2.0
// quantised.h: the 8-bit form of activations, which MATMUL with block-quantised weights reads.
#ifndef GREGALE_BACKENDS_CPU_QUANTISED_H
#define GREGALE_BACKENDS_CPU_QUANTISED_H

#include "cpu.h"

// Bytes of the form of one row of k values, a multiple of 32.
uint64_t cpu_quantised_bytes(uint64_t k);
// The form of `rows` rows that stands at `form`; the same from a chunk of 256 values and a row on.
cpu_activations cpu_quantised_view(uint8_t *form, uint64_t k, uint64_t rows);
cpu_activations cpu_quantised_at(const cpu_activations *x, uint64_t chunk, uint64_t row);
// Quantises one row, x[k], to where `row` stands.
void cpu_quantise_row(const cpu_kernels *kernels, const float *x, uint64_t k,
                      const cpu_activations *row);
// The remainders of `rows` rows of one chunk, which x stands at: NULL when there are none, else `list`,
// which has cpu_rest_bytes(rows) bytes.
uint64_t cpu_rest_bytes(uint64_t rows);
const cpu_rest_list *cpu_rest_gather(const cpu_activations *x, uint32_t rows, cpu_rest_list *list);
// Sees to it that the form of operand 0 of a bound MATMUL, normed where it says so, stands before
// `call`, which is told where. With one row each worker makes it for itself, sooner than it would
// wait for another to.
gr_status cpu_quantise_emit(cpu_builder *builder, const cpu_call *bound, cpu_call *call,
                            cpu_access *out_form, gr_error *error);
// Where that is in a step.
uint8_t *cpu_quantised_form(const cpu_call *call, const cpu_task *task);

#endif
