// SPDX-License-Identifier: Apache-2.0
// record.h: the file of a recorded run, written and read. Inside the cli room. docs/replay.md describes it.
#ifndef GREGALE_CLI_RECORD_H
#define GREGALE_CLI_RECORD_H

#include "base/os.h"
#include "cli/cli.h"
#include "script/record.h"

// All zero is empty.
typedef struct gr_cli_record {
    gr_record record;
    // being written
    gr_file_writer writer;
    bool writing;
    // read
    char *script, sha256[65];
    char **arguments;
    int argument_count;
    bool sandboxed;
    gr_recorded *items;
    size_t count, capacity;
} gr_cli_record;

// Each returns an exit code, having complained.
// Begins the file at `path` with what runs; the rest is added as it happens.
int gr_cli_record_write(gr_cli_record *record, const char *path, const char *script, int argc, char *const *argv,
                        bool sandboxed);
// Puts the file in its place: it is whole, or not there. `code` is the script's exit code, which is returned.
int gr_cli_record_commit(gr_cli_record *record, int code);
// Reads a file, for record.expected.
int gr_cli_record_read(gr_cli_record *record, const char *path);
// Whether the script is what it was when it was recorded.
int gr_cli_record_check_script(const gr_cli_record *record);
void gr_cli_record_deinit(gr_cli_record *record); // a file that was not committed is gone

#endif
