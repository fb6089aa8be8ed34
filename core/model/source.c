// SPDX-License-Identifier: Apache-2.0
// source.c: from a path to hyperparameters that hold for this run, and to the model's graph.
//
// Who decides the window: the user, else the file, else the preset that recognises the model.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gregale/linked/registry.h"
#include "model/file.h"
#include "model/model.h"
#include "model/preset.h"

static gr_status no_architecture(const gr_model_file *file, gr_error *error) {
    gr_str name = {0};
    char known[160] = "", found[33] = "";
    for (const gr_arch *const *arch = gr_linked_archs(); *arch; arch++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", known[0] ? ", " : "",
                 (*arch)->name);
    if (!gr_meta_get_string(file, "general.architecture", &name) || !name.size)
        return gr_fail(error, GR_ERROR_CORRUPT, "model",
                       "%s: general.architecture: expected one of %s, found none",
                       gr_path_tail(file->path), known);
    for (size_t i = 0; i < name.size && i + 1 < sizeof found; i++)
        found[i] = name.data[i] >= 0x20 && name.data[i] < 0x7f ? name.data[i] : '?';
    return gr_fail(error, GR_ERROR_UNSUPPORTED, "model",
                   "%s: general.architecture: expected one of %s, found '%s'",
                   gr_path_tail(file->path), known, found);
}

static gr_status find_architecture(const gr_model_file *file, const gr_arch **out_arch,
                                   gr_error *error) {
    uint32_t best = 0;
    *out_arch = NULL;
    for (const gr_arch *const *arch = gr_linked_archs(); *arch; arch++) {
        uint32_t answer = (*arch)->match(file);
        if (answer > best) {
            best = answer;
            *out_arch = *arch;
        }
    }
    return *out_arch ? GR_OK : no_architecture(file, error);
}

static void set_window(gr_hparams *hparams, int64_t window) {
    for (uint32_t i = 0; i < hparams->layers; i++)
        hparams->window[i] = (uint32_t)window;
}

static void apply_preset(gr_model_source *source) {
    bool by_name;
    const gr_preset *preset = gr_preset_find(&source->hparams, &by_name);
    if (!preset)
        return;
    source->preset = preset->name;
    if (preset->sliding_window < 0 || source->hparams.window_known)
        return;
    set_window(&source->hparams, preset->sliding_window);
    snprintf(source->notice, sizeof source->notice,
             "sliding window %" PRId64
             " restored (%s%s: the file states none; --sliding-window off to disable)",
             preset->sliding_window, by_name ? "" : "shape and rope base of ", preset->name);
}

static gr_status decide_window(gr_model_source *source, const gr_model_overrides *overrides,
                               gr_error *error) {
    int64_t wanted = overrides ? overrides->sliding_window : GR_WINDOW_FROM_FILE;
    apply_preset(source);
    if (wanted == GR_WINDOW_FROM_FILE)
        return GR_OK;
    if (wanted < 0 || wanted > INT32_MAX)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "model",
                       "sliding window: expected 0 (off) to %" PRId32 ", found %" PRId64, INT32_MAX,
                       wanted);
    set_window(&source->hparams, wanted);
    source->notice[0] = '\0';
    return GR_OK;
}

gr_status gr_model_source_open(const char *path, const gr_model_overrides *overrides,
                               gr_model_source **out_source, gr_error *error) {
    *out_source = NULL;
    gr_model_source *source = calloc(1, sizeof *source);
    if (!source)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "model", "%s: no memory to open this file",
                       gr_path_tail(path));
    gr_status status = gr_model_file_open(path, &source->file, error);
    if (status == GR_OK)
        status = find_architecture(source->file, &source->arch, error);
    if (status == GR_OK)
        status = source->arch->read_hparams(source->file, &source->hparams, error);
    if (status == GR_OK)
        status = decide_window(source, overrides, error);
    if (status != GR_OK) {
        gr_model_source_close(source);
        return status;
    }
    *out_source = source;
    return GR_OK;
}

void gr_model_source_close(gr_model_source *source) {
    if (!source)
        return;
    gr_model_file_close(source->file);
    free(source);
}
