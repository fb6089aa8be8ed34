// SPDX-License-Identifier: Apache-2.0
// case_cache.c: pools of cache pages without any node: canonical access, copies, resizing, bounds.
#include <math.h>
#include <string.h>

#include "host/internal.h"
#include "suite.h"

enum {
    LAYERS = 3,
    TOKENS = 8,
    HEADS = 2,
    K_DIM = 64,
    V_DIM = 32,
    PAGES = 5,
    MOST = TOKENS * HEADS * K_DIM
};

typedef struct pool {
    cf_suite *suite;
    gr_dtype dtype;
    gr_kv *kv;
    char name[96];
} pool;

static void check(pool *p, const char *what, bool good) {
    char name[160];
    snprintf(name, sizeof name, "CACHE %s %s", gr_dtype_name(p->dtype), what);
    if (good)
        cf_pass(p->suite, name);
    else
        cf_fail(p->suite, name, "not so");
}

static gr_kv_region region(uint32_t layer, uint32_t part, uint32_t page, uint32_t slot,
                           uint32_t count) {
    return (gr_kv_region){.struct_size = sizeof(gr_kv_region),
                          .layer = layer,
                          .part = part,
                          .page = page,
                          .slot = slot,
                          .count = count};
}

static uint64_t bytes_of(gr_dtype dtype, const gr_kv_region *r) {
    return gr_dtype_row_bytes(dtype, r->part ? V_DIM : K_DIM) * HEADS * r->count;
}

static gr_status get(pool *p, gr_kv_region r, gr_dtype dtype, void *values) {
    return p->suite->backend->kv_read(p->suite->device, NULL, p->kv, &r, dtype, values,
                                      bytes_of(dtype, &r), NULL);
}

static gr_status put(pool *p, gr_kv_region r, gr_dtype dtype, const void *values) {
    return p->suite->backend->kv_write(p->suite->device, NULL, p->kv, &r, dtype, values,
                                       bytes_of(dtype, &r), NULL);
}

// Own dtype in, own dtype out: every bit. As F32: what the bits mean.
static void round_trip(pool *p, cf_random *random) {
    static uint8_t in[MOST * 4], out[MOST * 4];
    static float wide[MOST];
    static double exact[MOST];
    bool bits = true, meaning = true, again = true;
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (uint32_t part = 0; part < 2; part++) {
            gr_kv_region r =
                region(layer, part, cf_below(random, PAGES), 1 + layer, TOKENS - 2 - layer);
            uint64_t count = (uint64_t)r.count * HEADS * (part ? V_DIM : K_DIM),
                     size = bytes_of(p->dtype, &r);
            cf_fill(random, p->dtype, in, count);
            bits = bits && !put(p, r, p->dtype, in) && !get(p, r, p->dtype, out) &&
                   !memcmp(in, out, size);
            cf_decode(p->dtype, in, count, exact, CF_PLANT_NONE);
            meaning = meaning && !get(p, r, GR_DTYPE_F32, wide);
            for (uint64_t i = 0; i < count && meaning; i++)
                meaning = fabs((double)wide[i] - exact[i]) <= 1e-6 * fabs(exact[i]);
            if (p->dtype == GR_DTYPE_Q8_0)
                continue; // quantising what was quantised need not give the same blocks
            again = again && !put(p, r, GR_DTYPE_F32, wide) && !get(p, r, p->dtype, out) &&
                    !memcmp(in, out, size);
        }
    }
    check(p, "own dtype round-trips exactly", bits);
    check(p, "reads as F32 what the bits mean", meaning);
    check(p, "F32 written gives the same bits", again);
}

// Marks every page with its number, in the pool's own dtype.
static bool mark(pool *p, uint32_t pages) {
    static float values[MOST];
    for (uint32_t page = 0; page < pages; page++) {
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            for (uint32_t part = 0; part < 2; part++) {
                for (uint32_t i = 0; i < MOST; i++)
                    values[i] = (float)(page + 1) * (part ? -1.0f : 1.0f) * (float)(layer + 1);
                if (put(p, region(layer, part, page, 0, TOKENS), GR_DTYPE_F32, values))
                    return false;
            }
        }
    }
    return true;
}

// Whether slots [slot, slot+count) of a page carry the mark of page `from`.
static bool marked(pool *p, uint32_t page, uint32_t slot, uint32_t count, uint32_t from) {
    static float values[MOST];
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        for (uint32_t part = 0; part < 2; part++) {
            float expected = (float)(from + 1) * (part ? -1.0f : 1.0f) * (float)(layer + 1);
            if (get(p, region(layer, part, page, slot, count), GR_DTYPE_F32, values))
                return false;
            for (uint32_t i = 0; i < count * HEADS * (part ? V_DIM : K_DIM); i++) {
                if (fabsf(values[i] - expected) > 2e-3f * fabsf(expected))
                    return false;
            }
        }
    }
    return true;
}

