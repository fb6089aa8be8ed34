// SPDX-License-Identifier: Apache-2.0
// case_versions.c: structs of newer and older hosts. A longer struct is accepted when its unknown
// tail is zero and refused when it is not; a host of ABI 0.1 is enough; a caller's shorter struct is
// filled as far as it goes.
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "suite.h"

// A struct as a newer host may have it.
#define LONGER(type)                                                                               \
    struct {                                                                                       \
        type known;                                                                                \
        uint64_t later[2];                                                                         \
    }

enum { ROWS = 3, DIM = 32, PAGE = 4, WIDTH_BYTES = ROWS * DIM * 4, ARENA = 4096 };

// KV_WRITE and ATTENTION over a small pool, every struct with room behind it.
typedef struct newer {
    cf_suite *suite;
    LONGER(gr_value) values[6]; // q, k, v, y, state, state
    LONGER(gr_node) nodes[2];
    LONGER(gr_attrs_attention) attrs;
    uint32_t in[2][3], out[2];
    LONGER(gr_segment) segment;
    LONGER(gr_step_group) group;
    LONGER(gr_step) step;
    LONGER(gr_cache_layer) layer;
    LONGER(gr_kv_desc) kv_desc;
    LONGER(gr_program_desc) desc;
    LONGER(gr_submit) submit;
    int32_t positions[ROWS], row_seq[ROWS], seq_rows[2], table[1], first[1], count[1];
    gr_kv *kv;
    gr_buffer *arena, *scratch;
    gr_program *program;
    gr_fence *fence;
} newer;

#define SIZED(field) (field).known.struct_size = sizeof(field)

static void set_nodes(newer *n) {
    for (uint32_t v = 0; v < 6; v++) {
        n->values[v].known = (gr_value){.kind = v < 4 ? GR_VALUE_ACTIVATION : GR_VALUE_STATE,
                                        .rank = v < 4 ? 2 : 1,
                                        .dims = {GR_DIM_T, v < 4 ? DIM : 1, 1, 1},
                                        .offset = v < 4 ? v * 1024u : GR_NO_OFFSET};
        SIZED(n->values[v]);
    }
    n->values[3].known.flags = GR_VALUE_EXPORT;
    n->attrs.known =
        (gr_attrs_attention){.heads = 1, .kv_heads = 1, .k_dim = DIM, .v_dim = DIM, .scale = 0.25f};
    SIZED(n->attrs);
    memcpy(n->in, (uint32_t[2][3]){{1, 2, 4}, {0, 5, 0}}, sizeof n->in);
    memcpy(n->out, (uint32_t[2]){5, 3}, sizeof n->out);
    for (uint32_t i = 0; i < 2; i++) {
        n->nodes[i].known = (gr_node){.op = i ? GR_OP_ATTENTION : GR_OP_KV_WRITE,
                                      .flags = GR_NODE_RUN,
                                      .in_count = i ? 2 : 3,
                                      .out_count = 1,
                                      .in = n->in[i],
                                      .out = &n->out[i],
                                      .attrs = &n->attrs};
        SIZED(n->nodes[i]);
    }
    n->segment.known = (gr_segment){.value_count = 6,
                                    .value_stride = sizeof n->values[0],
                                    .node_count = 2,
                                    .node_stride = sizeof n->nodes[0],
                                    .values = &n->values[0].known,
                                    .nodes = &n->nodes[0].known};
    SIZED(n->segment);
}

static void set_step(newer *n) {
    for (int32_t t = 0; t < ROWS; t++)
        n->positions[t] = t;
    n->seq_rows[1] = ROWS;
    n->count[0] = 1;
    n->group.known = (gr_step_group){.page_tokens = PAGE,
                                     .page_table_stride = 1,
                                     .page_table = n->table,
                                     .first_page = n->first,
                                     .page_count = n->count};
    SIZED(n->group);
    n->step.known = (gr_step){.rows = ROWS,
                              .seqs = 1,
                              .group_count = 1,
                              .group_stride = sizeof n->group,
                              .positions = n->positions,
                              .row_seq = n->row_seq,
                              .seq_rows = n->seq_rows,
                              .groups = &n->group.known};
    SIZED(n->step);
}

