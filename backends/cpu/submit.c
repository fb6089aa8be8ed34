// SPDX-License-Identifier: Apache-2.0
// submit.c: checks a step against a program and runs it. A step is done when submit returns.
#include "cpu.h"

// A step packs for at most this part of what the last one of its program took, the first one not at
// all; one of many rows whatever it meets, since packing a panel takes as long as six rows do.
#define PACK_SHARE 2
#define PACK_ROWS 128

static uint64_t pack_allowance(const gr_program *program, uint32_t rows) {
    return rows >= PACK_ROWS ? UINT64_MAX : program->usual_ns / PACK_SHARE;
}

static uint64_t value_traffic(const gr_value *value, const gr_step *step) {
    return cpu_count(value, step) * gr_dtype_block_bytes(value->dtype);
}

static void record(const cpu_run *run, const cpu_call *call, uint64_t start_ns) {
    const cpu_node *node = &call->node;
    gr_trace_event event = {.struct_size = sizeof event,
                            .op = node->op,
                            .layer = node->layer,
                            .implementation =
                                call->implementation[0] ? call->implementation : call->kernels->isa,
                            .start_ns = start_ns};
    const gr_value *rows = node->out[0].kind == GR_VALUE_STATE ? &node->in[0] : &node->out[0];
    event.rows = (uint32_t)cpu_rows(rows, &run->step);
    event.operations = cpu_count(rows, &run->step);
    for (uint32_t i = 0; i < node->in_count; i++) {
        if (node->has_in[i] && node->in[i].kind != GR_VALUE_STATE &&
            node->in[i].kind != GR_VALUE_WEIGHT)
            event.bytes += value_traffic(&node->in[i], &run->step);
    }
    for (uint32_t i = 0; i < node->out_count; i++) {
        if (cpu_is_computed(&node->out[i]))
            event.bytes += value_traffic(&node->out[i], &run->step);
    }
    if (call->op->cost)
        call->op->cost(call, run, &event);
    event.end_ns = run->host->now_ns(run->host);
    run->host->trace(run->host, &event);
}

// What every worker does: its share of each call in turn, waiting for the others where it must. A
// helper's time counts as that of the call it helps.
static void work(const gr_worker *worker, void *argument) {
    cpu_run *run = argument;
    const gr_program *program = run->program;
    uint64_t pack_ns = run->pack_ns;
    cpu_task task = {.run = run, .worker = worker, .id = worker->id, .pack_ns = &pack_ns};
    task.group = cpu_group_of(run->queue, task.id);
    task.count = worker->count < program->threads ? worker->count : program->threads;
    if (run->scratch && task.id < task.count) {
        task.form = run->scratch + program->scratch_shared +
                    (program->scratch_form + program->scratch_work) * task.id;
        task.scratch = task.form + program->scratch_form;
    }
    bool trace = run->trace && worker->id == 0;
    uint64_t start = trace ? run->host->now_ns(run->host) : 0;
    for (uint32_t i = 0; i < program->call_count; i++) {
        const cpu_call *call = &program->calls[i];
        call->run(call, &task);
        if (!run->alone && (call->barrier || run->trace))
            run->host->team_barrier(worker);
        if (trace && call->op) {
            record(run, call, start);
            start = run->host->now_ns(run->host);
        }
    }
    if (task.id == 0)
        run->packed_ns = run->pack_ns - pack_ns;
}

// Rows grouped by sequence, positions ascending by one. Ops that need a field which is absent say
// so.
static gr_status rows_check(const gr_step *step, gr_error *error) {
    if (!step->rows || !step->row_seq || !step->seq_rows || !step->positions)
        return GR_OK;
    for (uint32_t s = 0; s < step->seqs; s++) {
        int32_t begin = step->seq_rows[s], end = step->seq_rows[s + 1];
        if (begin < 0 || end < begin || (uint32_t)end > step->rows || (s == 0 && begin != 0))
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                           "step: sequence %u owns rows %d to %d of %u", s, begin, end, step->rows);
        for (int32_t t = begin; t < end; t++) {
            if (step->row_seq[t] != (int32_t)s || step->positions[t] < 0 ||
                (t > begin && step->positions[t] - 1 != step->positions[t - 1]))
                return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                               "step: row %d is of sequence %d at position %d", t, step->row_seq[t],
                               step->positions[t]);
        }
    }
    if (!step->seqs || step->seq_rows[step->seqs] != (int32_t)step->rows)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "step: its sequences do not cover its %u rows", step->rows);
    return GR_OK;
}

