// SPDX-License-Identifier: Apache-2.0
// devices.h: the devices that tests run on: those of this build, and apart from them far and the
// fault shim (tests/support), which is refused unless GREGALE_FAULT_PLUGIN names what it wraps.
#ifndef GREGALE_TESTS_DEVICES_H
#define GREGALE_TESTS_DEVICES_H

#include <stdlib.h>

static const char *const test_directories[] = {GREGALE_BINARY_DIR "/backends",
                                               GREGALE_BINARY_DIR "/tests/far",
                                               GREGALE_BINARY_DIR "/tests/fault", NULL};

// What a test that names no device runs on: GREGALE_TEST_DEVICE, else ref.
static inline const char *test_device(void) {
    const char *name = getenv("GREGALE_TEST_DEVICE");
    return name && *name ? name : "ref";
}

#endif
