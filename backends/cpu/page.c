// SPDX-License-Identifier: Apache-2.0
// page.c: where the values of a key or a value lie in a page. A page is [layer][K then V][kv head];
// a head's part of it is made of the panels that attention reads (kernels/kernels.h), so that it
// expands and transposes nothing:
//
//   K  [slots / 16] panels, a column a position
//   V  [dim / 16] panels of all the page's slots, a column a dimension; Q8_0: a block of 32
//   dimensions is two
//
// A row in canonical form is [dim] in the cache's dtype. Pages of fewer than 16 slots fill a part
// of a K panel; dimensions that are no multiple of 16 a part of the last V panel.
#include "cpu.h"

static uint64_t round_up(uint64_t n, uint64_t to) {
    return (n + to - 1) / to * to;
}

// Dimensions under one address of V, and their bytes in one slot.
static uint32_t value_width(const gr_kv *kv) {
    return kv->dtype == GR_DTYPE_Q8_0 ? 32 : CPU_COLUMNS;
}

static uint64_t value_bytes(const gr_kv *kv) {
    return gr_dtype_row_bytes(kv->dtype, value_width(kv));
}

uint64_t cpu_page_panel_bytes(const gr_kv *kv) {
    return kv->head_bytes[0] * CPU_COLUMNS;
}

const char *cpu_page_measure(gr_kv *kv) {
    for (int part = 0; part < 2; part++) {
        kv->head_bytes[part] = gr_dtype_row_bytes(kv->dtype, kv->dim[part]);
        if (kv->dim[part] && !kv->head_bytes[part])
            return "a head is not a whole number of blocks of that dtype";
    }
    uint64_t slots[2] = {round_up(kv->page_tokens, CPU_COLUMNS), kv->page_tokens};
    uint64_t bytes[2] = {kv->head_bytes[0],
                         gr_dtype_row_bytes(kv->dtype, round_up(kv->dim[1], value_width(kv)))};
    for (int part = 0; part < 2; part++) {
        if (__builtin_mul_overflow(bytes[part], slots[part], &kv->slab_bytes[part]) ||
            __builtin_mul_overflow(kv->slab_bytes[part], kv->kv_heads, &kv->part_bytes[part]))
            return "its size overflows";
    }
    if (__builtin_add_overflow(kv->part_bytes[0], kv->part_bytes[1], &kv->layer_bytes) ||
        __builtin_mul_overflow(kv->layer_bytes, kv->layers, &kv->page_bytes))
        return "its size overflows";
    return NULL;
}

static uint8_t *slab(const gr_kv *kv, cpu_place at, uint32_t part) {
    return kv->data + kv->page_bytes * at.page + kv->layer_bytes * at.layer +
           (part ? kv->part_bytes[0] : 0) + kv->slab_bytes[part] * at.head;
}

uint8_t *cpu_page_keys(const gr_kv *kv, cpu_place at) {
    return slab(kv, at, 0) + cpu_page_panel_bytes(kv) * (at.slot / CPU_COLUMNS);
}

void cpu_page_values(const gr_kv *kv, cpu_place at, uint32_t dim, uint8_t **out_panel,
                     uint8_t **out_scales) {
    uint32_t width = value_width(kv);
    uint8_t *group = slab(kv, at, 1) + value_bytes(kv) * kv->page_tokens * (dim / width);
    *out_scales = NULL;
    if (kv->dtype == GR_DTYPE_Q8_0) {
        *out_scales = group + (uint64_t)at.slot * 2;
        *out_panel = group + (uint64_t)kv->page_tokens * 2 + (uint64_t)at.slot * 32 + dim % 32;
    } else {
        *out_panel = group + value_bytes(kv) * at.slot;
    }
}

// Moves n elements between a row and every CPU_COLUMNS-th place of a panel.
static inline void move_lanes(uint8_t *panel, uint8_t *row, uint64_t n, const uint32_t bytes,
                              const bool put) {
    for (uint64_t i = 0; i < n; i++, panel += CPU_COLUMNS * bytes, row += bytes)
        memcpy(put ? panel : row, put ? row : panel, bytes);
}

// Moves values [first, first + n) of a key; `row` holds just those.
static inline void move_key(const gr_kv *kv, cpu_place at, uint32_t first, uint32_t n, uint8_t *row,
                            const bool put) {
    uint32_t lane = at.slot % CPU_COLUMNS, bytes = gr_dtype_block_bytes(kv->dtype);
    uint8_t *panel = cpu_page_keys(kv, at);
    if (kv->dtype == GR_DTYPE_F32) {
        move_lanes(panel + ((uint64_t)first * CPU_COLUMNS + lane) * 4, row, n, 4, put);
    } else if (kv->dtype != GR_DTYPE_Q8_0) {
        move_lanes(panel + ((uint64_t)first * CPU_COLUMNS + lane) * 2, row, n, 2, put);
    } else {
        panel += (uint64_t)first / 32 * CPU_COLUMNS * bytes;
        for (uint32_t g = 0; g < n / 32; g++, row += bytes, panel += CPU_COLUMNS * bytes) {
            move_lanes(panel + lane * 2, row, 1, 2, put);
            move_lanes(panel + CPU_COLUMNS * 2 + lane, row + 2, 32, 1, put);
        }
    }
}

