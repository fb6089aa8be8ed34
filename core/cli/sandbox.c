// SPDX-License-Identifier: Apache-2.0
// sandbox.c: the script runs in a child that its parent can kill, since functions of C that run for ever are seen by
// no hook; the child gives up what a script has no use for.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "base/bytes.h"
#include "base/os.h"
#include "cli/sandbox.h"

void gr_cli_sandbox_init(gr_cli_sandbox *sandbox) {
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    *sandbox = (gr_cli_sandbox){.seconds = 300,
                                .process_memory = memory / 4 * 3,
                                .budgets = {.memory = UINT64_C(256) << 20, .instructions = UINT64_C(10000000000)}};
}

static uint64_t parse_bytes(const char *name, const char *value) {
    uint64_t bytes;
    if (!gr_bytes_parse(value, &bytes))
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected an amount of memory such as 64M, found '%s'", name, value));
    return bytes;
}

static void allow(gr_cli_sandbox *sandbox, const char *value) {
    gr_error error;
    gr_error_init(&error);
    gr_status status = gr_sandbox_allow(&sandbox->budgets, value, &error);
    if (status != GR_OK)
        exit(gr_complain(gr_exit_code(status), "--allow: %s", error.message));
}

void gr_cli_sandbox_option(gr_cli_sandbox *sandbox, const char *name, const char *value) {
    if (strcmp(name, "--allow") == 0)
        allow(sandbox, value);
    else if (strcmp(name, "--memory") == 0)
        sandbox->budgets.memory = parse_bytes(name, value);
    else if (strcmp(name, "--process-memory") == 0)
        sandbox->process_memory = parse_bytes(name, value);
    else if (strcmp(name, "--instructions") == 0)
        sandbox->budgets.instructions = gr_parse_u64(value, UINT64_C(1) << 53, name);
    else
        sandbox->seconds = gr_parse_number(value, 0.001, 1e6, name);
}

// ---- The parent

// Waits until the child has closed its end of the pipe, which is when it ends; false when its time is up.
static bool wait_for_end(int pipe, double seconds) {
    uint64_t deadline = gr_os_now_ns() + (uint64_t)(seconds * 1e9);
    for (uint64_t now; (now = gr_os_now_ns()) < deadline;) {
        struct pollfd end = {.fd = pipe, .events = POLLIN};
        uint64_t left = (deadline - now) / 1000000 + 1;
        if (poll(&end, 1, left < 60000 ? (int)left : 60000) > 0)
            return true;
    }
    return false;
}

static int watch(pid_t child, int pipe, double seconds) {
    int status;
    bool ended = wait_for_end(pipe, seconds);
    close(pipe);
    if (!ended)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ended)
        return gr_complain(GR_EXIT_RESOURCES, "script: stopped: it has used up its %g seconds", seconds);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return gr_complain(GR_EXIT_FAILURE, "script: its process was ended by a signal: %s", strsignal(WTERMSIG(status)));
}

bool gr_cli_sandbox_fork(const gr_cli_sandbox *sandbox, int *out_code) {
    int ends[2];
    *out_code = GR_EXIT_OK;
    if (pipe(ends) != 0) {
        *out_code = gr_complain(GR_EXIT_FAILURE, "script: no pipe for its process: %s", strerror(errno));
        return false;
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        close(ends[0]); // the other end stays open as long as this process lives
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
        if (getppid() != parent)
            _exit(GR_EXIT_FAILURE);
        setvbuf(stdout, NULL, _IOLBF, BUFSIZ); // what it prints before it is killed is seen
        return true;
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        *out_code = gr_complain(GR_EXIT_FAILURE, "script: no process for it: %s", strerror(errno));
        return false;
    }
    signal(SIGINT, SIG_IGN); // Ctrl-C reaches the child as well, which ends
    *out_code = watch(child, ends[0], sandbox->seconds);
    return false;
}

// ---- The child

bool gr_cli_sandbox_close(const gr_cli_sandbox *sandbox) {
    struct rlimit none = {0, 0}, memory = {sandbox->process_memory, sandbox->process_memory};
    setrlimit(RLIMIT_CORE, &none);
#ifdef RLIMIT_DATA
    setrlimit(RLIMIT_DATA, &memory); // files that are mapped do not count
#endif
    if (gr_os_restrict())
        return true;
    gr_complain(GR_EXIT_FAILURE, "script: this system cannot take system calls from a process (seccomp), so there is no "
                                 "sandbox here");
    return false;
}

int gr_cli_sandbox_code(const gr_cli_sandbox *sandbox, int code) {
    if (code == GR_EXIT_INTERRUPTED)
        return code;
    if (sandbox->budgets.spent)
        return GR_EXIT_RESOURCES;
    return code == GR_EXIT_SCRIPT && sandbox->budgets.refused ? GR_EXIT_REFUSED : code;
}
