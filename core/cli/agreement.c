// SPDX-License-Identifier: Apache-2.0
#include "cli/agreement.h"

#include <math.h>
#include <stdlib.h>

void gr_tally_add(gr_tally *tally, double value) {
    tally->sum += value;
    tally->squares += value * value;
    tally->count++;
}

double gr_tally_mean(const gr_tally *tally) {
    return tally->sum / (double)tally->count;
}

double gr_tally_error(const gr_tally *tally) {
    double n = (double)tally->count, mean = gr_tally_mean(tally);
    double variance = n > 1 ? (tally->squares - n * mean * mean) / (n - 1) : 0;
    return sqrt(variance > 0 ? variance / n : 0);
}

static uint32_t largest_of(const float *logits, uint32_t vocab) {
    uint32_t largest = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[largest])
            largest = i;
    return largest;
}

double gr_log_total(const float *logits, uint32_t vocab) {
    double largest = (double)logits[largest_of(logits, vocab)], sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - largest);
    return largest + log(sum);
}

// Sum over all tokens of p * (log p - log q), where log p = reference - its total, which is returned too.
static double divergence_of(const float *logits, double total, const float *reference, uint32_t vocab, double *out_total) {
    double largest = (double)reference[largest_of(reference, vocab)], sum = 0, gap = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        double share = exp((double)reference[i] - largest);
        sum += share;
        if (share > 0) // else the logit may be infinite
            gap += share * ((double)reference[i] - (double)logits[i]);
    }
    *out_total = largest + log(sum);
    return gap / sum - (*out_total - total);
}

static void keep_divergence(gr_agreement *agreement, double value) {
    if (agreement->divergence.count == agreement->capacity) {
        uint64_t capacity = agreement->capacity * 2 + 1024;
        double *grown = realloc(agreement->divergences, capacity * sizeof *grown);
        if (!grown) {
            agreement->failed = true;
            return;
        }
        agreement->divergences = grown;
        agreement->capacity = capacity;
    }
    agreement->divergences[agreement->divergence.count] = value;
    gr_tally_add(&agreement->divergence, value);
}

void gr_agreement_add(gr_agreement *agreement, const float *logits, const float *reference, uint32_t vocab, int32_t token) {
    double reference_total, total = gr_log_total(logits, vocab);
    keep_divergence(agreement, divergence_of(logits, total, reference, vocab, &reference_total));
    double loss = total - (double)logits[token], reference_loss = reference_total - (double)reference[token];
    gr_tally_add(&agreement->loss, loss);
    gr_tally_add(&agreement->reference_loss, reference_loss);
    gr_tally_add(&agreement->gap, loss - reference_loss);
    agreement->same_top += largest_of(logits, vocab) == largest_of(reference, vocab);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gr_agreement_quantile(gr_agreement *agreement, double part) {
    uint64_t count = agreement->divergence.count;
    if (!count)
        return NAN;
    qsort(agreement->divergences, count, sizeof *agreement->divergences, by_size);
    uint64_t rank = (uint64_t)ceil(part * (double)count);
    return agreement->divergences[rank ? rank - 1 : 0];
}

void gr_agreement_deinit(gr_agreement *agreement) {
    free(agreement->divergences);
    *agreement = (gr_agreement){0};
}
