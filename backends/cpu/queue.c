// SPDX-License-Identifier: Apache-2.0
// queue.c: a queue's workers in groups, and the units of a call allotted to them.
//
// Workers that share a cache are a group, at most eight of them. A group owns the same part of a
// matrix in every step, so its packed panels may lie on its own NUMA node (memory.c), and takes units
// of it from a ticket of its own, so that a contended line is handed on within a cache. Whoever finds
// his group's part taken goes on with the next group's: a slow worker keeps what it is doing and
// nothing else.
//
// A ticket is the next unit beside the stamp of its call. Stamps only grow, so a ticket with an older
// stamp is one from which nobody has taken yet, and nothing needs to be reset. Calls between two
// barriers may run at the same time and have tickets of their own; beyond a barrier they are used
// again, and stay in the caches.
#include "cpu.h"

gr_status cpu_queue_create(gr_device *device, gr_team *team, gr_queue **out_queue,
                           gr_error *error) {
    *out_queue = NULL;
    const gr_host *host = device->host;
    gr_queue *queue = host->memory_alloc(host, sizeof *queue);
    if (!queue)
        return cpu_no_memory(error);
    queue->team = team;
    queue->workers = team ? host->team_size(team) : 1;
    queue->stamp = 1;
    queue->groups = host->memory_alloc(host, queue->workers * sizeof *queue->groups);
    queue->tickets =
        host->memory_alloc(host, (uint64_t)queue->workers * CPU_TICKETS * sizeof *queue->tickets);
    if (!queue->groups || !queue->tickets) {
        cpu_queue_destroy(device, queue);
        return cpu_no_memory(error);
    }
    *out_queue = queue;
    return GR_OK;
}

void cpu_queue_destroy(gr_device *device, gr_queue *queue) {
    const gr_host *host = device->host;
    if (!queue)
        return;
    host->memory_free(host, queue->groups, queue->workers * sizeof *queue->groups);
    host->memory_free(host, queue->tickets,
                      (uint64_t)queue->workers * CPU_TICKETS * sizeof *queue->tickets);
    host->memory_free(host, queue, sizeof *queue);
}

// ---- Groups

static bool together(const cpu_group *a, const cpu_group *b) {
    return a->numa_node == b->numa_node && a->l3_group == b->l3_group;
}

uint32_t cpu_groups_merge(cpu_group *groups, uint32_t workers) {
    uint32_t count = 0;
    for (uint32_t first = 0, end; first < workers; first = end) {
        const cpu_group one = groups[first];
        for (end = first + 1; end < workers && together(&groups[end], &one); end++)
            ;
        uint32_t all = end - first, parts = (all + CPU_GROUP_WORKERS - 1) / CPU_GROUP_WORKERS;
        for (uint32_t part = 0; part < parts; part++) { // writes behind what is still to be read
            uint32_t begin = all * part / parts;
            groups[count] = one;
            groups[count].first = first + begin;
            groups[count++].count = all * (part + 1) / parts - begin;
        }
    }
    return count;
}

static void look(const gr_worker *worker, void *argument) {
    const gr_queue *queue = argument;
    if (worker->id < queue->workers)
        queue->groups[worker->id] =
            (cpu_group){worker->id, 1, worker->numa_node, worker->l3_group};
}

void cpu_queue_begin(const gr_host *host, gr_queue *queue, cpu_run *run) {
    uint32_t calls = run->program->call_count;
    if (!queue->group_count) {
        queue->groups[0] = (cpu_group){.count = 1};
        if (queue->team)
            host->team_run(queue->team, look, queue);
        queue->group_count = cpu_groups_merge(queue->groups, queue->workers);
    }
    if (calls >= UINT32_MAX - queue->stamp) {
        memset(queue->tickets, 0,
               (uint64_t)queue->workers * CPU_TICKETS * sizeof *queue->tickets);
        queue->stamp = 1;
    }
    run->queue = queue;
    run->stamp = queue->stamp;
    queue->stamp += calls;
}

uint32_t cpu_group_of(const gr_queue *queue, uint32_t id) {
    uint32_t group = 0;
    while (group + 1 < queue->group_count && queue->groups[group + 1].first <= id)
        group++;
    return group;
}

void cpu_group_share(const cpu_group *group, uint32_t working, uint64_t n, uint64_t *begin,
                     uint64_t *end) {
    uint64_t first = group->first < working ? group->first : working;
    uint64_t last = working - first < group->count ? working : first + group->count;
    *begin = n * first / working;
    *end = n * last / working;
}

// ---- Taking

static bool take_one(cpu_ticket *ticket, uint32_t stamp, uint64_t count, uint64_t *out_unit) {
    uint64_t seen = atomic_load_explicit(&ticket->next, memory_order_relaxed), next;
    do {
        next = seen >> 32 == stamp ? (uint32_t)seen : 0;
        if (next >= count)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&ticket->next, &seen,
                                                    (uint64_t)stamp << 32 | (next + 1),
                                                    memory_order_relaxed, memory_order_relaxed));
    *out_unit = next;
    return true;
}

// The share of the group that is `tried` places beyond the worker's own.
static void look_at_share(cpu_allotment *a) {
    a->group = (a->task->group + a->tried) % a->task->run->queue->group_count;
    cpu_group_share(&a->task->run->queue->groups[a->group], a->task->count,
                    (a->count + a->each - 1) / a->each, &a->begin, &a->end);
}

void cpu_allot(const cpu_call *call, const cpu_task *task, uint64_t count, uint64_t each,
               cpu_allotment *out_allotment) {
    const cpu_run *run = task->run;
    *out_allotment = (cpu_allotment){
        .task = task,
        .tickets = run->queue->tickets + (uint64_t)call->ticket * run->queue->group_count,
        .stamp = run->stamp + (uint32_t)(call - run->program->calls),
        .count = count,
        .each = each};
    if (task->id < task->count)
        look_at_share(out_allotment);
    else
        out_allotment->tried = run->queue->group_count;
}

bool cpu_take(cpu_allotment *a, uint64_t *out_begin, uint64_t *out_end) {
    uint64_t unit;
    while (a->tried < a->task->run->queue->group_count) {
        if (take_one(&a->tickets[a->group], a->stamp, a->end - a->begin, &unit)) {
            *out_begin = (a->begin + unit) * a->each;
            *out_end = a->count - *out_begin < a->each ? a->count : *out_begin + a->each;
            return true;
        }
        a->tried++;
        look_at_share(a);
    }
    return false;
}

uint64_t cpu_panels_each(uint64_t panels, uint32_t workers) {
    uint64_t each = panels / (workers * 16u);
    return each < 1 ? 1 : each > 8 ? 8 : each;
}
