// SPDX-License-Identifier: Apache-2.0
// script.h: running a Lua workflow, in this process or in a sandbox. Inside the cli room.
#ifndef GREGALE_CLI_SCRIPT_H
#define GREGALE_CLI_SCRIPT_H

#include "cli/sandbox.h"

typedef struct gr_cli_script {
    gr_cli_sandbox sandbox;
    const char *path; // "-": standard input
    int argc;         // of the script
    char *const *argv;
} gr_cli_script;

// Takes the option argv[*at], which begins with "-"; false when it is none of these. A value may be
// the next argument, and *at goes there. Exits with USAGE or INPUT on nonsense.
bool gr_cli_script_option(gr_cli_script *script, int argc, char **argv, int *at);
// What `--help` says of these options.
extern const char gr_cli_script_help[];
// The value of the option `name` at argv[*at], "--name=value" or "--name value"; NULL when it is another. Exits with
// USAGE where the value is missing.
const char *gr_cli_script_value(int argc, char **argv, int *at, const char *name);
bool gr_cli_asks_for_help(const char *option);
int gr_cli_script_run(gr_cli_script *script);

#endif
