// SPDX-License-Identifier: Apache-2.0
// preset.c: recognising a model by its shape and name.
#include "model/preset.h"

#include <string.h>

// Lower case, runs of anything but letters and digits as one '-': spellings of a name become equal.
static void normalise(const char *name, char *out_text, size_t capacity) {
    size_t size = 0;
    for (; *name && size + 1 < capacity; name++) {
        char c = *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            out_text[size++] = c;
        else if (size && out_text[size - 1] != '-')
            out_text[size++] = '-';
    }
    out_text[size] = '\0';
}

static bool shape_agrees(const gr_preset *preset, const gr_hparams *h) {
    return h->layers == preset->layers && h->dim == preset->dim && h->ffn_dim == preset->ffn_dim &&
           h->heads == preset->heads && h->kv_heads == preset->kv_heads &&
           h->head_dim == preset->head_dim && h->v_dim == preset->head_dim &&
           h->vocab >= preset->vocab_low && h->vocab <= preset->vocab_high &&
           h->rope.base == preset->rope_base && h->rope.scaling == GR_ROPE_SCALING_NONE &&
           !h->rope.factors;
}

static bool name_agrees(const gr_preset *preset, const char *name) {
    for (const char *const *part = preset->names; *part; part++)
        if (strstr(name, *part))
            return true;
    return false;
}

const gr_preset *gr_preset_find(const gr_hparams *hparams, bool *out_by_name) {
    char name[sizeof hparams->name];
    const gr_preset *derived = NULL;
    bool name_taken = false;
    *out_by_name = false;
    normalise(hparams->name, name, sizeof name);
    for (uint32_t i = 0; i < gr_preset_count; i++) {
        const gr_preset *preset = &gr_presets[i];
        bool named = name_agrees(preset, name), shaped = shape_agrees(preset, hparams);
        *out_by_name = named && shaped;
        if (*out_by_name)
            return preset;
        name_taken |= named;
        if (shaped && preset->derivatives && !derived)
            derived = preset;
    }
    return name_taken ? NULL : derived;
}
