// SPDX-License-Identifier: Apache-2.0
// soak.c: sessions generate, append, fork, rewind and move while their devices fail by seed, and every
// token log must be what the same work gave on a device that does not fail: nothing lost, nothing
// repeated.
//
//   soak [--faults N] [--seed N] [--device NAME]... [--calm NAME] [--rate R] [--only KINDS]
//        [--kinds] [--failover] [MODEL]
//
// Seeds are worked through, from --seed on, until N faults were injected; one that fails is printed.
// The devices are the shim's (tests/support/fault): work begins on the first, and moves to any. With
// --failover no piece of work may end with an error, but for a move. Else what the engine cannot mend
// is the soak's: out of memory, it asks again; device lost, it takes the logs to the next device.
// --kinds: the devices are of several kinds; logits along the calm log may differ by RARE times what
// moves allow (gr_shadow_bound, which one token in some hundred exceeds), in place of equal tokens.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault/control.h"
#include "tests/support/devices.h"
#include "tests/support/sampled.h"
#include "engine/shadow.h"
#include "engine/site.h"

enum { SESSIONS = 4, OPS = 10, CONTEXT = 288, DEVICES = 4, PATIENCE = 400, RARE = 3 };

typedef struct soak_options {
    uint64_t seed, faults;
    double rate;
    const char *devices[DEVICES], *calm, *only, *model;
    uint32_t device_count;
    bool failover, kinds;
} soak_options;

// Where work is done: the calm one, whose logs are right, or the one that fails.
typedef struct world {
    const soak_options *options;
    gr_engine *engine;
    gr_model *model;
    gr_session *sessions[SESSIONS];
    uint32_t device; // index of the one in use
    struct world *calm; // NULL: this is it
    float *logits;      // of the calm one with --kinds: [SESSIONS][CONTEXT][vocab], behind each position
    uint32_t vocab;
    double worst; // of the differences seen with --kinds
    uint64_t moves, moved; // begun; of them those that did not fail
    char why[600]; // it went wrong; empty: not yet
} world;

// ---- Random numbers: SplitMix64 ----

