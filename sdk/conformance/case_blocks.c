// SPDX-License-Identifier: Apache-2.0
// case_blocks.c: composites. Each is built with its decomposition and run three ways: whole, with
// its inner composites whole, and as primitives. The oracle always evaluates the primitives. Then
// whole and as primitives on the same values, one against the other.
#include <math.h>
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

enum { HEADS = 8, KV_HEADS = 2, DIM = 32, N = 90 };

// Of what a block adds its result to, which has to be seen beside it.
#define STREAM 4.0

// A rig with the tree being written.
typedef struct tree {
    cf_rig rig;
    uint32_t depth, run_depth; // nodes at run_depth run, and primitives above it
    gr_dtype dtype;
    int64_t d, f; // widths of the stream and of the FFN
    gr_attrs_norm norm;
    gr_attrs_glu glu;
    gr_attrs_rope rope;
    gr_attrs_attention attention;
    gr_attrs_block block;
    double inv_freq[DIM / 2];
} tree;

static uint32_t activation(tree *t, int64_t width) {
    return cf_rig_value(&t->rig, GR_DTYPE_F32, GR_DIM_T, width);
}

static uint32_t matrix(tree *t, int64_t n, int64_t k) {
    return cf_rig_weight(&t->rig, t->dtype, n, k, CF_NONE);
}

static uint32_t vector(tree *t, int64_t n) {
    return cf_rig_weight(&t->rig, GR_DTYPE_F32, n, CF_NONE, CF_NONE);
}

// The weight of the norm before products of d terms: scaled so that their results are around 1.
static uint32_t norm_weight(tree *t) {
    uint32_t id = vector(t, t->d);
    for (int64_t i = 0; i < t->d; i++)
        ((float *)t->rig.data[id])[i] *= 0.0625f;
    return id;
}

static gr_node *add_node(tree *t, gr_op op, const void *attrs, uint32_t in_count,
                         const uint32_t *in, uint32_t out_count, const uint32_t *out) {
    gr_node *node = cf_rig_node(&t->rig, op, attrs, in_count, in, out_count, out);
    bool composite = op >= GR_OP_NORM_MATMUL;
    node->flags =
        t->depth == t->run_depth || (!composite && t->depth < t->run_depth) ? GR_NODE_RUN : 0;
    return node;
}

// Opens a composite; what is added until close_composite is its decomposition.
static uint32_t open_composite(tree *t, gr_op op, const void *attrs, uint32_t in_count,
                               const uint32_t *in, uint32_t out_count, const uint32_t *out) {
    add_node(t, op, attrs, in_count, in, out_count, out);
    t->depth++;
    return t->rig.node_count - 1;
}

static void close_composite(tree *t, uint32_t node) {
    t->rig.nodes[node].subtree = t->rig.node_count - node - 1;
    t->depth--;
}

static uint32_t primitive(tree *t, gr_op op, const void *attrs, uint32_t in_count,
                          const uint32_t *in, int64_t width) {
    uint32_t out = activation(t, width);
    add_node(t, op, attrs, in_count, in, 1, &out);
    return out;
}

static void set_attrs(tree *t, gr_dtype dtype, uint32_t window) {
    t->dtype = dtype;
    t->d = gr_dtype_block(dtype) > 32 ? 256 : 288; // not always whole chunks of 256
    t->f = 2 * t->d;
    t->norm = (gr_attrs_norm){.struct_size = sizeof t->norm, .eps = 1e-5f};
    t->glu = (gr_attrs_glu){.struct_size = sizeof t->glu, .activation = GR_ACTIVATION_SILU};
    for (uint32_t i = 0; i < DIM / 2; i++)
        t->inv_freq[i] = pow(10000.0, -2.0 * i / DIM);
    t->rope = (gr_attrs_rope){.struct_size = sizeof t->rope,
                              .head_dim = DIM,
                              .rotary_dim = DIM,
                              .pairing = GR_ROPE_INTERLEAVED,
                              .magnitude = 1.0f,
                              .inv_freq = t->inv_freq};
    t->attention = (gr_attrs_attention){.struct_size = sizeof t->attention,
                                        .heads = HEADS,
                                        .kv_heads = KV_HEADS,
                                        .k_dim = DIM,
                                        .v_dim = DIM,
                                        .window = window,
                                        .scale = 1.0f / sqrtf((float)DIM)};
    t->block = (gr_attrs_block){.struct_size = sizeof t->block,
                                .eps = 1e-5f,
                                .activation = GR_ACTIVATION_SILU,
                                .rope_q = &t->rope,
                                .rope_k = &t->rope,
                                .attention = &t->attention};
}

