// SPDX-License-Identifier: Apache-2.0
// command_script.c: gregale script FILE [ARG...]: runs a Lua workflow.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "cli/cli.h"
#include "cli/prompt.h"
#include "script/script.h"

static gr_script *volatile running; // for the signal handler alone
static volatile sig_atomic_t interrupts;

static void on_interrupt(int number) {
    (void)number;
    if (++interrupts > 1)
        _exit(GR_EXIT_INTERRUPTED);
    if (running)
        gr_script_interrupt(running);
}

static void catch_interrupts(gr_script *script) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    sigemptyset(&action.sa_mask);
    running = script;
    sigaction(SIGINT, &action, NULL);
}

static void print_log(void *context, gr_log_level level, const char *line) {
    (void)context;
    (void)level;
    fprintf(stderr, "gregale: %s\n", line);
}

static void print_help(void) {
    fputs(
        "Usage: gregale script [FILE [ARG...]]\n"
        "Run a Lua 5.4 workflow; `require \"gregale\"` gives it models, and `arg` holds its "
        "arguments.\n"
        "Without FILE it is a Lua prompt at a terminal, else the script is standard input, as with -.\n"
        "A script that raises an error ends with exit code 6.\n",
        stdout);
}

static int open_libraries(lua_State *L) {
    gr_script **out_script = lua_touserdata(L, 1);
    luaL_openlibs(L);
    *out_script = gr_script_open(L);
    return 0;
}

static int exit_code(gr_status status) {
    switch (status) {
    case GR_OK: return GR_EXIT_OK;
    case GR_ERROR_SCRIPT: return GR_EXIT_SCRIPT;
    case GR_ERROR_CANCELLED: return GR_EXIT_INTERRUPTED;
    default: return GR_EXIT_INPUT;
    }
}

static int run_script(lua_State *L, int argc, char **argv) {
    gr_script *script = NULL;
    char *message = NULL;
    const char *path = argc > 1 ? argv[1] : "-";
    lua_pushcfunction(L, open_libraries);
    lua_pushlightuserdata(L, &script);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return gr_complain(GR_EXIT_RESOURCES, "cannot start Lua: %s", lua_tostring(L, -1));
    gr_script_set_log(script, print_log, NULL);
    if (argc < 2 && gr_is_terminal(stdin) && gr_is_terminal(stdout))
        return gr_prompt(L, script);
    catch_interrupts(script);
    gr_status status = gr_script_run(L, path, argc > 2 ? argc - 2 : 0, argv + 2, &message);
    running = NULL;
    if (status != GR_OK)
        gr_complain(GR_EXIT_SCRIPT, "%s", message ? message : "out of memory");
    free(message);
    return exit_code(status);
}

static int run(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-?") == 0)) {
        print_help();
        return GR_EXIT_OK;
    }
    if (argc > 1 && argv[1][0] == '-' && argv[1][1])
        return gr_complain(GR_EXIT_USAGE,
                           "script: unknown option '%s'; options of the script come after FILE",
                           argv[1]);
    lua_State *L = luaL_newstate();
    if (!L)
        return gr_complain(GR_EXIT_RESOURCES, "no memory for Lua");
    int code = run_script(L, argc, argv);
    lua_close(L);
    return code;
}

const gr_command gr_command_script = {"script", "run a Lua workflow", run};
