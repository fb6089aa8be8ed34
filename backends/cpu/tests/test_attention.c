// SPDX-License-Identifier: Apache-2.0
// test_attention.c: what attention touches, by looking inside the plugin: pages outside the window
// lie in memory that cannot be read, and the kernels of a device are replaced by ones that count
// panels.
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../sdk/conformance/suite.h"
#include "cpu.h"

enum {
    WORKERS = 3,
    PAGE = 64,
    HEADS = 8,
    KV_HEADS = 2,
    DIM = 64,
    MOST_ROWS = 96,
    BRANCHES = 8,
    MOST_PAGES = 400
};

// One ATTENTION node over one layer of a cache.
typedef struct bench {
    cf_host host;
    const gr_backend *backend;
    gr_device *device;
    gr_kv *kv;
    gr_team *team;
    gr_queue *queue;
    gr_fence *fence;
    uint64_t submitted;
    gr_buffer *arena;
    int32_t positions[MOST_ROWS], row_seq[MOST_ROWS], seq_rows[BRANCHES + 1];
    int32_t table[BRANCHES][MOST_PAGES], first_page[BRANCHES], page_count[BRANCHES];
    gr_page_run run;
    gr_step_group group;
    gr_step step;
} bench;

static bench b;
static unsigned checks, failures;

static void expect(bool right, const char *what, uint64_t got, uint64_t wanted) {
    checks++;
    if (right)
        return;
    failures++;
    printf("FAIL  %s: %llu, expected %llu\n", what, (unsigned long long)got,
           (unsigned long long)wanted);
}

static void must(gr_status status, const gr_error *error) {
    if (status == GR_OK)
        return;
    printf("FAIL  %s\n", error->message);
    exit(1);
}

static void open_device(const char *path) {
    gr_error error;
    gr_error_init(&error);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, GR_PLUGIN_SYMBOL) : NULL;
    gr_plugin_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    if (!entry) {
        printf("FAIL  %s\n", dlerror());
        exit(1);
    }
    uint32_t count;
    gr_device_facts facts = {.struct_size = sizeof facts};
    const gr_kv_desc desc = {.struct_size = sizeof desc,
                             .layers = 1,
                             .page_tokens = PAGE,
                             .kv_heads = KV_HEADS,
                             .k_dim = DIM,
                             .v_dim = DIM,
                             .dtype = GR_DTYPE_F16,
                             .pages = MOST_PAGES};
    cf_host_init(&b.host);
    b.backend = entry(GR_ABI_MAJOR, GR_ABI_MINOR);
    b.team = cf_team_create(WORKERS);
    must(b.backend->probe(&b.host.table, &facts, 1, sizeof facts, &count, &error), &error);
    must(b.backend->open(&b.host.table, 0, &b.device, &error), &error);
    must(b.backend->kv_create(b.device, &desc, &b.kv, &error), &error);
    must(b.backend->queue_create(b.device, b.team, &b.queue, &error), &error);
    must(b.backend->fence_create(b.device, &b.fence, &error), &error);
    must(b.backend->buffer_alloc(b.device, 3 * MOST_ROWS * HEADS * DIM * sizeof(float), &b.arena,
                                 &error),
         &error);
}

static void fill_cache(void) {
    static float values[PAGE * KV_HEADS * DIM];
    cf_random random = {7};
    for (uint32_t page = 0; page < MOST_PAGES; page++) {
        for (uint32_t part = 0; part < 2; part++) {
            const gr_kv_region region = {
                .struct_size = sizeof region, .part = part, .page = page, .count = PAGE};
            for (uint32_t i = 0; i < PAGE * KV_HEADS * DIM; i++)
                values[i] = (float)cf_normal(&random);
            b.backend->kv_write(b.device, NULL, b.kv, &region, GR_DTYPE_F32, values, sizeof values,
                                NULL);
        }
    }
    float *q = b.backend->buffer_map(b.device, b.arena);
    for (uint32_t i = 0; i < MOST_ROWS * HEADS * DIM; i++)
        q[i] = (float)cf_normal(&random);
}

// `seqs` sequences of `rows` rows behind `past` positions; the first `fork` are the same pages for
// all.
static void lay_step(uint32_t seqs, uint32_t rows, uint32_t past, uint32_t fork) {
    uint32_t next = fork / PAGE, pages = (past + rows + PAGE - 1) / PAGE;
    for (uint32_t s = 0; s < seqs; s++) {
        for (uint32_t p = 0; p < pages; p++)
            b.table[s][p] = (int32_t)(p < fork / PAGE ? p : next++);
        b.page_count[s] = (int32_t)pages;
        b.seq_rows[s + 1] = (int32_t)((s + 1) * rows);
        for (uint32_t r = 0; r < rows; r++) {
            b.positions[s * rows + r] = (int32_t)(past + r);
            b.row_seq[s * rows + r] = (int32_t)s;
        }
    }
    b.run =
        (gr_page_run){.struct_size = sizeof b.run, .seq_count = seqs, .page_count = fork / PAGE};
    b.group = (gr_step_group){.struct_size = sizeof b.group,
                              .page_tokens = PAGE,
                              .page_table_stride = MOST_PAGES,
                              .run_count = fork ? 1 : 0,
                              .run_stride = sizeof b.run,
                              .page_table = b.table[0],
                              .first_page = b.first_page,
                              .page_count = b.page_count,
                              .runs = &b.run};
    b.step = (gr_step){.struct_size = sizeof b.step,
                       .rows = seqs * rows,
                       .seqs = seqs,
                       .group_count = 1,
                       .group_stride = sizeof b.group,
                       .positions = b.positions,
                       .row_seq = b.row_seq,
                       .seq_rows = b.seq_rows,
                       .groups = &b.group};
}

