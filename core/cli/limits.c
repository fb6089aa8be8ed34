// SPDX-License-Identifier: Apache-2.0
// limits.c: runs the loops of limit_loops.c on every thread at once and keeps the best of several rounds.
#include "cli/limits.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os.h"
#include "host/host.h"

enum {
    CHUNK = 1 << 20,            // of memory, handed to whichever thread is free
    CACHE_PASS_BYTES = 64 << 20, // read by each thread in one round of a cache
    TURNS = 1 << 15,            // of a multiply loop in one round
    ROUNDS = 5,
    PAGE = 2 << 20 // a huge one
};

static const char *const kind_names[GR_LIMIT_KINDS] = {"int8", "int4", "bf16", "f32"};

// Ways to read memory, of which the fastest on this machine is kept.
static const struct {
    unsigned streams;
    size_t ahead;
} patterns[] = {{1, 0}, {4, 0}, {8, 0}, {1, 1024}, {4, 1024}, {8, 512}, {1, 4096}};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

struct gr_limits_probe {
    uint32_t threads;
    gr_cpu_features features;
    unsigned char *data;
    uint64_t bytes, shared_bytes, own_bytes;
    gr_read_loop read;
    unsigned pattern; // the fastest of `patterns`
    char memory_mix[64];
    const char *read_name;
    struct job *jobs;
    // What the round that is running does.
    void (*work)(struct job *job);
    atomic_uint ready;
    atomic_int go; // 0: wait; 1: work; -1: not all threads could be started, leave
    atomic_uint_fast64_t next;
    const gr_limit_loop *loop;
    uint64_t part; // bytes of each thread's part of a cache
};

typedef struct job {
    gr_limits_probe *probe;
    uint32_t index;
    pthread_t thread;
    uint64_t begin_ns, end_ns, result; // the result keeps the compiler from dropping the work
} job;

static void read_memory(job *j) {
    gr_limits_probe *p = j->probe;
    for (uint64_t at; (at = atomic_fetch_add(&p->next, CHUNK)) < p->bytes;)
        j->result ^= p->read(p->data + at, CHUNK, patterns[p->pattern].streams, patterns[p->pattern].ahead);
}

static void read_cache(job *j) {
    gr_limits_probe *p = j->probe;
    const unsigned char *data = p->data + p->part * j->index;
    for (uint64_t done = 0; done < CACHE_PASS_BYTES; done += p->part)
        j->result ^= p->read(data, p->part, patterns[p->pattern].streams, patterns[p->pattern].ahead);
}

static void multiply(job *j) {
    j->probe->loop->run(TURNS);
}

static void *start_job(void *argument) {
    job *j = argument;
    int go;
    atomic_fetch_add(&j->probe->ready, 1);
    while (!(go = atomic_load(&j->probe->go)))
        sched_yield();
    if (go < 0)
        return NULL;
    j->begin_ns = gr_os_now_ns();
    j->probe->work(j);
    j->end_ns = gr_os_now_ns();
    return NULL;
}

// Runs p->work on every thread at once, the caller's being the first; false when they cannot be started.
static bool run_jobs(gr_limits_probe *p) {
    uint32_t started = 1;
    atomic_store(&p->next, 0);
    atomic_store(&p->ready, 0);
    atomic_store(&p->go, 0);
    while (started < p->threads && pthread_create(&p->jobs[started].thread, NULL, start_job, &p->jobs[started]) == 0)
        started++;
    while (atomic_load(&p->ready) + 1 < started)
        sched_yield();
    atomic_store(&p->go, started == p->threads ? 1 : -1);
    start_job(&p->jobs[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(p->jobs[i].thread, NULL);
    return started == p->threads;
}

// One round: `amount` of work by all threads together; raises *best to its rate.
static gr_status run_round(gr_limits_probe *p, double amount, double *best, gr_error *error) {
    uint64_t begin = UINT64_MAX, end = 0;
    if (!run_jobs(p))
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "cli", "limits: cannot start %u threads to measure with", p->threads);
    for (uint32_t i = 0; i < p->threads; i++) {
        begin = p->jobs[i].begin_ns < begin ? p->jobs[i].begin_ns : begin;
        end = p->jobs[i].end_ns > end ? p->jobs[i].end_ns : end;
    }
    double rate = end > begin ? amount * 1e9 / (double)(end - begin) : 0;
    if (rate > *best)
        *best = rate;
    return GR_OK;
}

static gr_status run_rounds(gr_limits_probe *p, uint32_t rounds, double amount, double *best, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < rounds && status == GR_OK; i++)
        status = run_round(p, amount, best, error);
    return status;
}

static gr_status sample_cache(gr_limits_probe *p, uint64_t bytes, gr_limit *out, gr_error *error) {
    p->work = read_cache;
    p->part = bytes / 8192 * 8192;
    *out = (gr_limit){0, p->read_name};
    if (!p->part)
        return GR_OK;
    double amount = (double)((CACHE_PASS_BYTES + p->part - 1) / p->part * p->part);
    return run_rounds(p, ROUNDS, amount * p->threads, &out->rate, error);
}

gr_status gr_limits_sample(gr_limits_probe *p, gr_limits *out, gr_error *error) {
    *out = (gr_limits){.threads = p->threads, .memory = {0, p->memory_mix}};
    p->work = read_memory;
    gr_status status = run_rounds(p, ROUNDS, (double)p->bytes, &out->memory.rate, error);
    if (status == GR_OK)
        status = sample_cache(p, p->shared_bytes / p->threads, &out->shared, error);
    if (status == GR_OK)
        status = sample_cache(p, p->own_bytes, &out->own, error);
    p->work = multiply;
    for (int kind = 0; kind < GR_LIMIT_KINDS && status == GR_OK; kind++) {
        out->products[kind] = (gr_limit){0, "not measured on this machine"};
        if (!(p->loop = gr_limit_loop_find(kind, p->features)))
            continue;
        out->products[kind].mix = p->loop->mix;
        status = run_rounds(p, ROUNDS, p->loop->operations * TURNS * p->threads, &out->products[kind].rate, error);
    }
    return status;
}

