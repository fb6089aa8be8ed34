// SPDX-License-Identifier: Apache-2.0
// attend.c: one tile of queries against one chunk of keys.
#include "ops/attention.h"

// Rows [first, first + count) of a tile that read the same pages in a chunk, through the tables of
// the first one's sequence, and the positions that any of them sees there.
typedef struct company {
    uint32_t first, count, seq;
    int64_t low, high;
} company;

void cpu_attention_load(const cpu_attention *a, const cpu_tile_rows *tile) {
    uint32_t dim = a->attrs->k_dim;
    for (uint32_t i = 0; i < tile->count * tile->heads; i++) {
        uint64_t row = tile->first + i / tile->heads, head = tile->head + i % tile->heads;
        const float *from = cpu_in_f32(a->call, 0) + (row * a->attrs->heads + head) * dim;
        for (uint32_t d = 0; d < dim; d++)
            a->q[(uint64_t)i * dim + d] = from[d] * a->attrs->scale;
    }
}

// The part [*begin, *end] of [low, high] that the tile's row i sees.
static void clip(const cpu_attention *a, const cpu_tile_rows *tile, uint32_t i, int64_t low,
                 int64_t high, int64_t *begin, int64_t *end) {
    cpu_attention_visible(a->attrs, a->step, a->dense, tile->first + i, begin, end);
    *begin = *begin < low ? low : *begin;
    *end = *end > high ? high : *end;
}

// Whether positions [begin, end] lie in the same pages for both sequences.
static bool same_pages(const cpu_attention *a, uint32_t left, uint32_t right, int64_t begin,
                       int64_t end) {
    const gr_step_group *group = &a->pages.group;
    int64_t tokens = group->page_tokens;
    for (int64_t page = begin / tokens; page <= end / tokens; page++) {
        int64_t l = page - group->first_page[left], r = page - group->first_page[right];
        if (l < 0 || r < 0 || l >= group->page_count[left] || r >= group->page_count[right] ||
            group->page_table[(uint64_t)left * group->page_table_stride + (uint64_t)l] !=
                group->page_table[(uint64_t)right * group->page_table_stride + (uint64_t)r])
            return false;
    }
    return true;
}

// The company that begins with row `first`, in the part [low, high] of the tile's positions. What
// its rows see must hang together: pages in between need not be there.
static company find_company(const cpu_attention *a, const cpu_tile_rows *tile, uint32_t first,
                            int64_t low, int64_t high) {
    company c = {
        .first = first, .count = 1, .seq = (uint32_t)a->step->row_seq[tile->first + first]};
    clip(a, tile, first, low, high, &c.low, &c.high);
    for (; first + c.count < tile->count; c.count++) {
        uint32_t seq = (uint32_t)a->step->row_seq[tile->first + first + c.count];
        int64_t begin, end;
        clip(a, tile, first + c.count, low, high, &begin, &end);
        if (begin > end || c.low > c.high || begin > c.high + 1 || end < c.low - 1 ||
            (seq != c.seq && (a->dense || !same_pages(a, c.seq, seq, begin, end))))
            break;
        c.low = begin < c.low ? begin : c.low;
        c.high = end > c.high ? end : c.high;
    }
    return c;
}

// ---- Dense operands, as panels

// Row of `width` values of operand 1 + part at a position of the company's sequence; NULL when it
// is not of this step.
static const float *dense_row(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                              uint32_t part, int64_t position) {
    uint32_t dim = part ? a->attrs->v_dim : a->attrs->k_dim;
    int64_t first = a->step->seq_rows[c->seq], row = first + position - a->step->positions[first];
    if (row < first || row >= a->step->seq_rows[c->seq + 1])
        return NULL;
    return cpu_in_f32(a->call, 1 + part) +
           ((uint64_t)row * a->attrs->kv_heads + tile->kv_head) * dim;
}

static const uint8_t *dense_keys(const cpu_attention *a, const cpu_tile_rows *tile,
                                 const company *c, int64_t position) {
    for (uint32_t lane = 0; lane < CPU_COLUMNS; lane++) {
        const float *row = dense_row(a, tile, c, 0, position + lane);
        for (uint32_t d = 0; d < a->attrs->k_dim; d++)
            a->panels[d * CPU_COLUMNS + lane] = row ? row[d] : 0.0f;
    }
    return (const uint8_t *)a->panels;
}

