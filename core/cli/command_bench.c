// SPDX-License-Identifier: Apache-2.0
// command_bench.c: gregale bench: prefill and decode speed, beside what the machine can do at most and beside peers.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/bench.h"
#include "model/model.h"

// What one round gave. Shares are of the limits measured in that round.
typedef struct sample {
    double prefill, decode; // tokens a second
    double prefill_share, prefill_share_all, decode_share, decode_cache_share;
    double prefill_ratio[GR_BENCH_PEERS], decode_ratio[GR_BENCH_PEERS]; // NaN: not measured
    double peer_prefill[GR_BENCH_PEERS], peer_decode[GR_BENCH_PEERS];
} sample;

typedef struct bench {
    gr_cli *cli;
    const gr_cli_options *options;
    const gr_bench_plan *plan;
    gr_bench_work work;
    gr_limits_probe *probe;
    gr_limits limits; // the best of all rounds
    gr_model_info info;
    gr_session *deep[GR_BENCH_BATCH]; // at --depth, evaluated once; every round decodes on forks
    sample *samples;
} bench;

static error_t parse_extra(int key, char *value, void *context) {
    gr_bench_plan *p = context;
    switch (key) {
    case 'P': p->prompt = (uint32_t)gr_parse_u64(value, 1 << 24, "--prompt"); return 0;
    case 'G': p->gen = (uint32_t)gr_parse_u64(value, 1 << 24, "--gen"); return 0;
    case 'B': p->batch = (uint32_t)gr_parse_u64(value, GR_BENCH_BATCH, "--batch"); return 0;
    case 'D': p->depth = (uint32_t)gr_parse_u64(value, 1 << 24, "--depth"); return 0;
    case 'R': p->repeat = (uint32_t)gr_parse_u64(value, GR_BENCH_ROUNDS, "--repeat"); return 0;
    case 'L': p->limits = true; return 0;
    case 'C':
        if (p->peer_count == GR_BENCH_PEERS)
            exit(gr_complain(GR_EXIT_USAGE, "bench: --compare is taken at most %d times", GR_BENCH_PEERS));
        p->peers[p->peer_count++] = value;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
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

static gr_status time_prefill(bench *b, double *out_rate) {
    const gr_bench_plan *p = b->plan;
    gr_session *session = NULL;
    gr_session_options wanted = {.struct_size = sizeof wanted, .context = p->prompt + 8};
    gr_status status = gr_session_create(b->cli->model, &wanted, &session, &b->cli->error);
    if (status == GR_OK)
        status = append_random(session, p->prompt, b->info.vocab, 1, &b->cli->error);
    uint64_t begin = gr_os_now_ns();
    if (status == GR_OK)
        status = gr_session_evaluate(session, NULL, NULL, &b->cli->error);
    *out_rate = tokens_per_second(p->prompt, begin, gr_os_now_ns());
    gr_session_release(session);
    return status;
}

// All sessions decode in one batch, so that a step's weights are read once for all of them.
static gr_status decode_batch(bench *b, gr_session **sessions, double *out_rate) {
    const gr_bench_plan *p = b->plan;
    gr_request *requests[GR_BENCH_BATCH] = {0};
    const gr_generate_options wanted = {.struct_size = sizeof wanted, .max_tokens = p->gen, .sampler = "greedy",
                                        .seed = 1, .ignore_end = 1, .raw = 1};
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < p->batch && status == GR_OK; i++)
        status = gr_request_start(sessions[i], &wanted, &requests[i], &b->cli->error);
    uint64_t begin = gr_os_now_ns();
    for (bool worked = true; worked && status == GR_OK;)
        status = gr_engine_step(b->cli->engine, &worked, &b->cli->error);
    *out_rate = tokens_per_second((uint64_t)(p->gen - 1) * p->batch, begin, gr_os_now_ns());
    for (uint32_t i = 0; i < p->batch; i++)
        gr_request_release(requests[i]);
    return status;
}

static gr_status go_deep(bench *b, uint32_t i) {
    const gr_bench_plan *p = b->plan;
    gr_session_options wanted = {.struct_size = sizeof wanted, .context = p->depth + p->gen + 8};
    gr_status status = gr_session_create(b->cli->model, &wanted, &b->deep[i], &b->cli->error);
    if (status == GR_OK)
        status = append_random(b->deep[i], p->depth ? p->depth : 1, b->info.vocab, i, &b->cli->error);
    if (status == GR_OK)
        status = gr_session_evaluate(b->deep[i], NULL, NULL, &b->cli->error);
    return status;
}

static gr_status time_decode(bench *b, double *out_rate) {
    gr_session *sessions[GR_BENCH_BATCH] = {0};
    gr_status status = GR_OK;
    for (uint32_t i = 0; i < b->plan->batch && status == GR_OK; i++) {
        status = b->deep[i] ? GR_OK : go_deep(b, i);
        if (status == GR_OK)
            status = gr_session_fork(b->deep[i], &sessions[i], &b->cli->error);
    }
    if (status == GR_OK)
        status = decode_batch(b, sessions, out_rate);
    for (uint32_t i = 0; i < b->plan->batch; i++)
        gr_session_release(sessions[i]);
    return status;
}

// ---- Rounds

static double share(double wanted, double limit) {
    return wanted > 0 && limit > 0 ? wanted / limit : NAN;
}

static void take_shares(const bench *b, const gr_limits *limits, sample *s) {
    const gr_bench_plan *p = b->plan;
    double seconds = s->prefill > 0 ? p->prompt / s->prefill : 0, f32 = limits->products[GR_LIMIT_F32].rate;
    double least = gr_bench_least_seconds(&b->work, limits);
    double bytes = s->decode / p->batch * (b->work.weight_bytes + b->work.cache_bytes);
    s->prefill_share = share(least, seconds);
    s->prefill_share_all = f32 > 0 ? share(least + b->work.prefill_attention / f32, seconds) : NAN;
    s->decode_share = share(bytes, limits->memory.rate);
    s->decode_cache_share = share(bytes, limits->shared.rate);
}

static gr_status run_ours(bench *b, sample *s) {
    gr_limits before = {0}, after = {0};
    gr_error *error = &b->cli->error;
    gr_status status = gr_limits_sample(b->probe, &before, error);
    if (status == GR_OK && b->plan->prompt)
        status = time_prefill(b, &s->prefill);
    if (status == GR_OK && b->plan->gen > 1)
        status = time_decode(b, &s->decode);
    if (status == GR_OK)
        status = gr_limits_sample(b->probe, &after, error);
    gr_limits_raise(&after, &before);
    gr_limits_raise(&b->limits, &after);
    take_shares(b, &after, s);
    return status;
}

static gr_status run_peer(bench *b, uint32_t peer, sample *s) {
    return gr_bench_run_peer(b->plan->peers[peer], b->plan, &s->peer_prefill[peer], &s->peer_decode[peer], &b->cli->error);
}

// Ours and the peers' runs alternate, every other round backwards, so that a machine that slows down favours nobody.
static gr_status run_round(bench *b, bool backwards, sample *s) {
    uint32_t count = b->plan->peer_count + 1;
    gr_status status = GR_OK;
    *s = (sample){0};
    for (uint32_t i = 0; i < count && status == GR_OK; i++) {
        uint32_t turn = backwards ? count - 1 - i : i;
        status = turn ? run_peer(b, turn - 1, s) : run_ours(b, s);
        if (status == GR_OK && gr_interrupted())
            status = gr_fail(&b->cli->error, GR_ERROR_CANCELLED, "cli", "interrupted");
    }
    for (uint32_t i = 0; i < b->plan->peer_count; i++) {
        s->prefill_ratio[i] = share(s->prefill, s->peer_prefill[i]);
        s->decode_ratio[i] = share(s->decode, s->peer_decode[i]);
    }
    return status;
}

// ---- Reporting

// Of one figure, at this place in a sample, over all rounds that have it.
static gr_spread spread_at(const bench *b, size_t offset) {
    double values[GR_BENCH_ROUNDS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->plan->repeat; i++) {
        double value;
        memcpy(&value, (const char *)&b->samples[i] + offset, sizeof value);
        if (isfinite(value) && value > 0)
            values[count++] = value;
    }
    return gr_spread_of(values, count);
}

static void print_spread(const char *name, const gr_spread *s, bool json, bool bounds) {
    if (!s->count)
        return;
    if (json)
        printf(",\"%s\":%.6g,\"%s_min\":%.6g,\"%s_max\":%.6g", name, s->median, name, s->least, name, s->most);
    else
        printf("%-34s %10.4g  (%.4g to %.4g)", name, s->median, s->least, s->most);
    if (json && bounds && isfinite(s->low))
        printf(",\"%s_low\":%.6g,\"%s_high\":%.6g", name, s->low, name, s->high);
    else if (bounds && isfinite(s->low))
        printf("  95 %% bounds %.4g, %.4g", s->low, s->high);
    if (!json)
        putchar('\n');
}

static void print_figure(const bench *b, const char *name, size_t offset, bool bounds) {
    gr_spread s = spread_at(b, offset);
    print_spread(name, &s, b->options->json, bounds);
}

static void print_number(const bench *b, const char *name, double value) {
    if (b->options->json)
        printf(",\"%s\":%.9g", name, value);
    else
        printf("%-34s %10.4g\n", name, value);
}

static void print_work(const bench *b) {
    print_number(b, "weight_bytes_a_step", b->work.weight_bytes);
    print_number(b, "cache_bytes_a_step", b->work.cache_bytes);
    print_number(b, "decode_product_operations_a_step", b->work.decode_products);
    print_number(b, "decode_attention_operations_a_step", b->work.decode_attention);
    if (!b->plan->prompt)
        return;
    print_number(b, "prefill_product_operations", gr_bench_prefill_products(&b->work));
    print_number(b, "prefill_int4_product_operations", b->work.prefill_products[GR_LIMIT_INT4]);
    print_number(b, "prefill_int8_product_operations", b->work.prefill_products[GR_LIMIT_INT8]);
    print_number(b, "prefill_float_product_operations",
                 b->work.prefill_products[GR_LIMIT_BF16] + b->work.prefill_products[GR_LIMIT_F32]);
    print_number(b, "prefill_attention_operations", b->work.prefill_attention);
}

static void print_bench(const bench *b) {
    const gr_bench_plan *p = b->plan;
    bool json = b->options->json;
    uint32_t threads = gr_engine_threads(b->cli->engine);
    if (json)
        printf("{\"type\":\"bench\",\"version\":\"%s\",\"device\":\"%s\",\"cache_type\":\"%s\",\"threads\":%u,\"prompt\":%u,\"gen\":%u,\"batch\":%u,"
               "\"depth\":%u,\"repeat\":%u",
               gr_version(), b->info.device, gr_dtype_name(b->options->cache_type), threads, p->prompt, p->gen, p->batch, p->depth, p->repeat);
    else
        printf("device %s, cache of %s, %u threads, prompt %u, gen %u, batch %u, depth %u; median of %u rounds (least to most)\n",
               b->info.device, gr_dtype_name(b->options->cache_type), threads, p->prompt, p->gen, p->batch, p->depth, p->repeat);
    print_figure(b, "prefill_tokens_per_second", offsetof(sample, prefill), false);
    print_figure(b, "decode_tokens_per_second", offsetof(sample, decode), false);
    print_work(b);
    print_figure(b, "prefill_share_of_product_limit", offsetof(sample, prefill_share), false);
    print_figure(b, "prefill_share_with_attention", offsetof(sample, prefill_share_all), false);
    print_figure(b, "decode_share_of_read_limit", offsetof(sample, decode_share), false);
    print_figure(b, "decode_share_of_cache_limit", offsetof(sample, decode_cache_share), false);
    if (json)
        puts("}");
}

static void print_comparison(const bench *b, uint32_t peer) {
    size_t at = peer * sizeof(double);
    if (b->options->json) {
        gr_strbuf line = {0};
        gr_strbuf_json(&line, (gr_str){b->plan->peers[peer], strlen(b->plan->peers[peer])});
        printf("{\"type\":\"compare\",\"command\":%s,\"pairs\":%u", gr_strbuf_cstr(&line), b->plan->repeat);
        printf(",\"bounds\":\"95 %% one-sided each, of the median, by the signs of the paired ratios\"");
        gr_strbuf_deinit(&line);
    } else {
        printf("compared, in %u alternating rounds, with `%s`\n", b->plan->repeat, b->plan->peers[peer]);
    }
    print_figure(b, "their_prefill_tokens_per_second", offsetof(sample, peer_prefill) + at, false);
    print_figure(b, "their_decode_tokens_per_second", offsetof(sample, peer_decode) + at, false);
    print_figure(b, "prefill_ratio", offsetof(sample, prefill_ratio) + at, true);
    print_figure(b, "decode_ratio", offsetof(sample, decode_ratio) + at, true);
    if (b->options->json)
        puts("}");
    else
        puts(b->plan->repeat < 5 ? "(ours over theirs, paired; fewer than 5 rounds give no bound)"
                                 : "(ours over theirs, paired; each bound of the median holds at 95 %, by the signs of the ratios)");
}

static int measure(bench *b) {
    const gr_bench_plan *p = b->plan;
    sample warm;
    gr_error *error = &b->cli->error;
    gr_model_info_get(b->cli->model, &b->info);
    b->samples = calloc(p->repeat, sizeof *b->samples);
    gr_status status = b->samples ? gr_bench_count(b->options->positional[0], b->options, p, &b->work, error)
                                  : gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "cli", "bench: no memory for %u rounds", p->repeat);
    if (status == GR_OK)
        status = gr_limits_create(gr_engine_threads(b->cli->engine), &b->probe, error);
    for (uint32_t i = 0; i <= p->repeat && status == GR_OK; i++) {
        status = run_round(b, i % 2, i ? &b->samples[i - 1] : &warm);
        gr_progress(NULL, (double)(i + 1) / (p->repeat + 1), "bench");
    }
    gr_progress_end();
    int code = GR_EXIT_OK;
    if (status == GR_OK) {
        gr_limits_print(&b->limits, b->options->json);
        print_bench(b);
        for (uint32_t i = 0; i < p->peer_count; i++)
            print_comparison(b, i);
    } else {
        code = gr_report(error);
    }
    gr_limits_destroy(b->probe);
    for (uint32_t i = 0; i < p->batch; i++)
        gr_session_release(b->deep[i]);
    free(b->samples);
    return code;
}

