// SPDX-License-Identifier: Apache-2.0
// interrupt.c: signals that ask the program to stop. The first one stops what the engine does, a second one
// ends the program at once; while a line is being edited they are only noted, so that the terminal is put in
// order first. A signal that the parent made us ignore (nohup, a job in the background) stays ignored.
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static gr_engine *volatile stopped_engine; // for the handler alone
static void (*volatile stop)(void);
static volatile sig_atomic_t count, ending, held;

static void on_signal(int number) {
    count = count + 1;
    if (number != SIGINT)
        ending = 128 + number;
    if (count > 1 && !held)
        _exit(128 + number);
    if (stopped_engine)
        gr_engine_interrupt(stopped_engine);
    if (stop)
        stop();
}

void gr_on_interrupt(void (*function)(void)) {
    stop = function;
}

static void install(int number) {
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; // no SA_RESTART: reading a line ends
    sigemptyset(&action.sa_mask);
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

void gr_catch_interrupt(gr_engine *engine) {
    stopped_engine = engine;
    install(SIGINT);
    install(SIGTERM);
    install(SIGHUP);
}

void gr_forget_interrupt(void) {
    if (stopped_engine)
        gr_engine_interrupt_take(stopped_engine);
    if (!ending)
        count = 0;
}

void gr_hold_interrupt(bool hold) {
    held = hold;
}

bool gr_interrupted(void) {
    return count > 0;
}

int gr_ending(void) {
    return ending;
}