static void dense_values(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                         int64_t position, uint32_t n) {
    for (uint32_t j = 0; j < n; j++) {
        const float *row = dense_row(a, tile, c, 1, position + j);
        for (uint32_t d = 0; d < a->v_pad; d++)
            a->panels[(d / CPU_COLUMNS * CPU_DENSE + j) * CPU_COLUMNS + d % CPU_COLUMNS] =
                d < a->attrs->v_dim ? row[d] : 0.0f;
    }
}

// ---- Scores and weights

static uint32_t page_tokens(const cpu_attention *a) {
    return a->dense ? CPU_DENSE : a->pages.group.page_tokens;
}

// The panel of keys at a position of the company's cache.
static const uint8_t *paged_keys(const cpu_attention *a, const cpu_tile_rows *tile,
                                 const company *c, int64_t position) {
    return cpu_page_keys(a->call->kv,
                         cpu_pages_place(&a->pages, a->call, c->seq, tile->kv_head, position));
}

// The first panel of values at a position.
static const uint8_t *paged_values(const cpu_attention *a, const cpu_tile_rows *tile,
                                   const company *c, int64_t position) {
    uint8_t *panel, *scales;
    cpu_page_values(a->call->kv,
                    cpu_pages_place(&a->pages, a->call, c->seq, tile->kv_head, position), 0, &panel,
                    &scales);
    return panel;
}

// What is read behind the company's positions, up to `last`, if its first row sees it too; else NULL.
static const uint8_t *behind(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                             int64_t last,
                             const uint8_t *(*panel)(const cpu_attention *, const cpu_tile_rows *,
                                                     const company *, int64_t)) {
    int64_t begin, end;
    clip(a, tile, c->first, c->high + 1, last, &begin, &end);
    return begin == c->high + 1 && begin <= end ? panel(a, tile, c, begin) : NULL;
}

