// SPDX-License-Identifier: Apache-2.0
// runner.c: lists the cases in one child process, then runs each in its own, and gives verdicts.
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"

const char *gr_level_name(uint32_t level) {
    switch (level) {
    case GR_LEVEL_ABI: return "abi";
    case GR_LEVEL_OPS: return "ops";
    case GR_LEVEL_MODEL: return "model";
    case GR_LEVEL_LIVE: return "live";
    default: return NULL;
    }
}

const char *gr_verdict_name(gr_verdict verdict) {
    static const char *const names[GR_VERDICT_COUNT] = {
        "pass", "fail", "skip", "crash", "hang", "known failure", "unexpected pass"};
    return names[verdict];
}

typedef struct listed {
    char *name;
    uint32_t level;
} listed;

typedef struct runner {
    const gr_conformance_options *options;
    gr_conformance_tally *tally;
    listed *cases;
    uint8_t *wanted;
    uint32_t count, capacity;
    char device[sizeof((cf_message *)0)->text];
    char scratch[256];
    bool failed; // out of memory
} runner;

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double time_limit(const gr_conformance_options *options) {
    return options->timeout_s ? options->timeout_s : 60;
}

// ---- A folder for the children's files ----

static gr_status scratch_make(runner *r, gr_error *error) {
    const char *folder = getenv("TMPDIR");
    snprintf(r->scratch, sizeof r->scratch, "%.200s/gregale-XXXXXX",
             folder && *folder ? folder : "/tmp");
    if (mkdtemp(r->scratch))
        return GR_OK;
    gr_fail(error, GR_ERROR_IO, "conformance", "%s: %s", r->scratch, strerror(errno));
    r->scratch[0] = '\0';
    return GR_ERROR_IO;
}

static void scratch_remove(const runner *r) {
    DIR *entries = r->scratch[0] ? opendir(r->scratch) : NULL;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", r->scratch, entry->d_name);
        unlink(path); // not "." and "..", which are folders
    }
    if (entries)
        closedir(entries);
    if (r->scratch[0])
        rmdir(r->scratch);
}

// ---- A child process ----

typedef struct child {
    pid_t pid;
    int pipe;
} child;

static gr_status child_start(const cf_order *order, child *out_child, gr_error *error) {
    int ends[2];
    if (pipe(ends))
        return gr_fail(error, GR_ERROR_IO, "conformance", "no pipe: %s", strerror(errno));
    fflush(NULL); // or the child would print it again
    out_child->pid = fork();
    if (out_child->pid == 0) {
        close(ends[0]);
        cf_child_main(order, ends[1]);
    }
    close(ends[1]);
    out_child->pipe = ends[0];
    if (out_child->pid > 0)
        return GR_OK;
    close(ends[0]);
    return gr_fail(error, GR_ERROR_IO, "conformance", "no process: %s", strerror(errno));
}

// The next message: 1; 0 when the child is gone, -1 when `deadline` has come.
static int child_hear(const child *c, cf_message *out, double deadline) {
    char *at = (char *)out;
    size_t missing = sizeof *out;
    while (missing) {
        double left = deadline - seconds_now();
        struct pollfd wait = {.fd = c->pipe, .events = POLLIN};
        if (left <= 0)
            return -1;
        if (poll(&wait, 1, left > 1 ? 1000 : (int)(left * 1000) + 1) <= 0)
            continue;
        ssize_t got = read(c->pipe, at, missing);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        at += got;
        missing -= (size_t)got;
    }
    out->text[sizeof out->text - 1] = '\0';
    return 1;
}

