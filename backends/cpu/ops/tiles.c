// SPDX-License-Identifier: Apache-2.0
// tiles.c: how the rows and heads of a step are cut into tiles of attention.
#include "ops/attention.h"

static uint64_t panel_floats(const gr_attrs_attention *attrs, uint64_t v_pad) {
    uint64_t keys = (uint64_t)CPU_COLUMNS * attrs->k_dim, values = CPU_DENSE * v_pad;
    if (!(attrs->flags & GR_ATTENTION_DENSE))
        return 0;
    return keys > values ? keys : values;
}

static uint32_t padded(uint32_t dim) {
    return (dim + CPU_COLUMNS - 1) / CPU_COLUMNS * CPU_COLUMNS;
}

uint64_t cpu_attention_private(const gr_attrs_attention *attrs) {
    uint64_t v_pad = padded(attrs->v_dim);
    uint64_t query = attrs->k_dim + (uint64_t)CPU_SCORES + 2 * v_pad;
    return (CPU_QUERIES * query + panel_floats(attrs, v_pad)) * sizeof(float);
}

void cpu_attention_init(const cpu_call *call, const cpu_task *task, uint8_t *scratch,
                        cpu_attention *out) {
    const gr_attrs_attention *attrs = &call->node.attrs.attention;
    *out = (cpu_attention){.call = call, .task = task, .step = &task->run->step, .attrs = attrs};
    out->dense = (attrs->flags & GR_ATTENTION_DENSE) != 0;
    out->group = attrs->heads / attrs->kv_heads;
    out->heads = out->group < CPU_QUERIES ? out->group : CPU_QUERIES;
    out->rows = CPU_QUERIES / out->heads;
    out->parts = (out->group + out->heads - 1) / out->heads;
    out->v_pad = padded(attrs->v_dim);
    if (!out->dense)
        cpu_pages_open(call, out->step, &out->pages, NULL); // admitted before
    gr_dtype dtype = out->dense ? GR_DTYPE_F32 : call->kv->dtype;
    out->keys = call->kernels->attend_keys[dtype];
    out->values = call->kernels->attend_values[dtype];
    out->value_width = dtype == GR_DTYPE_Q8_0 ? 32 : CPU_COLUMNS;
    out->value_step = (uint32_t)gr_dtype_row_bytes(dtype, out->value_width);
    if (!out->dense && attrs->k_dim)
        out->key_step = (uint32_t)(cpu_page_panel_bytes(call->kv) / attrs->k_dim);
    out->q = (float *)(void *)scratch;
    if (!scratch)
        return;
    out->scores = out->q + CPU_QUERIES * (uint64_t)attrs->k_dim;
    out->sums = out->scores + CPU_QUERIES * CPU_SCORES;
    out->total = out->sums + CPU_QUERIES * (uint64_t)out->v_pad;
    out->panels = out->total + CPU_QUERIES * (uint64_t)out->v_pad;
}

void cpu_attention_visible(const gr_attrs_attention *attrs, const gr_step *step, bool dense,
                           uint32_t t, int64_t *first, int64_t *last) {
    int32_t seq = step->row_seq[t];
    int64_t p = step->positions[t], window = attrs->window;
    int64_t known = step->positions[step->seq_rows[seq + 1] - 1];
    // Dense keys begin at the sequence's first row of this step.
    int64_t lowest = dense ? step->positions[step->seq_rows[seq]] : 0;
    *first = window && p - window + 1 > lowest ? p - window + 1 : lowest;
    *last = p;
    if (attrs->flags & GR_ATTENTION_BIDIRECTIONAL)
        *last = window && p + window - 1 < known ? p + window - 1 : known;
}

// Whether sequence s shares pages with the one before it: forks do, from the first page that both
// hold.
static bool shares(const cpu_attention *a, uint32_t s) {
    const gr_step_group *group = &a->pages.group;
    if (a->dense || !group->run_count)
        return false;
    int64_t left = group->first_page[s - 1], right = group->first_page[s],
            page = left > right ? left : right;
    int64_t most = group->page_table_stride; // counts of sequences without rows are nobody's word
    if (page - left >= most || page - left >= group->page_count[s - 1] || page - right >= most ||
        page - right >= group->page_count[s])
        return false;
    const int32_t *table = group->page_table + (uint64_t)s * group->page_table_stride;
    return table[page - right] == (table - group->page_table_stride)[page - left];
}

// The family that begins with sequence *seq, which moves behind it: sequences of which each shares
// pages with the one before. Their rows stand together; returns how many there are.
static uint32_t family(const cpu_attention *a, uint32_t *seq) {
    int32_t first = a->step->seq_rows[*seq];
    do
        ++*seq;
    while (*seq < a->step->seqs && shares(a, *seq));
    return (uint32_t)(a->step->seq_rows[*seq] - first);
}

static uint64_t row_tiles(const cpu_attention *a) {
    uint64_t tiles = 0;
    for (uint32_t seq = 0; seq < a->step->seqs;)
        tiles += (family(a, &seq) + a->rows - 1) / a->rows;
    return tiles;
}

uint64_t cpu_attention_tiles(const cpu_attention *a) {
    return row_tiles(a) * a->attrs->kv_heads * a->parts;
}

// Rows of tile `index` of one KV head.
static void find_rows(const cpu_attention *a, uint64_t index, cpu_tile_rows *out) {
    for (uint32_t seq = 0, begin, rows; seq < a->step->seqs;) {
        begin = (uint32_t)a->step->seq_rows[seq];
        rows = family(a, &seq);
        uint64_t tiles = (rows + a->rows - 1) / a->rows;
        if (index < tiles) {
            uint32_t skipped = (uint32_t)index * a->rows;
            out->first = begin + skipped;
            out->count = rows - skipped < a->rows ? rows - skipped : a->rows;
            return;
        }
        index -= tiles;
    }
}

void cpu_attention_tile(const cpu_attention *a, uint64_t index, cpu_tile_rows *out) {
    uint64_t tiles = row_tiles(a);
    uint32_t slot = (uint32_t)(index / tiles), part = slot % a->parts;
    *out = (cpu_tile_rows){.kv_head = slot / a->parts, .low = INT64_MAX, .high = -1};
    find_rows(a, tiles - 1 - index % tiles, out);
    out->head = out->kv_head * a->group + part * a->heads;
    uint32_t left = a->group - part * a->heads;
    out->heads = left < a->heads ? left : a->heads;
    for (uint32_t i = 0; i < out->count; i++) {
        int64_t first, last;
        cpu_attention_visible(a->attrs, a->step, a->dense, out->first + i, &first, &last);
        out->low = first < out->low ? first : out->low;
        out->high = last > out->high ? last : out->high;
    }
}
