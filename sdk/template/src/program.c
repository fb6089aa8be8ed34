// SPDX-License-Identifier: Apache-2.0
// program.c: compiling a segment into a list of calls, and running the list on a step.
#include "mydevice.h"

typedef struct bound {
    const mydevice_op *op;
    gr_call call;
} bound;

struct gr_program {
    const gr_step *step; // borrowed; the host writes it anew before every submit
    uint32_t rows_max, seqs_max, outputs_max;
    uint32_t threads;
    uint64_t scratch_per_thread; // bytes
    uint64_t bytes;              // of this allocation
    uint32_t count;
    bound list[];
};

// ---- Compiling ----

static gr_status fill(const gr_program_desc *desc, gr_program *program, gr_error *error) {
    for (uint32_t i = 0, node; gr_segment_next_run(desc->segment, &i, &node);) {
        bound *next = &program->list[program->count];
        gr_node_view view;
        const char *why = mydevice_refusal(desc->segment, node, &view);
        if (why)
            return gr_fail(error, GR_ERROR_UNSUPPORTED, GR_SDK_ORIGIN, "node %u: %s", node, why);
        gr_status status = gr_call_bind(desc, node, &next->call, error);
        if (status != GR_OK)
            return status;
        next->op = mydevice_op_find(view.op);
        uint64_t scratch = next->op->scratch ? next->op->scratch(&view) * sizeof(float) : 0;
        if (scratch > program->scratch_per_thread)
            program->scratch_per_thread = scratch;
        program->count++;
    }
    program->scratch_per_thread = (program->scratch_per_thread + 63) / 64 * 64;
    return GR_OK;
}

gr_status mydevice_program_compile(gr_device *device, const gr_program_desc *desc,
                                   gr_program **out_program, gr_program_info *out_info,
                                   gr_error *error) {
    const gr_host *host = device->host;
    gr_program_info info = {.struct_size = sizeof info};
    *out_program = NULL;
    gr_struct_fill(out_info, &info, sizeof info);
    if (!gr_program_desc_ok(desc))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_SDK_ORIGIN,
                       "program: incomplete or of another layout");
    uint64_t count = 0;
    for (uint32_t i = 0, node; gr_segment_next_run(desc->segment, &i, &node);)
        count++;
    uint64_t bytes = sizeof(gr_program) + count * sizeof(bound);
    gr_program *program = host->memory_alloc(host, bytes);
    if (!program)
        return gr_no_memory(error, "a program");
    program->step = desc->step;
    program->rows_max = desc->rows_max;
    program->seqs_max = desc->seqs_max;
    program->outputs_max = desc->outputs_max;
    program->threads = desc->threads;
    program->bytes = bytes;
    gr_status status = fill(desc, program, error);
    if (status != GR_OK) {
        mydevice_program_destroy(device, program);
        return status;
    }
    info.scratch_per_thread_bytes = program->scratch_per_thread; // the host provides it with submit
    gr_struct_fill(out_info, &info, sizeof info);
    *out_program = program;
    return GR_OK;
}

void mydevice_program_destroy(gr_device *device, gr_program *program) {
    if (program)
        device->host->memory_free(device->host, program, program->bytes);
}

// ---- Running ----

typedef struct run {
    const gr_host *host;
    const gr_program *program;
    gr_step step;
    uint8_t *scratch;
    bool alone; // no team: no barriers
} run;

// What every worker does. Workers beyond program->threads only keep the barriers.
static void work(const gr_worker *worker, void *argument) {
    const run *r = argument;
    const gr_program *program = r->program;
    mydevice_task task = {.step = &r->step, .id = worker->id, .count = worker->count};
    if (task.count > program->threads)
        task.count = program->threads;
    if (r->scratch && task.id < task.count)
        task.scratch = (float *)(void *)(r->scratch + program->scratch_per_thread * task.id);
    bool trace = worker->id == 0 && gr_host_traces(r->host);
    for (uint32_t i = 0; i < program->count; i++) {
        const bound *next = &program->list[i];
        uint64_t start = trace ? r->host->now_ns(r->host) : 0;
        if (task.id < task.count)
            next->op->run(&next->call, &task);
        if (!r->alone)
            r->host->team_barrier(worker);
        if (trace)
            gr_call_trace(&next->call, r->host, &r->step, "mydevice", start, 0);
    }
}

gr_status mydevice_submit(gr_device *device, gr_queue *queue, const gr_submit *submit,
                          gr_error *error) {
    gr_status status = gr_submit_check(queue, submit, error);
    if (status != GR_OK)
        return status;
    const gr_program *program = submit->program;
    run r = {.host = device->host, .program = program, .alone = !queue->team};
    status = gr_scratch_check(submit, program->scratch_per_thread * program->threads, error);
    if (status == GR_OK)
        status = gr_step_check(program->step, program->rows_max, program->seqs_max,
                               program->outputs_max, error);
    if (status != GR_OK)
        return status;
    gr_struct_read(program->step, sizeof r.step, &r.step);
    r.scratch = submit->scratch ? submit->scratch->data : NULL;
    for (uint32_t i = 0; i < program->count && status == GR_OK; i++)
        status = gr_call_admit(&program->list[i].call, &r.step, error);
    if (status != GR_OK)
        return status;
    gr_host_queue_run(device->host, queue, work, &r);
    if (submit->signal)
        gr_counter_raise(&submit->signal->counter, submit->signal_value);
    return GR_OK;
}
