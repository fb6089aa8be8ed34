// SPDX-License-Identifier: Apache-2.0
// fake_backend.h: a backend that has cache pages and nothing else. A slot of a page holds one
// number, so that a test can write a sequence's tokens into its pages and find them again. For the
// tests of this folder; state is per gr_device, one thread.
#ifndef GREGALE_TESTS_FAKE_BACKEND_H
#define GREGALE_TESTS_FAKE_BACKEND_H

#include <stdlib.h>
#include <string.h>

#include "kv/cache.h"

struct gr_device {
    uint32_t resizes, copies;
    uint32_t fail_resize_above; // pages; 0: never
    bool fail_copy;
};

struct gr_kv {
    gr_kv_desc desc;
    uint32_t pages;
    int64_t *slots; // [page][page_tokens], -1 where nothing was written
};

static gr_status fake_create(gr_device *device, const gr_kv_desc *desc, gr_kv **out_kv,
                             gr_error *error) {
    (void)device;
    *out_kv = calloc(1, sizeof **out_kv);
    if (!*out_kv)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "fake", "no memory");
    (*out_kv)->desc = *desc;
    return GR_OK;
}

static void fake_destroy(gr_device *device, gr_kv *kv) {
    (void)device;
    free(kv->slots);
    free(kv);
}

static gr_status fake_resize(gr_device *device, gr_kv *kv, uint32_t pages, gr_error *error) {
    size_t slots = (size_t)pages * kv->desc.page_tokens,
           had = (size_t)kv->pages * kv->desc.page_tokens;
    device->resizes++;
    if (device->fail_resize_above && pages > device->fail_resize_above)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "fake", "the device is full");
    int64_t *data = realloc(kv->slots, slots * sizeof *data);
    if (!data)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "fake", "no memory");
    for (size_t i = had; i < slots; i++)
        data[i] = -1;
    kv->slots = data;
    kv->pages = pages;
    return GR_OK;
}

static uint64_t fake_page_bytes(gr_device *device, const gr_kv *kv) {
    (void)device;
    uint64_t values = (uint64_t)kv->desc.page_tokens * kv->desc.kv_heads *
                      (kv->desc.k_dim + kv->desc.v_dim);
    return kv->desc.layers * values * gr_dtype_block_bytes(kv->desc.dtype) /
           gr_dtype_block(kv->desc.dtype);
}

static gr_status fake_copy(gr_device *device, gr_queue *queue, gr_kv *kv, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error) {
    (void)queue;
    device->copies++;
    if (device->fail_copy)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "fake", "no copy today");
    memcpy(kv->slots + (size_t)to * kv->desc.page_tokens,
           kv->slots + (size_t)from * kv->desc.page_tokens, slots * sizeof *kv->slots);
    return GR_OK;
}

static const gr_backend fake_backend = {.struct_size = sizeof fake_backend,
                                        .name = "fake",
                                        .kv_create = fake_create,
                                        .kv_destroy = fake_destroy,
                                        .kv_resize = fake_resize,
                                        .kv_page_bytes = fake_page_bytes,
                                        .kv_copy_page = fake_copy};

// The slot of `position` in a group's pages, or NULL when the page is not held.
static inline int64_t *fake_slot(const gr_kv_seq *seq, gr_kv *kv, uint32_t group,
                                 uint64_t position) {
    const gr_kv_pages *pages = &seq->groups[group];
    uint64_t page = position / kv->desc.page_tokens;
    if (page < pages->first || page - pages->first >= pages->count)
        return NULL;
    uint32_t number = (uint32_t)pages->pages[page - pages->first];
    return number < kv->pages
               ? kv->slots + (size_t)number * kv->desc.page_tokens + position % kv->desc.page_tokens
               : NULL;
}

#endif
