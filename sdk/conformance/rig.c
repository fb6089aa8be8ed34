// SPDX-License-Identifier: Apache-2.0
// rig.c: building one case, running it on the backend, and tidying up.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "suite.h"

const uint32_t cf_row_counts[CF_ROW_COUNTS] = {0, 1, 2, 3, 8, 17, 33};

void *cf_rig_alloc(cf_rig *rig, uint64_t bytes) {
    void *memory = NULL;
    if (rig->alloc_count == CF_MAX_ALLOCS || posix_memalign(&memory, 64, bytes ? bytes : 1)) {
        fprintf(stderr, "conformance: out of memory\n");
        abort();
    }
    memset(memory, 0, bytes ? bytes : 1);
    rig->allocs[rig->alloc_count++] = memory;
    return memory;
}

void cf_rig_sequences(cf_rig *rig, uint32_t seqs, const uint32_t *rows, const int32_t *past) {
    uint32_t total = 0;
    for (uint32_t s = 0; s < seqs; s++)
        total += rows[s];
    int32_t *positions = cf_rig_alloc(rig, total * sizeof(int32_t));
    int32_t *row_seq = cf_rig_alloc(rig, total * sizeof(int32_t));
    int32_t *seq_rows = cf_rig_alloc(rig, (seqs + 1) * sizeof(int32_t));
    uint32_t t = 0;
    for (uint32_t s = 0; s < seqs; s++) {
        rig->past[s] = past[s];
        for (uint32_t i = 0; i < rows[s]; i++, t++) {
            positions[t] = past[s] + (int32_t)i;
            row_seq[t] = (int32_t)s;
        }
        seq_rows[s + 1] = (int32_t)t;
    }
    rig->step.rows = total;
    rig->step.seqs = seqs;
    rig->step.positions = positions;
    rig->step.row_seq = row_seq;
    rig->step.seq_rows = seq_rows;
    rig->rows_max = total + cf_below(&rig->random, 3) + (total == 0);
    rig->seqs_max = seqs + cf_below(&rig->random, 2);
}

static int ascending(const void *a, const void *b) {
    return *(const int32_t *)a - *(const int32_t *)b;
}

bool cf_rig_begin(cf_rig *rig, cf_suite *suite, const char *op, const char *name, uint32_t rows,
                  uint32_t outputs) {
    if (!cf_wanted(suite, op) || !cf_case_begin(suite, name))
        return false;
    memset(rig, 0, sizeof *rig);
    rig->suite = suite;
    rig->begun = true;
    snprintf(rig->op, sizeof rig->op, "%s", op);
    snprintf(rig->name, sizeof rig->name, "%s", name);
    rig->random.state = cf_hash(suite->seed, name);
    rig->step.struct_size = sizeof rig->step;
    cf_rig_sequences(rig, 1, &rows, (int32_t[]){0});
    rig->step.outputs = rows ? outputs : 0;
    rig->outputs_max = rig->step.outputs + 1;
    int32_t *tokens = cf_rig_alloc(rig, rows * sizeof(int32_t));
    int32_t *output_rows = cf_rig_alloc(rig, outputs * sizeof(int32_t));
    for (uint32_t r = 0; r < outputs && rows; r++)
        output_rows[r] = (int32_t)cf_below(&rig->random, rows);
    qsort(output_rows, outputs, sizeof *output_rows, ascending);
    rig->step.tokens = tokens;
    rig->step.output_rows = output_rows;
    return true;
}

static uint32_t value_add(cf_rig *rig, gr_value_kind kind, gr_dtype dtype, int64_t d0, int64_t d1,
                          int64_t d2) {
    uint32_t id = rig->value_count++;
    gr_value *value = &rig->values[id];
    *value = (gr_value){.struct_size = sizeof *value,
                        .kind = kind,
                        .dtype = dtype,
                        .index = id,
                        .dims = {d0, 1, 1, 1},
                        .rank = 1,
                        .offset = GR_NO_OFFSET};
    if (d1 != CF_NONE) {
        value->dims[1] = d1;
        value->rank = 2;
    }
    if (d2 != CF_NONE) {
        value->dims[2] = d2;
        value->rank = 3;
    }
    return id;
}

