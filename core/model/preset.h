// SPDX-License-Identifier: Apache-2.0
// preset.h: models known by shape and name, and what converters drop from their files. Inside the
// model room. The table is generated from configs/models/*.lua by configs/models/generate.c. Any
// thread.
#ifndef GREGALE_MODEL_PRESET_H
#define GREGALE_MODEL_PRESET_H

#include <stdbool.h>

#include "gregale/linked/arch.h"

typedef struct gr_preset {
    const char *name; // "Mistral-7B-v0.1"
    uint32_t layers, dim, ffn_dim, heads, kv_heads, head_dim;
    uint32_t vocab_low, vocab_high; // fine-tunes add a few tokens
    double rope_base;
    const char *const *names; // parts of a normal name ("mistral-7b-v0-1"); ends with NULL
    bool derivatives; // other names of the same shape are taken for fine-tunes of this model
    int64_t sliding_window; // to restore; -1: nothing
} gr_preset;

extern const gr_preset gr_presets[];
extern const uint32_t gr_preset_count;

// The preset that recognises `hparams`, or NULL. Shape, rope base and absence of rope scaling must
// agree; among those the one whose name agrees wins; a name that belongs to a preset of another
// shape is nobody's derivative. Sets *out_by_name to whether the name agreed.
const gr_preset *gr_preset_find(const gr_hparams *hparams, bool *out_by_name);

#endif
