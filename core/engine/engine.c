// SPDX-License-Identifier: Apache-2.0
// engine.c: devices, and one step for everybody who has work.
#include <stdlib.h>
#include <string.h>

#include "engine/admission.h"
#include "engine/failover.h"
#include "engine/move.h"
#include "gregale/linked/registry.h"

const char *gr_version(void) {
    return GREGALE_VERSION;
}

static bool environment_says(const char *name) {
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

static uint64_t timeout_of(const gr_engine_options *options) {
    const char *value = getenv("GREGALE_STEP_TIMEOUT");
    double seconds = value ? strtod(value, NULL) : 0;
    if (options->step_timeout_ms)
        return options->step_timeout_ms * UINT64_C(1000000);
    return seconds > 0 && seconds < 1e9 ? (uint64_t)(seconds * 1e9) : UINT64_MAX;
}

static gr_status open_host(gr_engine *engine, const gr_engine_options *options, gr_error *error) {
    gr_status status = GR_OK;
    if (options->trace)
        status = gr_trace_create(&engine->trace, error);
    if (status != GR_OK)
        return status;
    const gr_registry_options wanted = {.directories = options->plugin_directories,
                                        .topology = {.xml_path = options->topology_xml},
                                        .log = &engine->log,
                                        .trace = engine->trace,
                                        .flags = engine->deterministic ? GR_HOST_DETERMINISTIC : 0,
                                        .linked = gr_linked_backends()};
    status = gr_registry_create(&wanted, &engine->registry, error);
    if (status == GR_OK)
        status = gr_team_create(gr_registry_topology(engine->registry), options->threads, &engine->team, error);
    return status;
}

gr_status gr_engine_create(const gr_engine_options *options, gr_engine **out_engine, gr_error *error) {
    gr_engine_options wanted = {.struct_size = sizeof wanted};
    *out_engine = NULL;
    gr_take_options(&wanted, sizeof wanted, options);
    options = &wanted;
    gr_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for an engine");
    engine->references = 1;
    engine->log = (gr_log){options->log, options->log_context, options->log_level};
    engine->deterministic = options->deterministic || environment_says("GREGALE_DETERMINISTIC");
    engine->step_timeout_ns = timeout_of(options);
    engine->device_event = options->device_event;
    engine->device_event_context = options->device_event_context;
    engine->no_fusion = options->no_fusion || environment_says("GREGALE_NO_FUSION");
    gr_status status = open_host(engine, options, error);
    if (status != GR_OK) {
        gr_engine_release(engine);
        return status;
    }
    *out_engine = engine;
    return GR_OK;
}

gr_engine *gr_engine_retain(gr_engine *engine) {
    engine->references++;
    return engine;
}

void gr_engine_release(gr_engine *engine) {
    if (!engine || --engine->references)
        return;
    gr_team_destroy(engine->team);
    gr_registry_destroy(engine->registry);
    gr_trace_destroy(engine->trace);
    free(engine->models);
    free(engine->moves);
    free(engine);
}

uint32_t gr_engine_device_count(const gr_engine *engine) {
    return gr_registry_device_count(engine->registry);
}

gr_status gr_engine_device(const gr_engine *engine, uint32_t index, gr_device_info *out_info) {
    uint32_t size = out_info->struct_size;
    gr_device_info info = {.struct_size = size};
    if (index >= gr_registry_device_count(engine->registry))
        return GR_ERROR_OUT_OF_RANGE;
    const gr_device_entry *entry = gr_registry_device(engine->registry, index);
    info.name = entry->name;
    info.description = entry->facts.description;
    info.plugin_path = gr_registry_plugin(engine->registry, entry->plugin)->path;
    info.reason = entry->score_reason;
    info.score = entry->score;
    info.flags = entry->facts.flags;
    info.memory_bytes = entry->facts.memory_bytes;
    memcpy(out_info, &info, size < sizeof info ? size : sizeof info);
    return GR_OK;
}

gr_status gr_engine_why(gr_engine *engine, bool json, char **out_text, gr_error *error) {
    gr_strbuf text = {0};
    *out_text = NULL;
    gr_status status = gr_registry_why(engine->registry, json, &text, error);
    if (status == GR_OK && text.failed)
        status = gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for the explanation");
    if (status == GR_OK)
        *out_text = text.data;
    else
        gr_strbuf_deinit(&text);
    return status;
}

void gr_text_free(char *text) {
    free(text);
}

uint32_t gr_engine_threads(const gr_engine *engine) {
    return gr_team_size(engine->team);
}

void gr_engine_interrupt(gr_engine *engine) {
    atomic_store(&engine->interrupted, true);
}

bool gr_engine_interrupt_take(gr_engine *engine) {
    return atomic_exchange(&engine->interrupted, false);
}

gr_status gr_engine_trace_write(gr_engine *engine, const char *path, gr_error *error) {
    if (!engine->trace)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "%s: tracing is off", path);
    return gr_trace_write(engine->trace, path, error);
}

