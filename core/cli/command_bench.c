// SPDX-License-Identifier: Apache-2.0
// command_bench.c: gregale bench: prefill and decode speed, beside what the machine can do at most.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/cli.h"
#include "cli/limits.h"
#include "model/model.h"

typedef struct plan {
    uint32_t prompt, gen, batch, depth, repeat;
    bool limits;
} plan;

typedef struct spread {
    double least, median, most;
} spread;

// What one token of decoding, and of the prompt, costs by the graph.
typedef struct work {
    uint64_t decode_bytes, decode_operations, prefill_operations;
} work;

static error_t parse_extra(int key, char *value, void *context) {
    plan *p = context;
    switch (key) {
    case 'P': p->prompt = (uint32_t)gr_parse_u64(value, 1 << 24, "--prompt"); return 0;
    case 'G': p->gen = (uint32_t)gr_parse_u64(value, 1 << 24, "--gen"); return 0;
    case 'B': p->batch = (uint32_t)gr_parse_u64(value, 64, "--batch"); return 0;
    case 'D': p->depth = (uint32_t)gr_parse_u64(value, 1 << 24, "--depth"); return 0;
    case 'R': p->repeat = (uint32_t)gr_parse_u64(value, 1000, "--repeat"); return 0;
    case 'L': p->limits = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static void add_costs(const gr_graph *graph, uint32_t rows, uint64_t context, uint64_t *bytes, uint64_t *operations) {
    const gr_segment *segment = gr_graph_segment(graph);
    for (uint32_t i = 0; i < segment->node_count; i++) {
        const gr_node *node = gr_segment_node(segment, i);
        uint64_t b, o, visible = context;
        if (node->subtree)
            continue;
        if (node->op == GR_OP_ATTENTION) {
            const gr_attrs_attention *attrs = node->attrs;
            visible = attrs->window && attrs->window < context ? attrs->window : context;
        }
        gr_node_cost(segment, i, rows, 1, visible, &b, &o);
        *bytes += b;
        *operations += o;
    }
}

static gr_status count_work(const char *path, const gr_cli_options *options, const plan *p, work *out, gr_error *error) {
    gr_model_source *source = NULL;
    gr_graph *graph = NULL;
    const gr_model_overrides overrides = {.sliding_window =
                                              options->has_sliding_window ? options->sliding_window : GR_WINDOW_FROM_FILE};
    gr_status status = gr_model_source_open(path, &overrides, &source, error);
    if (status == GR_OK)
        status = gr_model_source_graph(source, &graph, error);
    if (status == GR_OK) {
        uint64_t bytes = 0, operations = 0;
        uint32_t rows = smaller(p->prompt ? p->prompt : 1, options->chunk ? options->chunk : 512);
        add_costs(graph, 1, p->depth + p->gen / 2 + 1, &out->decode_bytes, &out->decode_operations);
        add_costs(graph, rows, p->prompt / 2 + 1, &bytes, &operations);
        out->prefill_operations = operations / rows;
    }
    gr_graph_destroy(graph);
    gr_model_source_close(source);
    return status;
}

// ---- Timing

static gr_status append_random(gr_session *session, uint32_t count, uint32_t vocab, uint32_t salt, gr_error *error) {
    int32_t tokens[256];
    uint64_t x = 0x9E3779B97F4A7C15u * (salt + 1);
    gr_status status = GR_OK;
    for (uint32_t at = 0; at < count && status == GR_OK;) {
        uint32_t n = smaller(count - at, 256);
        for (uint32_t i = 0; i < n; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            tokens[i] = (int32_t)((x >> 33) % vocab);
        }
        status = gr_session_append_tokens(session, tokens, n, error);
        at += n;
    }
    return status;
}

static double tokens_per_second(uint64_t count, uint64_t begin, uint64_t end) {
    return end > begin ? (double)count * 1e9 / (double)(end - begin) : 0;
}

static gr_status time_prefill(gr_cli *cli, const gr_cli_options *options, const plan *p, uint32_t vocab, double *out_rate) {
    gr_session_options wanted = {.struct_size = sizeof wanted, .context = p->prompt + 8};
    (void)options;
    gr_status status = gr_session_create(cli->model, &wanted, &cli->session, &cli->error);
    if (status == GR_OK)
        status = append_random(cli->session, p->prompt, vocab, 1, &cli->error);
    uint64_t begin = gr_os_now_ns();
    if (status == GR_OK)
        status = gr_session_evaluate(cli->session, NULL, NULL, &cli->error);
    *out_rate = tokens_per_second(p->prompt, begin, gr_os_now_ns());
    gr_session_release(cli->session);
    cli->session = NULL;
    return status;
}

// All sessions decode in one batch, so that a step's weights are read once for all of them.
static gr_status decode_batch(gr_cli *cli, gr_session **sessions, const plan *p, double *out_rate) {
    gr_request *requests[64] = {0};
    const gr_generate_options wanted = {.struct_size = sizeof wanted, .max_tokens = p->gen, .sampler = "greedy",
                                        .seed = 1, .ignore_end = 1, .raw = 1};
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < p->batch && status == GR_OK; i++)
        status = gr_request_start(sessions[i], &wanted, &requests[i], &cli->error);
    uint64_t begin = gr_os_now_ns();
    for (bool worked = true; worked && status == GR_OK;)
        status = gr_engine_step(cli->engine, &worked, &cli->error);
    *out_rate = tokens_per_second((uint64_t)(p->gen - 1) * p->batch, begin, gr_os_now_ns());
    for (uint32_t i = 0; i < p->batch; i++)
        gr_request_release(requests[i]);
    return status;
}

static gr_status time_decode(gr_cli *cli, const plan *p, uint32_t vocab, double *out_rate) {
    gr_session *sessions[64] = {0};
    gr_session_options wanted = {.struct_size = sizeof wanted, .context = p->depth + p->gen + 8};
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < p->batch && status == GR_OK; i++) {
        status = gr_session_create(cli->model, &wanted, &sessions[i], &cli->error);
        if (status == GR_OK)
            status = append_random(sessions[i], p->depth ? p->depth : 1, vocab, i, &cli->error);
        if (status == GR_OK)
            status = gr_session_evaluate(sessions[i], NULL, NULL, &cli->error);
    }
    if (status == GR_OK)
        status = decode_batch(cli, sessions, p, out_rate);
    for (uint32_t i = 0; i < p->batch; i++)
        gr_session_release(sessions[i]);
    return status;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static spread spread_of(double *values, uint32_t count) {
    qsort(values, count, sizeof *values, ascending);
    return (spread){values[0], values[count / 2], values[count - 1]};
}

// ---- Reporting

static void print_spread(const char *name, const spread *s, bool json) {
    if (json)
        printf(",\"%s\":%.3f,\"%s_min\":%.3f,\"%s_max\":%.3f", name, s->median, name, s->least, name, s->most);
    else
        printf("%-28s %10.2f  (%.2f to %.2f)\n", name, s->median, s->least, s->most);
}

static void print_number(const char *name, double value, bool json, const char *unit) {
    if (json)
        printf(",\"%s\":%.6g", name, value);
    else
        printf("%-28s %10.4g  %s\n", name, value, unit);
}

static void report(const plan *p, const work *w, const gr_limits *limits, spread *prefill, spread *decode, bool json,
                   const char *device, uint32_t threads) {
    if (json)
        printf("{\"type\":\"bench\",\"device\":\"%s\",\"threads\":%u,\"prompt\":%u,\"gen\":%u,\"batch\":%u,\"depth\":%u", device,
               threads, p->prompt, p->gen, p->batch, p->depth);
    else
        printf("device %s, %u threads, prompt %u, gen %u, batch %u, depth %u, %u repeats\n", device, threads, p->prompt, p->gen,
               p->batch, p->depth, p->repeat);
    print_spread("prefill_tokens_per_second", prefill, json);
    print_spread("decode_tokens_per_second", decode, json);
    print_number("bytes_touched_a_token", (double)w->decode_bytes, json, "bytes");
    print_number("operations_a_token", (double)w->decode_operations, json, "operations, decoding");
    print_number("operations_a_prompt_token", (double)w->prefill_operations, json, "operations");
    if (limits->read_bytes_per_second > 0)
        print_number("share_of_memory_limit", decode->median / p->batch * (double)w->decode_bytes / limits->read_bytes_per_second,
                     json, "decode, of the measured read limit");
    if (limits->int8_operations_per_second > 0)
        print_number("share_of_int8_limit", prefill->median * (double)w->prefill_operations / limits->int8_operations_per_second,
                     json, "prefill, of the measured int8 limit");
    if (json)
        puts("}");
}

static void report_limits(const gr_limits *limits, uint32_t threads, bool json) {
    if (json)
        printf("{\"type\":\"limits\",\"threads\":%u,\"read_bytes_per_second\":%.6g,\"int8_operations_per_second\":%.6g,\"int8_path\":\"%s\"}\n",
               threads, limits->read_bytes_per_second, limits->int8_operations_per_second, limits->int8_path);
    else
        printf("limits, %u threads: memory read %.1f GB/s, int8 %.0f Gop/s (%s)\n", threads,
               limits->read_bytes_per_second / 1e9, limits->int8_operations_per_second / 1e9, limits->int8_path);
}

static int measure(gr_cli *cli, const gr_cli_options *options, const plan *p) {
    double prefill[1000] = {0}, decode[1000] = {0};
    work w = {0};
    gr_model_info info = {.struct_size = sizeof info};
    gr_model_info_get(cli->model, &info);
    gr_status status = count_work(options->positional[0], options, p, &w, &cli->error);
    for (uint32_t i = 0; i <= p->repeat && status == GR_OK; i++) { // the first round warms up
        double rate = 0;
        if (p->prompt)
            status = time_prefill(cli, options, p, info.vocab, &rate);
        prefill[i ? i - 1 : 0] = rate;
        rate = 0;
        if (status == GR_OK && p->gen > 1)
            status = time_decode(cli, p, info.vocab, &rate);
        decode[i ? i - 1 : 0] = rate;
        gr_progress(NULL, (double)(i + 1) / (p->repeat + 1), "bench");
    }
    gr_progress_end();
    if (status != GR_OK)
        return gr_report(&cli->error);
    uint32_t threads = gr_engine_threads(cli->engine);
    gr_limits limits = gr_limits_measure(threads);
    spread a = spread_of(prefill, p->repeat), b = spread_of(decode, p->repeat);
    report_limits(&limits, threads, options->json);
    report(p, &w, &limits, &a, &b, options->json, info.device, threads);
    return GR_EXIT_OK;
}

static int run(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"prompt", 'P', "N", 0, "Tokens of the prompt (default 512; 0: no prefill)", 0},
        {"gen", 'G', "M", 0, "Tokens to generate (default 64; 0: no decode)", 0},
        {"batch", 'B', "B", 0, "Sessions that decode together (default 1)", 0},
        {"depth", 'D', "D", 0, "Tokens in the cache before decoding (default 0)", 0},
        {"repeat", 'R', "R", 0, "Measured rounds, after one to warm up (default 3)", 0},
        {"limits", 'L', NULL, 0, "Only measure this machine: memory read and int8", 0},
        {0}};
    gr_cli cli = {0};
    plan p = {.prompt = 512, .gen = 64, .batch = 1, .repeat = 3};
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL, .positional_limit = 1};
    gr_options_parse(argc, argv, &options, "[MODEL]", "Measure prefill and decode speed.", extra, parse_extra, &p);
    if (!p.repeat || !p.batch)
        return gr_complain(GR_EXIT_USAGE, "bench: --repeat and --batch are at least 1");
    if (!p.limits && !options.positional_count)
        return gr_complain(GR_EXIT_USAGE, "bench: expected a model file or --limits; see gregale bench --help");
    int code = gr_cli_open_engine(&cli, &options);
    if (!code && p.limits) {
        gr_limits limits = gr_limits_measure(gr_engine_threads(cli.engine));
        report_limits(&limits, gr_engine_threads(cli.engine), options.json);
    } else if (!code) {
        code = gr_cli_open_model(&cli, &options, options.positional[0]);
        if (!code)
            code = measure(&cli, &options, &p);
    }
    code = gr_cli_close(&cli, &options, code);
    return code;
}

const gr_command gr_command_bench = {"bench", "measure speed, beside the machine's limits", run};
