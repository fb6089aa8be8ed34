// SPDX-License-Identifier: Apache-2.0
// test_kernels.c: every kernel of every ISA that this processor has, against the plain C one or
// against F64. Integer work and the order of additions are fixed, so quantised products must agree
// to the last bit.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels/kernels.h"

static uint64_t state;
static unsigned checks, failures;

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static float uniform(void) {
    return (float)((double)(next() >> 11) * 0x1p-52 - 1.0);
}

static void expect(int right, const char *isa, const char *what, unsigned long a, unsigned long b) {
    checks++;
    if (right)
        return;
    failures++;
    if (failures <= 40)
        printf("FAIL  %s %s (%lu, %lu)\n", isa, what, a, b);
}

// What the processor has; enough for choosing kernels.
static gr_cpu_features features_here(void) {
    gr_cpu_features found = 0;
#if defined(__x86_64__)
    unsigned a, b, c, d;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found |= GR_CPU_AVX | GR_CPU_AVX2 | GR_CPU_FMA | GR_CPU_F16C;
    if (found && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & (1u << 4))
        found |= GR_CPU_AVX_VNNI;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found |= GR_CPU_AVX512;
    if (found & GR_CPU_AVX512 && __builtin_cpu_supports("avx512vnni"))
        found |= GR_CPU_AVX512_VNNI;
    if (found & GR_CPU_AVX512_VNNI && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 24 & d >> 25 & 1)
        found |= GR_CPU_AMX_TILE | GR_CPU_AMX_INT8; // the system still has to allow them
#elif defined(__aarch64__)
    found |= GR_CPU_NEON;
#if defined(__linux__)
    found |= getauxval(AT_HWCAP) >> 20 & 1 ? GR_CPU_NEON_DOTPROD : 0; // ASIMDDP
#elif defined(__ARM_FEATURE_DOTPROD)
    found |= GR_CPU_NEON_DOTPROD;
#endif
#endif
    return found;
}

// Random bits with finite scales: F16 fields of exponent 31 lose their top exponent bit.
static void random_row(gr_dtype dtype, uint8_t *row, uint64_t bytes) {
    uint32_t block = gr_dtype_block_bytes(dtype);
    for (uint64_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)next();
    for (uint64_t at = 0; at + block <= bytes; at += block) {
        uint32_t first = 0, second = UINT32_MAX;
        switch (dtype) {
        case GR_DTYPE_Q4_1:
        case GR_DTYPE_Q5_1:
        case GR_DTYPE_Q4_K:
        case GR_DTYPE_Q5_K: second = 2; break;
        case GR_DTYPE_Q2_K: first = 80, second = 82; break;
        case GR_DTYPE_Q3_K: first = 108; break;
        case GR_DTYPE_Q6_K: first = 208; break;
        default: break;
        }
        row[at + first + 1] &= 0xbf; // below 2
        if (second != UINT32_MAX)
            row[at + second + 1] &= 0xbf;
    }
}

static void test_expand(const cpu_kernels *k, const cpu_kernels *c) {
    for (gr_dtype dtype = 0; dtype < GR_DTYPE_LIMIT; dtype++) {
        for (uint32_t n = gr_dtype_block(dtype); c->expand[dtype] && n <= CPU_CHUNK; n *= 2) {
            uint8_t row[512];
            int8_t q[2][CPU_CHUNK] = {{0}};
            float s[2][256] = {{0}}, o[2][256] = {{0}};
            random_row(dtype, row, gr_dtype_row_bytes(dtype, n));
            c->expand[dtype](row, n, q[0], s[0], o[0]);
            k->expand[dtype](row, n, q[1], s[1], o[1]);
            expect(!memcmp(q[0], q[1], sizeof q[0]), k->isa, gr_dtype_name(dtype), n, 0);
            for (int i = 0; i < 256; i++)
                expect(s[0][i] == s[1][i] && o[0][i] == o[1][i], k->isa, gr_dtype_name(dtype), n,
                       (unsigned long)i);
        }
    }
}