static void norm_matmul_of(tree *t, const gr_attrs_norm *attrs, uint32_t x, uint32_t norm,
                           uint32_t w, uint32_t bias, uint32_t y) {
    uint32_t count = bias == GR_VALUE_NONE ? 3 : 4;
    uint32_t whole = open_composite(t, GR_OP_NORM_MATMUL, attrs, count,
                                    (uint32_t[]){x, norm, w, bias}, 1, &y);
    uint32_t normed = primitive(t, GR_OP_RMS_NORM, attrs, 2, (uint32_t[]){x, norm}, t->d);
    add_node(t, GR_OP_MATMUL, &no_attrs, count - 1, (uint32_t[]){normed, w, bias}, 1, &y);
    close_composite(t, whole);
}

static void norm_matmul(tree *t, bool bias) {
    uint32_t x = cf_rig_input(&t->rig, GR_DIM_T, t->d, 1.0), norm = norm_weight(t),
             w = matrix(t, N, t->d), b = bias ? vector(t, N) : GR_VALUE_NONE, y = activation(t, N);
    norm_matmul_of(t, &t->norm, x, norm, w, b, y);
}

// Products of x as it is, normed in two ways, and again: none may take another's normed rows.
static void several_norms(cf_suite *suite, gr_dtype dtype, uint32_t rows, uint32_t run_depth) {
    static tree t; // large
    char name[96];
    snprintf(name, sizeof name, "NORM_MATMUL %s T=%u, several norms of one x%s",
             gr_dtype_name(dtype), rows,
             run_depth == 0 ? "" : run_depth == 1 ? " opened" : " as primitives");
    memset(&t, 0, sizeof t);
    if (!cf_rig_begin(&t.rig, suite, "NORM_MATMUL", name, rows, 0))
        return;
    set_attrs(&t, dtype, 0);
    t.run_depth = run_depth;
    t.rig.slack = 3.0;
    uint32_t x = cf_rig_input(&t.rig, GR_DIM_T, t.d, 1.0);
    uint32_t norms[] = {norm_weight(&t), norm_weight(&t)};
    gr_attrs_norm strong = {.struct_size = sizeof strong, .eps = 0.5f};
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t w = matrix(&t, N, t.d), y = activation(&t, N);
        if (i == 2)
            cf_rig_node(&t.rig, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, w}, 1, &y);
        else
            norm_matmul_of(&t, i == 3 ? &strong : &t.norm, x, norms[i == 1], w, GR_VALUE_NONE, y);
    }
    cf_rig_finish(&t.rig);
}

// in: x, norm, gate, up, down.
static void gated_ffn(tree *t, const uint32_t *in, uint32_t y) {
    uint32_t whole = open_composite(t, GR_OP_GATED_FFN, &t->block, 5, in, 1, &y);
    uint32_t x = primitive(t, GR_OP_RMS_NORM, &t->norm, 2, in, t->d);
    uint32_t gate = primitive(t, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, in[2]}, t->f);
    uint32_t up = primitive(t, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){x, in[3]}, t->f);
    uint32_t inner = primitive(t, GR_OP_GLU, &t->glu, 2, (uint32_t[]){gate, up}, t->f);
    add_node(t, GR_OP_MATMUL, &no_attrs, 2, (uint32_t[]){inner, in[4]}, 1, &y);
    close_composite(t, whole);
}

static void ffn(tree *t, bool block) {
    uint32_t in[] = {cf_rig_input(&t->rig, GR_DIM_T, t->d, block ? STREAM : 1.0), norm_weight(t),
                     matrix(t, t->f, t->d), matrix(t, t->f, t->d), matrix(t, t->d, t->f)};
    uint32_t y = activation(t, t->d);
    if (!block) {
        gated_ffn(t, in, y);
        return;
    }
    uint32_t whole = open_composite(t, GR_OP_FFN_BLOCK, &t->block, 5, in, 1, &y),
             inner = activation(t, t->d);
    gated_ffn(t, in, inner);
    add_node(t, GR_OP_ADD, &no_attrs, 2, (uint32_t[]){in[0], inner}, 1, &y);
    close_composite(t, whole);
}

