// SPDX-License-Identifier: Apache-2.0
// case_moves.c: caches that move to another device and back, and pages that are used again: what a
// step was given to read must stay as it was until the step is done.
#include <math.h>
#include <string.h>

#include "host/internal.h"
#include "suite.h"

// ---- Caches that move ----

static const gr_attrs_attention attention = {.struct_size = sizeof attention,
                                             .heads = 4,
                                             .kv_heads = 2,
                                             .k_dim = 64,
                                             .v_dim = 64,
                                             .window = 12,
                                             .scale = 0.125f};

// Attention at `past`, after its cache went to another pool and back.
static void moved(cf_suite *suite, gr_dtype dtype, int32_t past, uint32_t rows) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "LIVE cache moved there and back, %s at %d+%u",
             gr_dtype_name(dtype), past, rows);
    if (!cf_rig_begin(&rig, suite, "LIVE", name, rows, 0))
        return;
    cf_rig_sequences(&rig, 1, &rows, &past);
    const gr_kv_desc desc = {.struct_size = sizeof desc,
                             .layers = 2,
                             .page_tokens = 8,
                             .kv_heads = 2,
                             .k_dim = 64,
                             .v_dim = 64,
                             .dtype = dtype};
    if (!cf_rig_cache(&rig, &desc, attention.window) || !cf_rig_cache_move(&rig)) {
        cf_rig_end(&rig);
        return;
    }
    uint32_t in[] = {cf_rig_input(&rig, GR_DIM_T, 128, 1.0), cf_rig_input(&rig, GR_DIM_T, 128, 1.0),
                     cf_rig_state(&rig)};
    uint32_t q = cf_rig_input(&rig, GR_DIM_T, 256, 2.0), state = cf_rig_state(&rig);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, 256);
    cf_rig_node(&rig, GR_OP_KV_WRITE, &attention, 3, in, 1, &state);
    cf_rig_node(&rig, GR_OP_ATTENTION, &attention, 2, (uint32_t[]){q, state}, 1, &y);
    cf_rig_finish(&rig);
}

// ---- Pages used again ----

enum { PAGE = 8, DIM = 64, PAGES = 2, ROUNDS = 8, Q_BYTES = DIM * 4, ARENA = 1024 };

// Attention of one row over a whole page whose values are all alike: the result is that value.
typedef struct reader {
    cf_suite *suite;
    const char *name;
    gr_value values[3]; // q, state, y
    uint32_t in[2], out;
    gr_node node;
    gr_attrs_attention attrs;
    gr_segment segment;
    gr_step step;
    gr_step_group group;
    gr_cache_layer layer;
    int32_t position, row_seq, seq_rows[2], table, first, count;
    gr_kv *kv;
    gr_buffer *arena, *scratch;
    gr_program *program;
    gr_fence *fence;
    uint64_t given;
} reader;

static void describe(reader *r) {
    for (uint32_t v = 0; v < 3; v++)
        r->values[v] = (gr_value){.struct_size = sizeof(gr_value),
                                  .kind = v == 1 ? GR_VALUE_STATE : GR_VALUE_ACTIVATION,
                                  .dtype = v == 1 ? GR_DTYPE_F16 : GR_DTYPE_F32,
                                  .flags = v == 2 ? GR_VALUE_EXPORT : GR_VALUE_IMPORT,
                                  .rank = v == 1 ? 1 : 2,
                                  .dims = {GR_DIM_T, v == 1 ? 1 : DIM, 1, 1},
                                  .offset = v == 1 ? GR_NO_OFFSET : v * Q_BYTES};
    r->attrs = (gr_attrs_attention){.struct_size = sizeof r->attrs,
                                    .heads = 1,
                                    .kv_heads = 1,
                                    .k_dim = DIM,
                                    .v_dim = DIM,
                                    .scale = 0.125f};
    r->in[1] = 1;
    r->out = 2;
    r->node = (gr_node){.struct_size = sizeof r->node,
                        .op = GR_OP_ATTENTION,
                        .flags = GR_NODE_RUN,
                        .in_count = 2,
                        .out_count = 1,
                        .in = r->in,
                        .out = &r->out,
                        .attrs = &r->attrs};
    r->segment = (gr_segment){.struct_size = sizeof r->segment,
                              .value_count = 3,
                              .value_stride = sizeof r->values[0],
                              .node_count = 1,
                              .node_stride = sizeof r->node,
                              .values = r->values,
                              .nodes = &r->node};
    r->position = PAGE - 1;
    r->seq_rows[1] = r->count = 1;
    r->group = (gr_step_group){.struct_size = sizeof r->group,
                               .page_tokens = PAGE,
                               .page_table_stride = 1,
                               .page_table = &r->table,
                               .first_page = &r->first,
                               .page_count = &r->count};
    r->step = (gr_step){.struct_size = sizeof r->step,
                        .rows = 1,
                        .seqs = 1,
                        .group_count = 1,
                        .group_stride = sizeof r->group,
                        .positions = &r->position,
                        .row_seq = &r->row_seq,
                        .seq_rows = r->seq_rows,
                        .groups = &r->group};
}

