// SPDX-License-Identifier: Apache-2.0
// line.h: reading lines at a terminal, with editing and history (libedit). Inside the cli room.
// One reader a process: it takes over signals while it reads.
#ifndef GREGALE_CLI_LINE_H
#define GREGALE_CLI_LINE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct gr_line_reader gr_line_reader;

typedef enum gr_line_result {
    GR_LINE_TEXT,
    GR_LINE_END,         // Ctrl-D, or the terminal is gone
    GR_LINE_INTERRUPTED, // Ctrl-C, or a signal that ends the program (gr_ending)
} gr_line_result;

gr_line_reader *gr_line_open(void); // NULL: no memory
void gr_line_close(gr_line_reader *reader);
// Reads a line of standard input, without its end. *out_line is borrowed until the next call, and NULL unless
// the result is TEXT. *out_typed (may be NULL): a key was pressed, Ctrl-C aside.
gr_line_result gr_line_read(gr_line_reader *reader, const char *prompt, const char **out_line, bool *out_typed);
// Adds a message to what the arrow keys bring back, and to the history's file.
void gr_line_remember(gr_line_reader *reader, const char *message);
// Brings back what the file holds, and keeps there what is remembered from now on. A file that cannot be read or
// written is none.
void gr_line_keep_history(gr_line_reader *reader, const char *path);
// The tabulator completes: `complete` gets the line up to the cursor and returns what its end could become, one a line,
// to be freed (NULL: nothing), and how many bytes at the end each would replace.
void gr_line_complete(gr_line_reader *reader,
                      char *(*complete)(void *context, const char *text, size_t bytes, size_t *out_word),
                      void *context);

#endif
