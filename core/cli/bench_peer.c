// SPDX-License-Identifier: Apache-2.0
// bench_peer.c: runs a peer's bench command and reads the JSON that it prints.
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/bench.h"

extern char **environ;

enum { OUTPUT_LIMIT = 16 << 20 };

typedef struct findings {
    const gr_bench_plan *plan;
    double prefill, decode;
    uint32_t results; // that look like a benchmark's, matching or not
    char other[160];  // the last one that did not match, for the message
} findings;

// ---- Running it

static gr_status read_pipe(int from, gr_strbuf *output, const char *command, gr_error *error) {
    char chunk[4096];
    for (;;) {
        ssize_t count = read(from, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR && !gr_interrupted())
            continue;
        if (count < 0)
            return gr_fail(error, gr_interrupted() ? GR_ERROR_CANCELLED : GR_ERROR_IO, "cli",
                           "compare: `%s`: cannot read what it prints: %s", command, strerror(errno));
        if (count == 0)
            return GR_OK;
        if (output->size + (size_t)count > OUTPUT_LIMIT)
            return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "cli", "compare: `%s` prints more than %d MB", command,
                           OUTPUT_LIMIT >> 20);
        gr_strbuf_add(output, chunk, (size_t)count);
    }
}

// The last line that is not blank of what the command said on standard error.
static void last_line(FILE *from, char *out, size_t capacity) {
    char line[200];
    *out = '\0';
    rewind(from);
    while (fgets(line, sizeof line, from)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[strspn(line, " \t")])
            snprintf(out, capacity, "%s", line);
    }
}

static gr_status judge_exit(int state, FILE *messages, const char *command, gr_error *error) {
    char line[200];
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return GR_OK;
    if (gr_interrupted())
        return gr_fail(error, GR_ERROR_CANCELLED, "cli", "compare: interrupted");
    last_line(messages, line, sizeof line);
    if (WIFSIGNALED(state))
        return gr_fail(error, GR_ERROR_IO, "cli", "compare: `%s` was ended by signal %d%s%s", command, WTERMSIG(state),
                       *line ? ": " : "", line);
    return gr_fail(error, GR_ERROR_IO, "cli", "compare: `%s` ended with code %d%s%s", command, WEXITSTATUS(state),
                   *line ? ": " : "", line);
}

