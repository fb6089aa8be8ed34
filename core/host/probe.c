// SPDX-License-Identifier: Apache-2.0
// probe.c: asking a plugin which devices there are, in this process or first in a helper that may
// die; and loading it in one, since a library's constructors and its entry are code too.
#include <dlfcn.h>
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

#include "base/os.h"
#include "host/internal.h"

// ---- Here ----

static gr_status blame(gr_error *error, gr_error *theirs, gr_status status) {
    const bool silent = !theirs->message[0];
    gr_abi_settle_error(status, theirs);
    return gr_fail(error, status, "host", "its probe failed: %s%s%s", gr_status_name(status),
                   silent ? "" : ": ", silent ? "" : theirs->message);
}

static gr_status too_many(gr_error *error, uint32_t count) {
    return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                   "it reports %u devices; at most %d are believed", count, GR_PROBE_LIMIT);
}

static gr_status check_all(gr_probe_result *result, gr_error *error) {
    for (uint32_t i = 0; i < result->count; i++) {
        gr_status status = gr_abi_check_facts(&result->facts[i], error);
        for (uint32_t k = 0; k < i && status == GR_OK; k++) {
            if (!strcmp(result->facts[i].name, result->facts[k].name))
                status = gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                                 "it reports two devices called %s", result->facts[i].name);
        }
        if (status != GR_OK)
            return status;
    }
    return GR_OK;
}

gr_status gr_probe_run(const gr_backend *backend, const gr_host *host, gr_probe_result *out_result,
                       gr_error *error) {
    *out_result = (gr_probe_result){0};
    gr_error theirs;
    gr_error_init(&theirs);
    uint32_t count = 0;
    gr_status status = backend->probe(host, NULL, 0, 0, &count, &theirs);
    if (status != GR_OK)
        return blame(error, &theirs, status);
    if (count > GR_PROBE_LIMIT)
        return too_many(error, count);
    uint32_t capacity = count;
    gr_device_facts *facts = calloc((size_t)count + 1, sizeof *facts);
    if (!facts)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host",
                       "no memory for the facts of %u devices", count);
    for (uint32_t i = 0; i < capacity; i++)
        facts[i].struct_size = sizeof *facts;
    if (capacity)
        status = backend->probe(host, facts, capacity, sizeof *facts, &count, &theirs);
    *out_result = (gr_probe_result){count < capacity ? count : capacity, facts};
    if (status != GR_OK)
        status = blame(error, &theirs, status);
    else if (count > GR_PROBE_LIMIT)
        status = too_many(error, count);
    else
        status = check_all(out_result, error);
    if (status != GR_OK) {
        free(facts);
        *out_result = (gr_probe_result){0};
    }
    return status;
}

// ---- In a helper ----

typedef struct answer {
    uint32_t magic, count;
    gr_status status;
    char message[480];
} answer;

static const uint32_t magic = 0x67726567;

static void send_all(int pipe, const void *bytes, size_t count) {
    const char *at = bytes;
    while (count) {
        ssize_t sent = write(pipe, at, count);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return;
        at += sent;
        count -= (size_t)sent;
    }
}

// The helper's surroundings: no terminal to write on, no core file, signals as the system has them,
// and no life beyond the parent's.
static void isolate(void) {
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT,
                                SIGTRAP, SIGSYS, SIGINT, SIGTERM};
    struct rlimit none = {0, 0};
    sigset_t empty;
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], SIG_DFL);
    sigemptyset(&empty);
    sigprocmask(SIG_SETMASK, &empty, NULL);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
}

static void silent_log(const gr_host *host, gr_log_level level, const char *line) {
    (void)host;
    (void)level;
    (void)line;
}

static void help(const gr_backend *backend, const gr_host *host, int pipe) {
    gr_services quiet; // the application's log has no business in this process
    gr_probe_result result;
    gr_error error;
    answer a = {.magic = magic};
    isolate();
    gr_error_init(&error);
    gr_services_init(&quiet, backend->name, NULL, NULL, host->topology);
    quiet.table.log = silent_log;
    quiet.table.flags = host->flags;
    a.status = gr_probe_run(backend, &quiet.table, &result, &error);
    a.count = result.count;
    memcpy(a.message, error.message, sizeof a.message);
    send_all(pipe, &a, sizeof a);
    send_all(pipe, result.facts, result.count * sizeof *result.facts);
}

// Reads exactly `count` bytes before `deadline`: 1, 0 when the other end closed, -1 when time is
// up.
static int receive(int pipe, void *bytes, size_t count, uint64_t deadline) {
    char *at = bytes;
    while (count) {
        uint64_t now = gr_os_now_ns();
        struct pollfd wait = {.fd = pipe, .events = POLLIN};
        if (now >= deadline)
            return -1;
        int ready = poll(&wait, 1, (int)((deadline - now) / 1000000 + 1));
        if (ready <= 0)
            continue; // time is looked at above
        ssize_t got = read(pipe, at, count);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        at += got;
        count -= (size_t)got;
    }
    return 1;
}

