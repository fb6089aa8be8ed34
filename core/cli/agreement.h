// SPDX-License-Identifier: Apache-2.0
// agreement.h: how well a text is predicted, and how far two predictions of every next token are apart.
// Inside the cli room. Probabilities are summed in F64, logarithms are natural.
#ifndef GREGALE_CLI_AGREEMENT_H
#define GREGALE_CLI_AGREEMENT_H

#include <stdbool.h>
#include <stdint.h>

// Mean and spread of numbers given one at a time.
typedef struct gr_tally {
    double sum, squares;
    uint64_t count;
} gr_tally;
void gr_tally_add(gr_tally *tally, double value);
double gr_tally_mean(const gr_tally *tally);
double gr_tally_error(const gr_tally *tally); // standard error of the mean, values taken as independent

// Natural logarithm of softmax(logits)[token] is logits[token] minus this.
double gr_log_total(const float *logits, uint32_t vocab);

// Zeroed to begin with; freed with gr_agreement_deinit.
typedef struct gr_agreement {
    gr_tally loss, reference_loss; // minus log-probability of the text's tokens
    gr_tally gap;                  // loss minus reference_loss, token by token
    gr_tally divergence;           // of the reference from what is measured, in nats
    double *divergences;           // [divergence.count], sorted by gr_agreement_quantile
    uint64_t capacity, same_top;
    bool failed;                   // no memory for divergences
} gr_agreement;

// Takes two predictions, F32[vocab], of `token`.
void gr_agreement_add(gr_agreement *agreement, const float *logits, const float *reference, uint32_t vocab, int32_t token);
// The divergence that a share `part` (0 to 1) of all tokens does not exceed.
double gr_agreement_quantile(gr_agreement *agreement, double part);
void gr_agreement_deinit(gr_agreement *agreement);

#endif
