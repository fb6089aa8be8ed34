// SPDX-License-Identifier: Apache-2.0
// model.h: what a model file says, made usable: hyperparameters, presets, weights by name.
// Inside the core. Threads: a gr_model_source is immutable once opened; any thread.
#ifndef GREGALE_MODEL_MODEL_H
#define GREGALE_MODEL_MODEL_H

#include <stdbool.h>

#include "base/log.h"
#include "graph/graph.h"
#include "gregale/linked/arch.h"
#include "gregale/linked/format.h"

// What the user, or a preset, wants different from the file.
#define GR_WINDOW_FROM_FILE (-1)
typedef struct gr_model_overrides {
    int64_t sliding_window; // GR_WINDOW_FROM_FILE, 0: off, or a number for every layer
} gr_model_overrides;

// A model opened but not loaded: file, architecture, hyperparameters.
typedef struct gr_model_source {
    gr_model_file *file;
    const gr_arch *arch;
    gr_hparams hparams;
    const char *preset; // name of the preset that recognised the model ("Mistral-7B-v0.1"), or NULL
    char notice[256];   // one line when a preset restored something, else empty
} gr_model_source;

// Opens `path`, finds its architecture, reads hyperparameters, applies the preset that recognises
// it (unless `overrides` says otherwise). Presets are the compiled-in table that CMake generates
// from configs/models/*.lua, matched by shape and name fingerprint.
gr_status gr_model_source_open(const char *path, const gr_model_overrides *overrides,
                               gr_model_source **out_source, gr_error *error);
void gr_model_source_close(gr_model_source *source);
// The graph of the model; every weight is checked for presence, dtype and shape. A tensor of the
// file that no node reads is UNSUPPORTED: the model means more than its architecture knows. The
// graph borrows nothing from the source.
gr_status gr_model_source_graph(const gr_model_source *source, gr_graph **out_graph,
                                gr_error *error);

// Cache bytes that `context` positions of one session take at most, at `kv_dtype`: with windows,
// and as if there were none. A layer with window W takes ceil((W + reserve) / page_tokens) + 1
// pages; page_tokens is at least 1. Saturates at UINT64_MAX.
void gr_model_cache_bytes(const gr_hparams *hparams, uint64_t context, gr_dtype kv_dtype,
                          uint32_t page_tokens, uint32_t reserve, uint64_t *out_bytes,
                          uint64_t *out_full_bytes);

#endif
