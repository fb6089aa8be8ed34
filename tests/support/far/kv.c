// SPDX-License-Identifier: Apache-2.0
// kv.c: cache pools of the inner backend, reached through queues.
#include "far.h"

gr_status far_kv_create(gr_device *handle, const gr_kv_desc *desc, gr_kv **out_kv,
                        gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    *out_kv = NULL;
    gr_status status = far_ready(device, error);
    if (status != GR_OK)
        return status;
    far_kv *kv = far_object_alloc(device, sizeof *kv, FAR_KV);
    if (!kv)
        return far_no_memory(error, "a cache pool");
    status = far_inner()->kv_create(device->inner, desc, &kv->inner, error);
    if (status != GR_OK) {
        far_object_free(device, kv, sizeof *kv);
        return status;
    }
    kv->pages = desc->pages;
    kv->page_tokens = desc->page_tokens;
    *out_kv = far_hide(kv);
    return GR_OK;
}

void far_kv_destroy(gr_device *handle, gr_kv *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_kv *kv = far_find(which, FAR_KV);
    if (!kv)
        return;
    far_retire(device, &kv->object, "a cache pool");
    far_inner()->kv_destroy(device->inner, kv->inner);
    far_object_free(device, kv, sizeof *kv);
}

static gr_status no_pool(gr_error *error) {
    return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAR, "that is no cache pool of this device");
}

gr_status far_kv_resize(gr_device *handle, gr_kv *which, uint32_t pages, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_kv *kv = far_find(which, FAR_KV);
    if (!kv)
        return no_pool(error);
    gr_status status = far_idle(device, &kv->object, "kv_resize", error);
    if (status == GR_OK)
        status = far_inner()->kv_resize(device->inner, kv->inner, pages, error);
    if (status == GR_OK)
        kv->pages = pages;
    return status;
}

uint64_t far_kv_page_bytes(gr_device *handle, const gr_kv *which) {
    far_device *device = far_find(handle, FAR_DEVICE);
    const far_kv *kv = far_find(which, FAR_KV);
    return kv ? far_inner()->kv_page_bytes(device->inner, kv->inner) : 0;
}

// On a queue the copy stands like any other work; without one nothing is in flight and it is done
// now.
gr_status far_kv_copy_page(gr_device *handle, gr_queue *queue, gr_kv *which, uint32_t from,
                           uint32_t to, uint32_t slots, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_kv *kv = far_find(which, FAR_KV);
    if (!kv)
        return no_pool(error);
    if (from >= kv->pages || to >= kv->pages || slots > kv->page_tokens)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, FAR,
                       "copy of %u slots, page %u to %u: %u pages of %u", slots, from, to,
                       kv->pages, kv->page_tokens);
    const far_command copy = {.kv = kv, .from = from, .to = to, .slots = slots};
    if (queue)
        return far_give(device, queue, &copy, error);
    gr_status status = far_settle(device, NULL, &kv->object, error);
    return status == GR_OK
               ? far_inner()->kv_copy_page(device->inner, NULL, kv->inner, from, to, slots, error)
               : status;
}

gr_status far_kv_read(gr_device *handle, gr_queue *queue, gr_kv *which, const gr_kv_region *region,
                      gr_dtype dtype, void *values, uint64_t bytes, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_kv *kv = far_find(which, FAR_KV);
    gr_status status = kv ? far_settle(device, queue, &kv->object, error) : no_pool(error);
    return status == GR_OK ? far_inner()->kv_read(device->inner, NULL, kv->inner, region, dtype,
                                                  values, bytes, error)
                           : status;
}

gr_status far_kv_write(gr_device *handle, gr_queue *queue, gr_kv *which, const gr_kv_region *region,
                       gr_dtype dtype, const void *values, uint64_t bytes, gr_error *error) {
    far_device *device = far_find(handle, FAR_DEVICE);
    far_kv *kv = far_find(which, FAR_KV);
    gr_status status = kv ? far_settle(device, queue, &kv->object, error) : no_pool(error);
    return status == GR_OK ? far_inner()->kv_write(device->inner, NULL, kv->inner, region, dtype,
                                                   values, bytes, error)
                           : status;
}