static uint64_t next(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint32_t below(uint64_t *state, uint32_t limit) {
    return (uint32_t)(next(state) % limit);
}

// ---- Worlds ----

static void go_wrong(world *w, const char *format, ...) {
    va_list arguments;
    if (w->why[0])
        return;
    va_start(arguments, format);
    vsnprintf(w->why, sizeof w->why, format, arguments);
    va_end(arguments);
}

static bool load(world *w, const char *device, gr_error *error) {
    const gr_model_options wanted = {
        .struct_size = sizeof wanted, .device = device, .page_tokens = 16, .chunk = 64};
    return gr_model_load(w->engine, w->options->model, &wanted, &w->model, error) == GR_OK;
}

static gr_session *begin(world *w, gr_error *error) {
    const gr_session_options wanted = {.struct_size = sizeof wanted, .context = CONTEXT};
    gr_session *session = NULL;
    gr_session_create(w->model, &wanted, &session, error);
    return session;
}

static bool takes_part(const soak_options *options, const char *name) {
    for (uint32_t i = 0; i < options->device_count; i++)
        if (!strcmp(options->devices[i], name))
            return true;
    return options->calm && !strcmp(options->calm, name); // when a fault keeps all of them from being opened
}

// The engine goes on with devices in good standing first: only those that take part are.
static void leave_to(const soak_options *options, gr_registry *registry) {
    for (uint32_t i = 0; i < gr_registry_device_count(registry); i++) {
        const gr_opened_device *opened = NULL;
        if (takes_part(options, gr_registry_device(registry, i)->name) ||
            gr_registry_open(registry, i, &opened, NULL) != GR_OK)
            continue;
        for (uint32_t times = 0; times < 12; times++)
            gr_registry_quarantine(registry, opened, false, "it takes no part");
        gr_registry_close(registry, opened);
    }
}

static bool make(world *w, const soak_options *options, const char *device) {
    const gr_engine_options wanted = {
        .struct_size = sizeof wanted, .plugin_directories = test_directories, .threads = 1};
    gr_error error;
    gr_error_init(&error);
    *w = (world){.options = options};
    if (gr_engine_create(&wanted, &w->engine, &error) != GR_OK || !load(w, device, &error)) {
        go_wrong(w, "%s", error.message);
        return false;
    }
    leave_to(options, w->engine->registry);
    gr_model_info info = {.struct_size = sizeof info};
    gr_model_info_get(w->model, &info);
    w->vocab = info.vocab;
    return true;
}

static void end_sessions(world *w) {
    for (uint32_t i = 0; i < SESSIONS; i++) {
        gr_session_release(w->sessions[i]);
        w->sessions[i] = NULL;
    }
}

static void unmake(world *w) {
    end_sessions(w);
    gr_model_release(w->model);
    gr_engine_release(w->engine);
    free(w->logits);
}

static size_t length_of(const gr_session *session) {
    size_t count;
    gr_session_tokens(session, &count);
    return count;
}

// ---- Work. Each piece says what is to be there afterwards, so that it can be taken up again. ----

typedef enum op_kind { APPEND, GENERATE, FORK, REWIND, MOVE } op_kind;

typedef struct op {
    op_kind kind;
    uint32_t session, to; // to: of FORK
    uint32_t many;        // GENERATE: for so many sessions at once, from `session` on
    bool moving;          // GENERATE: the first of them moves meanwhile
    uint32_t device;      // to move to
    size_t target[SESSIONS]; // lengths afterwards
    uint64_t seed;
} op;

// What the next piece of work is, given the sessions of the calm world.
static op draw(uint64_t *random, const world *calm) {
    op o = {.session = below(random, SESSIONS),
            .to = below(random, SESSIONS),
            .moving = !below(random, 3),
            .device = below(random, calm->options->device_count),
            .seed = next(random) | 1};
    while (!calm->sessions[o.session])
        o.session = (o.session + 1) % SESSIONS;
    for (uint32_t i = 0; i < SESSIONS; i++)
        o.target[i] = calm->sessions[i] ? length_of(calm->sessions[i]) : 0;
    size_t length = o.target[o.session], room = CONTEXT - 1 - length;
    static const op_kind kinds[] = {APPEND,   APPEND,   GENERATE, GENERATE, GENERATE,
                                    GENERATE, GENERATE, FORK,     REWIND,   MOVE};
    o.kind = length < 4 ? APPEND : kinds[below(random, sizeof kinds / sizeof kinds[0])];
    o.many = o.kind == GENERATE ? 1 + below(random, SESSIONS) : 1;
    uint32_t amount = 1 + below(random, o.kind == APPEND ? 60 : 20);
    if (o.kind == APPEND)
        o.target[o.session] += amount < room ? amount : room;
    for (uint32_t i = 0; o.kind == GENERATE && i < o.many; i++) {
        size_t *target = &o.target[(o.session + i) % SESSIONS];
        *target += *target && *target + amount < CONTEXT ? amount : 0;
    }
    if (o.kind == REWIND)
        o.target[o.session] = amount * 4 < length ? length - amount * 4 : 1;
    o.kind = o.kind == FORK && o.to == o.session ? REWIND : o.kind;
    return o;
}

static gr_status append(world *w, const op *o, gr_error *error) {
    gr_session *session = w->sessions[o->session];
    gr_status status = GR_OK;
    for (size_t i = length_of(session); status == GR_OK && i < o->target[o->session]; i++) {
        uint64_t random = o->seed + i;
        int32_t token = i ? (int32_t)(3 + below(&random, w->vocab - 3)) : 1;
        status = gr_session_append_tokens(session, &token, 1, error);
    }
    return status == GR_OK ? gr_session_evaluate(session, NULL, NULL, error) : status;
}

// ---- With --kinds: the calm world chooses the likeliest token, the other one follows it ----

static uint32_t index_of(const world *w, const gr_session *session) {
    uint32_t i = 0;
    while (i + 1 < SESSIONS && w->sessions[i] != session)
        i++;
    return i;
}

static float *logits_at(const world *calm, uint32_t session, size_t position) {
    return calm->logits + ((size_t)session * CONTEXT + position) * calm->vocab;
}

static gr_status lead(void *context, const gr_session *session, const float *logits, uint32_t vocab,
                      int32_t *out_token, gr_error *error) {
    world *w = context;
    (void)error;
    memcpy(logits_at(w, index_of(w, session), length_of(session)), logits, vocab * sizeof *logits);
    *out_token = 0;
    for (uint32_t i = 1; i < vocab; i++)
        *out_token = logits[i] > logits[*out_token] ? (int32_t)i : *out_token;
    return GR_OK;
}

static gr_status follow(void *context, const gr_session *session, const float *logits,
                        uint32_t vocab, int32_t *out_token, gr_error *error) {
    world *w = context;
    uint32_t i = index_of(w, session);
    size_t position = length_of(session), count;
    const float *right = logits_at(w->calm, i, position);
    const int32_t *log = gr_session_tokens(w->calm->sessions[i], &count);
    const double worst = gr_shadow_distance(right, logits, vocab) / gr_shadow_bound(w->calm->model->site, session->site);
    *out_token = log[position];
    w->calm->worst = worst > w->calm->worst ? worst : w->calm->worst;
    if (!(worst <= RARE))
        go_wrong(w, "session %u: logits at %zu differ by %.3g of their bound", i, position, worst);
    (void)error;
    return GR_OK;
}

static gr_status start(world *w, const op *o, uint32_t session, gr_request **out_request,
                       gr_error *error) {
    const gr_generate_options wanted = {
        .struct_size = sizeof wanted,
        .max_tokens = (uint32_t)(o->target[session] - length_of(w->sessions[session])),
        .seed = o->seed,
        .ignore_end = 1,
        .choose = w->options->kinds ? w->calm ? follow : lead : NULL,
        .choose_context = w};
    return gr_request_start(w->sessions[session], &wanted, out_request, error);
}

// ---- Moves. They change no token, so the calm world makes none. ----

static gr_move *begin_move(world *w, const op *o) {
    const char *device = w->options->devices[o->device];
    gr_move *begun = NULL;
    gr_error error;
    gr_error_init(&error);
    if (!w->calm)
        return NULL;
    w->moves++;
    if (gr_session_move_start(w->sessions[o->session], device, NULL, &begun, &error) != GR_OK &&
        !error.message[0])
        go_wrong(w, "a move does not begin, and nothing says why");
    return begun;
}

// Looks how it went; one under way is cancelled. A move that failed says why.
static void end_move(world *w, gr_move *move) {
    gr_move_info info = {.struct_size = sizeof info};
    gr_error error;
    gr_error_init(&error);
    if (move && gr_move_info_get(move, &info, &error) != GR_OK && !error.message[0])
        go_wrong(w, "a move failed, and nothing says why");
    w->moved += move && info.stage == GR_MOVE_DONE;
    gr_move_release(move);
}

static void move(world *w, const op *o) {
    gr_move *going = begin_move(w, o);
    gr_move_info info = {.struct_size = sizeof info};
    bool worked = going != NULL;
    while (worked && gr_move_info_get(going, &info, NULL) == GR_OK && info.stage != GR_MOVE_DONE)
        gr_engine_step(w->engine, &worked, NULL);
    end_move(w, going);
}

// Generates for all sessions of the piece at once; the first error.
static gr_status generate(world *w, const op *o, gr_error *error) {
    gr_request *requests[SESSIONS] = {NULL};
    gr_status status = GR_OK;
    gr_move *going = o->moving ? begin_move(w, o) : NULL;
    for (uint32_t k = 0; k < o->many && status == GR_OK; k++) {
        uint32_t i = (o->session + k) % SESSIONS;
        if (w->sessions[i] && length_of(w->sessions[i]) < o->target[i])
            status = start(w, o, i, &requests[i], error);
    }
    for (bool busy = true, worked = true; busy && status == GR_OK;) {
        if (!worked)
            status = gr_fail(error, GR_ERROR_INTERNAL, "soak", "requests wait and nothing is done");
        gr_engine_step(w->engine, &worked, NULL); // what concerns a request is in it
        busy = false;
        for (uint32_t i = 0; i < SESSIONS; i++) {
            gr_request_info info = {.struct_size = sizeof info};
            if (requests[i] && gr_request_info_get(requests[i], &info) == GR_OK)
                busy |= info.stop_reason == GR_STOP_NONE;
        }
    }
    for (uint32_t i = 0; i < SESSIONS; i++) {
        const char *text;
        size_t bytes;
        bool done;
        if (requests[i] && status == GR_OK)
            status = gr_request_read(requests[i], &text, &bytes, &done, error);
        gr_request_release(requests[i]);
    }
    end_move(w, going);
    return status;
}

static gr_status fork_session(world *w, const op *o, gr_error *error) {
    gr_session *fork = NULL;
    gr_status status = gr_session_fork(w->sessions[o->session], &fork, error);
    if (status != GR_OK)
        return status;
    gr_session_release(w->sessions[o->to]);
    w->sessions[o->to] = fork;
    if (w->logits)
        memcpy(logits_at(w, o->to, 0), logits_at(w, o->session, 0),
               (size_t)CONTEXT * w->vocab * sizeof(float));
    return GR_OK;
}

static gr_status work(world *w, const op *o, gr_error *error) {
    switch (o->kind) {
    case APPEND: return append(w, o, error);
    case GENERATE: return generate(w, o, error);
    case FORK: return fork_session(w, o, error);
    case MOVE: return move(w, o), GR_OK;
    default: return gr_session_rewind(w->sessions[o->session], o->target[o->session], error);
    }
}

// ---- Going on after a failure ----

// A new session with the tokens of `log`, none of them evaluated.
static gr_session *resume(world *w, const gr_tokens *log) {
    gr_error error;
    gr_error_init(&error);
    gr_session *session = begin(w, &error);
    if (!session || gr_session_append_tokens(session, log->data, log->count, &error) != GR_OK)
        go_wrong(w, "%s", error.message);
    return session;
}

static bool copy_log(const gr_session *session, gr_tokens *out_log) {
    size_t count;
    const int32_t *tokens = gr_session_tokens(session, &count);
    return gr_tokens_append(out_log, tokens, count) == GR_OK;
}

// Takes the logs to a model on the next device that can be loaded. The old one goes first: a lost
// device stays lost as long as anybody has it.
static void take_elsewhere(world *w) {
    gr_tokens logs[SESSIONS] = {{0}};
    bool live[SESSIONS], loaded = false;
    gr_error error;
    for (uint32_t i = 0; i < SESSIONS; i++) {
        live[i] = w->sessions[i] != NULL;
        if (live[i] && !copy_log(w->sessions[i], &logs[i]))
            go_wrong(w, "no memory for a log");
    }
    end_sessions(w);
    gr_model_release(w->model);
    w->model = NULL;
    for (uint32_t tries = 0; tries < PATIENCE && !loaded; tries++) {
        gr_error_init(&error);
        w->device = (w->device + 1) % w->options->device_count;
        loaded = load(w, w->options->devices[w->device], &error);
    }
    if (!loaded)
        go_wrong(w, "no device can be loaded: %s", error.message);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        w->sessions[i] = loaded && live[i] ? resume(w, &logs[i]) : NULL;
        gr_tokens_deinit(&logs[i]);
    }
}

