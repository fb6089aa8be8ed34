// SPDX-License-Identifier: Apache-2.0
// decoder.h: what the Llama-like decoders share: reading their hyperparameters, emitting their
// graph. Private to plugins/arch. Threads: pure functions of their arguments.
//
// The decoder (Touvron et al. 2023, arXiv 2302.13971; Jiang et al. 2023, arXiv 2310.06825): token
// embedding; per layer an attention block (RMS norm, grouped queries, RoPE, optional window) and a
// gated feed-forward block, each with a residual; RMS norm; output head.
#ifndef GREGALE_ARCH_DECODER_H
#define GREGALE_ARCH_DECODER_H

#include "gregale/linked/arch.h"

// Whether general.architecture is exactly `name`.
bool decoder_architecture_is(const gr_model_file *file, const char *name);
// Reads and checks everything a decoder needs from "<architecture>.*", as gr_arch.read_hparams.
gr_status decoder_read_hparams(const gr_model_file *file, gr_hparams *out_hparams, gr_error *error);
// Emits the graph, as gr_arch.build. Outputs: "logits" [R, vocab] and "hidden" [R, dim], the normed
// rows.
void decoder_build(gr_builder *builder, const gr_hparams *hparams);

#endif