static void set_program(newer *n) {
    SIZED(n->layer);
    n->kv_desc.known = (gr_kv_desc){
        .layers = 1, .page_tokens = PAGE, .kv_heads = 1, .k_dim = DIM, .v_dim = DIM, .pages = 1};
    SIZED(n->kv_desc);
    n->desc.known = (gr_program_desc){.rows_max = ROWS,
                                      .seqs_max = 1,
                                      .outputs_max = 1,
                                      .segment = &n->segment.known,
                                      .step = &n->step.known,
                                      .cache_layer_count = 1,
                                      .cache_layer_stride = sizeof n->layer,
                                      .threads = 1,
                                      .cache_layers = &n->layer.known};
    SIZED(n->desc);
    SIZED(n->submit);
    n->submit.known.signal_value = 1;
}

// Makes the pool, compiles, runs and waits; the first status that is not OK.
static gr_status run(newer *n) {
    const gr_backend *b = n->suite->backend;
    gr_device *device = n->suite->device;
    gr_program_info info = {.struct_size = sizeof info};
    float ones[ROWS * DIM];
    for (uint32_t i = 0; i < ROWS * DIM; i++)
        ones[i] = 1.0f;
    gr_status status = b->kv_create(device, &n->kv_desc.known, &n->kv, NULL);
    n->layer.known.kv = n->kv;
    if (status == GR_OK)
        status = b->buffer_alloc(device, ARENA, &n->arena, NULL);
    n->desc.known.arena = n->arena;
    for (uint32_t v = 0; v < 3 && status == GR_OK; v++)
        status = b->buffer_write(device, NULL, n->arena, v * 1024u, ones, sizeof ones, NULL);
    if (status == GR_OK)
        status = b->program_compile(device, &n->desc.known, &n->program, &info, NULL);
    if (status == GR_OK)
        status = b->buffer_alloc(device, info.scratch_shared_bytes + info.scratch_per_thread_bytes,
                                 &n->scratch, NULL);
    if (status == GR_OK)
        status = b->fence_create(device, &n->fence, NULL);
    n->submit.known.program = n->program;
    n->submit.known.scratch = n->scratch;
    n->submit.known.signal = n->fence;
    if (status == GR_OK)
        status = b->submit(device, n->suite->queues[0], &n->submit.known, NULL);
    if (status == GR_OK)
        status = b->fence_wait(device, n->fence, 1, UINT64_C(20000000000), NULL);
    return status;
}

static void unmake(newer *n) {
    const gr_backend *b = n->suite->backend;
    b->fence_destroy(n->suite->device, n->fence);
    b->program_destroy(n->suite->device, n->program);
    b->buffer_destroy(n->suite->device, n->scratch);
    b->buffer_destroy(n->suite->device, n->arena);
    b->kv_destroy(n->suite->device, n->kv);
}

// Whether attention over equal values gives that value.
static bool right(newer *n) {
    float y[ROWS * DIM] = {0};
    bool good = !n->suite->backend->buffer_read(n->suite->device, NULL, n->arena, 3 * 1024u, y,
                                                sizeof y, NULL);
    for (uint32_t i = 0; i < ROWS * DIM && good; i++)
        good = y[i] > 0.999f && y[i] < 1.001f;
    return good;
}

static void longer(cf_suite *suite, const char *what, size_t tail_offset, bool used) {
    static newer n; // large
    char name[96];
    snprintf(name, sizeof name, "VERSION %s of a newer host, tail %s", what,
             used ? "in use" : "zero");
    if (!cf_wanted(suite, "VERSION") || !cf_case_begin(suite, name))
        return;
    memset(&n, 0, sizeof n);
    n.suite = suite;
    set_nodes(&n);
    set_step(&n);
    set_program(&n);
    gr_support support[2] = {{.struct_size = sizeof support[0]},
                             {.struct_size = sizeof support[0]}};
    for (uint32_t i = 0; i < 2; i++) {
        suite->backend->node_support(suite->device, &n.segment.known, i, &support[i]);
        gr_abi_settle_support(&support[i]);
    }
    ((uint8_t *)&n)[tail_offset + 5] = used;
    if (!support[0].level || !support[1].level) {
        cf_skip(suite, name, true, support[0].level ? support[1].reason : support[0].reason);
    } else {
        gr_status status = run(&n);
        if (used ? status != GR_OK : status == GR_OK && right(&n))
            cf_pass(suite, name);
        else
            cf_fail(suite, name, "%s", used ? "it was accepted" : gr_status_name(status));
    }
    unmake(&n);
    cf_case_end(suite);
}

// ---- Shorter ones ----

