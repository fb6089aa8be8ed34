// SPDX-License-Identifier: Apache-2.0
// main.c: finds the command and hands over.
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static void print_help(FILE *stream) {
    fputs("Usage: gregale COMMAND [OPTION...] [ARGUMENT...]\n"
          "Run Mistral-family language models on any hardware, scripted.\n\n"
          "Commands:\n", stream);
    for (const gr_command *const *command = gr_commands(); *command; command++)
        fprintf(stream, "  %-12s %s\n", (*command)->name, (*command)->summary);
    fputs("\n`gregale COMMAND --help` explains one. Exit codes: 0 done, 1 failure, 2 usage, 3 bad input,\n"
          "4 not enough memory or a limit reached, 5 device, 6 script error, 7 refused to a script, 130 interrupted.\n", stream);
}

static const gr_command *find(const char *name) {
    for (const gr_command *const *command = gr_commands(); *command; command++)
        if (strcmp((*command)->name, name) == 0)
            return *command;
    return NULL;
}

// Help is printed by code that leaves on its own; a full disk should not pass for success there either.
static void check_output(void) {
    if (fflush(stdout) != 0 || ferror(stdout))
        _exit(gr_complain(GR_EXIT_FAILURE, "cannot write to standard output"));
}

// A standard stream that the parent closed would be the next file opened, a trace perhaps. What takes its
// place refuses what the stream is for.
static void occupy_streams(void) {
    for (int number = 0; number <= 2; number++)
        if (fcntl(number, F_GETFD) < 0 && open("/dev/null", number == 0 ? O_WRONLY : O_RDONLY) != number)
            _exit(GR_EXIT_FAILURE);
}

// The C locale knows no characters but ASCII; a terminal today sends UTF-8.
static void choose_locale(void) {
    const char *locale = setlocale(LC_CTYPE, "");
    if (!locale || strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv) {
    static char program[64];
    occupy_streams();
    choose_locale();
    signal(SIGPIPE, SIG_IGN);
    atexit(check_output);
    if (argc < 2) {
        print_help(stderr);
        return GR_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("gregale %s\n", gr_version());
        return GR_EXIT_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        (strcmp(argv[1], "help") == 0 && argc == 2)) {
        print_help(stdout);
        return GR_EXIT_OK;
    }
    static char help[] = "--help";
    char *asked[] = {argv[0], argv[2], help, NULL};
    if (strcmp(argv[1], "help") == 0) { // help COMMAND
        argc = 3;
        argv = asked;
    }
    const gr_command *command = find(argv[1]);
    if (!command)
        return gr_complain(GR_EXIT_USAGE, "no command is called '%s'; `gregale --help` lists them", argv[1]);
    snprintf(program, sizeof program, "gregale %s", command->name);
    argv[1] = program;
    int code = command->run(argc - 1, argv + 1);
    if (code && (fflush(stdout) != 0 || ferror(stdout)))
        _exit(code); // its line has been printed
    return code;
}
