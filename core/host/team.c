// SPDX-License-Identifier: Apache-2.0
// team.c: worker threads that enter a function together.
//
// A run raises `epoch`; workers wait for it to change. `pending` counts workers still inside; the
// caller waits for 0. The barrier is made of gates. A gate counts arrivals; the last one raises
// `phase`, for which the others wait (a sense-reversing barrier whose sense is a counter). Workers
// that share a cache, at most eight of them, meet at a gate of their own, whose last one goes on to
// the gate of all gates before it opens: no word is written or watched by the whole machine.
//
// Workers are pinned, the caller is the application's and is not. Should it stand on a worker's
// processor when a run begins, it is moved away for this run (tens of microseconds, and rare: it
// tends to stay away).
#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/os.h"
#include "host/internal.h"

enum {
    LINE = 64, // no two busy words share a cache line
    MAX_WORKERS = 1024,
    GATE_WORKERS = 8, // a line is handed on in tens of nanoseconds: eight of them, no more
    BARRIER_SPIN_NS = 50000, // ops of a step are microseconds apart
    RUN_SPIN_NS = 100000     // steps of a busy session follow each other closely
};

typedef struct gate {
    _Alignas(LINE) _Atomic uint32_t arrived;
    _Alignas(LINE) _Atomic uint32_t phase;
    _Atomic uint32_t sleepers;
    _Alignas(LINE) uint32_t size; // who meets here
    struct gate *above;           // NULL: the last gate
} gate;

typedef struct seat {
    gr_worker worker;
    gr_team *team;
    gate *gate;
    pthread_t thread;
    uint32_t os_cpu;
    bool pinned;
} seat;

#ifdef __linux__

typedef cpu_set_t affinity; // up to CPU_SETSIZE processors; beyond, threads stay unpinned

