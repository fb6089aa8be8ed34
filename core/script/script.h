// SPDX-License-Identifier: Apache-2.0
// script.h: runs Lua workflows: the `gregale` module in a Lua 5.4 state, and a script in it.
// For the command line and tests. One state belongs to one thread; gr_script_interrupt alone may be
// called from a signal handler.
#ifndef GREGALE_SCRIPT_SCRIPT_H
#define GREGALE_SCRIPT_SCRIPT_H

#include <lua.h>
#include <stdbool.h>

#include "gregale/engine.h"

// What the module keeps for one Lua state: the engine, and who runs now. Owned by the state.
typedef struct gr_script gr_script;

// Makes `require "gregale"` work in `L` (standard libraries opened already), and `require
// "gregale.NAME"` for the modules of scripts/lib, which are compiled in. Returns the state's
// gr_script, valid until lua_close. Raises a Lua error when out of memory; calling it again
// returns the same.
gr_script *gr_script_open(lua_State *L);

// The module's opener, as Lua's require calls it: pushes the module table and returns 1.
__attribute__((visibility("default"))) int luaopen_gregale(lua_State *L);

// Lines the engine logs go to `log` (NULL: silence). Before the first load.
void gr_script_set_log(gr_script *script,
                       void (*log)(void *context, gr_log_level level, const char *line),
                       void *context);

// Makes the engine now, in place of at first need.
gr_status gr_script_start(gr_script *script, gr_error *error);

// Runs the file at `path` ("-": standard input; a first line that begins with # is skipped) with
// the global table `arg` as the lua program sets it: arg[0] = path, arg[1]... = argv. On failure
// returns NOT_FOUND (no such file), CANCELLED (interrupted), OUT_OF_MEMORY or SCRIPT, and *out_message (may be
// NULL) is the message with a traceback that points into the script, to be freed with free().
gr_status gr_script_run(lua_State *L, const char *path, int argc, char *const *argv,
                        char **out_message);

// Runs `text` as typed at a prompt: an expression (a = in front says that it is one), whose values the global print
// prints, or statements. *out_incomplete: it only lacks its end, and nothing was run. Fails as gr_script_run does.
gr_status gr_script_prompt(lua_State *L, const char *text, size_t bytes, bool *out_incomplete, char **out_message);

// What the end of `text` could become: names, sorted, each with a line end behind it, to be freed with free(); NULL:
// none. *out_word is how many bytes at the end of the text each of them would replace. Runs no code of the script's.
char *gr_script_complete(lua_State *L, const char *text, size_t bytes, size_t *out_word);

// Raises "interrupted" in the script at the next Lua instruction or engine step. Async-signal-safe
// in the sense that the lua program relies on: it sets a flag and a debug hook.
void gr_script_interrupt(gr_script *script);

#endif
