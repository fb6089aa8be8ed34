// SPDX-License-Identifier: Apache-2.0
// command_run.c: gregale run: one prompt, one answer.
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/cli.h"

typedef struct answering {
    gr_cli_move *move;
    bool json;
} answering;

static bool print_piece_json(void *context, const char *text, size_t bytes) {
    gr_strbuf line = {0};
    (void)context;
    gr_strbuf_text(&line, "{\"type\":\"text\",\"text\":");
    gr_strbuf_json(&line, (gr_str){text, bytes});
    gr_strbuf_text(&line, "}\n");
    fputs(gr_strbuf_cstr(&line), stdout);
    fflush(stdout);
    gr_strbuf_deinit(&line);
    return !ferror(stdout);
}

static double rate(double count, double seconds) {
    return seconds > 0 ? count / seconds : 0;
}

static void print_summary(const gr_request_info *info, const gr_cli_options *options, double prefill_seconds) {
    double decode = info->generated_tokens > 1 ? rate(info->generated_tokens - 1, info->decode_seconds) : 0;
    if (options->json)
        printf("{\"type\":\"done\",\"stop\":\"%s\",\"prompt_tokens\":%u,\"generated_tokens\":%u,\"seed\":%llu,"
               "\"prefill_tokens_per_second\":%.2f,\"decode_tokens_per_second\":%.2f}\n",
               gr_stop_reason_name(info->stop_reason), info->prompt_tokens, info->generated_tokens,
               (unsigned long long)info->seed, rate(info->prompt_tokens, prefill_seconds), decode);
    else if (!options->quiet && gr_is_terminal(stderr))
        fprintf(stderr, "%u + %u tokens, %.1f and %.1f tokens/s, stopped by %s, seed %llu\n", info->prompt_tokens,
                info->generated_tokens, rate(info->prompt_tokens, prefill_seconds), decode,
                gr_stop_reason_name(info->stop_reason), (unsigned long long)info->seed);
}

// The prompt becomes a user turn when the model has a chat format, else plain text to continue; a session that
// was saved as text stays text.
static gr_status add_prompt(gr_cli *cli, const gr_cli_options *options, const char *text, size_t bytes) {
    gr_model_info info = {.struct_size = sizeof info};
    gr_status status = GR_OK;
    gr_model_info_get(cli->model, &info);
    bool text_saved = options->restore && !gr_session_turn_count(cli->session);
    if (options->raw || text_saved || !info.chat_format[0]) {
        if (options->system)
            return gr_fail(&cli->error, GR_ERROR_INVALID_ARGUMENT, "cli", "--system needs a model with a chat format");
        return gr_session_append_text(cli->session, text, bytes, &cli->error);
    }
    if (options->system)
        status = gr_session_turn(cli->session, GR_CHAT_SYSTEM, options->system, strlen(options->system), &cli->error);
    if (status == GR_OK)
        status = gr_session_turn(cli->session, GR_CHAT_USER, text, bytes, &cli->error);
    if (status == GR_OK)
        status = gr_session_apply_turns(cli->session, &cli->error);
    return status;
}

// Whether the conversation waits for an answer; else what goes on is the text, where it ends.
static bool is_asked(const gr_session *session) {
    uint32_t count = gr_session_turn_count(session);
    gr_chat_role role = GR_CHAT_ASSISTANT;
    const char *text;
    size_t bytes;
    if (count)
        gr_session_turn_get(session, count - 1, &role, &text, &bytes);
    return role == GR_CHAT_USER || role == GR_CHAT_TOOL;
}

static bool on_piece(void *context, const char *text, size_t bytes) {
    const answering *a = context;
    gr_cli_move_advance(a->move);
    return a->json ? print_piece_json(NULL, text, bytes) : gr_print_piece(NULL, text, bytes);
}