enum { X, NORM, WQ, WK, WV, BQ, BK, BV, POSITIONS, STATE, Q_NORM, K_NORM, WO, BO, OPERANDS };

// One of q, k, v: projection, norm of each head where there is one.
static uint32_t projection(tree *t, uint32_t x, uint32_t w, uint32_t bias, uint32_t norm,
                           uint32_t heads) {
    bool biased = bias != GR_VALUE_NONE;
    uint32_t y = primitive(t, GR_OP_MATMUL, &no_attrs, biased ? 3 : 2, (uint32_t[]){x, w, bias},
                           heads * DIM);
    return norm == GR_VALUE_NONE
               ? y
               : primitive(t, GR_OP_RMS_NORM, &t->norm, 2, (uint32_t[]){y, norm}, heads * DIM);
}

static void qkv(tree *t, const uint32_t *in, uint32_t q_out, uint32_t state_out) {
    bool normed = in[Q_NORM] != GR_VALUE_NONE;
    uint32_t whole = open_composite(t, GR_OP_QKV, &t->block, normed ? 12 : 10, in, 2,
                                    (uint32_t[]){q_out, state_out});
    uint32_t x = primitive(t, GR_OP_RMS_NORM, &t->norm, 2, in, t->d);
    uint32_t q = projection(t, x, in[WQ], in[BQ], in[Q_NORM], HEADS);
    uint32_t k = projection(t, x, in[WK], in[BK], in[K_NORM], KV_HEADS);
    uint32_t v = projection(t, x, in[WV], in[BV], GR_VALUE_NONE, KV_HEADS);
    add_node(t, GR_OP_ROPE, &t->rope, 2, (uint32_t[]){q, in[POSITIONS]}, 1, &q_out);
    k = primitive(t, GR_OP_ROPE, &t->rope, 2, (uint32_t[]){k, in[POSITIONS]}, KV_HEADS * DIM);
    add_node(t, GR_OP_KV_WRITE, &t->attention, 3, (uint32_t[]){k, v, in[STATE]}, 1, &state_out);
    close_composite(t, whole);
}

static void attention(tree *t, bool block, bool extras) {
    uint32_t in[OPERANDS] = {cf_rig_input(&t->rig, GR_DIM_T, t->d, block ? STREAM : 1.0),
                             norm_weight(t),
                             matrix(t, HEADS * DIM, t->d),
                             matrix(t, KV_HEADS * DIM, t->d),
                             matrix(t, KV_HEADS * DIM, t->d),
                             extras ? vector(t, HEADS * DIM) : GR_VALUE_NONE,
                             extras ? vector(t, KV_HEADS * DIM) : GR_VALUE_NONE,
                             extras ? vector(t, KV_HEADS * DIM) : GR_VALUE_NONE,
                             cf_rig_field(&t->rig, GR_STEP_POSITIONS, CF_NONE),
                             cf_rig_state(&t->rig),
                             extras ? vector(t, DIM) : GR_VALUE_NONE,
                             extras ? vector(t, DIM) : GR_VALUE_NONE,
                             matrix(t, t->d, HEADS * DIM),
                             extras ? vector(t, t->d) : GR_VALUE_NONE};
    uint32_t q = activation(t, HEADS * DIM), state = cf_rig_state(&t->rig);
    if (!block) {
        qkv(t, in, q, state);
        return;
    }
    uint32_t y = activation(t, t->d), attended = activation(t, HEADS * DIM),
             projected = activation(t, t->d);
    uint32_t whole = open_composite(t, GR_OP_ATTN_BLOCK, &t->block, extras ? 14 : 13, in, 2,
                                    (uint32_t[]){y, state});
    qkv(t, in, q, state);
    add_node(t, GR_OP_ATTENTION, &t->attention, 2, (uint32_t[]){q, state}, 1, &attended);
    add_node(t, GR_OP_MATMUL, &no_attrs, extras ? 3 : 2, (uint32_t[]){attended, in[WO], in[BO]}, 1,
             &projected);
    add_node(t, GR_OP_ADD, &no_attrs, 2, (uint32_t[]){in[X], projected}, 1, &y);
    close_composite(t, whole);
}

