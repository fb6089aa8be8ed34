// SPDX-License-Identifier: Apache-2.0
// command_chat.c: gregale chat: a conversation at a terminal, or line by line from a pipe.
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/cli.h"
#include "cli/line.h"

typedef struct chat {
    gr_cli cli;
    gr_cli_options options;
    const char *path;
    char *system;        // owned
    char sampler[1024];  // "" : as the options say
    bool terminal, quit;
    gr_line_reader *lines; // at a terminal
    int presses;           // of Ctrl-C, without another key between
    int code;
} chat;

// ---- Reading a message: a line; a line that ends in \ goes on; """ opens and closes a block.

// A line from a pipe, NULL at the end; the caller frees it.
static char *read_piped(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t count = getline(&line, &capacity, stdin);
    if (count < 0) {
        free(line);
        return NULL;
    }
    if (count && line[count - 1] == '\n')
        line[count - 1] = '\0';
    return line;
}

// Ctrl-C takes the message back; twice in a row leaves.
static bool leaves(chat *c, bool typed) {
    if (gr_ending())
        return true;
    gr_forget_interrupt();
    c->presses = typed ? 1 : c->presses + 1;
    printf("^C%s\n", c->presses == 1 ? " (again leaves)" : "");
    return c->presses > 1;
}

// Adds one line to a message that is being read. Returns whether more is to come.
static bool add_line(gr_strbuf *text, const char *line, bool *block) {
    size_t size = strlen(line);
    if (strcmp(line, "\"\"\"") == 0)
        return *block = !*block;
    bool more = *block || (size && line[size - 1] == '\\');
    gr_strbuf_add(text, line, !*block && more ? size - 1 : size);
    if (more)
        gr_strbuf_text(text, "\n");
    return more;
}

// Reads a line into `text`. Returns whether more is to come; *out_end when nothing will.
static bool read_line(chat *c, gr_strbuf *text, bool first, bool *block, bool *out_end) {
    const char *line = NULL;
    char *piped = NULL;
    bool typed = false, more;
    if (c->terminal) {
        gr_line_result result = gr_line_read(c->lines, first ? "> " : ". ", &line, &typed);
        if (result == GR_LINE_INTERRUPTED) {
            gr_strbuf_clear(text);
            *block = false;
            *out_end = leaves(c, typed);
            c->code = *out_end ? gr_exit_code(GR_ERROR_CANCELLED) : c->code;
            return !*out_end;
        }
        c->presses = 0;
        if (result == GR_LINE_END)
            putchar('\n');
    } else {
        line = piped = read_piped();
        if (!line)
            c->code = gr_interrupted() ? gr_exit_code(GR_ERROR_CANCELLED) : gr_check_input();
    }
    *out_end = !line;
    more = line && add_line(text, line, block);
    free(piped);
    return more;
}

static bool read_message(chat *c, gr_strbuf *text) {
    bool block = false, more = true, end = false;
    gr_strbuf_clear(text);
    for (bool first = true; more; first = !text->size && !block)
        more = read_line(c, text, first, &block, &end);
    if (end && (c->code || !text->size))
        return false;
    while (text->size && text->data[text->size - 1] == '\n')
        text->data[--text->size] = '\0';
    if (text->size && c->terminal)
        gr_line_remember(c->lines, text->data);
    return true;
}

// ---- Answering

static bool collect_piece(void *context, const char *text, size_t bytes) {
    gr_strbuf_add(context, text, bytes);
    return true;
}

static void print_json(const gr_strbuf *text, const gr_request_info *info) {
    gr_strbuf line = {0};
    gr_strbuf_text(&line, "{\"type\":\"answer\",\"text\":");
    gr_strbuf_json(&line, (gr_str){gr_strbuf_cstr(text), text->size});
    gr_strbuf_format(&line, ",\"prompt_tokens\":%u,\"generated_tokens\":%u,\"seed\":%llu}", info->prompt_tokens,
                     info->generated_tokens, (unsigned long long)info->seed);
    puts(gr_strbuf_cstr(&line));
    fflush(stdout);
    gr_strbuf_deinit(&line);
}

static void say_how_it_ended(chat *c, gr_status status, const gr_request_info *info) {
    if (status == GR_ERROR_CANCELLED)
        fputs("(stopped)\n", stderr);
    else if (status != GR_OK)
        c->code = gr_report(&c->cli.error);
    else if (info->stop_reason == GR_STOP_CONTEXT && !c->options.quiet)
        fputs("gregale: stopped: the context is full (--context; /reset starts over, /undo goes back)\n", stderr);
    if (gr_ending() || (status == GR_ERROR_CANCELLED && !c->terminal))
        c->code = gr_exit_code(GR_ERROR_CANCELLED);
}