static int answer(gr_cli *cli, const gr_cli_options *options, gr_grammar *grammar, gr_cli_move *move) {
    const gr_generate_options wanted = {.struct_size = sizeof wanted,
                                        .max_tokens = options->max_tokens,
                                        .seed = options->seed,
                                        .sampler = gr_options_sampler(options),
                                        .raw = options->raw,
                                        .grammar = grammar};
    gr_request *request = NULL;
    uint64_t begin = gr_os_now_ns();
    gr_status status = gr_cli_evaluate(cli);
    double evaluated = (double)(gr_os_now_ns() - begin) * 1e-9; // generating finds the prompt done
    answering a = {.move = move, .json = options->json};
    if (status == GR_OK)
        gr_cli_move_begin(move, cli);
    if (status == GR_OK)
        status = gr_session_generate(cli->session, &wanted, on_piece, &a, &request, &cli->error);
    if (request) {
        gr_request_info info = {.struct_size = sizeof info};
        gr_request_info_get(request, &info);
        if (!options->json)
            putchar('\n');
        fflush(stdout);
        if (info.stop_reason == GR_STOP_CONTEXT && !options->quiet && !options->json)
            fprintf(stderr, "gregale: stopped: the context of %u positions is full (--context N makes it larger)\n",
                    info.prompt_tokens + info.generated_tokens);
        if (status == GR_OK || status == GR_ERROR_CANCELLED)
            print_summary(&info, options, evaluated + info.prefill_seconds);
        gr_request_release(request);
    }
    int code = status == GR_OK ? GR_EXIT_OK : gr_report(&cli->error);
    return gr_cli_move_end(move, cli, options, code);
}

static int run(int argc, char **argv) {
    gr_cli_move move = {0};
    gr_cli cli = {0};
    gr_strbuf text = {0};
    gr_grammar *grammar = NULL;
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL | GR_OPTIONS_GENERATE | GR_OPTIONS_CONSTRAIN | GR_OPTIONS_PROMPT,
                              .positional_limit = 1};
    gr_options_parse(argc, argv, &options, "MODEL", "Answer one prompt. The prompt is -p TEXT or standard input.",
                     gr_cli_move_options, gr_cli_move_parse, &move);
    if (!options.positional_count)
        return gr_complain(GR_EXIT_USAGE, "run: expected a model file; see gregale run --help");
    bool asks = options.prompt || !gr_is_terminal(stdin);
    if (!asks && !options.restore)
        return gr_complain(GR_EXIT_USAGE, "run: expected -p TEXT or a prompt on standard input");
    if (move.has_policy && !move.shadow)
        return gr_complain(GR_EXIT_USAGE, "run: --shadow-policy makes no sense without --shadow");
    int code = options.prompt || !asks ? GR_EXIT_OK : gr_read_text("-", &text);
    if (options.prompt)
        gr_strbuf_text(&text, options.prompt);
    else if (!options.raw && text.size && text.data[text.size - 1] == '\n')
        text.data[--text.size] = '\0'; // echo's, not the message's
    if (!code)
        code = gr_cli_open_model(&cli, &options, options.positional[0]);
    if (!code)
        code = gr_cli_open_grammar(&cli, &options, &grammar);
    if (!code)
        code = gr_cli_open_session(&cli, &options);
    bool goes_on = options.restore && !text.size;
    options.raw = options.raw || (!code && goes_on && !is_asked(cli.session));
    if (!code && !goes_on && add_prompt(&cli, &options, gr_strbuf_cstr(&text), text.size) != GR_OK)
        code = gr_report(&cli.error);
    if (!code)
        code = answer(&cli, &options, grammar, &move);
    gr_grammar_release(grammar);
    if (options.save && cli.session && (!code || gr_interrupted())) {
        int saved = gr_cli_save(&cli, options.save);
        code = code ? code : saved;
    }
    code = gr_cli_close(&cli, &options, code);
    gr_strbuf_deinit(&text);
    return code;
}

const gr_command gr_command_run = {"run", "answer one prompt", run};