// Whole panels of keys, also where only some of their positions are seen; the others' scores are
// not used.
static void scores(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                   int64_t base, float *sums) {
    (void)sums;
    int64_t span = page_tokens(a) < CPU_COLUMNS ? page_tokens(a) : CPU_COLUMNS;
    uint64_t query = (uint64_t)c->first * tile->heads;
    cpu_attend_args args = {.x = a->q + query * a->attrs->k_dim,
                            .x_stride = a->attrs->k_dim,
                            .rows = a->attrs->k_dim,
                            .sums_stride = CPU_SCORES,
                            .queries = c->count * tile->heads,
                            .ahead_step = a->key_step};
    for (int64_t position = c->low / span * span; position <= c->high; position += span) {
        if (a->dense) {
            args.panel = args.ahead = dense_keys(a, tile, c, position);
        } else {
            args.panel = args.ahead ? args.ahead : paged_keys(a, tile, c, position);
            args.ahead = position + span <= c->high
                             ? paged_keys(a, tile, c, position + span)
                             : behind(a, tile, c, base + CPU_KEYS - 1, paged_keys);
            if (!args.ahead)
                args.ahead = paged_values(a, tile, c, c->low);
        }
        args.sums = a->scores + query * CPU_SCORES + (position - base);
        a->keys(&args);
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

static void weights(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                    int64_t base, cpu_softmax *states) {
    for (uint32_t i = c->first; i < c->first + c->count; i++) {
        int64_t begin, end;
        clip(a, tile, i, c->low, c->high, &begin, &end);
        for (uint32_t h = 0; h < tile->heads; h++) {
            uint64_t query = (uint64_t)i * tile->heads + h;
            states[query] = (cpu_softmax){.largest = -INFINITY};
            if (begin <= end)
                states[query] = weigh(a, a->scores + query * CPU_SCORES + (begin - base),
                                      (uint32_t)(end - begin + 1));
        }
    }
}

// ---- Weighted sums

// Values of positions from `first` on, all in one page.
typedef struct piece {
    int64_t first, base; // base: of the chunk
    cpu_place at;        // of the first
    const uint8_t *next; // what is read behind it; NULL: nothing
    float *sums;         // of all queries of the tile
} piece;

// Adds positions [begin, end] of a piece for `count` rows from i on.
static void add_values(const cpu_attention *a, const cpu_tile_rows *tile, const piece *p,
                       uint32_t i, uint32_t count, int64_t begin, int64_t end) {
    uint64_t query = (uint64_t)i * tile->heads, skipped = (uint64_t)(begin - p->first);
    uint8_t *panel, *scales = NULL;
    if (begin > end)
        return;
    cpu_attend_args args = {.x = a->scores + query * CPU_SCORES + (begin - p->base),
                            .x_stride = CPU_SCORES,
                            .rows = (uint32_t)(end - begin + 1),
                            .sums = p->sums + query * a->v_pad,
                            .sums_stride = a->v_pad,
                            .queries = count * tile->heads,
                            .ahead_step = a->value_step};
    cpu_place at = p->at;
    at.slot += (uint32_t)skipped;
    for (uint32_t d = 0; d < a->v_pad; d += CPU_COLUMNS, args.sums += CPU_COLUMNS) {
        if (a->dense)
            panel = (uint8_t *)(a->panels + (d / CPU_COLUMNS * CPU_DENSE + skipped) * CPU_COLUMNS);
        else
            cpu_page_values(a->call->kv, at, d, &panel, &scales);
        args.panel = panel;
        args.scales = scales;
        args.ahead = p->next ? p->next : panel;
        if (d + a->value_width < a->v_pad)
            args.ahead = panel + (uint64_t)a->value_step * page_tokens(a);
        a->values(&args);
    }
}

// What every row of the company sees is added for all of them at once; what only some see, row by
// row before and after, so that each row's sum goes up through its positions and no others.
static void add_piece(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                      const piece *p, int64_t last) {
    int64_t low = p->first, high = last, begin, end;
    for (uint32_t i = c->first; i < c->first + c->count; i++) {
        clip(a, tile, i, p->first, last, &begin, &end);
        low = begin > low ? begin : low;
        high = end < high ? end : high;
    }
    if (low > high)
        low = last + 1; // nothing in common: each row's positions come before
    for (uint32_t i = c->first; i < c->first + c->count; i++) {
        clip(a, tile, i, p->first, last, &begin, &end);
        add_values(a, tile, p, i, 1, begin, end < low - 1 ? end : low - 1);
    }
    if (low > last)
        return;
    add_values(a, tile, p, c->first, c->count, low, high);
    for (uint32_t i = c->first; i < c->first + c->count; i++) {
        clip(a, tile, i, p->first, last, &begin, &end);
        add_values(a, tile, p, i, 1, high + 1, end);
    }
}

static void values(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                   int64_t base, float *sums) {
    int64_t tokens = page_tokens(a), last;
    for (int64_t position = c->low; position <= c->high; position = last + 1) {
        piece p = {.first = position, .base = base, .sums = sums};
        last = position / tokens * tokens + tokens - 1;
        last = last < c->high ? last : c->high;
        if (a->dense) {
            dense_values(a, tile, c, position, (uint32_t)(last - position + 1));
        } else {
            p.at = cpu_pages_place(&a->pages, a->call, c->seq, tile->kv_head, position);
            p.next = last < c->high ? paged_values(a, tile, c, last + 1)
                                    : behind(a, tile, c, base + CPU_KEYS - 1, paged_values);
            if (!p.next)
                p.next = behind(a, tile, c, tile->high, paged_keys);
        }
        add_piece(a, tile, c, &p, last);
    }
}

// Scores, or weighted sums, of positions [low, high] for all rows of a tile: page by page, and in each
// for all rows at once that share it.
typedef void (*page_work)(const cpu_attention *a, const cpu_tile_rows *tile, const company *c,
                          int64_t base, float *sums);

static void by_pages(const cpu_attention *a, const cpu_tile_rows *tile, int64_t low, int64_t high,
                     int64_t base, page_work work, float *sums) {
    const int64_t tokens = page_tokens(a);
    for (int64_t begin = low, last; begin <= high; begin = last + 1) {
        last = begin / tokens * tokens + tokens - 1;
        last = last < high ? last : high;
        for (uint32_t i = 0; i < tile->count;) {
            company c = find_company(a, tile, i, begin, last);
            if (c.low <= c.high)
                work(a, tile, &c, base, sums);
            i += c.count;
        }
    }
}

void cpu_attention_chunk(const cpu_attention *a, const cpu_tile_rows *tile, int64_t chunk,
                         cpu_softmax *states, float *sums) {
    int64_t base = chunk * CPU_KEYS, low = base > tile->low ? base : tile->low;
    int64_t high = base + CPU_KEYS - 1 < tile->high ? base + CPU_KEYS - 1 : tile->high;
    const company all = {.count = tile->count, .low = low, .high = high};
    memset(sums, 0, (uint64_t)tile->count * tile->heads * a->v_pad * sizeof *sums);
    company c = find_company(a, tile, 0, low, high);
    if (c.count == tile->count && c.low <= c.high) {
        scores(a, tile, &c, base, sums);
        weights(a, tile, &c, base, states);
        values(a, tile, &c, base, sums);
        return;
    }
    by_pages(a, tile, low, high, base, scores, sums);
    weights(a, tile, &all, base, states);
    by_pages(a, tile, low, high, base, values, sums);
}

// ---- Merging

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
