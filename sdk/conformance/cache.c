// SPDX-License-Identifier: Apache-2.0
// cache.c: a pool and page tables for a case, and whether KV_WRITE did what it should and nothing
// else.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "suite.h"

static uint64_t region_bytes(const gr_kv_desc *desc, gr_dtype dtype, uint32_t part,
                             uint32_t count) {
    return gr_dtype_row_bytes(dtype, part ? desc->v_dim : desc->k_dim) * desc->kv_heads * count;
}

// Bytes of one whole page of one layer, K and V, in the pool's dtype.
static uint64_t layer_bytes(const gr_kv_desc *desc) {
    return region_bytes(desc, desc->dtype, 0, desc->page_tokens) +
           region_bytes(desc, desc->dtype, 1, desc->page_tokens);
}

static gr_kv_region region_of(uint32_t layer, uint32_t part, uint32_t page, uint32_t slot,
                              uint32_t count) {
    return (gr_kv_region){.struct_size = sizeof(gr_kv_region),
                          .layer = layer,
                          .part = part,
                          .page = page,
                          .slot = slot,
                          .count = count};
}

// Reads or writes every byte of the pool in canonical order.
static bool whole_pool(cf_rig *rig, uint8_t *bytes, bool write) {
    const gr_backend *backend = rig->suite->backend;
    const gr_kv_desc *desc = &rig->cache.desc;
    gr_error error;
    gr_error_init(&error);
    for (uint32_t page = 0; page < desc->pages; page++) {
        for (uint32_t layer = 0; layer < desc->layers; layer++) {
            for (uint32_t part = 0; part < 2; part++) {
                gr_kv_region region = region_of(layer, part, page, 0, desc->page_tokens);
                uint64_t size = region_bytes(desc, desc->dtype, part, desc->page_tokens);
                gr_status status =
                    write ? backend->kv_write(rig->suite->device, NULL, rig->cache.kv, &region,
                                              desc->dtype, bytes, size, &error)
                          : backend->kv_read(rig->suite->device, NULL, rig->cache.kv, &region,
                                             desc->dtype, bytes, size, &error);
                if (gr_abi_settle_error(status, &error) != GR_OK) {
                    cf_fail(rig->suite, rig->name, "whole pool: %s", error.message);
                    return false;
                }
                bytes += size;
            }
        }
    }
    return true;
}

bool cf_rig_cache_slot(const cf_rig *rig, uint32_t seq, int64_t position, uint32_t *out_page,
                       uint32_t *out_slot) {
    const gr_step_group *group = &rig->groups[rig->cache_layer.group];
    int64_t tokens = group->page_tokens, entry = position / tokens - group->first_page[seq];
    if (position < 0 || entry < 0 || entry >= group->page_count[seq])
        return false;
    *out_page = (uint32_t)group->page_table[seq * group->page_table_stride + (uint64_t)entry];
    *out_slot = (uint32_t)(position % tokens);
    return true;
}

// `count` positions that lie in one page.
static bool run_access(cf_rig *rig, uint32_t seq, int64_t position, uint32_t count, uint32_t part,
                       gr_dtype dtype, void *values, bool write) {
    const gr_backend *backend = rig->suite->backend;
    uint32_t page, slot;
    if (!cf_rig_cache_slot(rig, seq, position, &page, &slot))
        return false;
    gr_kv_region region = region_of(rig->cache.layer, part, page, slot, count);
    uint64_t size = region_bytes(&rig->cache.desc, dtype, part, count);
    gr_status status = write ? backend->kv_write(rig->suite->device, NULL, rig->cache.kv, &region,
                                                 dtype, values, size, NULL)
                             : backend->kv_read(rig->suite->device, NULL, rig->cache.kv, &region,
                                                dtype, values, size, NULL);
    return status == GR_OK;
}

// Positions from `position` on that lie in its page, at most `most`.
static int64_t run_length(const cf_rig *rig, int64_t position, int64_t most) {
    int64_t tokens = rig->cache.desc.page_tokens, left = tokens - position % tokens;
    return left < most ? left : most;
}

