// SPDX-License-Identifier: Apache-2.0
// command_perplexity.c: gregale perplexity: how well a model predicts a text, with a standard error.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { STRIDE = 512 }; // tokens scored between two reports

typedef struct tally {
    double sum, squares;
    uint64_t count;
} tally;

static void add(tally *t, const double *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i]))
            continue; // the first token has nothing before it
        t->sum -= values[i];
        t->squares += values[i] * values[i];
        t->count++;
    }
}

// The standard error of exp(mean), to first order: exp(mean) * deviation / sqrt(n).
static double standard_error(const tally *t, double perplexity) {
    double n = (double)t->count, mean = t->sum / n;
    double variance = n > 1 ? (t->squares - n * mean * mean) / (n - 1) : 0;
    return perplexity * sqrt(variance > 0 ? variance / n : 0);
}

static void print_result(const tally *t, bool json, bool final) {
    double perplexity = exp(t->sum / (double)t->count), error = standard_error(t, perplexity);
    if (json && !isfinite(perplexity))
        printf("{\"type\":\"%s\",\"tokens\":%llu,\"perplexity\":null,\"standard_error\":null}\n",
               final ? "done" : "progress", (unsigned long long)t->count);
    else if (json)
        printf("{\"type\":\"%s\",\"tokens\":%llu,\"perplexity\":%.6g,\"standard_error\":%.3g}\n", final ? "done" : "progress",
               (unsigned long long)t->count, perplexity, error);
    else
        printf("%8llu tokens  perplexity %.4f +/- %.4f\n", (unsigned long long)t->count, perplexity, error);
    fflush(stdout);
}

// A window of `context` tokens at a time; each starts anew, so that any length can be measured.
static int measure(gr_cli *cli, const gr_cli_options *options, const int32_t *tokens, size_t count) {
    double values[STRIDE];
    tally t = {0};
    for (size_t at = 0; at < count;) {
        size_t used;
        gr_session_tokens(cli->session, &used);
        const uint32_t context = options->context ? options->context : GR_DEFAULT_CONTEXT;
        size_t take = count - at < STRIDE ? count - at : STRIDE;
        if (used + take > context) {
            if (gr_session_rewind(cli->session, 0, &cli->error) != GR_OK)
                return gr_report(&cli->error);
        }
        if (take > context)
            take = context;
        if (gr_session_append_scored(cli->session, tokens + at, take, values, &cli->error) != GR_OK)
            return gr_report(&cli->error);
        add(&t, values, take);
        at += take;
        if (t.count && at < count && (options->json || gr_is_terminal(stdout)))
            print_result(&t, options->json, false);
    }
    if (!t.count)
        return gr_complain(GR_EXIT_INPUT, "perplexity: the text has fewer than two tokens");
    print_result(&t, options->json, true);
    return GR_EXIT_OK;
}

static int run(int argc, char **argv) {
    gr_cli cli = {0};
    gr_strbuf text = {0};
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL, .positional_limit = 2};
    gr_options_parse(argc, argv, &options, "MODEL TEXT", "Measure the perplexity of MODEL on the file TEXT (-: standard input).",
                     NULL, NULL, NULL);
    if (options.positional_count < 2)
        return gr_complain(GR_EXIT_USAGE, "perplexity: expected a model file and a text file; see gregale perplexity --help");
    if (options.context == 1)
        return gr_complain(GR_EXIT_USAGE, "perplexity: --context is at least 2, so that something comes before a token");
    options.context = options.context ? options.context : 2048;
    int code = gr_read_text(options.positional[1], &text);
    if (!code)
        code = gr_cli_open_model(&cli, &options, options.positional[0]);
    if (!code)
        code = gr_cli_open_session(&cli, &options);
    size_t count = 0;
    int32_t *tokens = NULL;
    if (!code) {
        gr_status status = gr_model_tokenize(cli.model, gr_strbuf_cstr(&text), text.size, true, false, NULL, 0, &count, &cli.error);
        tokens = status == GR_OK ? malloc((count + 1) * sizeof *tokens) : NULL;
        if (tokens)
            status = gr_model_tokenize(cli.model, gr_strbuf_cstr(&text), text.size, true, false, tokens, count, &count, &cli.error);
        code = status != GR_OK ? gr_report(&cli.error)
               : !tokens       ? gr_complain(GR_EXIT_RESOURCES, "no memory for %zu tokens", count)
                               : measure(&cli, &options, tokens, count);
    }
    free(tokens);
    code = gr_cli_close(&cli, &options, code);
    gr_strbuf_deinit(&text);
    return code;
}

const gr_command gr_command_perplexity = {"perplexity", "measure how well a model predicts a text", run};