static inline void move_bytes(uint8_t *page, uint8_t *row, uint64_t n, const bool put) {
    memcpy(put ? page : row, put ? row : page, n);
}

static inline void move_value(const gr_kv *kv, cpu_place at, uint32_t first, uint32_t n,
                              uint8_t *row, const bool put) {
    uint32_t width = value_width(kv);
    uint8_t *panel, *scales;
    for (uint32_t d = first, here; d < first + n; d += here) {
        here = first + n - d < width ? first + n - d : width;
        uint64_t bytes = gr_dtype_row_bytes(kv->dtype, here),
                 scale = kv->dtype == GR_DTYPE_Q8_0 ? 2 : 0;
        cpu_page_values(kv, at, d, &panel, &scales);
        if (scale)
            move_bytes(scales, row, scale, put);
        move_bytes(panel, row + scale, bytes - scale, put);
        row += bytes;
    }
}

void cpu_page_put(const gr_kv *kv, cpu_place at, uint32_t part, uint32_t first, uint32_t n,
                  const uint8_t *row) {
    uint8_t *from = (uint8_t *)(uintptr_t)row; // only read
    if (part)
        move_value(kv, at, first, n, from, true);
    else
        move_key(kv, at, first, n, from, true);
}

void cpu_page_get(const gr_kv *kv, cpu_place at, uint32_t part, uint32_t first, uint32_t n,
                  uint8_t *row) {
    if (part)
        move_value(kv, at, first, n, row, false);
    else
        move_key(kv, at, first, n, row, false);
}

void cpu_page_encode(const cpu_kernels *kernels, const gr_kv *kv, cpu_place at, uint32_t part,
                     const float *values) {
    uint8_t row[CPU_CHUNK * sizeof(float)];
    for (uint32_t d = 0, n; d < kv->dim[part]; d += n) {
        n = kv->dim[part] - d < CPU_CHUNK ? kv->dim[part] - d : CPU_CHUNK;
        cpu_encode_row(kernels, kv->dtype, values + d, n, row);
        cpu_page_put(kv, at, part, d, n, row);
    }
}

void cpu_page_decode(const cpu_kernels *kernels, const gr_kv *kv, cpu_place at, uint32_t part,
                     float *out_values) {
    uint8_t row[CPU_CHUNK * sizeof(float)];
    for (uint32_t d = 0, n; d < kv->dim[part]; d += n) {
        n = kv->dim[part] - d < CPU_CHUNK ? kv->dim[part] - d : CPU_CHUNK;
        cpu_page_get(kv, at, part, d, n, row);
        cpu_decode_row(kernels, kv->dtype, row, n, out_values + d);
    }
}

static void copy_values(const gr_kv *kv, cpu_place from, cpu_place to, uint32_t slots) {
    uint8_t *source, *target, *source_scales, *target_scales;
    uint64_t scale = kv->dtype == GR_DTYPE_Q8_0 ? 2 : 0;
    for (uint32_t d = 0; d < kv->dim[1]; d += value_width(kv)) {
        cpu_page_values(kv, from, d, &source, &source_scales);
        cpu_page_values(kv, to, d, &target, &target_scales);
        memcpy(target, source, (value_bytes(kv) - scale) * slots);
        if (scale)
            memcpy(target_scales, source_scales, scale * slots);
    }
}

// Slots that fill panels of K are copied at once, the rest one by one.
void cpu_page_copy_slots(const gr_kv *kv, cpu_place from, cpu_place to, uint32_t slots) {
    uint8_t row[CPU_CHUNK * sizeof(float)];
    uint32_t whole = slots / CPU_COLUMNS * CPU_COLUMNS;
    from.slot = to.slot = 0;
    copy_values(kv, from, to, slots);
    if (whole)
        memcpy(cpu_page_keys(kv, to), cpu_page_keys(kv, from),
               cpu_page_panel_bytes(kv) * (whole / CPU_COLUMNS));
    for (from.slot = to.slot = whole; from.slot < slots; to.slot = ++from.slot) {
        for (uint32_t d = 0, n; d < kv->dim[0]; d += n) {
            n = kv->dim[0] - d < CPU_CHUNK ? kv->dim[0] - d : CPU_CHUNK;
            cpu_page_get(kv, from, 0, d, n, row);
            cpu_page_put(kv, to, 0, d, n, row);
        }
    }
}