// Runs the step with `count` nodes of the same operands, whose outputs follow the queries in the arena. Gives the shared
// scratch; *out_barriers says how many nodes the next one waits for.
static uint64_t attend_again(uint32_t window, uint32_t count, uint32_t *out_barriers) {
    static const uint32_t operands[] = {0, 1}, results[] = {2, 3};
    const gr_attrs_attention attrs = {.struct_size = sizeof attrs,
                                      .heads = HEADS,
                                      .kv_heads = KV_HEADS,
                                      .k_dim = DIM,
                                      .v_dim = DIM,
                                      .window = window,
                                      .scale = 0.125f};
    const gr_value activation = {.struct_size = sizeof activation,
                                 .kind = GR_VALUE_ACTIVATION,
                                 .dtype = GR_DTYPE_F32,
                                 .rank = 2,
                                 .dims = {GR_DIM_T, HEADS * DIM, 1, 1}};
    gr_value values[4] = {activation,
                          {.struct_size = sizeof activation,
                           .kind = GR_VALUE_STATE,
                           .dtype = GR_DTYPE_F16,
                           .rank = 1,
                           .dims = {GR_DIM_T, 1, 1, 1},
                           .offset = GR_NO_OFFSET},
                          activation,
                          activation};
    gr_node nodes[2];
    for (uint32_t i = 0; i < 2; i++) {
        values[2 + i].offset = (1 + i) * MOST_ROWS * HEADS * DIM * sizeof(float);
        nodes[i] = (gr_node){.struct_size = sizeof nodes[i],
                             .op = GR_OP_ATTENTION,
                             .flags = GR_NODE_RUN,
                             .in_count = 2,
                             .out_count = 1,
                             .in = operands,
                             .out = &results[i],
                             .attrs = &attrs};
    }
    const gr_segment segment = {.struct_size = sizeof segment,
                                .value_count = 4,
                                .value_stride = sizeof values[0],
                                .node_count = count,
                                .node_stride = sizeof nodes[0],
                                .values = values,
                                .nodes = nodes};
    const gr_cache_layer layer = {.struct_size = sizeof layer, .kv = b.kv};
    const gr_program_desc desc = {.struct_size = sizeof desc,
                                  .rows_max = MOST_ROWS,
                                  .seqs_max = BRANCHES,
                                  .outputs_max = 1,
                                  .segment = &segment,
                                  .step = &b.step,
                                  .cache_layer_count = 1,
                                  .cache_layer_stride = sizeof layer,
                                  .threads = WORKERS,
                                  .cache_layers = &layer,
                                  .arena = b.arena};
    gr_program_info info = {.struct_size = sizeof info};
    gr_program *program;
    gr_buffer *scratch;
    gr_error error;
    gr_error_init(&error);
    must(b.backend->program_compile(b.device, &desc, &program, &info, &error), &error);
    must(b.backend->buffer_alloc(
             b.device, info.scratch_shared_bytes + desc.threads * info.scratch_per_thread_bytes,
             &scratch, &error),
         &error);
    const gr_submit submit = {.struct_size = sizeof submit,
                              .program = program,
                              .scratch = scratch,
                              .signal = b.fence,
                              .signal_value = ++b.submitted};
    must(b.backend->submit(b.device, b.queue, &submit, &error), &error);
    must(b.backend->fence_wait(b.device, b.fence, b.submitted, UINT64_MAX, &error), &error);
    *out_barriers = 0;
    for (uint32_t i = 0; i + 1 < program->call_count; i++)
        *out_barriers += program->calls[i].barrier;
    b.backend->buffer_destroy(b.device, scratch);
    b.backend->program_destroy(b.device, program);
    return info.scratch_shared_bytes;
}

static void attend(uint32_t window) {
    uint32_t barriers;
    attend_again(window, 1, &barriers);
}

static const float *output(void) {
    return (const float *)b.backend->buffer_map(b.device, b.arena) + MOST_ROWS * HEADS * DIM;
}

// ---- Many layers

