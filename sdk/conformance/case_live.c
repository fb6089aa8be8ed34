// SPDX-License-Identifier: Apache-2.0
// case_live.c: beside and after other work: steps given ahead, queues that wait for each other,
// planning beside steps, several threads and devices, devices lost, rounds of making and destroying.
#include <dirent.h>
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
    cf_chain c;
    if (!cf_case_begin(suite, name))
        return;
    if (cf_chain_make(&c, suite, suite->device, name)) {
        bool good = true;
        for (uint64_t i = 0; i < LINKS && good; i++)
            good = !cf_chain_give(&c, suite->device, suite->queues[two_queues ? i % 2 : 1], i,
                               two_queues);
        good = good && !cf_chain_wait(&c, suite->device, LINKS);
        verdict(suite, name, good && cf_chain_right(&c, suite->device, LINKS),
                good ? "the steps did not run in order" : "a step was refused or never done");
    }
    cf_chain_unmake(&c, suite->device);
    cf_case_end(suite);
}

// ---- Planning beside steps ----

typedef struct planner {
    cf_chain *c;
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
                  !cf_chain_compile(p->c, suite->device, p->rounds % 2, &program, &info);
        b->program_destroy(suite->device, program);
        b->weight_destroy(suite->device, weight);
        p->rounds++;
    }
    return NULL;
}

static void beside(cf_suite *suite) {
    static const char name[] = "LIVE weights and programs made beside steps";
    enum { LINKS = 200 };
    cf_chain c;
    if (!cf_case_begin(suite, name))
        return;
    if (cf_chain_make(&c, suite, suite->device, name)) {
        planner p = {.c = &c, .good = true};
        pthread_t thread;
        bool started = !pthread_create(&thread, NULL, plan, &p), good = started;
        for (uint64_t i = 0; i < LINKS && good; i++)
            good = !cf_chain_give(&c, suite->device, suite->queues[1], i, false) &&
                   !cf_chain_wait(&c, suite->device, i + 1);
        p.stop = true;
        if (started)
            pthread_join(thread, NULL);
        verdict(suite, name, good && p.good && cf_chain_right(&c, suite->device, LINKS),
                !good     ? "a step failed"
                : !p.good ? "a weight or program could not be made"
                          : "the steps gave something else");
    }
    cf_chain_unmake(&c, suite->device);
    cf_case_end(suite);
}

// ---- Threads ----

typedef struct watcher {
    cf_chain *c;
    uint64_t links;
    gr_status status;
} watcher;

static void *watch(void *argument) {
    watcher *w = argument;
    w->status = cf_chain_wait(w->c, w->c->suite->device, w->links);
    return NULL;
}

// One thread gives steps, four wait for the same fence, each for another value.
static void watched(cf_suite *suite) {
    static const char name[] = "LIVE a fence that four threads wait for";
    enum { LINKS = 20, WATCHERS = 4 };
    cf_chain c;
    watcher watchers[WATCHERS];
    pthread_t threads[WATCHERS];
    if (!cf_case_begin(suite, name))
        return;
    if (cf_chain_make(&c, suite, suite->device, name)) {
        uint32_t started = 0;
        bool good = true;
        for (; started < WATCHERS && good; started += good) {
            watchers[started] = (watcher){.c = &c, .links = LINKS / WATCHERS * (started + 1)};
            good = !pthread_create(&threads[started], NULL, watch, &watchers[started]);
        }
        for (uint64_t i = 0; i < LINKS && good; i++)
            good = !cf_chain_give(&c, suite->device, suite->queues[1], i, false);
        for (uint32_t i = 0; i < started; i++) {
            pthread_join(threads[i], NULL);
            good = good && watchers[i].status == GR_OK;
        }
        good = good && !cf_chain_wait(&c, suite->device, LINKS);
        verdict(suite, name, good && cf_chain_right(&c, suite->device, LINKS),
                good ? "the steps gave something else" : "a thread did not see its step done");
    }
    cf_chain_unmake(&c, suite->device);
    cf_case_end(suite);
}

typedef struct lane {
    cf_suite *suite;
    const char *name;
    gr_device *device;
    gr_queue *queue;
    bool good;
} lane;

