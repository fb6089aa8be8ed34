// SPDX-License-Identifier: Apache-2.0
// move.c: gregale-bench-move MODEL FROM TO TOKENS [ROUNDS]: a session of so many tokens goes to and fro between two
// devices while it generates. Prints how long it stood still in the switch, and how long the reader of the answer
// waited between two tokens before, during and at the end of the move, which counts whatever else a move costs.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gregale/engine.h"

enum { CALM = 12, MOST_GAPS = 1 << 16 };

typedef struct stream {
    gr_engine *engine;
    gr_session *session;
    gr_request *request;
    size_t tokens; // at the last look
    double last;   // when the last one came
    double gaps[MOST_GAPS];
    uint32_t count;
} stream;

static void die(const char *what, const gr_error *error) {
    fprintf(stderr, "gregale-bench-move: %s: %s\n", what, error->message);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Steps until the next token is there.
static void next_token(stream *s) {
    gr_error error;
    gr_error_init(&error);
    for (size_t tokens = s->tokens; tokens == s->tokens;) {
        bool worked;
        if (gr_engine_step(s->engine, &worked, &error) != GR_OK)
            die("step", &error);
        gr_session_tokens(s->session, &tokens);
        if (tokens != s->tokens) {
            double time = now();
            s->gaps[s->count++ % MOST_GAPS] = time - s->last;
            s->last = time;
            s->tokens = tokens;
            return;
        }
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const double *values, uint32_t count) {
    static double sorted[MOST_GAPS];
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = values[i];
    qsort(sorted, count, sizeof *sorted, by_size);
    return count ? sorted[count / 2] : 0;
}

static double largest_of(const double *values, uint32_t count) {
    double largest = 0;
    for (uint32_t i = 0; i < count; i++)
        largest = values[i] > largest ? values[i] : largest;
    return largest;
}

static void calm(stream *s) {
    s->count = 0;
    for (int i = 0; i < CALM; i++)
        next_token(s);
}

static void move(stream *s, const char *device) {
    gr_error error;
    gr_move *going;
    gr_move_info info = {.struct_size = sizeof info};
    gr_error_init(&error);
    calm(s);
    double before = median_of(s->gaps, s->count);
    s->count = 0;
    const gr_move_options options = {.struct_size = sizeof options};
    if (gr_session_move_start(s->session, device, &options, &going, &error) != GR_OK)
        die(device, &error);
    s->last = now();
    while (info.stage != GR_MOVE_DONE) {
        next_token(s);
        if (gr_move_info_get(going, &info, &error) != GR_OK)
            die("move", &error);
    }
    uint32_t during = s->count;
    gr_move_release(going);
    next_token(s); // whatever was put off
    double slowest = largest_of(s->gaps, during), after = s->gaps[during];
    printf("%s to %s: pause %.2f ms; %llu pages, %.1f MiB copied beside %u tokens in %.1f ms; ready after %.2f s, check %.1f ms\n"
           "    between tokens: %.1f ms before; during the move %.1f in the median, %.1f at most; behind it %.1f",
           info.from, info.to, info.pause_seconds * 1e3, (unsigned long long)info.pages, (double)info.bytes / 1048576, during,
           info.copy_seconds * 1e3, info.prepare_seconds, info.check_seconds * 1e3, before * 1e3,
           median_of(s->gaps, during) * 1e3, slowest * 1e3, after * 1e3);
    calm(s);
    printf(", then %.1f\n", median_of(s->gaps, s->count) * 1e3);
}

static void read_prompt(stream *s, gr_model *model, uint32_t tokens) {
    gr_error error;
    gr_model_info info = {.struct_size = sizeof info};
    const gr_session_options options = {.struct_size = sizeof options, .context = tokens + MOST_GAPS};
    const gr_generate_options wanted = {.struct_size = sizeof wanted, .ignore_end = 1, .sampler = "greedy", .raw = 1};
    gr_error_init(&error);
    gr_model_info_get(model, &info);
    int32_t *prompt = calloc(tokens, sizeof *prompt);
    for (uint32_t i = 0; prompt && i < tokens; i++)
        prompt[i] = (int32_t)(3 + i * 7919u % (info.vocab - 3));
    if (!prompt || gr_session_create(model, &options, &s->session, &error) != GR_OK ||
        gr_session_append_tokens(s->session, prompt, tokens, &error) != GR_OK ||
        gr_session_evaluate(s->session, NULL, NULL, &error) != GR_OK ||
        gr_request_start(s->session, &wanted, &s->request, &error) != GR_OK)
        die("prompt", &error);
    free(prompt);
    gr_session_tokens(s->session, &s->tokens);
    s->last = now();
}

int main(int argc, char **argv) {
    static stream s;
    gr_error error;
    gr_model *model;
    const gr_engine_options options = {.struct_size = sizeof options};
    if (argc < 5) {
        fprintf(stderr, "usage: gregale-bench-move MODEL FROM TO TOKENS [ROUNDS]\n");
        return 2;
    }
    const gr_model_options wanted = {.struct_size = sizeof wanted, .device = argv[2]};
    gr_error_init(&error);
    if (gr_engine_create(&options, &s.engine, &error) != GR_OK ||
        gr_model_load(s.engine, argv[1], &wanted, &model, &error) != GR_OK)
        die(argv[1], &error);
    double begin = now();
    read_prompt(&s, model, (uint32_t)strtoul(argv[4], NULL, 10));
    printf("%s: %s tokens read in %.1f s\n", argv[1], argv[4], now() - begin);
    for (long i = argc > 5 ? strtol(argv[5], NULL, 10) : 3; i > 0; i--) {
        move(&s, argv[3]);
        move(&s, argv[2]);
    }
    gr_request_release(s.request);
    gr_session_release(s.session);
    gr_model_release(model);
    gr_engine_release(s.engine);
    return 0;
}
