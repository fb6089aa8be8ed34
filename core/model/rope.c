// SPDX-License-Identifier: Apache-2.0
// rope.c: tables of rotary frequencies, in F64. Backends turn by position * inv_freq[i] and know no
// rule.
#include <math.h>

#include "gregale/linked/arch.h"

static const double pi = 3.14159265358979323846;

// Llama 3.1's rule: long wavelengths are stretched by `factor`, short ones kept, those between
// blended.
static double scale_llama3(const gr_rope *rope, double frequency) {
    double wavelength = 2 * pi / frequency;
    double turns = (double)rope->original_context / wavelength;
    if (turns < rope->low_freq_factor)
        return frequency / rope->factor;
    if (turns > rope->high_freq_factor)
        return frequency;
    double blend =
        (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - blend) * frequency / rope->factor + blend * frequency;
}

// The pair index at which `turns` full turns fit into the original context (Peng et al. 2023,
// appendix A.2).
static double yarn_pair(const gr_rope *rope, double turns) {
    return rope->rotary_dim * log((double)rope->original_context / (turns * 2 * pi)) /
           (2 * log(rope->base));
}

// NTK-by-parts: fast pairs extrapolate, slow ones interpolate, a linear ramp between the two.
static void scale_yarn(const gr_rope *rope, double *frequencies) {
    double low = floor(yarn_pair(rope, rope->beta_fast)),
           high = ceil(yarn_pair(rope, rope->beta_slow));
    low = low > 0 ? low : 0;
    high = high < rope->rotary_dim - 1.0 ? high : rope->rotary_dim - 1.0;
    double width = high - low > 0.001 ? high - low : 0.001;
    for (uint32_t i = 0; i < rope->rotary_dim / 2; i++) {
        double ramp = (i - low) / width;
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        double kept = (1 - ramp) * rope->extrapolation_factor;
        frequencies[i] = frequencies[i] / rope->factor * (1 - kept) + frequencies[i] * kept;
    }
}

void gr_rope_table(const gr_rope *rope, const float *factors, double *out_inv_freq,
                   float *out_magnitude) {
    *out_magnitude = 1;
    for (uint32_t i = 0; i < rope->rotary_dim / 2; i++) {
        out_inv_freq[i] =
            pow(rope->base, -2.0 * i / rope->rotary_dim) / (factors ? (double)factors[i] : 1.0);
        if (rope->scaling == GR_ROPE_SCALING_LINEAR)
            out_inv_freq[i] /= rope->factor;
        else if (rope->scaling == GR_ROPE_SCALING_LLAMA3)
            out_inv_freq[i] = scale_llama3(rope, out_inv_freq[i]);
    }
    if (rope->scaling != GR_ROPE_SCALING_YARN)
        return;
    scale_yarn(rope, out_inv_freq);
    double derived = rope->factor > 1 ? 0.1 * log(rope->factor) + 1 : 1;
    *out_magnitude = (float)(rope->attention_factor > 0 ? rope->attention_factor : derived);
}
