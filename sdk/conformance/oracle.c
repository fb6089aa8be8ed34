// SPDX-License-Identifier: Apache-2.0
// oracle.c: what each primitive means, in F64 scalars, straight from gregale/ops.h and ops.def.
// Written apart from any backend. Values are arrays of double, also the integers. The planted
// defects (CF_PLANT_*) live here, so that the suite can show that it would see them.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

// The contents of a value: computed, or decoded from what the case supplied.
static const double *value_of(cf_rig *rig, uint32_t id) {
    const gr_value *value = &rig->values[id];
    if (rig->exact[id])
        return rig->exact[id];
    uint64_t count = cf_rig_count(rig, value, false);
    double *out = cf_rig_alloc(rig, count * sizeof *out);
    const void *source = rig->data[id];
    if (value->kind == GR_VALUE_STEP) {
        const int32_t *const fields[] = {rig->step.tokens, rig->step.positions, rig->step.row_seq,
                                         rig->step.output_rows, rig->step.mask_bits};
        source = fields[value->index];
    }
    if (source)
        cf_decode(value->dtype, source, count, out, rig->suite->plant);
    rig->exact[id] = out;
    return out;
}

static const double *in(cf_rig *rig, const gr_node *node, uint32_t i) {
    return i < node->in_count && node->in[i] != GR_VALUE_NONE ? value_of(rig, node->in[i]) : NULL;
}

static double *out(cf_rig *rig, const gr_node *node, uint32_t i) {
    uint32_t id = node->out[i];
    rig->exact[id] = cf_rig_alloc(rig, cf_rig_count(rig, &rig->values[id], false) * sizeof(double));
    return rig->exact[id];
}

static int64_t width(const cf_rig *rig, uint32_t id) {
    return rig->values[id].dims[rig->values[id].rank - 1];
}

static int64_t rows(const cf_rig *rig, uint32_t id) {
    int64_t w = width(rig, id);
    return w ? (int64_t)cf_rig_count(rig, &rig->values[id], false) / w : 0;
}

static void embed(cf_rig *rig, const gr_node *node) {
    const double *table = in(rig, node, 0), *tokens = in(rig, node, 1);
    double *y = out(rig, node, 0);
    int64_t d = width(rig, node->out[0]);
    for (int64_t t = 0; t < rows(rig, node->out[0]); t++)
        memcpy(y + t * d, table + (int64_t)tokens[t] * d, (size_t)d * sizeof *y);
}

static void rms_norm(cf_rig *rig, const gr_node *node) {
    const gr_attrs_norm *a = node->attrs;
    const double *x = in(rig, node, 0), *weight = in(rig, node, 1);
    double *y = out(rig, node, 0), eps = rig->suite->plant == CF_PLANT_EPS ? 0.0 : (double)a->eps;
    int64_t d = width(rig, node->in[1]),
            count = (int64_t)cf_rig_count(rig, &rig->values[node->in[0]], false);
    for (int64_t at = 0; at < count; at += d) {
        double squares = 0;
        for (int64_t i = 0; i < d; i++)
            squares += x[at + i] * x[at + i];
        for (int64_t i = 0; i < d; i++)
            y[at + i] = x[at + i] / sqrt(squares / (double)d + eps) * weight[i];
    }
}

// Rows of x in 8 bits, `group` values to a scale.
static const double *quantised(cf_rig *rig, const double *x, int64_t count, int64_t k,
                               int64_t group) {
    double *q = cf_rig_alloc(rig, (uint64_t)count * sizeof *q);
    for (int64_t at = 0, size; at < count; at += size) {
        int64_t left = k - at % k;
        double largest = 0;
        size = left < group ? left : group;
        for (int64_t i = at; i < at + size; i++)
            largest = fmax(largest, fabs(x[i]));
        for (int64_t i = at; i < at + size; i++)
            q[i] = largest > 0 ? nearbyint(x[i] / largest * 127) * largest / 127 : 0;
    }
    return q;
}

