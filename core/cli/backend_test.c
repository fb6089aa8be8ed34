// SPDX-License-Identifier: Apache-2.0
// backend_test.c: gregale backend test PLUGIN.so: hands over to the conformance suite.
#include "cli/backend.h"
#include "conformance/conformance.h"

int gr_backend_test(int argc, char **argv) {
    return gr_conformance_main(argc, argv);
}
