// SPDX-License-Identifier: Apache-2.0
// inside.h: parts of the cpu backend on a made-up machine, with the core's own team.
#ifndef INSIDE_H
#define INSIDE_H

#include "../host/fixtures.h"

#include "cpu.h"
#include "host/internal.h"

typedef struct inside {
    gr_topology *topology;
    gr_team *team;
    gr_services services;
    gr_device device;
    gr_queue *queue;
    gr_program program; // `calls` that each end in a barrier
    cpu_run run;
    gr_error error;
} inside;

// `xml` as for `machine`; a program of `calls` calls that the whole team runs.
static inline void inside_open(inside *in, const char *xml, uint32_t threads, cpu_call *calls,
                               uint32_t count) {
    *in = (inside){.topology = machine(xml)};
    gr_error_init(&in->error);
    assert_int_equal(gr_team_create(in->topology, threads, &in->team, &in->error), GR_OK);
    gr_services_init(&in->services, "cpu", NULL, NULL, in->topology);
    in->device.host = &in->services.table;
    assert_int_equal(cpu_queue_create(&in->device, in->team, &in->queue, &in->error), GR_OK);
    in->program = (gr_program){.threads = threads, .call_count = count, .calls = calls};
    in->run = (cpu_run){.host = in->device.host, .program = &in->program};
    cpu_queue_begin(in->device.host, in->queue, &in->run);
}

static inline void inside_close(inside *in) {
    cpu_queue_destroy(&in->device, in->queue);
    gr_team_destroy(in->team);
    gr_topology_destroy(in->topology);
}

// The task of worker `id` of the run.
static inline cpu_task inside_task(const inside *in, uint32_t id, uint64_t *pack_ns) {
    return (cpu_task){.run = &in->run,
                      .id = id,
                      .count = in->program.threads,
                      .group = cpu_group_of(in->queue, id),
                      .pack_ns = pack_ns};
}

#endif