static int measure_limits(gr_cli *cli, bool json) {
    gr_limits best = {0}, once;
    gr_limits_probe *probe;
    gr_status status = gr_limits_create(gr_engine_threads(cli->engine), &probe, &cli->error);
    for (int i = 0; i < 10 && status == GR_OK; i++) {
        status = gr_limits_sample(probe, &once, &cli->error);
        gr_limits_raise(&best, &once);
        gr_progress(NULL, (i + 1) / 10.0, "limits");
    }
    gr_progress_end();
    if (status == GR_OK)
        gr_limits_print(&best, json);
    gr_limits_destroy(probe);
    return status == GR_OK ? GR_EXIT_OK : gr_report(&cli->error);
}

static int run(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"prompt", 'P', "N", 0, "Tokens of the prompt (default 512; 0: no prefill)", 0},
        {"gen", 'G', "M", 0, "Tokens to generate (default 64; 0: no decode)", 0},
        {"batch", 'B', "B", 0, "Sessions that decode together (default 1)", 0},
        {"depth", 'D', "D", 0, "Tokens in the cache before decoding (default 0)", 0},
        {"repeat", 'R', "R", 0, "Measured rounds, after one to warm up (default 3; with --compare 8)", 0},
        {"compare", 'C', "COMMAND", 0, "Alternate with a peer's bench command that prints JSON; up to four of them", 0},
        {"limits", 'L', NULL, 0, "Only measure this machine: reading and multiplying", 0},
        {0}};
    gr_cli cli = {0};
    gr_bench_plan plan = {.prompt = 512, .gen = 64, .batch = 1, .repeat = UINT32_MAX};
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL, .positional_limit = 1};
    gr_options_parse(argc, argv, &options, "[MODEL]", "Measure prefill and decode speed.", extra, parse_extra, &plan);
    if (plan.repeat == UINT32_MAX)
        plan.repeat = plan.peer_count ? 8 : 3;
    if (!plan.repeat || !plan.batch)
        return gr_complain(GR_EXIT_USAGE, "bench: --repeat and --batch are at least 1");
    if (!plan.limits && !options.positional_count)
        return gr_complain(GR_EXIT_USAGE, "bench: expected a model file or --limits; see gregale bench --help");
    int code = gr_cli_open_engine(&cli, &options);
    if (!code && plan.limits) {
        code = measure_limits(&cli, options.json);
    } else if (!code) {
        bench b = {.cli = &cli, .options = &options, .plan = &plan, .info = {.struct_size = sizeof b.info}};
        code = gr_cli_open_model(&cli, &options, options.positional[0]);
        if (!code)
            code = measure(&b);
    }
    return gr_cli_close(&cli, &options, code);
}

const gr_command gr_command_bench = {"bench", "measure speed, beside the machine's limits and other programs", run};
