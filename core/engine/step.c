// SPDX-License-Identifier: Apache-2.0
// step.c: one ragged batch through the model: fill the step block, run the segments, hand out logits. A step
// that fails leaves every session as it was before.
#include <string.h>

#include "base/os.h"
#include "engine/site.h"

static bool wants_logits(const gr_session *session, uint64_t position) {
    return (session->hook && position >= session->observed) || position + 1 == session->tokens.count;
}

static void fill_pages(gr_bucket *bucket, uint32_t s, const gr_session *session) {
    for (uint32_t g = 0; g < bucket->step.group_count; g++) {
        const gr_step_group *group = &bucket->groups[g];
        const gr_kv_pages *pages = &session->pages.groups[g];
        memcpy((int32_t *)(uintptr_t)group->page_table + (size_t)s * group->page_table_stride, pages->pages,
               pages->count * sizeof *pages->pages);
        ((int32_t *)(uintptr_t)group->first_page)[s] = (int32_t)pages->first;
        ((int32_t *)(uintptr_t)group->page_count)[s] = (int32_t)pages->count;
    }
}

// The step block's arrays are const to backends; here they are written.
static void fill(gr_bucket *bucket, gr_session *const *sessions, uint32_t count) {
    gr_step *step = &bucket->step;
    int32_t *tokens = bucket->storage, *positions = tokens + bucket->rows_max;
    int32_t *row_seq = positions + bucket->rows_max, *seq_rows = row_seq + bucket->rows_max;
    int32_t *output_rows = seq_rows + bucket->seqs_max + 1;
    step->rows = step->outputs = 0;
    step->seqs = count;
    for (uint32_t s = 0; s < count; s++) {
        const gr_session *session = sessions[s];
        seq_rows[s] = (int32_t)step->rows;
        for (uint32_t r = 0; r < session->batch_rows; r++, step->rows++) {
            uint64_t position = session->pages.length + r;
            tokens[step->rows] = session->tokens.data[position];
            positions[step->rows] = (int32_t)position;
            row_seq[step->rows] = (int32_t)s;
            if (wants_logits(session, position))
                output_rows[step->outputs++] = (int32_t)step->rows;
        }
        fill_pages(bucket, s, session);
    }
    seq_rows[count] = (int32_t)step->rows;
    for (uint32_t g = 0; g < step->group_count; g++)
        bucket->groups[g].run_count = gr_kv_runs(&bucket->groups[g], count, bucket->runs + g * GR_KV_STEP_RUNS);
}

// Moves values that enter or leave a segment of a device with its own memory through the host's arena.
static gr_status cross(gr_site *site, gr_bucket *bucket, const gr_plan_segment *segment, gr_value_flags direction,
                       gr_error *error) {
    gr_site_device *device = &site->devices[segment->device];
    const gr_backend *backend = device->opened->backend;
    gr_status status = GR_OK;
    if (device->opened->facts.flags & GR_DEVICE_HOST_MEMORY)
        return GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < segment->segment.value_count; i++) {
        const gr_value *value = gr_segment_value(&segment->segment, i);
        if (!(value->flags & direction) || value->offset == GR_NO_OFFSET)
            continue;
        uint64_t elements = gr_value_elements(value, bucket->step.rows, bucket->step.seqs, bucket->step.outputs);
        uint64_t bytes = elements / gr_dtype_block(value->dtype) * gr_dtype_block_bytes(value->dtype);
        char *host = (char *)bucket->arena + value->offset;
        gr_buffer *arena = bucket->arena_buffers[segment->device];
        status = direction == GR_VALUE_IMPORT
                     ? backend->buffer_write(device->opened->device, device->queue, arena, value->offset, host, bytes, error)
                     : backend->buffer_read(device->opened->device, device->queue, arena, value->offset, host, bytes, error);
    }
    return gr_abi_settle_error(status, error);
}

static gr_status wait_for(const gr_site *site, const gr_site_device *device, uint64_t value, gr_error *error) {
    uint64_t most = site->model->engine->step_timeout_ns;
    const gr_opened_device *opened = device->opened;
    gr_status status = opened->backend->fence_wait(opened->device, device->fence, value, most, error);
    if (status != GR_ERROR_TIMEOUT)
        return gr_abi_settle_error(status, error);
    return gr_fail(error, status, "engine", "a step has not ended within %.3g s", (double)most * 1e-9);
}

