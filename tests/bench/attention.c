// SPDX-License-Identifier: Apache-2.0
// attention.c: gregale-bench-attention PLUGIN.so...: one ATTENTION node on one thread, several
// builds of a backend in turn within each round. Time is the thread's own, so that neighbours on
// the machine count for little. Prints the best round of each plugin: operations and bytes of cache
// a second, their share of what one thread can multiply and read (AVX2; sampled in the same
// rounds), and the ratio to the first plugin's.
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../../sdk/conformance/suite.h"

enum { MOST_PLUGINS = 4, MOST_BRANCHES = 64, PAGE = 64 };

typedef struct shape {
    uint32_t rows, depth, window, branches, heads, kv_heads, dim, rounds;
    gr_dtype dtype;
    bool apart; // branches share no pages
} shape;

typedef struct subject {
    const char *path;
    const gr_backend *backend;
    gr_device *device;
    gr_kv *kv;
    gr_buffer *arena, *scratch;
    gr_queue *queue;
    gr_fence *fence;
    gr_program *program;
    uint64_t submitted;
    double best; // seconds
} subject;

// The step and the segment, the same for all.
static int32_t positions[1 << 16], row_seq[1 << 16], seq_rows[MOST_BRANCHES + 1];
static int32_t first_page[MOST_BRANCHES], page_count[MOST_BRANCHES], *table;
static gr_page_run run;
static gr_step_group group;
static gr_step step;
static gr_attrs_attention attrs;
static gr_value values[3];
static const uint32_t operands[] = {0, 1}, result = 2;
static gr_node node;
static gr_segment segment;

static void die(const char *what, const gr_error *error) {
    fprintf(stderr, "gregale-bench-attention: %s: %s\n", what, error ? error->message : "");
    exit(1);
}

static uint32_t pages_of(const shape *s) {
    return (s->depth + s->rows + PAGE - 1) / PAGE;
}

// Branches of one fork have all pages in common but the last; apart they have none.
static uint32_t lay_step(const shape *s) {
    uint32_t pages = pages_of(s), shared = s->apart || s->branches < 2 ? 0 : s->depth / PAGE,
             next = shared;
    table = calloc((size_t)s->branches * pages, sizeof *table);
    for (uint32_t b = 0; b < s->branches; b++) {
        for (uint32_t p = 0; p < pages; p++)
            table[b * pages + p] = (int32_t)(p < shared ? p : next++);
        page_count[b] = (int32_t)pages;
        seq_rows[b + 1] = (int32_t)((b + 1) * s->rows);
        for (uint32_t r = 0; r < s->rows; r++) {
            positions[b * s->rows + r] = (int32_t)(s->depth + r);
            row_seq[b * s->rows + r] = (int32_t)b;
        }
    }
    run = (gr_page_run){.struct_size = sizeof run, .seq_count = s->branches, .page_count = shared};
    group = (gr_step_group){.struct_size = sizeof group,
                            .page_tokens = PAGE,
                            .page_table_stride = pages,
                            .run_count = shared ? 1 : 0,
                            .run_stride = sizeof run,
                            .page_table = table,
                            .first_page = first_page,
                            .page_count = page_count,
                            .runs = &run};
    step = (gr_step){.struct_size = sizeof step,
                     .rows = s->rows * s->branches,
                     .seqs = s->branches,
                     .group_count = 1,
                     .group_stride = sizeof group,
                     .positions = positions,
                     .row_seq = row_seq,
                     .seq_rows = seq_rows,
                     .groups = &group};
    return next;
}

static uint64_t lay_segment(const shape *s) {
    uint64_t bytes =
        ((uint64_t)s->rows * s->branches * s->heads * s->dim * sizeof(float) + 63) / 64 * 64;
    gr_value activation = {.struct_size = sizeof activation,
                           .kind = GR_VALUE_ACTIVATION,
                           .dtype = GR_DTYPE_F32,
                           .rank = 2,
                           .dims = {GR_DIM_T, (int64_t)s->heads * s->dim, 1, 1}};
    values[0] = values[2] = activation;
    values[2].offset = bytes;
    values[2].flags = GR_VALUE_EXPORT;
    values[1] = (gr_value){.struct_size = sizeof values[1],
                           .kind = GR_VALUE_STATE,
                           .dtype = s->dtype,
                           .rank = 1,
                           .dims = {GR_DIM_T, 1, 1, 1},
                           .offset = GR_NO_OFFSET};
    attrs = (gr_attrs_attention){.struct_size = sizeof attrs,
                                 .heads = s->heads,
                                 .kv_heads = s->kv_heads,
                                 .k_dim = s->dim,
                                 .v_dim = s->dim,
                                 .window = s->window,
                                 .scale = 1.0f / sqrtf((float)s->dim)};
    node = (gr_node){.struct_size = sizeof node,
                     .op = GR_OP_ATTENTION,
                     .flags = GR_NODE_RUN,
                     .in_count = 2,
                     .out_count = 1,
                     .in = operands,
                     .out = &result,
                     .attrs = &attrs};
    segment = (gr_segment){.struct_size = sizeof segment,
                           .value_count = 3,
                           .value_stride = sizeof values[0],
                           .node_count = 1,
                           .node_stride = sizeof node,
                           .values = values,
                           .nodes = &node};
    return 2 * bytes;
}