// The size that an element of an operand is judged by, squared.
static double energy_at(const double *energy, const double *values, uint64_t i) {
    double square = values[i] * values[i];
    return energy && energy[i] > square ? energy[i] : square;
}

static void matmul(cf_rig *rig, const gr_node *node) {
    cf_plant plant = rig->suite->plant;
    const double *x = in(rig, node, 0), *w = in(rig, node, 1), *bias = in(rig, node, 2),
                 *index = in(rig, node, 3);
    double *y = out(rig, node, 0);
    double *energy =
        cf_rig_alloc(rig, cf_rig_count(rig, &rig->values[node->out[0]], false) * sizeof *energy);
    int64_t k_all = width(rig, node->in[1]), n_all = width(rig, node->out[0]);
    const double *of_x = rig->energy[node->in[0]];
    rig->energy[node->out[0]] = energy;
    if (plant >= CF_PLANT_ROW_SCALE)
        x = quantised(rig, x, rows(rig, node->in[0]) * k_all, k_all,
                      plant == CF_PLANT_ROW_SCALE ? k_all : 32);
    int64_t k_end = plant == CF_PLANT_LAST_K ? k_all - 1 : k_all,
            experts = rig->values[node->in[1]].dims[0];
    for (int64_t m = 0; m < rows(rig, node->out[0]); m++) {
        int64_t e = index ? (int64_t)index[m] : 0;
        if (index && plant == CF_PLANT_EXPERT)
            e = (e + 1) % experts;
        for (int64_t n = 0; n < n_all; n++) {
            double sum = bias && plant != CF_PLANT_BIAS ? bias[e * n_all + n] : 0.0;
            double squares = 0;
            for (int64_t k = 0; k < k_end; k++) {
                double weight = w[(e * n_all + n) * k_all + k];
                sum += x[m * k_all + k] * weight;
                squares += energy_at(of_x, x, (uint64_t)(m * k_all + k)) * weight * weight;
            }
            y[m * n_all + n] = sum;
            energy[m * n_all + n] = squares;
        }
    }
}

static void rope(cf_rig *rig, const gr_node *node) {
    const gr_attrs_rope *a = node->attrs;
    const double *x = in(rig, node, 0), *positions = in(rig, node, 1);
    double *y = out(rig, node, 0);
    int64_t w = width(rig, node->in[0]), half = a->rotary_dim / 2;
    bool halves = (a->pairing == GR_ROPE_HALF) != (rig->suite->plant == CF_PLANT_PAIRING);
    for (int64_t t = 0; t < rows(rig, node->in[0]); t++) {
        double position = positions[t] + (rig->suite->plant == CF_PLANT_POSITION ? 1 : 0);
        for (int64_t at = t * w; at < (t + 1) * w; at += a->head_dim) {
            memcpy(y + at, x + at, a->head_dim * sizeof *y);
            for (int64_t i = 0; i < half; i++) {
                int64_t one = at + (halves ? i : 2 * i), two = at + (halves ? i + half : 2 * i + 1);
                double angle = position * a->inv_freq[i];
                y[one] = (double)a->magnitude * (x[one] * cos(angle) - x[two] * sin(angle));
                y[two] = (double)a->magnitude * (x[one] * sin(angle) + x[two] * cos(angle));
            }
        }
    }
}

// Keys and values as attention meets them: for every row of the step, those of its sequence.
typedef struct keys {
    int64_t first, count; // positions [first, first+count)
    double *k, *v;        // [count][kv heads][dim]
} keys;

