// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

int gr_cli_save(gr_cli *cli, const char *path) {
    gr_forget_interrupt();
    bool ending = gr_ending() != 0; // then nothing but a file that cannot be written stops it
    gr_status status = gr_session_save(cli->session, path, ending ? NULL : gr_progress, NULL, &cli->error);
    gr_progress_end();
    return status == GR_OK ? GR_EXIT_OK : gr_report(&cli->error);
}

int gr_cli_restore(gr_cli *cli, const gr_cli_options *options, const char *path) {
    const gr_session_options wanted = {.struct_size = sizeof wanted, .context = options->context};
    gr_session *session = NULL;
    gr_status status = gr_session_restore(cli->model, path, &wanted, gr_progress, NULL, &session, NULL, &cli->error);
    gr_progress_end();
    if (status != GR_OK)
        return gr_report(&cli->error);
    gr_session_release(cli->session);
    cli->session = session;
    return GR_EXIT_OK;
}