// Collects the child, which is given until `deadline` to end by itself. True when it ended well,
// else says how. A process stuck in the kernel is left behind.
static bool child_end(child *c, double deadline, char *how, size_t capacity) {
    int status = 0;
    close(c->pipe);
    for (;;) {
        pid_t got = waitpid(c->pid, &status, WNOHANG);
        if (got == c->pid || (got < 0 && errno != EINTR))
            break;
        if (seconds_now() > deadline) {
            kill(c->pid, SIGKILL);
            if (seconds_now() > deadline + 2)
                break;
        }
        poll(NULL, 0, 1);
    }
    if (WIFEXITED(status) && !WEXITSTATUS(status))
        return true;
    if (WIFSIGNALED(status))
        snprintf(how, capacity, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(how, capacity, "ended the process with exit code %d", WEXITSTATUS(status));
    return false;
}

// ---- Verdicts ----

static bool is_known(const gr_conformance_options *options, const char *name) {
    for (uint32_t i = 0; i < options->known_count; i++) {
        size_t length = strlen(options->known[i]);
        bool prefix = length && options->known[i][length - 1] == '*';
        if (prefix ? !strncmp(options->known[i], name, length - 1)
                   : !strcmp(options->known[i], name))
            return true;
    }
    return false;
}

static void give(runner *r, gr_conformance_case *result) {
    gr_conformance_tally *tally = r->tally;
    if (is_known(r->options, result->name)) {
        if (result->verdict == GR_VERDICT_PASS)
            result->verdict = GR_VERDICT_UNEXPECTED;
        else if (result->verdict != GR_VERDICT_SKIP)
            result->verdict = GR_VERDICT_KNOWN;
    }
    tally->counts[result->verdict]++;
    tally->primitive_skips += result->verdict == GR_VERDICT_SKIP && result->primitive;
    const bool nodes = (result->level == GR_LEVEL_OPS || result->level == GR_LEVEL_MODEL) &&
                       (result->verdict != GR_VERDICT_SKIP || result->primitive);
    tally->nodes_judged |= nodes;
    tally->nodes_passed += nodes && result->verdict == GR_VERDICT_PASS;
    if (!(result->worst <= tally->worst))
        tally->worst = result->worst;
    if (r->options->on_case)
        r->options->on_case(r->options->context, result);
}

static void log_line(const runner *r, const char *line) {
    if (r->options->on_log)
        r->options->on_log(r->options->context, line);
}

bool gr_conformance_good(const gr_conformance_tally *tally) {
    return !tally->counts[GR_VERDICT_FAIL] && !tally->counts[GR_VERDICT_CRASH] &&
           !tally->counts[GR_VERDICT_HANG] && !tally->counts[GR_VERDICT_UNEXPECTED] &&
           (!tally->nodes_judged || tally->nodes_passed);
}

// ---- Listing ----

static void list_case(runner *r, const cf_message *message) {
    if (r->count == r->capacity) {
        uint32_t capacity = r->capacity * 2 + 256;
        listed *cases = realloc(r->cases, capacity * sizeof *cases);
        if (!cases) {
            r->failed = true;
            return;
        }
        r->cases = cases;
        r->capacity = capacity;
    }
    char *name = strdup(message->text);
    r->failed |= !name;
    if (name)
        r->cases[r->count++] = (listed){name, message->number};
}

static void load_case(runner *r, gr_verdict verdict, const char *message) {
    gr_conformance_case result = {
        .name = "LOAD", .level = GR_LEVEL_ABI, .verdict = verdict, .message = message};
    give(r, &result);
}

// Lists the cases; false when the plugin cannot be loaded, which is told as a case.
static gr_status list(runner *r, bool *out_loaded, gr_error *error) {
    const cf_order order = {.options = r->options, .scratch = r->scratch};
    cf_message message;
    char how[160] = "the process ended too early";
    child c;
    int heard;
    *out_loaded = false;
    gr_status status = child_start(&order, &c, error);
    if (status != GR_OK)
        return status;
    bool closed = false, unloaded = false;
    double deadline = seconds_now() + time_limit(r->options);
    while ((heard = child_hear(&c, &message, deadline)) == 1) {
        if (message.word == CF_LISTED)
            list_case(r, &message);
        else if (message.word == CF_LOADED)
            snprintf(r->device, sizeof r->device, "%s", message.text);
        else if (message.word == CF_UNLOADED) {
            unloaded = true;
            load_case(r, GR_VERDICT_FAIL, message.text);
        } else if (message.word == CF_NO_DEVICE) {
            unloaded = true;
            status = gr_fail(error, GR_ERROR_NOT_FOUND, "conformance", "%s", message.text);
        } else if (message.word == CF_LOG)
            log_line(r, message.text);
        closed |= message.word == CF_CLOSED;
    }
    bool ended = child_end(&c, heard < 0 ? seconds_now() : deadline, how, sizeof how);
    if (heard < 0)
        load_case(r, GR_VERDICT_HANG, "loading, opening and closing took too long");
    else if (!unloaded && (!closed || !ended))
        load_case(r, GR_VERDICT_CRASH, how);
    else
        *out_loaded = !unloaded;
    return r->failed ? gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "conformance", "no memory") : status;
}

static gr_status choose(runner *r, gr_error *error) {
    const gr_conformance_options *options = r->options;
    uint32_t levels = options->levels ? options->levels : GR_LEVEL_ALL, chosen = 0;
    r->wanted = calloc(r->count + 1, 1);
    if (!r->wanted)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "conformance", "no memory");
    for (uint32_t i = 0; i < r->count; i++) {
        r->wanted[i] = (r->cases[i].level & levels) &&
                       (!options->only || strstr(r->cases[i].name, options->only));
        chosen += r->wanted[i];
    }
    if (!chosen)
        return gr_fail(error, GR_ERROR_NOT_FOUND, "conformance", "no case is called so");
    char *device = strchr(r->device, '\t'), *description = device ? strchr(device + 1, '\t') : NULL;
    if (description && options->on_device) {
        *device++ = *description++ = '\0';
        options->on_device(options->context, r->device, device, description, chosen);
    }
    return GR_OK;
}

// ---- Running ----

// What is known of the case that runs.
typedef struct current {
    bool any;
    uint32_t index, passes;
    bool primitive, skipped, ended;
    double began, worst;
    uint32_t failures;
    char failure[sizeof((cf_message *)0)->text + 32], skip[sizeof((cf_message *)0)->text];
} current;