// Paged: what the cache holds now, read in canonical form (cf_cache_check judges what was written).
static keys keys_paged(cf_rig *rig, uint32_t s) {
    const gr_kv_desc *desc = &rig->cache.desc;
    const gr_step_group *group = &rig->groups[rig->cache_layer.group];
    int64_t end = rig->past[s] + rig->step.seq_rows[s + 1] - rig->step.seq_rows[s];
    keys found = {.first = (int64_t)group->first_page[s] * group->page_tokens};
    found.count = end > found.first ? end - found.first : 0;
    uint64_t wide[2] = {(uint64_t)desc->kv_heads * desc->k_dim,
                        (uint64_t)desc->kv_heads * desc->v_dim};
    for (uint32_t part = 0; part < 2; part++) {
        uint64_t size = (uint64_t)found.count * wide[part];
        double *to = cf_rig_alloc(rig, size * sizeof *to);
        float *from = cf_rig_alloc(rig, size * sizeof *from);
        bool good = cf_rig_cache_read(rig, s, found.first, found.count, part, from);
        for (uint64_t i = 0; i < size; i++)
            to[i] = good ? (double)from[i] : NAN;
        *(part ? &found.v : &found.k) = to;
    }
    return found;
}

static keys keys_dense(cf_rig *rig, const gr_node *node, uint32_t s) {
    const gr_attrs_attention *a = node->attrs;
    int64_t begin = rig->step.seq_rows[s], end = rig->step.seq_rows[s + 1];
    keys found = {.first = rig->past[s], .count = end - begin};
    found.k = (double *)(uintptr_t)in(rig, node, 1) + begin * a->kv_heads * a->k_dim;
    found.v = (double *)(uintptr_t)in(rig, node, 2) + begin * a->kv_heads * a->v_dim;
    return found;
}

static bool is_visible(const cf_rig *rig, const gr_attrs_attention *a, int64_t p, int64_t k) {
    int64_t distance = a->flags & GR_ATTENTION_BIDIRECTIONAL ? llabs(p - k) : p - k;
    int64_t window = a->window;
    if (window && rig->suite->plant == CF_PLANT_WINDOW_PLUS)
        window++;
    if (window && rig->suite->plant == CF_PLANT_WINDOW_MINUS)
        window--;
    return distance >= 0 && (!a->window || distance < window);
}

static double score_of(const cf_rig *rig, const gr_attrs_attention *a, const double *q,
                       const double *k) {
    double score = 0;
    for (uint32_t i = 0; i < a->k_dim; i++)
        score += q[i] * k[i];
    score *= (double)a->scale;
    if (a->softcap != 0.0f && rig->suite->plant != CF_PLANT_SOFTCAP)
        score = (double)a->softcap * tanh(score / (double)a->softcap);
    return score;
}

static void attend(cf_rig *rig, const gr_attrs_attention *a, const keys *from, int64_t p,
                   uint32_t head, const double *q, double *scores, double *y) {
    uint32_t kv = head / (a->heads / a->kv_heads);
    if (rig->suite->plant == CF_PLANT_GQA)
        kv = (kv + 1) % a->kv_heads;
    double largest = -INFINITY, total = 0;
    for (int64_t i = 0; i < from->count; i++) {
        scores[i] = -INFINITY;
        if (is_visible(rig, a, p, from->first + i))
            scores[i] = score_of(rig, a, q, from->k + ((uint64_t)i * a->kv_heads + kv) * a->k_dim);
        if (rig->suite->plant && isnan(scores[i])) // a defect may reach what was never written
            scores[i] = -INFINITY;
        largest = fmax(largest, scores[i]);
    }
    for (int64_t i = 0; i < from->count; i++) {
        if (scores[i] == -INFINITY)
            continue;
        double weight = exp(scores[i] - largest);
        total += weight;
        for (uint32_t j = 0; j < a->v_dim; j++)
            y[j] += weight * from->v[((uint64_t)i * a->kv_heads + kv) * a->v_dim + j];
    }
    for (uint32_t j = 0; j < a->v_dim; j++)
        y[j] = total == 0 ? 0 : y[j] / total;
}