bool cf_rig_cache_read(cf_rig *rig, uint32_t seq, int64_t position, int64_t count, uint32_t part,
                       float *out) {
    const gr_kv_desc *desc = &rig->cache.desc;
    for (int64_t end = position + count, run; position < end; position += run) {
        run = run_length(rig, position, end - position);
        if (!run_access(rig, seq, position, (uint32_t)run, part, GR_DTYPE_F32, out, false))
            return false;
        out += run * desc->kv_heads * (part ? desc->v_dim : desc->k_dim);
    }
    return true;
}

bool cf_rig_cache_copy(cf_rig *from, uint32_t from_seq, cf_rig *to, uint32_t to_seq,
                       int64_t position, uint32_t part) {
    gr_dtype dtype = from->cache.desc.dtype;
    void *values = malloc(region_bytes(&from->cache.desc, dtype, part, 1) + 1);
    bool good = values && run_access(from, from_seq, position, 1, part, dtype, values, false) &&
                run_access(to, to_seq, position, 1, part, dtype, values, true);
    free(values);
    return good;
}

bool cf_rig_cache_snapshot(cf_rig *rig) {
    return whole_pool(rig, rig->kv_before, false);
}

bool cf_rig_cache_restore(cf_rig *rig) {
    return whole_pool(rig, rig->kv_before, true);
}

bool cf_rig_cache_write(cf_rig *rig, uint32_t seq, int64_t position, uint32_t part,
                        const float *values) {
    return run_access(rig, seq, position, 1, part, GR_DTYPE_F32, (float *)(uintptr_t)values, true);
}

// Lowest position that a row of the step may see in sequence s.
static int64_t lowest(const cf_rig *rig, uint32_t s) {
    int64_t first = rig->cache.window ? (int64_t)rig->past[s] - rig->cache.window + 1 : 0;
    return first > 0 ? first : 0;
}

static void shuffle(cf_random *random, int32_t *list, uint32_t count) {
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = cf_below(random, i);
        int32_t kept = list[i - 1];
        list[i - 1] = list[other];
        list[other] = kept;
    }
}

// Whether sequence s has the page of the one before it at logical page `page`.
static bool shared(const cf_rig *rig, const gr_step_group *group, uint32_t s, int32_t page) {
    uint32_t half = rig->step.seqs / 2, fork = rig->cache.forks[s > half ? 1 : 0];
    return s && (uint32_t)page < fork / group->page_tokens && page >= group->first_page[s - 1];
}

// What all sequences from `first` on share of logical pages [begin, end), as a run. Their windows
// may have let go of some.
static void add_run(const cf_rig *rig, gr_step_group *group, gr_page_run *runs, uint32_t first,
                    uint32_t begin, uint32_t end) {
    for (uint32_t s = first; s < rig->step.seqs; s++)
        begin = (uint32_t)group->first_page[s] > begin ? (uint32_t)group->first_page[s] : begin;
    if (begin < end && rig->step.seqs - first > 1)
        runs[group->run_count++] = (gr_page_run){.struct_size = sizeof *runs,
                                                 .seq_first = first,
                                                 .seq_count = rig->step.seqs - first,
                                                 .page_first = begin,
                                                 .page_count = end - begin};
}

// Page tables of one group; returns how many physical pages they use, at most `pages` (from a
// shuffled list).
static uint32_t make_tables(cf_rig *rig, gr_step_group *group, const int32_t *physical) {
    const gr_step *step = &rig->step;
    const uint32_t *forks = rig->cache.forks;
    uint32_t tokens = rig->cache.desc.page_tokens, stride = 1, used = 0;
    int32_t *first = cf_rig_alloc(rig, rig->seqs_max * sizeof *first);
    int32_t *count = cf_rig_alloc(rig, rig->seqs_max * sizeof *count);
    for (uint32_t s = 0; s < step->seqs; s++) {
        int64_t end = rig->past[s] + step->seq_rows[s + 1] - step->seq_rows[s];
        int32_t seen = (int32_t)(lowest(rig, s) / tokens), more = (int32_t)((s + tokens) % 3);
        first[s] = seen > more ? seen - more : 0;
        count[s] = end ? (int32_t)((end - 1) / tokens) - first[s] + 1 : 0;
        stride = count[s] + 1 > (int32_t)stride ? (uint32_t)count[s] + 1 : stride;
    }
    int32_t *table = cf_rig_alloc(rig, (uint64_t)rig->seqs_max * stride * sizeof *table);
    gr_page_run *runs = cf_rig_alloc(rig, 2 * sizeof *runs);
    memset(table, 0xff, (uint64_t)rig->seqs_max * stride * sizeof *table);
    *group = (gr_step_group){.struct_size = sizeof *group,
                             .page_tokens = tokens,
                             .page_table_stride = stride,
                             .run_stride = sizeof(gr_page_run),
                             .page_table = table,
                             .first_page = first,
                             .page_count = count,
                             .runs = runs};
    for (uint32_t s = 0; s < step->seqs; s++) {
        for (int32_t i = 0; i < count[s]; i++) {
            int32_t page = first[s] + i;
            if (shared(rig, group, s, page))
                table[s * stride + (uint32_t)i] =
                    table[(s - 1) * stride + (uint32_t)(page - first[s - 1])];
            else
                table[s * stride + (uint32_t)i] = physical ? physical[used] : 0, used++;
        }
    }
    if (physical) {
        add_run(rig, group, runs, 0, 0, forks[0] / tokens);
        add_run(rig, group, runs, step->seqs / 2, forks[0] / tokens, forks[1] / tokens);
    }
    return used;
}

