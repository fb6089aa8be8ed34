// SPDX-License-Identifier: Apache-2.0
// shape.c: what each primitive accepts and what it yields, one rule an op. Composites need none:
// their decomposition is checked. The signatures are those of ops.def.
#include <math.h>
#include <string.h>

#include "graph/builder.h"

#define TEXT 192 // holds any value's text

static bool refuse(gr_shape_call *call, const char *reason) {
    return gr_builder_fail(call->builder, GR_ERROR_INVALID_ARGUMENT, "%s: %s",
                           gr_op_info_find(call->op)->name, reason);
}

// One operand is wrong by itself.
static bool refuse_one(gr_shape_call *call, uint32_t operand, const char *name,
                       const char *expected) {
    char text[TEXT];
    const gr_value *value = call->in[operand];
    return gr_builder_fail(
        call->builder, GR_ERROR_INVALID_ARGUMENT, "%s: %s is %s, expected %s",
        gr_op_info_find(call->op)->name, name,
        value ? gr_value_text(call->builder->graph, value, text, sizeof text) : "absent", expected);
}

// Two operands do not go together.
static bool refuse_pair(gr_shape_call *call, uint32_t a, const char *a_name, uint32_t b,
                        const char *b_name) {
    char a_text[TEXT], b_text[TEXT];
    const gr_graph *graph = call->builder->graph;
    return gr_builder_fail(call->builder, GR_ERROR_INVALID_ARGUMENT, "%s: %s %s does not fit %s %s",
                           gr_op_info_find(call->op)->name, a_name,
                           gr_value_text(graph, call->in[a], a_text, sizeof a_text), b_name,
                           gr_value_text(graph, call->in[b], b_text, sizeof b_text));
}

static bool is_matrix(const gr_value *value) {
    return value && value->kind == GR_VALUE_ACTIVATION && value->dtype == GR_DTYPE_F32 &&
           value->rank == 2;
}

static bool is_weight(const gr_value *value, uint32_t rank) {
    return value && value->kind == GR_VALUE_WEIGHT && value->rank == rank;
}

// A table of numbers that EMBED and MATMUL know how to read: float or block-quantised.
static bool is_table(const gr_value *value, uint32_t rank) {
    return is_weight(value, rank) && value->dtype != GR_DTYPE_I8 && value->dtype != GR_DTYPE_I32 &&
           value->dtype != GR_DTYPE_F64;
}

// A weight that must be F32 [n].
static bool is_f32_vector(const gr_value *value, int64_t n) {
    return is_weight(value, 1) && value->dtype == GR_DTYPE_F32 && value->dims[0] == n;
}

// An I32 [rows] from the step block or computed.
static bool is_index(const gr_value *value) {
    return value && (value->kind == GR_VALUE_STEP || value->kind == GR_VALUE_ACTIVATION) &&
           value->dtype == GR_DTYPE_I32 &&
           (value->rank == 1 || (value->rank == 2 && value->dims[1] == 1));
}

static bool same_shape(const gr_value *a, const gr_value *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]);
}

static void yield_matrix(gr_shape_call *call, uint32_t out, gr_dtype dtype, int64_t rows,
                         int64_t columns) {
    call->out[out] =
        (gr_value){.kind = GR_VALUE_ACTIVATION, .dtype = dtype, .rank = 2, .dims = {rows, columns}};
}

static bool yield_like(gr_shape_call *call, const gr_value *value) {
    call->out[0] = *value;
    return true;
}

static bool rule_embed(gr_shape_call *call) {
    const gr_value *table = call->in[0], *tokens = call->in[1];
    if (!is_table(table, 2))
        return refuse_one(call, 0, "table", "a float or quantised weight [V,D]");
    if (!is_index(tokens))
        return refuse_one(call, 1, "tokens", "I32 [T]");
    yield_matrix(call, 0, GR_DTYPE_F32, tokens->dims[0], table->dims[1]);
    return true;
}

