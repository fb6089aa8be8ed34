// SPDX-License-Identifier: Apache-2.0
// command_perplexity.c: gregale perplexity: how well a model predicts a text; beside another device or file, how far the
// two are apart.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/agreement.h"
#include "cli/cli.h"

enum {
    STRIDE = 64,   // tokens evaluated at a time: no step gives more logits
    REPORT = 512,  // tokens between two reports
    KEY_AGAINST = 0x500, KEY_AGAINST_MODEL, KEY_TOKENS
};

typedef struct measurement {
    gr_cli *cli, other;            // other.model: NULL when there is nothing to compare with
    gr_cli_options *options;
    const char *against, *against_model;
    uint64_t limit;                // of tokens; 0: all
    int32_t *tokens;
    size_t count, window;          // tokens; where the window of this moment begins
    size_t window_end;
    uint64_t stride_at;            // position within the window where this stride begins
    float *reference;              // [STRIDE][vocab]: the other's logits of this stride
    gr_agreement agreement;
} measurement;

static error_t parse_extra(int key, char *value, void *context) {
    measurement *m = context;
    switch (key) {
    case KEY_AGAINST: m->against = gr_option_filled(value, "--against"); return 0;
    case KEY_AGAINST_MODEL: m->against_model = gr_option_filled(value, "--against-model"); return 0;
    case KEY_TOKENS: m->limit = gr_parse_u64(value, UINT32_MAX, "--tokens"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option extra_options[] = {
    {"against", KEY_AGAINST, "DEVICE", 0, "Also score the text on DEVICE, and say how far the two are apart", 0},
    {"against-model", KEY_AGAINST_MODEL, "FILE", 0, "Also score the text with another file of the same vocabulary", 0},
    {"tokens", KEY_TOKENS, "N", 0, "Use the first N tokens of the text (default, and 0: all)", 0},
    {0}};

// ---- What is printed

// Numbers that JSON cannot hold become null.
static void print_field(const char *name, double value) {
    if (isfinite(value))
        printf(",\"%s\":%.9g", name, value);
    else
        printf(",\"%s\":null", name);
}

static void print_json(measurement *m, bool final) {
    gr_agreement *a = &m->agreement;
    double perplexity = exp(gr_tally_mean(&a->loss));
    printf("{\"type\":\"%s\",\"tokens\":%llu", final ? "done" : "progress", (unsigned long long)a->loss.count);
    print_field("perplexity", perplexity);
    print_field("standard_error", perplexity * gr_tally_error(&a->loss));
    if (m->other.model) {
        double ratio = exp(gr_tally_mean(&a->gap));
        print_field("against_perplexity", exp(gr_tally_mean(&a->reference_loss)));
        print_field("ratio", ratio);
        print_field("ratio_standard_error", ratio * gr_tally_error(&a->gap));
        print_field("mean_divergence", gr_tally_mean(&a->divergence));
        if (final) {
            print_field("divergence_999", gr_agreement_quantile(a, 0.999));
            print_field("largest_divergence", gr_agreement_quantile(a, 1));
        }
        print_field("same_top", (double)a->same_top / (double)a->loss.count);
    }
    puts("}");
}

// The standard error of exp(mean) is exp(mean) times that of the mean, to first order.
static void print_text(measurement *m, bool final) {
    gr_agreement *a = &m->agreement;
    double perplexity = exp(gr_tally_mean(&a->loss)), ratio = exp(gr_tally_mean(&a->gap));
    printf("%8llu tokens  perplexity %.4f +/- %.4f", (unsigned long long)a->loss.count, perplexity,
           perplexity * gr_tally_error(&a->loss));
    if (m->other.model)
        printf(", against %.4f", exp(gr_tally_mean(&a->reference_loss)));
    putchar('\n');
    if (!m->other.model || !final)
        return;
    printf("ratio of perplexities  %.6f +/- %.6f\n", ratio, ratio * gr_tally_error(&a->gap));
    printf("divergence in nats     mean %.3g, 99.9 %% of the tokens up to %.3g, largest %.3g\n",
           gr_tally_mean(&a->divergence), gr_agreement_quantile(a, 0.999), gr_agreement_quantile(a, 1));
    printf("same likeliest token   %.3f %%\n", 100 * (double)a->same_top / (double)a->loss.count);
}

static void print_result(measurement *m, bool final) {
    gr_progress_end();
    if (m->options->json)
        print_json(m, final);
    else
        print_text(m, final);
    fflush(stdout);
}

// ---- Scoring

static void keep_row(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    measurement *m = context;
    memcpy(m->reference + (position - m->stride_at) * vocab, logits, vocab * sizeof *logits);
}

// The logits behind `position` of the window speak of the token that follows, if the window has one.
static void score_row(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    measurement *m = context;
    size_t next = m->window + (size_t)position + 1;
    if (next >= m->window_end)
        return;
    if (m->reference)
        gr_agreement_add(&m->agreement, logits, m->reference + (position - m->stride_at) * vocab, vocab, m->tokens[next]);
    else
        gr_tally_add(&m->agreement.loss, gr_log_total(logits, vocab) - (double)logits[m->tokens[next]]);
}

static gr_status score_stride(measurement *m, size_t at, size_t count) {
    gr_status status = GR_OK;
    m->stride_at = at - m->window;
    if (m->other.model)
        status = gr_session_append_observed(m->other.session, m->tokens + at, count, keep_row, m, &m->cli->error);
    if (status == GR_OK)
        status = gr_session_append_observed(m->cli->session, m->tokens + at, count, score_row, m, &m->cli->error);
    return status;
}

static gr_status begin_window(measurement *m, size_t at) {
    size_t context = m->options->context;
    m->window = at;
    m->window_end = m->count - at < context ? m->count : at + context;
    gr_status status = gr_session_rewind(m->cli->session, 0, &m->cli->error);
    if (status == GR_OK && m->other.model)
        status = gr_session_rewind(m->other.session, 0, &m->cli->error);
    return status;
}

// A window of `context` tokens at a time; each starts anew, so that any length can be measured.
static int measure(measurement *m) {
    uint64_t reported = 0;
    for (size_t at = 0; at < m->count;) {
        if (at == m->window_end && begin_window(m, at) != GR_OK)
            return gr_report(&m->cli->error);
        size_t left = m->window_end - at, take = left < STRIDE ? left : STRIDE;
        if (score_stride(m, at, take) != GR_OK)
            return gr_report(&m->cli->error);
        at += take;
        if (!gr_progress(NULL, (double)at / (double)m->count, "text"))
            return gr_complain(gr_exit_code(GR_ERROR_CANCELLED), "interrupted");
        if (m->agreement.loss.count >= reported + REPORT && (m->options->json || gr_is_terminal(stdout))) {
            reported = m->agreement.loss.count;
            print_result(m, false);
            if (ferror(stdout)) // nobody reads on, which is said at the program's end
                return GR_EXIT_OK;
        }
    }
    if (!m->agreement.loss.count)
        return gr_complain(GR_EXIT_INPUT, "perplexity: the text has fewer than two tokens");
    if (m->agreement.failed)
        return gr_complain(GR_EXIT_RESOURCES, "no memory for the divergences of %zu tokens", m->count);
    print_result(m, true);
    return GR_EXIT_OK;
}

// ---- Opening

static gr_status tokenize(gr_cli *cli, const gr_strbuf *text, int32_t **out_tokens, size_t *out_count) {
    *out_tokens = NULL;
    gr_status status = gr_model_tokenize(cli->model, gr_strbuf_cstr(text), text->size, true, false, NULL, 0, out_count,
                                         &cli->error);
    if (status != GR_OK)
        return status;
    *out_tokens = malloc((*out_count + 1) * sizeof **out_tokens);
    if (!*out_tokens)
        return gr_fail(&cli->error, GR_ERROR_OUT_OF_MEMORY, "cli", "no memory for %zu tokens", *out_count);
    return gr_model_tokenize(cli->model, gr_strbuf_cstr(text), text->size, true, false, *out_tokens, *out_count, out_count,
                             &cli->error);
}

static uint32_t vocab_of(const gr_model *model) {
    gr_model_info info = {.struct_size = sizeof info};
    gr_model_info_get(model, &info);
    return info.vocab;
}

// Both must cut the text alike: predictions are compared token by token.
static int check_other(measurement *m, const gr_strbuf *text) {
    int32_t *tokens;
    size_t count;
    uint32_t vocab = vocab_of(m->cli->model);
    gr_status status = tokenize(&m->other, text, &tokens, &count);
    bool same = status == GR_OK && count >= m->count && vocab_of(m->other.model) == vocab &&
                memcmp(tokens, m->tokens, m->count * sizeof *tokens) == 0;
    free(tokens);
    if (status != GR_OK)
        return gr_report(&m->other.error);
    if (!same)
        return gr_complain(GR_EXIT_INPUT, "perplexity: %s and %s cut the text into different tokens", m->options->positional[0],
                           m->against_model);
    m->reference = malloc((size_t)STRIDE * vocab * sizeof *m->reference);
    return m->reference ? GR_EXIT_OK : gr_complain(GR_EXIT_RESOURCES, "no memory for logits");
}

static int open_other(measurement *m, const gr_strbuf *text) {
    gr_cli_options options = *m->options;
    options.device = m->against ? m->against : options.device;
    options.quiet = options.quiet || !m->against_model; // the same file has the same notice
    m->other = (gr_cli){.engine = gr_engine_retain(m->cli->engine)};
    gr_error_init(&m->other.error);
    int code = gr_cli_open_model(&m->other, &options, m->against_model ? m->against_model : options.positional[0]);
    if (!code)
        code = gr_cli_open_session(&m->other, &options);
    return code ? code : check_other(m, text);
}

static int open_all(measurement *m, gr_strbuf *text) {
    int code = gr_read_text(m->options->positional[1], text);
    if (!code)
        code = gr_cli_open_model(m->cli, m->options, m->options->positional[0]);
    if (!code)
        code = gr_cli_open_session(m->cli, m->options);
    if (!code && tokenize(m->cli, text, &m->tokens, &m->count) != GR_OK)
        code = gr_report(&m->cli->error);
    if (m->limit && m->limit < m->count)
        m->count = (size_t)m->limit;
    if (!code && (m->against || m->against_model))
        code = open_other(m, text);
    return code;
}

static int run(int argc, char **argv) {
    gr_cli cli = {0};
    gr_strbuf text = {0};
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL, .positional_limit = 2};
    measurement m = {.cli = &cli, .options = &options};
    gr_options_parse(argc, argv, &options, "MODEL TEXT", "Measure the perplexity of MODEL on the file TEXT (-: standard input).",
                     extra_options, parse_extra, &m);
    if (options.positional_count < 2)
        return gr_complain(GR_EXIT_USAGE, "perplexity: expected a model file and a text file; see gregale perplexity --help");
    if (options.context == 1)
        return gr_complain(GR_EXIT_USAGE, "perplexity: --context is at least 2, so that something comes before a token");
    options.context = options.context ? options.context : 2048;
    int code = open_all(&m, &text);
    if (!code)
        code = measure(&m);
    free(m.tokens);
    free(m.reference);
    gr_agreement_deinit(&m.agreement);
    gr_session_release(m.other.session);
    gr_model_release(m.other.model);
    gr_engine_release(m.other.engine);
    code = gr_cli_close(&cli, &options, code);
    gr_strbuf_deinit(&text);
    return code;
}

const gr_command gr_command_perplexity = {"perplexity", "measure how well a model predicts a text", run};