static void attention(cf_rig *rig, const gr_node *node) {
    const gr_attrs_attention *a = node->attrs;
    const double *q = in(rig, node, 0);
    double *y = out(rig, node, 0);
    for (uint32_t s = 0; s < rig->step.seqs; s++) {
        keys from = a->flags & GR_ATTENTION_DENSE ? keys_dense(rig, node, s) : keys_paged(rig, s);
        double *scores = cf_rig_alloc(rig, (uint64_t)from.count * sizeof *scores);
        for (int64_t t = rig->step.seq_rows[s]; t < rig->step.seq_rows[s + 1]; t++) {
            for (uint32_t h = 0; h < a->heads; h++)
                attend(rig, a, &from, rig->step.positions[t], h, q + (t * a->heads + h) * a->k_dim,
                       scores, y + (t * a->heads + h) * a->v_dim);
        }
    }
}

static double activation(gr_activation kind, double x) {
    if (kind == GR_ACTIVATION_SILU)
        return x / (1 + exp(-x));
    if (kind == GR_ACTIVATION_GELU)
        return x * 0.5 * erfc(-x * 0.70710678118654752440);
    if (kind == GR_ACTIVATION_GELU_TANH)
        return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    return x > 0 || isnan(x) ? x : 0;
}

// How far an error of a product, which is judged by the size of its terms, reaches: sums add them, a gate takes them as
// far as it is steep there. GELU is a difference itself, x/2 + x/2 erf(..), and judged by the size of its terms.
static void pointwise_energy(cf_rig *rig, const gr_node *node, bool swapped) {
    const double *a = in(rig, node, swapped), *b = in(rig, node, !swapped),
                 *of_a = rig->energy[node->in[swapped]], *of_b = rig->energy[node->in[!swapped]];
    const bool glu = node->op == GR_OP_GLU;
    const gr_activation kind = glu ? ((const gr_attrs_glu *)node->attrs)->activation : GR_ACTIVATION_SILU;
    const bool gelu = kind == GR_ACTIVATION_GELU || kind == GR_ACTIVATION_GELU_TANH;
    uint64_t count = cf_rig_count(rig, &rig->values[node->out[0]], false);
    if (!of_a && !of_b && !gelu)
        return;
    double *energy = rig->energy[node->out[0]] = cf_rig_alloc(rig, count * sizeof *energy);
    for (uint64_t i = 0; i < count; i++) {
        const double size_a = energy_at(of_a, a, i), size_b = energy_at(of_b, b, i);
        energy[i] = size_a + size_b;
        if (!glu)
            continue;
        const double f = activation(kind, a[i]), h = 1e-5 * fmax(1, fabs(a[i])),
                     slope = (activation(kind, a[i] + h) - activation(kind, a[i] - h)) / (2 * h);
        energy[i] = gelu ? 0.25 * a[i] * a[i] * b[i] * b[i] : 0;
        if (of_a || of_b)
            energy[i] = fmax(energy[i], slope * slope * size_a * b[i] * b[i] + f * f * size_b);
    }
}

static void pointwise(cf_rig *rig, const gr_node *node) {
    bool swapped = node->op == GR_OP_GLU && rig->suite->plant == CF_PLANT_GATE;
    bool lost = node->op == GR_OP_ADD && rig->suite->plant == CF_PLANT_RESIDUAL;
    const double *a = in(rig, node, swapped), *b = in(rig, node, !swapped);
    if (node->op == GR_OP_GLU || node->op == GR_OP_ADD)
        pointwise_energy(rig, node, swapped);
    double *y = out(rig, node, 0);
    uint64_t count = cf_rig_count(rig, &rig->values[node->out[0]], false);
    for (uint64_t i = 0; i < count; i++) {
        switch (node->op) {
        case GR_OP_ADD: y[i] = lost ? b[i] : a[i] + b[i]; break;
        case GR_OP_MUL: y[i] = a[i] * b[i]; break;
        case GR_OP_SCALE:
            y[i] = a[i] * (double)((const gr_attrs_scale *)node->attrs)->factor;
            break;
        case GR_OP_GLU:
            y[i] = activation(((const gr_attrs_glu *)node->attrs)->activation, a[i]) * b[i];
            break;
        case GR_OP_CAST: y[i] = cf_round(((const gr_attrs_cast *)node->attrs)->dtype, a[i]); break;
        default: y[i] = a[i]; break; // COPY
        }
    }
}

