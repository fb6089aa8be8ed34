// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void print_log(void *context, gr_log_level level, const char *line) {
    (void)context;
    (void)level;
    fprintf(stderr, "gregale: %s\n", line);
}

int gr_cli_open_engine(gr_cli *cli, const gr_cli_options *options) {
    const gr_engine_options wanted = {.struct_size = sizeof wanted,
                                      .threads = options->threads,
                                      .log = print_log,
                                      .log_level = GR_LOG_WARN,
                                      .trace = options->trace != NULL,
                                      .deterministic = options->deterministic};
    gr_error_init(&cli->error);
    gr_catch_interrupt(NULL);
    if (gr_engine_create(&wanted, &cli->engine, &cli->error) != GR_OK)
        return gr_report(&cli->error);
    return GR_EXIT_OK;
}

int gr_cli_open_model(gr_cli *cli, const gr_cli_options *options, const char *path) {
    const gr_model_options wanted = {.struct_size = sizeof wanted,
                                     .device = options->device,
                                     .sliding_window = options->sliding_window,
                                     .has_sliding_window = options->has_sliding_window,
                                     .kv_dtype = options->cache_type,
                                     .has_kv_dtype = 1,
                                     .cache_bytes = options->cache_limit,
                                     .chunk = options->chunk,
                                     .chat_format = options->chat_format,
                                     .progress = gr_progress};
    int code = cli->engine ? GR_EXIT_OK : gr_cli_open_engine(cli, options);
    if (code)
        return code;
    gr_catch_interrupt(cli->engine);
    if (gr_interrupted())
        return gr_complain(gr_exit_code(GR_ERROR_CANCELLED), "interrupted");
    gr_status status = gr_model_load(cli->engine, path, &wanted, &cli->model, &cli->error);
    gr_progress_end();
    if (status != GR_OK)
        return gr_report(&cli->error);
    gr_model_info info = {.struct_size = sizeof info};
    gr_model_info_get(cli->model, &info);
    if (info.notice[0] && !options->quiet)
        fprintf(stderr, "gregale: %s\n", info.notice);
    return GR_EXIT_OK;
}

int gr_cli_open_session(gr_cli *cli, const gr_cli_options *options) {
    if (options->restore)
        return gr_cli_restore(cli, options, options->restore);
    const gr_session_options wanted = {.struct_size = sizeof wanted, .context = options->context};
    if (gr_session_create(cli->model, &wanted, &cli->session, &cli->error) != GR_OK)
        return gr_report(&cli->error);
    return GR_EXIT_OK;
}

gr_status gr_cli_evaluate(gr_cli *cli) {
    enum { LONG = 256 }; // tokens that take a while on any processor
    size_t tokens;
    gr_session_tokens(cli->session, &tokens);
    if (tokens - gr_session_evaluated(cli->session) > LONG)
        gr_progress_expect("prompt");
    gr_status status = gr_session_evaluate(cli->session, gr_progress, NULL, &cli->error);
    gr_progress_end();
    return status;
}

int gr_cli_close(gr_cli *cli, const gr_cli_options *options, int code) {
    if (cli->engine && options->trace && gr_engine_trace_write(cli->engine, options->trace, &cli->error) != GR_OK) {
        int failed = gr_report(&cli->error);
        code = code ? code : failed;
    }
    gr_catch_interrupt(NULL);
    gr_session_release(cli->session);
    gr_model_release(cli->model);
    gr_engine_release(cli->engine);
    *cli = (gr_cli){0};
    return code;
}