// Random keys and values for every position that a row may see, a page at a time.
static bool fill_past(cf_rig *rig) {
    const gr_kv_desc *desc = &rig->cache.desc;
    uint32_t width[2] = {desc->kv_heads * desc->k_dim, desc->kv_heads * desc->v_dim};
    float *values = cf_rig_alloc(rig, desc->page_tokens * (width[0] + width[1]) * sizeof *values);
    for (uint32_t s = 0; s < rig->step.seqs; s++) {
        int64_t count;
        for (int64_t p = lowest(rig, s); p < rig->past[s]; p += count) {
            count = run_length(rig, p, rig->past[s] - p);
            for (uint32_t part = 0; part < 2; part++) {
                for (uint32_t i = 0; i < count * width[part]; i++)
                    values[i] = (float)cf_uniform(&rig->random, -1.75, 1.75);
                if (!run_access(rig, s, p, (uint32_t)count, part, GR_DTYPE_F32, values, true)) {
                    cf_fail(rig->suite, rig->name, "kv_write refuses position %lld", (long long)p);
                    return false;
                }
            }
        }
    }
    return true;
}

bool cf_rig_cache(cf_rig *rig, const gr_kv_desc *desc, uint32_t window) {
    gr_error error;
    gr_error_init(&error);
    rig->cache.desc = *desc;
    rig->cache.window = window;
    rig->cache.layer = cf_below(&rig->random, desc->layers);
    rig->cache_layer = (gr_cache_layer){.struct_size = sizeof rig->cache_layer,
                                        .group = cf_below(&rig->random, 2),
                                        .layer = rig->cache.layer};
    gr_step_group *own = &rig->groups[rig->cache_layer.group],
                  *other = &rig->groups[1 - rig->cache_layer.group];
    uint32_t used = make_tables(rig, own, NULL);
    rig->cache.desc.pages = used + 2;
    gr_status status = rig->suite->backend->kv_create(rig->suite->device, &rig->cache.desc,
                                                      &rig->cache.kv, &error);
    if (gr_abi_settle_error(status, &error) != GR_OK) {
        cf_skip(rig->suite, rig->name, false, error.message);
        return false;
    }
    rig->cache_layer.kv = rig->cache.kv;
    int32_t *physical = cf_rig_alloc(rig, (used + 2) * sizeof *physical);
    for (uint32_t i = 0; i < used + 2; i++)
        physical[i] = (int32_t)i;
    shuffle(&rig->random, physical, used + 2);
    make_tables(rig, own, physical);
    make_tables(rig, other, NULL); // a decoy: all pages 0
    rig->step.group_count = 2;
    rig->step.group_stride = sizeof rig->groups[0];
    rig->step.groups = rig->groups;
    uint64_t bytes = layer_bytes(desc) * desc->layers * rig->cache.desc.pages;
    rig->kv_before = cf_rig_alloc(rig, bytes);
    memset(rig->kv_before, 0xff, bytes);
    return whole_pool(rig, rig->kv_before, true) && fill_past(rig) &&
           whole_pool(rig, rig->kv_before, false);
}