static void test_quantise(const cpu_kernels *k, const cpu_kernels *c) {
    enum { K = 544, STRIDE = 3 }; // two chunks and a part of one
    static const float odd[] = {0.0f, 1e-40f, 3e38f, 1e-30f, INFINITY, NAN};
    static cpu_quantised a[3 * STRIDE], b[3 * STRIDE];
    float x[K];
    for (int i = 0; i < K; i++)
        x[i] = uniform() * (i / 32 % 2 ? 100.0f : 0.01f);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 32; j++)
            x[i * 32 + j] = j && i < 4 ? odd[i] * uniform() : odd[i];
    c->quantise(x, 0, K, a, STRIDE);
    k->quantise(x, 0, 256, b, STRIDE); // in two parts
    k->quantise(x + 256, 256, K - 256, b, STRIDE);
    for (unsigned long i = 0; i < K / 32; i++) {
        const cpu_quantised *p = &a[i / 8 * STRIDE], *q = &b[i / 8 * STRIDE];
        unsigned long g = i % 8;
        expect(p->scale[g] == q->scale[g] || (isnan(p->scale[g]) && isnan(q->scale[g])), k->isa,
               "scale", i, 0);
        expect(p->sum32[g] == q->sum32[g] && (p->total32[g] == q->total32[g] || isnan(p->scale[g])),
               k->isa, "sums", i, 0);
        expect(!memcmp(p->sum16 + 2 * g, q->sum16 + 2 * g, 4), k->isa, "sums of 16", i, 0);
        expect(!memcmp(p->q + 32 * g, q->q + 32 * g, 32), k->isa, "quantised values", i, 0);
    }
    expect(isnan(b[0].scale[4]) && isnan(b[0].scale[5]) && b[0].scale[0] == 0.0f, k->isa,
           "odd blocks", 0, 0);
}

// Adds the groups of one block, as kernels.h words it.
static float add_block(cpu_dtype_form form, const int8_t *q, const float *s, const float *o,
                       const int8_t *a, float scale, float sum) {
    for (uint32_t g = 0; g < 32 / form.group; g++, q += form.group, a += form.group) {
        int32_t dot = 0, total = 0;
        for (uint32_t i = 0; i < form.group; i++) {
            dot += q[i] * a[i];
            total += a[i];
        }
        sum = fmaf((float)dot * scale, s[g * CPU_PANEL], sum);
        if (form.offset)
            sum = fmaf(scale * (float)total, o[g * CPU_PANEL], sum);
    }
    return sum;
}

// Row m of x against a weight row, in plain C.
static float product(const gr_dtype dtype, const cpu_kernels *c, const uint8_t *row,
                     const cpu_activations *x, uint64_t m, uint64_t k) {
    cpu_dtype_form form = cpu_dtype_form_of(dtype);
    float sum = 0.0f;
    for (uint64_t at = 0; at < k; at += CPU_CHUNK) {
        int8_t q[CPU_CHUNK];
        float s[256], o[256];
        uint64_t place = at / CPU_CHUNK * x->stride + m;
        uint32_t n = k - at < CPU_CHUNK ? (uint32_t)(k - at) : CPU_CHUNK;
        c->expand[dtype](row + gr_dtype_row_bytes(dtype, at), n, q, s, o);
        for (uint32_t pass = 0; pass < 2; pass++) {
            for (uint32_t b = 0; b < n / 32; b++) {
                uint64_t g = (uint64_t)b * 32 / form.group * CPU_PANEL;
                const cpu_quantised *a = x->records + place;
                const cpu_remainder *rest = &x->rest[place * 8 + b];
                if (!pass)
                    sum = add_block(form, q + b * 32, s + g, o + g, a->q + b * 32, a->scale[b], sum);
                else if (x->marks[place] >> b & 1)
                    sum = add_block(form, q + b * 32, s + g, o + g, rest->q, rest->scale, sum);
            }
        }
    }
    return sum;
}

enum { MOST_TOKENS = 70 }; // past a list of remainders

