// SPDX-License-Identifier: Apache-2.0
// top.c: the likeliest tokens of a vocabulary, by a heap of those found so far whose first is the least likely.
#include <math.h>

#include "gregale/engine.h"
#include "gregale/linked/sampler.h"

static bool comes_before(const float *logits, gr_token a, gr_token b) {
    const float x = isnan(logits[a]) ? -INFINITY : logits[a], y = isnan(logits[b]) ? -INFINITY : logits[b];
    return x > y || (x == y && a < b);
}

static void sink(const float *logits, gr_token_choice *heap, size_t count, size_t at) {
    const gr_token_choice sunk = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_before(logits, heap[child].token, heap[child + 1].token))
            child++;
        if (!comes_before(logits, sunk.token, heap[child].token))
            break;
        heap[at] = heap[child];
    }
    heap[at] = sunk;
}

size_t gr_logits_top(const float *logits, size_t vocab, size_t most, gr_token_choice *out_choices) {
    const size_t count = most < vocab ? most : vocab;
    if (!count)
        return 0;
    for (size_t i = 0; i < count; i++)
        out_choices[i] = (gr_token_choice){.token = (gr_token)i};
    for (size_t i = count / 2; i--;)
        sink(logits, out_choices, count, i);
    for (size_t i = count; i < vocab; i++) {
        if (!comes_before(logits, (gr_token)i, out_choices[0].token))
            continue;
        out_choices[0].token = (gr_token)i;
        sink(logits, out_choices, count, 0);
    }
    for (size_t i = count; i-- > 1;) {
        const gr_token_choice last = out_choices[0];
        out_choices[0] = out_choices[i];
        out_choices[i] = last;
        sink(logits, out_choices, i, 0);
    }
    const gr_likelihood likelihood = gr_likelihood_of(logits, vocab);
    for (size_t i = 0; i < count; i++)
        out_choices[i].log_probability = gr_likelihood_log(&likelihood, logits[out_choices[i].token]);
    return count;
}

double gr_logits_log_probability(const float *logits, size_t vocab, int32_t token) {
    return gr_log_probability(logits, vocab, token);
}
