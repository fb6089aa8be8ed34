// SPDX-License-Identifier: Apache-2.0
// far keeps what it promises: it is as distant as a device, and a host that forgets it is told.
#include "fixtures.h"

enum { ROWS = 3, WIDTH = 8, VOCABULARY = 4, BYTES = ROWS * WIDTH * 4 };

// A device with a program that looks up rows of a table.
typedef struct bench {
    gr_registry *registry;
    const gr_opened_device *opened;
    const gr_backend *backend;
    gr_device *device;
    float table[VOCABULARY * WIDTH];
    int32_t tokens[ROWS];
    gr_value values[3];
    uint32_t in[2], out;
    gr_node node;
    gr_segment segment;
    gr_step step;
    gr_weight *weight;
    gr_kv *kv;
    gr_buffer *arena;
    gr_program *program;
    gr_queue *queue;
    gr_fence *fence;
} bench;

static const gr_kv_desc pool = {.struct_size = sizeof pool,
                                .layers = 2,
                                .page_tokens = 4,
                                .kv_heads = 1,
                                .k_dim = 8,
                                .v_dim = 8,
                                .dtype = GR_DTYPE_F32,
                                .pages = 3};

static void open_device(bench *b) {
    static const char *const directories[] = {GREGALE_BINARY_DIR "/tests/far", NULL};
    const gr_registry_options options = {.directories = directories, .only_explicit = true};
    uint32_t index;
    assert_int_equal(gr_registry_create(&options, &b->registry, NULL), GR_OK);
    assert_int_equal(gr_registry_find(b->registry, "far", &index, NULL), GR_OK);
    assert_int_equal(gr_registry_open(b->registry, index, &b->opened, NULL), GR_OK);
    b->backend = b->opened->backend;
    b->device = b->opened->device;
}

static void describe(bench *b) {
    for (uint32_t i = 0; i < VOCABULARY * WIDTH; i++)
        b->table[i] = (float)i;
    for (int32_t t = 0; t < ROWS; t++)
        b->tokens[t] = VOCABULARY - 1 - t;
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
    b->step = (gr_step){.struct_size = sizeof b->step, .rows = ROWS, .tokens = b->tokens};
}

static void bench_open(bench *b, const char *delay_us, const char *memory) {
    memset(b, 0, sizeof *b);
    setenv("GREGALE_FAR_DELAY_US", delay_us, 1);
    setenv("GREGALE_FAR_MEMORY", memory, 1);
    open_device(b);
    describe(b);
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
    assert_false(info.aliases_source);
    memset(b->table, 0xff, sizeof b->table); // it has its own
    assert_int_equal(b->backend->buffer_alloc(b->device, BYTES, &b->arena, NULL), GR_OK);
    assert_int_equal(b->backend->kv_create(b->device, &pool, &b->kv, NULL), GR_OK);
    const gr_program_desc desc = {.struct_size = sizeof desc,
                                  .rows_max = ROWS,
                                  .seqs_max = 1,
                                  .outputs_max = 1,
                                  .segment = &b->segment,
                                  .step = &b->step,
                                  .weights = &b->weight,
                                  .weight_count = 1,
                                  .threads = 1,
                                  .arena = b->arena};
    assert_int_equal(b->backend->program_compile(b->device, &desc, &b->program, &made, NULL),
                     GR_OK);
    assert_int_equal(b->backend->queue_create(b->device, NULL, &b->queue, NULL), GR_OK);
    assert_int_equal(b->backend->fence_create(b->device, &b->fence, NULL), GR_OK);
}

static void bench_close(bench *b) {
    b->backend->program_destroy(b->device, b->program);
    b->backend->queue_destroy(b->device, b->queue);
    b->backend->fence_destroy(b->device, b->fence);
    b->backend->kv_destroy(b->device, b->kv);
    b->backend->buffer_destroy(b->device, b->arena);
    b->backend->weight_destroy(b->device, b->weight);
    gr_registry_close(b->registry, b->opened);
    gr_registry_destroy(b->registry);
}

static gr_status submit(bench *b, uint64_t value) {
    const gr_submit one = {.struct_size = sizeof one,
                           .program = b->program,
                           .signal = b->fence,
                           .signal_value = value};
    return b->backend->submit(b->device, b->queue, &one, NULL);
}

static gr_status wait(bench *b, uint64_t value, uint64_t timeout_ns) {
    return b->backend->fence_wait(b->device, b->fence, value, timeout_ns, NULL);
}

static const char *const long_delay = "60000000", *const plenty = "1000000000";

// No handle is an address: in canonical form the upper bits of one are all equal.
static void handles_are_no_addresses(void **state) {
    (void)state;
    bench b;
    bench_open(&b, "0", plenty);
    const void *const handles[] = {b.device, b.weight, b.kv, b.arena, b.program, b.queue, b.fence};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        uint64_t upper = (uint64_t)(uintptr_t)handles[i] >> 47;
        assert_true(upper != 0 && upper != 0x1ffff);
    }
    gr_buffer *buffer = (gr_buffer *)&b;
    assert_null(b.backend->buffer_map(b.device, b.arena));
    assert_int_equal(b.backend->buffer_import(b.device, &b, sizeof b, &buffer, NULL),
                     GR_ERROR_UNSUPPORTED);
    assert_null(buffer);
    bench_close(&b);
}

