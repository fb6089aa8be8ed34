// SPDX-License-Identifier: Apache-2.0
// team.c: the smallest host a backend can live with: counted memory, a clock, and a team of
// threads.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "suite.h"

struct gr_team {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t threads[16];
    uint32_t workers;
    uint64_t run; // counts team_runs
    bool stop;
    uint32_t busy; // workers that have not returned yet
    uint32_t arrived;
    uint64_t barrier; // counts barriers passed
    gr_team_function function;
    void *argument;
};

typedef struct seat {
    gr_team *team;
    uint32_t id;
} seat;

static void enter(gr_team *team, uint32_t id) {
    gr_worker worker = {
        .struct_size = sizeof worker, .id = id, .count = team->workers, .host = team};
    team->function(&worker, team->argument);
}

static void *worker_main(void *argument) {
    seat own = *(seat *)argument;
    free(argument);
    gr_team *team = own.team;
    uint64_t seen = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (team->run == seen && !team->stop)
            pthread_cond_wait(&team->changed, &team->lock);
        if (team->stop)
            break;
        seen = team->run;
        pthread_mutex_unlock(&team->lock);
        enter(team, own.id);
        pthread_mutex_lock(&team->lock);
        team->busy--;
        pthread_cond_broadcast(&team->changed);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

gr_team *cf_team_create(uint32_t workers) {
    gr_team *team = calloc(1, sizeof *team);
    if (!team)
        abort();
    team->workers = workers;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->changed, NULL);
    for (uint32_t i = 1; i < workers; i++) {
        seat *place = malloc(sizeof *place);
        if (!place)
            abort();
        *place = (seat){team, i};
        if (pthread_create(&team->threads[i], NULL, worker_main, place))
            abort();
    }
    return team;
}