uint32_t cf_rig_value(cf_rig *rig, gr_dtype dtype, int64_t d0, int64_t d1) {
    return value_add(rig, GR_VALUE_ACTIVATION, dtype, d0, d1, CF_NONE);
}

uint32_t cf_rig_input(cf_rig *rig, int64_t d0, int64_t d1, double scale) {
    uint32_t id = cf_rig_value(rig, GR_DTYPE_F32, d0, d1);
    uint64_t count = cf_rig_count(rig, &rig->values[id], false);
    float *data = cf_rig_alloc(rig, count * sizeof *data);
    for (uint64_t i = 0; i < count; i++)
        data[i] = (float)(scale * cf_normal(&rig->random));
    rig->data[id] = data;
    return id;
}

uint32_t cf_rig_weight(cf_rig *rig, gr_dtype dtype, int64_t d0, int64_t d1, int64_t d2) {
    uint32_t id = value_add(rig, GR_VALUE_WEIGHT, dtype, d0, d1, d2);
    uint64_t count = cf_rig_count(rig, &rig->values[id], false);
    rig->data[id] = cf_rig_alloc(rig, gr_dtype_row_bytes(dtype, count));
    cf_fill(&rig->random, dtype, rig->data[id], count);
    return id;
}

uint32_t cf_rig_field(cf_rig *rig, gr_step_field field, int64_t width) {
    int64_t rows = field == GR_STEP_OUTPUT_ROWS || field == GR_STEP_MASK_BITS ? GR_DIM_R : GR_DIM_T;
    uint32_t id = value_add(rig, GR_VALUE_STEP, GR_DTYPE_I32, rows, width, CF_NONE);
    rig->values[id].index = field;
    return id;
}

uint32_t cf_rig_state(cf_rig *rig) {
    uint32_t id = value_add(rig, GR_VALUE_STATE, rig->cache.desc.dtype, GR_DIM_T, CF_NONE, CF_NONE);
    rig->values[id].index = 0;
    return id;
}

gr_node *cf_rig_node(cf_rig *rig, gr_op op, const void *attrs, uint32_t in_count,
                     const uint32_t *in, uint32_t out_count, const uint32_t *out) {
    uint32_t id = rig->node_count++;
    gr_node *node = &rig->nodes[id];
    memcpy(rig->node_in[id], in, in_count * sizeof *in);
    memcpy(rig->node_out[id], out, out_count * sizeof *out);
    *node = (gr_node){.struct_size = sizeof *node,
                      .op = op,
                      .flags = GR_NODE_RUN,
                      .in_count = in_count,
                      .out_count = out_count,
                      .in = rig->node_in[id],
                      .out = rig->node_out[id],
                      .attrs = attrs,
                      .layer = 0};
    return node;
}

static uint64_t size_of(const cf_rig *rig, int64_t dim, bool bucket) {
    switch (dim) {
    case GR_DIM_T: return bucket ? rig->rows_max : rig->step.rows;
    case GR_DIM_S: return bucket ? rig->seqs_max : rig->step.seqs;
    case GR_DIM_R: return bucket ? rig->outputs_max : rig->step.outputs;
    default: return (uint64_t)dim;
    }
}

uint64_t cf_rig_count(const cf_rig *rig, const gr_value *value, bool bucket) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < value->rank; i++)
        count *= size_of(rig, value->dims[i], bucket);
    return count;
}

// Gives every activation its place, 64 to 192 bytes of guard before it, and fills the image.
static void lay_out(cf_rig *rig) {
    uint64_t end = 0;
    for (uint32_t v = 0; v < rig->value_count; v++) {
        gr_value *value = &rig->values[v];
        if (value->kind != GR_VALUE_ACTIVATION || (!rig->data[v] && !rig->written[v]))
            continue; // inside a composite that runs whole: never in the arena
        value->offset = (end + 64 + cf_below(&rig->random, 64)) / 64 * 64 + 64;
        end = value->offset + gr_dtype_row_bytes(value->dtype, cf_rig_count(rig, value, true));
    }
    rig->arena_bytes = (end + 128 + 63) / 64 * 64;
    rig->before = cf_rig_alloc(rig, rig->arena_bytes);
    rig->after = cf_rig_alloc(rig, rig->arena_bytes);
    memset(rig->before, 0xff, rig->arena_bytes); // NaN in every floating type
    for (uint32_t v = 0; v < rig->value_count; v++) {
        const gr_value *value = &rig->values[v];
        if (value->kind == GR_VALUE_ACTIVATION && rig->data[v])
            memcpy(rig->before + value->offset, rig->data[v],
                   gr_dtype_row_bytes(value->dtype, cf_rig_count(rig, value, false)));
    }
}

