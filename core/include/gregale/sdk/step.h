// SPDX-License-Identifier: Apache-2.0
// step.h: checking the step block before anything runs, finding cache pages, and what a row sees.
// For backend authors. Needs only libc headers; C11 and C++17. Pure functions: any thread.
//
// Errors carry the origin GR_SDK_ORIGIN: define it as the backend's name before the first header.
#ifndef GREGALE_SDK_STEP_H
#define GREGALE_SDK_STEP_H

#include "gregale/sdk/node.h"

#ifndef GR_SDK_ORIGIN
#define GR_SDK_ORIGIN "backend"
#endif

#ifdef __cplusplus
extern "C" {
#endif

// ---- The block ----

// Row bookkeeping that ops rely on: rows grouped by sequence, positions ascending by one. A step
// that lacks it passes: ops that need it say so.
static inline gr_status gr_step_rows_check(const gr_step *step, gr_error *error) {
    if (!step->rows || !step->row_seq || !step->seq_rows || !step->positions)
        return GR_OK;
    for (uint32_t s = 0; s < step->seqs; s++) {
        int32_t begin = step->seq_rows[s], end = step->seq_rows[s + 1];
        if (begin < 0 || end < begin || (uint32_t)end > step->rows || (s == 0 && begin != 0))
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                           "step: sequence %u owns rows %d to %d of %u", s, begin, end, step->rows);
        for (int32_t t = begin; t < end; t++) {
            if (step->row_seq[t] != (int32_t)s || step->positions[t] < 0 ||
                (t > begin && step->positions[t] - 1 != step->positions[t - 1]))
                return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                               "step: row %d is of sequence %d at position %d", t, step->row_seq[t],
                               step->positions[t]);
        }
    }
    if (!step->seqs || step->seq_rows[step->seqs] != (int32_t)step->rows)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "step: its sequences do not cover its %u rows", step->rows);
    return GR_OK;
}

// Whether a step can be read and fits a bucket of these sizes.
static inline gr_status gr_step_check(const gr_step *step, uint32_t rows_max, uint32_t seqs_max,
                                      uint32_t outputs_max, gr_error *error) {
    if (!gr_struct_ok(step, sizeof *step, sizeof *step, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN, "step: another layout");
    if (step->rows > rows_max || step->seqs > seqs_max || step->outputs > outputs_max ||
        step->rows > INT32_MAX)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_SDK_ORIGIN,
                       "step of %u rows, %u sequences, %u outputs: the program takes %u, %u, %u",
                       step->rows, step->seqs, step->outputs, rows_max, seqs_max, outputs_max);
    return gr_step_rows_check(step, error);
}

// The data behind a value of kind STEP; NULL when this step has none.
static inline const int32_t *gr_step_data(const gr_step *step, gr_step_field field) {
    switch (field) {
    case GR_STEP_TOKENS: return step->tokens;
    case GR_STEP_POSITIONS: return step->positions;
    case GR_STEP_ROW_SEQ: return step->row_seq;
    case GR_STEP_OUTPUT_ROWS: return step->output_rows;
    default: return step->mask_bits;
    }
}

// OK when every entry of operand `in` that comes from the step lies in [0, limit). What was
// computed in the step itself passes: the op copes with what it finds.
static inline gr_status gr_step_index_check(const gr_step *step, const gr_node_view *node,
                                            uint32_t in, uint64_t limit, gr_error *error) {
    const gr_value *value = &node->in[in];
    if (!node->has_in[in] || value->kind != GR_VALUE_STEP)
        return GR_OK;
    uint64_t count = gr_value_count(value, step);
    const int32_t *index = gr_step_data(step, value->index);
    if (count && !index)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "op %u: the step lacks field %u", node->op, value->index);
    for (uint64_t i = 0; i < count; i++) {
        if (index[i] < 0 || (uint64_t)index[i] >= limit)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_SDK_ORIGIN,
                           "op %u: row %llu asks for %d of %llu", node->op, (unsigned long long)i,
                           index[i], (unsigned long long)limit);
    }
    return GR_OK;
}

// ---- Pages ----