static void conclude(runner *r, current *now, gr_verdict verdict, const char *message) {
    const listed *which = &r->cases[now->index];
    gr_conformance_case result = {.name = which->name,
                                  .level = which->level,
                                  .verdict = verdict,
                                  .message = message,
                                  .primitive = now->primitive,
                                  .worst = now->worst,
                                  .seconds = seconds_now() - now->began};
    give(r, &result);
    now->any = false;
}

// The case has ended by itself.
static void conclude_ended(runner *r, current *now) {
    if (now->failures > 1) {
        size_t at = strlen(now->failure);
        snprintf(now->failure + at, sizeof now->failure - at, " (and %u more)", now->failures - 1);
    }
    if (now->failures)
        conclude(r, now, GR_VERDICT_FAIL, now->failure);
    else if (now->skipped && !now->passes)
        conclude(r, now, GR_VERDICT_SKIP, now->skip);
    else if (!now->passes)
        conclude(r, now, GR_VERDICT_FAIL, "it checked nothing");
    else
        conclude(r, now, GR_VERDICT_PASS, "");
}

static void hear(runner *r, current *now, const cf_message *message) {
    switch (message->word) {
    case CF_BEGAN:
        if (now->any)
            conclude_ended(r, now);
        *now = (current){.any = true, .index = message->index, .began = seconds_now()};
        break;
    case CF_UNLOADED:
    case CF_FAILED:
        if (!now->failures++)
            snprintf(now->failure, sizeof now->failure, "%s", message->text);
        break;
    case CF_SKIPPED:
        now->skipped = true;
        now->primitive |= message->number != 0;
        snprintf(now->skip, sizeof now->skip, "%s", message->text);
        break;
    case CF_ENDED:
        now->passes = message->number;
        now->worst = message->worst;
        now->ended = true;
        break;
    case CF_CLOSED:
        if (message->bytes && !now->failures++)
            snprintf(now->failure, sizeof now->failure,
                     "%llu bytes of host memory were not given back when the device was closed",
                     (unsigned long long)message->bytes);
        break;
    case CF_LOG: log_line(r, message->text); break;
    default: break;
    }
}

// Runs up to a batch of the wanted cases from *next on, in one child; moves *next behind the last
// that ran.
static gr_status run_some(runner *r, uint32_t *next, gr_error *error) {
    const cf_order order = {.options = r->options,
                            .wanted = r->wanted,
                            .scratch = r->scratch,
                            .cases = r->count,
                            .first = *next,
                            .limit = r->options->batch ? r->options->batch : 1};
    cf_message message;
    current now = {.index = *next, .began = seconds_now()};
    char how[160] = "the process ended too early";
    child c;
    int heard;
    gr_status status = child_start(&order, &c, error);
    if (status != GR_OK)
        return status;
    now.any = true; // what happens before the first begins is its own
    double deadline = seconds_now() + time_limit(r->options);
    bool closed = false;
    while ((heard = child_hear(&c, &message, deadline)) == 1) {
        if (message.word == CF_BEGAN) {
            deadline = seconds_now() + time_limit(r->options);
            if (!now.ended)
                now.any = false;
        }
        hear(r, &now, &message);
        closed |= message.word == CF_CLOSED;
        if (closed)
            break;
    }
    bool ended = child_end(&c, heard < 0 ? seconds_now() : deadline, how, sizeof how);
    *next = now.index + 1;
    if (heard < 0) {
        snprintf(how, sizeof how, "not done after %.0f s", time_limit(r->options));
        conclude(r, &now, GR_VERDICT_HANG, how);
    } else if ((!ended || !closed) && !now.failures)
        conclude(r, &now, GR_VERDICT_CRASH, how);
    else
        conclude_ended(r, &now);
    return GR_OK;
}

static gr_status run_all(runner *r, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t next = 0; status == GR_OK;) {
        while (next < r->count && !r->wanted[next])
            next++;
        if (next == r->count)
            return GR_OK;
        status = run_some(r, &next, error);
    }
    return status;
}

gr_status gr_conformance_run(const gr_conformance_options *options, gr_conformance_tally *out_tally,
                             gr_error *error) {
    runner r = {.options = options, .tally = out_tally};
    bool loaded = false;
    cf_plant plant;
    memset(out_tally, 0, sizeof *out_tally);
    if (options->plant && !cf_plant_find(options->plant, &plant))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "conformance", "no defect is called '%s'",
                       options->plant);
    gr_status status = scratch_make(&r, error);
    if (status == GR_OK)
        status = list(&r, &loaded, error);
    if (status == GR_OK && loaded)
        status = choose(&r, error);
    if (status == GR_OK && loaded)
        status = run_all(&r, error);
    for (uint32_t i = 0; i < r.count; i++)
        free(r.cases[i].name);
    free(r.cases);
    free(r.wanted);
    scratch_remove(&r);
    return status;
}
