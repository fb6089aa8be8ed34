// SPDX-License-Identifier: Apache-2.0
// compare.c: whether an output is right: by normalised mean square error, row by row, and at worst.
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

double cf_limit(gr_precision precision) {
    switch (precision) {
    case GR_PRECISION_F32: return 1e-10;
    case GR_PRECISION_F16: return 5e-7;
    case GR_PRECISION_BF16: return 1e-5;
    case GR_PRECISION_Q8: return 1e-4;
    case GR_PRECISION_Q8_OUTLIERS: return 5e-4;
    default: return 0.0; // a class nobody defined
    }
}

double cf_rig_limit(const cf_rig *rig) {
    bool quantised = rig->precision == GR_PRECISION_Q8 || rig->suite->plant >= CF_PLANT_ROW_SCALE;
    double limit = cf_limit(!quantised      ? rig->precision
                            : rig->outliers ? GR_PRECISION_Q8_OUTLIERS
                                            : GR_PRECISION_Q8);
    return rig->slack > 1.0 ? limit * rig->slack : limit;
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

// Ops that compute nothing: their outputs are exact.
static bool is_exact(const cf_rig *rig, uint32_t value) {
    for (uint32_t i = 0; i < rig->node_count; i++) {
        for (uint32_t o = 0; o < rig->nodes[i].out_count; o++) {
            gr_op op = rig->nodes[i].op;
            if (rig->nodes[i].out[o] == value)
                return op == GR_OP_GATHER_ROWS || op == GR_OP_MASK_BITS || op == GR_OP_TOPK ||
                       op == GR_OP_CAST || op == GR_OP_COPY;
        }
    }
    return false;
}

static bool compare_exact(const double *got, const double *exact, uint64_t count, char *why,
                          size_t capacity) {
    for (uint64_t i = 0; i < count; i++) {
        if (!same(got[i], exact[i])) {
            snprintf(why, capacity, "element %llu is %.9g, expected exactly %.9g",
                     (unsigned long long)i, got[i], exact[i]);
            return false;
        }
    }
    return true;
}

// What is compared: `count` elements from `got` on. `energy` may be NULL.
typedef struct span {
    const double *got, *exact, *energy;
    uint64_t count;
} span;

typedef struct error_sums {
    double error, energy;
} error_sums;

static span part(const span *whole, uint64_t begin, uint64_t count) {
    return (span){whole->got + begin, whole->exact + begin,
                  whole->energy ? whole->energy + begin : NULL, count};
}

// The size that an element's error is measured by, squared.
static double energy_of(const span *s, uint64_t i) {
    double energy = s->exact[i] * s->exact[i];
    return s->energy && s->energy[i] > energy ? s->energy[i] : energy;
}

static error_sums sum_up(const span *s) {
    error_sums sums = {0, 0};
    for (uint64_t i = 0; i < s->count; i++) {
        if (!isfinite(s->exact[i]))
            continue;
        double error = s->got[i] - s->exact[i];
        sums.error += error * error;
        sums.energy += energy_of(s, i);
    }
    return sums;
}

// Whether every element is at least of the right kind: finite, or the same infinity or NaN.
static bool kinds_match(const span *s, char *why, size_t capacity) {
    for (uint64_t i = 0; i < s->count; i++) {
        if (isfinite(s->exact[i]) ? !isfinite(s->got[i]) : !same(s->got[i], s->exact[i])) {
            snprintf(why, capacity, "element %llu is %g, expected %.9g", (unsigned long long)i,
                     s->got[i], s->exact[i]);
            return false;
        }
    }
    return true;
}

static bool rows_close(const span *s, uint64_t width, double limit, double mean, char *why,
                       size_t capacity) {
    for (uint64_t at = 0; at < s->count; at += width) {
        span row = part(s, at, width);
        error_sums sums = sum_up(&row);
        // A row far smaller than the others is measured by their scale.
        double scale = sums.energy + 1e-6 * mean * (double)width;
        if (sums.error > 30 * limit * scale) {
            snprintf(why, capacity, "row %llu: error %.2g, allowed %.2g",
                     (unsigned long long)(at / width), sums.error / scale, 30 * limit);
            return false;
        }
    }
    return true;
}

static bool elements_close(const span *s, double limit, double mean, char *why, size_t capacity) {
    for (uint64_t i = 0; i < s->count; i++) {
        double allowed = sqrt(limit) * (15 * sqrt(mean) + 5 * sqrt(energy_of(s, i))) + 1e-37;
        if (isfinite(s->exact[i]) && fabs(s->got[i] - s->exact[i]) > allowed) {
            snprintf(why, capacity, "element %llu is %.9g, expected %.9g", (unsigned long long)i,
                     s->got[i], s->exact[i]);
            return false;
        }
    }
    return true;
}

static bool compare_close(cf_rig *rig, const span *s, uint64_t width, char *why, size_t capacity) {
    // The class bounds a mean over many roundings; a few stray further from it. The outputs of one
    // row share the rounding of its inputs, so they count as four.
    double samples = fmin((double)s->count, 4 * (double)(s->count / width)),
           limit = cf_rig_limit(rig) * (1 + 8 / samples);
    if (!kinds_match(s, why, capacity)) {
        rig->suite->worst = INFINITY;
        return false;
    }
    error_sums all = sum_up(s);
    double nmse = all.error == 0.0 ? 0.0 : all.error / all.energy,
           mean = all.energy / (double)s->count;
    if (!(nmse <= limit * rig->suite->worst))
        rig->suite->worst = nmse / limit;
    if (!(nmse <= limit)) {
        snprintf(why, capacity, "error %.2g, allowed %.2g", nmse, limit);
        return false;
    }
    return rows_close(s, width, limit, mean, why, capacity) &&
           elements_close(s, limit, mean, why, capacity);
}

// Where the exact value is no number that F32 holds, neither is what was computed (and NaN is NaN,
// unless activations are rounded first); elsewhere each row is measured by itself, so that a strange
// one says nothing about the others.
static bool compare_special(const cf_rig *rig, const span *s, uint64_t width, char *why,
                            size_t capacity) {
    for (uint64_t at = 0; at < s->count; at += width) {
        double energy = 0, count = 0;
        for (uint64_t i = at; i < at + width; i++) {
            bool ordinary = fabs(s->exact[i]) <= (double)FLT_MAX;
            energy += ordinary ? energy_of(s, i) : 0;
            count += ordinary;
        }
        for (uint64_t i = at; i < at + width; i++) {
            double exact = s->exact[i], got = s->got[i], root = sqrt(cf_rig_limit(rig));
            bool ordinary = fabs(exact) <= (double)FLT_MAX, good = !isfinite(got);
            if (ordinary)
                good = fabs(got - exact) <=
                       root * (15 * sqrt(energy / count) + 5 * sqrt(energy_of(s, i))) + 1e-37;
            else if (isnan(exact) && rig->precision == GR_PRECISION_F32)
                good = isnan(got);
            if (!good) {
                snprintf(why, capacity, "row %llu, element %llu is %.9g, expected %.9g",
                         (unsigned long long)(at / width), (unsigned long long)(i - at), got,
                         exact);
                return false;
            }
        }
    }
    return true;
}

bool cf_compare(cf_rig *rig, uint32_t id, char *why, size_t capacity) {
    const gr_value *value = &rig->values[id];
    uint64_t count = cf_rig_count(rig, value, false),
             width = (uint64_t)value->dims[value->rank - 1];
    if (!count)
        return true;
    double *got = cf_rig_alloc(rig, count * sizeof *got);
    cf_decode(value->dtype, rig->after + value->offset, count, got, CF_PLANT_NONE);
    if (!rig->exact[id]) {
        snprintf(why, capacity, "the oracle has no value %u", id);
        return false;
    }
    if (is_exact(rig, id))
        return compare_exact(got, rig->exact[id], count, why, capacity);
    span all = {got, rig->exact[id], rig->energy[id], count};
    return rig->special ? compare_special(rig, &all, width, why, capacity)
                        : compare_close(rig, &all, width, why, capacity);
}

bool cf_guards(cf_rig *rig, char *why, size_t capacity) {
    uint8_t *free_bytes = cf_rig_alloc(rig, rig->arena_bytes); // 1: a node may write here
    for (uint32_t v = 0; v < rig->value_count; v++) {
        const gr_value *value = &rig->values[v];
        if (value->kind == GR_VALUE_ACTIVATION && rig->written[v])
            memset(free_bytes + value->offset, 1,
                   gr_dtype_row_bytes(value->dtype, cf_rig_count(rig, value, true)));
    }
    for (uint64_t i = 0; i < rig->arena_bytes; i++) {
        if (!free_bytes[i] && rig->before[i] != rig->after[i]) {
            snprintf(why, capacity, "arena byte %llu, outside every output, was changed",
                     (unsigned long long)i);
            return false;
        }
    }
    return true;
}