static void raise_limit(gr_limit *limit, const gr_limit *sample) {
    if (sample->rate > limit->rate || !limit->mix)
        *limit = *sample;
}

void gr_limits_raise(gr_limits *limits, const gr_limits *sample) {
    limits->threads = sample->threads;
    raise_limit(&limits->memory, &sample->memory);
    raise_limit(&limits->shared, &sample->shared);
    raise_limit(&limits->own, &sample->own);
    for (int kind = 0; kind < GR_LIMIT_KINDS; kind++)
        raise_limit(&limits->products[kind], &sample->products[kind]);
}

static uint64_t cache_bytes(const gr_topology *topology, uint32_t level, uint64_t fallback) {
    for (uint32_t i = 0; i < topology->cache_count; i++) {
        if (topology->caches[i].level == level && topology->caches[i].bytes)
            return topology->caches[i].bytes;
    }
    return fallback;
}

// What the probe must know of the machine.
static gr_status look(gr_limits_probe *p, gr_error *error) {
    gr_topology *topology;
    gr_status status = gr_topology_create(NULL, &topology, error);
    if (status != GR_OK)
        return status;
    p->features = topology->cpu_features;
    p->read = gr_read_loop_find(p->features, &p->read_name);
    p->own_bytes = cache_bytes(topology, 2, 256 << 10) / 2;
    p->shared_bytes = cache_bytes(topology, 3, 8 << 20) / 4;
    gr_topology_destroy(topology);
    return GR_OK;
}

static gr_status find_pattern(gr_limits_probe *p, gr_error *error) {
    unsigned best = 0;
    double best_rate = 0;
    p->work = read_memory;
    for (p->pattern = 0; p->pattern < PATTERNS; p->pattern++) {
        double rate = 0;
        gr_status status = run_rounds(p, 4, (double)p->bytes, &rate, error);
        if (status != GR_OK)
            return status;
        if (rate > best_rate)
            best_rate = rate, best = p->pattern;
    }
    p->pattern = best;
    snprintf(p->memory_mix, sizeof p->memory_mix, "%s, %u stream%s a thread, prefetch %zu bytes ahead", p->read_name,
             patterns[best].streams, patterns[best].streams == 1 ? "" : "s", patterns[best].ahead);
    return GR_OK;
}

gr_status gr_limits_create(uint32_t threads, gr_limits_probe **out_probe, gr_error *error) {
    const uint64_t least = 128u << 20, most = 768u << 20;
    *out_probe = NULL;
    gr_limits_probe *p = calloc(1, sizeof *p);
    if (!p)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "cli", "limits: no memory for a probe");
    p->threads = threads;
    gr_status status = look(p, error);
    if (status != GR_OK) {
        gr_limits_destroy(p);
        return status;
    }
    p->bytes = 32 * p->shared_bytes;
    p->bytes = p->bytes < least ? least : p->bytes > most ? most : p->bytes;
    if (p->own_bytes > p->bytes / threads)
        p->own_bytes = p->bytes / threads;
    p->bytes = p->bytes / CHUNK * CHUNK;
    p->jobs = calloc(threads, sizeof *p->jobs);
    void *data = NULL;
    if (!p->jobs || posix_memalign(&data, PAGE, p->bytes) != 0) {
        gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "cli", "limits: no memory for a buffer of %llu MB",
                (unsigned long long)(p->bytes >> 20));
        gr_limits_destroy(p);
        return GR_ERROR_OUT_OF_MEMORY;
    }
    p->data = data;
    for (uint32_t i = 0; i < threads; i++)
        p->jobs[i] = (job){.probe = p, .index = i};
#if defined(MADV_HUGEPAGE)
    (void)madvise(data, p->bytes, MADV_HUGEPAGE); // with small pages the limit would be that of the page tables
#endif
    memset(data, 1, p->bytes);
    status = find_pattern(p, error);
    if (status == GR_OK)
        *out_probe = p;
    else
        gr_limits_destroy(p);
    return status;
}

void gr_limits_destroy(gr_limits_probe *p) {
    if (!p)
        return;
    free(p->data);
    free(p->jobs);
    free(p);
}

// ---- Printing

static void print_limit(const char *name, const char *json_name, const gr_limit *limit, const char *unit, bool json) {
    if (json)
        printf(",\"%s_per_second\":%.6g,\"%s_mix\":\"%s\"", json_name, limit->rate, json_name, limit->mix);
    else
        printf("%-14s %8.1f %-7s %s\n", name, limit->rate / 1e9, unit, limit->mix);
}

void gr_limits_print(const gr_limits *limits, bool json) {
    if (json)
        printf("{\"type\":\"limits\",\"threads\":%u", limits->threads);
    else
        printf("limits of this machine, %u threads\n", limits->threads);
    print_limit("memory read", "read_bytes", &limits->memory, "GB/s", json);
    print_limit("shared cache", "shared_cache_bytes", &limits->shared, "GB/s", json);
    print_limit("own cache", "own_cache_bytes", &limits->own, "GB/s", json);
    for (int kind = 0; kind < GR_LIMIT_KINDS; kind++) {
        char name[48];
        snprintf(name, sizeof name, "%s_operations", kind_names[kind]);
        print_limit(kind_names[kind], name, &limits->products[kind], "Gop/s", json);
    }
    if (json)
        puts("}");
}
