// SPDX-License-Identifier: Apache-2.0
// script.c: runs a Lua workflow, in this process or in a sandbox.
#include "cli/script.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "cli/prompt.h"

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

// ---- Options

const char gr_cli_script_help[] =
    "  --sandbox               For a script that nobody trusts: a process of its own, few libraries, budgets\n"
    "                          (exit code 4), no files but those granted (7). docs/sandbox.md says more\n"
    "    --allow read:PATH     It may read the folder or file; write:PATH, also write\n"
    "    --memory SIZE         Most memory for Lua's values (default 256M)\n"
    "    --process-memory SIZE Most memory in all, models included (default: three quarters of the machine's)\n"
    "    --instructions N      Most instructions of the Lua machine (default 10000000000)\n"
    "    --seconds X           Most time (default 300)\n";

bool gr_cli_asks_for_help(const char *option) {
    return strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0 || strcmp(option, "-?") == 0;
}

const char *gr_cli_script_value(int argc, char **argv, int *at, const char *name) {
    size_t length = strlen(name);
    if (strncmp(argv[*at], name, length) != 0 || (argv[*at][length] && argv[*at][length] != '='))
        return NULL;
    const char *value = argv[*at][length] ? argv[*at] + length + 1 : *at + 1 < argc ? argv[++*at] : "";
    if (!*value)
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected a value", name));
    return value;
}

bool gr_cli_script_option(gr_cli_script *script, int argc, char **argv, int *at) {
    static const char *const names[] = {"--allow", "--memory", "--process-memory", "--instructions", "--seconds"};
    if (strcmp(argv[*at], "--sandbox") == 0)
        return script->sandbox.wanted = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = gr_cli_script_value(argc, argv, at, names[i]);
        if (value && !script->sandbox.wanted)
            exit(gr_complain(GR_EXIT_USAGE, "%s: expected --sandbox in front of it", names[i]));
        if (value) {
            gr_cli_sandbox_option(&script->sandbox, names[i], value);
            return true;
        }
    }
    return false;
}

// ---- Running

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
    case GR_ERROR_OUT_OF_MEMORY: return GR_EXIT_RESOURCES;
    case GR_ERROR_CANCELLED: return GR_EXIT_INTERRUPTED;
    default: return GR_EXIT_INPUT;
    }
}

// os.exit where somebody waits for the script's end: Lua's own would leave without a word to them.
static int leave(lua_State *L) {
    const gr_cli_script *job = lua_touserdata(L, lua_upvalueindex(1));
    int code = lua_isboolean(L, 1) ? lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE : (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    running = NULL;
    if (lua_toboolean(L, 2))
        lua_close(L);
    exit(job->ended(job->context, code, true));
}

static void watch_exit(lua_State *L, const gr_cli_script *job) {
    if (job->ended && lua_getglobal(L, "os") == LUA_TTABLE) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)job);
        lua_pushcclosure(L, leave, 1);
        lua_setfield(L, -2, "exit");
    }
    lua_settop(L, 0);
}

static int run(lua_State *L, gr_script *script, const gr_cli_script *job) {
    char *message = NULL;
    gr_script_set_log(script, print_log, NULL);
    if (!job->path)
        return gr_prompt(L, script);
    if (job->record)
        gr_script_set_record(script, job->record);
    watch_exit(L, job);
    catch_interrupts(script);
    gr_status status = gr_script_run(L, job->path, job->argc, job->argv, &message);
    running = NULL;
    bool diverged = job->record && job->record->diverged; // it was stopped then, and that is told
    if (status == GR_ERROR_CANCELLED && !diverged)
        gr_complain(GR_EXIT_INTERRUPTED, "interrupted");
    else if (status != GR_OK && !diverged)
        gr_complain(GR_EXIT_SCRIPT, "%s", message ? message : "out of memory");
    free(message);
    return exit_code(status);
}

static int run_trusted(const gr_cli_script *job) {
    gr_script *script = NULL;
    lua_State *L = luaL_newstate();
    if (!L)
        return gr_complain(GR_EXIT_RESOURCES, "no memory for Lua");
    int code;
    lua_pushcfunction(L, open_libraries);
    lua_pushlightuserdata(L, &script);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        code = gr_complain(GR_EXIT_RESOURCES, "cannot start Lua: %s", lua_tostring(L, -1));
    else
        code = run(L, script, job);
    lua_close(L);
    return code;
}

// In the child. All devices are looked for before it may start no more processes, which that takes.
static int run_sandboxed(gr_cli_script *job) {
    lua_State *L;
    gr_script *script;
    gr_error error;
    gr_error_init(&error);
    if (gr_sandbox_open(&job->sandbox.budgets, &L, &script, &error) != GR_OK)
        return gr_report(&error);
    int code = gr_script_start(script, &error) == GR_OK ? GR_EXIT_OK : gr_report(&error);
    if (!code)
        code = gr_cli_sandbox_close(&job->sandbox) ? run(L, script, job) : GR_EXIT_FAILURE;
    lua_close(L);
    return gr_cli_sandbox_code(&job->sandbox, code);
}

int gr_cli_script_run(gr_cli_script *job) {
    int code;
    if (job->sandbox.wanted && !gr_cli_sandbox_fork(&job->sandbox, &code))
        return code;
    code = job->sandbox.wanted ? run_sandboxed(job) : run_trusted(job);
    return job->ended ? job->ended(job->context, code, code == GR_EXIT_OK) : code;
}