// Panels of extreme values too, made of the byte `fill` where it is not negative: 0xff is the
// largest of unsigned weights, 0x7f and 0x80 are the ends of signed ones.
static void random_panel(gr_dtype dtype, uint8_t *weights, uint64_t bytes, int fill) {
    random_row(dtype, weights, bytes);
    if (fill < 0)
        return;
    memset(weights, fill, bytes);
    uint32_t block = gr_dtype_block_bytes(dtype);
    for (uint64_t at = 0; at + block <= bytes; at += block) { // finite scales
        static const uint8_t one[2] = {0, 0x3c};
        memcpy(weights + at, one, 2);
        memcpy(weights + at + 2,
               gr_dtype_block(dtype) == 256 || dtype == GR_DTYPE_Q4_1 || dtype == GR_DTYPE_Q5_1
                   ? one
                   : weights + at + 2,
               2);
        memcpy(weights + at + block - 2,
               gr_dtype_block(dtype) == 256 ? one : weights + at + block - 2, 2);
        if (dtype == GR_DTYPE_Q2_K)
            memcpy(weights + at + 80, one, 2);
    }
}

// A third of the rows have no remainders, another some of them.
static uint8_t remainder_marks(uint32_t t, uint64_t values) {
    uint32_t all = values < CPU_CHUNK ? (1u << values / 32) - 1 : 255;
    return (uint8_t)(t % 3 == 0 ? 0 : t % 3 == 1 ? all & next() : all & next() & next());
}

static void random_rest(const cpu_kernels *c, cpu_remainder *rest) {
    for (int b = 0; b < 8; b++) {
        cpu_quantised record;
        float line[32];
        for (int i = 0; i < 32; i++)
            line[i] = uniform();
        c->quantise(line, 0, 32, &record, 1);
        memcpy(rest[b].q, record.q, 32);
        memcpy(rest[b].sum16, record.sum16, sizeof rest[b].sum16);
        rest[b].scale = record.scale[0];
        rest[b].total32 = record.total32[0];
        rest[b].sum32 = record.sum32[0];
    }
}

static void gather(const uint8_t *marks, const cpu_remainder *rest, uint32_t tokens,
                   cpu_rest_list *list) {
    memset(list->count, 0, sizeof list->count);
    list->capacity = tokens;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t b = 0; b < 8; b++) {
            if (marks[t] >> b & 1)
                list->of[b * tokens + list->count[b]++] = (cpu_rest_item){&rest[t * 8 + b], t};
        }
    }
}