// Nodes use one place for the results of their chunks in turn, so the second waits for the first.
static void in_turn(uint32_t past) {
    uint32_t barriers;
    lay_step(1, 1, past, 0);
    const uint64_t one = attend_again(0, 1, &barriers);
    const uint64_t two = attend_again(0, 2, &barriers);
    expect(one > 0 && two == one, "the scratch of two nodes", two, one);
    expect(barriers == 1, "nodes that are waited for", barriers, 1);
    expect(!memcmp(output(), output() + MOST_ROWS * HEADS * DIM, HEADS * DIM * sizeof(float)),
           "the same numbers twice", past, past);
}

// ---- Outside the window

static void protect(uint32_t first, uint32_t end, int how) {
    if (first < end &&
        mprotect(b.kv->data + b.kv->page_bytes * first, b.kv->page_bytes * (end - first), how)) {
        puts("FAIL  mprotect");
        exit(1);
    }
}

// How a process ends in which the step runs with `window`, alone: 0, or the signal.
static int fate_with(uint32_t window) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child) {
        waitpid(child, &status, 0);
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    }
    signal(SIGSEGV, SIG_DFL);
    b.backend->queue_create(b.device, NULL, &b.queue, NULL);
    attend(window);
    _exit(0);
}

// Pages that no row sees cannot be read, and the numbers stay. With a window that begins a page
// earlier the same step dies of it.
static void outside_the_window(uint32_t past, uint32_t rows, uint32_t window) {
    static float before[MOST_ROWS * HEADS * DIM];
    uint32_t first = (past + 1 - window) / PAGE, end = (past + rows + PAGE - 1) / PAGE;
    lay_step(1, rows, past, 0);
    attend(window);
    memcpy(before, output(), rows * HEADS * DIM * sizeof *before);
    protect(0, first, PROT_NONE);
    protect(end, MOST_PAGES, PROT_NONE);
    memset((float *)(uintptr_t)output(), 0xff, rows * HEADS * DIM * sizeof *before);
    attend(window);
    expect(!memcmp(before, output(), rows * HEADS * DIM * sizeof *before), "the same numbers", past,
           rows);
    expect(fate_with(window) == 0, "a process with that window ends well", past, rows);
    int fate = fate_with(window + PAGE);
    expect(fate == SIGSEGV, "one with a wider window dies", (uint64_t)fate, SIGSEGV);
    protect(0, MOST_PAGES, PROT_READ | PROT_WRITE);
}

// ---- Shared pages

static void (*keys)(const cpu_attend_args *args), (*values)(const cpu_attend_args *args);
static _Atomic uint64_t keys_read, values_read; // rows of panels

static void count_keys(const cpu_attend_args *args) {
    keys_read += CPU_COLUMNS;
    keys(args);
}

static void count_values(const cpu_attend_args *args) {
    values_read += args->rows;
    values(args);
}

// Positions that are read of each KV head, and the step's output.
static uint64_t positions_read(float *out) {
    keys_read = values_read = 0;
    attend(0);
    memcpy(out, output(), b.step.rows * HEADS * DIM * sizeof *out);
    expect(keys_read * (DIM / CPU_COLUMNS) == values_read, "as many values as keys", values_read,
           keys_read * (DIM / CPU_COLUMNS));
    return keys_read / KV_HEADS;
}

// Branches of a fork at `fork`, each a row at the end of a panel behind `past` positions: what they
// share is read once for all of them, what is their own once each; the bits are those of a step
// that says nothing of shared pages.
static void shared_pages(uint32_t branches, uint32_t past, uint32_t fork) {
    static float together[BRANCHES * HEADS * DIM], apart[BRANCHES * HEADS * DIM];
    uint32_t whole = fork / PAGE * PAGE, own = past + 1 - whole; // pages are read as a whole
    lay_step(branches, 1, past, fork);
    uint64_t read = positions_read(together);
    expect(read == whole + branches * own, "positions read", read, whole + branches * own);
    b.group.run_count = 0;
    read = positions_read(apart);
    expect(read == branches * (past + 1), "positions read apart", read, branches * (past + 1));
    expect(!memcmp(together, apart, branches * HEADS * DIM * sizeof *apart), "the same bits", past,
           fork);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    open_device(argv[1]);
    fill_cache();
    in_turn(20000);
    outside_the_window(20000, 1, 4096);  // chunks spread over the workers
    outside_the_window(20000, 90, 4096); // whole tiles
    outside_the_window(6399, 1, 64);     // exactly a page
    outside_the_window(5000, 5, 1);
    gr_dtype f16 = GR_DTYPE_F16;
    keys = b.device->kernels.attend_keys[f16];
    values = b.device->kernels.attend_values[f16];
    b.device->kernels.attend_keys[f16] = count_keys;
    b.device->kernels.attend_values[f16] = count_values;
    shared_pages(8, 1023 + 64, 1024);
    shared_pages(8, 2047, 2048 - 64);
    shared_pages(2, 4095, 4032);
    shared_pages(5, 1535, 64); // no chunk is shared as a whole
    printf("%u checks, %u failed\n", checks, failures);
    return failures || !checks ? 1 : 0;
}
