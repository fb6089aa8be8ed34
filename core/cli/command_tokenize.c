// SPDX-License-Identifier: Apache-2.0
// command_tokenize.c: gregale tokenize: text to token ids, with the pieces when people look.
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "gregale/linked/tokenizer.h"

typedef struct flags {
    bool no_special, control, ids;
} flags;

static error_t parse_extra(int key, char *value, void *context) {
    flags *f = context;
    (void)value;
    switch (key) {
    case 'n': f->no_special = true; return 0;
    case 'c': f->control = true; return 0;
    case 'i': f->ids = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_token(const gr_tokenizer *tokenizer, gr_token token, const flags *f, bool json) {
    char bytes[512];
    gr_strbuf line = {0};
    size_t count = gr_tokenizer_piece(tokenizer, token, true, bytes, sizeof bytes);
    if (json) {
        gr_strbuf_format(&line, "{\"id\":%d,\"piece\":", token);
        gr_strbuf_json(&line, (gr_str){bytes, count < sizeof bytes ? count : sizeof bytes});
        gr_strbuf_text(&line, "}");
    } else {
        gr_strbuf_format(&line, "%d", token);
    }
    if (!json && !f->ids) {
        gr_strbuf_text(&line, "\t");
        gr_strbuf_json(&line, (gr_str){bytes, count < sizeof bytes ? count : sizeof bytes});
    }
    puts(gr_strbuf_cstr(&line));
    gr_strbuf_deinit(&line);
}

static int tokenize(const char *path, const gr_strbuf *text, const flags *f, bool json) {
    gr_model_file *file = NULL;
    gr_tokenizer *tokenizer = NULL;
    gr_tokens tokens = {0};
    gr_error error;
    gr_error_init(&error);
    gr_encode_flags encode = (f->no_special ? 0u : GR_ENCODE_SPECIAL) | (f->control ? GR_ENCODE_PARSE_CONTROL : 0u);
    gr_status status = gr_model_file_open(path, &file, &error);
    if (status == GR_OK)
        status = gr_tokenizer_create(file, &tokenizer, &error);
    if (status == GR_OK)
        status = gr_tokenizer_encode(tokenizer, (gr_str){gr_strbuf_cstr(text), text->size}, encode, &tokens, &error);
    for (size_t i = 0; status == GR_OK && i < tokens.count; i++)
        print_token(tokenizer, tokens.data[i], f, json);
    gr_tokens_deinit(&tokens);
    gr_tokenizer_destroy(tokenizer);
    gr_model_file_close(file);
    return status == GR_OK ? GR_EXIT_OK : gr_report(&error);
}

static int run(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"no-special", 'n', NULL, 0, "No beginning token", 0},
        {"control", 'c', NULL, 0, "Control tokens spelled in the text become themselves", 0},
        {"ids", 'i', NULL, 0, "Ids alone", 0},
        {0}};
    gr_strbuf text = {0};
    flags f = {0};
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL | GR_OPTIONS_PROMPT, .positional_limit = 2};
    gr_options_parse(argc, argv, &options, "MODEL [FILE]", "Print the tokens of -p TEXT, FILE or standard input.", extra,
                     parse_extra, &f);
    if (!options.positional_count)
        return gr_complain(GR_EXIT_USAGE, "tokenize: expected a model file; see gregale tokenize --help");
    if (options.prompt && options.positional_count > 1)
        return gr_complain(GR_EXIT_USAGE, "tokenize: -p TEXT or a file, not both");
    int code = GR_EXIT_OK;
    if (options.prompt)
        gr_strbuf_text(&text, options.prompt);
    else
        code = gr_read_text(options.positional_count > 1 ? options.positional[1] : "-", &text);
    if (!code)
        code = tokenize(options.positional[0], &text, &f, options.json);
    gr_strbuf_deinit(&text);
    return code;
}

const gr_command gr_command_tokenize = {"tokenize", "print the tokens of a text", run};
