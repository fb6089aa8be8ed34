// SPDX-License-Identifier: Apache-2.0
// program.c: a segment as a list of bound calls, and running it. A step is done when submit returns.
#include "ref.h"

typedef struct ref_call {
    const ref_op *op;
    gr_call call;
} ref_call;

struct gr_program {
    const gr_step *step; // borrowed; read anew by every submit
    uint32_t rows_max, seqs_max, outputs_max;
    uint32_t threads;
    uint64_t scratch_per_thread;
    uint64_t bytes; // of this allocation
    uint32_t call_count;
    ref_call calls[];
};

static const ref_op *const ops[] = {
    &ref_op_embed,     &ref_op_rms_norm,  &ref_op_matmul,  &ref_op_rope,
    &ref_op_kv_write,  &ref_op_attention, &ref_op_glu,     &ref_op_add,
    &ref_op_mul,       &ref_op_scale,     &ref_op_softmax, &ref_op_gather_rows,
    &ref_op_mask_bits, &ref_op_topk,      &ref_op_cast,    &ref_op_copy,
};

const ref_op *ref_op_find(gr_op op) {
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (ops[i]->op == op)
            return ops[i];
    }
    return NULL;
}

// Eight running sums, so that the processor need not wait for each addition; added up in one order.
double ref_dot(const float *a, const float *b, uint64_t n) {
    double sums[8] = {0};
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++)
            sums[j] += (double)a[i + j] * (double)b[i + j];
    }
    for (; i < n; i++)
        sums[i % 8] += (double)a[i] * (double)b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// ---- Compiling ----

static gr_status fill_calls(const gr_program_desc *desc, gr_program *program, gr_error *error) {
    for (uint32_t i = 0, node; gr_segment_next_run(desc->segment, &i, &node);) {
        ref_call *made = &program->calls[program->call_count];
        gr_status status = gr_call_bind(desc, node, &made->call, error);
        if (status != GR_OK)
            return status;
        made->op = ref_op_find(made->call.node.op);
        if (!made->op)
            return gr_fail(error, GR_ERROR_UNSUPPORTED, "ref", "node %u: decomposed", node);
        uint64_t scratch = made->op->scratch ? made->op->scratch(&made->call.node) : 0;
        if (scratch > program->scratch_per_thread)
            program->scratch_per_thread = scratch;
        program->call_count++;
    }
    program->scratch_per_thread = (program->scratch_per_thread + 63) / 64 * 64;
    return GR_OK;
}

gr_status ref_program_compile(gr_device *device, const gr_program_desc *desc,
                              gr_program **out_program, gr_program_info *out_info,
                              gr_error *error) {
    *out_program = NULL;
    gr_program_info info = {.struct_size = sizeof info};
    gr_struct_fill(out_info, &info, sizeof info);
    if (!gr_program_desc_ok(desc))
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "ref",
                       "program: incomplete or of another layout");
    uint64_t count = 0;
    for (uint32_t i = 0, node; gr_segment_next_run(desc->segment, &i, &node);)
        count++;
    uint64_t bytes = sizeof(gr_program) + count * sizeof(ref_call);
    gr_program *program = device->host->memory_alloc(device->host, bytes);
    if (!program)
        return gr_no_memory(error, "a program");
    program->step = desc->step;
    program->rows_max = desc->rows_max;
    program->seqs_max = desc->seqs_max;
    program->outputs_max = desc->outputs_max;
    program->threads = desc->threads;
    program->bytes = bytes;
    gr_status status = fill_calls(desc, program, error);
    if (status != GR_OK) {
        ref_program_destroy(device, program);
        return status;
    }
    info.scratch_per_thread_bytes = program->scratch_per_thread;
    gr_struct_fill(out_info, &info, sizeof info);
    *out_program = program;
    return GR_OK;
}

void ref_program_destroy(gr_device *device, gr_program *program) {
    if (program)
        device->host->memory_free(device->host, program, program->bytes);
}

// ---- Running ----

// One submit in progress.
typedef struct ref_run {
    const gr_host *host;
    const gr_program *program;
    gr_step step; // a copy, with what a shorter struct lacks set to zero
    uint8_t *scratch;
    bool alone; // no team: no barriers
} ref_run;

static void record(const ref_run *run, const ref_call *made, uint64_t start_ns) {
    const gr_node_view *node = &made->call.node;
    const gr_value *rows = node->out[0].kind == GR_VALUE_STATE ? &node->in[0] : &node->out[0];
    uint64_t operations = made->op->operations ? made->op->operations(&made->call, &run->step)
                                               : gr_value_count(rows, &run->step);
    gr_call_trace(&made->call, run->host, &run->step, "ref", start_ns, operations);
}

// What every worker does: each call in turn, waiting for the others after it.
static void work(const gr_worker *worker, void *argument) {
    const ref_run *run = argument;
    const gr_program *program = run->program;
    uint32_t count = worker->count < program->threads ? worker->count : program->threads;
    ref_task task = {.step = &run->step, .id = worker->id, .count = count};
    if (run->scratch)
        task.scratch = run->scratch + program->scratch_per_thread * worker->id;
    bool trace = worker->id == 0 && gr_host_traces(run->host);
    for (uint32_t i = 0; i < program->call_count; i++) {
        const ref_call *made = &program->calls[i];
        uint64_t start = trace ? run->host->now_ns(run->host) : 0;
        if (worker->id < count)
            made->op->run(&made->call, &task);
        if (!run->alone)
            run->host->team_barrier(worker);
        if (trace)
            record(run, made, start);
    }
}

gr_status ref_submit(gr_device *device, gr_queue *queue, const gr_submit *submit, gr_error *error) {
    gr_status status = gr_submit_check(queue, submit, error);
    if (status != GR_OK)
        return status;
    const gr_program *program = submit->program;
    status = gr_scratch_check(submit, program->scratch_per_thread * program->threads, error);
    if (status == GR_OK)
        status = gr_step_check(program->step, program->rows_max, program->seqs_max,
                               program->outputs_max, error);
    if (status != GR_OK)
        return status;
    ref_run run = {.host = device->host, .program = program, .alone = !queue->team};
    gr_struct_read(program->step, sizeof run.step, &run.step);
    run.scratch = submit->scratch ? submit->scratch->data : NULL;
    for (uint32_t i = 0; i < program->call_count && status == GR_OK; i++)
        status = gr_call_admit(&program->calls[i].call, &run.step, error);
    if (status != GR_OK)
        return status;
    gr_host_queue_run(device->host, queue, work, &run);
    if (submit->signal)
        gr_counter_raise(&submit->signal->counter, submit->signal_value);
    return GR_OK;
}