// Ends the helper and collects it; a process stuck in the kernel is left behind after a second.
// Says how it ended: 0 when unknown.
static int reap(pid_t helper, bool stop) {
    int status = 0;
    if (stop)
        kill(helper, SIGKILL);
    for (int tries = 0; tries < 1000; tries++) {
        pid_t got = waitpid(helper, &status, WNOHANG);
        if (got == helper)
            return status;
        if (got < 0 && errno != EINTR)
            return 0; // somebody else collects this application's children
        poll(NULL, 0, 1);
    }
    kill(helper, SIGKILL);
    return 0;
}

static gr_status died(const char *what, int how, gr_error *error) {
    if (WIFSIGNALED(how))
        return gr_fail(error, GR_ERROR_INTERNAL, "host", "%s crashed in the helper process (%s)",
                       what, strsignal(WTERMSIG(how)));
    return gr_fail(error, GR_ERROR_INTERNAL, "host", "%s ended the helper process", what);
}

static gr_status accept_answer(int pipe, uint64_t deadline, int *out_state,
                               gr_probe_result *out_result, gr_error *error) {
    answer a;
    *out_state = receive(pipe, &a, sizeof a, deadline);
    if (*out_state != 1)
        return GR_ERROR_INTERNAL;
    a.message[sizeof a.message - 1] = '\0';
    if (a.magic != magic || a.count > GR_PROBE_LIMIT)
        return gr_fail(error, GR_ERROR_INTERNAL, "host",
                       "the helper process gave a senseless answer");
    if (a.status != GR_OK)
        return gr_fail(error, a.status, "host", "%s", a.message);
    gr_device_facts *facts = calloc((size_t)a.count + 1, sizeof *facts);
    if (!facts)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host",
                       "no memory for the facts of %u devices", a.count);
    *out_result = (gr_probe_result){a.count, facts};
    *out_state = receive(pipe, facts, a.count * sizeof *facts, deadline);
    return *out_state == 1 ? check_all(out_result, error) : GR_ERROR_INTERNAL;
}

static int make_pipe(int ends[2]) {
#ifdef __linux__
    return pipe2(ends, O_CLOEXEC);
#else
    if (pipe(ends) != 0)
        return -1;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
#endif
}

// What a helper does, on the way to its answer.
typedef struct errand {
    const char *what; // "its probe"
    const char *path; // a library to load; NULL: the backend is asked
    const gr_backend *backend;
    const gr_host *host;
} errand;

static void help_load(const char *path, int pipe) {
    answer a = {.magic = magic};
    gr_plugin_entry entry = NULL;
    gr_error error;
    gr_error_init(&error);
    isolate();
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library)
        *(void **)&entry = dlsym(library, GR_PLUGIN_SYMBOL);
    if (entry)
        a.status = gr_abi_check(entry(GR_ABI_MAJOR, GR_ABI_MINOR), &error); // reads all that the host will
    memcpy(a.message, error.message, sizeof a.message);
    send_all(pipe, &a, sizeof a); // what the loader says is seen once it is loaded here
}

static gr_status run_apart(const errand *e, uint32_t timeout_ms, gr_probe_result *out_result, gr_error *error) {
    int ends[2], state = 0;
    *out_result = (gr_probe_result){0};
    if (make_pipe(ends) != 0)
        return gr_fail(error, GR_ERROR_IO, "host", "no pipe for a helper process: %s",
                       strerror(errno));
    pid_t helper = fork();
    if (helper == 0) {
        close(ends[0]);
        if (e->path)
            help_load(e->path, ends[1]);
        else
            help(e->backend, e->host, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    if (helper < 0) {
        close(ends[0]);
        return gr_fail(error, GR_ERROR_IO, "host", "no helper process: %s", strerror(errno));
    }
    uint64_t deadline = gr_os_now_ns() + (uint64_t)timeout_ms * 1000000;
    gr_status status = accept_answer(ends[0], deadline, &state, out_result, error);
    close(ends[0]);
    int how = reap(helper, state < 0);
    if (state < 0)
        status = gr_fail(error, GR_ERROR_TIMEOUT, "host",
                         "%s did not end within %.1f s and was stopped", e->what, timeout_ms / 1e3);
    else if (state == 0)
        status = died(e->what, how, error);
    if (status != GR_OK) {
        free(out_result->facts);
        *out_result = (gr_probe_result){0};
    }
    return status;
}

gr_status gr_probe_apart(const gr_backend *backend, const gr_host *host, uint32_t timeout_ms,
                         gr_probe_result *out_result, gr_error *error) {
    return run_apart(&(errand){.what = "its probe", .backend = backend, .host = host}, timeout_ms, out_result, error);
}

gr_status gr_probe_load(const char *path, uint32_t timeout_ms, gr_error *error) {
    gr_probe_result none;
    gr_status status = gr_library_check(path, error);
    if (status != GR_OK || !gr_os_single_threaded())
        return status;
    status = run_apart(&(errand){.what = "loading it", .path = path}, timeout_ms, &none, error);
    free(none.facts);
    return status;
}
