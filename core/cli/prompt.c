// SPDX-License-Identifier: Apache-2.0
// prompt.c: a Lua prompt: lines are edited and completed, and remembered in $XDG_STATE_HOME/gregale/script_history. What
// only lacks its end goes on in the next line.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/line.h"
#include "cli/prompt.h"

static gr_script *volatile running; // for the signals' handler alone

static void stop_script(void) {
    if (running)
        gr_script_interrupt(running);
}

static char *complete(void *context, const char *text, size_t bytes, size_t *out_word) {
    return gr_script_complete(context, text, bytes, out_word);
}

// Makes every folder of the path that is missing.
static bool make_folders(char *path) {
    for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

static void keep_history(gr_line_reader *lines) {
    gr_strbuf path = {0};
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state == '/')
        gr_strbuf_format(&path, "%s/gregale/script_history", state);
    else if (home && *home == '/')
        gr_strbuf_format(&path, "%s/.local/state/gregale/script_history", home);
    if (path.size && make_folders(path.data))
        gr_line_keep_history(lines, path.data); // libedit makes it the user's alone
    gr_strbuf_deinit(&path);
}

// Runs what was read. Returns whether it only lacks its end.
static bool run_text(lua_State *L, gr_script *script, const gr_strbuf *text) {
    bool incomplete;
    char *message = NULL;
    running = script;
    gr_script_prompt(L, text->data, text->size, &incomplete, &message);
    running = NULL;
    if (message)
        fprintf(stderr, "%s\n", message);
    free(message);
    fflush(stdout);
    gr_forget_interrupt();
    return incomplete;
}

// Ctrl-C takes back what was typed; twice in a row leaves.
static bool leaves(bool typed, int *presses) {
    if (gr_ending())
        return true;
    gr_forget_interrupt();
    *presses = typed ? 1 : *presses + 1;
    printf("^C%s\n", *presses == 1 ? " (again leaves)" : "");
    return *presses > 1;
}

static int converse(lua_State *L, gr_script *script, gr_line_reader *lines) {
    gr_strbuf text = {0};
    int presses = 0, code = GR_EXIT_OK;
    for (;;) {
        const char *line;
        bool typed;
        gr_line_result result = gr_line_read(lines, text.size ? ">> " : "> ", &line, &typed);
        if (result == GR_LINE_INTERRUPTED && !leaves(typed || text.size, &presses)) {
            gr_strbuf_clear(&text);
            continue;
        }
        if (result != GR_LINE_TEXT) {
            if (result == GR_LINE_END)
                putchar('\n');
            code = gr_ending() ? gr_ending() : result == GR_LINE_END ? GR_EXIT_OK : GR_EXIT_INTERRUPTED;
            break;
        }
        presses = 0;
        if (!text.size && !*line)
            continue;
        gr_strbuf_text(&text, line);
        gr_strbuf_cstr(&text);
        bool more = run_text(L, script, &text);
        if (gr_ending()) {
            code = gr_ending();
            break;
        }
        if (more) {
            gr_strbuf_text(&text, "\n");
            continue;
        }
        gr_line_remember(lines, gr_strbuf_cstr(&text));
        gr_strbuf_clear(&text);
    }
    gr_strbuf_deinit(&text);
    return code;
}

static int require_module(lua_State *L) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "gregale");
    lua_call(L, 1, 1);
    lua_setglobal(L, "gregale");
    lua_newtable(L);
    lua_setglobal(L, "arg");
    return 0;
}

int gr_prompt(lua_State *L, gr_script *script) {
    gr_line_reader *lines = gr_line_open();
    if (!lines)
        return gr_complain(GR_EXIT_RESOURCES, "script: no memory for a line editor");
    lua_pushcfunction(L, require_module);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        gr_line_close(lines);
        return gr_complain(GR_EXIT_RESOURCES, "cannot start Lua: %s", lua_tostring(L, -1));
    }
    gr_catch_interrupt(NULL);
    gr_on_interrupt(stop_script);
    keep_history(lines);
    gr_line_complete(lines, complete, L);
    printf("Gregale %s, Lua 5.4; `gregale` is the module. The tabulator completes; Ctrl-D leaves.\n", gr_version());
    int code = converse(L, script, lines);
    gr_on_interrupt(NULL);
    gr_line_close(lines);
    return code;
}
