// SPDX-License-Identifier: Apache-2.0
// backend_bench.c: gregale backend bench PLUGIN.so: a device's operations at the shapes of a Mistral 7B,
// beside what the machine can do at most; packing, moving a cache, and what it does slowly or not at all.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/backend.h"
#include "cli/bench.h"
#include "cli/bench_device.h"

enum { DIM = 4096, FFN = 14336, HEADS = 32, KV_HEADS = 8, HEAD = 128, LAYERS = 32, DEPTH = 4096, PAGE = 64 };

typedef struct benching {
    const char *device_name;
    uint32_t threads, rows;
    double budget; // seconds a measurement may take
    bool json;
    gr_bench_device device;
    gr_limits limits;
    gr_error error;
} benching;

static error_t parse_extra(int key, char *value, void *context) {
    benching *b = context;
    switch (key) {
    case 'd': b->device_name = value; return 0;
    case 't': b->threads = (uint32_t)gr_parse_u64(value, 1024, "--threads"); return 0;
    case 'r': b->rows = (uint32_t)gr_parse_u64(value, 4096, "--rows"); return 0;
    case 'b': b->budget = gr_parse_number(value, 0.001, 60, "--budget"); return 0;
    case 'j': b->json = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// ---- Nodes ----

static gr_value activation(int64_t rows, int64_t width) {
    return (gr_value){.kind = GR_VALUE_ACTIVATION, .rank = 2, .dims = {rows, width, 1, 1}};
}

static gr_value weight(gr_dtype dtype, int64_t d0, int64_t d1) {
    return (gr_value){.kind = GR_VALUE_WEIGHT, .dtype = dtype, .rank = d1 ? 2 : 1, .dims = {d0, d1 ? d1 : 1, 1, 1}};
}

static gr_value field(gr_step_field which) {
    return (gr_value){.kind = GR_VALUE_STEP,
                      .dtype = GR_DTYPE_I32,
                      .index = which,
                      .rank = 1,
                      .dims = {which == GR_STEP_OUTPUT_ROWS ? GR_DIM_R : GR_DIM_T, 1, 1, 1}};
}

static const gr_value state = {.kind = GR_VALUE_STATE, .rank = 1, .dims = {1, 1, 1, 1}};
static const gr_attrs_none none = {.struct_size = sizeof none};
static const gr_attrs_norm norm = {.struct_size = sizeof norm, .eps = 1e-5f};
static const gr_attrs_glu glu = {.struct_size = sizeof glu, .activation = GR_ACTIVATION_SILU};
static const gr_attrs_scale scale = {.struct_size = sizeof scale, .factor = 0.5f};
static const gr_attrs_topk topk = {.struct_size = sizeof topk, .k = 40};
static const gr_attrs_cast cast = {.struct_size = sizeof cast, .dtype = GR_DTYPE_F16};
static const gr_attrs_attention attention = {.struct_size = sizeof attention,
                                             .heads = HEADS,
                                             .kv_heads = KV_HEADS,
                                             .k_dim = HEAD,
                                             .v_dim = HEAD,
                                             .scale = 0.0884f};

static gr_bench_node product(gr_dtype dtype, uint32_t rows, uint32_t n, uint32_t copies) {
    return (gr_bench_node){.op = GR_OP_MATMUL,
                           .attrs = &none,
                           .in_count = 2,
                           .out_count = 1,
                           .values = {activation(GR_DIM_T, DIM), weight(dtype, n, DIM), activation(GR_DIM_T, n)},
                           .rows = rows,
                           .copies = copies};
}

static gr_bench_node paged(gr_op op, gr_dtype dtype, uint32_t rows, int32_t past) {
    gr_bench_node node = {.op = op,
                          .attrs = &attention,
                          .out_count = 1,
                          .rows = rows,
                          .past = past,
                          .copies = 1,
                          .cache = {.struct_size = sizeof(gr_kv_desc),
                                    .layers = 1,
                                    .page_tokens = PAGE,
                                    .kv_heads = KV_HEADS,
                                    .k_dim = HEAD,
                                    .v_dim = HEAD,
                                    .dtype = dtype,
                                    .pages = ((uint32_t)past + rows + PAGE - 1) / PAGE}};
    gr_value q = activation(GR_DIM_T, HEADS * HEAD), kv = activation(GR_DIM_T, KV_HEADS * HEAD);
    if (op == GR_OP_ATTENTION) {
        node.in_count = 2;
        memcpy(node.values, (gr_value[]){q, state, q}, 3 * sizeof q);
    } else {
        node.in_count = 3;
        memcpy(node.values, (gr_value[]){kv, kv, state, state}, 4 * sizeof q);
    }
    return node;
}

static gr_bench_node plain(gr_op op, const void *attrs, uint32_t rows, uint32_t ins, gr_value a, gr_value b,
                           gr_value y) {
    gr_bench_node node = {.op = op, .attrs = attrs, .in_count = ins, .out_count = 1, .rows = rows, .copies = 1};
    node.values[0] = a;
    node.values[1] = ins > 1 ? b : y;
    node.values[ins] = y;
    return node;
}

// ---- Printing ----

static const char *level_name(gr_support_level level) {
    return level == GR_SUPPORT_NATIVE ? "native" : level == GR_SUPPORT_EMULATED ? "emulated" : "no";
}

static const char *precision_name(gr_precision precision) {
    static const char *const names[] = {"F32", "F16", "BF16", "Q8", "Q8 outliers"};
    return precision < sizeof names / sizeof names[0] ? names[precision] : "?";
}

static void print_text(const char *key, const char *text) {
    gr_strbuf json = {0};
    gr_strbuf_json(&json, (gr_str){text, strlen(text)});
    printf(",\"%s\":%s", key, gr_strbuf_cstr(&json));
    gr_strbuf_deinit(&json);
}

static void print_rate(const char *key, double rate, double limit) {
    printf(",\"%s\":%.6g", key, rate);
    if (limit > 0)
        printf(",\"%s_of_limit\":%.4f", key, rate / limit);
}

static void print_share(double rate, double limit, const char *unit) {
    if (!(rate > 0))
        printf("  %8s %-6s %5s", "-", unit, "");
    else if (limit > 0)
        printf("  %8.1f %-6s %4.0f%%", rate / 1e9, unit, 100 * rate / limit);
    else
        printf("  %8.1f %-6s %5s", rate / 1e9, unit, "");
}

// ---- Measuring ----

// False when the device failed, which has been told.
static bool timed(benching *b, const gr_bench_node *node, gr_bench_time *out_time) {
    if (gr_bench_node_time(&b->device, node, b->budget, out_time, &b->error) == GR_OK)
        return true;
    gr_report(&b->error);
    return false;
}

// Products of one row (bandwidth) and of many (operations), and what making the weight ready costs.
static bool bench_product(benching *b, gr_dtype dtype) {
    gr_bench_node one = product(dtype, 1, FFN, 3), many = product(dtype, b->rows, DIM, 1);
    gr_bench_time decode, prefill;
    if (!timed(b, &one, &decode))
        return false;
    if (decode.support.level == GR_SUPPORT_NO)
        return true;           // among what it does not do
    if (decode.seconds > 0.05) // a device that takes its time is asked for less
        many.rows = many.rows < 32 ? many.rows : 32;
    if (!timed(b, &many, &prefill))
        return false;
    const gr_limit *limit = &b->limits.products[gr_bench_limit_kind(dtype)];
    double bytes = (double)decode.weight_bytes / decode.seconds;
    double operations = 2.0 * many.rows * DIM * DIM / prefill.seconds;
    double ready = decode.ready_seconds / (one.copies * (double)decode.weight_bytes) * 1e9;
    if (b->json) {
        printf("{\"type\":\"product\",\"weights\":\"%s\",\"level\":\"%s\",\"precision\":\"%s\",\"rows\":%u",
               gr_dtype_name(dtype), level_name(decode.support.level), precision_name(decode.support.precision),
               many.rows);
        print_rate("read_bytes_per_second", bytes, b->limits.memory.rate);
        print_rate("operations_per_second", operations, limit->rate);
        printf(",\"ready_seconds_per_gigabyte\":%.4f", ready);
        print_text("layout", decode.layout);
        puts("}");
        return true;
    }
    printf("%-7s", gr_dtype_name(dtype));
    print_share(bytes, b->limits.memory.rate, "GB/s");
    print_share(operations, limit->rate, "Gop/s");
    printf("  %6.2f s/GB  %-9s %-4s  %s\n", ready, level_name(decode.support.level),
           precision_name(decode.support.precision), decode.layout);
    return true;
}

// A node and what one step of it moves and computes; figures that are 0 are not printed.
static bool bench_other(benching *b, const char *name, const gr_bench_node *node, double bytes, double operations) {
    gr_bench_time time;
    if (!timed(b, node, &time))
        return false;
    if (time.support.level == GR_SUPPORT_NO)
        return true;
    double rate = bytes / time.seconds, computed = operations / time.seconds;
    if (b->json) {
        printf("{\"type\":\"node\",\"name\":\"%s\",\"rows\":%u,\"level\":\"%s\",\"microseconds\":%.2f", name,
               node->rows, level_name(time.support.level), time.seconds * 1e6);
        print_rate("bytes_per_second", rate, operations > 0 ? b->limits.memory.rate : 0);
        if (operations > 0)
            print_rate("operations_per_second", computed, b->limits.products[GR_LIMIT_F32].rate);
        puts("}");
        return true;
    }
    printf("%-22s %5u %10.1f us", name, node->rows, time.seconds * 1e6);
    print_share(rate, operations > 0 ? b->limits.memory.rate : 0, "GB/s"); // else its values fit a cache
    if (operations > 0)
        print_share(computed, b->limits.products[GR_LIMIT_F32].rate, "Gop/s");
    printf("  %s\n", level_name(time.support.level));
    return true;
}

static bool bench_others(benching *b) {
    uint32_t rows = b->rows, depth = DEPTH;
    gr_value x = activation(GR_DIM_T, DIM), wide = activation(GR_DIM_T, FFN), w = weight(GR_DTYPE_F32, DIM, 0);
    gr_value table = weight(GR_DTYPE_F16, 32000, DIM), some = activation(GR_DIM_R, DIM);
    double line = 4.0 * rows * DIM, wide_line = 4.0 * rows * FFN, cache = 4.0 * depth * KV_HEADS * HEAD;
    double one = 4.0 * HEADS * HEAD * depth; // operations of one row over `depth` keys
    static double frequencies[HEAD / 2];
    for (int i = 0; i < HEAD / 2; i++)
        frequencies[i] = pow(10000.0, -2.0 * i / HEAD);
    const gr_attrs_rope rope = {
        .struct_size = sizeof rope, .head_dim = HEAD, .rotary_dim = HEAD, .magnitude = 1, .inv_freq = frequencies};
    gr_bench_node embed = plain(GR_OP_EMBED, &none, rows, 2, table, field(GR_STEP_TOKENS), x);
    gr_bench_node norms = plain(GR_OP_RMS_NORM, &norm, rows, 2, x, w, x);
    gr_bench_node ropes = plain(GR_OP_ROPE, &rope, rows, 2, x, field(GR_STEP_POSITIONS), x);
    gr_bench_node glus = plain(GR_OP_GLU, &glu, rows, 2, wide, wide, wide);
    gr_bench_node adds = plain(GR_OP_ADD, &none, rows, 2, x, x, x);
    gr_bench_node soft = plain(GR_OP_SOFTMAX, &none, rows, 1, x, x, x);
    gr_bench_node gather = plain(GR_OP_GATHER_ROWS, &none, rows, 2, x, field(GR_STEP_OUTPUT_ROWS), some);
    gr_bench_node write = paged(GR_OP_KV_WRITE, GR_DTYPE_F16, rows, 0);
    gr_bench_node decode = paged(GR_OP_ATTENTION, GR_DTYPE_F16, 1, (int32_t)depth - 1);
    gr_bench_node prefill = paged(GR_OP_ATTENTION, GR_DTYPE_F16, rows, 0);
    return bench_other(b, "EMBED", &embed, 1.5 * line, 0) && bench_other(b, "RMS_NORM", &norms, 2 * line, 0) &&
           bench_other(b, "ROPE", &ropes, 2 * line, 0) && bench_other(b, "GLU", &glus, 3 * wide_line, 0) &&
           bench_other(b, "ADD", &adds, 3 * line, 0) && bench_other(b, "SOFTMAX", &soft, 2 * line, 0) &&
           bench_other(b, "GATHER_ROWS", &gather, 2 * line, 0) &&
           bench_other(b, "KV_WRITE F16", &write, 3.0 / 2 * line * KV_HEADS / HEADS * 2, 0) &&
           bench_other(b, "ATTENTION F16 of 4096", &decode, cache, one) &&
           bench_other(b, "ATTENTION F16 a prompt", &prefill, 0, one / depth * rows * (rows + 1) / 2);
}

// The cache of a 7B: 32 layers of 8 heads of 128.
static bool bench_cache(benching *b) {
    const gr_kv_desc desc = {.struct_size = sizeof desc,
                             .layers = LAYERS,
                             .page_tokens = PAGE,
                             .kv_heads = KV_HEADS,
                             .k_dim = HEAD,
                             .v_dim = HEAD,
                             .dtype = GR_DTYPE_F16};
    gr_bench_cache c;
    if (gr_bench_cache_time(&b->device, &desc, DEPTH, &c, &b->error) != GR_OK) {
        gr_report(&b->error);
        return false;
    }
    if (b->json) {
        printf("{\"type\":\"cache\",\"positions\":%d,\"bytes\":%llu,\"out_seconds\":%.6f,\"in_seconds\":%.6f,"
               "\"page_out_seconds\":%.6f,\"page_in_seconds\":%.6f}\n",
               DEPTH, (unsigned long long)c.bytes, c.out_seconds, c.in_seconds, c.page_out_seconds, c.page_in_seconds);
        return true;
    }
    printf("\nmoving the cache of %d positions, %.0f MiB: out %.1f ms, in %.1f ms\n", DEPTH, (double)c.bytes / 1048576,
           c.out_seconds * 1e3, c.in_seconds * 1e3);
    printf("the pause, when all but the last page went before: out %.2f ms, in %.2f ms\n", c.page_out_seconds * 1e3,
           c.page_in_seconds * 1e3);
    return true;
}

// ---- What it does slowly or not at all ----

static void claim(benching *b, const char *name, gr_bench_node node) {
    gr_bench_time time;
    node.rows = 1;
    node.copies = 0; // nothing is imported or run
    if (!timed(b, &node, &time) || time.support.level == GR_SUPPORT_NATIVE)
        return;
    if (b->json) {
        printf("{\"type\":\"claim\",\"name\":\"%s\",\"level\":\"%s\"", name, level_name(time.support.level));
        print_text("reason", time.support.reason);
        puts("}");
    } else
        printf("  %-9s %-16s %s\n", level_name(time.support.level), name, time.support.reason);
}

static void claims(benching *b) {
    static const gr_dtype dtypes[] = {GR_DTYPE_F32,  GR_DTYPE_F16,  GR_DTYPE_BF16, GR_DTYPE_Q4_0,   GR_DTYPE_Q4_1,
                                      GR_DTYPE_Q5_0, GR_DTYPE_Q5_1, GR_DTYPE_Q8_0, GR_DTYPE_Q2_K,   GR_DTYPE_Q3_K,
                                      GR_DTYPE_Q4_K, GR_DTYPE_Q5_K, GR_DTYPE_Q6_K, GR_DTYPE_IQ4_NL, GR_DTYPE_IQ4_XS};
    static const gr_dtype caches[] = {GR_DTYPE_F32, GR_DTYPE_F16, GR_DTYPE_BF16, GR_DTYPE_Q8_0};
    gr_value x = activation(GR_DIM_T, DIM), half = x, indices = activation(GR_DIM_T, 40), best = indices;
    char name[48];
    half.dtype = GR_DTYPE_F16;
    indices.dtype = GR_DTYPE_I32;
    if (!b->json)
        printf("\nnot native:\n");
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        snprintf(name, sizeof name, "MATMUL %s", gr_dtype_name(dtypes[i]));
        claim(b, name, product(dtypes[i], 1, DIM, 1));
    }
    for (size_t i = 0; i < sizeof caches / sizeof caches[0]; i++) {
        snprintf(name, sizeof name, "ATTENTION %s", gr_dtype_name(caches[i]));
        claim(b, name, paged(GR_OP_ATTENTION, caches[i], 1, 0));
    }
    for (gr_activation a = GR_ACTIVATION_SILU; a <= GR_ACTIVATION_RELU; a++) {
        static const char *const names[] = {"GLU silu", "GLU gelu", "GLU gelu tanh", "GLU relu"};
        const gr_attrs_glu attrs = {.struct_size = sizeof attrs, .activation = a};
        claim(b, names[a], plain(GR_OP_GLU, &attrs, 1, 2, x, x, x));
    }
    gr_bench_node top = plain(GR_OP_TOPK, &topk, 1, 1, x, x, best);
    top.out_count = 2;
    top.values[2] = indices;
    claim(b, "MUL", plain(GR_OP_MUL, &none, 1, 2, x, x, x));
    claim(b, "SCALE", plain(GR_OP_SCALE, &scale, 1, 1, x, x, x));
    claim(b, "SOFTMAX", plain(GR_OP_SOFTMAX, &none, 1, 1, x, x, x));
    claim(b, "CAST", plain(GR_OP_CAST, &cast, 1, 1, x, x, half));
    claim(b, "COPY", plain(GR_OP_COPY, &none, 1, 1, x, x, x));
    claim(b, "TOPK", top);
}

// ---- The whole ----

static gr_status measure_limits(benching *b) {
    gr_limits_probe *probe = NULL;
    gr_status status = gr_limits_create(gr_team_size(b->device.team), &probe, &b->error);
    for (uint32_t i = 0; i < 5 && status == GR_OK; i++) {
        gr_limits sample = {0};
        status = gr_limits_sample(probe, &sample, &b->error);
        if (i)
            gr_limits_raise(&b->limits, &sample);
        else
            b->limits = sample;
    }
    gr_limits_destroy(probe);
    return status;
}

static bool bench_all(benching *b) {
    static const gr_dtype dtypes[] = {GR_DTYPE_Q4_0, GR_DTYPE_Q4_K, GR_DTYPE_Q6_K,
                                      GR_DTYPE_Q8_0, GR_DTYPE_BF16, GR_DTYPE_F16};
    bool good = true;
    gr_limits_print(&b->limits, b->json);
    if (!b->json)
        printf("\n%-7s  %-22s  %-22s  %-11s  claimed, as what\n", "weights", "one row", "many rows", "made ready");
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0] && good; i++)
        good = bench_product(b, dtypes[i]);
    if (!b->json)
        printf("\n%-22s %5s\n", "operation", "rows");
    good = good && bench_others(b) && bench_cache(b);
    if (good)
        claims(b);
    return good;
}

