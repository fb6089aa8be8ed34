// SPDX-License-Identifier: Apache-2.0
// script.h: running a Lua workflow, as `script` and `replay` do. Inside the cli room.
#ifndef GREGALE_CLI_SCRIPT_H
#define GREGALE_CLI_SCRIPT_H

#include "cli/record.h"
#include "cli/sandbox.h"

typedef struct gr_cli_script {
    gr_cli_sandbox sandbox;
    const char *path; // "-": standard input; NULL: a prompt at the terminal
    int argc;         // of the script
    char *const *argv;
    gr_record *record; // may be NULL
    // Called in the script's process once it has ended with the exit code `code`, `whole` when at its end or by os.exit;
    // returns the program's. May be NULL.
    int (*ended)(void *context, int code, bool whole);
    void *context;
} gr_cli_script;

// Takes the option argv[*at], which begins with "-"; false when `script` and `replay` have none such. A value may be
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