void cf_team_destroy(gr_team *team) {
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->stop = true;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    for (uint32_t i = 1; i < team->workers; i++)
        pthread_join(team->threads[i], NULL);
    pthread_cond_destroy(&team->changed);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

static uint32_t team_size(const gr_team *team) {
    return team->workers;
}

static void team_run(gr_team *team, gr_team_function function, void *argument) {
    pthread_mutex_lock(&team->lock);
    team->function = function;
    team->argument = argument;
    team->busy = team->workers - 1;
    team->run++;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    enter(team, 0);
    pthread_mutex_lock(&team->lock);
    while (team->busy)
        pthread_cond_wait(&team->changed, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

static void team_barrier(const gr_worker *worker) {
    gr_team *team = worker->host;
    pthread_mutex_lock(&team->lock);
    uint64_t passed = team->barrier;
    if (++team->arrived == team->workers) {
        team->arrived = 0;
        team->barrier++;
        pthread_cond_broadcast(&team->changed);
    }
    while (team->barrier == passed)
        pthread_cond_wait(&team->changed, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

static void host_log(const gr_host *table, gr_log_level level, const char *line) {
    const cf_host *host = (const cf_host *)(const void *)table;
    (void)level;
    if (host->on_log)
        host->on_log(host->log_context, line);
}

static uint64_t now_ns(const gr_host *table) {
    (void)table;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *memory_alloc(const gr_host *table, uint64_t bytes) {
    cf_host *host = (cf_host *)(uintptr_t)table;
    void *memory = NULL;
    uint64_t number = __atomic_add_fetch(&host->allocations, 1, __ATOMIC_RELAXED);
    if (host->fail_at && number >= host->fail_at)
        return NULL;
    if (!bytes || bytes > (UINT64_C(1) << 36) || posix_memalign(&memory, 64, bytes))
        return NULL;
    memset(memory, 0, bytes);
    __atomic_add_fetch(&host->outstanding, bytes, __ATOMIC_RELAXED);
    return memory;
}

static void memory_free(const gr_host *table, void *memory, uint64_t bytes) {
    cf_host *host = (cf_host *)(uintptr_t)table;
    if (memory)
        __atomic_sub_fetch(&host->outstanding, bytes, __ATOMIC_RELAXED);
    free(memory);
}

static void trace(const gr_host *table, const gr_trace_event *event) {
    cf_host *host = (cf_host *)(uintptr_t)table;
    if (event->struct_size >= sizeof *event && event->end_ns >= event->start_ns &&
        event->implementation)
        __atomic_add_fetch(&host->traced, 1, __ATOMIC_RELAXED);
}

static uint32_t trace_enabled(const gr_host *table) {
    return ((const cf_host *)(const void *)table)->tracing;
}

static const void *get_extension(const gr_host *table, const char *name) {
    (void)table;
    (void)name;
    return NULL;
}

// CPU features are what the compiler's run-time says: enough for a backend to pick its kernels.
static gr_cpu_features cpu_features(void) {
    gr_cpu_features found = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    found |= __builtin_cpu_supports("sse4.2") ? GR_CPU_SSE42 : 0;
    found |= __builtin_cpu_supports("avx") ? GR_CPU_AVX : 0;
    found |= __builtin_cpu_supports("avx2") ? GR_CPU_AVX2 : 0;
    found |= __builtin_cpu_supports("fma") ? GR_CPU_FMA : 0;
    // The compilers' lists lack F16C; every processor with AVX2 has it.
    found |= __builtin_cpu_supports("avx2") ? GR_CPU_F16C : 0;
    found |= __builtin_cpu_supports("bmi2") ? GR_CPU_BMI2 : 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        found |= GR_CPU_AVX512;
        found |= __builtin_cpu_supports("avx512vnni") ? GR_CPU_AVX512_VNNI : 0;
        found |= __builtin_cpu_supports("avx512bf16") ? GR_CPU_AVX512_BF16 : 0;
        found |= __builtin_cpu_supports("avx512vbmi") ? GR_CPU_AVX512_VBMI : 0;
    }
#elif defined(__aarch64__)
    found |= GR_CPU_NEON;
#if defined(__linux__)
    found |= getauxval(AT_HWCAP) >> 20 & 1 ? GR_CPU_NEON_DOTPROD : 0; // ASIMDDP
#elif defined(__ARM_FEATURE_DOTPROD)
    found |= GR_CPU_NEON_DOTPROD;
#endif
#endif
    return found;
}

// GREGALE_CPU_FEATURES, a hexadecimal mask, hides features: every kernel of a backend can be tried.
static gr_cpu_features allowed_features(void) {
    const char *mask = getenv("GREGALE_CPU_FEATURES");
    return mask ? strtoull(mask, NULL, 16) : ~UINT64_C(0);
}

static const gr_cpu cpus[3] = {
    {.struct_size = sizeof(gr_cpu), .os_index = 0, .core = 0},
    {.struct_size = sizeof(gr_cpu), .os_index = 1, .core = 1},
    {.struct_size = sizeof(gr_cpu), .os_index = 2, .core = 2},
};
static const gr_numa_node numa[1] = {
    {.struct_size = sizeof(gr_numa_node),
     .memory_bytes = UINT64_C(8) << 30,
     .free_bytes = UINT64_C(4) << 30},
};
static const gr_cache caches[3] = {
    {.struct_size = sizeof(gr_cache),
     .level = 1,
     .bytes = 32 << 10,
     .line_bytes = 64,
     .sharers = 1,
     .instances = 3},
    {.struct_size = sizeof(gr_cache),
     .level = 2,
     .bytes = 1 << 20,
     .line_bytes = 64,
     .sharers = 1,
     .instances = 3},
    {.struct_size = sizeof(gr_cache),
     .level = 3,
     .bytes = 16 << 20,
     .line_bytes = 64,
     .sharers = 3,
     .instances = 1},
};

void cf_host_init(cf_host *host) {
    memset(host, 0, sizeof *host);
    host->topology = (gr_topology){.struct_size = sizeof host->topology,
                                   .cpu_count = 3,
                                   .cpu_stride = sizeof cpus[0],
                                   .numa_count = 1,
                                   .numa_stride = sizeof numa[0],
                                   .cache_count = 3,
                                   .cache_stride = sizeof caches[0],
                                   .core_count = 3,
                                   .cpu_features = cpu_features() & allowed_features(),
                                   .memory_bytes = UINT64_C(8) << 30,
                                   .memory_limit_bytes = UINT64_C(8) << 30,
                                   .fake = 1,
                                   .cpus = cpus,
                                   .numa_nodes = numa,
                                   .caches = caches,
                                   .cpu_model = "conformance"};
    host->table = (gr_host){.struct_size = sizeof host->table,
                            .abi_major = GR_ABI_MAJOR,
                            .abi_minor = GR_ABI_MINOR,
                            .log = host_log,
                            .now_ns = now_ns,
                            .memory_alloc = memory_alloc,
                            .memory_free = memory_free,
                            .team_size = team_size,
                            .team_run = team_run,
                            .team_barrier = team_barrier,
                            .trace = trace,
                            .trace_enabled = trace_enabled,
                            .topology = &host->topology,
                            .get_extension = get_extension};
}
