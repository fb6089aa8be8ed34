// SPDX-License-Identifier: Apache-2.0
// bench.h: a device with everything made on it and a program that looks up rows of a table, called
// directly. A failure ends the running test.
#ifndef BENCH_H
#define BENCH_H

#include "fixtures.h"

enum { ROWS = 3, WIDTH = 8, VOCABULARY = 4, BYTES = ROWS * WIDTH * 4 };

// A device with a program that looks up rows of a table.
typedef struct bench {
    gr_registry *registry;
    const gr_opened_device *opened;
    const gr_backend *backend;
    gr_device *device;
    float table[VOCABULARY * WIDTH];
    int32_t tokens[ROWS], positions[ROWS], row_seq[ROWS], seq_rows[2];
    gr_value values[3];
    uint32_t in[2], out;
    gr_node node;
    gr_segment segment;
    gr_step step;
    gr_program_desc desc;
    gr_weight *weight;
    gr_kv *kv;
    gr_buffer *arena, *scratch;
    gr_program *program;
    gr_team *team;
    gr_queue *queue;
    gr_fence *fence;
} bench;

static const gr_kv_desc bench_pool = {.struct_size = sizeof bench_pool,
                                      .layers = 2,
                                      .page_tokens = 4,
                                      .kv_heads = 1,
                                      .k_dim = 8,
                                      .v_dim = 8,
                                      .dtype = GR_DTYPE_F32,
                                      .pages = 3};

static inline void bench_open_device(bench *b, const char *directory, const char *name) {
    const char *const directories[] = {directory, NULL};
    const gr_registry_options options = {.directories = directories, .only_explicit = true};
    uint32_t index;
    gr_error error;
    gr_error_init(&error);
    assert_int_equal(gr_registry_create(&options, &b->registry, NULL), GR_OK);
    if (gr_registry_find(b->registry, name, &index, &error) ||
        gr_registry_open(b->registry, index, &b->opened, &error))
        fail_msg("%s", error.message);
    b->backend = b->opened->backend;
    b->device = b->opened->device;
}

static inline void bench_describe(bench *b) {
    for (uint32_t i = 0; i < VOCABULARY * WIDTH; i++)
        b->table[i] = (float)i;
    for (int32_t t = 0; t < ROWS; t++)
        b->tokens[t] = VOCABULARY - 1 - t, b->positions[t] = t;
    for (uint32_t v = 0; v < 3; v++)
        b->values[v] = (gr_value){.struct_size = sizeof(gr_value),
                                  .rank = 2,
                                  .dims = {VOCABULARY, WIDTH, 1, 1},
                                  .offset = GR_NO_OFFSET};
    b->values[0].kind = GR_VALUE_WEIGHT;
    b->values[1] = (gr_value){.struct_size = sizeof(gr_value),
                              .kind = GR_VALUE_STEP,
                              .dtype = GR_DTYPE_I32,
                              .index = GR_STEP_TOKENS,
                              .rank = 1,
                              .dims = {GR_DIM_T, 1, 1, 1}};
    b->values[2].dims[0] = GR_DIM_T;
    b->values[2].offset = 0;
    b->in[0] = 0, b->in[1] = 1, b->out = 2;
    b->node = (gr_node){.struct_size = sizeof b->node,
                        .op = GR_OP_EMBED,
                        .flags = GR_NODE_RUN,
                        .in_count = 2,
                        .out_count = 1,
                        .in = b->in,
                        .out = &b->out};
    b->segment = (gr_segment){.struct_size = sizeof b->segment,
                              .value_count = 3,
                              .value_stride = sizeof(gr_value),
                              .node_count = 1,
                              .node_stride = sizeof(gr_node),
                              .values = b->values,
                              .nodes = &b->node};
    b->seq_rows[1] = ROWS;
    b->step = (gr_step){.struct_size = sizeof b->step,
                        .rows = ROWS,
                        .seqs = 1,
                        .tokens = b->tokens,
                        .positions = b->positions,
                        .row_seq = b->row_seq,
                        .seq_rows = b->seq_rows};
}

// Makes everything on the device called `name` of the plugins in `directory`.
static inline void bench_make(bench *b, const char *directory, const char *name) {
    memset(b, 0, sizeof *b);
    bench_open_device(b, directory, name);
    bench_describe(b);
    const gr_weight_desc weight = {.struct_size = sizeof weight,
                                   .rank = 2,
                                   .consumer = GR_OP_EMBED,
                                   .dims = {VOCABULARY, WIDTH, 1, 1},
                                   .data = b->table,
                                   .bytes = sizeof b->table,
                                   .name = "table"};
    gr_weight_info info = {.struct_size = sizeof info};
    gr_program_info made = {.struct_size = sizeof made};
    assert_int_equal(b->backend->weight_import(b->device, &weight, &b->weight, &info, NULL), GR_OK);
    if (!info.aliases_source)
        memset(b->table, 0xff, sizeof b->table); // it has its own
    assert_int_equal(b->backend->buffer_alloc(b->device, BYTES, &b->arena, NULL), GR_OK);
    assert_int_equal(b->backend->kv_create(b->device, &bench_pool, &b->kv, NULL), GR_OK);
    b->desc = (gr_program_desc){.struct_size = sizeof b->desc,
                                .rows_max = ROWS,
                                .seqs_max = 1,
                                .outputs_max = 1,
                                .segment = &b->segment,
                                .step = &b->step,
                                .weights = &b->weight,
                                .weight_count = 1,
                                .threads = 1,
                                .arena = b->arena};
    assert_int_equal(b->backend->program_compile(b->device, &b->desc, &b->program, &made, NULL),
                     GR_OK);
    uint64_t scratch = made.scratch_shared_bytes + made.scratch_per_thread_bytes;
    assert_int_equal(b->backend->buffer_alloc(b->device, scratch, &b->scratch, NULL), GR_OK);
    assert_int_equal(gr_team_create(gr_registry_topology(b->registry), 1, &b->team, NULL), GR_OK);
    assert_int_equal(b->backend->queue_create(b->device, b->team, &b->queue, NULL), GR_OK);
    assert_int_equal(b->backend->fence_create(b->device, &b->fence, NULL), GR_OK);
}

static inline void bench_close(bench *b) {
    b->backend->program_destroy(b->device, b->program);
    b->backend->queue_destroy(b->device, b->queue);
    b->backend->fence_destroy(b->device, b->fence);
    b->backend->kv_destroy(b->device, b->kv);
    b->backend->buffer_destroy(b->device, b->arena);
    b->backend->buffer_destroy(b->device, b->scratch);
    b->backend->weight_destroy(b->device, b->weight);
    gr_registry_close(b->registry, b->opened);
    gr_team_destroy(b->team);
    gr_registry_destroy(b->registry);
}

static inline gr_status submit(bench *b, uint64_t value) {
    const gr_submit one = {.struct_size = sizeof one,
                           .program = b->program,
                           .scratch = b->scratch,
                           .signal = b->fence,
                           .signal_value = value};
    return b->backend->submit(b->device, b->queue, &one, NULL);
}

static inline gr_status wait(bench *b, uint64_t value, uint64_t timeout_ns) {
    return b->backend->fence_wait(b->device, b->fence, value, timeout_ns, NULL);
}

#endif