static gr_status spawn_shell(const char *command, int output, FILE *messages, pid_t *out_child, gr_error *error) {
    posix_spawn_file_actions_t actions;
    char *const arguments[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(messages), STDERR_FILENO);
    int failed = posix_spawn(out_child, "/bin/sh", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return failed ? gr_fail(error, GR_ERROR_IO, "cli", "compare: cannot run `%s`: %s", command, strerror(failed)) : GR_OK;
}

static gr_status run_shell(const char *command, gr_strbuf *output, gr_error *error) {
    int ends[2], state = 0;
    pid_t child;
    FILE *messages = tmpfile();
    if (!messages || pipe(ends) != 0) {
        gr_fail(error, GR_ERROR_IO, "cli", "compare: cannot run `%s`: %s", command, strerror(errno));
        if (messages)
            fclose(messages);
        return GR_ERROR_IO;
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    gr_status status = spawn_shell(command, ends[1], messages, &child, error);
    close(ends[1]);
    if (status == GR_OK) {
        status = read_pipe(ends[0], output, command, error);
        close(ends[0]);
        ends[0] = -1;
        while (waitpid(child, &state, 0) < 0 && errno == EINTR)
            continue;
        if (status == GR_OK)
            status = judge_exit(state, messages, command, error);
    }
    if (ends[0] >= 0)
        close(ends[0]);
    fclose(messages);
    return status;
}

// ---- Reading what it printed

static double number(const json_t *object, const char *key) { // NaN when there is none
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double number_or_0(const json_t *object, const char *key) {
    double value = number(object, key);
    return isfinite(value) ? value : 0;
}

static void take(findings *f, double *best, double rate) {
    if (!isfinite(rate) || rate <= 0)
        snprintf(f->other, sizeof f->other, "a result without a rate");
    else if (rate > *best)
        *best = rate;
}

// llama-bench: avg_ts is of n_prompt tokens, or of n_gen behind n_depth; a fork says "tgN@ppD" for the latter.
static void take_llama_bench(findings *f, const json_t *object) {
    const gr_bench_plan *plan = f->plan;
    const char *test = json_string_value(json_object_get(object, "test"));
    double prompt = number_or_0(object, "n_prompt"), gen = number_or_0(object, "n_gen");
    double depth = number_or_0(object, "n_depth"), rate = number(object, "avg_ts");
    if (test && strncmp(test, "tg", 2) == 0 && strchr(test, '@')) {
        depth = prompt;
        prompt = 0;
    }
    f->results++;
    if (prompt == plan->prompt && gen == 0 && depth == 0)
        take(f, &f->prefill, rate);
    else if (prompt == 0 && gen == plan->gen && depth == plan->depth && plan->batch == 1)
        take(f, &f->decode, rate);
    else
        snprintf(f->other, sizeof f->other, "prompt %.0f, generated %.0f, depth %.0f", prompt, gen, depth);
}

// llama-batched-bench: speed_tg is of pl sequences of tg tokens, each behind pp.
static void take_batched(findings *f, const json_t *object) {
    const gr_bench_plan *plan = f->plan;
    double depth = number_or_0(object, "pp"), gen = number_or_0(object, "tg"), batch = number_or_0(object, "pl");
    f->results++;
    if (gen == plan->gen && batch == plan->batch && depth == plan->depth)
        take(f, &f->decode, number(object, "speed_tg"));
    else
        snprintf(f->other, sizeof f->other, "%.0f sequences, generated %.0f, depth %.0f", batch, gen, depth);
}

static void take_gregale(findings *f, const json_t *object) {
    const gr_bench_plan *plan = f->plan;
    double prompt = number_or_0(object, "prompt"), gen = number_or_0(object, "gen");
    double depth = number_or_0(object, "depth"), batch = number_or_0(object, "batch");
    bool same_prompt = prompt == plan->prompt;
    bool same_gen = gen == plan->gen && depth == plan->depth && batch == plan->batch;
    f->results++;
    if (same_prompt)
        take(f, &f->prefill, number(object, "prefill_tokens_per_second"));
    if (same_gen)
        take(f, &f->decode, number(object, "decode_tokens_per_second"));
    if (!same_prompt && !same_gen)
        snprintf(f->other, sizeof f->other, "prompt %.0f, generated %.0f, depth %.0f, batch %.0f", prompt, gen, depth, batch);
}

static void take_value(findings *f, const json_t *value) {
    const char *type = json_string_value(json_object_get(value, "type"));
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item) take_value(f, item);
    if (!json_is_object(value))
        return;
    if (json_object_get(value, "avg_ts"))
        take_llama_bench(f, value);
    else if (json_object_get(value, "speed_tg"))
        take_batched(f, value);
    else if (type && strcmp(type, "bench") == 0)
        take_gregale(f, value);
}

// JSON may stand between lines of other text: every line that opens a value is tried.
static void take_output(findings *f, const char *text, size_t size) {
    bool line_start = true;
    for (size_t at = 0; at < size;) {
        json_error_t where;
        json_t *value = NULL;
        bool opens = line_start && (text[at] == '{' || text[at] == '[');
        if (opens)
            value = json_loadb(text + at, size - at, JSON_DISABLE_EOF_CHECK, &where);
        if (value) {
            take_value(f, value);
            json_decref(value);
            at += where.position > 0 ? (size_t)where.position : 1;
            line_start = false;
            continue;
        }
        line_start = text[at] == '\n' || (line_start && (text[at] == ' ' || text[at] == '\t'));
        at++;
    }
}

gr_status gr_bench_run_peer(const char *command, const gr_bench_plan *plan, double *out_prefill, double *out_decode,
                            gr_error *error) {
    gr_strbuf output = {0};
    findings f = {.plan = plan};
    *out_prefill = *out_decode = 0;
    gr_status status = run_shell(command, &output, error);
    if (status == GR_OK)
        take_output(&f, gr_strbuf_cstr(&output), output.size);
    gr_strbuf_deinit(&output);
    if (status != GR_OK)
        return status;
    *out_prefill = plan->prompt ? f.prefill : 0;
    *out_decode = plan->gen > 1 ? f.decode : 0;
    if (*out_prefill > 0 || *out_decode > 0)
        return GR_OK;
    if (!f.results)
        return gr_fail(error, GR_ERROR_CORRUPT, "cli",
                       "compare: `%s` printed no result; expected JSON as by llama-bench -o json or gregale bench --json", command);
    return gr_fail(error, GR_ERROR_CORRUPT, "cli",
                   "compare: `%s` measured something else (%s); expected a prompt of %u, or %u generated by %u at depth %u", command,
                   *f.other ? f.other : "nothing", plan->prompt, plan->gen, plan->batch, plan->depth);
}
