// SPDX-License-Identifier: Apache-2.0
// line.c: libedit, fed key by key. While a line is read signals are blocked but for the moments spent waiting
// for a key (pselect), so that none is lost and none comes while libedit is at work.
#include <errno.h>
#include <histedit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

#include "cli/cli.h"
#include "cli/line.h"

struct gr_line_reader {
    EditLine *edit;
    History *history;
    const char *prompt;
    char *line;
    mbstate_t decoder;
    sigset_t waiting; // what is let through while waiting for a key
    bool typed;
    char *(*complete)(void *context, const char *text, size_t bytes, size_t *out_word);
    void *complete_context;
    char *history_path; // NULL: none
};

static volatile sig_atomic_t resized, suspended;

static void on_notice(int number) {
    if (number == SIGTSTP)
        suspended = 1;
    else
        resized = 1;
}

// Ctrl-Z: the terminal is given back as it was found, and taken again when we go on.
static void suspend(EditLine *edit) {
    suspended = 0;
    el_set(edit, EL_PREP_TERM, 0);
    fputc('\n', stdout);
    fflush(stdout);
    raise(SIGSTOP);
    el_set(edit, EL_PREP_TERM, 1);
    el_set(edit, EL_REFRESH);
}

static void see_to_notices(EditLine *edit) {
    if (suspended)
        suspend(edit);
    if (resized) {
        resized = 0;
        el_resize(edit);
        el_set(edit, EL_REFRESH);
    }
}

