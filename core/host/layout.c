// SPDX-License-Identifier: Apache-2.0
// layout.c: which processors a team of workers should use.
#include <stdlib.h>

#include "host/internal.h"

static const gr_cpu *cpu_at(const gr_topology *t, uint32_t index) {
    return (const gr_cpu *)(const void *)((const char *)t->cpus + (size_t)index * t->cpu_stride);
}

// Physical cores of kind `kind` or faster.
static uint32_t cores_from(const gr_topology *t, uint32_t kind) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->cpu_count; i++)
        count += cpu_at(t, i)->smt_rank == 0 && cpu_at(t, i)->kind >= kind;
    return count;
}

// The fastest kinds of core that together are at least a third of all cores. Work is cut into equal
// shares, so a slow core makes the fast ones wait; but a few fast ones must not idle the rest.
static uint32_t default_cores(const gr_topology *t) {
    uint32_t all = cores_from(t, 0), fastest = 0;
    for (uint32_t i = 0; i < t->cpu_count; i++)
        fastest = cpu_at(t, i)->kind > fastest ? cpu_at(t, i)->kind : fastest;
    for (uint32_t kind = fastest; kind > 0; kind--) {
        if (cores_from(t, kind) * 3 >= all)
            return cores_from(t, kind);
    }
    return all ? all : 1;
}

// A quota is worth its whole processors; three quarters of one more count as one. Never less than
// one.
static uint32_t quota_workers(uint32_t milli) {
    uint32_t workers = milli > UINT32_MAX - 250 ? milli / 1000 : (milli + 250) / 1000;
    return workers ? workers : 1;
}

typedef struct picker {
    const gr_topology *topology;
    bool *taken;        // by cpu
    uint32_t *in_node;  // workers by NUMA node
    uint32_t *in_group; // workers by last-level cache
} picker;

// Whether processor a should get a worker before b: own core, then faster, then the emptier NUMA
// node, then the emptier cache.
static bool before(const picker *p, uint32_t a, uint32_t b) {
    const gr_cpu *x = cpu_at(p->topology, a), *y = cpu_at(p->topology, b);
    if (x->smt_rank != y->smt_rank)
        return x->smt_rank < y->smt_rank;
    if (x->kind != y->kind)
        return x->kind > y->kind;
    if (p->in_node[x->numa_node] != p->in_node[y->numa_node])
        return p->in_node[x->numa_node] < p->in_node[y->numa_node];
    if (p->in_group[x->l3_group] != p->in_group[y->l3_group])
        return p->in_group[x->l3_group] < p->in_group[y->l3_group];
    return a < b;
}

static void pick(picker *p) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < p->topology->cpu_count; i++) {
        if (!p->taken[i] && (best == UINT32_MAX || before(p, i, best)))
            best = i;
    }
    const gr_cpu *cpu = cpu_at(p->topology, best);
    p->taken[best] = true;
    p->in_node[cpu->numa_node]++;
    p->in_group[cpu->l3_group]++;
}

typedef struct seat {
    uint32_t index, numa_node, l3_group, core, smt_rank;
} seat;

static int compare_u32(uint32_t a, uint32_t b) {
    return (a > b) - (a < b);
}

static int compare_seats(const void *a, const void *b) {
    const seat *x = a, *y = b;
    int order = compare_u32(x->numa_node, y->numa_node);
    order = order ? order : compare_u32(x->l3_group, y->l3_group);
    order = order ? order : compare_u32(x->core, y->core);
    return order ? order : compare_u32(x->smt_rank, y->smt_rank);
}

// Workers of one NUMA node and cache get neighbouring numbers.
static uint32_t seat_workers(const picker *p, seat *seats, uint32_t *out_cpus) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->topology->cpu_count; i++) {
        const gr_cpu *cpu = cpu_at(p->topology, i);
        if (p->taken[i])
            seats[count++] = (seat){i, cpu->numa_node, cpu->l3_group, cpu->core, cpu->smt_rank};
    }
    qsort(seats, count, sizeof *seats, compare_seats);
    for (uint32_t i = 0; i < count; i++)
        out_cpus[i] = seats[i].index;
    return count;
}

uint32_t gr_team_layout(const gr_topology *topology, uint32_t threads, uint32_t *out_cpus,
                        uint32_t capacity) {
    uint32_t cpus = topology->cpu_count, count = threads;
    if (!count) {
        count = default_cores(topology);
        if (topology->cpu_quota_milli && quota_workers(topology->cpu_quota_milli) < count)
            count = quota_workers(topology->cpu_quota_milli);
    }
    count = count > cpus ? cpus : count;
    count = count > capacity ? capacity : count;
    picker p = {.topology = topology, .taken = calloc(cpus, sizeof *p.taken)};
    p.in_node = calloc((size_t)topology->numa_count + 1, sizeof *p.in_node);
    p.in_group = calloc((size_t)cpus + 1, sizeof *p.in_group);
    seat *seats = calloc(cpus, sizeof *seats);
    uint32_t seated = 0;
    if (p.taken && p.in_node && p.in_group && seats) {
        for (uint32_t i = 0; i < count; i++)
            pick(&p);
        seated = seat_workers(&p, seats, out_cpus);
    }
    free(p.taken);
    free(p.in_node);
    free(p.in_group);
    free(seats);
    return seated;
}
