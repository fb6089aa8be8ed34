// SPDX-License-Identifier: Apache-2.0
// command_devices.c: gregale devices: what this machine can run on, and why.
#include <string.h>

#include "cli/cli.h"

static error_t parse_extra(int key, char *value, void *context) {
    (void)value;
    if (key != 'w')
        return ARGP_ERR_UNKNOWN;
    *(bool *)context = true;
    return 0;
}

static void print_table(const gr_engine *engine) {
    printf("%-10s %10s  %s\n", "DEVICE", "MEMORY", "DESCRIPTION");
    for (uint32_t i = 0; i < gr_engine_device_count(engine); i++) {
        gr_device_info info = {.struct_size = sizeof info};
        gr_engine_device(engine, i, &info);
        printf("%-10s %6.1f GiB  %s\n", info.name, (double)info.memory_bytes / 1073741824.0, info.description);
    }
}

static int run(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"why", 'w', NULL, 0, "The facts that mattered, plugins found or refused, scores, the decision", 0}, {0}};
    gr_cli cli = {0};
    bool why = false;
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL};
    gr_options_parse(argc, argv, &options, "", "List the devices, best first.", extra, parse_extra, &why);
    int code = gr_cli_open_engine(&cli, &options);
    if (!code && (why || options.json)) {
        char *text;
        if (gr_engine_why(cli.engine, options.json, &text, &cli.error) != GR_OK)
            code = gr_report(&cli.error);
        else
            printf("%s%s", text, text[0] && text[strlen(text) - 1] == '\n' ? "" : "\n");
        if (!code)
            gr_text_free(text);
    } else if (!code) {
        print_table(cli.engine);
    }
    if (!code && !gr_engine_device_count(cli.engine))
        code = gr_complain(GR_EXIT_DEVICE, "no device: no backend plugin was found; `gregale devices --why` says where it looked");
    code = gr_cli_close(&cli, &options, code);
    return code;
}

const gr_command gr_command_devices = {"devices", "list devices, and why one is chosen", run};
