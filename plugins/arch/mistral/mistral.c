// SPDX-License-Identifier: Apache-2.0
// mistral: files that call themselves Mistral ("mistral", "mistral3"). The decoder is Llama's with
// a window.
#include "plugins/arch/common/decoder.h"

static uint32_t match(const gr_model_file *file) {
    return decoder_architecture_is(file, "mistral") || decoder_architecture_is(file, "mistral3")
               ? 100
               : 0;
}

const gr_arch gr_arch_mistral = {.struct_size = sizeof(gr_arch),
                                 .name = "mistral",
                                 .match = match,
                                 .read_hparams = decoder_read_hparams,
                                 .build = decoder_build};
