// SPDX-License-Identifier: Apache-2.0
// file.c: a model file being filled by a format plugin, then sealed and read.
//
// Invariant: every gr_tensor_info kept here lies inside the mapping of its part and has a known
// dtype, positive dims and whole rows of blocks, whatever the plugin passed in. Look-ups work once
// sealed: two tables sorted by name, searched by bisection, so that names chosen by an enemy cost
// no more than others.
#include "model/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum { PATH_SHOWN = 160 };

const char *gr_path_tail(const char *path) {
    size_t size = strlen(path);
    return size > PATH_SHOWN ? path + (size - PATH_SHOWN) : path;
}

static gr_status out_of_memory(const gr_model_file *file, gr_error *error) {
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "model",
                   "%s: no memory for the tables of this file", gr_path_tail(file->path));
}

gr_status gr_model_file_create(const char *path, const char *format_name, gr_model_file **out_file,
                               gr_error *error) {
    *out_file = NULL;
    gr_model_file *file = calloc(1, sizeof *file);
    if (file) {
        file->path = gr_arena_string(&file->arena, path, strlen(path));
        file->format = gr_arena_string(&file->arena, format_name, strlen(format_name));
    }
    if (!file || !file->path || !file->format) {
        gr_model_file_close(file);
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "model", "%s: no memory to open this file",
                       gr_path_tail(path));
    }
    *out_file = file;
    return GR_OK;
}

void gr_model_file_close(gr_model_file *file) {
    if (!file)
        return;
    for (uint32_t i = 0; i < file->part_count; i++)
        gr_mapping_close(&file->parts[i]);
    free(file->parts);
    free(file->metas);
    free(file->tensors);
    free(file->meta_names);
    free(file->tensor_names);
    gr_arena_deinit(&file->arena);
    free(file);
}

// Makes room for one more entry of `size` bytes; doubles. False when there is no memory.
static bool grow(void **entries, uint32_t count, uint32_t *capacity, size_t size) {
    if (count < *capacity)
        return true;
    if (*capacity > UINT32_MAX / 2)
        return false;
    uint32_t wanted = *capacity ? *capacity * 2 : 16;
    if (wanted > SIZE_MAX / size)
        return false;
    void *moved = realloc(*entries, wanted * size);
    if (!moved)
        return false;
    *entries = moved;
    *capacity = wanted;
    return true;
}

gr_status gr_model_file_map(gr_model_file *file, const char *path, const uint8_t **out_data,
                            uint64_t *out_bytes, gr_error *error) {
    *out_data = NULL;
    *out_bytes = 0;
    void *parts = file->parts;
    if (!grow(&parts, file->part_count, &file->part_capacity, sizeof *file->parts))
        return out_of_memory(file, error);
    file->parts = parts;
    gr_mapping *mapping = &file->parts[file->part_count];
    gr_status status = gr_mapping_open(path, mapping, error);
    if (status != GR_OK)
        return status;
    file->part_count++;
    file->bytes += mapping->bytes;
    *out_data = mapping->data;
    *out_bytes = mapping->bytes;
    return GR_OK;
}

void *gr_model_file_alloc(gr_model_file *file, uint64_t bytes) {
    return gr_arena_alloc(&file->arena, bytes);
}

static gr_status check_name(const gr_model_file *file, const char *what, gr_str name,
                            gr_error *error) {
    if (name.size && !memchr(name.data, '\0', name.size))
        return GR_OK;
    return gr_fail(error, GR_ERROR_CORRUPT, "model", "%s: %s: expected %s without NUL, found %s",
                   gr_path_tail(file->path), what, "a name",
                   name.size ? "one with NUL" : "an empty one");
}