static bool rule_rms_norm(gr_shape_call *call) {
    const gr_value *x = call->in[0], *weight = call->in[1];
    const gr_attrs_norm *attrs = call->attrs;
    if (!is_matrix(x))
        return refuse_one(call, 0, "x", "F32 [T,n*D]");
    if (!is_weight(weight, 1) || weight->dtype != GR_DTYPE_F32)
        return refuse_one(call, 1, "weight", "F32 [D]");
    if (weight->dims[0] ? x->dims[1] % weight->dims[0] : x->dims[1])
        return refuse_pair(call, 0, "x", 1, "weight");
    if (!isfinite(attrs->eps) || attrs->eps < 0)
        return refuse(call, "eps is negative or not finite");
    return yield_like(call, x);
}

static bool rule_matmul(gr_shape_call *call) {
    enum { X, W, BIAS, INDEX };
    const gr_value *x = call->in[X], *w = call->in[W], *bias = call->in[BIAS],
                   *index = call->in[INDEX];
    if (!is_matrix(x))
        return refuse_one(call, X, "x", "F32 [M,K]");
    if (!is_table(w, index ? 3 : 2))
        return refuse_one(call, W, "weight",
                          index ? "a float or quantised weight [E,N,K]"
                                : "a float or quantised weight [N,K]");
    int64_t n = w->dims[w->rank - 2], k = w->dims[w->rank - 1];
    if (x->dims[1] != k)
        return refuse_pair(call, X, "x", W, "weight");
    if (bias && !(index ? is_weight(bias, 2) && bias->dtype == GR_DTYPE_F32 &&
                              bias->dims[0] == w->dims[0] && bias->dims[1] == n
                        : is_f32_vector(bias, n)))
        return refuse_pair(call, BIAS, "bias", W, "weight");
    if (index && !is_index(index))
        return refuse_one(call, INDEX, "index", "I32 [M]");
    if (index && index->dims[0] != x->dims[0])
        return refuse_pair(call, INDEX, "index", X, "x");
    yield_matrix(call, 0, GR_DTYPE_F32, x->dims[0], n);
    return true;
}

static bool rule_rope(gr_shape_call *call) {
    const gr_value *x = call->in[0], *positions = call->in[1];
    const gr_attrs_rope *attrs = call->attrs;
    if (!is_matrix(x))
        return refuse_one(call, 0, "x", "F32 [T,H*head_dim]");
    if (!is_index(positions))
        return refuse_one(call, 1, "positions", "I32 [T]");
    if (positions->dims[0] != x->dims[0])
        return refuse_pair(call, 1, "positions", 0, "x");
    if (!attrs->head_dim || x->dims[1] % attrs->head_dim)
        return refuse_one(call, 0, "x", "whole heads of head_dim");
    if (attrs->rotary_dim > attrs->head_dim || attrs->rotary_dim % 2)
        return refuse(call, "rotary_dim is odd or larger than head_dim");
    if (attrs->pairing > GR_ROPE_HALF)
        return refuse(call, "the pairing is unknown");
    if (attrs->rotary_dim && !attrs->inv_freq)
        return refuse(call, "the frequency table is missing");
    return yield_like(call, x);
}

static bool attention_attrs_ok(gr_shape_call *call) {
    const gr_attrs_attention *attrs = call->attrs;
    if (!attrs->heads || !attrs->kv_heads || attrs->heads % attrs->kv_heads)
        return refuse(call, "heads is no multiple of kv_heads");
    if (!attrs->k_dim || !attrs->v_dim)
        return refuse(call, "k_dim or v_dim is 0");
    if (attrs->flags & ~(uint32_t)(GR_ATTENTION_BIDIRECTIONAL | GR_ATTENTION_DENSE))
        return refuse(call, "a flag is unknown");
    if (!isfinite(attrs->scale) || !isfinite(attrs->softcap) || attrs->softcap < 0)
        return refuse(call, "scale or softcap is not usable");
    return true;
}

// Whether `value` is F32 [T, heads*dim].
static bool is_heads(const gr_value *value, uint32_t heads, uint32_t dim) {
    return is_matrix(value) && value->dims[0] == GR_DIM_T &&
           (uint64_t)value->dims[1] == (uint64_t)heads * dim;
}

