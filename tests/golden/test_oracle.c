// SPDX-License-Identifier: Apache-2.0
// The oracle that backends are judged by (sdk/conformance) agrees with ONNX's reference evaluator, one
// primitive at a time; and each defect that can be planted in it would show a hundredfold.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/suite.h"
#include "golden.h"

#define PATH GREGALE_SOURCE_DIR "/tests/golden/ops.gguf"

static const double tolerance = 1e-6; // of the largest value: results are kept in F32

typedef struct trial {
    const gr_model_file *golden;
    uint32_t index;
    cf_suite suite;
    cf_rig rig;
} trial;

static bool is_called(const trial *t, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "case.%u.op", t->index);
    gr_str text;
    assert_true(gr_meta_get_string(t->golden, key, &text));
    return text.size == strlen(name) && !memcmp(text.data, name, text.size);
}

static double number(const trial *t, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "case.%u.%s", t->index, name);
    return golden_number(t->golden, key);
}

static const gr_tensor_info *array(const trial *t, gr_dtype dtype, const char *name) {
    return golden_tensor(t->golden, dtype, t->index, name);
}

// Sizes as the rig has them, outermost first; a golden's tensor has them so as well.
static uint32_t input(trial *t, const char *name) {
    const gr_tensor_info *a = array(t, GR_DTYPE_F32, name);
    uint32_t id = cf_rig_value(&t->rig, GR_DTYPE_F32, GR_DIM_T, a->dims[1]);
    t->rig.data[id] = (void *)(uintptr_t)a->data;
    return id;
}

static uint32_t weight(trial *t, const char *name) {
    const gr_tensor_info *a = array(t, GR_DTYPE_F32, name);
    uint32_t id = cf_rig_weight(&t->rig, GR_DTYPE_F32, a->dims[0], a->rank > 1 ? a->dims[1] : CF_NONE, CF_NONE);
    t->rig.data[id] = (void *)(uintptr_t)a->data;
    return id;
}

static uint32_t output(trial *t, gr_dtype dtype, const char *name) {
    return cf_rig_value(&t->rig, dtype, GR_DIM_T, array(t, dtype, name)->dims[1]);
}

// Appends the case's node; its first output is `y`, a second one `*out_more`, else GR_VALUE_NONE.
static uint32_t build(trial *t, uint32_t *out_more) {
    static const gr_attrs_none none = {.struct_size = sizeof none};
    static gr_attrs_norm norm;
    static gr_attrs_rope rope;
    static gr_attrs_glu glu;
    static gr_attrs_topk topk;
    static gr_attrs_attention attention;
    static double frequencies[64];
    cf_rig *rig = &t->rig;
    uint32_t x = input(t, "x"), y = output(t, GR_DTYPE_F32, "y");
    *out_more = GR_VALUE_NONE;
    if (is_called(t, "MATMUL")) {
        cf_rig_node(rig, GR_OP_MATMUL, &none, 3, (uint32_t[]){x, weight(t, "w"), weight(t, "bias")}, 1, &y);
    } else if (is_called(t, "RMS_NORM")) {
        norm = (gr_attrs_norm){.struct_size = sizeof norm, .eps = (float)number(t, "eps")};
        cf_rig_node(rig, GR_OP_RMS_NORM, &norm, 2, (uint32_t[]){x, weight(t, "w")}, 1, &y);
    } else if (is_called(t, "SOFTMAX")) {
        cf_rig_node(rig, GR_OP_SOFTMAX, &none, 1, &x, 1, &y);
    } else if (is_called(t, "GLU")) {
        glu = (gr_attrs_glu){.struct_size = sizeof glu, .activation = (gr_activation)number(t, "activation")};
        cf_rig_node(rig, GR_OP_GLU, &glu, 2, (uint32_t[]){x, input(t, "up")}, 1, &y);
    } else if (is_called(t, "TOPK")) {
        topk = (gr_attrs_topk){.struct_size = sizeof topk, .k = (uint32_t)number(t, "k")};
        *out_more = output(t, GR_DTYPE_I32, "indices");
        cf_rig_node(rig, GR_OP_TOPK, &topk, 1, &x, 2, (uint32_t[]){y, *out_more});
    } else if (is_called(t, "ROPE")) {
        const gr_tensor_info *f = array(t, GR_DTYPE_F32, "inverse_frequencies");
        for (int64_t i = 0; i < f->dims[0]; i++)
            frequencies[i] = (double)((const float *)f->data)[i];
        rope = (gr_attrs_rope){.struct_size = sizeof rope,
                               .head_dim = (uint32_t)number(t, "head_dim"),
                               .rotary_dim = (uint32_t)number(t, "rotary_dim"),
                               .pairing = number(t, "half") != 0 ? GR_ROPE_HALF : GR_ROPE_INTERLEAVED,
                               .inv_freq = frequencies,
                               .magnitude = 1};
        uint32_t positions = cf_rig_value(rig, GR_DTYPE_I32, GR_DIM_T, CF_NONE);
        rig->data[positions] = (void *)(uintptr_t)array(t, GR_DTYPE_I32, "positions")->data;
        cf_rig_node(rig, GR_OP_ROPE, &rope, 2, (uint32_t[]){x, positions}, 1, &y);
    } else {
        assert_true(is_called(t, "ATTENTION"));
        uint32_t heads = (uint32_t)number(t, "heads"), kv_heads = (uint32_t)number(t, "kv_heads");
        attention = (gr_attrs_attention){
            .struct_size = sizeof attention,
            .heads = heads,
            .kv_heads = kv_heads,
            .k_dim = (uint32_t)array(t, GR_DTYPE_F32, "k")->dims[1] / kv_heads,
            .v_dim = (uint32_t)array(t, GR_DTYPE_F32, "v")->dims[1] / kv_heads,
            .window = (uint32_t)number(t, "window"),
            .flags = GR_ATTENTION_DENSE | (number(t, "bidirectional") != 0 ? GR_ATTENTION_BIDIRECTIONAL : 0),
            .scale = (float)number(t, "scale"),
            .softcap = (float)number(t, "softcap")};
        cf_rig_node(rig, GR_OP_ATTENTION, &attention, 3, (uint32_t[]){x, input(t, "k"), input(t, "v")}, 1, &y);
    }
    return y;
}

