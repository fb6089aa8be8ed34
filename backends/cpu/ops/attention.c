// SPDX-License-Identifier: Apache-2.0
// attention.c: ATTENTION over paged or dense keys: checks, and how tiles and chunks are spread over
// workers.
#include <stdio.h>

#include "ops/attention.h"

static const char *check(const cpu_node *node) {
    const gr_attrs_attention *a = &node->attrs.attention;
    const gr_value *q = &node->in[0], *out = &node->out[0];
    if (a->flags & ~(uint32_t)(GR_ATTENTION_BIDIRECTIONAL | GR_ATTENTION_DENSE))
        return "unknown attention flag";
    if (!a->heads || !a->kv_heads || a->heads % a->kv_heads)
        return "heads must be a positive multiple of kv_heads";
    if (a->k_dim > 65536 || a->v_dim > 65536)
        return "heads of more than 65536 values";
    if (!cpu_is_matrix(q, GR_DTYPE_F32) || q->dims[0] != GR_DIM_T ||
        (uint64_t)q->dims[1] != (uint64_t)a->heads * a->k_dim)
        return "q must be F32 [T,heads*k_dim]";
    if (!cpu_is_matrix(out, GR_DTYPE_F32) || out->dims[0] != GR_DIM_T ||
        (uint64_t)out->dims[1] != (uint64_t)a->heads * a->v_dim)
        return "the output must be F32 [T,heads*v_dim]";
    if (!(a->flags & GR_ATTENTION_DENSE))
        return node->in_count == 2 && node->in[1].kind == GR_VALUE_STATE
                   ? NULL
                   : "paged attention takes q, state";
    if (node->in_count != 3 || !node->has_in[2])
        return "dense attention takes q, k, v";
    for (int part = 0; part < 2; part++) {
        const gr_value *kv = &node->in[1 + part];
        uint64_t width = (uint64_t)a->kv_heads * (part ? a->v_dim : a->k_dim);
        if (!cpu_is_matrix(kv, GR_DTYPE_F32) || kv->dims[0] != GR_DIM_T ||
            (uint64_t)kv->dims[1] != width)
            return "k and v must be F32 [T,kv_heads*dim]";
    }
    return NULL;
}

static gr_status admit(const cpu_call *call, const cpu_run *run, gr_error *error) {
    const gr_step *step = &run->step;
    const gr_attrs_attention *attrs = &call->node.attrs.attention;
    if (step->rows && (!step->positions || !step->row_seq || !step->seq_rows))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "ATTENTION: the step lacks positions or sequences");
    if (attrs->flags & GR_ATTENTION_DENSE)
        return GR_OK;
    cpu_pages pages;
    gr_status status = cpu_pages_open(call, step, &pages, error);
    for (uint32_t s = 0; s < step->seqs && status == GR_OK && step->rows; s++) {
        if (step->seq_rows[s] == step->seq_rows[s + 1])
            continue;
        // Rows ascend, so the first sees lowest and the last sees highest.
        int64_t low, high, other;
        cpu_attention_visible(attrs, step, false, (uint32_t)step->seq_rows[s], &low, &other);
        cpu_attention_visible(attrs, step, false, (uint32_t)step->seq_rows[s + 1] - 1, &other,
                              &high);
        status = cpu_pages_admit(&pages, call, s, low, high, error);
    }
    return status;
}

// Partial results of one query and chunk: its state, then its weighted sum.
static uint64_t partial_floats(const gr_attrs_attention *attrs) {
    return 2 + (attrs->v_dim + (uint64_t)CPU_COLUMNS - 1) / CPU_COLUMNS * CPU_COLUMNS;
}

// Floats of the results of one chunk for every query of a step that may be split.
static uint64_t slot_floats(const gr_attrs_attention *attrs, uint32_t rows_max) {
    uint64_t group = attrs->heads / attrs->kv_heads;
    uint64_t heads =
        (group + CPU_QUERIES - 1) / CPU_QUERIES * (group < CPU_QUERIES ? group : CPU_QUERIES);
    uint64_t rows = rows_max < CPU_SPLIT_ROWS ? rows_max : CPU_SPLIT_ROWS;
    return rows * attrs->kv_heads * heads * partial_floats(attrs);
}

// Chunks of a tile that are worked on at once: `threads` workers have enough to do, and the results
// do not outgrow a cache.
static uint64_t split_width(const gr_attrs_attention *attrs, const gr_program *program) {
    uint64_t width = 4 * (uint64_t)program->threads,
             most = CPU_SPLIT_FLOATS / (slot_floats(attrs, program->rows_max) + 1);
    width = width < 8 ? 8 : width > 64 ? 64 : width;
    return width < most ? width : most < 4 ? 4 : most;
}