// What a call of the plugin gave.
static bool passed(cf_rig *rig, const char *what, gr_status status, gr_error *error) {
    if (status == GR_OK)
        return true;
    const bool said = error->message[0];
    rig->refused = !strcmp(what, "submit");
    gr_abi_settle_error(status, error);
    if (!rig->expect_refusal || !said)
        cf_fail(rig->suite, rig->name, "%s: %s", what, error->message);
    return false;
}

// Marks what the nodes write. A composite writes only its own outputs.
static void mark_written(cf_rig *rig) {
    for (uint32_t i = 0; i < rig->node_count;) {
        const gr_node *node = &rig->nodes[i];
        bool run = node->flags & GR_NODE_RUN;
        for (uint32_t o = 0; o < node->out_count && run; o++)
            rig->written[node->out[o]] = true;
        i += run ? 1 + node->subtree : 1;
    }
}

// Asks the backend about every node; false (and a skip) when it takes one not.
static bool supported(cf_rig *rig) {
    const gr_backend *backend = rig->suite->backend;
    for (uint32_t i = 0; i < rig->node_count;) {
        const gr_node *node = &rig->nodes[i];
        if (!(node->flags & GR_NODE_RUN)) {
            i++;
            continue;
        }
        gr_support support = {.struct_size = sizeof support};
        backend->node_support(rig->suite->device, &rig->segment, i, &support);
        gr_abi_settle_support(&support);
        if (support.level == GR_SUPPORT_NO) {
            cf_skip(rig->suite, rig->name, node->op < 64, support.reason);
            return false;
        }
        if (support.precision > rig->precision)
            rig->precision = support.precision;
        i += 1 + node->subtree;
    }
    return true;
}

// Where a weight's source stands: on the heap, or read-only between guard pages, as a mapped file may
// be: up to the end, at the beginning, or two bytes behind it.
static const void *place_weight(cf_rig *rig, uint32_t v, uint64_t bytes) {
    uint32_t way = cf_below(&rig->random, 4);
    if (!way || !bytes)
        return rig->data[v];
    uint8_t *place = cf_rig_region(rig, bytes, way == 1, way == 2 ? 2 : 0);
    memcpy(place, rig->data[v], bytes);
    return place;
}

static bool import_weights(cf_rig *rig, gr_error *error) {
    for (uint32_t v = 0; v < rig->value_count; v++) {
        const gr_value *value = &rig->values[v];
        if (value->kind != GR_VALUE_WEIGHT)
            continue;
        gr_weight_desc desc = {
            .struct_size = sizeof desc,
            .dtype = value->dtype,
            .rank = value->rank,
            .name = "case.weight",
            .bytes = gr_dtype_row_bytes(value->dtype, cf_rig_count(rig, value, false))};
        desc.data = place_weight(rig, v, desc.bytes);
        cf_rig_regions_seal(rig);
        memcpy(desc.dims, value->dims, sizeof desc.dims);
        for (uint32_t i = 0; i < rig->node_count && !desc.consumer; i++) {
            for (uint32_t k = 0; k < rig->nodes[i].in_count && rig->nodes[i].op < 64; k++) {
                if (rig->nodes[i].in[k] == v)
                    desc.consumer = rig->nodes[i].op;
            }
        }
        gr_weight_info info = {.struct_size = sizeof info};
        gr_status status = rig->suite->backend->weight_import(rig->suite->device, &desc,
                                                              &rig->weights[v], &info, error);
        if (!passed(rig, "weight_import", status, error))
            return false;
    }
    return true;
}

