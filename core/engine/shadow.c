// SPDX-License-Identifier: Apache-2.0
// shadow.c: the same tokens on two sites, and how far their logits are apart.
#include "engine/shadow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// A session that nobody else knows: `pages` behind the tokens of `original`.
static gr_session stand_in(gr_site *site, const gr_session *original, const gr_kv_seq *pages, float *logits) {
    return (gr_session){.references = 1,
                        .model = original->model,
                        .site = site,
                        .context = original->context,
                        .tokens = original->tokens,
                        .pages = *pages,
                        .logits = logits};
}

gr_status gr_shadow_follow(gr_site *site, const gr_session *original, gr_kv_seq *pages, float *logits, gr_error *error) {
    gr_session shadow = stand_in(site, original, pages, logits);
    gr_batch alone = {.sessions = {&shadow}, .count = 1};
    gr_status status = GR_OK;
    shadow.tokens.count = (size_t)original->pages.length;
    while (status == GR_OK && shadow.pages.length < original->pages.length) {
        uint64_t rows = original->pages.length - shadow.pages.length;
        shadow.batch_rows = alone.rows = rows < site->model->chunk ? (uint32_t)rows : site->model->chunk;
        status = gr_kv_seq_reserve(&shadow.pages, alone.rows, error);
        if (status == GR_OK)
            status = gr_step_run(site, &alone, error);
    }
    *pages = shadow.pages;
    return status;
}

gr_status gr_shadow_last(gr_site *site, const gr_session *original, gr_kv_seq *pages, float *logits, gr_error *error) {
    gr_kv_seq_truncate(pages, original->pages.length - 1);
    return gr_shadow_follow(site, original, pages, logits, error);
}

gr_status gr_shadow_original(const gr_session *session, float *logits, gr_error *error) {
    uint32_t vocab = session->model->source->hparams.vocab;
    if (session->logits_behind == session->pages.length) {
        memcpy(logits, session->logits, vocab * sizeof *logits);
        return GR_OK;
    }
    gr_kv_seq pages;
    gr_status status = gr_kv_seq_fork(&session->pages, &pages, error);
    if (status != GR_OK)
        return status;
    status = gr_shadow_last(session->site, session, &pages, logits, error);
    gr_kv_seq_deinit(&pages);
    return status;
}

// Keys and values that differ a little are rounded to numbers that differ by a step of the cache's type.
static gr_precision cache_precision(gr_dtype dtype) {
    switch (dtype) {
    case GR_DTYPE_F32: return GR_PRECISION_F32;
    case GR_DTYPE_F16: return GR_PRECISION_F16;
    case GR_DTYPE_BF16: return GR_PRECISION_BF16;
    default: return GR_PRECISION_Q8;
    }
}

static gr_precision worst_precision(const gr_site *site) {
    gr_precision worst = cache_precision(gr_kv_cache_dtype(site->cache));
    const gr_support *support;
    for (uint32_t i = 0; (support = gr_placement_support(site->placement, i)); i++)
        if (support->level && support->precision > worst)
            worst = support->precision;
    return worst;
}

// By precision class, of a model of one layer: seven to ten times the square root of the class's mean square
// error, twice and more what was measured (docs/moving.md). Errors of layers add up as if independent.
double gr_shadow_bound(const gr_site *a, const gr_site *b) {
    static const double bounds[] = {1e-3, 1e-2, 5e-2, 0.15, 0.3};
    gr_precision one = worst_precision(a), other = worst_precision(b), worst = one > other ? one : other;
    return bounds[worst < GR_PRECISION_Q8_OUTLIERS ? worst : GR_PRECISION_Q8_OUTLIERS] *
           sqrt(fmax(1, a->model->source->hparams.layers));
}

static double spread_of(const float *logits, uint32_t count) {
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < count; i++)
        mean += logits[i];
    mean /= count;
    for (uint32_t i = 0; i < count; i++)
        squares += (logits[i] - mean) * (logits[i] - mean);
    return sqrt(squares / count);
}

double gr_shadow_distance(const float *a, const float *b, uint32_t count) {
    double largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        double apart = fabs((double)a[i] - b[i]);
        if (!(apart >= 0))
            return INFINITY;
        largest = apart > largest ? apart : largest;
    }
    return largest > 0 ? largest / spread_of(a, count) : 0;
}

uint32_t gr_shadow_best(const float *logits, uint32_t count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}