// Answers the last turn. Returns whether there is an answer, be it half of one.
static bool answer(chat *c) {
    gr_strbuf text = {0};
    gr_request *request = NULL;
    bool json = c->options.json;
    const gr_generate_options wanted = {.struct_size = sizeof wanted,
                                        .max_tokens = c->options.max_tokens,
                                        .seed = c->options.seed,
                                        .sampler = c->sampler[0] ? c->sampler : gr_options_sampler(&c->options)};
    gr_request_info info = {.struct_size = sizeof info};
    gr_forget_interrupt();
    gr_status status = gr_session_apply_turns(c->cli.session, &c->cli.error);
    if (status == GR_OK)
        status = gr_cli_evaluate(&c->cli);
    if (status == GR_OK)
        status = gr_session_generate(c->cli.session, &wanted, json ? collect_piece : gr_print_piece, &text, &request,
                                     &c->cli.error);
    if (request) {
        gr_request_info_get(request, &info);
        if (json)
            print_json(&text, &info);
        else
            putchar('\n');
        fflush(stdout);
    }
    say_how_it_ended(c, status, &info);
    c->presses = gr_interrupted(); // the next one leaves
    gr_forget_interrupt();
    gr_request_release(request);
    gr_strbuf_deinit(&text);
    return request && info.stop_reason != GR_STOP_ERROR;
}

// ---- The conversation

static gr_status add_turn(chat *c, gr_chat_role role, const char *text, size_t bytes) {
    return gr_session_turn(c->cli.session, role, text, bytes, &c->cli.error);
}

// Starts over with the system prompt alone.
static void start_over(chat *c) {
    gr_session_release(c->cli.session);
    c->cli.session = NULL;
    c->options.restore = NULL; // of the beginning
    c->code = gr_cli_open_session(&c->cli, &c->options);
    if (!c->code && c->system && add_turn(c, GR_CHAT_SYSTEM, c->system, strlen(c->system)) != GR_OK)
        c->code = gr_report(&c->cli.error);
    c->quit = c->code != 0;
}

// Index of the last user turn, or -1.
static int last_user_turn(const chat *c) {
    for (int i = (int)gr_session_turn_count(c->cli.session) - 1; i >= 0; i--) {
        gr_chat_role role;
        const char *text;
        size_t bytes;
        gr_session_turn_get(c->cli.session, (uint32_t)i, &role, &text, &bytes);
        if (role == GR_CHAT_USER)
            return i;
    }
    return -1;
}

static void drop_from(chat *c, uint32_t index) {
    if (gr_session_turns_truncate(c->cli.session, index, &c->cli.error) != GR_OK)
        gr_report(&c->cli.error);
}

// ---- Commands. Each gets what follows its name.

static void do_help(chat *c, const char *argument);

static void do_reset(chat *c, const char *argument) {
    (void)argument;
    start_over(c);
}

static void do_undo(chat *c, const char *argument) {
    int turn = last_user_turn(c);
    (void)argument;
    if (turn < 0)
        fputs("nothing to undo\n", stderr);
    else
        drop_from(c, (uint32_t)turn);
}

static void do_regen(chat *c, const char *argument) {
    int turn = last_user_turn(c);
    (void)argument;
    if (turn < 0) {
        fputs("nothing to answer again\n", stderr);
        return;
    }
    drop_from(c, (uint32_t)turn + 1);
    answer(c);
}

static void do_system(chat *c, const char *argument) {
    free(c->system);
    c->system = *argument ? strdup(argument) : NULL;
    start_over(c);
}

static void do_save(chat *c, const char *argument) {
    if (*argument)
        gr_cli_save(&c->cli, argument);
    else
        fputs("/save needs a file name\n", stderr);
}

static void do_restore(chat *c, const char *argument) {
    if (*argument)
        gr_cli_restore(&c->cli, &c->options, argument);
    else
        fputs("/restore needs a file name\n", stderr);
}

static void do_export(chat *c, const char *argument) {
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    gr_strbuf out = {0};
    for (uint32_t i = 0; i < gr_session_turn_count(c->cli.session); i++) {
        gr_chat_role role;
        const char *text;
        size_t bytes;
        gr_session_turn_get(c->cli.session, i, &role, &text, &bytes);
        gr_strbuf_format(&out, "%s %zu\n", names[role], bytes);
        gr_strbuf_add(&out, text, bytes);
        gr_strbuf_text(&out, "\n");
    }
    if (!*argument)
        fputs("/export needs a file name\n", stderr);
    else if (gr_file_write(argument, gr_strbuf_cstr(&out), out.size, &c->cli.error) != GR_OK)
        gr_report(&c->cli.error);
    gr_strbuf_deinit(&out);
}

