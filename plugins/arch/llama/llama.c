// SPDX-License-Identifier: Apache-2.0
// llama: the Llama family, and most files of the Mistral family: converters write "llama" for both.
#include "plugins/arch/common/decoder.h"

static uint32_t match(const gr_model_file *file) {
    return decoder_architecture_is(file, "llama") ? 100 : 0;
}

const gr_arch gr_arch_llama = {.struct_size = sizeof(gr_arch),
                               .name = "llama",
                               .match = match,
                               .read_hparams = decoder_read_hparams,
                               .build = decoder_build};
