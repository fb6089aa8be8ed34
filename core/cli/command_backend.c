// SPDX-License-Identifier: Apache-2.0
// command_backend.c: gregale backend: what authors of backends need.
#include <string.h>

#include "cli/backend.h"

typedef struct part {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} part;

static const part parts[] = {
    {"new", "write a project that builds a working backend", gr_backend_new},
    {"test", "judge a backend plugin", gr_backend_test},
    {"bench", "measure one beside the machine's limits", gr_backend_bench},
};

const char *gr_backend_path(const char *path, char *buffer, size_t capacity) {
    if (strchr(path, '/'))
        return path;
    snprintf(buffer, capacity, "./%s", path);
    return buffer;
}

static void print_help(FILE *stream) {
    fputs("Usage: gregale backend COMMAND [OPTION...] [ARGUMENT...]\n"
          "Write, judge and measure backend plugins; `new` is where to begin.\n\n"
          "Commands:\n",
          stream);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        fprintf(stream, "  %-12s %s\n", parts[i].name, parts[i].summary);
    fputs("\n`gregale backend COMMAND --help` explains one.\n", stream);
}

static int run(int argc, char **argv) {
    static char program[64];
    if (argc < 2)
        return gr_complain(GR_EXIT_USAGE, "backend: expected a command; see gregale backend --help");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(stdout);
        return GR_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(argv[1], parts[i].name))
            continue;
        snprintf(program, sizeof program, "gregale backend %s", parts[i].name);
        argv[1] = program;
        return parts[i].run(argc - 1, argv + 1);
    }
    return gr_complain(GR_EXIT_USAGE, "backend: no command is called '%s'; see gregale backend --help",
                       argv[1]);
}

const gr_command gr_command_backend = {"backend", "for authors of backends: new, test, bench", run};
