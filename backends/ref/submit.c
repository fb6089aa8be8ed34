// SPDX-License-Identifier: Apache-2.0
// submit.c: queues, fences, and running a program. A step is done when submit returns.
#include <errno.h>
#include <time.h>

#include "ref.h"

gr_status ref_queue_create(gr_device *device, gr_team *team, gr_queue **out_queue,
                           gr_error *error) {
    *out_queue = NULL;
    gr_queue *queue = device->host->memory_alloc(device->host, sizeof *queue);
    if (!queue)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a queue");
    queue->team = team;
    *out_queue = queue;
    return GR_OK;
}

void ref_queue_destroy(gr_device *device, gr_queue *queue) {
    if (queue)
        device->host->memory_free(device->host, queue, sizeof *queue);
}

gr_status ref_fence_create(gr_device *device, gr_fence **out_fence, gr_error *error) {
    *out_fence = NULL;
    gr_fence *fence = device->host->memory_alloc(device->host, sizeof *fence);
    if (!fence)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "ref", "no memory for a fence");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    pthread_mutex_init(&fence->lock, NULL);
    pthread_cond_init(&fence->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *out_fence = fence;
    return GR_OK;
}

void ref_fence_destroy(gr_device *device, gr_fence *fence) {
    if (!fence)
        return;
    pthread_cond_destroy(&fence->changed);
    pthread_mutex_destroy(&fence->lock);
    device->host->memory_free(device->host, fence, sizeof *fence);
}

static uint64_t fence_value(gr_fence *fence) {
    pthread_mutex_lock(&fence->lock);
    uint64_t value = fence->value;
    pthread_mutex_unlock(&fence->lock);
    return value;
}

static void fence_signal(gr_fence *fence, uint64_t value) {
    pthread_mutex_lock(&fence->lock);
    if (value > fence->value)
        fence->value = value;
    pthread_cond_broadcast(&fence->changed);
    pthread_mutex_unlock(&fence->lock);
}

// The moment `timeout_ns` from now, on the clock that the fences wait by; false when it is beyond
// time.
static bool deadline(uint64_t timeout_ns, struct timespec *out_moment) {
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, out_moment);
#else
    clock_gettime(CLOCK_MONOTONIC, out_moment);
#endif
    uint64_t seconds = timeout_ns / 1000000000u;
    if (seconds > INT32_MAX / 2)
        return false;
    out_moment->tv_sec += (time_t)seconds;
    out_moment->tv_nsec += (long)(timeout_ns % 1000000000u);
    if (out_moment->tv_nsec >= 1000000000L) {
        out_moment->tv_nsec -= 1000000000L;
        out_moment->tv_sec++;
    }
    return true;
}

gr_status ref_fence_wait(gr_device *device, gr_fence *fence, uint64_t value, uint64_t timeout_ns,
                         gr_error *error) {
    (void)device;
    struct timespec moment;
    bool limited = deadline(timeout_ns, &moment);
    int result = 0;
    pthread_mutex_lock(&fence->lock);
    while (fence->value < value && result != ETIMEDOUT && timeout_ns) {
        result = limited ? pthread_cond_timedwait(&fence->changed, &fence->lock, &moment)
                         : pthread_cond_wait(&fence->changed, &fence->lock);
    }
    bool reached = fence->value >= value;
    pthread_mutex_unlock(&fence->lock);
    if (reached)
        return GR_OK;
    return gr_fail(error, GR_ERROR_TIMEOUT, "ref", "the fence has not reached %llu",
                   (unsigned long long)value);
}

static void record(const ref_run *run, const ref_call *call, uint64_t start_ns) {
    gr_trace_event event = {.struct_size = sizeof event,
                            .op = call->node.op,
                            .layer = call->node.layer,
                            .implementation = "ref",
                            .start_ns = start_ns};
    const gr_value *out = &call->node.out[0];
    const gr_value *rows = out->kind == GR_VALUE_STATE ? &call->node.in[0] : out;
    event.rows = (uint32_t)ref_rows(rows, run);
    for (uint32_t i = 0; i < call->node.in_count; i++) {
        if (call->weight[i])
            event.bytes += call->weight[i]->bytes;
        else if (call->node.has_in[i] && call->node.in[i].kind != GR_VALUE_STATE)
            event.bytes +=
                ref_count(&call->node.in[i], run) * gr_dtype_block_bytes(call->node.in[i].dtype);
    }
    for (uint32_t i = 0; i < call->node.out_count; i++) {
        if (call->node.out[i].kind == GR_VALUE_ACTIVATION)
            event.bytes +=
                ref_count(&call->node.out[i], run) * gr_dtype_block_bytes(call->node.out[i].dtype);
    }
    event.operations =
        call->op->operations ? call->op->operations(call, run) : ref_count(rows, run);
    event.end_ns = run->host->now_ns(run->host);
    run->host->trace(run->host, &event);
}

