// SPDX-License-Identifier: Apache-2.0
// composite.c: composites as parts: primitives in order, some with operands that only parts have.
// MATMUL also takes the weight of a norm of x, a second matrix whose product the first one gates,
// and a matrix to add the result to; KV_WRITE also rotates keys and queries. What one part gives
// another, and nobody else, is an inner value. So what is fused is said here, and how in ops/.
#include "ops/kv_write.h"
#include "ops/matmul.h"

// Operands of all composites, of those of the FFN and of those of attention.
enum { X, NORM };
enum { GATE = 2, UP, DOWN };
enum { WQ = 2, WK, WV, BQ, BK, BV, POSITIONS, STATE, Q_NORM, K_NORM, WO, BO };

typedef struct expansion {
    const cpu_composite *from;
    cpu_parts *parts;
    uint32_t inner; // values made so far
    gr_attrs_block block;
    gr_attrs_attention attention;
    gr_attrs_rope rope;
} expansion;

static cpu_node *add_part(expansion *e, gr_op op, uint32_t in_count) {
    cpu_node *part = &e->parts->nodes[e->parts->count++];
    *part =
        (cpu_node){.op = op, .layer = e->from->layer, .in_count = in_count, .out_count = 1};
    return part;
}

static void give(cpu_node *part, uint32_t operand, const gr_value *value) {
    part->has_in[operand] = true;
    part->in[operand] = *value;
}

// Gives operand `from` of the composite, if it is there.
static void pass(const expansion *e, cpu_node *part, uint32_t operand, uint32_t from) {
    if (e->from->has_in[from])
        give(part, operand, &e->from->in[from]);
}

// A new inner value of `width` columns and as many rows as x.
static gr_value make_inner(expansion *e, int64_t width) {
    return (gr_value){.struct_size = sizeof(gr_value),
                      .kind = CPU_VALUE_INNER,
                      .dtype = GR_DTYPE_F32,
                      .index = e->inner++,
                      .rank = 2,
                      .dims = {e->from->in[X].dims[0], width, 1, 1},
                      .offset = GR_NO_OFFSET};
}

static cpu_node *add_product(expansion *e, const gr_value *x, uint32_t weight,
                             const gr_value *out) {
    cpu_node *part = add_part(e, GR_OP_MATMUL, CPU_MATMUL_IN);
    part->attrs.block = e->block;
    give(part, CPU_MATMUL_X, x);
    pass(e, part, CPU_MATMUL_W, weight);
    part->out[0] = *out;
    return part;
}

// A product of the normed x.
static cpu_node *add_projection(expansion *e, uint32_t weight, const gr_value *out) {
    cpu_node *part = add_product(e, &e->from->in[X], weight, out);
    pass(e, part, CPU_MATMUL_NORM, NORM);
    return part;
}

static const char *norm_matmul(expansion *e) {
    gr_attrs_norm norm;
    const char *why = cpu_attrs_read(e->from->attrs, sizeof norm, &norm);
    if (why)
        return why;
    e->block.eps = norm.eps;
    pass(e, add_projection(e, 2, &e->from->out[0]), CPU_MATMUL_BIAS, 3);
    return NULL;
}

static const char *ffn(expansion *e) {
    const char *why = cpu_attrs_read(e->from->attrs, sizeof e->block, &e->block);
    if (why)
        return why;
    gr_value hidden = make_inner(e, e->from->in[GATE].dims[0]);
    pass(e, add_projection(e, GATE, &hidden), CPU_MATMUL_UP, UP);
    cpu_node *down = add_product(e, &hidden, DOWN, &e->from->out[0]);
    if (e->from->op == GR_OP_FFN_BLOCK)
        pass(e, down, CPU_MATMUL_ADD, X);
    return NULL;
}

static const char *attention_attrs(expansion *e) {
    gr_attrs_rope other;
    const char *why = cpu_attrs_read(e->from->attrs, sizeof e->block, &e->block);
    if (!why)
        why = cpu_attrs_read(e->block.attention, sizeof e->attention, &e->attention);
    if (!why && (!e->block.rope_q || !e->block.rope_k))
        return "not fused: queries or keys do not rotate";
    if (!why)
        why = cpu_attrs_read(e->block.rope_q, sizeof e->rope, &e->rope);
    if (!why)
        why = cpu_attrs_read(e->block.rope_k, sizeof other, &other);
    if (!why && memcmp(&e->rope, &other, sizeof other))
        return "not fused: queries and keys rotate differently";
    return why;
}

// One of q, k, v.
static gr_value project(expansion *e, uint32_t weight, uint32_t bias) {
    gr_value y = make_inner(e, e->from->in[weight].dims[0]);
    pass(e, add_projection(e, weight, &y), CPU_MATMUL_BIAS, bias);
    return y;
}

static gr_value norm_heads(expansion *e, gr_value x, uint32_t norm) {
    if (!e->from->has_in[norm])
        return x;
    cpu_node *part = add_part(e, GR_OP_RMS_NORM, 2);
    part->attrs.norm = (gr_attrs_norm){.struct_size = sizeof part->attrs.norm, .eps = e->block.eps};
    give(part, 0, &x);
    pass(e, part, 1, norm);
    return part->out[0] = make_inner(e, x.dims[1]);
}

// Rotated queries to `out_q`, rotated keys and values to the cache.
static void qkv(expansion *e, const gr_value *out_q, const gr_value *out_state) {
    gr_value q = project(e, WQ, BQ), k = project(e, WK, BK), v = project(e, WV, BV);
    q = norm_heads(e, q, Q_NORM);
    k = norm_heads(e, k, K_NORM);
    cpu_node *write = add_part(e, GR_OP_KV_WRITE, CPU_WRITE_IN);
    write->attrs.write.attention = e->attention;
    write->attrs.write.rope = e->rope;
    give(write, CPU_WRITE_K, &k);
    give(write, CPU_WRITE_V, &v);
    pass(e, write, CPU_WRITE_STATE, STATE);
    pass(e, write, CPU_WRITE_POSITIONS, POSITIONS);
    give(write, CPU_WRITE_Q, &q);
    write->out_count = 2;
    write->out[0] = *out_state;
    write->out[1] = *out_q;
}

static const char *attention(expansion *e) {
    const char *why = attention_attrs(e);
    if (why)
        return why;
    if (e->from->op == GR_OP_QKV) {
        qkv(e, &e->from->out[0], &e->from->out[1]);
        return NULL;
    }
    gr_value q = make_inner(e, e->from->in[WQ].dims[0]),
             y = make_inner(e, (int64_t)e->attention.heads * e->attention.v_dim);
    qkv(e, &q, &e->from->out[1]);
    cpu_node *attend = add_part(e, GR_OP_ATTENTION, 2);
    attend->attrs.attention = e->attention;
    give(attend, 0, &q);
    give(attend, 1, &e->from->out[1]);
    attend->out[0] = y;
    cpu_node *output = add_product(e, &y, WO, &e->from->out[0]);
    pass(e, output, CPU_MATMUL_BIAS, BO);
    pass(e, output, CPU_MATMUL_ADD, X);
    return NULL;
}

const char *cpu_composite_expand(const cpu_composite *composite, cpu_parts *out_parts) {
    expansion e = {.from = composite, .parts = out_parts};
    out_parts->count = 0;
    switch (composite->op) {
    case GR_OP_NORM_MATMUL: return norm_matmul(&e);
    case GR_OP_GATED_FFN:
    case GR_OP_FFN_BLOCK: return ffn(&e);
    case GR_OP_QKV:
    case GR_OP_ATTN_BLOCK: return attention(&e);
    default: return "not fused";
    }
}