static bool pin(const seat *s) {
    affinity one;
    CPU_ZERO(&one);
    if (s->os_cpu >= CPU_SETSIZE)
        return false;
    CPU_SET(s->os_cpu, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0; // a refusal costs speed, nothing else
}

static void note_cpu(affinity *taken, const seat *s) {
    if (s->pinned && s->os_cpu < CPU_SETSIZE)
        CPU_SET(s->os_cpu, taken);
}

// Moves the caller to worker 0's processor for a run if it stands on one of `taken`, unless its
// owner keeps it from there. True when *out_before must be restored.
static bool move_caller(const affinity *taken, const seat *s, affinity *out_before) {
    int here = sched_getcpu();
    if (here < 0 || here >= CPU_SETSIZE || !CPU_ISSET(here, taken) || s->os_cpu >= CPU_SETSIZE)
        return false;
    if (sched_getaffinity(0, sizeof *out_before, out_before) != 0 ||
        !CPU_ISSET(s->os_cpu, out_before))
        return false;
    return pin(s);
}

static void restore_caller(const affinity *before) {
    sched_setaffinity(0, sizeof *before, before);
}

#else

typedef int affinity;

static bool pin(const seat *s) {
    (void)s;
    return false;
}

static void note_cpu(affinity *taken, const seat *s) {
    (void)taken;
    (void)s;
}

static bool move_caller(const affinity *taken, const seat *s, affinity *out_before) {
    *out_before = *taken;
    return pin(s);
}

static void restore_caller(const affinity *before) {
    (void)before;
}

#endif

struct gr_team {
    _Alignas(LINE) _Atomic uint32_t epoch;
    _Atomic uint32_t epoch_sleepers;
    _Atomic uint32_t stop;
    gr_team_function function;
    void *argument;
    _Alignas(LINE) _Atomic uint32_t pending;
    _Atomic uint32_t pending_sleepers;
    _Alignas(LINE) uint32_t size; // what follows never changes once the team works
    uint32_t started;             // threads to join
    uint32_t barrier_spins, run_spins;
    uint64_t bytes;
    affinity taken; // processors that workers other than the caller are pinned to
    bool running;   // catches misuse
    gate *gates;    // of all, then one a group
    seat seats[];
};

static void name_thread(uint32_t id) {
    char name[16];
    snprintf(name, sizeof name, "gregale-%u", id);
#if defined(__linux__)
    pthread_setname_np(pthread_self(), name);
#elif defined(__APPLE__)
    pthread_setname_np(name);
#endif
}

static void *work(void *argument) {
    seat *s = argument;
    gr_team *team = s->team;
    uint32_t seen = 0;
    name_thread(s->worker.id);
    if (s->pinned)
        pin(s);
    for (;;) {
        gr_wait_change(&team->epoch, seen, team->run_spins, &team->epoch_sleepers);
        seen++; // the caller waits for everyone, so no epoch is ever skipped
        if (atomic_load(&team->stop))
            return NULL;
        team->function(&s->worker, team->argument);
        if (atomic_fetch_sub(&team->pending, 1) == 1)
            gr_wait_wake(&team->pending, &team->pending_sleepers);
    }
}

void gr_team_run(gr_team *team, gr_team_function function, void *argument) {
    affinity before;
    assert(!team->running);
    team->running = true;
    bool moved = move_caller(&team->taken, &team->seats[0], &before);
    if (team->size > 1) {
        team->function = function;
        team->argument = argument;
        atomic_store(&team->pending, team->size - 1);
        atomic_fetch_add(&team->epoch, 1);
        gr_wait_wake(&team->epoch, &team->epoch_sleepers);
    }
    function(&team->seats[0].worker, argument);
    for (uint32_t left; team->size > 1 && (left = atomic_load(&team->pending)) != 0;)
        gr_wait_change(&team->pending, left, team->run_spins, &team->pending_sleepers);
    if (moved)
        restore_caller(&before);
    team->running = false;
}

static void meet(gate *g, uint32_t spins) {
    uint32_t phase = atomic_load_explicit(&g->phase, memory_order_relaxed);
    if (atomic_fetch_add(&g->arrived, 1) < g->size - 1) {
        gr_wait_change(&g->phase, phase, spins, &g->sleepers);
        return;
    }
    atomic_store_explicit(&g->arrived, 0, memory_order_relaxed);
    if (g->above)
        meet(g->above, spins);
    atomic_fetch_add(&g->phase, 1);
    gr_wait_wake(&g->phase, &g->sleepers);
}

void gr_team_barrier(const gr_worker *worker) {
    const seat *s = worker->host;
    if (s->team->size > 1)
        meet(s->gate, s->team->barrier_spins);
}

// ---- Making and ending ----

static void fill_seat(gr_team *team, const gr_topology *topology, uint32_t id, uint32_t cpu_index,
                      bool pinned) {
    seat *s = &team->seats[id];
    const gr_cpu *cpu = (const gr_cpu *)(const void *)((const char *)topology->cpus +
                                                       (size_t)cpu_index * topology->cpu_stride);
    s->team = team;
    s->os_cpu = cpu->os_index;
    s->pinned = pinned;
    s->worker = (gr_worker){.struct_size = sizeof s->worker,
                            .id = id,
                            .count = team->size,
                            .l3_group = cpu->l3_group,
                            .numa_node = cpu->numa_node,
                            .host = s};
}

// Neighbours in number that share a cache, cut into equal parts of at most GATE_WORKERS.
static void fill_gates(gr_team *team) {
    gate *all = team->gates, *next = all;
    for (uint32_t first = 0, end; first < team->size; first = end) {
        const gr_worker *one = &team->seats[first].worker;
        for (end = first + 1; end < team->size; end++) {
            const gr_worker *other = &team->seats[end].worker;
            if (other->numa_node != one->numa_node || other->l3_group != one->l3_group)
                break;
        }
        uint32_t parts = (end - first + GATE_WORKERS - 1) / GATE_WORKERS;
        for (uint32_t i = first; i < end; i++) {
            uint32_t part = (i - first) * parts / (end - first);
            team->seats[i].gate = next + 1 + part;
            team->seats[i].gate->size++;
        }
        next += parts;
    }
    all->size = (uint32_t)(next - all);
    for (gate *g = all + 1; all->size > 1 && g <= next; g++)
        g->above = all;
}

// Signals are the application's: workers take none but faults of their own.
static gr_status start_threads(gr_team *team, gr_error *error) {
    sigset_t all, before;
    int failure = 0;
    sigfillset(&all);
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]); // a blocked fault kills at once; SIGBUS is how a truncated file shows
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 1; i < team->size && !failure; i++) {
        failure = pthread_create(&team->seats[i].thread, NULL, work, &team->seats[i]);
        team->started += !failure;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host",
                       "cannot start worker thread %u of %u: %s", team->started + 1, team->size - 1,
                       strerror(failure));
    return GR_OK;
}