int gr_backend_bench(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"device", 'd', "NAME", 0, "Which device of the plugin (default: its best)", 0},
        {"threads", 't', "N", 0, "Worker threads (default: one a physical core)", 0},
        {"rows", 'r', "N", 0, "Rows of what is measured with many (default 512)", 0},
        {"budget", 'b', "SECONDS", 0, "Time for each measurement (default 0.3)", 0},
        {"json", 'j', NULL, 0, "One JSON object a line", 0},
        {0}};
    gr_cli_options cli = {.positional_limit = 1};
    benching b = {.rows = 512, .budget = 0.3};
    gr_options_parse(argc, argv, &cli, "PLUGIN.so",
                     "Measure a backend's operations at the shapes of a Mistral 7B, beside the machine's limits.",
                     extra, parse_extra, &b);
    if (!cli.positional[0])
        return gr_complain(GR_EXIT_USAGE, "backend bench: expected a plugin's file");
    b.rows = b.rows ? b.rows : 1;
    gr_error_init(&b.error);
    char path[4096];
    if (gr_bench_device_open(gr_backend_path(cli.positional[0], path, sizeof path), b.device_name, b.threads, &b.device, &b.error) != GR_OK)
        return gr_report(&b.error);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!b.json)
        printf("%s: %s\n", b.device.opened->name, b.device.opened->facts.description);
    int code = measure_limits(&b) == GR_OK ? GR_EXIT_OK : gr_report(&b.error);
    if (!code && !bench_all(&b))
        code = gr_exit_code(b.error.code);
    gr_bench_device_close(&b.device);
    return code;
}