// One panel by each way there is, against `product`.
static void test_panel(const cpu_kernels *k, const cpu_kernels *c, gr_dtype dtype, uint64_t values,
                       uint32_t tokens, int fill) {
    cpu_dtype_form form = cpu_dtype_form_of(dtype);
    uint64_t row_bytes = gr_dtype_row_bytes(dtype, values), stride = tokens + 1;
    static cpu_quantised records[4 * (MOST_TOKENS + 1)];
    static cpu_remainder rest[8 * 4 * (MOST_TOKENS + 1)];
    static uint8_t marks[4 * (MOST_TOKENS + 1)];
    const cpu_activations x = {records, rest, marks, stride};
    cpu_rest_list *list = malloc(sizeof *list + sizeof(cpu_rest_item) * 8 * tokens);
    static cpu_tile tile __attribute__((aligned(64)));
    static int8_t rows[CPU_PANEL * CPU_CHUNK];
    uint8_t *weights = malloc(CPU_PANEL * row_bytes);
    float line[1024], sums[MOST_TOKENS * CPU_PANEL], exact[MOST_TOKENS * CPU_PANEL];
    random_panel(dtype, weights, CPU_PANEL * row_bytes, fill);
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint64_t i = 0; i < values; i++)
            line[i] = fill >= 0 ? (t % 2 ? -1.0f : 1.0f) : uniform();
        c->quantise(line, 0, values, records + t, stride);
        for (uint64_t at = 0; at < values; at += CPU_CHUNK) {
            marks[at / CPU_CHUNK * stride + t] = remainder_marks(t, values - at);
            random_rest(c, rest + (at / CPU_CHUNK * stride + t) * 8);
        }
        for (uint32_t r = 0; r < CPU_PANEL; r++)
            exact[t * CPU_PANEL + r] = product(dtype, c, weights + r * row_bytes, &x, t, values);
    }
    uint8_t *panel = aligned_alloc(64, (CPU_PANEL * row_bytes + 63) / 64 * 64);
    if (k->pack[dtype])
        k->pack[dtype](weights, row_bytes, values, panel);
    // Through expanded rows, by the dtype's own weave from rows, and from the packed panel.
    for (int way = 0; way < 3; way++) {
        if (way && !k->weave[dtype])
            continue;
        memset(sums, 0, sizeof sums);
        for (uint64_t at = 0; at < values; at += CPU_CHUNK) {
            uint32_t n = values - at < CPU_CHUNK ? (uint32_t)(values - at) : CPU_CHUNK;
            const uint8_t *from = weights + gr_dtype_row_bytes(dtype, at);
            for (uint32_t r = 0; r < CPU_PANEL && !way; r++)
                k->expand[dtype](from + r * row_bytes, n, rows + r * CPU_CHUNK, tile.s + r,
                                 tile.c + r);
            const cpu_weave_args args = {from, row_bytes, way > 1 ? panel : NULL, at / CPU_CHUNK,
                                         n / 32};
            if (way)
                k->weave[dtype](&args, &tile);
            else
                k->weave_bytes(rows, n / 32, form, tile.q);
            uint64_t place = at / CPU_CHUNK * stride;
            gather(marks + place, rest + place * 8, tokens, list);
            k->dot_tile(&(cpu_dot_tile_args){&tile, n / 32, tokens, form, records + place, list,
                                             sums});
        }
        expect(!memcmp(sums, exact, tokens * sizeof(float) * CPU_PANEL), k->dot_isa,
               gr_dtype_name(dtype), values, tokens);
    }
    if (k->dot_packed[dtype] && tokens <= CPU_ROWS_TOKENS) {
        memset(sums, 0x55, sizeof sums);
        k->dot_packed[dtype](&(cpu_dot_packed_args){panel, values, tokens, x, sums});
        expect(!memcmp(sums, exact, tokens * sizeof(float) * CPU_PANEL), "packed",
               gr_dtype_name(dtype), values, tokens);
    }
    free(list);
    free(panel);
    free(weights);
}

static void test_products(const cpu_kernels *k, const cpu_kernels *c) {
    if (k->tiles_begin)
        k->tiles_begin();
    for (gr_dtype dtype = 0; dtype < GR_DTYPE_LIMIT && k->dot_tile; dtype++) {
        for (uint64_t values = gr_dtype_block(dtype); c->expand[dtype] && values <= 1024;
             values += gr_dtype_block(dtype) * 3) {
            for (uint32_t tokens = 1; tokens <= 21; tokens += tokens < 13 ? 1 : 4) { // past the widest kernel
                static const int fills[] = {-1, 0xff, 0x7f, 0x80};
                for (unsigned i = 0; i < sizeof fills / sizeof *fills; i++)
                    test_panel(k, c, dtype, values, tokens, fills[i]);
            }
            if (values <= 256)
                test_panel(k, c, dtype, values, MOST_TOKENS, -1);
        }
    }
    if (k->tiles_end)
        k->tiles_end();
}

typedef void (*dot_function)(const cpu_dot_float_args *args);

