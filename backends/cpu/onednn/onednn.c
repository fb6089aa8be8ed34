// SPDX-License-Identifier: Apache-2.0
// onednn.c: see onednn.h. Primitives are cached by shape: making one takes a fifth of a
// millisecond.
#include "onednn/onednn.h"

#ifndef GREGALE_CPU_ONEDNN

bool cpu_onednn_compiled(void) {
    return false;
}

cpu_onednn *cpu_onednn_open(const gr_host *host) {
    (void)host;
    return NULL;
}

void cpu_onednn_close(cpu_onednn *onednn) {
    (void)onednn;
}

cpu_onednn_matmul *cpu_onednn_matmul_get(cpu_onednn *onednn, const cpu_onednn_shape *shape) {
    (void)onednn;
    (void)shape;
    return NULL;
}

uint64_t cpu_onednn_matmul_scratch(const cpu_onednn_matmul *matmul) {
    (void)matmul;
    return 0;
}

bool cpu_onednn_matmul_run(cpu_onednn_matmul *matmul, uint32_t worker, const void *x, const void *w,
                           float *y, void *scratch) {
    (void)matmul, (void)worker, (void)x, (void)w, (void)y, (void)scratch;
    return false;
}

#else

#include <dlfcn.h>
#include <dnnl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#if DNNL_VERSION_MAJOR != 2
#error "this folder speaks the interface of oneDNN 2.x"
#endif

// One row a function that is called: F(name).
#define ONEDNN_FUNCTIONS(F)                                                                        \
    F(version)                                                                                     \
    F(engine_create)                                                                               \
    F(engine_destroy)                                                                              \
    F(stream_create)                                                                               \
    F(stream_wait)                                                                                 \
    F(stream_destroy)                                                                              \
    F(memory_desc_init_by_strides)                                                                 \
    F(memory_desc_get_size)                                                                        \
    F(memory_create)                                                                               \
    F(memory_set_data_handle)                                                                      \
    F(memory_destroy)                                                                              \
    F(matmul_desc_init)                                                                            \
    F(primitive_attr_create)                                                                       \
    F(primitive_attr_set_scratchpad_mode)                                                          \
    F(primitive_attr_destroy)                                                                      \
    F(primitive_desc_create)                                                                       \
    F(primitive_desc_query_md)                                                                     \
    F(primitive_desc_destroy)                                                                      \
    F(primitive_create)                                                                            \
    F(primitive_execute)                                                                           \
    F(primitive_destroy)

enum { X, W, Y, SCRATCH, MEMORIES };

// What one worker needs for itself.
typedef struct seat {
    dnnl_stream_t stream;
    dnnl_memory_t memory[MEMORIES];
} seat;

struct cpu_onednn_matmul {
    cpu_onednn *owner;
    cpu_onednn_matmul *next;
    cpu_onednn_shape shape;
    dnnl_primitive_t primitive;
    uint64_t scratch;
    seat seats[]; // shape.workers
};

struct cpu_onednn {
    const gr_host *host;
    pthread_mutex_t lock; // of the list
    cpu_onednn_matmul *matmuls;
    dnnl_engine_t engine;
    void (*omp_set_num_threads)(int count);
    struct {
#define F(name) __typeof__(dnnl_##name) *name;
        ONEDNN_FUNCTIONS(F)
#undef F
    } call;
};

bool cpu_onednn_compiled(void) {
    return true;
}