// Copies the page tables of cache group `group`, whose pool has pages of `page_tokens` positions.
// A step without rows has none, and needs none.
static inline gr_status gr_step_pages_open(const gr_step *step, uint32_t group,
                                           uint32_t page_tokens, gr_step_group *out_group,
                                           gr_error *error) {
    memset(out_group, 0, sizeof *out_group);
    if (!step->rows)
        return GR_OK;
    if (!step->positions || !step->row_seq || !step->seq_rows)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "the step lacks positions or sequences");
    if (group >= step->group_count || !step->groups || step->group_stride < sizeof *out_group)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "the step lacks page tables of group %u", group);
    const gr_step_group *from = gr_step_group_at(step, group);
    if (!gr_struct_ok(from, sizeof *from, sizeof *from, step->group_stride))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "step group: another layout");
    gr_struct_read(from, sizeof *out_group, out_group);
    if (out_group->page_tokens != page_tokens || !out_group->page_table || !out_group->first_page ||
        !out_group->page_count)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "group %u has pages of %u positions, the pool of %u, or lacks tables", group,
                       out_group->page_tokens, page_tokens);
    return GR_OK;
}

// OK when positions [first, last] of `seq` lie in pages that the table holds, of a pool of `pages`.
static inline gr_status gr_step_pages_check(const gr_step_group *group, uint32_t seq, int64_t first,
                                            int64_t last, uint32_t pages, gr_error *error) {
    int64_t tokens = group->page_tokens, base = group->first_page[seq],
            count = group->page_count[seq];
    if (count < 0 || count > group->page_table_stride)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "sequence %u: %lld table entries of %u", seq, (long long)count,
                       group->page_table_stride);
    for (int64_t page = first / tokens; page <= last / tokens; page++) {
        int64_t entry = page - base;
        int32_t physical = -1;
        if (entry >= 0 && entry < count)
            physical =
                group->page_table[(uint64_t)seq * group->page_table_stride + (uint64_t)entry];
        if (physical < 0 || (uint32_t)physical >= pages)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, GR_SDK_ORIGIN,
                           "sequence %u has no page for positions %lld to %lld (logical page %lld, "
                           "table from %lld of %lld, entry %d, pool of %u)",
                           seq, (long long)first, (long long)last, (long long)page, (long long)base,
                           (long long)count, physical, pages);
    }
    return GR_OK;
}

// The physical page and slot of a position that was checked.
static inline uint32_t gr_step_page_of(const gr_step_group *group, uint32_t seq, int64_t position,
                                       uint32_t *out_slot) {
    uint64_t entry = (uint64_t)(position / group->page_tokens - group->first_page[seq]);
    *out_slot = (uint32_t)(position % group->page_tokens);
    return (uint32_t)group->page_table[(uint64_t)seq * group->page_table_stride + entry];
}

// ---- What a row sees ----

// The positions that the query of row t sees: [*first, *last], empty when last < first. Dense keys
// begin at the sequence's first row of this step.
static inline void gr_attention_visible(const gr_attrs_attention *a, const gr_step *step,
                                        uint32_t t, int64_t *first, int64_t *last) {
    int32_t seq = step->row_seq[t];
    int64_t p = step->positions[t], window = a->window;
    int64_t known = step->positions[step->seq_rows[seq + 1] - 1];
    *first = a->flags & GR_ATTENTION_DENSE ? step->positions[step->seq_rows[seq]] : 0;
    if (window && p - window + 1 > *first)
        *first = p - window + 1;
    *last = p;
    if (a->flags & GR_ATTENTION_BIDIRECTIONAL)
        *last = window && p + window - 1 < known ? p + window - 1 : known;
}

// OK when all that the rows see stands in pages of a pool of `pages` pages.
static inline gr_status gr_attention_check(const gr_attrs_attention *a, const gr_step *step,
                                           uint32_t group, uint32_t page_tokens, uint32_t pages,
                                           gr_error *error) {
    gr_step_group tables;
    if (a->flags & GR_ATTENTION_DENSE) {
        if (step->rows && (!step->positions || !step->row_seq || !step->seq_rows))
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                           "the step lacks positions or sequences");
        return GR_OK;
    }
    gr_status status = gr_step_pages_open(step, group, page_tokens, &tables, error);
    for (uint32_t t = 0; t < step->rows && status == GR_OK; t++) {
        int64_t first, last;
        gr_attention_visible(a, step, t, &first, &last);
        status =
            gr_step_pages_check(&tables, (uint32_t)step->row_seq[t], first, last, pages, error);
    }
    return status;
}

// OK when every row of the step has a page to be written to.
static inline gr_status gr_kv_write_check(const gr_step *step, uint32_t group, uint32_t page_tokens,
                                          uint32_t pages, gr_error *error) {
    gr_step_group tables;
    gr_status status = gr_step_pages_open(step, group, page_tokens, &tables, error);
    for (uint32_t t = 0; t < step->rows && status == GR_OK; t++)
        status = gr_step_pages_check(&tables, (uint32_t)step->row_seq[t], step->positions[t],
                                     step->positions[t], pages, error);
    return status;
}

#ifdef __cplusplus
}
#endif
#endif
