// SPDX-License-Identifier: Apache-2.0
// cli.h: what the commands share: options, an opened engine and model, messages, exit codes.
// Inside the cli room, the only one that prints or exits. Single-threaded, but for the signal handler.
#ifndef GREGALE_CLI_CLI_H
#define GREGALE_CLI_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/strbuf.h"
#include "gregale/engine.h"

// Exit codes, as docs/command-line.md lists them.
enum {
    GR_EXIT_OK = 0,
    GR_EXIT_FAILURE = 1,     // anything not below
    GR_EXIT_USAGE = 2,       // the command line makes no sense
    GR_EXIT_INPUT = 3,       // a file or text is missing, broken or not supported
    GR_EXIT_RESOURCES = 4,   // not enough memory, or a limit was reached
    GR_EXIT_DEVICE = 5,      // no device, or the device failed
    GR_EXIT_SCRIPT = 6,      // a Lua script raised an error
    GR_EXIT_REFUSED = 7,     // so did a sandboxed one, having asked for what it was not granted
    GR_EXIT_INTERRUPTED = 130
};

// A command: `const gr_command gr_command_NAME` in command_NAME.c; CMake finds it by the file's name.
typedef struct gr_command {
    const char *name;
    const char *summary; // one line for `gregale --help`
    int (*run)(int argc, char **argv); // argv[0] is "gregale NAME"; returns an exit code
} gr_command;

const gr_command *const *gr_commands(void); // generated; ends with NULL

// ---- options.c: the options that many commands take
typedef struct gr_cli_options {
    const char *device;      // a split, where one was asked for
    const char *split, *sampler, *chat_format, *trace, *system, *prompt, *save, *restore;
    const char *constraint_kind, *constraint; // "json-schema" or "gbnf" and a file, or "regex" and its text
    const char *positional[4];
    int positional_count, positional_limit;
    uint32_t threads, context, max_tokens, chunk;
    uint64_t seed;
    double temperature;      // negative: not given
    int64_t sliding_window;
    gr_dtype cache_type;     // F16 when not given
    uint64_t cache_limit;    // bytes; 0: none
    bool has_sliding_window, json, quiet, offline, raw, deterministic;
    uint32_t wanted;         // gr_option_group bits: which groups this command takes
} gr_cli_options;
enum { GR_OPTIONS_MODEL = 1, GR_OPTIONS_GENERATE = 2, GR_OPTIONS_PROMPT = 4, GR_OPTIONS_CONSTRAIN = 8 };

// Parses argv by the groups in options->wanted and the command's own `extra` (may be NULL): exits with
// GR_EXIT_USAGE and one line on nonsense. `usage` names the positional arguments, `help` is the description.
// `extra_parse` gets keys the groups do not know, with `context`.
void gr_options_parse(int argc, char **argv, gr_cli_options *options, const char *usage, const char *help,
                      const struct argp_option *extra, error_t (*extra_parse)(int key, char *value, void *context),
                      void *context);
uint64_t gr_parse_u64(const char *text, uint64_t limit, const char *what); // exits with USAGE
double gr_parse_number(const char *text, double low, double high, const char *what);
// A name or text that must not be empty, as an unset variable of a script would leave it; exits with USAGE.
char *gr_option_filled(char *value, const char *what);
// The sampler chain that --sampler or --temperature asks for; NULL: the engine's default.
const char *gr_options_sampler(const gr_cli_options *options);

// ---- samplers.c: prints what a sampler chain can be made of
void gr_print_samplers(void);

// ---- session.c: an engine and a model as the options ask
typedef struct gr_cli {
    gr_engine *engine;
    gr_model *model;
    gr_session *session;
    gr_error error;
} gr_cli;
// Each returns an exit code, having printed the error.
int gr_cli_open_engine(gr_cli *cli, const gr_cli_options *options);
int gr_cli_open_model(gr_cli *cli, const gr_cli_options *options, const char *path);
int gr_cli_open_session(gr_cli *cli, const gr_cli_options *options); // restored, when they name a file
// Evaluates the prompt, with a progress bar. Prints nothing else.
gr_status gr_cli_evaluate(gr_cli *cli);
// Writes the trace that was asked for, lets go of everything; returns `code`, or what writing the trace gave.
int gr_cli_close(gr_cli *cli, const gr_cli_options *options, int code);