static void *drive(void *argument) {
    enum { LINKS = 60 };
    lane *l = argument;
    cf_chain c;
    l->good = cf_chain_make(&c, l->suite, l->device, l->name);
    for (uint64_t i = 0; i < LINKS && l->good; i++)
        l->good = !cf_chain_give(&c, l->device, l->queue, i, false) &&
                  (i % 3 || !cf_chain_wait(&c, l->device, i + 1));
    l->good = l->good && !cf_chain_wait(&c, l->device, LINKS) &&
              cf_chain_right(&c, l->device, LINKS);
    cf_chain_unmake(&c, l->device);
    return NULL;
}

// Two devices of the plugin, each driven by a thread of its own.
static void apart(cf_suite *suite) {
    static const char name[] = "LIVE two devices at once, each on a thread of its own";
    const gr_backend *b = suite->backend;
    gr_device *other = NULL;
    gr_queue *queue = NULL;
    pthread_t thread;
    cf_chain c;
    if (!cf_case_begin(suite, name))
        return;
    bool able = cf_chain_make(&c, suite, suite->device, name); // else it is skipped
    cf_chain_unmake(&c, suite->device);
    if (able && !b->open(&suite->host.table, suite->ordinal, &other, NULL) &&
        !b->queue_create(other, suite->teams[1], &queue, NULL)) {
        lane lanes[2] = {{suite, name, suite->device, suite->queues[0], false},
                         {suite, name, other, queue, false}};
        bool started = !pthread_create(&thread, NULL, drive, &lanes[1]);
        drive(&lanes[0]);
        if (started)
            pthread_join(thread, NULL);
        verdict(suite, name, started && lanes[0].good && lanes[1].good,
                "a step was refused, never done, or gave something else");
    } else if (able)
        cf_fail(suite, name, "a second device cannot be opened beside the first");
    if (other) {
        b->queue_destroy(other, queue);
        b->close(other);
    }
    cf_case_end(suite);
}

// ---- Loss ----

// A chain on a device of its own; `links` are given, and waited for unless the device is `lost`: then
// everything is destroyed with its steps under way, as after DEVICE_LOST.
static bool on_own_device(cf_suite *suite, const char *name, uint64_t links, bool lost) {
    const gr_backend *b = suite->backend;
    gr_device *device = NULL;
    gr_queue *queue = NULL;
    cf_chain c;
    if (b->open(&suite->host.table, suite->ordinal, &device, NULL))
        return false;
    bool good = cf_chain_make(&c, suite, device, name) &&
                !b->queue_create(device, suite->teams[1], &queue, NULL);
    for (uint64_t i = 0; i < links && good; i++)
        good = !cf_chain_give(&c, device, queue, i, false);
    if (!lost)
        good = good && !cf_chain_wait(&c, device, links) && cf_chain_right(&c, device, links);
    cf_chain_unmake(&c, device);
    b->queue_destroy(device, queue);
    b->close(device);
    return good;
}

// Lost at every submit in turn; each time a fresh device does the whole work again, beside the first
// one, which must not notice.
static void lost(cf_suite *suite) {
    static const char name[] = "LIVE a device lost at every submit, its work done again elsewhere";
    enum { LINKS = 12 };
    cf_chain c;
    if (!cf_case_begin(suite, name))
        return;
    if (cf_chain_make(&c, suite, suite->device, name)) {
        uint64_t before = suite->host.outstanding;
        bool good = true, clean = true;
        for (uint64_t at = 1; at <= LINKS && good && clean; at++) {
            good = on_own_device(suite, name, at, true) &&
                   !cf_chain_give(&c, suite->device, suite->queues[1], at - 1, false) &&
                   !cf_chain_wait(&c, suite->device, at) && cf_chain_right(&c, suite->device, at) &&
                   on_own_device(suite, name, LINKS, false);
            clean = suite->host.outstanding == before;
        }
        verdict(suite, name, good && clean,
                good ? "memory of the lost device was not given back"
                     : "a step was refused, never done, or gave something else");
    }
    cf_chain_unmake(&c, suite->device);
    cf_case_end(suite);
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
    cf_chain c;
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
    if (cf_chain_make(&c, suite, device, name))
        good = good && !cf_chain_give(&c, device, queue, 0, false) && !cf_chain_wait(&c, device, 1) &&
               cf_chain_right(&c, device, 1);
    cf_chain_unmake(&c, device);
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
    if (!cf_wanted(suite, "LIVE"))
        return;
    ahead(suite, false);
    ahead(suite, true);
    beside(suite);
    watched(suite);
    apart(suite);
    lost(suite);
    rounds(suite);
    loads(suite);
}
