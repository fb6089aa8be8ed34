// SPDX-License-Identifier: Apache-2.0
// file.h: what a gr_model_file is made of. Inside the model room. Threads: as linked/format.h says.
#ifndef GREGALE_MODEL_FILE_H
#define GREGALE_MODEL_FILE_H

#include "base/arena.h"
#include "base/os.h"
#include "gregale/linked/format.h"

// One place in a sorted table: which entry carries `name`.
typedef struct gr_name_slot {
    gr_str name;
    uint32_t index;
} gr_name_slot;

struct gr_model_file {
    gr_arena arena;
    char *path; // of the first part; in the arena, like `format`
    char *format;
    gr_mapping *parts;
    uint32_t part_count, part_capacity;
    gr_meta *metas;
    uint32_t meta_count, meta_capacity;
    gr_tensor_info *tensors;
    uint32_t tensor_count, tensor_capacity;
    gr_name_slot *meta_names; // sorted by name; NULL until sealed
    gr_name_slot *tensor_names;
    uint64_t bytes;
};

// `path` for a message: whole, or its end when it is longer than messages can bear. Points into
// `path`.
const char *gr_path_tail(const char *path);
// Little-endian bits of element `index` of a numeric array, whose bounds the caller checked.
uint64_t gr_meta_array_bits(const gr_meta *array, uint64_t index);

#endif