static const char *const op_names[] = {"NORM_MATMUL", "QKV", "GATED_FFN", "ATTN_BLOCK",
                                       "FFN_BLOCK"};

static bool has_biases(gr_op op) {
    return op != GR_OP_GATED_FFN && op != GR_OP_FFN_BLOCK;
}

// Builds a composite, with `extras` biases and a window or another activation; false when it is not
// wanted.
static bool build(tree *t, cf_suite *suite, const char *wanted, const char *name, gr_op op,
                  gr_dtype dtype, uint32_t rows, bool extras, uint32_t run_depth) {
    bool cached = op == GR_OP_QKV || op == GR_OP_ATTN_BLOCK;
    memset(t, 0, sizeof *t);
    if (!cf_rig_begin(&t->rig, suite, wanted, name, rows, 0))
        return false;
    set_attrs(t, dtype, extras ? 11 : 0);
    if (extras && !has_biases(op))
        t->glu.activation = t->block.activation = GR_ACTIVATION_GELU_TANH;
    t->run_depth = run_depth;
    // Whole, up to three roundings follow each other; a gated FFN multiplies two rounded products before a third,
    // attention scores two and weighs a third before a fourth. Apart, values in between are judged too.
    bool many = op != GR_OP_NORM_MATMUL && op != GR_OP_QKV;
    t->rig.slack = run_depth ? 10.0 : many ? 6.0 : 3.0;
    cf_rig_sequences(&t->rig, 2, (uint32_t[]){rows - rows / 3, rows / 3}, (int32_t[]){0, 29});
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = 1,
                       .page_tokens = 8,
                       .kv_heads = KV_HEADS,
                       .k_dim = DIM,
                       .v_dim = DIM,
                       .dtype = rows % 2 ? GR_DTYPE_F16 : GR_DTYPE_F32};
    if (cached && !cf_rig_cache(&t->rig, &desc, t->attention.window)) {
        cf_rig_end(&t->rig);
        return false;
    }
    if (op == GR_OP_NORM_MATMUL)
        norm_matmul(t, extras);
    else if (cached)
        attention(t, op == GR_OP_ATTN_BLOCK, extras);
    else
        ffn(t, op == GR_OP_FFN_BLOCK);
    return true;
}

static void block_case(cf_suite *suite, gr_op op, gr_dtype dtype, uint32_t rows, bool extras,
                       uint32_t run_depth) {
    static tree t; // large
    char name[128];
    const char *op_name = op_names[op - GR_OP_NORM_MATMUL];
    snprintf(name, sizeof name, "%s %s T=%u%s %s, cache %s", op_name, gr_dtype_name(dtype), rows,
             extras ? has_biases(op) ? " biases" : " gelu" : "",
             run_depth == 0   ? "whole"
             : run_depth == 1 ? "opened"
                              : "as primitives",
             rows % 2 ? "F16" : "F32");
    if (build(&t, suite, op_name, name, op, dtype, rows, extras, run_depth))
        cf_rig_finish(&t.rig);
}

// ---- Fused and unfused twins

// Some values far larger than the rest, as models have them, in every other row.
static void add_outliers(tree *t) {
    float *x = t->rig.data[t->rig.nodes[0].in[0]];
    for (uint32_t row = t->rig.step.rows > 1; row < t->rig.step.rows; row += 2) {
        for (int64_t i = 5; i < t->d; i += 97)
            x[row * t->d + i] *= 30.0f;
    }
}

// Differences and sizes of `count` values, squared; or whether all bits are the same.
typedef struct distance {
    double error, energy;
    bool same_bits;
} distance;

static void measure(distance *d, const float *a, const float *b, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        d->error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        d->energy += (double)b[i] * (double)b[i];
    }
    d->same_bits &= memcmp(a, b, count * sizeof *a) == 0;
}

static const float *output_of(const tree *t, uint32_t value) {
    return (const float *)(const void *)(t->rig.after + t->rig.values[value].offset);
}