// The state must be the newest of its layer, since the cache is written in place, and of the
// geometry that the layer's cache was asked for with.
static bool state_ok(gr_shape_call *call, uint32_t operand) {
    const gr_value *state = call->in[operand];
    const gr_attrs_attention *attrs = call->attrs;
    const gr_builder *builder = call->builder;
    if (!state || state->kind != GR_VALUE_STATE)
        return refuse_one(call, operand, "state", "the state of a cache layer");
    if (state->index != attrs->cache_layer)
        return refuse(call, "state and attributes name different cache layers");
    const gr_attrs_attention *layer = builder->graph->cache_layers[state->index];
    if (layer->kv_heads != attrs->kv_heads || layer->k_dim != attrs->k_dim ||
        layer->v_dim != attrs->v_dim || layer->window != attrs->window)
        return refuse(call, "the attributes' heads, sizes or window differ from the cache layer's");
    if (&builder->graph->values[builder->states[state->index]] != state)
        return refuse(call, "the state was written again since");
    return true;
}

static bool rule_kv_write(gr_shape_call *call) {
    const gr_attrs_attention *attrs = call->attrs;
    if (!attention_attrs_ok(call))
        return false;
    if (!is_heads(call->in[0], attrs->kv_heads, attrs->k_dim))
        return refuse_one(call, 0, "k", "F32 [T,kv_heads*k_dim]");
    if (!is_heads(call->in[1], attrs->kv_heads, attrs->v_dim))
        return refuse_one(call, 1, "v", "F32 [T,kv_heads*v_dim]");
    if (!state_ok(call, 2))
        return false;
    // The next value appended is this node's output.
    call->builder->states[call->in[2]->index] = call->builder->graph->value_count;
    return yield_like(call, call->in[2]);
}

static bool rule_attention(gr_shape_call *call) {
    const gr_attrs_attention *attrs = call->attrs;
    bool dense = attrs->flags & GR_ATTENTION_DENSE;
    if (!attention_attrs_ok(call))
        return false;
    if (!is_heads(call->in[0], attrs->heads, attrs->k_dim))
        return refuse_one(call, 0, "q", "F32 [T,heads*k_dim]");
    if (dense && !is_heads(call->in[1], attrs->kv_heads, attrs->k_dim))
        return refuse_one(call, 1, "k", "F32 [T,kv_heads*k_dim]");
    if (dense && !is_heads(call->in[2], attrs->kv_heads, attrs->v_dim))
        return refuse_one(call, 2, "v", "F32 [T,kv_heads*v_dim]");
    if (!dense && call->in[2])
        return refuse(call, "three operands need the dense flag");
    if (!dense && !state_ok(call, 1))
        return false;
    yield_matrix(call, 0, GR_DTYPE_F32, GR_DIM_T, (int64_t)((uint64_t)attrs->heads * attrs->v_dim));
    return true;
}

// Two F32 matrices of one shape give a third.
static bool rule_pair(gr_shape_call *call) {
    for (uint32_t i = 0; i < 2; i++)
        if (!is_matrix(call->in[i]))
            return refuse_one(call, i, i ? "the second operand" : "the first operand", "F32 [T,D]");
    if (!same_shape(call->in[0], call->in[1]))
        return refuse_pair(call, 0, "the first operand", 1, "the second");
    return yield_like(call, call->in[0]);
}

static bool rule_glu(gr_shape_call *call) {
    const gr_attrs_glu *attrs = call->attrs;
    if (attrs->activation > GR_ACTIVATION_RELU)
        return refuse(call, "the activation is unknown");
    return rule_pair(call);
}

static bool rule_scale(gr_shape_call *call) {
    const gr_attrs_scale *attrs = call->attrs;
    if (!isfinite(attrs->factor))
        return refuse(call, "the factor is not finite");
    return is_matrix(call->in[0]) ? yield_like(call, call->in[0])
                                  : refuse_one(call, 0, "x", "F32 [T,D]");
}

static bool rule_softmax(gr_shape_call *call) {
    return is_matrix(call->in[0]) ? yield_like(call, call->in[0])
                                  : refuse_one(call, 0, "x", "F32 [M,N]");
}

