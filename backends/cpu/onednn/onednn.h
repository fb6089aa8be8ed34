// SPDX-License-Identifier: Apache-2.0
// onednn.h: float matrix products by oneDNN 2.x. The library is opened when first wanted; every
// call into it stands in this folder, since its interface breaks between major versions.
#ifndef GREGALE_BACKENDS_CPU_ONEDNN_H
#define GREGALE_BACKENDS_CPU_ONEDNN_H

#include <stdbool.h>
#include <stdint.h>

#include "gregale/backend.h"

typedef struct cpu_onednn cpu_onednn;
typedef struct cpu_onednn_matmul cpu_onednn_matmul;

// y[m,n] = sum over k of x[m,k] * w[n,k]; rows of x and w are contiguous, those of y are y_stride
// apart.
typedef struct cpu_onednn_shape {
    bool bf16;        // x and w are BF16, else F32; y is F32
    uint32_t workers; // that may run it at the same time
    uint64_t m, n, k;
    uint64_t y_stride;
} cpu_onednn_shape;

// Whether the backend was built with it.
bool cpu_onednn_compiled(void);
// Opens the library; NULL when there is none of the right version (which is logged).
cpu_onednn *cpu_onednn_open(const gr_host *host);
// Frees everything made from it; the library stays loaded, since it started threads.
void cpu_onednn_close(cpu_onednn *onednn);
// Finds or makes the product of a shape, which belongs to `onednn`; NULL when oneDNN declines. Any
// thread.
cpu_onednn_matmul *cpu_onednn_matmul_get(cpu_onednn *onednn, const cpu_onednn_shape *shape);
// Scratch bytes that a run needs.
uint64_t cpu_onednn_matmul_scratch(const cpu_onednn_matmul *matmul);
// Runs it on the calling thread alone, as worker `worker`. False when oneDNN failed.
bool cpu_onednn_matmul_run(cpu_onednn_matmul *matmul, uint32_t worker, const void *x, const void *w,
                           float *y, void *scratch);

#endif
