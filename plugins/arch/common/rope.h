// SPDX-License-Identifier: Apache-2.0
// rope.h: rotary embedding of a decoder, from its keys. Private to plugins/arch.
#ifndef GREGALE_ARCH_ROPE_H
#define GREGALE_ARCH_ROPE_H

#include "gregale/linked/arch.h"
#include "plugins/arch/common/keys.h"

// Fills hparams->rope from "<architecture>.rope.*" and rope_freqs.weight; head_dim and
// context_train are read before.
gr_status decoder_read_rope(arch_keys *keys, gr_hparams *hparams);

#endif