// Against F64, and each result the same alone as among others.
static void test_dot(const char *isa, const char *name, dot_function dot, gr_dtype dtype,
                     const cpu_kernels *c) {
    enum { MAX = 100 };
    float x[4 * MAX], w[4 * MAX], got[16], one;
    uint8_t bytes[4 * MAX * 4];
    for (uint64_t k = 1; k < MAX; k++) {
        for (int i = 0; i < 4 * MAX; i++)
            x[i] = uniform(), w[i] = uniform();
        if (dtype == GR_DTYPE_F32)
            memcpy(bytes, w, sizeof w);
        else
            (dtype == GR_DTYPE_F16 ? c->f32_to_f16 : c->f32_to_bf16)(w, 4 * MAX,
                                                                     (uint16_t *)(void *)bytes);
        if (dtype != GR_DTYPE_F32)
            (dtype == GR_DTYPE_F16 ? c->f16_to_f32 : c->bf16_to_f32)(
                (const uint16_t *)(const void *)bytes, 4 * MAX, w);
        uint64_t size = gr_dtype_block_bytes(dtype);
        cpu_dot_float_args args = {bytes, MAX * size, x, MAX, k, 4, 4, got, 4};
        dot(&args);
        for (uint32_t i = 0; i < 16; i++) {
            double exact = 0.0, size_of = 1e-30;
            for (uint64_t j = 0; j < k; j++) {
                exact += (double)w[i % 4 * MAX + j] * (double)x[i / 4 * MAX + j];
                size_of += fabs((double)w[i % 4 * MAX + j] * (double)x[i / 4 * MAX + j]);
            }
            expect(fabs((double)got[i] - exact) <= 1e-6 * size_of, isa, name, k, i);
            cpu_dot_float_args alone = {
                bytes + i % 4 * MAX * size, MAX * size, x + i / 4 * MAX, MAX, k, 1, 1, &one, 1};
            dot(&alone);
            expect(one == got[i], isa, "the same alone", k, i);
        }
    }
}

// Chunk by chunk, the same bits as the dot gives; rows of weights that do not exist are not read.
static void test_mul_rows(const cpu_kernels *k, gr_dtype dtype, const void *values,
                          uint32_t rows) {
    enum { K = 520, ROWS = 16, MOST = 11 };
    static float x[MOST * K], panel[ROWS * CPU_CHUNK], sums[MOST * ROWS * 8];
    const uint8_t *w = values;
    const uint64_t stride = gr_dtype_row_bytes(dtype, K);
    for (int i = 0; i < MOST * K; i++)
        x[i] = uniform();
    for (uint32_t tokens = 1; tokens <= MOST; tokens++) {
        memset(sums, 0, sizeof sums);
        for (uint64_t at = 0; at < K; at += CPU_CHUNK) {
            const uint32_t n = K - at < CPU_CHUNK ? (uint32_t)(K - at) : CPU_CHUNK;
            const uint8_t *from = w + gr_dtype_row_bytes(dtype, at);
            k->mul[dtype](&(cpu_mul_float_args){.weights = from,
                                                .weight_stride = stride,
                                                .rows = rows,
                                                .n = n,
                                                .w = panel,
                                                .x = x + at,
                                                .x_stride = K,
                                                .tokens = tokens,
                                                .ahead = w,
                                                .ahead_rows = tokens % 2 ? rows : 0,
                                                .ahead_bytes = tokens % 3 * 200,
                                                .sums = sums});
        }
        for (uint32_t t = 0; t < tokens; t++) {
            float got[ROWS], exact;
            k->add_lanes(sums + t * ROWS * 8, ROWS, got);
            for (uint32_t r = 0; r < rows; r++) {
                k->dot[dtype](&(cpu_dot_float_args){w + r * stride, stride, x + t * K, K, K, 1, 1,
                                                    &exact, 1});
                expect(got[r] == exact, k->isa, gr_dtype_name(dtype), tokens, r);
            }
        }
    }
}

static void test_mul_float(const cpu_kernels *k) {
    enum { VALUES = 16 * 520 };
    static float f32[VALUES];
    static uint16_t f16[VALUES], bf16[VALUES];
    for (int i = 0; i < VALUES; i++)
        f32[i] = uniform();
    k->f32_to_f16(f32, VALUES, f16);
    k->f32_to_bf16(f32, VALUES, bf16);
    for (uint32_t rows = 1; k->mul[GR_DTYPE_F32] && rows <= 16; rows += 5) {
        test_mul_rows(k, GR_DTYPE_F32, f32, rows);
        test_mul_rows(k, GR_DTYPE_F16, f16, rows);
        test_mul_rows(k, GR_DTYPE_BF16, bf16, rows);
    }
}

