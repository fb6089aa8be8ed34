// SPDX-License-Identifier: Apache-2.0
// compare.c: whether an output is right: by normalised mean square error, row by row, and at worst.
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
    bool looser = rig->outliers && rig->precision == GR_PRECISION_Q8;
    double limit = cf_limit(looser ? GR_PRECISION_Q8_OUTLIERS : rig->precision);
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
                return op == GR_OP_GATHER_ROWS || op == GR_OP_MASK_BITS || op == GR_OP_TOPK || op == GR_OP_CAST ||
                       op == GR_OP_COPY;
        }
    }
    return false;
}

static bool compare_exact(const double *got, const double *exact, uint64_t count, char *why, size_t capacity) {
    for (uint64_t i = 0; i < count; i++) {
        if (!same(got[i], exact[i])) {
            snprintf(why, capacity, "element %llu is %.9g, expected exactly %.9g", (unsigned long long)i, got[i],
                     exact[i]);
            return false;
        }
    }
    return true;
}

typedef struct error_sums {
    double error, energy, largest;
    uint64_t at;
} error_sums;

// Adds up `count` elements; false when one is not even of the right kind.
static bool sum_up(const double *got, const double *exact, uint64_t count, error_sums *sums, char *why,
                   size_t capacity) {
    *sums = (error_sums){0};
    for (uint64_t i = 0; i < count; i++) {
        if (!isfinite(exact[i]) ? !same(got[i], exact[i]) : !isfinite(got[i])) {
            snprintf(why, capacity, "element %llu is %g, expected %.9g", (unsigned long long)i, got[i], exact[i]);
            return false;
        }
        if (!isfinite(exact[i]))
            continue;
        double error = got[i] - exact[i];
        sums->error += error * error;
        sums->energy += exact[i] * exact[i];
        if (fabs(error) > sums->largest) {
            sums->largest = fabs(error);
            sums->at = i;
        }
    }
    return true;
}

static bool compare_close(cf_rig *rig, const double *got, const double *exact, uint64_t rows, uint64_t width,
                          char *why, size_t capacity) {
    double limit = cf_rig_limit(rig);
    error_sums all;
    if (!sum_up(got, exact, rows * width, &all, why, capacity)) {
        rig->suite->worst = INFINITY;
        return false;
    }
    double nmse = all.error == 0.0 ? 0.0 : all.error / all.energy;
    if (!(nmse <= limit * rig->suite->worst))
        rig->suite->worst = nmse / limit;
    if (!(nmse <= limit)) {
        snprintf(why, capacity, "error %.2g, allowed %.2g (worst: element %llu is %.9g, expected %.9g)", nmse, limit,
                 (unsigned long long)all.at, got[all.at], exact[all.at]);
        return false;
    }
    double rms = sqrt(all.energy / (double)(rows * width));
    if (all.largest > 15 * sqrt(limit) * rms + 1e-37) {
        snprintf(why, capacity, "element %llu is %.9g, expected %.9g", (unsigned long long)all.at, got[all.at],
                 exact[all.at]);
        return false;
    }
    for (uint64_t r = 0; r < rows; r++) {
        error_sums row;
        sum_up(got + r * width, exact + r * width, width, &row, why, capacity);
        // A row far smaller than the others is measured by their scale.
        double scale = row.energy + 1e-6 * rms * rms * (double)width;
        if (row.error > 30 * limit * scale) {
            snprintf(why, capacity, "row %llu: error %.2g, allowed %.2g", (unsigned long long)r,
                     row.error / scale, 30 * limit);
            return false;
        }
    }
    return true;
}

bool cf_compare(cf_rig *rig, uint32_t id, char *why, size_t capacity) {
    const gr_value *value = &rig->values[id];
    uint64_t count = cf_rig_count(rig, value, false), width = (uint64_t)value->dims[value->rank - 1];
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
    return compare_close(rig, got, rig->exact[id], count / width, width, why, capacity);
}

bool cf_guards(cf_rig *rig, char *why, size_t capacity) {
    uint8_t *free_bytes = cf_rig_alloc(rig, rig->arena_bytes); // 1: a node may write here
    for (uint32_t v = 0; v < rig->value_count; v++) {
        const gr_value *value = &rig->values[v];
        if (value->kind == GR_VALUE_ACTIVATION && rig->written[v])
            memset(free_bytes + value->offset, 1, gr_dtype_row_bytes(value->dtype, cf_rig_count(rig, value, true)));
    }
    for (uint64_t i = 0; i < rig->arena_bytes; i++) {
        if (!free_bytes[i] && rig->before[i] != rig->after[i]) {
            snprintf(why, capacity, "arena byte %llu, outside every output, was changed", (unsigned long long)i);
            return false;
        }
    }
    return true;
}