// Every log is that of the calm world, or begins like it where work was broken off.
static void compare(world *w, bool whole) {
    for (uint32_t i = 0; i < SESSIONS; i++) {
        size_t count, right_count;
        if (!w->sessions[i] || !w->calm->sessions[i])
            continue;
        const int32_t *log = gr_session_tokens(w->sessions[i], &count);
        const int32_t *right = gr_session_tokens(w->calm->sessions[i], &right_count);
        size_t same = 0;
        while (same < count && same < right_count && log[same] == right[same])
            same++;
        if (same < count || (whole && count != right_count))
            go_wrong(w, "session %u: %zu tokens of %zu are right, then %d, not %d", i, same,
                     right_count, same < count ? log[same] : -1,
                     same < right_count ? right[same] : -1);
    }
}

// Does a piece of work in spite of what fails. The calm world has done it.
static void persist(world *w, const op *o) {
    gr_error error;
    for (uint32_t tries = 0; tries < PATIENCE && !w->why[0]; tries++) {
        gr_error_init(&error);
        gr_status status = work(w, o, &error);
        if (status == GR_OK) {
            compare(w, true);
            return;
        }
        bool fault = status == GR_ERROR_OUT_OF_MEMORY || status == GR_ERROR_DEVICE_LOST ||
                     status == GR_ERROR_TIMEOUT;
        if (w->options->failover || !fault || !error.message[0])
            go_wrong(w, "%s: '%s'", gr_status_name(status), error.message);
        if (o->kind != REWIND && o->kind != FORK)
            compare(w, false);
        if (status != GR_ERROR_OUT_OF_MEMORY && !w->why[0])
            take_elsewhere(w);
    }
    go_wrong(w, "it failed %u times: %s", PATIENCE, error.message);
}

