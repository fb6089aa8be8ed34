// SPDX-License-Identifier: Apache-2.0
// fault.h: for tests of the engine: devices that fail at a chosen call. A fault is planted in the table of a
// device that the test holds open meanwhile.
#ifndef GREGALE_TESTS_ENGINE_FAULT_H
#define GREGALE_TESTS_ENGINE_FAULT_H

#include <stdatomic.h>

#include "fixture.h"

typedef enum fault_call { AT_STEP, AT_READ, AT_WRITE, AT_RESIZE, AT_IMPORT, AT_COMPILE, FAULT_CALLS } fault_call;

typedef struct fault {
    const gr_opened_device *opened;
    gr_registry *registry;
    const gr_backend *real;
    gr_backend table;
    fault_call call;
    atomic_uint calls; // that still go well
    gr_status status;  // TIMEOUT of a step: it is taken, and its fence never comes
    atomic_uint struck;
} fault;

static fault faults[4];

static inline fault *fault_of(const gr_device *device) {
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (faults[i].opened && faults[i].opened->device == device)
            return &faults[i];
    fail_msg("a device without a fault");
    return NULL;
}

// Whether this call is to fail.
static inline bool strikes(fault *f, fault_call call) {
    if (f->call != call || f->status == GR_OK)
        return false;
    unsigned left = atomic_load(&f->calls);
    while (left && !atomic_compare_exchange_weak(&f->calls, &left, left - 1))
        ;
    if (!left)
        atomic_fetch_add(&f->struck, 1);
    return !left;
}

static inline gr_status struck(const fault *f, gr_error *e) {
    return gr_fail(e, f->status, "test", "planted");
}

static gr_status fault_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *e) {
    fault *f = fault_of(device);
    if (!strikes(f, AT_STEP))
        return f->real->submit(device, queue, submit, e);
    return f->status == GR_ERROR_TIMEOUT ? GR_OK : struck(f, e);
}

static gr_status fault_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns, gr_error *e) {
    fault *f = fault_of(device);
    bool never = f->call == AT_STEP && f->status == GR_ERROR_TIMEOUT && atomic_load(&f->struck);
    return never ? struck(f, e) : f->real->fence_wait(device, fence, value, timeout_ns, e);
}

static gr_status fault_read(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region, gr_dtype dtype,
                            void *values, uint64_t bytes, gr_error *e) {
    fault *f = fault_of(device);
    return strikes(f, AT_READ) ? struck(f, e) : f->real->kv_read(device, queue, kv, region, dtype, values, bytes, e);
}

static gr_status fault_write(gr_device *device, gr_queue *queue, gr_kv *kv, const gr_kv_region *region, gr_dtype dtype,
                             const void *values, uint64_t bytes, gr_error *e) {
    fault *f = fault_of(device);
    return strikes(f, AT_WRITE) ? struck(f, e) : f->real->kv_write(device, queue, kv, region, dtype, values, bytes, e);
}

static gr_status fault_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *e) {
    fault *f = fault_of(device);
    return strikes(f, AT_RESIZE) ? struck(f, e) : f->real->kv_resize(device, kv, pages, e);
}

static gr_status fault_import(gr_device *device, const gr_weight_desc *desc, gr_weight **out_weight, gr_weight_info *out_info,
                              gr_error *e) {
    fault *f = fault_of(device);
    *out_weight = NULL;
    return strikes(f, AT_IMPORT) ? struck(f, e) : f->real->weight_import(device, desc, out_weight, out_info, e);
}

static gr_status fault_compile(gr_device *device, const gr_program_desc *desc, gr_program **out_program,
                               gr_program_info *out_info, gr_error *e) {
    fault *f = fault_of(device);
    *out_program = NULL;
    return strikes(f, AT_COMPILE) ? struck(f, e) : f->real->program_compile(device, desc, out_program, out_info, e);
}