static gr_team *make_team(const gr_topology *topology, uint32_t size, const uint32_t *cpus,
                          uint32_t seated) {
    uint64_t seats = gr_align_up(sizeof(gr_team) + (uint64_t)size * sizeof(seat), LINE);
    uint64_t bytes = seats + (size + UINT64_C(1)) * sizeof(gate);
    gr_team *team = gr_os_alloc(bytes);
    if (!team)
        return NULL;
    team->bytes = bytes;
    team->gates = (gate *)(void *)((char *)team + seats);
    team->size = size;
    // More workers than processors: spinning would only keep the others from running.
    if (size > 1 && size <= topology->cpu_count) {
        team->barrier_spins = gr_wait_spins(BARRIER_SPIN_NS);
        team->run_spins = team->barrier_spins * (RUN_SPIN_NS / BARRIER_SPIN_NS);
    }
    for (uint32_t i = 0; i < size; i++)
        fill_seat(team, topology, i, cpus[i % seated],
                  !topology->fake && size <= topology->cpu_count);
    fill_gates(team);
    for (uint32_t i = 1; i < size; i++)
        note_cpu(&team->taken, &team->seats[i]);
    return team;
}

gr_status gr_team_create(const gr_topology *topology, uint32_t threads, gr_team **out_team,
                         gr_error *error) {
    *out_team = NULL;
    uint32_t cpus[MAX_WORKERS];
    if (threads > MAX_WORKERS)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "host", "%u threads: at most %d are possible",
                       threads, MAX_WORKERS);
    uint32_t seated = gr_team_layout(topology, threads, cpus, MAX_WORKERS);
    gr_team *team =
        seated ? make_team(topology, threads > seated ? threads : seated, cpus, seated) : NULL;
    if (!team)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host", "no memory for a worker team");
    gr_status status = start_threads(team, error);
    if (status != GR_OK) {
        gr_team_destroy(team);
        return status;
    }
    *out_team = team;
    return GR_OK;
}

static void ask_to_stop(gr_team *team) {
    atomic_store(&team->stop, 1);
    atomic_fetch_add(&team->epoch, 1);
    gr_wait_wake(&team->epoch, &team->epoch_sleepers);
}

void gr_team_destroy(gr_team *team) {
    if (!team)
        return;
    ask_to_stop(team);
    for (uint32_t i = 1; i <= team->started; i++)
        pthread_join(team->seats[i].thread, NULL);
    gr_os_free(team, team->bytes);
}

void gr_team_abandon(gr_team *team) {
    if (!team)
        return;
    for (uint32_t i = 1; i <= team->started; i++)
        pthread_detach(team->seats[i].thread);
    ask_to_stop(team);
}

void gr_team_bind_caller(const gr_team *team) {
    if (team->seats[0].pinned)
        pin(&team->seats[0]);
}

uint32_t gr_team_size(const gr_team *team) {
    return team->size;
}
