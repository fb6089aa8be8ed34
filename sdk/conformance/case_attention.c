// SPDX-License-Identifier: Apache-2.0
// case_attention.c: KV_WRITE and ATTENTION: ragged sequences, rolled pages, windows, needles.
#include <math.h>
#include <string.h>

#include "suite.h"

// One attention case.
typedef struct shape {
    uint32_t heads, kv_heads, k_dim, v_dim, window, page;
    gr_dtype dtype;
    gr_attention_flags flags;
    float softcap;
    uint32_t seqs;
    uint32_t rows[CF_MAX_SEQS];
    int32_t past[CF_MAX_SEQS];
    uint32_t forks[2];
} shape;

static const char *flag_names(gr_attention_flags flags) {
    static const char *const names[] = {"", " bidirectional", " dense", " bidirectional dense"};
    return names[flags & 3];
}

static void describe(const shape *s, const char *kind, char *name, size_t capacity) {
    size_t at = (size_t)snprintf(
        name, capacity, "ATTENTION%s heads=%u:%u dim=%u,%u W=%u page=%u %s%s%s", kind, s->heads,
        s->kv_heads, s->k_dim, s->v_dim, s->window, s->page, gr_dtype_name(s->dtype),
        flag_names(s->flags), s->softcap != 0.0f ? " softcap" : "");
    for (uint32_t i = 0; i < s->seqs && at < capacity; i++)
        at += (size_t)snprintf(name + at, capacity - at, " %d+%u", s->past[i], s->rows[i]);
    if (s->forks[1] && at < capacity)
        snprintf(name + at, capacity - at, " forks %u %u", s->forks[0], s->forks[1]);
}

static gr_attrs_attention attrs_of(const shape *s) {
    return (gr_attrs_attention){.struct_size = sizeof(gr_attrs_attention),
                                .heads = s->heads,
                                .kv_heads = s->kv_heads,
                                .k_dim = s->k_dim,
                                .v_dim = s->v_dim,
                                .window = s->window,
                                .flags = s->flags,
                                .scale = 1.0f / sqrtf((float)s->k_dim),
                                .softcap = s->softcap};
}

static bool begin(cf_rig *rig, cf_suite *suite, const shape *s, const char *kind) {
    char name[192];
    uint32_t rows = 0;
    describe(s, kind, name, sizeof name);
    for (uint32_t i = 0; i < s->seqs; i++)
        rows += s->rows[i];
    if (!cf_rig_begin(rig, suite, "ATTENTION", name, rows, 0))
        return false;
    cf_rig_sequences(rig, s->seqs, s->rows, s->past);
    if (s->flags & GR_ATTENTION_DENSE)
        return true;
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = 2,
                       .page_tokens = s->page,
                       .kv_heads = s->kv_heads,
                       .k_dim = s->k_dim,
                       .v_dim = s->v_dim,
                       .dtype = s->dtype};
    memcpy(rig->cache.forks, s->forks, sizeof s->forks);
    if (cf_rig_cache(rig, &desc, s->window))
        return true;
    cf_rig_end(rig);
    return false;
}

// Writes the step's keys and values, then attends. Dense attention takes them as operands.
static void nodes(cf_rig *rig, const shape *s, const gr_attrs_attention *attrs, uint32_t q,
                  uint32_t k, uint32_t v) {
    uint32_t y = cf_rig_value(rig, GR_DTYPE_F32, GR_DIM_T, (int64_t)s->heads * s->v_dim);
    if (s->flags & GR_ATTENTION_DENSE) {
        cf_rig_node(rig, GR_OP_ATTENTION, attrs, 3, (uint32_t[]){q, k, v}, 1, &y);
        return;
    }
    uint32_t empty = cf_rig_state(rig), full = cf_rig_state(rig);
    cf_rig_node(rig, GR_OP_KV_WRITE, attrs, 3, (uint32_t[]){k, v, empty}, 1, &full);
    cf_rig_node(rig, GR_OP_ATTENTION, attrs, 2, (uint32_t[]){q, full}, 1, &y);
}