// What every worker does: each call in turn, waiting for the others after it.
static void work(const gr_worker *worker, void *argument) {
    const ref_run *run = argument;
    const gr_program *program = run->program;
    uint32_t count = worker->count < program->threads ? worker->count : program->threads;
    ref_task task = {.run = run, .id = worker->id, .count = count};
    if (run->scratch)
        task.scratch = run->scratch + program->scratch_per_thread * worker->id;
    const gr_host *host = run->host;
    bool trace = worker->id == 0 && host->trace && host->trace_enabled && host->trace_enabled(host);
    for (uint32_t i = 0; i < program->call_count; i++) {
        const ref_call *call = &program->calls[i];
        uint64_t start = trace ? host->now_ns(host) : 0;
        if (worker->id < count)
            call->op->run(call, &task);
        if (!run->alone)
            host->team_barrier(worker);
        if (trace)
            record(run, call, start);
    }
}

// Row bookkeeping that every op relies on: rows grouped by sequence, positions ascending by one.
static gr_status rows_check(const gr_step *step, gr_error *error) {
    if (step->rows && (!step->row_seq || !step->seq_rows || !step->positions))
        return GR_OK; // ops that need them say so themselves
    for (uint32_t s = 0; s < step->seqs && step->rows; s++) {
        int32_t begin = step->seq_rows[s], end = step->seq_rows[s + 1];
        if (begin < 0 || end < begin || (uint32_t)end > step->rows || (s == 0 && begin != 0))
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                           "step: sequence %u owns rows %d to %d of %u", s, begin, end, step->rows);
        for (int32_t t = begin; t < end; t++) {
            if (step->row_seq[t] != (int32_t)s || step->positions[t] < 0 ||
                (t > begin && step->positions[t] - 1 != step->positions[t - 1]))
                return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                               "step: row %d is of sequence %d at position %d", t, step->row_seq[t],
                               step->positions[t]);
        }
    }
    if (step->rows && (!step->seqs || step->seq_rows[step->seqs] != (int32_t)step->rows))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "step: its sequences do not cover its %u rows", step->rows);
    return GR_OK;
}

static gr_status submit_check(const gr_queue *queue, const gr_submit *submit, gr_error *error) {
    if (!queue || !submit || !ref_struct_ok(submit, sizeof *submit, sizeof *submit, SIZE_MAX) ||
        !submit->program || (submit->wait_count && (!submit->waits || !submit->wait_values)))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "submit: incomplete or of another layout");
    for (uint32_t i = 0; i < submit->wait_count; i++) {
        // Steps run inside submit, so a value that is not there yet would never come.
        if (!submit->waits[i] || fence_value(submit->waits[i]) < submit->wait_values[i])
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                           "submit: waits for a value that nothing submitted will signal");
    }
    if (submit->signal && fence_value(submit->signal) > submit->signal_value)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "submit: a fence cannot go back");
    const gr_program *program = submit->program;
    uint64_t scratch = program->scratch_per_thread * program->threads;
    if (scratch && (!submit->scratch || submit->scratch->bytes < scratch ||
                    (uintptr_t)submit->scratch->data % 8))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "submit: %llu bytes of aligned scratch are needed",
                       (unsigned long long)scratch);
    const gr_step *step = program->step;
    if (!ref_struct_ok(step, sizeof *step, sizeof *step, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref", "step: another layout");
    if (step->rows > program->rows_max || step->seqs > program->seqs_max ||
        step->outputs > program->outputs_max || step->rows > INT32_MAX)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, "ref",
                       "step of %u rows, %u sequences, %u outputs: the program takes %u, %u, %u",
                       step->rows, step->seqs, step->outputs, program->rows_max, program->seqs_max,
                       program->outputs_max);
    return rows_check(step, error);
}

gr_status ref_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error) {
    gr_status status = submit_check(queue, submit, error);
    if (status != GR_OK)
        return status;
    ref_run run = {.host = device->host, .program = submit->program, .alone = !queue->team};
    ref_struct_read(submit->program->step, sizeof run.step, &run.step);
    run.scratch = submit->scratch ? submit->scratch->data : NULL;
    for (uint32_t i = 0; i < run.program->call_count && status == GR_OK; i++) {
        const ref_call *call = &run.program->calls[i];
        if (call->op->admit)
            status = call->op->admit(call, &run, error);
    }
    if (status != GR_OK)
        return status;
    if (queue->team) {
        device->host->team_run(queue->team, work, &run);
    } else {
        gr_worker alone = {.struct_size = sizeof alone, .count = 1};
        work(&alone, &run);
    }
    if (submit->signal)
        fence_signal(submit->signal, submit->signal_value);
    return GR_OK;
}
