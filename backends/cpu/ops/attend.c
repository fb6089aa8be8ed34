// SPDX-License-Identifier: Apache-2.0
// attend.c: one tile of queries against one chunk of keys.
#include "ops/attention.h"

static uint32_t pad16(uint32_t n) {
    return (n + 15) / 16 * 16;
}

static uint64_t floats_needed(uint64_t k_pad, uint64_t v_pad) {
    return CPU_QUERIES * k_pad + CPU_BLOCK * (k_pad + v_pad) + CPU_QUERIES * CPU_KEYS +
           2 * CPU_QUERIES * v_pad;
}

uint64_t cpu_attention_private(const gr_attrs_attention *attrs) {
    return floats_needed(pad16(attrs->k_dim), pad16(attrs->v_dim)) * sizeof(float);
}

void cpu_attention_init(const cpu_call *call, const cpu_task *task, uint8_t *scratch,
                        cpu_attention *out) {
    const gr_attrs_attention *attrs = &call->node.attrs.attention;
    *out = (cpu_attention){.call = call, .task = task, .step = &task->run->step, .attrs = attrs};
    out->dense = (attrs->flags & GR_ATTENTION_DENSE) != 0;
    out->group = attrs->heads / attrs->kv_heads;
    out->heads = out->group < CPU_QUERIES_FEW ? out->group : CPU_QUERIES_FEW;
    out->rows = (out->step->rows <= CPU_SPLIT_ROWS ? CPU_QUERIES_FEW : CPU_QUERIES) / out->heads;
    out->parts = (out->group + out->heads - 1) / out->heads;
    out->k_pad = pad16(attrs->k_dim);
    out->v_pad = pad16(attrs->v_dim);
    if (!out->dense)
        cpu_pages_open(call, out->step, &out->pages, NULL); // admitted before
    out->q = (float *)(void *)scratch;
    if (!scratch)
        return;
    out->k = out->q + CPU_QUERIES * out->k_pad;
    out->v = out->k + CPU_BLOCK * out->k_pad;
    out->scores = out->v + CPU_BLOCK * out->v_pad;
    out->sums = out->scores + CPU_QUERIES * CPU_KEYS;
    out->total = out->sums + CPU_QUERIES * out->v_pad;
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

static uint64_t row_tiles(const cpu_attention *a, uint32_t seq) {
    uint64_t rows = (uint64_t)(a->step->seq_rows[seq + 1] - a->step->seq_rows[seq]);
    return (rows + a->rows - 1) / a->rows;
}

uint64_t cpu_attention_tiles(const cpu_attention *a) {
    uint64_t tiles = 0;
    for (uint32_t s = 0; s < a->step->seqs; s++)
        tiles += row_tiles(a, s);
    return tiles * a->attrs->kv_heads * a->parts;
}

void cpu_attention_tile(const cpu_attention *a, uint64_t index, cpu_tile_rows *out) {
    uint32_t slots = a->attrs->kv_heads * a->parts, slot = (uint32_t)(index % slots), seq = 0;
    uint64_t tile = index / slots;
    for (; tile >= row_tiles(a, seq); seq++)
        tile -= row_tiles(a, seq);
    uint32_t part = slot % a->parts, end = (uint32_t)a->step->seq_rows[seq + 1];
    *out = (cpu_tile_rows){.seq = seq, .kv_head = slot / a->parts, .low = INT64_MAX, .high = -1};
    out->first = (uint32_t)a->step->seq_rows[seq] + (uint32_t)tile * a->rows;
    out->count = end - out->first < a->rows ? end - out->first : a->rows;
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

void cpu_attention_load(const cpu_attention *a, const cpu_tile_rows *tile) {
    uint32_t dim = a->attrs->k_dim;
    for (uint32_t i = 0; i < tile->count * tile->heads; i++) {
        uint64_t row = tile->first + i / tile->heads, head = tile->head + i % tile->heads;
        float *q = a->q + (uint64_t)i * a->k_pad;
        memset(q, 0, a->k_pad * sizeof *q);
        if (dim)
            memcpy(q, cpu_in_f32(a->call, 0) + (row * a->attrs->heads + head) * dim,
                   dim * sizeof *q);
    }
}

// Expands n positions from `position` of K or V into `space`, all within one page.
static void expand(const cpu_attention *a, const cpu_tile_rows *tile, uint32_t part,
                   int64_t position, uint32_t n, float *space) {
    uint32_t dim = part ? a->attrs->v_dim : a->attrs->k_dim, pad = part ? a->v_pad : a->k_pad;
    const cpu_kernels *kernels = a->call->kernels;
    if (dim != pad)
        memset(space, 0, (uint64_t)n * pad * sizeof *space);
    if (!dim)
        return;
    if (a->dense) {
        int64_t row = (int64_t)tile->first + position - a->step->positions[tile->first];
        const float *from = cpu_in_f32(a->call, 1 + part) +
                            ((uint64_t)row * a->attrs->kv_heads + tile->kv_head) * dim;
        for (uint32_t i = 0; i < n; i++)
            memcpy(space + (uint64_t)i * pad, from + (uint64_t)i * a->attrs->kv_heads * dim,
                   dim * sizeof *space);
        return;
    }
    const gr_kv *kv = a->call->kv;
    const uint8_t *from =
        cpu_pages_row(&a->pages, a->call, part, tile->seq, tile->kv_head, position);
    if (dim == pad) {
        cpu_decode_row(kernels, kv->dtype, from, (uint64_t)n * dim, space);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        cpu_decode_row(kernels, kv->dtype, from + i * kv->head_bytes[part], dim,
                       space + (uint64_t)i * pad);
}

// How many positions from `position` to `last` one expand may take.
static uint32_t block_length(const cpu_attention *a, int64_t position, int64_t last) {
    int64_t n = last - position + 1;
    if (n > CPU_BLOCK)
        n = CPU_BLOCK;
    if (!a->dense) {
        int64_t tokens = a->pages.group.page_tokens, left = tokens - position % tokens;
        n = n < left ? n : left;
    }
    return (uint32_t)n;
}

// Asks for the block at `position` of K or V before it is needed.
static void ahead(const cpu_attention *a, const cpu_tile_rows *tile, uint32_t part,
                  int64_t position, int64_t last) {
    if (a->dense || position > last)
        return;
    const uint8_t *from =
        cpu_pages_row(&a->pages, a->call, part, tile->seq, tile->kv_head, position);
    uint64_t bytes = block_length(a, position, last) * a->call->kv->head_bytes[part];
    for (uint64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(from + i, 0, 2);
}

static void scores(const cpu_attention *a, const cpu_tile_rows *tile, int64_t base, int64_t low,
                   int64_t high) {
    uint32_t n, queries = tile->count * tile->heads;
    for (int64_t position = low; position <= high; position += n) {
        n = block_length(a, position, high);
        ahead(a, tile, 0, position + n, high);
        expand(a, tile, 0, position, n, a->k);
        a->call->kernels->attend_scores(a->q, queries, a->k, n, a->k_pad, a->attrs->scale,
                                        a->scores + (position - base), CPU_KEYS);
    }
}

// Turns the scores of one query into weights; they are zero where every score is -infinity.
static cpu_softmax weigh(const cpu_attention *a, float *s, uint32_t n) {
    cpu_softmax state = {0};
    float cap = a->attrs->softcap;
    for (uint32_t i = 0; i < n && cap != 0.0f; i++)
        s[i] = cap * tanhf(s[i] / cap);
    state.largest = a->call->kernels->attend_largest(s, n);
    if (state.largest == -INFINITY)
        memset(s, 0, n * sizeof *s);
    else
        state.sum = a->call->kernels->attend_exp(s, n, state.largest);
    return state;
}

// The part [*begin, *end] of [low, high] that the tile's row i sees.
static void clip(const cpu_attention *a, const cpu_tile_rows *tile, uint32_t i, int64_t low,
                 int64_t high, int64_t *begin, int64_t *end) {
    cpu_attention_visible(a->attrs, a->step, a->dense, tile->first + i, begin, end);
    *begin = *begin < low ? low : *begin;
    *end = *end > high ? high : *end;
}

static void values(const cpu_attention *a, const cpu_tile_rows *tile, int64_t base, int64_t low,
                   int64_t high, float *sums) {
    uint32_t n;
    for (int64_t position = low; position <= high; position += n) {
        n = block_length(a, position, high);
        ahead(a, tile, 1, position + n, high);
        expand(a, tile, 1, position, n, a->v);
        for (uint32_t i = 0; i < tile->count; i++) {
            int64_t begin, end;
            clip(a, tile, i, position, position + n - 1, &begin, &end);
            if (begin > end)
                continue;
            uint64_t query = (uint64_t)i * tile->heads;
            a->call->kernels->attend_values(
                a->scores + query * CPU_KEYS + (begin - base), tile->heads, CPU_KEYS,
                a->v + (uint64_t)(begin - position) * a->v_pad, (uint32_t)(end - begin + 1),
                a->v_pad, sums + query * a->v_pad);
        }
    }
}

void cpu_attention_chunk(const cpu_attention *a, const cpu_tile_rows *tile, int64_t chunk,
                         cpu_softmax *states, float *sums) {
    int64_t base = chunk * CPU_KEYS, low = base > tile->low ? base : tile->low;
    int64_t high = base + CPU_KEYS - 1 < tile->high ? base + CPU_KEYS - 1 : tile->high;
    memset(sums, 0, (uint64_t)tile->count * tile->heads * a->v_pad * sizeof *sums);
    scores(a, tile, base, low, high);
    ahead(a, tile, 1, low, high);
    ahead(a, tile, 0, high + 1, tile->high); // the next chunk's
    for (uint32_t i = 0; i < tile->count; i++) {
        int64_t begin, end;
        clip(a, tile, i, low, high, &begin, &end);
        for (uint32_t h = 0; h < tile->heads; h++) {
            uint64_t query = (uint64_t)i * tile->heads + h;
            states[query] = (cpu_softmax){.largest = -INFINITY};
            if (begin <= end)
                states[query] = weigh(a, a->scores + query * CPU_KEYS + (begin - base),
                                      (uint32_t)(end - begin + 1));
        }
    }
    values(a, tile, base, low, high, sums);
}

void cpu_attention_merge(cpu_softmax *total, float *total_sum, const cpu_softmax *chunk,
                         const float *sum, uint32_t v_pad) {
    if (chunk->largest == -INFINITY)
        return;
    if (total->largest == -INFINITY) {
        *total = *chunk;
        memcpy(total_sum, sum, v_pad * sizeof *sum);
        return;
    }
    float largest = chunk->largest > total->largest ? chunk->largest : total->largest;
    float old = expf(total->largest - largest), fresh = expf(chunk->largest - largest);
    if (isnan(chunk->largest))
        fresh = NAN;
    for (uint32_t i = 0; i < v_pad; i++)
        total_sum[i] = total_sum[i] * old + sum[i] * fresh;
    total->sum = total->sum * old + chunk->sum * fresh;
    total->largest = largest;
}

void cpu_attention_store(const cpu_attention *a, const cpu_tile_rows *tile,
                         const cpu_softmax *states, const float *sums) {
    uint32_t dim = a->attrs->v_dim;
    for (uint32_t i = 0; i < tile->count * tile->heads; i++) {
        uint64_t row = tile->first + i / tile->heads, head = tile->head + i % tile->heads;
        float *out = cpu_out_f32(a->call, 0) + (row * a->attrs->heads + head) * dim;
        float factor = states[i].sum == 0.0f ? 0.0f : 1.0f / states[i].sum;
        for (uint32_t d = 0; d < dim; d++)
            out[d] =
                states[i].largest == -INFINITY ? 0.0f : sums[(uint64_t)i * a->v_pad + d] * factor;
    }
}