static gr_status step_check(const gr_program *program, gr_error *error) {
    const gr_step *step = program->step;
    if (!gr_struct_ok(step, sizeof *step, sizeof *step, SIZE_MAX))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN, "step: another layout");
    if (step->rows > program->rows_max || step->seqs > program->seqs_max ||
        step->outputs > program->outputs_max || step->rows > INT32_MAX)
        return gr_fail(error, GR_ERROR_OUT_OF_RANGE, CPU_ORIGIN,
                       "step of %u rows, %u sequences, %u outputs: the program takes %u, %u, %u",
                       step->rows, step->seqs, step->outputs, program->rows_max, program->seqs_max,
                       program->outputs_max);
    return rows_check(step, error);
}

static gr_status submit_check(const gr_queue *queue, const gr_submit *submit, gr_error *error) {
    if (!queue || !submit || !gr_struct_ok(submit, sizeof *submit, sizeof *submit, SIZE_MAX) ||
        !submit->program || (submit->wait_count && (!submit->waits || !submit->wait_values)))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "submit: incomplete or of another layout");
    for (uint32_t i = 0; i < submit->wait_count; i++) {
        // Steps run inside submit, so a value that is not there yet would never come.
        if (!submit->waits[i] || cpu_fence_value(submit->waits[i]) < submit->wait_values[i])
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                           "submit: waits for a value that nothing submitted will signal");
    }
    if (submit->signal && cpu_fence_value(submit->signal) > submit->signal_value)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "submit: a fence cannot go back");
    const gr_program *program = submit->program;
    uint64_t scratch = program->scratch_shared +
                       (program->scratch_form + program->scratch_work) * program->threads;
    if (scratch && (!submit->scratch || submit->scratch->bytes < scratch ||
                    (uintptr_t)submit->scratch->data % 64))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, CPU_ORIGIN,
                       "submit: %llu bytes of scratch, aligned to 64, are needed",
                       (unsigned long long)scratch);
    return step_check(program, error);
}

// Inner values lie in the scratch, which may be another one than last time.
static void bind_inner(gr_program *program, uint8_t *scratch) {
    if (program->bound == scratch)
        return;
    for (uint32_t c = 0; c < program->call_count; c++) {
        cpu_call *call = &program->calls[c];
        for (uint32_t i = 0; i < call->node.in_count; i++) {
            if (call->node.has_in[i] && call->node.in[i].kind == CPU_VALUE_INNER)
                call->in[i] = scratch + call->node.in[i].offset;
        }
        for (uint32_t i = 0; i < call->node.out_count; i++) {
            if (call->node.out[i].kind == CPU_VALUE_INNER)
                call->out[i] = scratch + call->node.out[i].offset;
        }
    }
    program->bound = scratch;
}

gr_status cpu_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error) {
    gr_status status = submit_check(queue, submit, error);
    if (status != GR_OK)
        return status;
    const gr_host *host = device->host;
    cpu_run run = {.host = host, .program = submit->program, .alone = !queue->team};
    run.trace = host->trace && host->trace_enabled && host->trace_enabled(host);
    gr_struct_read(submit->program->step, sizeof run.step, &run.step);
    run.scratch = submit->scratch ? submit->scratch->data : NULL;
    bind_inner(submit->program, run.scratch);
    for (uint32_t i = 0; i < run.program->call_count && status == GR_OK; i++) {
        const cpu_call *call = &run.program->calls[i];
        if (call->op && call->op->admit)
            status = call->op->admit(call, &run, error);
    }
    if (status != GR_OK)
        return status;
    for (uint32_t i = 0; i < run.program->call_count; i++)
        atomic_store_explicit(&run.program->counters[i], 0, memory_order_relaxed);
    cpu_queue_begin(host, queue, &run);
    run.pack_ns = pack_allowance(run.program, run.step.rows);
    uint64_t start = host->now_ns(host);
    if (queue->team) {
        host->team_run(queue->team, work, &run);
    } else {
        gr_worker alone = {.struct_size = sizeof alone, .count = 1};
        work(&alone, &run);
    }
    run.program->usual_ns = host->now_ns(host) - start - run.packed_ns;
    if (submit->signal)
        cpu_fence_signal(submit->signal, submit->signal_value);
    return GR_OK;
}