// The keys and values that the step wrote.
static bool measure_cache(distance *d, tree *a, tree *b) {
    enum { WIDTH = KV_HEADS * DIM };
    float one[WIDTH], other[WIDTH];
    for (uint32_t row = 0; row < a->rig.step.rows; row++) {
        uint32_t seq = (uint32_t)a->rig.step.row_seq[row];
        for (uint32_t part = 0; part < 2; part++) {
            int64_t position = a->rig.step.positions[row];
            if (!cf_rig_cache_read(&a->rig, seq, position, 1, part, one) ||
                !cf_rig_cache_read(&b->rig, seq, position, 1, part, other))
                return false;
            measure(d, one, other, WIDTH);
        }
    }
    return true;
}

static void compare_twins(cf_suite *suite, const char *name, tree *fused, tree *apart) {
    distance d = {.same_bits = true};
    const gr_node *node = &fused->rig.nodes[0];
    const gr_value *y = &fused->rig.values[node->out[0]];
    if (suite->plant == CF_PLANT_FUSION && y->dims[1])
        fused->rig.after[y->offset] ^= 1; // the last bit of the first number
    measure(&d, output_of(fused, node->out[0]), output_of(apart, node->out[0]),
            cf_rig_count(&fused->rig, y, false));
    if (node->out_count > 1 && !measure_cache(&d, fused, apart))
        cf_fail(suite, name, "the cache cannot be read back");
    else if (suite->same_bits && !d.same_bits)
        cf_fail(suite, name, "fused and unfused differ in bits, error %.2g", d.error / d.energy);
    else if (!(d.error <= 10 * cf_limit(apart->rig.precision) * d.energy))
        cf_fail(suite, name, "fused and unfused differ, error %.2g", d.error / d.energy);
    else
        cf_pass(suite, name);
}

static void twin_case(cf_suite *suite, gr_op op, gr_dtype dtype, uint32_t rows, bool extras) {
    static tree fused, apart; // large
    char name[128];
    snprintf(name, sizeof name, "FUSION %s %s T=%u%s", op_names[op - GR_OP_NORM_MATMUL],
             gr_dtype_name(dtype), rows, extras ? has_biases(op) ? " biases" : " gelu" : "");
    if (!build(&fused, suite, "FUSION", name, op, dtype, rows, extras, 0))
        return;
    add_outliers(&fused);
    if (cf_rig_run(&fused.rig) &&
        build(&apart, suite, "FUSION", name, op, dtype, rows, extras, 2)) { // the same values
        add_outliers(&apart);
        if (cf_rig_run(&apart.rig))
            compare_twins(suite, name, &fused, &apart);
        cf_rig_end(&apart.rig);
    }
    cf_rig_end(&fused.rig);
}

static void twin_cases(cf_suite *suite) {
    static const uint32_t rows[] = {1, 2, 5, 18};
    for (gr_op op = GR_OP_NORM_MATMUL; op <= GR_OP_FFN_BLOCK; op++) {
        for (uint32_t d = 0; d < CF_WEIGHT_DTYPES; d++) {
            for (uint32_t r = 0; r < 4; r++) {
                twin_case(suite, op, cf_weight_dtypes[d], rows[r], false);
                if (suite->deep || r % 2)
                    twin_case(suite, op, cf_weight_dtypes[d], rows[r], true);
            }
        }
    }
}

void cf_cases_blocks(cf_suite *suite) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32, GR_DTYPE_BF16, GR_DTYPE_Q4_0, GR_DTYPE_Q4_K,
                                      GR_DTYPE_Q8_0};
    for (gr_op op = GR_OP_NORM_MATMUL; op <= GR_OP_FFN_BLOCK; op++) {
        for (uint32_t d = 0; d < 5; d++) {
            for (uint32_t r = 0; r < CF_ROW_COUNTS; r += suite->deep ? 1 : 3) {
                for (uint32_t depth = 0; depth < (suite->whole ? 1 : 3); depth++) {
                    block_case(suite, op, dtypes[d], cf_row_counts[r], false, depth);
                    block_case(suite, op, dtypes[d], cf_row_counts[r] + 1, true, depth);
                    if (op == GR_OP_NORM_MATMUL)
                        several_norms(suite, dtypes[d], cf_row_counts[r], depth);
                }
            }
        }
    }
    if (cf_wanted(suite, "FUSION"))
        twin_cases(suite);
}