// Copies one part of one position between the rig's pool and place `index` of another, whose pages
// hold `tokens` positions.
static bool carry(cf_rig *rig, gr_device *device, gr_kv *other, uint32_t tokens, uint32_t index,
                  uint32_t seq, int64_t position, uint32_t part, bool back, uint8_t *values) {
    const gr_backend *backend = rig->suite->backend;
    uint32_t page, slot;
    uint64_t size = region_bytes(&rig->cache.desc, rig->cache.desc.dtype, part, 1);
    if (!cf_rig_cache_slot(rig, seq, position, &page, &slot))
        return false;
    gr_kv_region here = region_of(rig->cache.layer, part, page, slot, 1);
    gr_kv_region there = region_of(0, part, index / tokens, index % tokens, 1);
    gr_dtype dtype = rig->cache.desc.dtype;
    if (back)
        return !backend->kv_read(device, NULL, other, &there, dtype, values, size, NULL) &&
               !backend->kv_write(rig->suite->device, NULL, rig->cache.kv, &here, dtype, values,
                                  size, NULL);
    return !backend->kv_read(rig->suite->device, NULL, rig->cache.kv, &here, dtype, values, size,
                             NULL) &&
           !backend->kv_write(device, NULL, other, &there, dtype, values, size, NULL);
}

// All positions, there or back; -1 when one is refused, else how many there are.
static int64_t carry_all(cf_rig *rig, gr_device *device, gr_kv *other, uint32_t tokens, bool back) {
    const gr_kv_desc *desc = &rig->cache.desc;
    uint8_t *values = cf_rig_alloc(rig, region_bytes(desc, GR_DTYPE_F32, 0, 1) +
                                            region_bytes(desc, GR_DTYPE_F32, 1, 1));
    uint32_t index = 0;
    for (uint32_t s = 0; s < rig->step.seqs; s++) {
        for (int64_t p = lowest(rig, s); p < rig->past[s]; p++, index++) {
            for (uint32_t part = 0; part < 2 && other; part++) {
                if (!carry(rig, device, other, tokens, index, s, p, part, back, values))
                    return -1;
            }
        }
    }
    return index;
}

bool cf_rig_cache_move(cf_rig *rig) {
    enum { TOKENS = 4 };
    const gr_backend *backend = rig->suite->backend;
    gr_device *device = NULL;
    gr_kv *other = NULL;
    gr_kv_desc desc = rig->cache.desc;
    int64_t count = carry_all(rig, NULL, NULL, TOKENS, false);
    uint64_t bytes = layer_bytes(&desc) * desc.layers * desc.pages;
    uint8_t *now = cf_rig_alloc(rig, bytes), *kept = rig->kv_before;
    desc.layers = 1;
    desc.page_tokens = TOKENS;
    desc.pages = (uint32_t)count / TOKENS + 1;
    bool good = !backend->open(&rig->suite->host.table, rig->suite->ordinal, &device, NULL) &&
                !backend->kv_create(device, &desc, &other, NULL) &&
                carry_all(rig, device, other, TOKENS, false) == count;
    memset(now, 0xff, bytes);
    rig->kv_before = now;
    good = good && cf_rig_cache_restore(rig); // nothing is left behind
    rig->kv_before = kept;
    good =
        good && carry_all(rig, device, other, TOKENS, true) == count && whole_pool(rig, now, false);
    if (device) {
        backend->kv_destroy(device, other);
        backend->close(device);
    }
    if (good && !memcmp(now, kept, bytes))
        return true;
    cf_fail(rig->suite, rig->name, good ? "a bit changed on the way" : "a copy was refused");
    return false;
}

// Which sequence and position of the step's own rows lie in a slot; false when none.
static bool row_in_slot(const cf_rig *rig, uint32_t page, uint32_t slot, uint32_t *out_row) {
    for (uint32_t t = 0; t < rig->step.rows; t++) {
        uint32_t p, s;
        if (cf_rig_cache_slot(rig, (uint32_t)rig->step.row_seq[t], rig->step.positions[t], &p,
                              &s) &&
            p == page && s == slot) {
            *out_row = t;
            return true;
        }
    }
    return false;
}