// A failed step ends the requests of whoever is to blame (everybody, without a culprit) and leaves those
// sessions alone, tokens waiting, until somebody asks again. An answer ends with its guide.
static void fail_session(gr_session *session, gr_status status, const gr_error *error) {
    gr_request *guided = gr_request_guided_by(session);
    session->paused = true;
    if (session->request)
        gr_request_fail(session->request, status, error);
    if (guided)
        gr_request_fail(guided, status, error);
}

static void fail_batch(const gr_batch *batch, gr_session *culprit, gr_status status, const gr_error *error) {
    if (culprit)
        fail_session(culprit, status, error);
    for (uint32_t i = 0; !culprit && i < batch->count; i++)
        fail_session(batch->sessions[i], status, error);
}

static bool is_hopeless(gr_session *session) {
    bool worn = session->failovers >= gr_registry_device_count(session->model->engine->registry);
    session->failovers = worn ? 0 : session->failovers;
    return worn;
}

// The culprit, or somebody of the batch, that has failed on every device by now without getting further: it
// may well be what makes them fail, and is not taken round once more.
static gr_session *hopeless(const gr_batch *batch, gr_session *culprit) {
    if (culprit)
        return is_hopeless(culprit) ? culprit : NULL;
    for (uint32_t i = 0; i < batch->count; i++)
        if (is_hopeless(batch->sessions[i]))
            return batch->sessions[i];
    return NULL;
}

static gr_status step_site(gr_site *site, bool *out_worked, gr_error *error) {
    gr_batch batch;
    gr_session *culprit;
    gr_error local;
    gr_error_init(&local);
    gr_status status = gr_batch_collect(site, &batch, &culprit, &local);
    if (status == GR_OK && !batch.rows)
        return GR_OK;
    *out_worked = true;
    if (status == GR_OK) {
        gr_error_init(&local); // of pages that were found elsewhere
        status = gr_step_run(site, &batch, &local);
    }
    if (status == GR_OK)
        site->reliefs = 0;
    if (status == GR_ERROR_OUT_OF_MEMORY && !culprit && gr_admission_relieve(site))
        return GR_OK;
    local.code = status; // a plugin may have said less
    if (!local.message[0])
        snprintf(local.message, sizeof local.message, "%s", gr_status_name(status));
    gr_session *worn = status == GR_OK ? NULL : hopeless(&batch, culprit);
    if (status == GR_OK || (!worn && gr_failover(site, culprit, &local)))
        return GR_OK;
    fail_batch(&batch, worn ? worn : culprit, status, &local);
    return gr_fail(error, status, local.origin, "%s", local.message);
}

// Sites come and go while they are stepped: those that are there now are, each once.
static gr_status step_model(gr_model *model, bool *out_worked, gr_error *error) {
    gr_status status = GR_OK;
    *out_worked = gr_requests_advance(model);
    for (uint32_t i = model->site_count; i-- > 0 && status == GR_OK;)
        if (i < model->site_count)
            status = step_site(model->sites[i], out_worked, error);
    return status;
}

gr_status gr_engine_step(gr_engine *engine, bool *out_worked, gr_error *error) {
    gr_status status = GR_OK;
    *out_worked = false;
    for (uint32_t i = 0; i < engine->model_count && status == GR_OK; i++) {
        bool worked = false;
        gr_model *model = gr_model_retain(engine->models[(engine->next_model + i) % engine->model_count]);
        status = step_model(model, &worked, error);
        gr_model_release(model);
        *out_worked = *out_worked || worked;
    }
    engine->next_model++;
    gr_moves_advance(engine, !*out_worked, out_worked);
    return status;
}
