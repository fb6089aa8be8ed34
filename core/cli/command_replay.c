// SPDX-License-Identifier: Apache-2.0
// command_replay.c: gregale replay FILE: runs a recorded script again and says where it comes out differently first.
#include <inttypes.h>
#include <stdlib.h>

#include "cli/script.h"

static void print_help(void) {
    printf("Usage: gregale replay [OPTION...] FILE\n"
           "Run the script of FILE, which `gregale script --record FILE` wrote, with its arguments and seeds again, and\n"
           "report the first token that differs (exit code 1).\n\n"
           "  --device NAME           Everything the script loads or moves goes to this device\n%s",
           gr_cli_script_help);
}

static const char *parse(int argc, char **argv, gr_cli_script *script, gr_record *record) {
    const char *file = NULL;
    for (int at = 1; at < argc; at++) {
        const char *device;
        if (gr_cli_asks_for_help(argv[at])) {
            print_help();
            exit(GR_EXIT_OK);
        } else if (argv[at][0] != '-' && !file)
            file = argv[at];
        else if (argv[at][0] == '-' && (device = gr_cli_script_value(argc, argv, &at, "--device")) != NULL)
            record->device = device;
        else if (argv[at][0] != '-' || !gr_cli_script_option(script, argc, argv, &at))
            exit(gr_complain(GR_EXIT_USAGE, "replay: unexpected argument '%s'; see gregale replay --help", argv[at]));
    }
    if (!file)
        exit(gr_complain(GR_EXIT_USAGE, "replay: expected FILE; see gregale replay --help"));
    return file;
}

static int ended(void *context, int code, bool whole) {
    gr_cli_record *record = context;
    if (whole)
        gr_record_finish(&record->record);
    if (record->record.diverged)
        return gr_complain(GR_EXIT_FAILURE, "replay: %s", record->record.divergence);
    if (whole)
        fprintf(stderr, "gregale: replay: the same: answers and choices: %" PRIu64 ", their tokens: %" PRIu64 "\n",
                record->record.compared, record->record.compared_tokens);
    return code;
}

static int run(int argc, char **argv) {
    gr_cli_script script = {0};
    gr_cli_record record = {0};
    gr_cli_sandbox_init(&script.sandbox);
    const char *file = parse(argc, argv, &script, &record.record);
    int code = gr_cli_record_read(&record, file);
    if (!code)
        code = gr_cli_record_check_script(&record);
    if (!code && record.sandboxed && !script.sandbox.wanted)
        code = gr_complain(GR_EXIT_USAGE, "replay: %s: it was recorded in a sandbox; give --sandbox and its grants", file);
    if (!code) {
        script.path = record.script;
        script.argc = record.argument_count;
        script.argv = record.arguments;
        script.record = &record.record;
        script.ended = ended;
        script.context = &record;
        code = gr_cli_script_run(&script);
    }
    gr_cli_record_deinit(&record);
    gr_sandbox_deinit(&script.sandbox.budgets);
    return code;
}

const gr_command gr_command_replay = {"replay", "run a recorded script again and compare", run};