// Largest difference from the golden, of its largest value.
static double difference(trial *t, uint32_t value, gr_dtype dtype, const char *name) {
    const gr_tensor_info *expected = array(t, dtype, name);
    double largest = 0, off = 0;
    for (int64_t i = 0; i < expected->dims[0] * expected->dims[1]; i++) {
        double want = dtype == GR_DTYPE_I32 ? ((const int32_t *)expected->data)[i]
                                            : (double)((const float *)expected->data)[i];
        const double error = fabs(t->rig.exact[value][i] - want);
        largest = fabs(want) > largest ? fabs(want) : largest;
        off = error > off || isnan(error) ? error : off; // a NaN stays
    }
    return off / largest;
}

// How far the oracle, with a defect or none, is from the golden's case.
static double distance(const gr_model_file *golden, uint32_t index, cf_plant plant) {
    trial t = {.golden = golden, .index = index};
    uint32_t more;
    t.suite.plant = plant;
    t.suite.turn.depth = 1; // within a case: nobody is told
    uint32_t rows = (uint32_t)array(&t, GR_DTYPE_F32, "x")->dims[0];
    assert_true(cf_rig_begin(&t.rig, &t.suite, "GOLDEN", "golden", rows, 0));
    uint32_t y = build(&t, &more);
    assert_true(cf_oracle(&t.rig));
    double off = difference(&t, y, GR_DTYPE_F32, "y");
    if (more != GR_VALUE_NONE)
        off = fmax(off, difference(&t, more, GR_DTYPE_I32, "indices"));
    for (uint32_t i = 0; i < t.rig.alloc_count; i++)
        free(t.rig.allocs[i]);
    return off;
}

static void the_oracle_agrees_with_onnx(void **state) {
    (void)state;
    gr_model_file *golden = golden_open(PATH);
    uint32_t cases = (uint32_t)golden_number(golden, "golden.cases");
    assert_true(cases >= 16);
    for (uint32_t i = 0; i < cases; i++) {
        double off = distance(golden, i, CF_PLANT_NONE);
        if (!(off <= tolerance))
            fail_msg("case %u is off by %g", i, off);
    }
    gr_model_file_close(golden);
}

static void defects_would_show(void **state) {
    (void)state;
    static const cf_plant plants[] = {CF_PLANT_WINDOW_PLUS, CF_PLANT_WINDOW_MINUS, CF_PLANT_LAST_K, CF_PLANT_GQA,
                                      CF_PLANT_PAIRING,     CF_PLANT_POSITION,     CF_PLANT_SOFTCAP, CF_PLANT_BIAS,
                                      CF_PLANT_EPS,         CF_PLANT_GATE};
    gr_model_file *golden = golden_open(PATH);
    uint32_t cases = (uint32_t)golden_number(golden, "golden.cases");
    for (size_t p = 0; p < sizeof plants / sizeof plants[0]; p++) {
        double most = 0;
        for (uint32_t i = 0; i < cases; i++)
            most = fmax(most, distance(golden, i, plants[p]));
        print_message("%-10s is off by %.3g\n", cf_plant_names[plants[p]], most);
        assert_true(most >= 100 * tolerance);
    }
    gr_model_file_close(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oracle_agrees_with_onnx),
        cmocka_unit_test(defects_would_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