// Reads "role bytes\ntext\n" records; nothing changes unless all of it is good.
static bool parse_saved(chat *c, const gr_strbuf *in, bool apply) {
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    size_t at = 0;
    while (at < in->size) {
        char name[16];
        unsigned long long bytes;
        int used = 0, role = -1;
        if (sscanf(in->data + at, "%15s %llu%n", name, &bytes, &used) < 2 || in->data[at + (size_t)used] != '\n')
            return false;
        for (int i = 0; i < 4; i++)
            if (strcmp(name, names[i]) == 0)
                role = i;
        at += (size_t)used + 1;
        if (role < 0 || bytes > in->size - at || at + bytes >= in->size || in->data[at + bytes] != '\n')
            return false;
        if (apply && add_turn(c, (gr_chat_role)role, in->data + at, bytes) != GR_OK)
            return false;
        at += bytes + 1;
    }
    return true;
}

static void do_import(chat *c, const char *argument) {
    gr_strbuf in = {0};
    if (!*argument) {
        fputs("/import needs a file name\n", stderr);
    } else if (gr_file_read(argument, 1 << 26, &in, &c->cli.error) != GR_OK) {
        gr_report(&c->cli.error);
    } else if (!parse_saved(c, &in, false)) {
        gr_complain(GR_EXIT_INPUT, "%s: not a conversation that /export wrote", argument);
    } else {
        drop_from(c, 0);
        parse_saved(c, &in, true);
    }
    gr_strbuf_deinit(&in);
}

static void set_sampler(chat *c, const char *value) {
    if (gr_sampler_check(value, &c->cli.error) != GR_OK)
        fprintf(stderr, "/set sampler: %s\n", c->cli.error.message);
    else if (strlen(value) >= sizeof c->sampler)
        fprintf(stderr, "/set sampler: at most %zu characters\n", sizeof c->sampler - 1);
    else
        snprintf(c->sampler, sizeof c->sampler, "%s", value);
}

static void do_set(chat *c, const char *argument) {
    static const struct {
        const char *name;
        double limit;
    } settings[] = {{"sampler", 0}, {"temperature", 100}, {"max-tokens", 1 << 30}, {"seed", 9007199254740991.0}};
    enum { SAMPLER, TEMPERATURE, MAX_TOKENS, SEED, COUNT };
    size_t length = strcspn(argument, " ");
    const char *value = argument + length + strspn(argument + length, " ");
    int which = 0;
    while (which < COUNT && (strlen(settings[which].name) != length || strncmp(settings[which].name, argument, length) != 0))
        which++;
    if (which == COUNT || !*value) {
        fputs("/set temperature|sampler|max-tokens|seed VALUE\n", stderr);
        return;
    }
    if (which == SAMPLER) {
        set_sampler(c, value);
        return;
    }
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !(number >= 0 && number <= settings[which].limit) ||
        (which != TEMPERATURE && number != (double)(uint64_t)number)) {
        fprintf(stderr, "/set %s: expected a %snumber from 0 to %.0f, found '%s'\n", settings[which].name,
                which == TEMPERATURE ? "" : "whole ", settings[which].limit, value);
        return;
    }
    if (which == TEMPERATURE)
        c->options.temperature = number, c->options.sampler = NULL, c->sampler[0] = '\0';
    else if (which == MAX_TOKENS)
        c->options.max_tokens = (uint32_t)number;
    else
        c->options.seed = (uint64_t)number;
}

// Without a name says where the conversation runs; with one it moves there.
static void do_device(chat *c, const char *argument) {
    if (!*argument) {
        printf("%s; there are:", gr_session_device(c->cli.session));
        for (uint32_t i = 0; i < gr_engine_device_count(c->cli.engine); i++) {
            gr_device_info device = {.struct_size = sizeof device};
            gr_engine_device(c->cli.engine, i, &device);
            printf(" %s", device.name);
        }
        putchar('\n');
        return;
    }
    const gr_move_options options = {.struct_size = sizeof options, .progress = gr_move_progress};
    gr_move_info info = {.struct_size = sizeof info};
    gr_forget_interrupt();
    gr_status status = gr_model_move(c->cli.model, argument, &options, &info, &c->cli.error);
    gr_progress_end();
    if (status != GR_OK)
        gr_report(&c->cli.error);
    else if (c->terminal)
        gr_print_move(stdout, &info);
    c->presses = gr_interrupted();
    gr_forget_interrupt();
}

