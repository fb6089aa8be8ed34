// SPDX-License-Identifier: Apache-2.0
// case_steps.c: step blocks that lie. A fast backend may trust its host; the reference promises to
// look first, and to refuse before anything has run.
#include <string.h>

#include "suite.h"

static const gr_attrs_none no_attrs = {.struct_size = sizeof no_attrs};

enum { ROWS = 5, VOCABULARY = 11, WIDTH = 32 };

// Expects submit to refuse the step.
static void expect_refusal(cf_rig *rig) {
    rig->expect_refusal = true;
    bool ran = cf_rig_run(rig);
    if (ran || !rig->refused)
        cf_fail(rig->suite, rig->name, "the step was not refused");
    else
        cf_pass(rig->suite, rig->name);
    cf_rig_end(rig);
}

static void token(cf_suite *suite, int32_t token) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "STEP token %d of %d", token, VOCABULARY);
    if (!cf_rig_begin(&rig, suite, "STEP", name, ROWS, 0))
        return;
    ((int32_t *)(uintptr_t)rig.step.tokens)[3] = token;
    uint32_t table = cf_rig_weight(&rig, GR_DTYPE_F32, VOCABULARY, WIDTH, CF_NONE);
    uint32_t tokens = cf_rig_field(&rig, GR_STEP_TOKENS, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, WIDTH);
    cf_rig_node(&rig, GR_OP_EMBED, &no_attrs, 2, (uint32_t[]){table, tokens}, 1, &y);
    expect_refusal(&rig);
}

static void output_row(cf_suite *suite, int32_t row) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "STEP output row %d of %d", row, ROWS);
    if (!cf_rig_begin(&rig, suite, "STEP", name, ROWS, 2))
        return;
    ((int32_t *)(uintptr_t)rig.step.output_rows)[1] = row;
    uint32_t x = cf_rig_input(&rig, GR_DIM_T, WIDTH, 1.0),
             rows = cf_rig_field(&rig, GR_STEP_OUTPUT_ROWS, CF_NONE);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_R, WIDTH);
    cf_rig_node(&rig, GR_OP_GATHER_ROWS, &no_attrs, 2, (uint32_t[]){x, rows}, 1, &y);
    expect_refusal(&rig);
}

// What is wrong with an attention step.
typedef enum lie {
    PAGE_BEYOND,
    PAGE_NEGATIVE,
    PAGE_MISSING,
    FIRST_PAGE_TOO_LATE,
    FIRST_PAGE_NEGATIVE,
    COUNT_BEYOND_TABLE,
    POSITION_NEGATIVE,
    POSITION_SKIPS,
    SEQUENCE_BEYOND,
    SEQUENCE_MIXED,
    ROWS_NOT_COVERED,
    NO_TABLE,
    NO_GROUP,
    LIES
} lie;

static const char *const lies[LIES] = {
    "a page beyond the pool",
    "a negative page",
    "a page that is missing",
    "a first page too late",
    "a first page before all",
    "more pages than the table has",
    "a negative position",
    "positions that skip",
    "a sequence that does not exist",
    "a row of another sequence",
    "rows of no sequence",
    "no page table",
    "no group",
};

static void tell(cf_rig *rig, lie kind) {
    gr_step_group *group = &rig->groups[rig->cache_layer.group];
    int32_t *table = (int32_t *)(uintptr_t)group->page_table,
            *first = (int32_t *)(uintptr_t)group->first_page;
    int32_t *count = (int32_t *)(uintptr_t)group->page_count,
            *positions = (int32_t *)(uintptr_t)rig->step.positions;
    int32_t *row_seq = (int32_t *)(uintptr_t)rig->step.row_seq,
            *seq_rows = (int32_t *)(uintptr_t)rig->step.seq_rows;
    switch (kind) {
    case PAGE_BEYOND: table[1] = (int32_t)rig->cache.desc.pages; break;
    case PAGE_NEGATIVE: table[1] = -7; break;
    case PAGE_MISSING: count[0]--; break;
    case FIRST_PAGE_TOO_LATE: first[0]++; break;
    case FIRST_PAGE_NEGATIVE: first[0] = INT32_MIN; break;
    case COUNT_BEYOND_TABLE: count[0] = (int32_t)group->page_table_stride + 1; break;
    case POSITION_NEGATIVE: positions[0] = -1; break;
    case POSITION_SKIPS: positions[2] += 2; break;
    case SEQUENCE_BEYOND: row_seq[1] = 2; break;
    case SEQUENCE_MIXED: row_seq[1] = 1; break;
    case ROWS_NOT_COVERED: seq_rows[2] = ROWS - 1; break;
    case NO_TABLE: group->page_table = NULL; break;
    default: rig->step.group_count = rig->cache_layer.group; break;
    }
}

static void attention(cf_suite *suite, lie kind) {
    cf_rig rig;
    char name[96];
    snprintf(name, sizeof name, "STEP with %s", lies[kind]);
    if (!cf_rig_begin(&rig, suite, "STEP", name, ROWS, 0))
        return;
    gr_kv_desc desc = {.struct_size = sizeof desc,
                       .layers = 1,
                       .page_tokens = 8,
                       .kv_heads = 1,
                       .k_dim = WIDTH,
                       .v_dim = WIDTH,
                       .dtype = GR_DTYPE_F32};
    gr_attrs_attention attrs = {.struct_size = sizeof attrs,
                                .heads = 2,
                                .kv_heads = 1,
                                .k_dim = WIDTH,
                                .v_dim = WIDTH,
                                .scale = 1.0f};
    cf_rig_sequences(&rig, 2, (uint32_t[]){ROWS - 1, 1}, (int32_t[]){13, 4});
    if (!cf_rig_cache(&rig, &desc, 0)) {
        cf_rig_end(&rig);
        return;
    }
    uint32_t in[] = {cf_rig_input(&rig, GR_DIM_T, WIDTH, 1.0),
                     cf_rig_input(&rig, GR_DIM_T, WIDTH, 1.0), cf_rig_state(&rig)};
    uint32_t q = cf_rig_input(&rig, GR_DIM_T, 2 * WIDTH, 1.0), state = cf_rig_state(&rig);
    uint32_t y = cf_rig_value(&rig, GR_DTYPE_F32, GR_DIM_T, 2 * WIDTH);
    tell(&rig, kind);
    cf_rig_node(&rig, GR_OP_KV_WRITE, &attrs, 3, in, 1, &state);
    cf_rig_node(&rig, GR_OP_ATTENTION, &attrs, 2, (uint32_t[]){q, state}, 1, &y);
    expect_refusal(&rig);
}

void cf_cases_steps(cf_suite *suite) {
    if (suite->facts.kind != GR_DEVICE_REFERENCE)
        return;
    token(suite, VOCABULARY);
    token(suite, -1);
    output_row(suite, ROWS);
    output_row(suite, -1);
    for (lie kind = 0; kind < LIES; kind++)
        attention(suite, kind);
}
