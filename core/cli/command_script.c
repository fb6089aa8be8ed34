// SPDX-License-Identifier: Apache-2.0
// command_script.c: gregale script [OPTION...] FILE [ARG...]: runs a Lua workflow.
#include <stdlib.h>
#include <string.h>

#include "cli/script.h"

static void print_help(void) {
    printf("Usage: gregale script [OPTION...] FILE [ARG...]\n"
           "Run a Lua 5.4 workflow; `require \"gregale\"` gives it models, and `arg` holds its arguments.\n"
           "FILE may be - for standard input. A script that raises an error ends with exit code 6.\n\n"
           "%s",
           gr_cli_script_help);
}

// Options end where FILE begins.
static void parse(int argc, char **argv, gr_cli_script *script) {
    int at = 1;
    for (; at < argc && argv[at][0] == '-' && argv[at][1]; at++) {
        const char *option = argv[at];
        if (gr_cli_asks_for_help(option)) {
            print_help();
            exit(GR_EXIT_OK);
        }
        if (!gr_cli_script_option(script, argc, argv, &at))
            exit(gr_complain(GR_EXIT_USAGE, "script: unknown option '%s'; options of the script come after FILE", option));
    }
    if (at >= argc)
        exit(gr_complain(GR_EXIT_USAGE, "script: expected FILE; see gregale script --help"));
    script->path = argv[at];
    script->argc = argc - at - 1;
    script->argv = argv + at + 1;
}

static int run(int argc, char **argv) {
    gr_cli_script script = {0};
    gr_cli_sandbox_init(&script.sandbox);
    parse(argc, argv, &script);
    int code = gr_cli_script_run(&script);
    gr_sandbox_deinit(&script.sandbox.budgets);
    return code;
}

const gr_command gr_command_script = {"script", "run a Lua workflow", run};