static void test_convert(const cpu_kernels *k, const cpu_kernels *c) {
    static uint16_t halves[65536], back[2][65536];
    static float wide[2][65536];
    for (uint32_t i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    for (int kind = 0; kind < 2; kind++) {
        (kind ? c->bf16_to_f32 : c->f16_to_f32)(halves, 65536, wide[0]);
        (kind ? k->bf16_to_f32 : k->f16_to_f32)(halves, 65536 - 3, wide[1]); // ends in a tail
        for (uint32_t i = 0; i < 65536 - 3; i++)
            expect(!memcmp(&wide[0][i], &wide[1][i], 4) || (isnan(wide[0][i]) && isnan(wide[1][i])),
                   k->isa, kind ? "from BF16" : "from F16", i, 0);
        for (uint32_t i = 0; i < 65536; i++) {
            uint32_t bits = (uint32_t)next();
            memcpy(&wide[0][i], &bits, 4);
            if (i % 2)
                wide[0][i] = ldexpf(uniform(), (int)(next() % 60) - 40);
        }
        (kind ? c->f32_to_bf16 : c->f32_to_f16)(wide[0], 65536, back[0]);
        (kind ? k->f32_to_bf16 : k->f32_to_f16)(wide[0], 65536, back[1]);
        for (uint32_t i = 0; i < 65536; i++)
            expect(back[0][i] == back[1][i] || isnan(wide[0][i]), k->isa,
                   kind ? "to BF16" : "to F16", i, 0);
    }
}

static int close_to(float got, double exact, double size) {
    return isnan(exact) ? isnan(got) : fabs((double)got - exact) <= 2e-6 * size + 1e-37;
}

static void test_pointwise(const cpu_kernels *k) {
    enum { N = 83 };
    float x[2 * N], y[2 * N], out[2 * N], table[2 * N], again[2 * N];
    for (int i = 0; i < 2 * N; i++)
        x[i] = uniform() * (i < 8 ? 200.0f : 8.0f), y[i] = uniform(), table[i] = uniform();
    x[3] = NAN;
    k->glu_silu(x, y, N, out);
    for (int i = 0; i < N; i++) {
        double g = (double)x[i], exact = g / (1.0 + exp(-g)) * (double)y[i];
        expect(close_to(out[i], exact, fabs(exact)), k->isa, "silu", (unsigned long)i, 0);
        k->glu_silu(x + i, y + i, 1, again);
        expect(!memcmp(again, out + i, 4) || isnan(out[i]), k->isa, "silu alone", (unsigned long)i,
               0);
    }
    x[3] = 1.0f;
    k->rms_norm(x, y, N, 1e-5f, out);
    double sum = 0.0;
    for (int i = 0; i < N; i++)
        sum += (double)x[i] * (double)x[i];
    for (int i = 0; i < N; i++) {
        double exact = (double)x[i] / sqrt(sum / N + (double)1e-5f) * (double)y[i];
        expect(close_to(out[i], exact, fabs(exact)), k->isa, "rms_norm", (unsigned long)i, 0);
    }
    k->rope_half(x, table, table + N, N, out);
    k->rope_interleaved(x, table, table + N, N, again);
    for (int i = 0; i < N; i++) {
        double c = (double)table[i], s = (double)table[N + i];
        double a = (double)x[i], b = (double)x[i + N], e = (double)x[2 * i],
               f = (double)x[2 * i + 1];
        expect(close_to(out[i], a * c - b * s, 200) && close_to(out[i + N], a * s + b * c, 200),
               k->isa, "rope half", (unsigned long)i, 0);
        expect(close_to(again[2 * i], e * c - f * s, 200) &&
                   close_to(again[2 * i + 1], e * s + f * c, 200),
               k->isa, "rope interleaved", (unsigned long)i, 0);
    }
}

static void test_exp(const cpu_kernels *k) {
    float s[300], was[300];
    for (uint32_t n = 1; n <= 300; n++) {
        float largest = -INFINITY, total;
        double exact = 0.0;
        for (uint32_t i = 0; i < n; i++) {
            was[i] = s[i] = i % 7 == 5 ? -INFINITY : uniform() * 60.0f;
            largest = s[i] > largest ? s[i] : largest;
        }
        expect(k->attend_largest(s, n) == largest, k->isa, "largest", n, 0);
        total = k->attend_exp(s, n, largest);
        for (uint32_t i = 0; i < n; i++) {
            double e = exp((double)was[i] - (double)largest);
            exact += e;
            expect(close_to(s[i], e, 4 * e), k->isa, "exp", n,
                   i); // the difference is rounded to F32 first
        }
        expect(close_to(total, exact, 4 * exact), k->isa, "sum of exp", n, 0);
        s[next() % n] = NAN;
        expect(isnan(k->attend_largest(s, n)), k->isa, "largest of NaN", n, 0);
    }
}

enum { QUERIES = 29, ROWS = 160, X_STRIDE = 177, SUMS_STRIDE = 35 };

// A panel of `rows` rows of sixteen, random in the cache's dtype, and what it says. Of Q8_0 values,
// the scales of ROWS rows come first.
static void random_cache_panel(gr_dtype dtype, bool keys, uint32_t half, uint32_t rows,
                               uint8_t *panel, float *out) {
    if (dtype != GR_DTYPE_Q8_0) {
        for (uint32_t i = 0; i < rows * CPU_COLUMNS; i++) {
            float value = uniform();
            if (dtype == GR_DTYPE_F32)
                memcpy(panel + i * 4, &value, 4);
            else if (dtype == GR_DTYPE_F16)
                f32_to_f16_baseline(&value, 1, (uint16_t *)(void *)panel + i);
            else
                f32_to_bf16_baseline(&value, 1, (uint16_t *)(void *)panel + i);
            out[i] = value;
            if (dtype == GR_DTYPE_F16)
                out[i] = cpu_half_to_float(((uint16_t *)(void *)panel)[i]);
            else if (dtype == GR_DTYPE_BF16)
                bf16_to_f32_baseline((uint16_t *)(void *)panel + i, 1, &out[i]);
        }
        return;
    }
    uint32_t blocks = keys ? rows / 32 * CPU_COLUMNS : rows;
    for (uint32_t b = 0; b < blocks; b++) { // of 32 dimensions of one position
        uint32_t group = b / CPU_COLUMNS, lane = b % CPU_COLUMNS;
        uint8_t *base = keys ? panel + group * CPU_COLUMNS * 34 : panel + ROWS * 2 + b * 32;
        uint16_t scale = cpu_float_to_half(0.01f + 0.001f * (float)(next() % 16));
        memcpy(keys ? base + lane * 2 : panel + b * 2, &scale, 2);
        for (uint32_t d = 0; d < 32; d++) {
            int8_t q = (int8_t)next();
            base[keys ? CPU_COLUMNS * 2 + d * CPU_COLUMNS + lane : d] = (uint8_t)q;
            if (keys)
                out[(group * 32 + d) * CPU_COLUMNS + lane] = (float)q * cpu_half_to_float(scale);
            else if (d / CPU_COLUMNS == half)
                out[b * CPU_COLUMNS + d % CPU_COLUMNS] = (float)q * cpu_half_to_float(scale);
        }
    }
}

// All queries in one call; each alone; of values, also row by row: the same bits.
static void test_attend_panel(const cpu_kernels *k, gr_dtype dtype, bool keys, uint32_t half,
                              uint32_t rows) {
    static uint8_t panel[ROWS * CPU_COLUMNS * 4];
    static float exact[ROWS * CPU_COLUMNS], x[QUERIES * X_STRIDE], was[QUERIES * SUMS_STRIDE],
        sums[QUERIES * SUMS_STRIDE], alone[CPU_COLUMNS];
    void (*run)(const cpu_attend_args *) = keys ? k->attend_keys[dtype] : k->attend_values[dtype];
    bool bytes = dtype == GR_DTYPE_Q8_0 && !keys;
    uint32_t step = bytes ? 32 : CPU_COLUMNS * gr_dtype_block_bytes(dtype);
    random_cache_panel(dtype, keys, half, rows, panel, exact);
    for (uint32_t i = 0; i < QUERIES * X_STRIDE; i++)
        x[i] = uniform();
    for (uint32_t i = 0; i < QUERIES * SUMS_STRIDE; i++)
        sums[i] = was[i] = uniform();
    cpu_attend_args args = {.panel = bytes ? panel + ROWS * 2 + half * CPU_COLUMNS : panel,
                            .scales = panel,
                            .ahead = panel,
                            .x = x,
                            .sums = sums,
                            .queries = QUERIES,
                            .rows = rows,
                            .x_stride = X_STRIDE,
                            .sums_stride = SUMS_STRIDE};
    run(&args);
    for (uint32_t i = 0; i < QUERIES; i++) {
        float *got = sums + i * SUMS_STRIDE, *before = was + i * SUMS_STRIDE;
        for (uint32_t c = 0; c < CPU_COLUMNS; c++) {
            double sum = keys ? 0.0 : (double)before[c], size = fabs(sum);
            for (uint32_t j = 0; j < rows; j++) {
                double term = (double)x[i * X_STRIDE + j] * (double)exact[j * CPU_COLUMNS + c];
                sum += term;
                size += fabs(term);
            }
            expect(close_to(got[c], sum, size), k->isa, keys ? "keys" : "values", dtype, i);
        }
        expect(!memcmp(got + CPU_COLUMNS, before + CPU_COLUMNS,
                       (SUMS_STRIDE - CPU_COLUMNS) * sizeof *got),
               k->isa, "beside the sums", dtype, i);
        memcpy(alone, before, sizeof alone);
        cpu_attend_args one = args;
        one.sums = alone;
        one.queries = 1;
        one.rows = keys ? rows : 1;
        for (uint32_t j = 0; j < rows; j += one.rows, one.panel += step) {
            one.x = x + i * X_STRIDE + j;
            one.scales = panel + j * 2;
            run(&one);
        }
        expect(!memcmp(alone, got, sizeof alone), k->isa, keys ? "keys alone" : "values alone",
               dtype, i);
    }
}

static void test_attend(const cpu_kernels *k) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    for (uint32_t d = 0; d < 4; d++) {
        for (uint32_t rows = 32; rows <= ROWS; rows += 32) {
            test_attend_panel(k, dtypes[d], true, 0, rows);
            test_attend_panel(k, dtypes[d], false, 0, rows);
            test_attend_panel(k, dtypes[d], false, dtypes[d] == GR_DTYPE_Q8_0, rows - 7);
        }
    }
}

