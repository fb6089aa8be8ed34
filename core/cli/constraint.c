// SPDX-License-Identifier: Apache-2.0
// constraint.c: the grammar that --json-schema, --grammar or --regex asks for.
#include <string.h>

#include "cli/cli.h"

// What is wrong with a file is its own fault, what is wrong with an expression the command line's.
static int refuse(const gr_cli *cli, const char *file) {
    bool text = cli->error.code == GR_ERROR_INVALID_ARGUMENT || cli->error.code == GR_ERROR_UNSUPPORTED;
    int code = !text ? gr_exit_code(cli->error.code) : file ? GR_EXIT_INPUT : GR_EXIT_USAGE;
    return gr_complain(code, "%s: %s", file ? file : "--regex", cli->error.message);
}

int gr_cli_open_grammar(gr_cli *cli, const gr_cli_options *options, gr_grammar **out_grammar) {
    gr_strbuf text = {0};
    *out_grammar = NULL;
    if (!options->constraint)
        return GR_EXIT_OK;
    const char *file = strcmp(options->constraint_kind, "regex") == 0 ? NULL : options->constraint;
    int code = file ? gr_read_text(file, &text) : GR_EXIT_OK;
    if (!file)
        gr_strbuf_text(&text, options->constraint);
    if (!code && gr_model_grammar(cli->model, options->constraint_kind, gr_strbuf_cstr(&text), text.size, out_grammar,
                                  &cli->error) != GR_OK)
        code = refuse(cli, file);
    gr_strbuf_deinit(&text);
    return code;
}
