// SPDX-License-Identifier: Apache-2.0
// case_programs.c: what compile and submit must refuse, what they must accept, failing memory,
// traces.
#include <string.h>

#include "host/internal.h"
#include "suite.h"

enum { ROWS = 4, WIDTH = 64 };

// One product y = x W and a sum z = y + y, with room for what a newer host would append.
typedef struct program {
    cf_suite *suite;
    struct {
        gr_value value;
        uint64_t later;
    } values[4]; // x, W, y, z
    struct {
        gr_node node;
        uint64_t later;
    } nodes[2];
    struct {
        gr_attrs_none attrs;
        uint32_t later;
    } attrs;
    uint32_t in[2][4], out[2];
    gr_segment segment;
    gr_step step;
    int32_t positions[ROWS + 1], row_seq[ROWS + 1], seq_rows[2];
    float weight[WIDTH * WIDTH];
    gr_weight *weights[4];
    gr_buffer *arena, *scratch;
    gr_program_desc desc;
} program;

static void check(program *p, const char *what, bool good) {
    char name[160];
    snprintf(name, sizeof name, "PROGRAM %s", what);
    if (good)
        cf_pass(p->suite, name);
    else
        cf_fail(p->suite, name, "not so");
}

static void set_value(program *p, uint32_t v, gr_value_kind kind, int64_t d0, uint64_t offset) {
    p->values[v].value = (gr_value){.struct_size = sizeof(gr_value),
                                    .kind = kind,
                                    .dtype = GR_DTYPE_F32,
                                    .index = v,
                                    .rank = 2,
                                    .dims = {d0, WIDTH, 1, 1},
                                    .offset = offset};
}

static void set_node(program *p, uint32_t i, gr_op op, uint32_t a, uint32_t b, uint32_t y) {
    p->in[i][0] = a;
    p->in[i][1] = b;
    p->out[i] = y;
    p->nodes[i].node = (gr_node){.struct_size = sizeof(gr_node),
                                 .op = op,
                                 .flags = GR_NODE_RUN,
                                 .in_count = 2,
                                 .out_count = 1,
                                 .in = p->in[i],
                                 .out = &p->out[i],
                                 .attrs = &p->attrs,
                                 .layer = 7};
}

static bool make(program *p, cf_suite *suite) {
    memset(p, 0, sizeof *p);
    p->suite = suite;
    set_value(p, 0, GR_VALUE_ACTIVATION, GR_DIM_T, 0);
    set_value(p, 1, GR_VALUE_WEIGHT, WIDTH, GR_NO_OFFSET);
    set_value(p, 2, GR_VALUE_ACTIVATION, GR_DIM_T, 1024);
    set_value(p, 3, GR_VALUE_ACTIVATION, GR_DIM_T, 2048);
    p->values[3].value.flags = GR_VALUE_EXPORT;
    p->attrs.attrs.struct_size = sizeof(gr_attrs_none);
    set_node(p, 0, GR_OP_MATMUL, 0, 1, 2);
    set_node(p, 1, GR_OP_ADD, 2, 2, 3);
    p->segment = (gr_segment){.struct_size = sizeof p->segment,
                              .value_count = 4,
                              .value_stride = sizeof p->values[0],
                              .node_count = 2,
                              .node_stride = sizeof p->nodes[0],
                              .values = &p->values[0].value,
                              .nodes = &p->nodes[0].node};
    for (int32_t t = 0; t <= ROWS; t++)
        p->positions[t] = t;
    p->seq_rows[1] = ROWS;
    p->step = (gr_step){.struct_size = sizeof p->step,
                        .rows = ROWS,
                        .seqs = 1,
                        .positions = p->positions,
                        .row_seq = p->row_seq,
                        .seq_rows = p->seq_rows};
    p->desc = (gr_program_desc){.struct_size = sizeof p->desc,
                                .rows_max = ROWS,
                                .seqs_max = 1,
                                .outputs_max = 1,
                                .segment = &p->segment,
                                .step = &p->step,
                                .weights = p->weights,
                                .weight_count = 4,
                                .threads = 3};
    for (uint32_t i = 0; i < WIDTH; i++)
        p->weight[i * WIDTH + i] = 2.0f;
    gr_weight_desc weight = {.struct_size = sizeof weight,
                             .dtype = GR_DTYPE_F32,
                             .rank = 2,
                             .consumer = GR_OP_MATMUL,
                             .dims = {WIDTH, WIDTH, 1, 1},
                             .data = p->weight,
                             .bytes = sizeof p->weight,
                             .name = "w"};
    gr_weight_info info = {.struct_size = sizeof info};
    bool good =
        !suite->backend->weight_import(suite->device, &weight, &p->weights[1], &info, NULL) &&
        !suite->backend->buffer_alloc(suite->device, 3072, &p->arena, NULL) &&
        !suite->backend->buffer_alloc(suite->device, 1 << 20, &p->scratch, NULL);
    p->desc.arena = p->arena;
    return good;
}