static bool submit(cf_rig *rig, gr_program *program, gr_buffer *scratch, gr_queue *queue,
                   gr_error *error) {
    cf_suite *suite = rig->suite;
    gr_submit submit = {.struct_size = sizeof submit,
                        .program = program,
                        .scratch = scratch,
                        .signal = suite->fence,
                        .signal_value = ++suite->fence_value};
    return passed(rig, "submit", suite->backend->submit(suite->device, queue, &submit, error),
                  error) &&
           passed(rig, "fence_wait",
                  suite->backend->fence_wait(suite->device, suite->fence, suite->fence_value,
                                             UINT64_C(60000000000), error),
                  error);
}

// Runs once on other pages than the step has, with the same program; then everything is as it was
// before. A backend that keeps anything of a step block is found out by the run that follows.
static bool submit_elsewhere(cf_rig *rig, gr_program *program, gr_buffer *arena, gr_buffer *scratch,
                             gr_queue *queue, gr_error *error) {
    gr_step_group *group = &rig->groups[rig->cache_layer.group];
    const int32_t *table = group->page_table;
    uint64_t entries = (uint64_t)rig->seqs_max * group->page_table_stride;
    int32_t *other = cf_rig_alloc(rig, entries * sizeof *other),
            pages = (int32_t)rig->cache.desc.pages;
    for (uint64_t i = 0; i < entries; i++)
        other[i] = table[i] < 0 ? table[i] : (table[i] + 1) % pages;
    group->page_table = other;
    bool good = cf_rig_cache_snapshot(rig) && submit(rig, program, scratch, queue, error);
    group->page_table = table;
    return good && cf_rig_cache_restore(rig) &&
           !rig->suite->backend->buffer_write(rig->suite->device, NULL, arena, 0, rig->before,
                                              rig->arena_bytes, error);
}

// Compiles and runs on one of the teams.
static bool compile_and_submit(cf_rig *rig, gr_buffer *arena, gr_error *error) {
    cf_suite *suite = rig->suite;
    const gr_backend *backend = suite->backend;
    uint32_t team = cf_below(&rig->random, 2);
    gr_program_desc desc = {.struct_size = sizeof desc,
                            .rows_max = rig->rows_max,
                            .seqs_max = rig->seqs_max,
                            .outputs_max = rig->outputs_max,
                            .segment = &rig->segment,
                            .step = &rig->step,
                            .weights = rig->weights,
                            .weight_count = CF_MAX_VALUES,
                            .cache_layer_count = rig->cache.kv ? 1 : 0,
                            .cache_layer_stride = sizeof rig->cache_layer,
                            .threads = team ? 3 : 1,
                            .cache_layers = &rig->cache_layer,
                            .arena = arena};
    gr_program *program = NULL;
    gr_program_info info = {.struct_size = sizeof info};
    gr_buffer *scratch = NULL;
    if (!passed(rig, "program_compile",
                backend->program_compile(suite->device, &desc, &program, &info, error), error))
        return false;
    uint64_t bytes = info.scratch_shared_bytes + desc.threads * info.scratch_per_thread_bytes;
    bool good = passed(rig, "scratch", backend->buffer_alloc(suite->device, bytes, &scratch, error),
                       error);
    if (good && rig->cache.kv && !rig->again && !rig->expect_refusal && cf_below(&rig->random, 2))
        good = submit_elsewhere(rig, program, arena, scratch, suite->queues[team], error);
    for (uint32_t i = 0; i <= rig->again && good; i++)
        good = submit(rig, program, scratch, suite->queues[team], error);
    backend->buffer_destroy(suite->device, scratch);
    backend->program_destroy(suite->device, program);
    return good;
}

// The device's own buffer, or where it uses host memory, half of the time ours, up to a guard page.
static bool make_arena(cf_rig *rig, gr_buffer **out_arena, uint8_t **out_shared, gr_error *error) {
    const gr_backend *backend = rig->suite->backend;
    gr_device *device = rig->suite->device;
    if (rig->suite->facts.flags & GR_DEVICE_HOST_MEMORY && cf_below(&rig->random, 2)) {
        *out_shared = cf_rig_region(rig, rig->arena_bytes, true, 0);
        return passed(rig, "buffer_import",
                      backend->buffer_import(device, *out_shared, rig->arena_bytes, out_arena, error),
                      error);
    }
    return passed(rig, "buffer_alloc",
                  backend->buffer_alloc(device, rig->arena_bytes, out_arena, error), error);
}