// Nothing runs until somebody waits; meanwhile what the step uses is not to be touched.
static void work_stands_until_waited_for(void **state) {
    (void)state;
    bench b;
    float rows[ROWS * WIDTH];
    bench_open(&b, long_delay, plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    usleep(20000);
    assert_int_equal(wait(&b, 1, 0), GR_ERROR_TIMEOUT);
    assert_int_equal(b.backend->buffer_read(b.device, NULL, b.arena, 0, rows, BYTES, NULL),
                     GR_ERROR_INVALID_ARGUMENT);
    b.tokens[0] = 2; // the step block is read when the step runs
    assert_int_equal(wait(&b, 1, UINT64_MAX), GR_OK);
    assert_int_equal(b.backend->buffer_read(b.device, NULL, b.arena, 0, rows, BYTES, NULL), GR_OK);
    assert_true(rows[0] == 2 * WIDTH && rows[WIDTH] == 2 * WIDTH && rows[2 * WIDTH] == WIDTH);
    b.tokens[0] = 3;
    assert_int_equal(submit(&b, 2), GR_OK);
    assert_int_equal(b.backend->buffer_read(b.device, b.queue, b.arena, 0, rows, BYTES, NULL),
                     GR_OK); // ordered behind the step
    assert_true(rows[0] == 3 * WIDTH);
    bench_close(&b);
}

static void a_delay_ends_by_itself(void **state) {
    (void)state;
    bench b;
    bench_open(&b, "2000", plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    for (int i = 0; i < 5000 && wait(&b, 1, 0) != GR_OK; i++)
        usleep(1000);
    assert_int_equal(wait(&b, 1, 0), GR_OK);
    bench_close(&b);
}

static gr_kv_region slot(uint32_t page) {
    return (gr_kv_region){
        .struct_size = sizeof(gr_kv_region), .layer = 1, .page = page, .slot = 1, .count = 1};
}

static void page_copies_are_queued(void **state) {
    (void)state;
    bench b;
    float in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {0};
    bench_open(&b, long_delay, plenty);
    gr_kv_region from = slot(0), to = slot(2);
    assert_int_equal(
        b.backend->kv_write(b.device, NULL, b.kv, &from, GR_DTYPE_F32, in, sizeof in, NULL), GR_OK);
    assert_int_equal(b.backend->kv_copy_page(b.device, b.queue, b.kv, 0, 2, 4, NULL), GR_OK);
    assert_int_equal(b.backend->kv_resize(b.device, b.kv, 9, NULL), GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        b.backend->kv_read(b.device, b.queue, b.kv, &to, GR_DTYPE_F32, out, sizeof out, NULL),
        GR_OK);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(b.backend->kv_resize(b.device, b.kv, 9, NULL), GR_OK);
    bench_close(&b);
}

static void memory_ends(void **state) {
    (void)state;
    bench b;
    gr_buffer *half = NULL, *more = NULL;
    bench_open(&b, "0", "100000");
    assert_int_equal(b.backend->buffer_alloc(b.device, 60000, &half, NULL), GR_OK);
    assert_int_equal(b.backend->buffer_alloc(b.device, 60000, &more, NULL), GR_ERROR_OUT_OF_MEMORY);
    assert_null(more);
    assert_int_equal(b.backend->kv_resize(b.device, b.kv, 1000, NULL), GR_ERROR_OUT_OF_MEMORY);
    b.backend->buffer_destroy(b.device, half);
    assert_int_equal(b.backend->buffer_alloc(b.device, 60000, &more, NULL), GR_OK);
    b.backend->buffer_destroy(b.device, more);
    assert_int_equal(submit(&b, 1), GR_OK); // what failed changed nothing
    assert_int_equal(wait(&b, 1, UINT64_MAX), GR_OK);
    bench_close(&b);
}

static void is_lost(bench *b) {
    gr_buffer *buffer = NULL;
    assert_int_equal(b->backend->buffer_alloc(b->device, 64, &buffer, NULL), GR_ERROR_DEVICE_LOST);
    assert_int_equal(submit(b, 9), GR_ERROR_DEVICE_LOST);
    assert_int_equal(wait(b, 9, UINT64_MAX), GR_ERROR_DEVICE_LOST);
}

static void a_lying_step_loses_the_device(void **state) {
    (void)state;
    bench b;
    bench_open(&b, long_delay, plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    b.tokens[1] = VOCABULARY;
    assert_int_equal(wait(&b, 1, UINT64_MAX), GR_ERROR_DEVICE_LOST);
    is_lost(&b);
    bench_close(&b);
}

static void destroying_what_is_in_flight_loses_the_device(void **state) {
    (void)state;
    bench b;
    bench_open(&b, long_delay, plenty);
    assert_int_equal(submit(&b, 1), GR_OK);
    b.backend->buffer_destroy(b.device, b.arena);
    b.arena = NULL;
    assert_int_equal(wait(&b, 1, 0), GR_OK); // it was let finish
    is_lost(&b);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_are_no_addresses),
        cmocka_unit_test(work_stands_until_waited_for),
        cmocka_unit_test(a_delay_ends_by_itself),
        cmocka_unit_test(page_copies_are_queued),
        cmocka_unit_test(memory_ends),
        cmocka_unit_test(a_lying_step_loses_the_device),
        cmocka_unit_test(destroying_what_is_in_flight_loses_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
