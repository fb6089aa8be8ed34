// SPDX-License-Identifier: Apache-2.0
// command_script.c: gregale script [OPTION...] [FILE [ARG...]]: runs a Lua workflow, or talks Lua at a terminal.
#include <stdlib.h>
#include <string.h>

#include "cli/script.h"

static void print_help(void) {
    printf("Usage: gregale script [OPTION...] [FILE [ARG...]]\n"
           "Run a Lua 5.4 workflow; `require \"gregale\"` gives it models, and `arg` holds its arguments.\n"
           "Without FILE it is a Lua prompt at a terminal, else the script is standard input, as with -.\n"
           "A script that raises an error ends with exit code 6.\n\n"
           "  --record FILE           Note seeds and tokens in FILE, for `gregale replay`\n%s",
           gr_cli_script_help);
}

// Options end where FILE begins. Sets *out_record to the file of --record.
static void parse(int argc, char **argv, gr_cli_script *script, const char **out_record) {
    int at = 1;
    for (; at < argc && argv[at][0] == '-' && argv[at][1]; at++) {
        const char *record, *option = argv[at];
        if (gr_cli_asks_for_help(option)) {
            print_help();
            exit(GR_EXIT_OK);
        } else if ((record = gr_cli_script_value(argc, argv, &at, "--record")) != NULL)
            *out_record = record;
        else if (!gr_cli_script_option(script, argc, argv, &at))
            exit(gr_complain(GR_EXIT_USAGE, "script: unknown option '%s'; options of the script come after FILE", option));
    }
    bool talks = !script->sandbox.wanted && !*out_record && gr_is_terminal(stdin) && gr_is_terminal(stdout);
    script->path = at < argc ? argv[at] : talks ? NULL : "-";
    script->argc = at < argc ? argc - at - 1 : 0;
    script->argv = argv + at + (at < argc);
}

static int ended(void *context, int code, bool whole) {
    (void)whole;
    return gr_cli_record_commit(context, code);
}

static int run(int argc, char **argv) {
    gr_cli_script script = {0};
    gr_cli_record record = {0};
    const char *file = NULL;
    gr_cli_sandbox_init(&script.sandbox);
    parse(argc, argv, &script, &file);
    int code = GR_EXIT_OK;
    if (file && strcmp(script.path, "-") == 0)
        code = gr_complain(GR_EXIT_USAGE, "script: --record: expected a script that is a file");
    else if (file) {
        code = gr_cli_record_write(&record, file, script.path, script.argc, script.argv, script.sandbox.wanted);
        script.record = &record.record;
        script.ended = ended;
        script.context = &record;
    }
    if (!code)
        code = gr_cli_script_run(&script);
    gr_cli_record_deinit(&record);
    gr_sandbox_deinit(&script.sandbox.budgets);
    return code;
}

const gr_command gr_command_script = {"script", "run a Lua workflow", run};