bool cf_rig_run(cf_rig *rig) {
    cf_suite *suite = rig->suite;
    const gr_backend *backend = suite->backend;
    gr_error error;
    gr_error_init(&error);
    mark_written(rig);
    lay_out(rig);
    rig->segment = (gr_segment){.struct_size = sizeof rig->segment,
                                .value_count = rig->value_count,
                                .value_stride = sizeof rig->values[0],
                                .node_count = rig->node_count,
                                .node_stride = sizeof rig->nodes[0],
                                .values = rig->values,
                                .nodes = rig->nodes};
    for (uint32_t v = 0; v < rig->value_count; v++) {
        if (rig->written[v])
            rig->values[v].flags |= GR_VALUE_EXPORT;
    }
    if (!supported(rig) || !import_weights(rig, &error))
        return false;
    gr_buffer *arena = NULL;
    uint8_t *shared = NULL;
    if (!make_arena(rig, &arena, &shared, &error))
        return false;
    bool good = passed(rig, "buffer_write",
                       backend->buffer_write(suite->device, NULL, arena, 0, rig->before,
                                             rig->arena_bytes, &error),
                       &error) &&
                compile_and_submit(rig, arena, &error) &&
                passed(rig, "buffer_read",
                       backend->buffer_read(suite->device, NULL, arena, 0, rig->after,
                                            rig->arena_bytes, &error),
                       &error);
    if (good && shared && suite->facts.flags & GR_DEVICE_COHERENT &&
        memcmp(shared, rig->after, rig->arena_bytes)) {
        cf_fail(suite, rig->name, "coherent memory does not show what buffer_read reads");
        good = false;
    }
    backend->buffer_destroy(suite->device, arena);
    return good;
}

// Defects of the harness itself, to see that it would notice them.
static void plant_in_image(cf_rig *rig) {
    for (uint32_t v = 0; v < rig->value_count; v++) {
        const gr_value *value = &rig->values[v];
        if (!rig->written[v] || value->kind != GR_VALUE_ACTIVATION ||
            !cf_rig_count(rig, value, false))
            continue;
        if (rig->suite->plant == CF_PLANT_GUARD)
            rig->after[value->offset - 1] ^= 1;
        if (rig->suite->plant == CF_PLANT_UNWRITTEN)
            memset(rig->after + value->offset, 0xff, 4);
    }
}

static bool check_outputs(cf_rig *rig, char *why, size_t capacity) {
    for (uint32_t v = 0; v < rig->value_count; v++) {
        if (rig->written[v] && rig->values[v].kind == GR_VALUE_ACTIVATION &&
            !cf_compare(rig, v, why, capacity))
            return false;
    }
    return true;
}

void cf_rig_finish(cf_rig *rig) {
    char why[256] = "";
    if (!cf_rig_run(rig)) {
        cf_rig_end(rig);
        return;
    }
    plant_in_image(rig);
    if (!cf_oracle(rig))
        cf_fail(rig->suite, rig->name, "the oracle does not know this op");
    else if (!cf_guards(rig, why, sizeof why) || !check_outputs(rig, why, sizeof why) ||
             (rig->cache.kv && !cf_cache_check(rig, why, sizeof why)))
        cf_fail(rig->suite, rig->name, "%s", why);
    else
        cf_pass(rig->suite, rig->name);
    cf_rig_end(rig);
}

void cf_rig_end(cf_rig *rig) {
    const gr_backend *backend = rig->suite->backend;
    for (uint32_t v = 0; v < CF_MAX_VALUES; v++) {
        if (rig->weights[v])
            backend->weight_destroy(rig->suite->device, rig->weights[v]);
    }
    if (rig->cache.kv)
        backend->kv_destroy(rig->suite->device, rig->cache.kv);
    for (uint32_t i = 0; i < rig->alloc_count; i++)
        free(rig->allocs[i]);
    cf_rig_regions_free(rig);
    rig->alloc_count = 0;
    rig->cache.kv = NULL;
    memset(rig->weights, 0, sizeof rig->weights);
    if (rig->begun)
        cf_case_end(rig->suite);
    rig->begun = false;
}