static bool find(void *library, const char *name, void *out_function) {
    void *symbol = dlsym(library, name);
    memcpy(out_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static const char *load(cpu_onednn *onednn, void *library) {
#define F(name)                                                                                    \
    if (!find(library, "dnnl_" #name, &onednn->call.name))                                         \
        return "it lacks dnnl_" #name;
    ONEDNN_FUNCTIONS(F)
#undef F
    const dnnl_version_t *version = onednn->call.version();
    if (version->major != DNNL_VERSION_MAJOR)
        return "it is of another major version";
    // With another runtime than OpenMP it would run on threads of its own.
    if (version->cpu_runtime == DNNL_RUNTIME_OMP &&
        !find(library, "omp_set_num_threads", &onednn->omp_set_num_threads))
        return "its OpenMP has no omp_set_num_threads";
    if (version->cpu_runtime != DNNL_RUNTIME_OMP && version->cpu_runtime != DNNL_RUNTIME_SEQ)
        return "its threads cannot be limited";
    if (onednn->call.engine_create(&onednn->engine, dnnl_cpu, 0) != dnnl_success)
        return "it makes no cpu engine";
    return NULL;
}

cpu_onednn *cpu_onednn_open(const gr_host *host) {
    void *library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        host->log(host, GR_LOG_INFO,
                  "cpu: oneDNN (libdnnl.so.2) was not found; float matrices use own kernels");
        return NULL;
    }
    cpu_onednn *onednn = host->memory_alloc(host, sizeof *onednn);
    if (!onednn)
        return NULL;
    onednn->host = host;
    const char *why = load(onednn, library);
    if (why) {
        char line[128];
        snprintf(line, sizeof line, "cpu: oneDNN is left alone: %s", why);
        host->log(host, GR_LOG_WARN, line);
        host->memory_free(host, onednn, sizeof *onednn);
        return NULL;
    }
    pthread_mutex_init(&onednn->lock, NULL);
    return onednn;
}

static uint64_t matmul_bytes(const cpu_onednn_shape *shape) {
    return sizeof(cpu_onednn_matmul) + shape->workers * sizeof(seat);
}

static void matmul_destroy(cpu_onednn *o, cpu_onednn_matmul *matmul) {
    if (!matmul)
        return;
    for (uint32_t i = 0; i < matmul->shape.workers; i++) {
        for (int j = 0; j < MEMORIES; j++) {
            if (matmul->seats[i].memory[j])
                o->call.memory_destroy(matmul->seats[i].memory[j]);
        }
        if (matmul->seats[i].stream)
            o->call.stream_destroy(matmul->seats[i].stream);
    }
    if (matmul->primitive)
        o->call.primitive_destroy(matmul->primitive);
    o->host->memory_free(o->host, matmul, matmul_bytes(&matmul->shape));
}

void cpu_onednn_close(cpu_onednn *o) {
    if (!o)
        return;
    for (cpu_onednn_matmul *matmul = o->matmuls, *next; matmul; matmul = next) {
        next = matmul->next;
        matmul_destroy(o, matmul);
    }
    o->call.engine_destroy(o->engine);
    pthread_mutex_destroy(&o->lock);
    o->host->memory_free(o->host, o, sizeof *o);
}

static bool describe(cpu_onednn *o, const cpu_onednn_shape *s, dnnl_memory_desc_t md[MEMORIES]) {
    const dnnl_dims_t x_dims = {(int64_t)s->m, (int64_t)s->k}, x_strides = {(int64_t)s->k, 1};
    const dnnl_dims_t w_dims = {(int64_t)s->k, (int64_t)s->n}, w_strides = {1, (int64_t)s->k};
    const dnnl_dims_t y_dims = {(int64_t)s->m, (int64_t)s->n},
                      y_strides = {(int64_t)s->y_stride, 1};
    dnnl_data_type_t type = s->bf16 ? dnnl_bf16 : dnnl_f32;
    return o->call.memory_desc_init_by_strides(&md[X], 2, x_dims, type, x_strides) ==
               dnnl_success &&
           o->call.memory_desc_init_by_strides(&md[W], 2, w_dims, type, w_strides) ==
               dnnl_success &&
           o->call.memory_desc_init_by_strides(&md[Y], 2, y_dims, dnnl_f32, y_strides) ==
               dnnl_success;
}

// Makes the primitive, its scratch in our hands; fills md[SCRATCH].
static bool make_primitive(cpu_onednn *o, cpu_onednn_matmul *matmul,
                           dnnl_memory_desc_t md[MEMORIES]) {
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool done = false;
    if (o->call.matmul_desc_init(&desc, &md[X], &md[W], NULL, &md[Y]) != dnnl_success ||
        o->call.primitive_attr_create(&attr) != dnnl_success)
        return false;
    if (o->call.primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) ==
            dnnl_success &&
        o->call.primitive_desc_create(&pd, &desc, attr, o->engine, NULL) == dnnl_success) {
        md[SCRATCH] = *o->call.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        matmul->scratch = o->call.memory_desc_get_size(&md[SCRATCH]);
        done = o->call.primitive_create(&matmul->primitive, pd) == dnnl_success;
        o->call.primitive_desc_destroy(pd);
    }
    o->call.primitive_attr_destroy(attr);
    return done;
}

static bool make_seats(cpu_onednn *o, cpu_onednn_matmul *matmul,
                       const dnnl_memory_desc_t md[MEMORIES]) {
    for (uint32_t i = 0; i < matmul->shape.workers; i++) {
        seat *s = &matmul->seats[i];
        if (o->call.stream_create(&s->stream, o->engine, dnnl_stream_default_flags) != dnnl_success)
            return false;
        for (int j = 0; j < MEMORIES; j++) {
            if (o->call.memory_create(&s->memory[j], &md[j], o->engine, DNNL_MEMORY_NONE) !=
                dnnl_success)
                return false;
        }
    }
    return true;
}

static cpu_onednn_matmul *matmul_make(cpu_onednn *o, const cpu_onednn_shape *shape) {
    dnnl_memory_desc_t md[MEMORIES];
    memset(md, 0, sizeof md);
    cpu_onednn_matmul *matmul = o->host->memory_alloc(o->host, matmul_bytes(shape));
    if (!matmul)
        return NULL;
    matmul->owner = o;
    matmul->shape = *shape;
    if (o->omp_set_num_threads)
        o->omp_set_num_threads(1); // the primitive is planned for as many threads as run it
    if (!describe(o, shape, md) || !make_primitive(o, matmul, md) || !make_seats(o, matmul, md)) {
        matmul_destroy(o, matmul);
        return NULL;
    }
    return matmul;
}

static bool same(const cpu_onednn_shape *a, const cpu_onednn_shape *b) {
    return a->bf16 == b->bf16 && a->workers == b->workers && a->m == b->m && a->n == b->n &&
           a->k == b->k && a->y_stride == b->y_stride;
}

cpu_onednn_matmul *cpu_onednn_matmul_get(cpu_onednn *o, const cpu_onednn_shape *shape) {
    pthread_mutex_lock(&o->lock);
    cpu_onednn_matmul *matmul = o->matmuls;
    while (matmul && !same(&matmul->shape, shape))
        matmul = matmul->next;
    if (!matmul) {
        matmul = matmul_make(o, shape);
        if (matmul) {
            matmul->next = o->matmuls;
            o->matmuls = matmul;
        }
    }
    pthread_mutex_unlock(&o->lock);
    return matmul;
}

uint64_t cpu_onednn_matmul_scratch(const cpu_onednn_matmul *matmul) {
    return matmul->scratch;
}

bool cpu_onednn_matmul_run(cpu_onednn_matmul *matmul, uint32_t worker, const void *x, const void *w,
                           float *y, void *scratch) {
    cpu_onednn *o = matmul->owner;
    seat *s = &matmul->seats[worker];
    void *data[MEMORIES] = {(void *)(uintptr_t)x, (void *)(uintptr_t)w, y, scratch};
    for (int j = 0; j < MEMORIES; j++) {
        if (o->call.memory_set_data_handle(s->memory[j], data[j]) != dnnl_success)
            return false;
    }
    if (o->omp_set_num_threads)
        o->omp_set_num_threads(1);
    const dnnl_exec_arg_t args[MEMORIES] = {{DNNL_ARG_SRC, s->memory[X]},
                                            {DNNL_ARG_WEIGHTS, s->memory[W]},
                                            {DNNL_ARG_DST, s->memory[Y]},
                                            {DNNL_ARG_SCRATCHPAD, s->memory[SCRATCH]}};
    return o->call.primitive_execute(matmul->primitive, s->stream, MEMORIES, args) ==
               dnnl_success &&
           o->call.stream_wait(s->stream) == dnnl_success;
}

#endif