static gr_status emit(cpu_builder *b, const cpu_call *bound, gr_error *error) {
    cpu_call call = *bound;
    const gr_attrs_attention *attrs = &call.node.attrs.attention;
    cpu_build_private(b, cpu_attention_private(attrs));
    // One slot more: the results of earlier rounds stay between them.
    uint64_t bytes = b->program->threads < 2
                         ? 0
                         : (split_width(attrs, b->program) + 1) *
                               slot_floats(attrs, b->program->rows_max) * sizeof(float);
    call.scratch = cpu_build_region(b, &b->attention, bytes);
    cpu_access access = {.space = CPU_SPACE_SCRATCH,
                         .write = true,
                         .begin = call.scratch,
                         .end = call.scratch + bytes};
    snprintf(call.implementation, sizeof call.implementation, "attention_%s", bound->kernels->isa);
    return cpu_build_call(b, &call, &access, 1) ? GR_OK : cpu_no_memory(error);
}

// All chunks of one tile, by one worker.
static void whole_tile(const cpu_attention *a, const cpu_tile_rows *tile) {
    cpu_softmax total[CPU_QUERIES], states[CPU_QUERIES];
    uint32_t queries = tile->count * tile->heads;
    cpu_attention_load(a, tile);
    for (uint32_t i = 0; i < queries; i++)
        total[i] = (cpu_softmax){.largest = -INFINITY};
    for (int64_t chunk = tile->low / CPU_KEYS; chunk * CPU_KEYS <= tile->high; chunk++) {
        cpu_attention_chunk(a, tile, chunk, states, a->sums);
        for (uint32_t i = 0; i < queries; i++)
            cpu_attention_merge(&total[i], a->total + (uint64_t)i * a->v_pad, &states[i],
                                a->sums + (uint64_t)i * a->v_pad, a->v_pad);
    }
    cpu_attention_store(a, tile, total, a->total);
}

static void whole_tiles(const cpu_attention *a, uint64_t tiles) {
    const cpu_task *task = a->task;
    while (task->id < task->count) {
        uint64_t taken = atomic_fetch_add_explicit(a->call->counter, 1, memory_order_relaxed);
        if (taken >= tiles)
            return;
        cpu_tile_rows tile;
        cpu_attention_tile(a, taken, &tile);
        whole_tile(a, &tile);
    }
}

static void barrier(const cpu_attention *a) {
    if (!a->task->run->alone)
        a->task->run->host->team_barrier(a->task->worker);
}

// A tile's results in slot `slot`: the states of its queries, and their weighted sums.
static cpu_softmax *slot_at(const cpu_attention *a, const cpu_tile_rows *tile, uint64_t slot,
                            float **out_sums) {
    const gr_attrs_attention *attrs = a->attrs;
    uint64_t floats = slot_floats(attrs, a->task->run->program->rows_max), rows = a->step->rows;
    uint64_t part =
        tile->kv_head * (uint64_t)a->parts + (tile->head - tile->kv_head * a->group) / a->heads;
    float *place = (float *)(void *)(a->task->run->scratch + a->call->scratch) + slot * floats;
    place += (part * rows + tile->first) * a->heads * partial_floats(attrs);
    *out_sums = place + 2 * (uint64_t)tile->count * tile->heads;
    return (cpu_softmax *)(void *)place;
}

// One chunk of one tile into its slot.
static void split_chunk(const cpu_attention *a, uint64_t index, uint64_t slot, uint64_t round,
                        uint64_t width) {
    cpu_tile_rows tile;
    cpu_attention_tile(a, index, &tile);
    int64_t chunk = tile.low / CPU_KEYS + (int64_t)(round * width + slot);
    if (chunk * CPU_KEYS > tile.high)
        return;
    float *sums;
    cpu_softmax *states = slot_at(a, &tile, slot, &sums);
    cpu_attention_load(a, &tile);
    cpu_attention_chunk(a, &tile, chunk, states, sums);
}

// Merges a round's slots of one tile into its last slot, and stores the tile when it is done.
static void split_merge(const cpu_attention *a, uint64_t index, uint64_t round, uint64_t width) {
    cpu_tile_rows tile;
    cpu_attention_tile(a, index, &tile);
    float *sums;
    cpu_softmax *total = slot_at(a, &tile, width, &sums);
    uint32_t queries = tile.count * tile.heads;
    for (uint32_t i = 0; i < queries && !round; i++)
        total[i] = (cpu_softmax){.largest = -INFINITY};
    int64_t chunk = tile.low / CPU_KEYS + (int64_t)(round * width);
    if (round && chunk * CPU_KEYS > tile.high)
        return;
    uint64_t slot = 0;
    for (; slot < width && chunk * CPU_KEYS <= tile.high; slot++, chunk++) {
        float *part;
        const cpu_softmax *states = slot_at(a, &tile, slot, &part);
        for (uint32_t i = 0; i < queries; i++)
            cpu_attention_merge(&total[i], sums + (uint64_t)i * a->v_pad, &states[i],
                                part + (uint64_t)i * a->v_pad, a->v_pad);
    }
    if (chunk * CPU_KEYS > tile.high)
        cpu_attention_store(a, &tile, total, sums);
}