static void random_case(cf_suite *suite, const shape *s) {
    cf_rig rig;
    if (!begin(&rig, suite, s, ""))
        return;
    gr_attrs_attention attrs = attrs_of(s);
    // Scores spread over several units, so that attention is peaked.
    uint32_t q =
        cf_rig_input(&rig, GR_DIM_T, (int64_t)s->heads * s->k_dim, s->softcap != 0.0f ? 6.0 : 2.5);
    uint32_t k = cf_rig_input(&rig, GR_DIM_T, (int64_t)s->kv_heads * s->k_dim, 1.0);
    uint32_t v = cf_rig_input(&rig, GR_DIM_T, (int64_t)s->kv_heads * s->v_dim, 1.0);
    nodes(&rig, s, &attrs, q, k, v);
    cf_rig_finish(&rig);
}

// A query at position p, and a dominant key `back` positions before it that carries large values:
// it must win when back < W and leave no trace when back = W. The key may lie in the cache or in
// the step.
static void needle(cf_suite *suite, shape s, int32_t p, int32_t back, uint32_t rows) {
    cf_rig rig;
    char kind[48];
    int32_t at = p - back;
    s.seqs = 1;
    s.rows[0] = rows;
    s.past[0] = p + 1 - (int32_t)rows;
    // Where the window has rolled past it, the page may be gone: then there is nothing to plant.
    if (at < 0 || s.past[0] < 0 ||
        (at < s.past[0] && s.window && at < s.past[0] - (int32_t)s.window + 1))
        return;
    snprintf(kind, sizeof kind, " needle p=%d at p-%d", p, back);
    if (!begin(&rig, suite, &s, kind))
        return;
    gr_attrs_attention attrs = attrs_of(&s);
    uint32_t q = cf_rig_input(&rig, GR_DIM_T, (int64_t)s.heads * s.k_dim, 1.0);
    uint32_t k = cf_rig_input(&rig, GR_DIM_T, (int64_t)s.kv_heads * s.k_dim, 1.0);
    uint32_t v = cf_rig_input(&rig, GR_DIM_T, (int64_t)s.kv_heads * s.v_dim, 1.0);
    float *queries = (float *)rig.data[q] + (size_t)(rows - 1) * s.heads * s.k_dim;
    float *key = cf_rig_alloc(&rig, s.kv_heads * s.k_dim * sizeof *key);
    float *value = cf_rig_alloc(&rig, s.kv_heads * s.v_dim * sizeof *value);
    for (uint32_t i = 0; i < s.heads * s.k_dim;
         i++) // every query head of the row points the same way
        queries[i] = 1.0f;
    for (uint32_t i = 0; i < s.kv_heads * s.k_dim; i++) // score: sqrt(dim) * 20 / sqrt(dim)
        key[i] = 20.0f / sqrtf((float)s.k_dim);
    for (uint32_t i = 0; i < s.kv_heads * s.v_dim; i++)
        value[i] = 30.0f + (float)(i % 7);
    if (at >= s.past[0]) {
        size_t row = (size_t)(at - s.past[0]);
        memcpy((float *)rig.data[k] + row * s.kv_heads * s.k_dim, key,
               s.kv_heads * s.k_dim * sizeof *key);
        memcpy((float *)rig.data[v] + row * s.kv_heads * s.v_dim, value,
               s.kv_heads * s.v_dim * sizeof *value);
    } else {
        cf_rig_cache_write(&rig, 0, at, 0, key);
        cf_rig_cache_write(&rig, 0, at, 1, value);
        cf_rig_cache_snapshot(&rig);
    }
    nodes(&rig, &s, &attrs, q, k, v);
    cf_rig_finish(&rig);
}