static void *plain_alloc(const gr_host *host, uint64_t bytes) {
    void *memory = NULL;
    (void)host;
    if (bytes > (UINT64_C(1) << 36) || posix_memalign(&memory, 64, bytes ? bytes : 1))
        return NULL;
    return memset(memory, 0, bytes);
}

static void plain_free(const gr_host *host, void *memory, uint64_t bytes) {
    (void)host;
    (void)bytes;
    free(memory);
}

static void plain_log(const gr_host *host, gr_log_level level, const char *line) {
    (void)host;
    (void)level;
    (void)line;
}

// The table that ABI 0.1 had, up to a page that cannot be read.
static void old_host(cf_suite *suite) {
    static const char name[] = "VERSION a host of ABI 0.1";
    cf_rig rig;
    const gr_backend *b = suite->backend;
    gr_device *device = NULL;
    gr_buffer *buffer = NULL;
    uint32_t count = 0;
    uint8_t in[64] = {7, 8, 9}, out[64] = {0};
    if (!cf_rig_begin(&rig, suite, "VERSION", name, 1, 0))
        return;
    uint32_t size = offsetof(gr_host, flags);
    gr_host *host = (gr_host *)(void *)cf_rig_region(&rig, size, true, 0);
    memcpy(host, &suite->host.table, size);
    host->struct_size = size;
    host->abi_minor = 1;
    host->log = plain_log;
    host->memory_alloc = plain_alloc;
    host->memory_free = plain_free;
    host->trace_enabled = NULL;
    bool good = !b->probe(host, NULL, 0, 0, &count, NULL) && count > suite->ordinal &&
                !b->open(host, suite->ordinal, &device, NULL) &&
                !b->buffer_alloc(device, sizeof in, &buffer, NULL) &&
                !b->buffer_write(device, NULL, buffer, 0, in, sizeof in, NULL) &&
                !b->buffer_read(device, NULL, buffer, 0, out, sizeof out, NULL) &&
                !memcmp(in, out, sizeof in);
    if (device) {
        b->buffer_destroy(device, buffer);
        b->close(device);
    }
    if (good)
        cf_pass(suite, name);
    else
        cf_fail(suite, name, "it cannot be probed, opened, or used");
    cf_rig_end(&rig);
}

// Callers that know the first field only: nothing behind it may change.
static void old_callers(cf_suite *suite) {
    static const char name[] = "VERSION callers that know less";
    static const float data[32];
    struct {
        uint32_t struct_size, first;
        uint64_t beyond;
    } info = {8, 99, UINT64_C(0x5a5a5a5a5a5a5a5a)};
    gr_weight *weight = NULL;
    gr_weight_desc desc = {.struct_size = sizeof desc,
                           .rank = 1,
                           .consumer = GR_OP_RMS_NORM,
                           .dims = {32, 1, 1, 1},
                           .data = data,
                           .bytes = sizeof data};
    if (!cf_wanted(suite, "VERSION") || !cf_case_begin(suite, name))
        return;
    desc.struct_size = offsetof(gr_weight_desc, name); // a host that names no weights
    gr_status status = suite->backend->weight_import(suite->device, &desc, &weight,
                                                     (gr_weight_info *)(void *)&info, NULL);
    if (status == GR_OK && info.struct_size == 8 && info.first <= 1 &&
        info.beyond == UINT64_C(0x5a5a5a5a5a5a5a5a))
        cf_pass(suite, name);
    else
        cf_fail(suite, name, "weight_import: %s; more was written than the caller has",
                gr_status_name(status));
    suite->backend->weight_destroy(suite->device, weight);
    cf_case_end(suite);
}

void cf_cases_versions(cf_suite *suite) {
#define TAIL(field)                                                                                \
    { #field, offsetof(newer, field.later) }
    static const struct {
        const char *what;
        size_t tail;
    } structs[] = {TAIL(values[0]), TAIL(nodes[1]), TAIL(attrs),   TAIL(segment), TAIL(group),
                   TAIL(step),      TAIL(layer),    TAIL(kv_desc), TAIL(desc),    TAIL(submit)};
#undef TAIL
    for (size_t i = 0; i < sizeof structs / sizeof structs[0]; i++) {
        longer(suite, structs[i].what, structs[i].tail, false);
        longer(suite, structs[i].what, structs[i].tail, true);
    }
    old_host(suite);
    old_callers(suite);
}
