// SPDX-License-Identifier: Apache-2.0
// paging.c: from (sequence, position) to a place in the cache, through the step's page tables.
#include "cpu.h"

gr_status cpu_pages_open(const cpu_call *call, const gr_step *step, cpu_pages *out_pages,
                         gr_error *error) {
    memset(out_pages, 0, sizeof *out_pages);
    if (!step->rows)
        return GR_OK;
    if (!step->positions || !step->row_seq || !step->seq_rows)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "%s: the step lacks positions or sequences", call->op->name);
    if (call->kv_group >= step->group_count || !step->groups ||
        step->group_stride < sizeof(gr_step_group))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "%s: the step lacks page tables of group %u", call->op->name,
                       call->kv_group);
    const gr_step_group *from = gr_step_group_at(step, call->kv_group);
    if (!gr_struct_ok(from, sizeof *from, sizeof *from, step->group_stride))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN, "step group: another layout");
    gr_struct_read(from, sizeof out_pages->group, &out_pages->group);
    const gr_step_group *group = &out_pages->group;
    if (group->page_tokens != call->kv->page_tokens || !group->page_table || !group->first_page ||
        !group->page_count)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "%s: group %u has pages of %u positions, the pool of %u, or lacks tables",
                       call->op->name, call->kv_group, group->page_tokens, call->kv->page_tokens);
    if (group->run_count && (!group->runs || group->run_stride < sizeof(gr_page_run)))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "%s: group %u lacks its %u runs of shared pages", call->op->name,
                       call->kv_group, group->run_count);
    return GR_OK;
}

gr_status cpu_pages_admit(const cpu_pages *pages, const cpu_call *call, uint32_t seq, int64_t first,
                          int64_t last, gr_error *error) {
    const gr_step_group *group = &pages->group;
    int64_t tokens = group->page_tokens, base = group->first_page[seq],
            count = group->page_count[seq];
    if (count < 0 || count > group->page_table_stride)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "sequence %u: %lld table entries of %u", seq, (long long)count,
                       group->page_table_stride);
    for (int64_t page = first / tokens; page <= last / tokens; page++) {
        int64_t entry = page - base;
        int32_t physical = -1;
        if (entry >= 0 && entry < count)
            physical =
                group->page_table[(uint64_t)seq * group->page_table_stride + (uint64_t)entry];
        if (physical < 0 || (uint32_t)physical >= call->kv->pages)
            return gr_fail(
                error, GR_ERROR_OUT_OF_RANGE, CPU_ORIGIN,
                "%s: sequence %u has no page for positions %lld to %lld (logical page %lld, table "
                "from %lld of %lld, entry %d, pool of %u)",
                call->op->name, seq, (long long)first, (long long)last, (long long)page,
                (long long)base, (long long)count, physical, call->kv->pages);
    }
    return GR_OK;
}

cpu_place cpu_pages_place(const cpu_pages *pages, const cpu_call *call, uint32_t seq, uint32_t head,
                          int64_t position) {
    const gr_step_group *group = &pages->group;
    int64_t tokens = group->page_tokens;
    uint64_t entry = (uint64_t)(position / tokens - group->first_page[seq]);
    int32_t page = group->page_table[(uint64_t)seq * group->page_table_stride + entry];
    return (cpu_place){call->kv_layer, (uint32_t)page, head, (uint32_t)(position % tokens)};
}