// How far a stored value may lie from the exact one.
static double stored_tolerance(const cf_rig *rig, double value, double largest) {
    gr_dtype dtype = rig->cache.desc.dtype;
    double slack = sqrt(cf_rig_limit(rig)) * 12;
    if (rig->values[rig->nodes[0].in[0]].kind == GR_VALUE_ACTIVATION &&
        rig->nodes[0].op == GR_OP_KV_WRITE)
        slack = 0.0; // its inputs are exact
    if (dtype == GR_DTYPE_Q8_0)
        return largest / 127 * 0.52 + largest * 1e-3 + largest * slack;
    return fabs(cf_round(dtype, value) - value) + 1e-30 + largest * slack +
           (slack > 0 ? fabs(value) * (dtype == GR_DTYPE_F16 ? 1e-3 : 8e-3) : 0);
}

// Whether a value has to be NaN in the cache: Q8_0 has one scale for 32 of them.
static bool must_be_nan(gr_dtype dtype, const double *exact, uint32_t i, uint32_t width) {
    if (dtype != GR_DTYPE_Q8_0)
        return isnan(exact[i]);
    for (uint32_t j = i / 32 * 32; j < width && j < i / 32 * 32 + 32; j++)
        if (isnan(exact[j]))
            return true;
    return false;
}

static bool check_row(cf_rig *rig, const gr_node *write, uint32_t t, uint32_t part, char *why,
                      size_t capacity) {
    const gr_kv_desc *desc = &rig->cache.desc;
    uint32_t width = desc->kv_heads * (part ? desc->v_dim : desc->k_dim);
    const double *exact = rig->exact[write->in[part]] + (uint64_t)t * width;
    float *stored = malloc((width + 1) * sizeof *stored);
    bool good = stored && cf_rig_cache_read(rig, (uint32_t)rig->step.row_seq[t],
                                            rig->step.positions[t], 1, part, stored);
    for (uint32_t i = 0; i < width && good; i++) {
        double largest = 0;
        for (uint32_t j = i / 32 * 32; j < width && j < i / 32 * 32 + 32; j++)
            largest = fmax(largest, fabs(exact[j]));
        good = must_be_nan(desc->dtype, exact, i, width)
                   ? isnan(stored[i])
                   : fabs((double)stored[i] - exact[i]) <= stored_tolerance(rig, exact[i], largest);
        if (!good)
            snprintf(why, capacity, "cache: row %u %s[%u] holds %.9g, expected %.9g", t,
                     part ? "V" : "K", i, (double)stored[i], exact[i]);
    }
    free(stored);
    return good;
}

static bool check_slots(cf_rig *rig, const gr_node *write, const uint8_t *now, char *why,
                        size_t capacity) {
    const gr_kv_desc *desc = &rig->cache.desc;
    const uint8_t *was = rig->kv_before;
    for (uint32_t page = 0; page < desc->pages; page++) {
        for (uint32_t layer = 0; layer < desc->layers; layer++) {
            for (uint32_t part = 0; part < 2; part++) {
                uint64_t size = region_bytes(desc, desc->dtype, part, 1);
                for (uint32_t slot = 0; slot < desc->page_tokens;
                     slot++, was += size, now += size) {
                    uint32_t t;
                    bool own =
                        write && layer == rig->cache.layer && row_in_slot(rig, page, slot, &t);
                    if (own && !check_row(rig, write, t, part, why, capacity))
                        return false;
                    if (!own && memcmp(was, now, size)) {
                        snprintf(why, capacity, "cache: layer %u page %u slot %u %s changed", layer,
                                 page, slot, part ? "V" : "K");
                        return false;
                    }
                }
            }
        }
    }
    return true;
}

bool cf_cache_check(cf_rig *rig, char *why, size_t capacity) {
    const gr_kv_desc *desc = &rig->cache.desc;
    const gr_node *write = NULL;
    for (uint32_t i = 0; i < rig->node_count; i++) {
        if (rig->nodes[i].op == GR_OP_KV_WRITE)
            write = &rig->nodes[i];
    }
    uint8_t *now = cf_rig_alloc(rig, layer_bytes(desc) * desc->layers * desc->pages);
    if (!whole_pool(rig, now, false)) {
        snprintf(why, capacity, "the pool cannot be read back");
        return false;
    }
    return check_slots(rig, write, now, why, capacity);
}
