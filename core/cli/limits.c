// SPDX-License-Identifier: Apache-2.0
// limits.c: a read loop and a multiply loop, each on every thread at once.
#include "cli/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/os.h"
#include "cli/cli.h"

enum { READ_BYTES = 256 << 20, ROUNDS = 7, MULTIPLIES = 1 << 21 };

typedef struct limit_job {
    void (*work)(struct limit_job *job);
    const unsigned char *data;
    uint64_t result; // keeps the compiler from dropping the work
    pthread_t thread;
    pthread_barrier_t *start;
    uint64_t begin_ns, end_ns;
} limit_job;

static void read_all(limit_job *job) {
    const uint64_t *words = (const uint64_t *)(const void *)job->data;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < READ_BYTES / 8; i += 8) {
        a += words[i] ^ words[i + 4];
        b += words[i + 1] ^ words[i + 5];
        c += words[i + 2] ^ words[i + 6];
        d += words[i + 3] ^ words[i + 7];
    }
    job->result = a + b + c + d;
}

#if defined(__x86_64__)
// Sixteen independent accumulators hide the latency of the multiply.
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void multiply_avx512(limit_job *job) {
    __m512i sum[16], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8((char)(job->result & 1));
    for (int i = 0; i < 16; i++)
        sum[i] = _mm512_setzero_si512();
    for (int n = 0; n < MULTIPLIES; n++)
        for (int i = 0; i < 16; i++) {
            sum[i] = _mm512_dpbusd_epi32(sum[i], x, y);
            __asm__ volatile("" : "+v"(sum[i]));
        }
    __m512i total = sum[0];
    for (int i = 1; i < 16; i++)
        total = _mm512_add_epi32(total, sum[i]);
    job->result = (uint64_t)(uint32_t)_mm512_reduce_add_epi32(total);
}

__attribute__((target("avx2"))) static void multiply_avx2(limit_job *job) {
    __m256i sum[8], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8((char)(job->result & 1)), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 8; i++)
        sum[i] = _mm256_setzero_si256();
    for (int n = 0; n < MULTIPLIES; n++)
        for (int i = 0; i < 8; i++) {
            __m256i product = _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones);
            sum[i] = _mm256_add_epi32(sum[i], product);
            __asm__ volatile("" : "+x"(sum[i]));
        }
    for (int i = 1; i < 8; i++)
        sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    job->result = (uint64_t)(uint32_t)_mm256_extract_epi32(sum[0], 0);
}
#endif

static void *start_job(void *argument) {
    limit_job *job = argument;
    pthread_barrier_wait(job->start);
    job->begin_ns = gr_os_now_ns();
    job->work(job);
    job->end_ns = gr_os_now_ns();
    return NULL;
}

// Seconds from the first start to the last end of one round; the caller's thread is the first.
static double one_round(limit_job *jobs, uint32_t threads) {
    pthread_barrier_t start;
    uint32_t started = 0;
    pthread_barrier_init(&start, NULL, threads);
    jobs[0].start = &start;
    for (uint32_t i = 1; i < threads; i++) {
        jobs[i].start = &start;
        if (pthread_create(&jobs[i].thread, NULL, start_job, &jobs[i]) != 0)
            break;
        started++;
    }
    if (started + 1 < threads)
        exit(gr_complain(GR_EXIT_RESOURCES, "cannot start %u threads to measure with", threads));
    start_job(&jobs[0]);
    uint64_t begin = UINT64_MAX, end = 0;
    for (uint32_t i = 0; i < threads; i++) {
        if (i)
            pthread_join(jobs[i].thread, NULL);
        begin = jobs[i].begin_ns < begin ? jobs[i].begin_ns : begin;
        end = jobs[i].end_ns > end ? jobs[i].end_ns : end;
    }
    pthread_barrier_destroy(&start);
    return (double)(end - begin) * 1e-9;
}

static double best_rate(limit_job *jobs, uint32_t threads, double amount) {
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double seconds = one_round(jobs, threads);
        if (seconds > 0 && amount * threads / seconds > best)
            best = amount * threads / seconds;
    }
    return best;
}

static double measure_read(limit_job *jobs, uint32_t threads) {
    unsigned char *data = gr_os_alloc((uint64_t)READ_BYTES * threads);
    if (!data)
        return 0;
    memset(data, 1, (size_t)READ_BYTES * threads);
    for (uint32_t i = 0; i < threads; i++)
        jobs[i] = (limit_job){.work = read_all, .data = data + (size_t)i * READ_BYTES};
    double rate = best_rate(jobs, threads, READ_BYTES);
    gr_os_free(data, (uint64_t)READ_BYTES * threads);
    return rate;
}

static double measure_int8(limit_job *jobs, uint32_t threads, const char **out_path) {
    double operations = 0;
    void (*work)(limit_job *) = NULL;
    *out_path = "";
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni"))
        work = multiply_avx512, operations = 16.0 * 128, *out_path = "avx512-vnni";
    else if (__builtin_cpu_supports("avx2"))
        work = multiply_avx2, operations = 8.0 * 64, *out_path = "avx2";
#endif
    if (!work)
        return 0;
    for (uint32_t i = 0; i < threads; i++)
        jobs[i] = (limit_job){.work = work};
    return best_rate(jobs, threads, operations * MULTIPLIES);
}

gr_limits gr_limits_measure(uint32_t threads) {
    gr_limits limits = {0};
    limit_job *jobs = calloc(threads, sizeof *jobs);
    if (!jobs)
        return limits;
    limits.read_bytes_per_second = measure_read(jobs, threads);
    limits.int8_operations_per_second = measure_int8(jobs, threads, &limits.int8_path);
    free(jobs);
    return limits;
}