gr_status gr_model_file_add_meta(gr_model_file *file, const gr_meta *meta, gr_error *error) {
    gr_status status = check_name(file, "metadata key", meta->key, error);
    if (status != GR_OK)
        return status;
    void *metas = file->metas;
    if (!grow(&metas, file->meta_count, &file->meta_capacity, sizeof *file->metas))
        return out_of_memory(file, error);
    file->metas = metas;
    file->metas[file->meta_count++] = *meta;
    return GR_OK;
}

// Sets *out_bytes to the size of `tensor` by its dtype and dims; NULL, or what is wrong with them.
static const char *tensor_size(const gr_tensor_info *tensor, uint64_t *out_bytes) {
    uint64_t bytes;
    if (!gr_dtype_block(tensor->dtype))
        return "the element type is unknown";
    if (!tensor->rank || tensor->rank > GR_MAX_RANK)
        return "the rank is not 1 to 4";
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->dims[i] <= 0)
            return "a dimension is not positive";
    bytes = gr_dtype_row_bytes(tensor->dtype, (uint64_t)tensor->dims[tensor->rank - 1]);
    if (!bytes)
        return "the row is not a whole number of blocks";
    for (uint32_t i = 0; i + 1 < tensor->rank; i++)
        if (!gr_mul_u64(bytes, (uint64_t)tensor->dims[i], &bytes))
            return "the size overflows";
    *out_bytes = bytes;
    return NULL;
}

gr_status gr_model_file_add_tensor(gr_model_file *file, const gr_tensor_info *tensor,
                                   gr_error *error) {
    uint64_t bytes = 0;
    gr_status status = check_name(file, "tensor", tensor->name, error);
    if (status != GR_OK)
        return status;
    const char *wrong = tensor_size(tensor, &bytes);
    if (!wrong && (tensor->part >= file->part_count || bytes != tensor->bytes))
        wrong = "its size or part does not agree with its shape";
    if (!wrong && !gr_range_fits(tensor->offset, bytes, file->parts[tensor->part].bytes))
        wrong = "its bytes reach past the end of the file";
    if (!wrong && tensor->data != file->parts[tensor->part].data + tensor->offset)
        wrong = "its bytes are not where its offset says";
    if (wrong)
        return gr_fail(
            error, GR_ERROR_CORRUPT, "model", "%s: tensor '%.*s': %s", gr_path_tail(file->path),
            (int)(tensor->name.size < 96 ? tensor->name.size : 96), tensor->name.data, wrong);
    void *tensors = file->tensors;
    if (!grow(&tensors, file->tensor_count, &file->tensor_capacity, sizeof *file->tensors))
        return out_of_memory(file, error);
    file->tensors = tensors;
    file->tensors[file->tensor_count] = *tensor;
    for (uint32_t i = tensor->rank; i < GR_MAX_RANK; i++)
        file->tensors[file->tensor_count].dims[i] = 1;
    file->tensor_count++;
    return GR_OK;
}