static gr_status run_segment(gr_site *site, gr_bucket *bucket, uint32_t index, gr_error *error) {
    const gr_plan_segment *segment = gr_plan_segment_at(bucket->plan, index);
    gr_site_device *device = &site->devices[segment->device];
    const gr_backend *backend = device->opened->backend;
    site->suspect = segment->device;
    const gr_submit submit = {.struct_size = sizeof submit,
                              .program = bucket->programs[index],
                              .scratch = device->scratch,
                              .signal = device->fence,
                              .signal_value = ++device->fence_value};
    gr_status status = cross(site, bucket, segment, GR_VALUE_IMPORT, error);
    if (status == GR_OK)
        status = gr_abi_settle_error(backend->submit(device->opened->device, device->queue, &submit, error), error);
    if (status == GR_OK)
        status = wait_for(site, device, submit.signal_value, error);
    if (status == GR_OK)
        status = cross(site, bucket, segment, GR_VALUE_EXPORT, error);
    return status;
}

static const float *output_row(const gr_bucket *bucket, uint32_t value, uint32_t row, uint32_t width) {
    const char *rows = (const char *)bucket->arena + gr_plan_offset(bucket->plan, value);
    return (const float *)(const void *)rows + (size_t)row * width;
}

static void show(const gr_model *model, const gr_bucket *bucket, gr_session *session, uint64_t position, uint32_t output) {
    const gr_hparams *h = &model->source->hparams;
    uint32_t width = session->hook_hidden ? h->dim : h->vocab;
    uint32_t value = session->hook_hidden ? model->hidden_value : model->logits_value;
    session->hook(session->hook_context, position, output_row(bucket, value, output, width), width);
    session->observed = position + 1;
}

static void hand_out(gr_model *model, gr_bucket *bucket, gr_session *session, uint32_t *output) {
    uint32_t vocab = model->source->hparams.vocab;
    uint64_t begin = session->pages.length;
    for (uint32_t r = 0; r < session->batch_rows; r++) {
        if (!wants_logits(session, begin + r))
            continue;
        const float *row = output_row(bucket, model->logits_value, *output, vocab);
        if (session->hook && begin + r >= session->observed)
            show(model, bucket, session, begin + r, *output);
        (*output)++;
        if (begin + r + 1 == session->tokens.count) {
            memcpy(session->logits, row, vocab * sizeof *row);
            session->logits_behind = begin + r + 1;
            session->failovers = 0;
        }
    }
}

static void account(gr_session *session, uint32_t rows, double seconds) {
    bool decode = session->batch_rows == 1 && session->stats.positions > 0;
    double share = seconds * session->batch_rows / rows;
    session->stats.steps++;
    if (decode) {
        session->stats.decode_tokens++;
        session->stats.decode_seconds += share;
    } else {
        session->stats.prefill_tokens += session->batch_rows;
        session->stats.prefill_seconds += share;
    }
    session->stats.positions = session->pages.length;
    session->generation++;
}

static gr_status run_segments(gr_site *site, gr_bucket *bucket, gr_error *error) {
    gr_status status = GR_OK;
    for (uint32_t i = 0; status == GR_OK && i < gr_plan_segment_count(bucket->plan); i++)
        status = run_segment(site, bucket, i, error);
    if (status == GR_OK && gr_model_file_lost(site->model->source->file))
        status = gr_fail(error, GR_ERROR_IO, "engine", "%s: the file was truncated while in use",
                         gr_model_file_path(site->model->source->file));
    return status;
}

static gr_status start_step(gr_site *site, uint32_t rows, gr_bucket **out_bucket, gr_error *error) {
    if (site->abandoned) // an earlier step may still read and write all that this one would
        return gr_fail(error, GR_ERROR_TIMEOUT, "engine", "device %s has not answered yet",
                       site->devices[site->suspect].opened->name);
    site->suspect = 0;
    return gr_bucket_get(site, rows, out_bucket, error);
}

gr_status gr_step_run(gr_site *site, const gr_batch *batch, gr_error *error) {
    gr_bucket *bucket = NULL;
    uint64_t start = gr_os_now_ns();
    uint32_t output = 0;
    gr_status status = start_step(site, batch->rows, &bucket, error);
    if (status == GR_OK) {
        fill(bucket, batch->sessions, batch->count);
        status = run_segments(site, bucket, error);
    }
    double seconds = (double)(gr_os_now_ns() - start) * 1e-9;
    for (uint32_t s = 0; s < batch->count; s++) {
        gr_session *session = batch->sessions[s];
        if (status != GR_OK) {
            gr_kv_seq_abandon(&session->pages);
            continue;
        }
        hand_out(site->model, bucket, session, &output);
        gr_kv_seq_commit(&session->pages, session->batch_rows);
        account(session, batch->rows, seconds);
    }
    return status;
}
