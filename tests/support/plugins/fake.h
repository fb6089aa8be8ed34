// SPDX-License-Identifier: Apache-2.0
// fake.h: the part that all pretended plugins share: a whole table whose functions do nothing. For
// tests of discovery and choice; nothing ever runs on these.
#ifndef FAKE_H
#define FAKE_H

#include <string.h>

#include "gregale/backend.h"

static gr_status fake_refuse(gr_error *error) {
    return gr_fail(error, GR_ERROR_UNSUPPORTED, "fake", "a pretended device computes nothing");
}

static gr_status fake_open(const gr_host *host, uint32_t ordinal, gr_device **out_device,
                           gr_error *error) {
    (void)host;
    (void)error;
    static int devices[64]; // addresses to tell apart
    *out_device = (gr_device *)(void *)&devices[ordinal % 64];
    return GR_OK;
}
static void fake_close(gr_device *d) { (void)d; }
static void fake_support(gr_device *d, const gr_segment *s, uint32_t i, gr_support *out) {
    (void)d, (void)s, (void)i;
    out->level = GR_SUPPORT_NO;
}
static gr_status fake_alloc(gr_device *d, uint64_t n, gr_buffer **out, gr_error *e) {
    (void)d, (void)n, *out = NULL;
    return fake_refuse(e);
}
static gr_status fake_import(gr_device *d, void *m, uint64_t n, gr_buffer **out, gr_error *e) {
    (void)d, (void)m, (void)n, *out = NULL;
    return fake_refuse(e);
}
static void fake_buffer_destroy(gr_device *d, gr_buffer *b) { (void)d, (void)b; }
static gr_status fake_read(gr_device *d, gr_queue *q, gr_buffer *b, uint64_t o, void *p, uint64_t n,
                           gr_error *e) {
    (void)d, (void)q, (void)b, (void)o, (void)p, (void)n;
    return fake_refuse(e);
}
static gr_status fake_write(gr_device *d, gr_queue *q, gr_buffer *b, uint64_t o, const void *p,
                            uint64_t n, gr_error *e) {
    (void)d, (void)q, (void)b, (void)o, (void)p, (void)n;
    return fake_refuse(e);
}
static void *fake_map(gr_device *d, gr_buffer *b) {
    (void)d, (void)b;
    return NULL;
}
static gr_status fake_weight(gr_device *d, const gr_weight_desc *w, gr_weight **out,
                             gr_weight_info *i, gr_error *e) {
    (void)d, (void)w, (void)i, *out = NULL;
    return fake_refuse(e);
}
static void fake_weight_destroy(gr_device *d, gr_weight *w) { (void)d, (void)w; }
static gr_status fake_kv(gr_device *d, const gr_kv_desc *k, gr_kv **out, gr_error *e) {
    (void)d, (void)k, *out = NULL;
    return fake_refuse(e);
}
static void fake_kv_destroy(gr_device *d, gr_kv *k) { (void)d, (void)k; }
static gr_status fake_kv_resize(gr_device *d, gr_kv *k, uint32_t n, gr_error *e) {
    (void)d, (void)k, (void)n;
    return fake_refuse(e);
}
static uint64_t fake_page_bytes(gr_device *d, const gr_kv *k) {
    (void)d, (void)k;
    return 0;
}
static gr_status fake_copy(gr_device *d, gr_queue *q, gr_kv *k, uint32_t a, uint32_t b, uint32_t n,
                           gr_error *e) {
    (void)d, (void)q, (void)k, (void)a, (void)b, (void)n;
    return fake_refuse(e);
}
static gr_status fake_kv_read(gr_device *d, gr_queue *q, gr_kv *k, const gr_kv_region *r,
                              gr_dtype t, void *p, uint64_t n, gr_error *e) {
    (void)d, (void)q, (void)k, (void)r, (void)t, (void)p, (void)n;
    return fake_refuse(e);
}
static gr_status fake_kv_write(gr_device *d, gr_queue *q, gr_kv *k, const gr_kv_region *r,
                               gr_dtype t, const void *p, uint64_t n, gr_error *e) {
    (void)d, (void)q, (void)k, (void)r, (void)t, (void)p, (void)n;
    return fake_refuse(e);
}
static gr_status fake_compile(gr_device *d, const gr_program_desc *c, gr_program **out,
                              gr_program_info *i, gr_error *e) {
    (void)d, (void)c, (void)i, *out = NULL;
    return fake_refuse(e);
}
static void fake_program_destroy(gr_device *d, gr_program *p) { (void)d, (void)p; }
static gr_status fake_queue(gr_device *d, gr_team *t, gr_queue **out, gr_error *e) {
    (void)d, (void)t, *out = NULL;
    return fake_refuse(e);
}
static void fake_queue_destroy(gr_device *d, gr_queue *q) { (void)d, (void)q; }
static gr_status fake_submit(gr_device *d, gr_queue *q, const gr_submit *s, gr_error *e) {
    (void)d, (void)q, (void)s;
    return fake_refuse(e);
}
static gr_status fake_fence(gr_device *d, gr_fence **out, gr_error *e) {
    (void)d, *out = NULL;
    return fake_refuse(e);
}
static void fake_fence_destroy(gr_device *d, gr_fence *f) { (void)d, (void)f; }
static gr_status fake_wait(gr_device *d, gr_fence *f, uint64_t v, uint64_t t, gr_error *e) {
    (void)d, (void)f, (void)v, (void)t;
    return fake_refuse(e);
}

typedef gr_status (*fake_probe)(const gr_host *, void *, uint32_t, uint32_t, uint32_t *,
                                gr_error *);

static inline gr_backend fake_table(const char *name, gr_backend_flags flags, fake_probe probe) {
    gr_backend table = {.struct_size = sizeof table,
                        .abi_major = GR_ABI_MAJOR,
                        .abi_minor = GR_ABI_MINOR,
                        .flags = flags,
                        .name = name,
                        .version = "1.0",
                        .build_id = "fake-1",
                        .op_limit = GR_OP_LIMIT,
                        .dtype_limit = GR_DTYPE_LIMIT,
                        .probe = probe,
                        .open = fake_open,
                        .close = fake_close,
                        .node_support = fake_support,
                        .buffer_alloc = fake_alloc,
                        .buffer_import = fake_import,
                        .buffer_destroy = fake_buffer_destroy,
                        .buffer_read = fake_read,
                        .buffer_write = fake_write,
                        .buffer_map = fake_map,
                        .weight_import = fake_weight,
                        .weight_destroy = fake_weight_destroy,
                        .kv_create = fake_kv,
                        .kv_destroy = fake_kv_destroy,
                        .kv_resize = fake_kv_resize,
                        .kv_page_bytes = fake_page_bytes,
                        .kv_copy_page = fake_copy,
                        .kv_read = fake_kv_read,
                        .kv_write = fake_kv_write,
                        .program_compile = fake_compile,
                        .program_destroy = fake_program_destroy,
                        .queue_create = fake_queue,
                        .queue_destroy = fake_queue_destroy,
                        .submit = fake_submit,
                        .fence_create = fake_fence,
                        .fence_destroy = fake_fence_destroy,
                        .fence_wait = fake_wait};
    return table;
}

// Writes facts into element `index` of the array a probe was given.
static inline void fake_put(void *out_facts, uint32_t stride, uint32_t index,
                            const gr_device_facts *facts) {
    memcpy((char *)out_facts + (size_t)index * stride, facts,
           sizeof *facts < stride ? sizeof *facts : stride);
}

#endif