static void needles(cf_suite *suite, gr_dtype dtype, uint32_t window, uint32_t page) {
    shape s = {.heads = 4,
               .kv_heads = 2,
               .k_dim = 64,
               .v_dim = 64,
               .window = window,
               .page = page,
               .dtype = dtype};
    int32_t w = (int32_t)window;
    const int32_t positions[] = {0, w - 1, w, w + 1, 2 * w + 3};
    const int32_t backs[] = {0, 1, w - 2, w - 1, w};
    const uint32_t rows[] = {1, 2, window + 2};
    for (uint32_t i = 0; i < 5; i++) {
        for (uint32_t b = 0; b < 5; b++) {
            for (uint32_t r = 0; r < 3; r++) {
                if (backs[b] >= 0 && (r < 2 || b >= 3))
                    needle(suite, s, positions[i], backs[b], rows[r]);
            }
        }
    }
}

// At a window as models have them an error of one key is a small part of the whole, but not of a
// needle.
static void wide_needles(cf_suite *suite, gr_dtype dtype) {
    enum { W = 4096 };
    const shape s = {.heads = 4,
                     .kv_heads = 2,
                     .k_dim = 64,
                     .v_dim = 64,
                     .window = W,
                     .page = 64,
                     .dtype = dtype};
    needle(suite, s, W + 5, W - 1, 1);
    needle(suite, s, W + 5, W - 1, 3);
    needle(suite, s, W + 5, W, 3);
}

static void geometries(cf_suite *suite) {
    static const uint32_t heads[][2] = {{4, 4}, {8, 2}, {8, 1}, {9, 3}, {1, 1}};
    static const uint32_t dims[][2] = {{64, 64}, {128, 128}, {32, 96}, {96, 96}};
    for (uint32_t h = 0; h < 5; h++) {
        for (uint32_t d = 0; d < 4; d++) {
            shape s = {.heads = heads[h][0],
                       .kv_heads = heads[h][1],
                       .k_dim = dims[d][0],
                       .v_dim = dims[d][1],
                       .window = h % 2 ? 24 : 0,
                       .page = 16,
                       .dtype = GR_DTYPE_F16,
                       .seqs = 2,
                       .rows = {1, 5},
                       .past = {40, 0}};
            random_case(suite, &s);
        }
    }
}

// As models have them: a Mistral 7B's, Phi's 80, Gemma's 256, many query heads to one of keys.
static void large(cf_suite *suite, gr_dtype dtype) {
    static const uint32_t shapes[][3] = {{32, 8, 128}, {4, 2, 80}, {4, 2, 256}, {16, 1, 64}, {24, 1, 128}};
    for (uint32_t i = 0; i < 5; i++) {
        const shape s = {.heads = shapes[i][0],
                         .kv_heads = shapes[i][1],
                         .k_dim = shapes[i][2],
                         .v_dim = shapes[i][2],
                         .page = 16,
                         .dtype = dtype,
                         .seqs = 2,
                         .rows = {1, 5},
                         .past = {100, 0}};
        if (s.k_dim % gr_dtype_block(dtype) == 0)
            random_case(suite, &s);
    }
}

// Row counts of the step, split over one to four sequences, some of them far past their window.
static void ragged(cf_suite *suite, gr_dtype dtype, uint32_t rows, uint32_t window, uint32_t seqs) {
    shape s = {.heads = 6,
               .kv_heads = 2,
               .k_dim = 64,
               .v_dim = 64,
               .window = window,
               .page = 16,
               .dtype = dtype,
               .seqs = seqs};
    cf_random random = {suite->seed + dtype * 31 + rows * 7 + window + seqs};
    for (uint32_t i = 0; i < rows; i++)
        s.rows[i == 0 ? 0 : cf_below(&random, seqs)]++;
    for (uint32_t i = 0; i < seqs; i++)
        s.past[i] = (int32_t)cf_below(&random, i % 2 ? 150 : 40);
    random_case(suite, &s);
}

