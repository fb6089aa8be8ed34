// SPDX-License-Identifier: Apache-2.0
// sandbox.h: a Lua state for scripts that nobody trusts: few libraries, budgets, files by grant alone. docs/sandbox.md
// says what it promises. The process around it, which can be killed, is the command line's.
// One state and its sandbox belong to one thread.
#ifndef GREGALE_SCRIPT_SANDBOX_H
#define GREGALE_SCRIPT_SANDBOX_H

#include "script/script.h"

// A folder, or one file, that may be read, and perhaps written.
typedef struct gr_grant {
    bool write;
    int folder;  // open
    char *given; // as the user wrote it, without a slash at the end
    char *real;  // absolute, free of links; of the file itself when `only` is set
    char *only;  // the name of the one file in `folder`; NULL: all below
} gr_grant;

enum { GR_SANDBOX_GRANTS = 32 };

// Budgets, set by the caller, and what became of them. All zero, but for budgets, is a sandbox without grants. It
// outlives the state that gr_sandbox_open made.
typedef struct gr_sandbox {
    uint64_t memory;       // most bytes of Lua's values
    uint64_t instructions; // of all coroutines together
    uint64_t memory_used;
    bool spent;            // all instructions were used
    bool refused;          // the script asked for what it was not granted
    gr_grant grants[GR_SANDBOX_GRANTS];
    uint32_t grant_count;
} gr_sandbox;

// Adds a grant, "read:PATH" or "write:PATH" (which reads, too); PATH exists. INVALID_ARGUMENT when it is neither,
// OUT_OF_RANGE when there are too many.
gr_status gr_sandbox_allow(gr_sandbox *sandbox, const char *grant, gr_error *error);
void gr_sandbox_deinit(gr_sandbox *sandbox); // grants; after lua_close
// Makes the state: the libraries of docs/sandbox.md, `require "gregale"`, budgets from now on. To be closed by
// lua_close. OUT_OF_MEMORY when the budget does not even hold that.
gr_status gr_sandbox_open(gr_sandbox *sandbox, lua_State **out_state, gr_script **out_script, gr_error *error);

// Opens a regular file for reading, or with `flags` of open for writing, as granted: PERMISSION says that it is not,
// NOT_FOUND and IO what the system says.
gr_status gr_sandbox_file(gr_sandbox *sandbox, const char *path, int flags, int *out_file, gr_error *error);
// The absolute name, free of links, of a granted file to be read, or of one to be replaced or made.
gr_status gr_sandbox_path(gr_sandbox *sandbox, const char *path, bool write, char *out_path, size_t capacity,
                          gr_error *error);

#endif