static bool rule_gather_rows(gr_shape_call *call) {
    const gr_value *x = call->in[0], *rows = call->in[1];
    if (!is_matrix(x))
        return refuse_one(call, 0, "x", "F32 [T,D]");
    if (!is_index(rows))
        return refuse_one(call, 1, "rows", "I32 [R]");
    yield_matrix(call, 0, GR_DTYPE_F32, rows->dims[0], x->dims[1]);
    return true;
}

static bool rule_mask_bits(gr_shape_call *call) {
    const gr_value *x = call->in[0], *bits = call->in[1];
    if (!is_matrix(x))
        return refuse_one(call, 0, "x", "F32 [R,V]");
    if (!bits || bits->kind == GR_VALUE_WEIGHT || bits->kind == GR_VALUE_STATE ||
        bits->dtype != GR_DTYPE_I32 || bits->rank != 2)
        return refuse_one(call, 1, "bits", "I32 [R,ceil(V/32)]");
    if (bits->dims[0] != x->dims[0] || bits->dims[1] != x->dims[1] / 32 + (x->dims[1] % 32 != 0))
        return refuse_pair(call, 1, "bits", 0, "x");
    return yield_like(call, x);
}

static bool rule_topk(gr_shape_call *call) {
    const gr_attrs_topk *attrs = call->attrs;
    const gr_value *x = call->in[0];
    if (!is_matrix(x))
        return refuse_one(call, 0, "x", "F32 [M,N]");
    if (attrs->k > (uint64_t)x->dims[1] || x->dims[1] > INT32_MAX)
        return refuse_one(call, 0, "x", "at least k and at most 2^31-1 columns");
    yield_matrix(call, 0, GR_DTYPE_F32, x->dims[0], attrs->k);
    yield_matrix(call, 1, GR_DTYPE_I32, x->dims[0], attrs->k);
    return true;
}

static bool is_float(gr_dtype dtype) {
    return dtype == GR_DTYPE_F32 || dtype == GR_DTYPE_F16 || dtype == GR_DTYPE_BF16;
}

static bool rule_cast(gr_shape_call *call) {
    const gr_attrs_cast *attrs = call->attrs;
    const gr_value *x = call->in[0];
    if (!x || x->kind != GR_VALUE_ACTIVATION || !is_float(x->dtype))
        return refuse_one(call, 0, "x", "a computed F32, F16 or BF16 value");
    if (!is_float(attrs->dtype))
        return refuse(call, "the target is not F32, F16 or BF16");
    yield_like(call, x);
    call->out[0].dtype = attrs->dtype;
    return true;
}

static bool rule_copy(gr_shape_call *call) {
    const gr_value *x = call->in[0];
    if (!x || x->kind != GR_VALUE_ACTIVATION)
        return refuse_one(call, 0, "x", "a computed value");
    return yield_like(call, x);
}

typedef bool (*shape_rule)(gr_shape_call *call);

static const shape_rule rules[GR_OP_LIMIT] = {
    [GR_OP_EMBED] = rule_embed,
    [GR_OP_RMS_NORM] = rule_rms_norm,
    [GR_OP_MATMUL] = rule_matmul,
    [GR_OP_ROPE] = rule_rope,
    [GR_OP_KV_WRITE] = rule_kv_write,
    [GR_OP_ATTENTION] = rule_attention,
    [GR_OP_GLU] = rule_glu,
    [GR_OP_ADD] = rule_pair,
    [GR_OP_MUL] = rule_pair,
    [GR_OP_SCALE] = rule_scale,
    [GR_OP_SOFTMAX] = rule_softmax,
    [GR_OP_GATHER_ROWS] = rule_gather_rows,
    [GR_OP_MASK_BITS] = rule_mask_bits,
    [GR_OP_TOPK] = rule_topk,
    [GR_OP_CAST] = rule_cast,
    [GR_OP_COPY] = rule_copy,
};

bool gr_shape_infer(gr_shape_call *call) {
    const gr_op_info *info = gr_op_info_find(call->op);
    if (!info || call->op >= GR_OP_LIMIT || !rules[call->op])
        return gr_builder_fail(call->builder, GR_ERROR_UNSUPPORTED, "op %u has no shape rule",
                               call->op);
    if (!call->attrs && info->attrs_bytes > sizeof(gr_attrs_none))
        return refuse(call, "the attributes are missing");
    return rules[call->op](call);
}
