// SPDX-License-Identifier: Apache-2.0
// iq4.h: the uneven levels that the GGUF format fixes for IQ4_NL and IQ4_XS.
#ifndef GREGALE_BACKENDS_CPU_IQ4_H
#define GREGALE_BACKENDS_CPU_IQ4_H

#include <stdint.h>

static const int8_t cpu_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

#endif