// Holds the device open, so that what is planted in its table stays there. GR_OK: it works as ever.
static inline fault *plant(gr_engine *engine, const char *name, fault_call call, unsigned after, gr_status status) {
    fault *f = NULL;
    uint32_t index;
    for (size_t i = 0; !f && i < sizeof faults / sizeof faults[0]; i++)
        f = faults[i].opened ? NULL : &faults[i];
    assert_non_null(f);
    *f = (fault){.registry = engine->registry, .call = call, .status = status};
    atomic_init(&f->calls, after);
    OK(gr_registry_find(engine->registry, name, &index, error));
    OK(gr_registry_open(engine->registry, index, &f->opened, error));
    f->real = f->opened->backend;
    f->table = *f->real;
    f->table.submit = fault_submit;
    f->table.fence_wait = fault_wait;
    f->table.kv_read = fault_read;
    f->table.kv_write = fault_write;
    f->table.kv_resize = fault_resize;
    f->table.weight_import = fault_import;
    f->table.program_compile = fault_compile;
    ((gr_opened_device *)(uintptr_t)f->opened)->backend = &f->table;
    return f;
}

static inline void cure_all(void) {
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (!faults[i].opened)
            continue;
        ((gr_opened_device *)(uintptr_t)faults[i].opened)->backend = faults[i].real;
        gr_registry_close(faults[i].registry, faults[i].opened);
        faults[i].opened = NULL;
    }
}

// What was told of devices.
static struct seen {
    uint32_t events;
    gr_status status;
    char device[64], next[64];
    uint64_t sessions;
} seen;

static inline void on_event(void *context, const gr_device_event *event) {
    (void)context;
    seen.events++;
    seen.status = event->status;
    seen.sessions = event->sessions;
    snprintf(seen.device, sizeof seen.device, "%s", event->device);
    snprintf(seen.next, sizeof seen.next, "%s", event->next ? event->next : "");
}

// ref and far compute alike, so that no bit may tell where a session has been.
static inline const char *other_device(void) {
    return strcmp(test_device(), "ref") ? "ref" : "far";
}

// A model on the tested device, in an engine that prefers ref and far to every other device.
static inline gr_model *load_watched(const char *path, gr_model_options options, uint32_t timeout_ms) {
    const gr_engine_options wanted = {.struct_size = sizeof wanted,
                                      .plugin_directories = test_directories,
                                      .device_event = on_event,
                                      .step_timeout_ms = timeout_ms};
    gr_engine *engine = NULL;
    OK(gr_engine_create(&wanted, &engine, error));
    for (uint32_t i = 0; i < gr_registry_device_count(engine->registry); i++) {
        const gr_device_entry *entry = gr_registry_device(engine->registry, i);
        const gr_opened_device *opened;
        if (!strcmp(entry->name, "ref") || !strcmp(entry->name, "far"))
            continue;
        OK(gr_registry_open(engine->registry, i, &opened, error));
        for (uint32_t times = 0; times < 8; times++)
            gr_registry_quarantine(engine->registry, opened, false, "it would be chosen first");
        gr_registry_close(engine->registry, opened);
    }
    options.struct_size = sizeof options;
    options.device = options.device ? options.device : test_device();
    gr_model *model = load(engine, path, &options);
    gr_engine_release(engine);
    seen = (struct seen){0};
    return model;
}

// Lets go of a site that was kept because its device did not answer: now it does.
static inline void revive(gr_site *site) {
    gr_model *model = site->model;
    assert_true(site->abandoned);
    site->abandoned = false;
    gr_site_release(site);
    gr_model_release(model);
}

// An answer of so many tokens, whatever they are.
static inline gr_request *answer(gr_session *session, uint32_t max_tokens, uint64_t seed) {
    const gr_generate_options options = {
        .struct_size = sizeof options, .max_tokens = max_tokens, .seed = seed, .ignore_end = 1};
    gr_request *request = NULL;
    OK(gr_request_start(session, &options, &request, error));
    return request;
}

// Steps until nothing is left to do.
static inline gr_request_info finish_answer(gr_session *session, gr_request *request) {
    bool worked = true;
    while (worked)
        gr_engine_step(session->model->engine, &worked, NULL);
    return info_of(request);
}

#endif