// ---- Seeds ----

static const gr_fault_control *control_of(const world *w, const char *device) {
    uint32_t index;
    if (gr_registry_find(w->engine->registry, device, &index, NULL) != GR_OK)
        return NULL;
    const gr_backend *backend = gr_registry_device(w->engine->registry, index)->backend;
    return backend->get_extension ? backend->get_extension(GR_FAULT_EXTENSION) : NULL;
}

// Gives every shim its plan, or none; how many faults there were under the plans before.
static uint64_t plan(world *w, uint64_t seed, bool any) {
    const soak_options *o = w->options;
    uint64_t count = 0;
    for (uint32_t i = 0; i < o->device_count; i++) {
        const gr_fault_control *control = control_of(w, o->devices[i]);
        char text[160];
        gr_error error;
        gr_error_init(&error);
        snprintf(text, sizeof text, "seed:%llu,rate:%g,late:2ms,only:%s",
                 (unsigned long long)(seed * DEVICES + i), o->rate, o->only);
        count += control ? control->injected(NULL, 0) : 0;
        if (control && control->plan_set(any ? text : NULL, &error) != GR_OK)
            go_wrong(w, "%s", error.message);
    }
    return count;
}

// The work of one seed; false when it went wrong. Adds the faults injected.
static bool run(world *calm, const soak_options *options, uint64_t seed, uint64_t *faults) {
    world w;
    gr_error error;
    gr_error_init(&error);
    uint64_t random = seed;
    if (!make(&w, options, options->devices[0])) {
        fprintf(stderr, "soak: %s\n", w.why);
        return false;
    }
    w.calm = calm;
    calm->sessions[0] = begin(calm, &error);
    w.sessions[0] = begin(&w, &error);
    plan(&w, seed, true);
    for (uint32_t i = 0; i < OPS && calm->sessions[0] && w.sessions[0] && !w.why[0]; i++) {
        op o = draw(&random, calm);
        if (work(calm, &o, &error) != GR_OK)
            go_wrong(&w, "on %s, without faults: %s", options->calm, error.message);
        persist(&w, &o);
    }
    *faults += plan(&w, 0, false);
    if (!w.sessions[0] || calm->why[0])
        go_wrong(&w, "%s%s", error.message, calm->why);
    if (w.why[0])
        fprintf(stderr, "soak: seed %llu: %s\n", (unsigned long long)seed, w.why);
    calm->moves += w.moves;
    calm->moved += w.moved;
    end_sessions(calm);
    unmake(&w);
    return !w.why[0];
}