static int compare_names(gr_str a, gr_str b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_slots(const void *a, const void *b) {
    const gr_name_slot *x = a, *y = b;
    int order = compare_names(x->name, y->name);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

// Sorts `slots` and refuses two of the same name.
static gr_status sort_names(const gr_model_file *file, gr_name_slot *slots, uint32_t count,
                            const char *what, gr_error *error) {
    qsort(slots, count, sizeof *slots, compare_slots);
    for (uint32_t i = 1; i < count; i++)
        if (compare_names(slots[i - 1].name, slots[i].name) == 0)
            return gr_fail(error, GR_ERROR_CORRUPT, "model",
                           "%s: %s '%.*s': expected once, found twice", gr_path_tail(file->path),
                           what, (int)(slots[i].name.size < 96 ? slots[i].name.size : 96),
                           slots[i].name.data);
    return GR_OK;
}

static int compare_places(const void *a, const void *b) {
    const gr_tensor_info *x = *(const gr_tensor_info *const *)a,
                         *y = *(const gr_tensor_info *const *)b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static gr_status check_overlaps(const gr_model_file *file, gr_error *error) {
    gr_status status = GR_OK;
    const gr_tensor_info **order = malloc((file->tensor_count + 1) * sizeof *order);
    if (!order)
        return out_of_memory(file, error);
    for (uint32_t i = 0; i < file->tensor_count; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->tensor_count, sizeof *order, compare_places);
    for (uint32_t i = 1; i < file->tensor_count && status == GR_OK; i++) {
        const gr_tensor_info *a = order[i - 1], *b = order[i];
        if (a->part == b->part && b->offset - a->offset < a->bytes)
            status = gr_fail(error, GR_ERROR_CORRUPT, "model",
                             "%s: tensor '%.*s' at byte %" PRIu64
                             ": expected bytes of its own, found an "
                             "overlap with '%.*s'",
                             gr_path_tail(file->path), (int)(b->name.size < 96 ? b->name.size : 96),
                             b->name.data, b->offset, (int)(a->name.size < 96 ? a->name.size : 96),
                             a->name.data);
    }
    free(order);
    return status;
}

gr_status gr_model_file_seal(gr_model_file *file, gr_error *error) {
    gr_name_slot *metas = malloc((file->meta_count + 1) * sizeof *metas);
    gr_name_slot *tensors = malloc((file->tensor_count + 1) * sizeof *tensors);
    gr_status status = metas && tensors ? GR_OK : out_of_memory(file, error);
    if (status != GR_OK)
        goto fail;
    for (uint32_t i = 0; i < file->meta_count; i++)
        metas[i] = (gr_name_slot){file->metas[i].key, i};
    for (uint32_t i = 0; i < file->tensor_count; i++)
        tensors[i] = (gr_name_slot){file->tensors[i].name, i};
    status = sort_names(file, metas, file->meta_count, "metadata key", error);
    if (status == GR_OK)
        status = sort_names(file, tensors, file->tensor_count, "tensor", error);
    if (status == GR_OK)
        status = check_overlaps(file, error);
    if (status != GR_OK)
        goto fail;
    file->meta_names = metas;
    file->tensor_names = tensors;
    return GR_OK;
fail:
    free(metas);
    free(tensors);
    return status;
}

const char *gr_model_file_path(const gr_model_file *file) {
    return file->path;
}

const char *gr_model_file_format(const gr_model_file *file) {
    return file->format;
}

uint64_t gr_model_file_bytes(const gr_model_file *file) {
    return file->bytes;
}

uint32_t gr_model_file_meta_count(const gr_model_file *file) {
    return file->meta_count;
}

const gr_meta *gr_model_file_meta_at(const gr_model_file *file, uint32_t index) {
    return index < file->meta_count ? &file->metas[index] : NULL;
}

uint32_t gr_model_file_tensor_count(const gr_model_file *file) {
    return file->tensor_count;
}

const gr_tensor_info *gr_model_file_tensor_at(const gr_model_file *file, uint32_t index) {
    return index < file->tensor_count ? &file->tensors[index] : NULL;
}

static const gr_name_slot *find(const gr_name_slot *slots, uint32_t count, const char *name) {
    gr_name_slot wanted = {{name, strlen(name)}, 0};
    for (uint32_t low = 0, high = slots ? count : 0; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare_names(slots[middle].name, wanted.name);
        if (order == 0)
            return &slots[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const gr_meta *gr_model_file_meta(const gr_model_file *file, const char *key) {
    const gr_name_slot *slot = find(file->meta_names, file->meta_count, key);
    return slot ? &file->metas[slot->index] : NULL;
}

const gr_tensor_info *gr_model_file_tensor(const gr_model_file *file, const char *name) {
    const gr_name_slot *slot = find(file->tensor_names, file->tensor_count, name);
    return slot ? &file->tensors[slot->index] : NULL;
}

bool gr_model_file_lost(const gr_model_file *file) {
    for (uint32_t i = 0; i < file->part_count; i++)
        if (gr_mapping_lost(&file->parts[i]))
            return true;
    return false;
}