static void unmake(program *p) {
    const gr_backend *b = p->suite->backend;
    b->weight_destroy(p->suite->device, p->weights[1]);
    b->buffer_destroy(p->suite->device, p->arena);
    b->buffer_destroy(p->suite->device, p->scratch);
}

// Whether the program compiles; a refusal must leave no program and say why.
static bool compiles(program *p, const char *what) {
    gr_program *made = (gr_program *)p;
    gr_program_info info = {.struct_size = sizeof info};
    gr_error error;
    gr_error_init(&error);
    gr_status status =
        p->suite->backend->program_compile(p->suite->device, &p->desc, &made, &info, &error);
    if (status == GR_OK)
        p->suite->backend->program_destroy(p->suite->device, made);
    else if (made || !error.message[0])
        check(p, what, false);
    return status == GR_OK;
}

static gr_support_level level(program *p, uint32_t node) {
    gr_support support = {.struct_size = sizeof support};
    p->suite->backend->node_support(p->suite->device, &p->segment, node, &support);
    if (support.level > GR_SUPPORT_NATIVE)
        check(p, "a level that exists", false);
    gr_abi_settle_support(&support);
    if (support.level == GR_SUPPORT_NO && !support.reason[0])
        check(p, "a refusal gives a reason", false);
    return support.level;
}

// Why the device does not take the program's nodes; NULL: it does. Stands until the next call.
static const char *refused(program *p) {
    static gr_support answer;
    for (uint32_t i = 0; i < 2; i++) {
        answer = (gr_support){.struct_size = sizeof answer};
        p->suite->backend->node_support(p->suite->device, &p->segment, i, &answer);
        gr_abi_settle_support(&answer);
        if (answer.level == GR_SUPPORT_NO)
            return answer.reason;
    }
    return NULL;
}

static void refusals(program *p) {
    program kept = *p;
    check(p, "compiles", compiles(p, "compiles"));
    p->weights[1] = NULL;
    check(p, "without its weight is refused", !compiles(p, "missing weight"));
    p->weights[1] = kept.weights[1];
    p->desc.weight_count = 1;
    check(p, "with too few weights is refused", !compiles(p, "few weights"));
    p->desc.weight_count = 4;
    p->values[3].value.offset = 3072 - ROWS * WIDTH * 4 + 64;
    check(p, "with a value past the arena's end is refused", !compiles(p, "past the end"));
    p->values[3].value.offset = UINT64_MAX - 63;
    check(p, "with an offset that overflows is refused", !compiles(p, "overflow"));
    p->values[3].value.offset = kept.values[3].value.offset;
    p->in[1][1] = 4;
    check(p, "with an operand that does not exist is refused", !compiles(p, "operand"));
    p->in[1][1] = 2;
    p->values[1].value.dims[0] = WIDTH / 2;
    check(p, "with a weight of another shape is refused", !compiles(p, "shape"));
    p->values[1].value.dims[0] = WIDTH;
    p->desc.rows_max = ROWS * 100;
    check(p, "with a bucket that the arena cannot hold is refused", !compiles(p, "bucket"));
    p->desc.rows_max = ROWS;
}

