// SPDX-License-Identifier: Apache-2.0
// What a process that has restricted itself can still do, and what it cannot, each tried in a child.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

enum { REFUSED = 0, DONE = 1, OTHERWISE = 2, UNAVAILABLE = 3 };

static int outcome(long result) {
    return result >= 0 ? DONE : errno == EPERM ? REFUSED : OTHERWISE;
}

static int start_process(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return outcome(child);
}

static int start_program(void) {
    execl("/bin/sh", "sh", "-c", "exit 1", (char *)NULL);
    return outcome(-1);
}

static int open_socket(void) {
    return outcome(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int signal_parent(void) {
    return outcome(kill(getppid(), 0));
}

static int make_link(void) {
    char name[] = "/tmp/gregale-test-XXXXXX";
    close(mkstemp(name));
    unlink(name);
    int result = outcome(symlink("/etc", name));
    unlink(name);
    return result;
}

static void *other_thread(void *socket_outcome) {
    *(int *)socket_outcome = open_socket();
    return NULL;
}

// A thread, which is restricted, too.
static int start_thread(void) {
    pthread_t thread;
    int seen = OTHERWISE;
    if (pthread_create(&thread, NULL, other_thread, &seen) != 0 || pthread_join(thread, NULL) != 0)
        return OTHERWISE;
    return seen;
}

static int signal_itself(void) {
    signal(SIGUSR1, SIG_IGN);
    return outcome(raise(SIGUSR1) == 0 ? 0 : -1);
}

static int run(int (*act)(void), bool restricted) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        if (restricted && !gr_os_restrict())
            _exit(UNAVAILABLE);
        _exit(act());
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void what_is_given_up_is_refused(void **state) {
    int (*const acts[])(void) = {start_process, start_program, open_socket, signal_parent, make_link, start_thread};
    (void)state;
    if (run(signal_itself, true) == UNAVAILABLE)
        skip();
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        assert_int_equal(run(acts[i], false), DONE);
        assert_int_equal(run(acts[i], true), REFUSED);
    }
    assert_int_equal(run(signal_itself, true), DONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_given_up_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