// Gives every value of a page, on `queue` or, where nothing is in flight, without one.
static bool page_set(reader *r, gr_queue *queue, uint32_t page, float value) {
    float values[PAGE * DIM];
    for (uint32_t i = 0; i < PAGE * DIM; i++)
        values[i] = value;
    const gr_kv_region region = {
        .struct_size = sizeof region, .part = 1, .page = page, .count = PAGE};
    return !r->suite->backend->kv_write(r->suite->device, queue, r->kv, &region, GR_DTYPE_F32,
                                        values, sizeof values, NULL);
}

static gr_status reader_compile(reader *r) {
    const gr_backend *b = r->suite->backend;
    gr_device *device = r->suite->device;
    gr_program_info info = {.struct_size = sizeof info};
    const gr_program_desc desc = {.struct_size = sizeof desc,
                                  .rows_max = 1,
                                  .seqs_max = 1,
                                  .outputs_max = 1,
                                  .segment = &r->segment,
                                  .step = &r->step,
                                  .cache_layer_count = 1,
                                  .cache_layer_stride = sizeof r->layer,
                                  .threads = 3,
                                  .cache_layers = &r->layer,
                                  .arena = r->arena};
    gr_status status = b->program_compile(device, &desc, &r->program, &info, NULL);
    if (status == GR_OK)
        status = b->buffer_alloc(
            device, info.scratch_shared_bytes + 3 * info.scratch_per_thread_bytes, &r->scratch, NULL);
    return status;
}

// False with a failure or a skip said.
static bool reader_make(reader *r, cf_suite *suite, const char *name) {
    const gr_backend *b = suite->backend;
    gr_device *device = suite->device;
    static const float ones[PAGE * DIM] = {1};
    const gr_kv_region keys = {.struct_size = sizeof keys, .count = PAGE};
    const gr_kv_desc pool = {.struct_size = sizeof pool,
                             .layers = 1,
                             .page_tokens = PAGE,
                             .kv_heads = 1,
                             .k_dim = DIM,
                             .v_dim = DIM,
                             .dtype = GR_DTYPE_F16,
                             .pages = PAGES};
    gr_support support = {.struct_size = sizeof support};
    memset(r, 0, sizeof *r);
    r->suite = suite;
    r->name = name;
    describe(r);
    b->node_support(device, &r->segment, 0, &support);
    gr_abi_settle_support(&support);
    if (support.level == GR_SUPPORT_NO) {
        cf_skip(suite, name, true, support.reason);
        return false;
    }
    bool good = !b->kv_create(device, &pool, &r->kv, NULL) &&
                !b->buffer_alloc(device, ARENA, &r->arena, NULL) &&
                !b->fence_create(device, &r->fence, NULL) &&
                !b->buffer_write(device, NULL, r->arena, 0, ones, Q_BYTES, NULL) &&
                !b->kv_write(device, NULL, r->kv, &keys, GR_DTYPE_F32, ones, sizeof ones, NULL);
    r->layer = (gr_cache_layer){.struct_size = sizeof r->layer, .kv = r->kv};
    good = good && !reader_compile(r);
    if (!good)
        cf_fail(suite, name, "its parts cannot be made");
    return good;
}