static void support(program *p) {
    gr_support_level before = level(p, 1);
    p->nodes[1].node.op = GR_OP_LIMIT - 1;
    check(p, "unknown op: no", level(p, 1) == GR_SUPPORT_NO);
    p->nodes[1].node.op = GR_OP_ADD;
    p->values[3].value.dims[1] = WIDTH + 1;
    check(p, "shapes that do not fit: no", level(p, 1) == GR_SUPPORT_NO);
    p->values[3].value.dims[1] = WIDTH;
    p->values[1].value.dtype = 5;
    check(p, "unknown dtype: no", level(p, 0) == GR_SUPPORT_NO);
    p->values[1].value.dtype = GR_DTYPE_F32;
    check(p, "no such node: no", level(p, 2) == GR_SUPPORT_NO);
    p->nodes[1].node.struct_size = sizeof p->nodes[1];
    p->attrs.attrs.struct_size = sizeof p->attrs;
    check(p, "a newer host's node, tail zero", level(p, 1) == before && before != GR_SUPPORT_NO);
    p->nodes[1].later = 1;
    check(p, "a newer host's node, tail in use: no", level(p, 1) == GR_SUPPORT_NO);
    p->nodes[1].later = 0;
    p->attrs.later = 1;
    check(p, "attributes with a tail in use: no", level(p, 1) == GR_SUPPORT_NO);
    p->attrs.later = 0;
    p->nodes[1].node.struct_size = sizeof(gr_node);
    p->attrs.attrs.struct_size = sizeof(gr_attrs_none);
    p->nodes[1].node.flags |= UINT32_C(1) << 30;
    check(p, "an unknown flag: no", level(p, 1) == GR_SUPPORT_NO);
    p->nodes[1].node.flags = GR_NODE_RUN;
    gr_support shorter = {.struct_size = 8, .precision = 77};
    p->suite->backend->node_support(p->suite->device, &p->segment, 1, &shorter);
    check(p, "support of a shorter caller",
          shorter.struct_size == 8 && shorter.level == before && shorter.precision == 77);
}

static gr_status run(program *p, gr_program *made, gr_fence *fence, uint64_t value) {
    gr_submit submit = {.struct_size = sizeof submit,
                        .program = made,
                        .scratch = p->scratch,
                        .signal = fence,
                        .signal_value = value};
    gr_status status =
        p->suite->backend->submit(p->suite->device, p->suite->queues[1], &submit, NULL);
    if (status == GR_OK && fence)
        status = p->suite->backend->fence_wait(p->suite->device, fence, value,
                                               UINT64_C(10000000000), NULL);
    return status;
}

static void steps(program *p) {
    const gr_backend *b = p->suite->backend;
    gr_program *made = NULL;
    gr_program_info info = {.struct_size = sizeof info};
    gr_fence *fence = NULL;
    float x[ROWS * WIDTH], z[ROWS * WIDTH] = {0};
    bool right = true;
    if (b->program_compile(p->suite->device, &p->desc, &made, &info, NULL) ||
        b->fence_create(p->suite->device, &fence, NULL)) {
        check(p, "compile and fence", false);
        return;
    }
    for (uint32_t i = 0; i < ROWS * WIDTH; i++)
        x[i] = (float)(i % 13) - 6.0f;
    b->buffer_write(p->suite->device, NULL, p->arena, 0, x, sizeof x, NULL);
    p->suite->host.tracing = 1;
    p->suite->host.traced = 0;
    check(p, "runs and signals",
          run(p, made, fence, 5) == GR_OK &&
              b->fence_wait(p->suite->device, fence, 5, 0, NULL) == GR_OK);
    check(p, "traces what it did", p->suite->host.traced >= 1 && p->suite->host.traced <= 2);
    p->suite->host.tracing = 0;
    b->buffer_read(p->suite->device, NULL, p->arena, 2048, z, sizeof z, NULL);
    for (uint32_t i = 0; i < ROWS * WIDTH; i++)
        right = right && z[i] == 4 * x[i];
    check(p, "gives what it should", right);
    check(p, "the fence stands at 5, not 6",
          b->fence_wait(p->suite->device, fence, 6, 0, NULL) == GR_ERROR_TIMEOUT);
    uint64_t before = p->suite->host.allocations;
    p->step.rows = p->seq_rows[1] = 1;
    bool small = run(p, made, fence, 6) == GR_OK;
    p->step.rows = p->step.seqs = 0;
    check(p, "runs with fewer rows, and with none", small && run(p, made, fence, 7) == GR_OK);
    check(p, "a step allocates nothing", p->suite->host.allocations == before);
    p->step.rows = ROWS + 1;
    p->step.seqs = 1;
    p->seq_rows[1] = ROWS + 1;
    check(p, "more rows than the bucket is refused", run(p, made, fence, 8) != GR_OK);
    check(p, "a refused step signals nothing",
          b->fence_wait(p->suite->device, fence, 8, 0, NULL) == GR_ERROR_TIMEOUT);
    b->fence_destroy(p->suite->device, fence);
    b->program_destroy(p->suite->device, made);
}