int main(int argc, char **argv) {
    cpu_kernels c, k;
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20240901;
    state = seed * 2654435761u + 1;
    cpu_kernels_init(0, "baseline", &c);
    for (unsigned i = 0; cpu_isa_name(i); i++) {
        cpu_kernels_init(features_here(), cpu_isa_name(i), &k);
        printf("%s: %s kernels, 8-bit products by %s\n", cpu_isa_name(i), k.isa,
               k.dot_isa ? k.dot_isa : "none");
        test_expand(&k, &c);
        test_quantise(&k, &c);
        test_products(&k, &c);
        test_dot(k.isa, "F32", k.dot[GR_DTYPE_F32], GR_DTYPE_F32, &c);
        test_dot(k.isa, "F16", k.dot[GR_DTYPE_F16], GR_DTYPE_F16, &c);
        test_dot(k.isa, "BF16", k.dot[GR_DTYPE_BF16], GR_DTYPE_BF16, &c);
        test_mul_float(&k);
        test_convert(&k, &c);
        test_pointwise(&k);
        test_exp(&k);
        test_attend(&k);
    }
#if defined(__x86_64__)
    if (features_here() & GR_CPU_AVX2) {
        cpu_products_avxvnni_emulated(&k);
        puts("AVX-VNNI products, emulated");
        test_products(&k, &c);
#ifdef GREGALE_CPU_EMULATED
        cpu_products_emulated(&k);
        cpu_attend_emulated(&k);
        puts("AVX-512 products, emulated");
        test_products(&k, &c);
        cpu_products_amx_emulated(&k);
        puts("products with tile registers, emulated");
        test_products(&k, &c);
        test_attend(&k);
#endif
    }
#endif
    printf("seed %llu: %u checks, %u failed\n", (unsigned long long)seed, checks, failures);
    return failures || !checks ? 1 : 0;
}