// ---- Command line ----

static uint64_t number_from(const char *name, uint64_t standard) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : standard;
}

static bool read_options(int argc, char **argv, soak_options *o) {
    *o = (soak_options){.seed = number_from("GREGALE_SEED", 1),
                   .faults = sampled_deep(24, 1000),
                   .rate = 0.01,
                   .calm = "ref",
                   .only = "oom+lost+late",
                   .model = GREGALE_SOURCE_DIR "/configs/models/breeze/breeze-q8_0.gguf"};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool takes = name[0] == '-' && strcmp(name, "--failover") && strcmp(name, "--kinds");
        if (!strcmp(name, "--failover"))
            o->failover = true;
        else if (!strcmp(name, "--kinds"))
            o->kinds = true;
        else if (name[0] != '-')
            o->model = name;
        else if (!value)
            return false;
        else if (!strcmp(name, "--faults"))
            o->faults = strtoull(value, NULL, 0);
        else if (!strcmp(name, "--seed"))
            o->seed = strtoull(value, NULL, 0);
        else if (!strcmp(name, "--rate"))
            o->rate = strtod(value, NULL);
        else if (!strcmp(name, "--only"))
            o->only = value;
        else if (!strcmp(name, "--calm"))
            o->calm = value;
        else if (!strcmp(name, "--device") && o->device_count < DEVICES)
            o->devices[o->device_count++] = value;
        else
            return false;
        i += takes;
    }
    return o->device_count > 0;
}

int main(int argc, char **argv) {
    soak_options o;
    world calm;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: see the head of soak.c; at least one --device\n");
        return 2;
    }
    bool good = make(&calm, &o, o.calm);
    if (good && o.kinds)
        good = (calm.logits = calloc((size_t)SESSIONS * CONTEXT * calm.vocab, sizeof(float)));
    if (!good)
        fprintf(stderr, "soak: %s\n", calm.why);
    uint64_t faults = 0, seeds = 0;
    for (uint64_t seed = o.seed; good && faults < o.faults; seed++, seeds++) {
        good = run(&calm, &o, seed, &faults);
        if (seeds > 10 * o.faults + 100) { // a plan that injects nothing shows nothing
            fprintf(stderr, "soak: %llu faults only\n", (unsigned long long)faults);
            good = false;
        }
    }
    if (o.kinds)
        printf("soak: logits differ by %.3g of their bound at most\n", calm.worst);
    unmake(&calm);
    printf("soak: seeds %llu to %llu, %llu faults, %llu of %llu moves done: %s\n",
           (unsigned long long)o.seed, (unsigned long long)(o.seed + seeds - !!seeds),
           (unsigned long long)faults, (unsigned long long)calm.moved, (unsigned long long)calm.moves,
           good ? "every log is right" : "FAILED");
    return !good;
}