static void split_tiles_run(const cpu_attention *a, uint64_t tiles, uint64_t chunks,
                            uint64_t width) {
    for (uint64_t round = 0; round * width < chunks; round++) {
        uint64_t left = chunks - round * width, here = left < width ? left : width, begin, end;
        if (round)
            barrier(a);
        cpu_slice(tiles * here, a->task, &begin, &end);
        for (uint64_t unit = begin; unit < end; unit++)
            split_chunk(a, unit / here, unit % here, round, width);
        barrier(a);
        cpu_slice(tiles, a->task, &begin, &end);
        for (uint64_t index = begin; index < end; index++)
            split_merge(a, index, round, width);
    }
}

// The largest number of chunks of any tile.
static uint64_t chunks_of(const cpu_attention *a, uint64_t tiles) {
    uint64_t most = 0, rows = tiles / (a->attrs->kv_heads * (uint64_t)a->parts);
    for (uint64_t i = 0; i < rows; i++) {
        cpu_tile_rows tile;
        cpu_attention_tile(a, i, &tile);
        uint64_t chunks =
            tile.high < tile.low ? 0 : (uint64_t)(tile.high / CPU_KEYS - tile.low / CPU_KEYS + 1);
        most = chunks > most ? chunks : most;
    }
    return most;
}

// Every worker decides alike, from the step alone. Few tiles and many chunks are worth spreading.
static void run(const cpu_call *call, const cpu_task *task) {
    cpu_attention a;
    if (!task->run->step.rows || !call->node.attrs.attention.v_dim)
        return;
    cpu_attention_init(call, task, task->scratch, &a);
    uint64_t tiles = cpu_attention_tiles(&a), width = split_width(a.attrs, task->run->program);
    bool few = task->run->program->threads > 1 && task->run->step.rows <= CPU_SPLIT_ROWS &&
               tiles < 4 * (uint64_t)task->count;
    uint64_t chunks = few ? chunks_of(&a, tiles) : 0;
    if (few && chunks > 1)
        split_tiles_run(&a, tiles, chunks, width);
    else
        whole_tiles(&a, tiles);
}

// Positions [*low, *high] that the rows of a sequence see; how many pairs of a query and a key that
// makes.
static uint64_t seq_reach(const cpu_attention *a, uint32_t s, int64_t *low, int64_t *high) {
    uint64_t pairs = 0;
    *low = INT64_MAX;
    *high = -1;
    for (int32_t t = a->step->seq_rows[s]; t < a->step->seq_rows[s + 1]; t++) {
        int64_t first, last;
        cpu_attention_visible(a->attrs, a->step, a->dense, (uint32_t)t, &first, &last);
        pairs += last < first ? 0 : (uint64_t)(last - first + 1);
        *low = first < *low ? first : *low;
        *high = last > *high ? last : *high;
    }
    return pairs;
}

// Positions of sequence s that are read for the one before it, too.
static uint64_t seq_shared(const cpu_attention *a, uint32_t s, int64_t low, int64_t high) {
    const gr_step_group *group = &a->pages.group;
    uint64_t shared = 0;
    for (uint32_t r = 0; r < group->run_count; r++) {
        const gr_page_run *run = (const gr_page_run *)(const void *)((const char *)group->runs +
                                                                     (size_t)r * group->run_stride);
        int64_t begin = (int64_t)run->page_first * group->page_tokens;
        int64_t end = begin + (int64_t)run->page_count * group->page_tokens - 1;
        if (s <= run->seq_first || s >= run->seq_first + run->seq_count)
            continue;
        begin = begin > low ? begin : low;
        end = end < high ? end : high;
        shared += end < begin ? 0 : (uint64_t)(end - begin + 1);
    }
    return shared;
}

static void cost(const cpu_call *call, const cpu_run *run_, gr_trace_event *event) {
    const cpu_task task = {.run = run_};
    cpu_attention a;
    uint64_t pairs = 0, held = 0;
    cpu_attention_init(call, &task, NULL, &a);
    for (uint32_t s = 0; s < a.step->seqs && a.step->rows; s++) {
        int64_t low, high;
        pairs += seq_reach(&a, s, &low, &high);
        uint64_t seen = high < low ? 0 : (uint64_t)(high - low + 1);
        uint64_t shared = a.dense ? 0 : seq_shared(&a, s, low, high);
        held += shared < seen ? seen - shared : 0;
    }
    event->operations = 2 * pairs * a.attrs->heads * ((uint64_t)a.attrs->k_dim + a.attrs->v_dim);
    if (!a.dense)
        event->bytes +=
            held * a.attrs->kv_heads * (call->kv->head_bytes[0] + call->kv->head_bytes[1]);
}

const cpu_op cpu_op_attention = {
    GR_OP_ATTENTION, "ATTENTION", sizeof(gr_attrs_attention), check, NULL, emit, admit, run, cost};