// ---- move.c
// Draws the progress of a move; false once interrupted. For gr_move_options.
bool gr_move_progress(void *context, const gr_move_info *info);
// One line on how a move went.
void gr_print_move(FILE *stream, const gr_move_info *info);
// What --move-at and --shadow ask for, for one answer; all zero to begin with.
typedef struct gr_cli_move {
    const char *device;    // NULL: it stays
    uint32_t after;        // tokens of the answer before the move begins
    uint32_t shadow;       // tokens to compare; 0: it is no shadow
    gr_move_policy policy; // of a shadow
    bool has_policy;
    bool started;
    int code;              // why it could not begin
    gr_move *move;
    gr_session *session;   // borrowed
    uint64_t prompt_tokens;
    gr_error error;
} gr_cli_move;
extern const struct argp_option gr_cli_move_options[]; // for gr_options_parse
error_t gr_cli_move_parse(int key, char *value, void *context);
// Before the answer, the prompt being evaluated; with every piece of it; behind it, when the answer has ended with
// the exit code `code`. The last says how the move went and returns the exit code of both.
void gr_cli_move_begin(gr_cli_move *m, gr_cli *cli);
void gr_cli_move_advance(gr_cli_move *m);
int gr_cli_move_end(gr_cli_move *m, gr_cli *cli, const gr_cli_options *options, int code);

// ---- snapshot.c
// Saves the session, with a progress bar, also when what it did last was interrupted.
int gr_cli_save(gr_cli *cli, const char *path);
// Puts the session of a file in place of the present one, which stays when that fails.
int gr_cli_restore(gr_cli *cli, const gr_cli_options *options, const char *path);

// ---- constraint.c
// The grammar that the options ask for, NULL when they ask for none; the caller releases it. Returns an exit
// code, having printed the error.
int gr_cli_open_grammar(gr_cli *cli, const gr_cli_options *options, gr_grammar **out_grammar);

// ---- report.c
bool gr_is_terminal(FILE *stream);
int gr_exit_code(gr_status status);
// Prints "gregale: message" to standard error and returns the exit code for it.
int gr_report(const gr_error *error);
GR_PRINTF(2, 3)
int gr_complain(int exit_code, const char *format, ...);
// A progress bar on standard error when that is a terminal; nothing otherwise.
bool gr_progress(void *context, double fraction, const char *what);
// Draws it at once, empty: what follows is known to take a while.
void gr_progress_expect(const char *what);
void gr_progress_end(void);
// Streams a piece of an answer to standard output; false once that cannot be written.
bool gr_print_piece(void *context, const char *text, size_t bytes);
// Reads `path` ("-": standard input) whole.
int gr_read_text(const char *path, gr_strbuf *text);
// Says so when standard input could not be read, as the last call on it told.
int gr_check_input(void);

// ---- interrupt.c
// From now on Ctrl-C, SIGTERM and SIGHUP stop what `engine` (NULL: nobody) is doing; another one, before
// gr_forget_interrupt, ends the program at once.
void gr_catch_interrupt(gr_engine *engine);
bool gr_interrupted(void);
// The signals' handler calls it (NULL: nothing), too.
void gr_on_interrupt(void (*function)(void));
// What was interrupted has been dealt with. SIGTERM and SIGHUP are not forgotten: the program is to end.
void gr_forget_interrupt(void);
// While held, signals are noted and nothing ends.
void gr_hold_interrupt(bool hold);
// The exit code that SIGTERM or SIGHUP asks for; 0: neither came.
int gr_ending(void);

#endif