static void fill(subject *p, const shape *s, uint32_t pages, uint64_t bytes) {
    uint64_t count = (uint64_t)PAGE * s->kv_heads * s->dim, q = bytes / 2 / sizeof(float);
    cf_random random = {1};
    float *data = malloc((count > q ? count : q) * sizeof *data);
    for (uint64_t i = 0; i < count; i++)
        data[i] = (float)cf_normal(&random);
    for (uint32_t page = 0; page < pages; page++) {
        for (uint32_t part = 0; part < 2; part++) {
            gr_kv_region region = {
                .struct_size = sizeof region, .part = part, .page = page, .count = PAGE};
            if (p->backend->kv_write(p->device, NULL, p->kv, &region, GR_DTYPE_F32, data,
                                     count * sizeof *data, NULL))
                die("kv_write", NULL);
        }
    }
    for (uint64_t i = 0; i < q; i++)
        data[i] = (float)cf_normal(&random);
    if (p->backend->buffer_write(p->device, NULL, p->arena, 0, data, q * sizeof *data, NULL))
        die("buffer_write", NULL);
    free(data);
}

static void open_subject(subject *p, cf_host *host, const shape *s, uint32_t pages,
                         uint64_t bytes) {
    gr_error error;
    gr_error_init(&error);
    void *library = dlopen(p->path, RTLD_NOW | RTLD_LOCAL),
         *symbol = library ? dlsym(library, GR_PLUGIN_SYMBOL) : NULL;
    gr_plugin_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    p->backend = entry ? entry(GR_ABI_MAJOR, GR_ABI_MINOR) : NULL;
    if (!p->backend)
        die(p->path, NULL);
    gr_device_facts facts = {.struct_size = sizeof facts};
    uint32_t count;
    const gr_kv_desc desc = {.struct_size = sizeof desc,
                             .layers = 1,
                             .page_tokens = PAGE,
                             .kv_heads = s->kv_heads,
                             .k_dim = s->dim,
                             .v_dim = s->dim,
                             .dtype = s->dtype,
                             .pages = pages};
    const gr_backend *b = p->backend;
    if (b->probe(&host->table, &facts, 1, sizeof facts, &count, &error) ||
        b->open(&host->table, 0, &p->device, &error) ||
        b->queue_create(p->device, NULL, &p->queue, &error) ||
        b->fence_create(p->device, &p->fence, &error) ||
        b->kv_create(p->device, &desc, &p->kv, &error) ||
        b->buffer_alloc(p->device, bytes, &p->arena, &error))
        die(p->path, &error);
    const gr_cache_layer layer = {.struct_size = sizeof layer, .kv = p->kv};
    const gr_program_desc wanted = {.struct_size = sizeof wanted,
                                    .rows_max = step.rows,
                                    .seqs_max = step.seqs,
                                    .outputs_max = 1,
                                    .segment = &segment,
                                    .step = &step,
                                    .cache_layer_count = 1,
                                    .cache_layer_stride = sizeof layer,
                                    .threads = 1,
                                    .cache_layers = &layer,
                                    .arena = p->arena};
    gr_program_info info = {.struct_size = sizeof info};
    if (b->program_compile(p->device, &wanted, &p->program, &info, &error) ||
        b->buffer_alloc(p->device, info.scratch_shared_bytes + info.scratch_per_thread_bytes,
                        &p->scratch, &error))
        die(p->path, &error);
    fill(p, s, pages, bytes);
    p->best = INFINITY;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// One round takes at least a twentieth of a second.
static void time_round(subject *p) {
    gr_error error;
    gr_error_init(&error);
    double begin = seconds(), end;
    uint32_t times = 0;
    do {
        const gr_submit submit = {.struct_size = sizeof submit,
                                  .program = p->program,
                                  .scratch = p->scratch,
                                  .signal = p->fence,
                                  .signal_value = ++p->submitted};
        if (p->backend->submit(p->device, p->queue, &submit, &error) ||
            p->backend->fence_wait(p->device, p->fence, p->submitted, UINT64_MAX, &error))
            die("submit", &error);
        times++;
        end = seconds();
    } while (end - begin < 0.05);
    p->best = fmin(p->best, (end - begin) / times);
}

// ---- Limits

static double most_operations, most_bytes; // a second; 0: unknown

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void sample_limits(void) {
    enum { TIMES = 1 << 20, BYTES = 1 << 28 };
    static uint8_t *memory;
    __m256 sums[12], x = _mm256_set1_ps(0.5f);
    __m256i bits[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return;
    if (!memory && (memory = aligned_alloc(64, BYTES)))
        memset(memory, 1, BYTES);
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        sums[i] = _mm256_set1_ps((float)i);
    double begin = seconds();
    for (int n = 0; n < TIMES; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            sums[i] = _mm256_fmadd_ps(x, x, sums[i]);
        __asm__ volatile("" : "+x"(x));
    }
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        __asm__ volatile("" ::"x"(sums[i]));
    double middle = seconds();
    for (size_t i = 0; memory && i < BYTES; i += 128) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            bits[j] = _mm256_or_si256(bits[j], _mm256_load_si256((__m256i *)(memory + i) + j));
        _mm_prefetch((const char *)memory + i + 2048, _MM_HINT_T0);
    }
    __asm__ volatile("" ::"x"(bits[0]), "x"(bits[1]), "x"(bits[2]), "x"(bits[3]));
    double end = seconds();
    most_operations = fmax(most_operations, 12.0 * 16 * TIMES / (middle - begin));
    most_bytes = fmax(most_bytes, BYTES / (end - middle));
}
#else
static void sample_limits(void) {
}
#endif

static gr_dtype dtype_of(const char *name) {
    static const gr_dtype known[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    for (uint32_t i = 0; i < 4; i++)
        if (!strcasecmp(gr_dtype_name(known[i]), name))
            return known[i];
    die(name, NULL);
    return 0;
}

// Takes NAME=VALUE; false when it is a plugin's path.
static bool option(shape *s, const char *text) {
    const struct {
        const char *name;
        uint32_t *value;
    } numbers[] = {{"rows=", &s->rows},         {"depth=", &s->depth},  {"window=", &s->window},
                   {"branches=", &s->branches}, {"heads=", &s->heads},  {"kv=", &s->kv_heads},
                   {"dim=", &s->dim},           {"rounds=", &s->rounds}};
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!strncmp(text, numbers[i].name, strlen(numbers[i].name))) {
            *numbers[i].value = (uint32_t)strtoul(text + strlen(numbers[i].name), NULL, 10);
            return true;
        }
    if (!strcmp(text, "apart"))
        return s->apart = true;
    if (strncmp(text, "type=", 5))
        return false;
    s->dtype = dtype_of(text + 5);
    return true;
}

// Pairs of a query and a key, and positions read once.
static void count_work(const shape *s, double *out_pairs, double *out_positions) {
    uint32_t last = s->depth + s->rows, window = s->window ? s->window : last;
    uint32_t seen = last < window + s->rows - 1 ? last : window + s->rows - 1;
    uint32_t shared = s->apart ? 0 : s->depth / PAGE * PAGE, low = last - seen;
    *out_pairs = 0;
    for (uint32_t r = 0; r < s->rows; r++)
        *out_pairs += (double)s->branches * fmin(s->depth + r + 1, window);
    *out_positions = shared > low ? shared - low + (double)s->branches * (last - shared)
                                  : (double)s->branches * seen;
}

int main(int argc, char **argv) {
    shape s = {.rows = 1,
               .depth = 4096,
               .branches = 1,
               .heads = 32,
               .kv_heads = 8,
               .dim = 128,
               .rounds = 10,
               .dtype = GR_DTYPE_F16};
    static subject subjects[MOST_PLUGINS];
    static cf_host host;
    uint32_t count = 0;
    for (int i = 1; i < argc; i++)
        if (!option(&s, argv[i]) && count < MOST_PLUGINS)
            subjects[count++].path = argv[i];
    if (!count || !s.rows || !s.branches || s.branches > MOST_BRANCHES ||
        (uint64_t)s.rows * s.branches > 1 << 16 || !s.kv_heads || s.heads % s.kv_heads) {
        fputs("usage: gregale-bench-attention PLUGIN.so... [rows=1] [depth=4096] [window=0] "
              "[branches=1] [apart]\n"
              "                               [heads=32] [kv=8] [dim=128] [type=f16] [rounds=10]\n",
              stderr);
        return 2;
    }
    cf_host_init(&host);
    uint32_t pages = lay_step(&s);
    uint64_t bytes = lay_segment(&s);
    for (uint32_t i = 0; i < count; i++)
        open_subject(&subjects[i], &host, &s, pages, bytes);
    for (uint32_t r = 0; r < s.rounds; r++) {
        sample_limits();
        for (uint32_t i = 0; i < count; i++)
            time_round(&subjects[r % 2 ? count - 1 - i : i]);
    }
    double pairs, seen, row = (double)gr_dtype_row_bytes(s.dtype, s.dim);
    count_work(&s, &pairs, &seen);
    for (uint32_t i = 0; i < count; i++) {
        double operations = pairs * s.heads * s.dim * 4 / subjects[i].best;
        double read = seen * s.kv_heads * row * 2 / subjects[i].best;
        printf("%9.3f ms %7.2f Gop/s (%3.0f %%) %6.2f GB/s (%3.0f %%) %5.2f x  %s\n",
               subjects[i].best * 1e3, operations * 1e-9, 100 * operations / most_operations,
               read * 1e-9, 100 * read / most_bytes, subjects[0].best / subjects[i].best,
               subjects[i].path);
    }
    return 0;
}
