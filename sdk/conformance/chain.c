// SPDX-License-Identifier: Apache-2.0
// chain.c: two programs that take turns, b = a + x and a = b + x: whatever is lost, doubled or out of
// order shows in the sum.
#include <string.h>

#include "host/internal.h"
#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

enum { ROWS = CF_CHAIN_ROWS, WIDTH = CF_CHAIN_WIDTH, PLACE = 2048 };

static void describe(cf_chain *c) {
    for (uint32_t v = 0; v < 3; v++)
        c->values[v] = (gr_value){.struct_size = sizeof(gr_value),
                                  .flags = GR_VALUE_IMPORT | GR_VALUE_EXPORT,
                                  .rank = 2,
                                  .dims = {GR_DIM_T, WIDTH, 1, 1},
                                  .offset = v * PLACE};
    for (uint32_t i = 0; i < 2; i++) {
        c->in[i][0] = i;
        c->in[i][1] = 2;
        c->out[i] = 1 - i;
        c->nodes[i] = (gr_node){.struct_size = sizeof(gr_node),
                                .op = GR_OP_ADD,
                                .flags = GR_NODE_RUN,
                                .in_count = 2,
                                .out_count = 1,
                                .in = c->in[i],
                                .out = &c->out[i],
                                .attrs = &no_attrs};
        c->segments[i] = (gr_segment){.struct_size = sizeof(gr_segment),
                                      .value_count = 3,
                                      .value_stride = sizeof(gr_value),
                                      .node_count = 1,
                                      .node_stride = sizeof(gr_node),
                                      .values = c->values,
                                      .nodes = &c->nodes[i]};
    }
    for (int32_t t = 0; t < ROWS; t++)
        c->positions[t] = t;
    c->seq_rows[1] = ROWS;
    c->step = (gr_step){.struct_size = sizeof c->step,
                        .rows = ROWS,
                        .seqs = 1,
                        .positions = c->positions,
                        .row_seq = c->row_seq,
                        .seq_rows = c->seq_rows};
    for (uint32_t i = 0; i < ROWS * WIDTH; i++)
        c->x[i] = (float)(i % 17) - 8;
}

gr_status cf_chain_compile(cf_chain *c, gr_device *device, uint32_t which,
                               gr_program **out_program, gr_program_info *out_info) {
    const gr_program_desc desc = {.struct_size = sizeof desc,
                                  .rows_max = ROWS,
                                  .seqs_max = 1,
                                  .outputs_max = 1,
                                  .segment = &c->segments[which],
                                  .step = &c->step,
                                  .threads = 3,
                                  .arena = c->arena};
    return c->suite->backend->program_compile(device, &desc, out_program, out_info, NULL);
}

bool cf_chain_make(cf_chain *c, cf_suite *suite, gr_device *device, const char *name) {
    const gr_backend *b = suite->backend;
    static const float zeros[ROWS * WIDTH];
    memset(c, 0, sizeof *c);
    c->suite = suite;
    describe(c);
    gr_support support = {.struct_size = sizeof support};
    b->node_support(device, &c->segments[0], 0, &support);
    gr_abi_settle_support(&support);
    if (support.level == GR_SUPPORT_NO) {
        cf_skip(suite, name, true, support.reason);
        return false;
    }
    bool good = !b->buffer_alloc(device, 3 * PLACE, &c->arena, NULL) &&
                !b->fence_create(device, &c->fence, NULL) &&
                !b->buffer_write(device, NULL, c->arena, 0, zeros, sizeof zeros, NULL) &&
                !b->buffer_write(device, NULL, c->arena, 2 * PLACE, c->x, sizeof c->x, NULL);
    for (uint32_t i = 0; i < 2 && good; i++) {
        gr_program_info info = {.struct_size = sizeof info};
        good =
            !cf_chain_compile(c, device, i, &c->programs[i], &info) &&
            !b->buffer_alloc(device, info.scratch_shared_bytes + 3 * info.scratch_per_thread_bytes,
                             &c->scratch[i], NULL);
    }
    if (!good)
        cf_fail(suite, name, "its parts cannot be made");
    return good;
}

void cf_chain_unmake(cf_chain *c, gr_device *device) {
    const gr_backend *b = c->suite->backend;
    for (uint32_t i = 0; i < 2; i++) {
        b->program_destroy(device, c->programs[i]);
        b->buffer_destroy(device, c->scratch[i]);
    }
    b->fence_destroy(device, c->fence);
    b->buffer_destroy(device, c->arena);
}

gr_status cf_chain_give(cf_chain *c, gr_device *device, gr_queue *queue, uint64_t i, bool wait) {
    const gr_submit submit = {.struct_size = sizeof submit,
                              .wait_count = wait && i ? 1 : 0,
                              .program = c->programs[i % 2],
                              .scratch = c->scratch[i % 2],
                              .waits = &c->fence,
                              .wait_values = &i,
                              .signal = c->fence,
                              .signal_value = i + 1};
    return c->suite->backend->submit(device, queue, &submit, NULL);
}

gr_status cf_chain_wait(cf_chain *c, gr_device *device, uint64_t links) {
    return c->suite->backend->fence_wait(device, c->fence, links, UINT64_C(30000000000), NULL);
}

bool cf_chain_right(cf_chain *c, gr_device *device, uint64_t links) {
    float got[ROWS * WIDTH];
    bool good = !c->suite->backend->buffer_read(device, NULL, c->arena, links % 2 ? PLACE : 0, got,
                                                sizeof got, NULL);
    for (uint32_t i = 0; i < ROWS * WIDTH && good; i++)
        good = got[i] == (float)links * c->x[i];
    return good;
}