static void reader_unmake(reader *r) {
    const gr_backend *b = r->suite->backend;
    if (r->fence) // the last step may be at work
        b->fence_wait(r->suite->device, r->fence, r->given, UINT64_C(10000000000), NULL);
    b->program_destroy(r->suite->device, r->program);
    b->fence_destroy(r->suite->device, r->fence);
    b->buffer_destroy(r->suite->device, r->scratch);
    b->buffer_destroy(r->suite->device, r->arena);
    b->kv_destroy(r->suite->device, r->kv);
}

static bool reader_give(reader *r) {
    const gr_submit submit = {.struct_size = sizeof submit,
                              .program = r->program,
                              .scratch = r->scratch,
                              .signal = r->fence,
                              .signal_value = ++r->given};
    return !r->suite->backend->submit(r->suite->device, r->suite->queues[1], &submit, NULL);
}

// What the last step saw; NaN when it cannot be read.
static float reader_saw(reader *r, gr_queue *queue) {
    float y[DIM];
    if (r->suite->backend->buffer_read(r->suite->device, queue, r->arena, 2 * Q_BYTES, y, sizeof y,
                                       NULL))
        return NAN;
    for (uint32_t i = 1; i < DIM; i++) {
        if (fabsf(y[i] - y[0]) > 1e-3f)
            return NAN;
    }
    return y[0];
}

// One round: a step over a page that holds `now`, which then gets `then`. True when the step saw
// `now`.
static bool behind_fence(reader *r, float now, float then) {
    bool good = page_set(r, NULL, 0, now) && reader_give(r) &&
                !r->suite->backend->fence_wait(r->suite->device, r->fence, r->given,
                                               UINT64_C(10000000000), NULL) &&
                page_set(r, NULL, 0, then);
    return good && fabsf(reader_saw(r, NULL) - now) < 0.01f;
}

static bool in_order(reader *r, float now, float then) {
    gr_queue *queue = r->suite->queues[1];
    bool good = page_set(r, queue, 0, now) && reader_give(r) && page_set(r, queue, 0, then);
    return good && fabsf(reader_saw(r, queue) - now) < 0.01f;
}

static bool copied(reader *r, float now, float then) {
    gr_queue *queue = r->suite->queues[1];
    bool good = page_set(r, queue, 0, now) && page_set(r, queue, 1, then) && reader_give(r) &&
                !r->suite->backend->kv_copy_page(r->suite->device, queue, r->kv, 1, 0, PAGE, NULL);
    good = good && fabsf(reader_saw(r, queue) - now) < 0.01f && reader_give(r);
    return good && fabsf(reader_saw(r, queue) - then) < 0.01f;
}

static void pages(cf_suite *suite) {
    static const struct {
        const char *name;
        bool (*round)(reader *r, float now, float then);
    } ways[] = {{"LIVE pages written again behind the step's fence", behind_fence},
                {"LIVE pages written again in the queue's order", in_order},
                {"LIVE pages copied over in the queue's order", copied}};
    static reader r; // its step outlives the function that gave it
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (!cf_case_begin(suite, ways[i].name))
            continue;
        if (reader_make(&r, suite, ways[i].name)) {
            uint32_t round = 0;
            while (round < ROUNDS && ways[i].round(&r, (float)round + 1, (float)round + 100))
                round++;
            if (round == ROUNDS)
                cf_pass(suite, ways[i].name);
            else
                cf_fail(suite, ways[i].name, "round %u: the step did not see what it was given",
                        round);
        }
        reader_unmake(&r);
        cf_case_end(suite);
    }
}

void cf_cases_moves(cf_suite *suite) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    static const int32_t pasts[] = {0, 11, 12, 13, 27, 100}; // around the window and the pages
    if (!cf_wanted(suite, "LIVE"))
        return;
    pages(suite);
    for (uint32_t d = 0; d < 4; d++) {
        for (uint32_t i = 0; i < sizeof pasts / sizeof pasts[0]; i++) {
            moved(suite, dtypes[d], pasts[i], 1);
            moved(suite, dtypes[d], pasts[i], 7); // in the middle of a prompt
        }
    }
}
