// SPDX-License-Identifier: Apache-2.0
// prompt.h: Lua at a terminal. Inside the cli room.
#ifndef GREGALE_CLI_PROMPT_H
#define GREGALE_CLI_PROMPT_H

#include "script/script.h"

// Reads, runs and prints until the end. Returns an exit code.
int gr_prompt(lua_State *L, gr_script *script);

#endif