// One byte: 1; 0 at the end; -1 when a signal or a lost terminal ends the line.
static int read_byte(gr_line_reader *reader, char *out_byte) {
    for (;;) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(STDIN_FILENO, &set);
        if (gr_interrupted())
            return -1;
        see_to_notices(reader->edit);
        if (pselect(STDIN_FILENO + 1, &set, NULL, NULL, NULL, &reader->waiting) < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        ssize_t count = read(STDIN_FILENO, out_byte, 1);
        if (count >= 0)
            return (int)count;
        if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
}

static int read_key(EditLine *edit, wchar_t *out_key) {
    gr_line_reader *reader;
    char byte;
    el_get(edit, EL_CLIENTDATA, &reader);
    for (;;) {
        int status = read_byte(reader, &byte);
        if (status <= 0)
            return status;
        reader->typed = true;
        size_t used = mbrtowc(out_key, &byte, 1, &reader->decoder);
        if (used == (size_t)-2)
            continue; // more bytes to come
        if (used != (size_t)-1)
            return 1;
        memset(&reader->decoder, 0, sizeof reader->decoder); // no character: let it be
    }
}

static char *show_prompt(EditLine *edit) {
    gr_line_reader *reader;
    el_get(edit, EL_CLIENTDATA, &reader);
    return (char *)(uintptr_t)reader->prompt;
}

static void bind_keys(EditLine *edit) {
    static const char *const keys[][2] = {
        {"^R", "em-inc-search-prev"},      {"\\e[3~", "ed-delete-next-char"}, {"\\e[H", "ed-move-to-beg"},
        {"\\e[F", "ed-move-to-end"},       {"\\e[1~", "ed-move-to-beg"},      {"\\e[4~", "ed-move-to-end"},
        {"\\e[1;5C", "em-next-word"},      {"\\e[1;5D", "ed-prev-word"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        el_set(edit, EL_BIND, keys[i][0], keys[i][1], NULL);
}

gr_line_reader *gr_line_open(void) {
    HistEvent event;
    gr_line_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return NULL;
    reader->edit = el_init("gregale", stdin, stdout, stderr);
    reader->history = history_init();
    if (!reader->edit || !reader->history) {
        gr_line_close(reader);
        return NULL;
    }
    history(reader->history, &event, H_SETSIZE, 1000);
    el_set(reader->edit, EL_CLIENTDATA, reader);
    el_set(reader->edit, EL_PROMPT, show_prompt);
    el_set(reader->edit, EL_EDITOR, "emacs");
    el_set(reader->edit, EL_SIGNAL, 0);
    el_set(reader->edit, EL_GETCFN, read_key);
    el_set(reader->edit, EL_HIST, history, reader->history);
    bind_keys(reader->edit);
    el_source(reader->edit, NULL);
    return reader;
}

void gr_line_close(gr_line_reader *reader) {
    if (!reader)
        return;
    if (reader->edit)
        el_end(reader->edit);
    if (reader->history)
        history_end(reader->history);
    free(reader->line);
    free(reader->history_path);
    free(reader);
}

void gr_line_remember(gr_line_reader *reader, const char *message) {
    HistEvent event;
    history(reader->history, &event, H_ENTER, message);
    if (reader->history_path)
        history(reader->history, &event, H_SAVE, reader->history_path);
}

void gr_line_keep_history(gr_line_reader *reader, const char *path) {
    HistEvent event;
    free(reader->history_path);
    reader->history_path = strdup(path);
    history(reader->history, &event, H_SETUNIQUE, 1);
    history(reader->history, &event, H_LOAD, path);
}

// ---- Completion

// How many bytes all of the names, one a line, begin with alike.
static size_t common_prefix(const char *names) {
    size_t size = strcspn(names, "\n");
    for (const char *name = names; *name; name += strcspn(name, "\n") + 1) {
        size_t same = 0;
        while (same < size && name[same] == names[same])
            same++;
        size = same;
    }
    return size;
}

static void list_names(const char *names) {
    int column = 0;
    putchar('\n');
    for (const char *name = names; *name; name += strcspn(name, "\n") + 1) {
        int size = (int)strcspn(name, "\n");
        if (column && column + size + 2 > 78) {
            putchar('\n');
            column = 0;
        }
        column += printf("%.*s  ", size, name);
    }
    putchar('\n');
    fflush(stdout);
}

// Inserts what all candidates have in common; where that is nothing, lists them.
static unsigned char complete_word(EditLine *edit, int key) {
    gr_line_reader *reader;
    const LineInfo *line = el_line(edit);
    size_t word = 0;
    char more[256];
    (void)key;
    el_get(edit, EL_CLIENTDATA, &reader);
    if (!reader->complete)
        return CC_ERROR;
    char *names = reader->complete(reader->complete_context, line->buffer, (size_t)(line->cursor - line->buffer), &word);
    size_t common = names ? common_prefix(names) : 0;
    unsigned char result = CC_ERROR;
    if (common > word && common - word < sizeof more) {
        snprintf(more, sizeof more, "%.*s", (int)(common - word), names + word);
        result = el_insertstr(edit, more) == 0 ? CC_REFRESH : CC_ERROR;
    } else if (names && names[strcspn(names, "\n")] && names[strcspn(names, "\n") + 1]) {
        list_names(names);
        result = CC_REDISPLAY;
    }
    free(names);
    return result;
}

void gr_line_complete(gr_line_reader *reader,
                      char *(*complete)(void *context, const char *text, size_t bytes, size_t *out_word),
                      void *context) {
    reader->complete = complete;
    reader->complete_context = context;
    el_set(reader->edit, EL_ADDFN, "complete", "complete the word", complete_word);
    el_set(reader->edit, EL_BIND, "^I", "complete", NULL);
}

static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH};

static void take_signals(gr_line_reader *reader, struct sigaction before[2]) {
    struct sigaction action;
    sigset_t blocked;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_notice;
    sigemptyset(&action.sa_mask);
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        sigaddset(&blocked, taken[i]);
    gr_hold_interrupt(true);
    sigprocmask(SIG_BLOCK, &blocked, &reader->waiting);
    sigaction(SIGTSTP, &action, &before[0]);
    sigaction(SIGWINCH, &action, &before[1]);
}

static void give_signals_back(gr_line_reader *reader, const struct sigaction before[2]) {
    sigaction(SIGTSTP, &before[0], NULL);
    sigaction(SIGWINCH, &before[1], NULL);
    sigprocmask(SIG_SETMASK, &reader->waiting, NULL); // what is pending comes now
    gr_hold_interrupt(false);
}

gr_line_result gr_line_read(gr_line_reader *reader, const char *prompt, const char **out_line, bool *out_typed) {
    struct sigaction before[2];
    int count = 0;
    *out_line = NULL;
    free(reader->line);
    reader->line = NULL;
    reader->prompt = prompt;
    reader->typed = false;
    fflush(stdout);
    take_signals(reader, before);
    const char *text = el_gets(reader->edit, &count);
    if (text && count > 0 && (reader->line = strdup(text)))
        reader->line[strcspn(reader->line, "\r\n") == strlen(text) - 1 ? strlen(text) - 1 : strlen(text)] = '\0';
    if (!text)
        el_reset(reader->edit);
    give_signals_back(reader, before);
    if (out_typed)
        *out_typed = reader->typed;
    *out_line = reader->line;
    if (gr_interrupted())
        return GR_LINE_INTERRUPTED;
    return reader->line ? GR_LINE_TEXT : GR_LINE_END;
}