static void do_quit(chat *c, const char *argument) {
    (void)argument;
    c->quit = true;
}

static const struct {
    const char *name, *help;
    void (*run)(chat *c, const char *argument);
} commands[] = {
    {"help", "this list", do_help},
    {"reset", "forget the conversation", do_reset},
    {"undo", "take back the last question and its answer", do_undo},
    {"regen", "answer the last question again", do_regen},
    {"system", "TEXT: a system prompt, starting over; empty: none", do_system},
    {"save", "FILE: write the session, cache and all", do_save},
    {"restore", "FILE: go on with one that was saved", do_restore},
    {"export", "FILE: write the conversation as text", do_export},
    {"import", "FILE: read one that was exported", do_import},
    {"set", "temperature|sampler|max-tokens|seed VALUE", do_set},
    {"device", "[NAME]: say where the conversation runs, or move it there", do_device},
    {"quit", "leave (also Ctrl-D)", do_quit},
};

static void do_help(chat *c, const char *argument) {
    (void)c;
    (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("/%-8s %s\n", commands[i].name, commands[i].help);
    puts("A line that ends in \\ goes on; \"\"\" alone opens and closes a block. Ctrl-C stops an answer, twice leaves.");
}

static void run_command(chat *c, const char *text) {
    size_t length = strcspn(text, " ");
    const char *argument = text + length + strspn(text + length, " ");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strlen(commands[i].name) == length && strncmp(commands[i].name, text, length) == 0) {
            commands[i].run(c, argument);
            return;
        }
    }
    fprintf(stderr, "no command /%.*s; /help lists them\n", (int)length, text);
}

static void converse(chat *c) {
    gr_strbuf text = {0};
    gr_forget_interrupt();
    if (c->terminal)
        puts("Type a message; /help lists the commands.");
    while (!c->quit && !gr_ending() && read_message(c, &text)) {
        c->code = 0; // a failure that the terminal showed has been seen
        if (!text.size)
            continue;
        if (text.data[0] == '/') {
            run_command(c, text.data + 1);
        } else if (add_turn(c, GR_CHAT_USER, text.data, text.size) != GR_OK) {
            c->code = gr_report(&c->cli.error);
        } else if (!answer(c) && gr_session_turn_count(c->cli.session)) {
            drop_from(c, gr_session_turn_count(c->cli.session) - 1); // not asked, then
        }
        if (ferror(stdout))
            break; // nobody reads the answers
        if (c->code && !c->terminal)
            break; // a script should not go on past an error
    }
    gr_strbuf_deinit(&text);
}

static int run(int argc, char **argv) {
    chat c = {.options = {.wanted = GR_OPTIONS_MODEL | GR_OPTIONS_GENERATE, .positional_limit = 1}};
    gr_options_parse(argc, argv, &c.options, "MODEL", "Talk to a model. From a pipe, each line is a message.", NULL, NULL, NULL);
    if (!c.options.positional_count)
        return gr_complain(GR_EXIT_USAGE, "chat: expected a model file; see gregale chat --help");
    if (c.options.raw)
        return gr_complain(GR_EXIT_USAGE, "chat: --raw makes no sense in a conversation; see gregale run --help");
    c.path = c.options.positional[0];
    c.terminal = gr_is_terminal(stdin) && gr_is_terminal(stdout);
    c.system = c.options.system ? strdup(c.options.system) : NULL;
    c.code = gr_cli_open_model(&c.cli, &c.options, c.path);
    gr_model_info info = {.struct_size = sizeof info};
    if (!c.code)
        gr_model_info_get(c.cli.model, &info);
    if (!c.code && !info.chat_format[0])
        c.code = gr_complain(GR_EXIT_INPUT, "%s: a base model without a chat format; choose one with --chat-format, or use gregale run", c.path);
    if (!c.code && c.options.restore)
        c.code = gr_cli_open_session(&c.cli, &c.options);
    else if (!c.code)
        start_over(&c);
    if (!c.code && c.terminal && !(c.lines = gr_line_open()))
        c.code = gr_complain(GR_EXIT_RESOURCES, "chat: no memory for a line editor");
    if (!c.code)
        converse(&c);
    gr_line_close(c.lines);
    if (c.options.save && c.cli.session) {
        int saved = gr_cli_save(&c.cli, c.options.save);
        c.code = c.code ? c.code : saved;
    }
    c.code = gr_cli_close(&c.cli, &c.options, c.code);
    free(c.system);
    return c.code;
}

const gr_command gr_command_chat = {"chat", "talk to a model", run};
