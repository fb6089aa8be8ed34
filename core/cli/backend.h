// SPDX-License-Identifier: Apache-2.0
// backend.h: the parts of `gregale backend`. Inside the cli room.
#ifndef GREGALE_CLI_BACKEND_H
#define GREGALE_CLI_BACKEND_H

#include "cli/cli.h"

// Each parses its own arguments (argv[0] is "gregale backend NAME") and returns an exit code.
int gr_backend_new(int argc, char **argv);
int gr_backend_test(int argc, char **argv);
int gr_backend_bench(int argc, char **argv);

// A plugin's file as the loader takes it: a bare name is one in this folder, not one among the libraries.
const char *gr_backend_path(const char *path, char *buffer, size_t capacity);

#endif