// Forks at two depths, their prefixes longer than what a backend takes at once, decoding and
// reading prompts beside each other; windows that have let go of different pages.
static void forks(cf_suite *suite, gr_dtype dtype) {
    static const uint32_t windows[] = {0, 40, 300};
    static const uint32_t rows[][6] = {{1, 1, 1, 1, 1, 1}, {1, 3, 0, 2, 1, 9}, {5, 1, 1, 0, 17, 2}};
    static const uint32_t depths[][2] = {{530, 790}, {64, 64}, {33, 570}};
    for (uint32_t w = 0; w < 3; w++) {
        for (uint32_t r = 0; r < 3; r++) {
            uint32_t d = (w + r + dtype) % 3;
            shape s = {.heads = r == 1 ? 3 : 8,
                       .kv_heads = r == 1 ? 1 : 2,
                       .k_dim = 64,
                       .v_dim = r == 2 ? 96 : 64,
                       .window = windows[w],
                       .page = r == 2 ? 8 : 16,
                       .dtype = dtype,
                       .seqs = 6,
                       .forks = {depths[d][0], depths[d][1]}};
            memcpy(s.rows, rows[r], sizeof rows[r]);
            for (uint32_t i = 0; i < s.seqs; i++)
                s.past[i] = (int32_t)(depths[d][1] + (i * 37 + r) % 60);
            random_case(suite, &s);
        }
    }
}

static void variants(cf_suite *suite) {
    static const gr_attention_flags flags[] = {0, GR_ATTENTION_BIDIRECTIONAL, GR_ATTENTION_DENSE,
                                               GR_ATTENTION_DENSE | GR_ATTENTION_BIDIRECTIONAL};
    for (uint32_t f = 0; f < 4; f++) {
        for (uint32_t window = 0; window <= 9; window += 3) {
            shape s = {.heads = 4,
                       .kv_heads = 2,
                       .k_dim = 64,
                       .v_dim = 64,
                       .window = window,
                       .page = 8,
                       .dtype = GR_DTYPE_F32,
                       .flags = flags[f],
                       .softcap = window == 3 ? 20.0f : 0.0f,
                       .seqs = 3,
                       .rows = {7, 0, 12},
                       .past = {0, 9, 30}};
            random_case(suite, &s);
        }
    }
    shape far = {.heads = 2,
                 .kv_heads = 1,
                 .k_dim = 64,
                 .v_dim = 64,
                 .window = 16,
                 .page = 16,
                 .dtype = GR_DTYPE_BF16,
                 .seqs = 2,
                 .rows = {1, 3},
                 .past = {200000, 131070}};
    random_case(suite, &far);
    shape one = {.heads = 2,
                 .kv_heads = 2,
                 .k_dim = 64,
                 .v_dim = 64,
                 .window = 1,
                 .page = 16,
                 .dtype = GR_DTYPE_F32,
                 .seqs = 1,
                 .rows = {4},
                 .past = {33}};
    random_case(suite, &one);
    shape wide = {.heads = 2,
                  .kv_heads = 1,
                  .k_dim = 64,
                  .v_dim = 64,
                  .page = 64,
                  .dtype = GR_DTYPE_F16,
                  .seqs = 1,
                  .rows = {2},
                  .past = {700}};
    random_case(suite, &wide);
}

void cf_cases_attention(cf_suite *suite) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    for (uint32_t d = 0; d < 4; d++) {
        for (uint32_t r = 0; r < CF_ROW_COUNTS; r++) {
            ragged(suite, dtypes[d], cf_row_counts[r], 0, 1 + r % 4);
            ragged(suite, dtypes[d], cf_row_counts[r], 20, 1 + (r + d) % 4);
        }
        needles(suite, dtypes[d], 12, 8);
        forks(suite, dtypes[d]);
        if (suite->deep)
            needles(suite, dtypes[d], 64, 16);
    }
    needles(suite, GR_DTYPE_F32, 16, 16);
    wide_needles(suite, GR_DTYPE_F16);
    wide_needles(suite, GR_DTYPE_Q8_0);
    geometries(suite);
    large(suite, GR_DTYPE_F16);
    large(suite, GR_DTYPE_Q8_0);
    variants(suite);
}
