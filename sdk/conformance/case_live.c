// SPDX-License-Identifier: Apache-2.0
// case_live.c: beside and after other work: steps given ahead, queues that wait for each other,
// planning beside steps, caches moved to another pool and back, rounds of making and destroying.
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "suite.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RESIDENT_SLACK = 256 << 20 }; // freed memory stands in quarantine
#else
enum { RESIDENT_SLACK = 8 << 20 };
#endif

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

// ---- A chain: program 0 computes b = a + x, program 1 a = b + x ----

enum { ROWS = 5, WIDTH = 64, PLACE = 2048 };

typedef struct chain {
    cf_suite *suite;
    gr_value values[3]; // a, b, x
    uint32_t in[2][2], out[2];
    gr_node nodes[2];
    gr_segment segments[2];
    gr_step step;
    int32_t positions[ROWS], row_seq[ROWS], seq_rows[2];
    gr_buffer *arena, *scratch[2];
    gr_program *programs[2];
    gr_fence *fence;
    float x[ROWS * WIDTH];
} chain;

static void chain_describe(chain *c) {
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

static gr_status chain_compile(chain *c, gr_device *device, uint32_t which,
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

// Makes everything on `device`, with a = 0; false with a failure or a skip said.
static bool chain_make(chain *c, cf_suite *suite, gr_device *device, const char *name) {
    const gr_backend *b = suite->backend;
    static const float zeros[ROWS * WIDTH];
    memset(c, 0, sizeof *c);
    c->suite = suite;
    chain_describe(c);
    gr_support support = {.struct_size = sizeof support};
    b->node_support(device, &c->segments[0], 0, &support);
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
            !chain_compile(c, device, i, &c->programs[i], &info) &&
            !b->buffer_alloc(device, info.scratch_shared_bytes + 3 * info.scratch_per_thread_bytes,
                             &c->scratch[i], NULL);
    }
    if (!good)
        cf_fail(suite, name, "its parts cannot be made");
    return good;
}

static void chain_unmake(chain *c, gr_device *device) {
    const gr_backend *b = c->suite->backend;
    for (uint32_t i = 0; i < 2; i++) {
        b->program_destroy(device, c->programs[i]);
        b->buffer_destroy(device, c->scratch[i]);
    }
    b->fence_destroy(device, c->fence);
    b->buffer_destroy(device, c->arena);
}

// Gives link `i` (from 0) to a queue; its signal is i + 1. `wait`: it waits for link i - 1 first.
static gr_status chain_give(chain *c, gr_device *device, gr_queue *queue, uint64_t i, bool wait) {
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

static gr_status chain_wait(chain *c, gr_device *device, uint64_t links) {
    return c->suite->backend->fence_wait(device, c->fence, links, UINT64_C(30000000000), NULL);
}

// Whether the last of `links` links gave links * x.
static bool chain_right(chain *c, gr_device *device, uint64_t links) {
    float got[ROWS * WIDTH];
    bool good = !c->suite->backend->buffer_read(device, NULL, c->arena, links % 2 ? PLACE : 0, got,
                                                sizeof got, NULL);
    for (uint32_t i = 0; i < ROWS * WIDTH && good; i++)
        good = got[i] == (float)links * c->x[i];
    return good;
}

static void verdict(cf_suite *suite, const char *name, bool good, const char *what) {
    if (good)
        cf_pass(suite, name);
    else
        cf_fail(suite, name, "%s", what);
}

// ---- Order ----

// Links given one after the other without waiting, on one queue or in turns on two.
static void ahead(cf_suite *suite, bool two_queues) {
    enum { LINKS = 12 };
    const char *name =
        two_queues ? "LIVE queues that wait for each other" : "LIVE steps given ahead";
    chain c;
    if (!cf_case_begin(suite, name))
        return;
    if (chain_make(&c, suite, suite->device, name)) {
        bool good = true;
        for (uint64_t i = 0; i < LINKS && good; i++)
            good = !chain_give(&c, suite->device, suite->queues[two_queues ? i % 2 : 1], i,
                               two_queues);
        good = good && !chain_wait(&c, suite->device, LINKS);
        verdict(suite, name, good && chain_right(&c, suite->device, LINKS),
                good ? "the steps did not run in order" : "a step was refused or never done");
    }
    chain_unmake(&c, suite->device);
    cf_case_end(suite);
}

// ---- Planning beside steps ----

typedef struct planner {
    chain *c;
    _Atomic bool stop;
    uint32_t rounds;
    bool good;
} planner;

static void *plan(void *argument) {
    planner *p = argument;
    cf_suite *suite = p->c->suite;
    const gr_backend *b = suite->backend;
    static float data[64 * 64];
    gr_weight_desc desc = {.struct_size = sizeof desc,
                           .rank = 2,
                           .consumer = GR_OP_MATMUL,
                           .dims = {64, 64, 1, 1},
                           .data = data,
                           .bytes = sizeof data,
                           .name = "beside"};
    while (!p->stop && p->good) {
        gr_weight *weight = NULL;
        gr_program *program = NULL;
        gr_weight_info weight_info = {.struct_size = sizeof weight_info};
        gr_program_info info = {.struct_size = sizeof info};
        p->good = !b->weight_import(suite->device, &desc, &weight, &weight_info, NULL) &&
                  !chain_compile(p->c, suite->device, p->rounds % 2, &program, &info);
        b->program_destroy(suite->device, program);
        b->weight_destroy(suite->device, weight);
        p->rounds++;
    }
    return NULL;
}

static void beside(cf_suite *suite) {
    static const char name[] = "LIVE weights and programs made beside steps";
    enum { LINKS = 200 };
    chain c;
    if (!cf_case_begin(suite, name))
        return;
    if (chain_make(&c, suite, suite->device, name)) {
        planner p = {.c = &c, .good = true};
        pthread_t thread;
        bool started = !pthread_create(&thread, NULL, plan, &p), good = started;
        for (uint64_t i = 0; i < LINKS && good; i++)
            good = !chain_give(&c, suite->device, suite->queues[1], i, false) &&
                   !chain_wait(&c, suite->device, i + 1);
        p.stop = true;
        if (started)
            pthread_join(thread, NULL);
        verdict(suite, name, good && p.good && chain_right(&c, suite->device, LINKS),
                !good     ? "a step failed"
                : !p.good ? "a weight or program could not be made"
                          : "the steps gave something else");
    }
    chain_unmake(&c, suite->device);
    cf_case_end(suite);
}

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

// ---- Rounds ----

typedef struct resources {
    uint64_t resident, descriptors, threads;
} resources;

static uint64_t entries(const char *folder) {
    DIR *entries = opendir(folder);
    uint64_t count = 0;
    while (entries && readdir(entries))
        count++;
    if (entries)
        closedir(entries);
    return count;
}

// What this process holds; zeros where the system does not tell.
static resources measure(void) {
    resources r = {.descriptors = entries("/proc/self/fd"), .threads = entries("/proc/self/task")};
    unsigned long long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%llu %llu", &size, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    r.resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    return r;
}

static void stable(cf_suite *suite, const char *name, const resources *first) {
    resources last = measure();
    if (last.descriptors > first->descriptors)
        cf_fail(suite, name, "%llu file descriptors more",
                (unsigned long long)(last.descriptors - first->descriptors));
    else if (last.threads > first->threads)
        cf_fail(suite, name, "%llu threads more",
                (unsigned long long)(last.threads - first->threads));
    else if (last.resident > first->resident + RESIDENT_SLACK)
        cf_fail(suite, name, "%.1f MiB more memory",
                (double)(last.resident - first->resident) / 1048576);
    else
        cf_pass(suite, name);
}

// One of everything on a device of its own: false when something was refused.
static bool one_round(cf_suite *suite, const char *name) {
    const gr_backend *b = suite->backend;
    static float data[256 * 256];
    gr_device *device = NULL;
    gr_queue *queue = NULL;
    gr_buffer *large = NULL;
    gr_weight *weight = NULL;
    gr_kv *kv = NULL;
    chain c;
    gr_weight_info info = {.struct_size = sizeof info};
    const gr_weight_desc desc = {.struct_size = sizeof desc,
                                 .rank = 2,
                                 .consumer = GR_OP_MATMUL,
                                 .dims = {256, 256, 1, 1},
                                 .data = data,
                                 .bytes = sizeof data,
                                 .name = "round"};
    const gr_kv_desc pool = {.struct_size = sizeof pool,
                             .layers = 4,
                             .page_tokens = 16,
                             .kv_heads = 2,
                             .k_dim = 64,
                             .v_dim = 64,
                             .dtype = GR_DTYPE_F16,
                             .pages = 32};
    if (b->open(&suite->host.table, suite->ordinal, &device, NULL))
        return false;
    bool good = !b->queue_create(device, suite->teams[1], &queue, NULL) &&
                !b->buffer_alloc(device, 1 << 20, &large, NULL) &&
                !b->weight_import(device, &desc, &weight, &info, NULL) &&
                !b->kv_create(device, &pool, &kv, NULL) && !b->kv_resize(device, kv, 40, NULL);
    if (chain_make(&c, suite, device, name))
        good = good && !chain_give(&c, device, queue, 0, false) && !chain_wait(&c, device, 1) &&
               chain_right(&c, device, 1);
    chain_unmake(&c, device);
    b->kv_destroy(device, kv);
    b->weight_destroy(device, weight);
    b->buffer_destroy(device, large);
    b->queue_destroy(device, queue);
    b->close(device);
    return good;
}

static void rounds(cf_suite *suite) {
    static const char name[] = "LIVE 100 rounds of a device and all its objects";
    resources first = {0};
    bool good = true;
    if (!cf_case_begin(suite, name))
        return;
    uint64_t outstanding = suite->host.outstanding;
    for (uint32_t i = 0; i < 100 && good; i++) {
        if (i == 10)
            first = measure();
        good = one_round(suite, name);
    }
    if (!good)
        cf_fail(suite, name, "something was refused, or gave something else");
    else if (suite->host.outstanding != outstanding)
        cf_fail(suite, name, "%llu bytes of host memory were not given back",
                (unsigned long long)(suite->host.outstanding - outstanding));
    else
        stable(suite, name, &first);
    cf_case_end(suite);
}

static void loads(cf_suite *suite) {
    static const char name[] = "LIVE 20 rounds of loading and unloading";
    resources first = {0};
    char why[256] = "";
    bool good = true;
    if (!cf_case_begin(suite, name))
        return;
    if (suite->backend->flags & GR_BACKEND_PINNED) {
        cf_skip(suite, name, false, "it is pinned: never unloaded");
        cf_case_end(suite);
        return;
    }
    for (uint32_t i = 0; i < 20 && good; i++) {
        if (i == 5)
            first = measure();
        good = cf_suite_reload(suite, why, sizeof why) && one_round(suite, name);
    }
    if (good)
        stable(suite, name, &first);
    else
        cf_fail(suite, name, "%s", why[0] ? why : "something was refused, or gave something else");
    cf_case_end(suite);
}

void cf_cases_live(cf_suite *suite) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    static const int32_t pasts[] = {0, 11, 12, 13, 27, 100}; // around the window and the pages
    if (!cf_wanted(suite, "LIVE"))
        return;
    ahead(suite, false);
    ahead(suite, true);
    beside(suite);
    for (uint32_t d = 0; d < 4; d++) {
        for (uint32_t i = 0; i < sizeof pasts / sizeof pasts[0]; i++) {
            moved(suite, dtypes[d], pasts[i], 1);
            moved(suite, dtypes[d], pasts[i], 7); // in the middle of a prompt
        }
    }
    rounds(suite);
    loads(suite);
}
