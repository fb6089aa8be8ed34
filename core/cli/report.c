// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "cli/cli.h"

bool gr_is_terminal(FILE *stream) {
    return isatty(fileno(stream)) == 1;
}

int gr_exit_code(gr_status status) {
    switch (status) {
    case GR_OK: return GR_EXIT_OK;
    case GR_ERROR_INVALID_ARGUMENT: return GR_EXIT_USAGE;
    case GR_ERROR_NOT_FOUND:
    case GR_ERROR_UNSUPPORTED:
    case GR_ERROR_CORRUPT:
    case GR_ERROR_IO:
    case GR_ERROR_INCOMPATIBLE: // a snapshot's, a plugin file's; the host's is a device's, see gr_report
    case GR_ERROR_PERMISSION: return GR_EXIT_INPUT;
    case GR_ERROR_OUT_OF_MEMORY:
    case GR_ERROR_OUT_OF_RANGE: return GR_EXIT_RESOURCES;
    case GR_ERROR_DEVICE_LOST:
    case GR_ERROR_TIMEOUT: return GR_EXIT_DEVICE;
    case GR_ERROR_SCRIPT: return GR_EXIT_SCRIPT;
    case GR_ERROR_CANCELLED: return gr_ending() ? gr_ending() : GR_EXIT_INTERRUPTED;
    default: return GR_EXIT_FAILURE;
    }
}

int gr_report(const gr_error *error) {
    gr_progress_end();
    fflush(stdout);
    fprintf(stderr, "gregale: %s\n", error->message[0] ? error->message : gr_status_name(error->code));
    bool device = strcmp(error->origin, "host") == 0 && error->code != GR_ERROR_OUT_OF_MEMORY;
    int code = device ? GR_EXIT_DEVICE : gr_exit_code(error->code);
    return code ? code : GR_EXIT_FAILURE; // who reports has failed, whatever the error says
}

int gr_complain(int exit_code, const char *format, ...) {
    va_list arguments;
    gr_progress_end();
    fflush(stdout);
    fputs("gregale: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return exit_code;
}

// ---- Progress. The bar is drawn only once something takes longer than a blink.

static struct {
    uint64_t start_ns, drawn_ns;
    bool shown;
} bar;

bool gr_progress(void *context, double fraction, const char *what) {
    char cells[31];
    (void)context;
    if (!gr_is_terminal(stderr))
        return !gr_interrupted();
    uint64_t now = gr_os_now_ns();
    if (!bar.start_ns)
        bar.start_ns = now;
    if ((now - bar.start_ns < 300000000u && !bar.shown) || now - bar.drawn_ns < 50000000u)
        return !gr_interrupted();
    int filled = (int)(fraction * 30 + 0.5);
    for (int i = 0; i < 30; i++)
        cells[i] = i < filled ? '#' : '.';
    cells[30] = '\0';
    fprintf(stderr, "\r%-8s [%s] %3d %%", what, cells, (int)(fraction * 100));
    fflush(stderr);
    bar.drawn_ns = now;
    bar.shown = true;
    return !gr_interrupted();
}

void gr_progress_expect(const char *what) {
    bar.start_ns = 1;
    gr_progress(NULL, 0, what);
}

void gr_progress_end(void) {
    if (bar.shown)
        fputs("\r\033[K", stderr);
    bar.start_ns = bar.drawn_ns = 0;
    bar.shown = false;
}

bool gr_print_piece(void *context, const char *text, size_t bytes) {
    (void)context;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
    return !ferror(stdout);
}

#define READ_LIMIT (UINT64_C(1) << 30)

static int read_input(gr_strbuf *text) {
    char chunk[16384];
    for (size_t count; (count = fread(chunk, 1, sizeof chunk, stdin)) > 0;) {
        gr_strbuf_add(text, chunk, count);
        if (text->failed || text->size > READ_LIMIT)
            return gr_complain(GR_EXIT_RESOURCES, "standard input: longer than memory or 1 GiB");
    }
    return gr_check_input();
}

int gr_check_input(void) {
    if (!ferror(stdin))
        return GR_EXIT_OK;
    return gr_complain(GR_EXIT_INPUT, "standard input: cannot read: %s", strerror(errno));
}

int gr_read_text(const char *path, gr_strbuf *text) {
    gr_error error;
    gr_error_init(&error);
    if (strcmp(path, "-") == 0)
        return read_input(text);
    if (gr_file_read(path, READ_LIMIT, text, &error) != GR_OK)
        return gr_report(&error);
    return GR_EXIT_OK;
}