// Lets each allocation of one call fail in turn: it must say so, leave nothing behind, and then
// succeed.
static void failing_memory(program *p, const char *what,
                           bool (*call)(program *p, gr_status *out_status)) {
    cf_host *host = &p->suite->host;
    bool clean = true, succeeded = false;
    for (uint32_t n = 1; n < 64 && !succeeded && clean; n++) {
        uint64_t before = host->outstanding;
        gr_status status = GR_OK;
        host->fail_at = host->allocations + n;
        succeeded = call(p, &status);
        host->fail_at = 0;
        clean = host->outstanding == before && (succeeded || status == GR_ERROR_OUT_OF_MEMORY);
    }
    check(p, what, clean && succeeded);
}

static bool call_compile(program *p, gr_status *out_status) {
    gr_program *made = (gr_program *)p;
    gr_program_info info = {.struct_size = sizeof info};
    *out_status =
        p->suite->backend->program_compile(p->suite->device, &p->desc, &made, &info, NULL);
    if (*out_status != GR_OK) {
        *out_status = made ? GR_ERROR_INTERNAL : *out_status; // nothing may be left
        return false;
    }
    p->suite->backend->program_destroy(p->suite->device, made);
    return true;
}

static bool call_kv(program *p, gr_status *out_status) {
    gr_kv *kv = NULL;
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = 2,
                       .page_tokens = 8,
                       .kv_heads = 1,
                       .k_dim = 64,
                       .v_dim = 64,
                       .dtype = GR_DTYPE_F16,
                       .pages = 3};
    *out_status = p->suite->backend->kv_create(p->suite->device, &desc, &kv, NULL);
    if (*out_status != GR_OK)
        return false;
    *out_status = p->suite->backend->kv_resize(p->suite->device, kv, 9, NULL);
    p->suite->backend->kv_destroy(p->suite->device, kv);
    return *out_status == GR_OK;
}

static bool call_weight(program *p, gr_status *out_status) {
    static const uint8_t data[2 * 144];
    gr_weight *weight = NULL;
    gr_weight_info info = {.struct_size = sizeof info};
    gr_weight_desc desc = {.struct_size = sizeof desc,
                           .dtype = GR_DTYPE_Q4_K,
                           .rank = 2,
                           .consumer = GR_OP_MATMUL,
                           .dims = {2, 256, 1, 1},
                           .data = data,
                           .bytes = sizeof data,
                           .name = "w"};
    *out_status = p->suite->backend->weight_import(p->suite->device, &desc, &weight, &info, NULL);
    p->suite->backend->weight_destroy(p->suite->device, weight);
    return *out_status == GR_OK;
}

static bool call_buffer(program *p, gr_status *out_status) {
    gr_buffer *buffer = NULL;
    *out_status = p->suite->backend->buffer_alloc(p->suite->device, 4096, &buffer, NULL);
    p->suite->backend->buffer_destroy(p->suite->device, buffer);
    return *out_status == GR_OK;
}

static void memory_compile(program *p) {
    failing_memory(p, "compile when memory runs out", call_compile);
}

static void memory_kv(program *p) {
    failing_memory(p, "kv_create and kv_resize when memory runs out", call_kv);
}

static void memory_weight(program *p) {
    failing_memory(p, "weight_import when memory runs out", call_weight);
}

static void memory_buffer(program *p) {
    failing_memory(p, "buffer_alloc when memory runs out", call_buffer);
}

void cf_cases_programs(cf_suite *suite) {
    static program p; // large
    static const struct {
        const char *name;
        void (*run)(program *p);
        bool nodes; // compiles the program
    } cases[] = {{"PROGRAM refusals", refusals, true},
                 {"PROGRAM support", support, true},
                 {"PROGRAM steps", steps, true},
                 {"PROGRAM compile when memory runs out", memory_compile, true},
                 {"PROGRAM kv_create and kv_resize when memory runs out", memory_kv, false},
                 {"PROGRAM weight_import when memory runs out", memory_weight, false},
                 {"PROGRAM buffer_alloc when memory runs out", memory_buffer, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!cf_wanted(suite, "PROGRAM") || !cf_case_begin(suite, cases[i].name))
            continue;
        bool made = make(&p, suite);
        const char *refusal = cases[i].nodes ? refused(&p) : NULL;
        if (refusal)
            cf_skip(suite, cases[i].name, true, refusal);
        else
            check(&p, "its parts can be made", made);
        if (made && !refusal)
            cases[i].run(&p);
        unmake(&p);
        cf_case_end(suite);
    }
}
