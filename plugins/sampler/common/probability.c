// SPDX-License-Identifier: Apache-2.0
// probability.c: how likely a token is among all of a vocabulary. Every token that is chosen or scored asks this, so loops
// are written in lanes and pairs, of which compilers make vectors.
#include "plugins/sampler/common/common.h"

enum { LANES = 16 };

// NaN counts for nothing; -infinity when there is no number.
float gr_logits_largest(const float *logits, size_t count) {
    float lanes[LANES], largest = -INFINITY;
    size_t i = 0;
    for (int l = 0; l < LANES; l++)
        lanes[l] = -INFINITY;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] = logits[i + l] > lanes[l] ? logits[i + l] : lanes[l];
    for (; i < count; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    for (int l = 0; l < LANES; l++)
        largest = lanes[l] > largest ? lanes[l] : largest;
    return largest;
}

// Two numbers of 64 bits, which every processor of 64 bits has instructions for.
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_bits __attribute__((vector_size(16)));

// e^x for x <= 0, to 1e-11 of itself: 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and e^r by its Taylor polynomial
// of degree 9. What is below -700, or NaN, counts as -700. Adding 1.5 * 2^52 rounds to a whole number, which then stands in
// the last bits.
static inline pair exp_down(pair x) {
    const double big = 6755399441055744.0 + 1023;
    const pair_bits kept = x > -700;
    x = (pair)((kept & (pair_bits)x) | (~kept & (pair_bits)((pair){0} - 700)));
    const pair n = x * 1.4426950408889634 + big, r = x - (n - big) * 0.6931471805599453;
    pair p = r * (1.0 / 362880) + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * (pair)((pair_bits)n << 52);
}

// Of e^(logit - largest), where the largest is finite.
static double sum_exp(const float *logits, size_t count, double largest) {
    enum { PAIRS = 4 };
    pair sums[PAIRS] = {{0}};
    size_t i = 0;
    for (; i + 2 * PAIRS <= count; i += 2 * PAIRS)
        for (int k = 0; k < PAIRS; k++)
            sums[k] += exp_down((pair){logits[i + 2 * k], logits[i + 2 * k + 1]} - largest);
    for (; i < count; i++)
        sums[0] += (pair){exp_down((pair){logits[i]} - largest)[0], 0};
    const pair sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    return sum[0] + sum[1];
}

gr_likelihood gr_likelihood_of(const float *logits, size_t vocab) {
    const float largest = gr_logits_largest(logits, vocab);
    size_t infinite = 0; // these share everything evenly
    if (isfinite(largest))
        return (gr_likelihood){largest, log(sum_exp(logits, vocab, largest))};
    for (size_t i = 0; i < vocab; i++)
        infinite += logits[i] == largest;
    return (gr_likelihood){largest, log((double)infinite)};
}

double gr_likelihood_log(const gr_likelihood *of, float logit) {
    if (!(logit > -INFINITY) || (of->largest == INFINITY && logit < of->largest))
        return -INFINITY;
    return (of->largest < INFINITY ? (double)logit - of->largest : 0) - of->log_sum;
}

double gr_log_probability(const float *logits, size_t vocab, gr_token token) {
    const gr_likelihood likelihood = gr_likelihood_of(logits, vocab);
    return gr_likelihood_log(&likelihood, logits[token]);
}