static void softmax(cf_rig *rig, const gr_node *node) {
    const double *x = in(rig, node, 0);
    double *y = out(rig, node, 0);
    int64_t n = width(rig, node->in[0]);
    for (int64_t m = 0; m < rows(rig, node->in[0]); m++, x += n, y += n) {
        double largest = -INFINITY, total = 0;
        for (int64_t i = 0; i < n; i++)
            largest = fmax(largest, x[i]);
        for (int64_t i = 0; i < n; i++)
            total += largest == -INFINITY ? 0 : exp(x[i] - largest);
        for (int64_t i = 0; i < n; i++)
            y[i] = total == 0 ? 0 : exp(x[i] - largest) / total;
    }
}

static void gather_rows(cf_rig *rig, const gr_node *node) {
    const double *x = in(rig, node, 0), *index = in(rig, node, 1);
    double *y = out(rig, node, 0);
    int64_t d = width(rig, node->in[0]);
    for (int64_t r = 0; r < rows(rig, node->out[0]); r++)
        memcpy(y + r * d, x + (int64_t)index[r] * d, (size_t)d * sizeof *y);
}

static void mask_bits(cf_rig *rig, const gr_node *node) {
    const double *x = in(rig, node, 0), *bits = in(rig, node, 1);
    double *y = out(rig, node, 0);
    int64_t v = width(rig, node->in[0]), words = (v + 31) / 32;
    for (int64_t r = 0; r < rows(rig, node->in[0]); r++) {
        for (int64_t i = 0; i < v; i++) {
            int64_t bit = rig->suite->plant == CF_PLANT_MASK ? (i + 1) % v : i;
            bool keep = (int64_t)bits[r * words + bit / 32] >> (bit % 32) & 1;
            y[r * v + i] = keep ? x[r * v + i] : -INFINITY;
        }
    }
}

// Rank of each element by counting how many go before it.
static void topk(cf_rig *rig, const gr_node *node) {
    const double *x = in(rig, node, 0);
    double *values = out(rig, node, 0), *indices = out(rig, node, 1);
    int64_t n = width(rig, node->in[0]), k = width(rig, node->out[0]);
    bool later = rig->suite->plant == CF_PLANT_TIES;
    for (int64_t m = 0; m < rows(rig, node->in[0]); m++, x += n) {
        for (int64_t i = 0; i < n; i++) {
            int64_t before = 0;
            for (int64_t j = 0; j < n; j++)
                before += x[j] > x[i] || (x[j] == x[i] && (later ? j > i : j < i));
            if (before < k) {
                values[m * k + before] = x[i];
                indices[m * k + before] = (double)i;
            }
        }
    }
}

bool cf_oracle(cf_rig *rig) {
    for (uint32_t i = 0; i < rig->node_count; i++) {
        const gr_node *node = &rig->nodes[i];
        switch (node->op) {
        case GR_OP_EMBED: embed(rig, node); break;
        case GR_OP_RMS_NORM: rms_norm(rig, node); break;
        case GR_OP_MATMUL: matmul(rig, node); break;
        case GR_OP_ROPE: rope(rig, node); break;
        case GR_OP_KV_WRITE:
            value_of(rig, node->in[0]);
            value_of(rig, node->in[1]);
            break;
        case GR_OP_ATTENTION: attention(rig, node); break;
        case GR_OP_SOFTMAX: softmax(rig, node); break;
        case GR_OP_GATHER_ROWS: gather_rows(rig, node); break;
        case GR_OP_MASK_BITS: mask_bits(rig, node); break;
        case GR_OP_TOPK: topk(rig, node); break;
        case GR_OP_GLU:
        case GR_OP_ADD:
        case GR_OP_MUL:
        case GR_OP_SCALE:
        case GR_OP_CAST:
        case GR_OP_COPY: pointwise(rig, node); break;
        default:
            if (!node->subtree) // a composite is the sum of its decomposition
                return false;
        }
    }
    return true;
}