static void copies(pool *p) {
    const gr_backend *b = p->suite->backend;
    gr_device *device = p->suite->device;
    check(p, "pages are marked",
          mark(p, PAGES) && marked(p, 0, 0, TOKENS, 0) &&
              marked(p, PAGES - 1, 0, TOKENS, PAGES - 1));
    bool copied = !b->kv_copy_page(device, NULL, p->kv, 1, 3, 5, NULL);
    check(p, "copy of 5 slots copies 5 slots",
          copied && marked(p, 3, 0, 5, 1) && marked(p, 3, 5, TOKENS - 5, 3) &&
              marked(p, 1, 0, TOKENS, 1));
    check(p, "copy of no slots",
          !b->kv_copy_page(device, NULL, p->kv, 0, 2, 0, NULL) && marked(p, 2, 0, TOKENS, 2));
    check(p, "copy out of range is refused",
          b->kv_copy_page(device, NULL, p->kv, 0, PAGES, 1, NULL) != GR_OK &&
              b->kv_copy_page(device, NULL, p->kv, PAGES, 0, 1, NULL) != GR_OK &&
              b->kv_copy_page(device, NULL, p->kv, 0, 1, TOKENS + 1, NULL) != GR_OK);
    check(p, "growing keeps the pages",
          !b->kv_resize(device, p->kv, PAGES + 40, NULL) && marked(p, 4, 0, TOKENS, 4) &&
              mark(p, PAGES + 40) && marked(p, PAGES + 39, 0, TOKENS, PAGES + 39));
    check(p, "shrinking keeps the rest",
          !b->kv_resize(device, p->kv, 2, NULL) && marked(p, 1, 0, TOKENS, 1) &&
              !marked(p, 2, 0, 1, 2));
    check(p, "page bytes cover what a page holds",
          b->kv_page_bytes(device, p->kv) >=
              (gr_dtype_row_bytes(p->dtype, K_DIM) + gr_dtype_row_bytes(p->dtype, V_DIM)) * HEADS *
                  TOKENS * LAYERS);
}

static void refusals(pool *p) {
    static float values[MOST * 2];
    const gr_kv_region bad[] = {region(LAYERS, 0, 0, 0, 1), region(0, 2, 0, 0, 1),
                                region(0, 0, PAGES, 0, 1),  region(0, 0, 0, TOKENS, 1),
                                region(0, 0, 0, 1, TOKENS), region(0, 0, 0, 2, UINT32_MAX - 1)};
    bool refused = true;
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused = refused && get(p, bad[i], GR_DTYPE_F32, values) != GR_OK &&
                  put(p, bad[i], GR_DTYPE_F32, values) != GR_OK;
    check(p, "regions out of range are refused", refused);
    gr_kv_region fine = region(0, 0, 0, 0, 1);
    check(p, "a wrong size is refused",
          p->suite->backend->kv_read(p->suite->device, NULL, p->kv, &fine, GR_DTYPE_F32, values, 4,
                                     NULL) != GR_OK);
    check(p, "a foreign dtype is refused",
          p->dtype == GR_DTYPE_Q8_0 || get(p, fine, GR_DTYPE_Q8_0, values) != GR_OK);
    check(p, "no slots is a no-op",
          get(p, region(0, 0, 0, TOKENS, 0), GR_DTYPE_F32, values) == GR_OK);
}

static void pool_cases(cf_suite *suite, gr_dtype dtype) {
    pool p = {.suite = suite, .dtype = dtype};
    cf_random random = {suite->seed + dtype};
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = LAYERS,
                       .page_tokens = TOKENS,
                       .kv_heads = HEADS,
                       .k_dim = K_DIM,
                       .v_dim = V_DIM,
                       .dtype = dtype,
                       .pages = PAGES};
    gr_error error;
    gr_error_init(&error);
    gr_status status = suite->backend->kv_create(suite->device, &desc, &p.kv, &error);
    if (gr_abi_settle_error(status, &error) != GR_OK) {
        cf_skip(suite, gr_dtype_name(dtype), true, error.message);
        return;
    }
    round_trip(&p, &random);
    refusals(&p);
    copies(&p);
    suite->backend->kv_destroy(suite->device, p.kv);
    gr_kv *none = p.kv;
    desc.dtype = GR_DTYPE_Q4_K;
    check(&p, "no pool of another dtype",
          suite->backend->kv_create(suite->device, &desc, &none, &error) != GR_OK && !none);
    desc.dtype = dtype;
    desc.pages = UINT32_MAX;
    desc.layers = UINT32_MAX;
    check(&p, "no pool beyond all memory",
          suite->backend->kv_create(suite->device, &desc, &none, &error) != GR_OK && !none);
}

void cf_cases_cache(cf_suite *suite) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    for (uint32_t d = 0; d < 4; d++) {
        char name[32];
        snprintf(name, sizeof name, "CACHE %s", gr_dtype_name(dtypes[d]));
        if (cf_wanted(suite, "CACHE") && cf_case_begin(suite, name)) {
            pool_cases(suite, dtypes[d]);
            cf_case_end(suite);
        }
    }
}
