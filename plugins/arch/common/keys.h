// SPDX-License-Identifier: Apache-2.0
// keys.h: metadata of one architecture, read with ranges and one-line errors. Private to
// plugins/arch.
#ifndef GREGALE_ARCH_KEYS_H
#define GREGALE_ARCH_KEYS_H

#include "gregale/linked/format.h"

// Looks keys up under "<architecture>."; the first failure sticks and later reads do nothing.
typedef struct arch_keys {
    const gr_model_file *file;
    const char *path; // for messages
    char architecture[32];
    gr_status status;
    gr_error *error;
} arch_keys;

gr_status arch_keys_init(arch_keys *keys, const gr_model_file *file, gr_error *error);
// Fails with "PATH: <architecture>.<suffix>: ...".
GR_PRINTF(4, 5)
gr_status arch_keys_fail(arch_keys *keys, gr_status code, const char *suffix, const char *format,
                         ...);
// The value of "<architecture>.<suffix>", or NULL.
const gr_meta *arch_keys_find(const arch_keys *keys, const char *suffix);
// A whole number from `low` to `high`. `fallback` when the key is absent; fails when `required` and
// absent.
uint32_t arch_keys_u32(arch_keys *keys, const char *suffix, uint32_t low, uint32_t high,
                       bool required, uint32_t fallback);
// The same, where files may also write a list with one equal entry a layer.
uint32_t arch_keys_uniform(arch_keys *keys, const char *suffix, uint32_t low, uint32_t high,
                           bool required, uint32_t fallback);
// A finite number from `low` to `high`, or `fallback` when absent.
double arch_keys_f64(arch_keys *keys, const char *suffix, double low, double high, double fallback);

#endif
