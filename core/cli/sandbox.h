// SPDX-License-Identifier: Apache-2.0
// sandbox.h: the process around a script that nobody trusts. Inside the cli room. Before any thread is made.
#ifndef GREGALE_CLI_SANDBOX_H
#define GREGALE_CLI_SANDBOX_H

#include "cli/cli.h"
#include "script/sandbox.h"

typedef struct gr_cli_sandbox {
    bool wanted;
    double seconds;          // of wall time
    uint64_t process_memory; // bytes
    gr_sandbox budgets;
} gr_cli_sandbox;

void gr_cli_sandbox_init(gr_cli_sandbox *sandbox); // defaults
// Sets what the option `name` asks for (script.c lists them). Exits with USAGE or INPUT on nonsense.
void gr_cli_sandbox_option(gr_cli_sandbox *sandbox, const char *name, const char *value);
// Goes on in a child, for which it returns true. In the parent it waits, kills the child when its time is up, and
// returns false with the exit code.
bool gr_cli_sandbox_fork(const gr_cli_sandbox *sandbox, int *out_code);
// In the child, before the script runs and once all devices are known: no more processes, programs, connections and
// privileges, no more memory than allowed. False, having complained, where the system has no such thing.
bool gr_cli_sandbox_close(const gr_cli_sandbox *sandbox);
// The exit code of the script that ended with `code`.
int gr_cli_sandbox_code(const gr_cli_sandbox *sandbox, int code);

#endif
