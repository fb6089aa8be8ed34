// SPDX-License-Identifier: Apache-2.0
// backend_test.c: gregale backend test PLUGIN.so: judges a plugin, and prints what was found.
#include <stdlib.h>
#include <string.h>

#include "cli/backend.h"
#include "conformance/conformance.h"

typedef struct judging {
    gr_conformance_options options;
    bool json, verbose, complete;
    uint32_t shown; // failures printed, and skips of primitives
    uint32_t skips_shown;
    const char *known_path;
    char **known;
} judging;

enum { FAILURES_SHOWN = 40, SKIPS_SHOWN = 20 };

// ---- Options ----

static uint32_t levels_of(const char *text) {
    uint32_t levels = 0;
    do {
        size_t length = strcspn(text, ",");
        uint32_t found = 0;
        for (uint32_t level = 1; level < GR_LEVEL_ALL; level <<= 1) {
            const char *name = gr_level_name(level);
            if (strlen(name) == length && !strncmp(name, text, length))
                found = level;
        }
        if (!found)
            exit(gr_complain(GR_EXIT_USAGE, "--level: expected abi, ops, model, live, separated by commas, found '%s'",
                             text));
        levels |= found;
        text += length;
    } while (*text && *text++ == ',');
    return levels;
}

static error_t parse_extra(int key, char *value, void *context) {
    judging *j = context;
    switch (key) {
    case 'd': j->options.device = value; return 0;
    case 'l': j->options.levels = levels_of(value); return 0;
    case 'j': j->json = true; return 0;
    case 's': j->options.seed = gr_parse_u64(value, UINT64_MAX, "--seed"); return 0;
    case 'o': j->options.op = value; return 0;
    case 'O': j->options.only = value; return 0;
    case 'p': j->options.plant = value; return 0;
    case 'k': j->known_path = value; return 0;
    case 't':
        j->options.timeout_s = (uint32_t)gr_parse_u64(value, 86400, "--timeout");
        if (!j->options.timeout_s)
            exit(gr_complain(GR_EXIT_USAGE, "--timeout: expected 1 to 86400 seconds, found '%s'", value));
        return 0;
    case 'b': j->options.batch = (uint32_t)gr_parse_u64(value, 1 << 20, "--batch"); return 0;
    case 'D': j->options.deep = true; return 0;
    case 'c': j->complete = true; return 0;
    case 'B': j->options.same_bits = true; return 0;
    case 'w': j->options.whole = true; return 0;
    case 'v': j->verbose = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// One name a line; '#' begins a comment.
static int read_known(judging *j) {
    gr_strbuf text = {0};
    if (!j->known_path)
        return GR_EXIT_OK;
    int code = gr_read_text(j->known_path, &text);
    char *save = NULL, *data = text.size ? text.data : NULL;
    for (char *line = code || !data ? NULL : strtok_r(data, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        if (*line == '#' || !line[strspn(line, " \t")])
            continue;
        char **known = realloc(j->known, (j->options.known_count + 1) * sizeof *known);
        if (known)
            j->known = known;
        if (!known || !(known[j->options.known_count] = strdup(line))) {
            code = gr_complain(GR_EXIT_RESOURCES, "backend test: no memory");
            break;
        }
        j->options.known_count++;
    }
    j->options.known = (const char *const *)j->known;
    gr_strbuf_deinit(&text);
    return code;
}

// ---- Printing ----

static void print_json_text(const char *key, const char *text) {
    gr_strbuf json = {0};
    gr_strbuf_json(&json, (gr_str){text, strlen(text)});
    printf("\"%s\":%s", key, gr_strbuf_cstr(&json));
    gr_strbuf_deinit(&json);
}

static void on_device(void *context, const char *backend, const char *device, const char *description,
                      uint32_t cases) {
    const judging *j = context;
    unsigned long long seed = j->options.seed;
    if (!j->json) {
        printf("%s: device %s (%s), %u cases, seed %llu%s\n", backend, device, description, cases, seed,
               j->options.deep ? ", deep" : "");
        return;
    }
    printf("{\"type\":\"device\",");
    print_json_text("backend", backend);
    putchar(',');
    print_json_text("device", device);
    putchar(',');
    print_json_text("description", description);
    printf(",\"cases\":%u,\"seed\":%llu,\"deep\":%s}\n", cases, seed, j->options.deep ? "true" : "false");
}

static void print_case_json(const gr_conformance_case *result) {
    printf("{\"type\":\"case\",\"level\":\"%s\",", gr_level_name(result->level));
    print_json_text("name", result->name);
    printf(",\"verdict\":\"%s\",", gr_verdict_name(result->verdict));
    print_json_text("message", result->message);
    printf(",\"primitive\":%s,", result->primitive ? "true" : "false");
    if (result->worst <= 1e300)
        printf("\"worst\":%.6g,", result->worst);
    else
        printf("\"worst\":null,"); // not a number: nothing of it was right
    printf("\"seconds\":%.4f}\n", result->seconds);
}

static void on_case(void *context, const gr_conformance_case *result) {
    judging *j = context;
    bool bad = result->verdict == GR_VERDICT_FAIL || result->verdict == GR_VERDICT_CRASH ||
               result->verdict == GR_VERDICT_HANG || result->verdict == GR_VERDICT_UNEXPECTED;
    if (j->json) {
        print_case_json(result);
        return;
    }
    bool named = !strncmp(result->message, result->name, strlen(result->name));
    if (bad && j->shown++ == FAILURES_SHOWN && !j->verbose)
        printf("      (more, counted but not shown; --verbose shows them)\n");
    bool shown = j->verbose || (bad && j->shown <= FAILURES_SHOWN) ||
                 (result->verdict == GR_VERDICT_SKIP && result->primitive && j->skips_shown++ < SKIPS_SHOWN);
    if (shown)
        printf("%-5s %s%s%s\n", gr_verdict_name(result->verdict), named ? result->message : result->name,
               named || !result->message[0] ? "" : ": ", named ? "" : result->message);
}

static void on_log(void *context, const char *line) {
    const judging *j = context;
    if (j->verbose && !j->json)
        printf("      the backend says: %s\n", line);
}

// Skips that count as failures.
static uint32_t incomplete(const judging *j, const gr_conformance_tally *t) {
    return j->complete ? t->primitive_skips : 0;
}

static bool is_good(const judging *j, const gr_conformance_tally *t) {
    return gr_conformance_good(t) && !incomplete(j, t);
}

// Whether the planted defect was found, and where it is a matter of degree, by a hundredfold of the tolerance.
static bool plant_found(const judging *j, const gr_conformance_tally *t) {
    static const char *const exact[] = {"ties", "mask", "guard", "unwritten", "fusion", "row-scale", NULL};
    bool found = t->counts[GR_VERDICT_FAIL] > 0 && t->worst >= 100.0;
    for (size_t i = 0; exact[i]; i++)
        found |= t->counts[GR_VERDICT_FAIL] > 0 && !strcmp(exact[i], j->options.plant);
    return found;
}

static void print_tally(const judging *j, const gr_conformance_tally *t) {
    if (j->json) {
        printf("{\"type\":\"done\",\"good\":%s,\"incomplete\":%u", is_good(j, t) ? "true" : "false", incomplete(j, t));
        for (gr_verdict v = 0; v < GR_VERDICT_COUNT; v++)
            printf(",\"%s\":%u", gr_verdict_name(v), t->counts[v]);
        if (j->options.plant)
            printf(",\"planted\":\"%s\",\"found\":%s", j->options.plant, plant_found(j, t) ? "true" : "false");
        if (t->worst <= 1e300)
            printf(",\"worst\":%.6g}\n", t->worst);
        else
            printf(",\"worst\":null}\n");
        return;
    }
    if (t->nodes_judged && !t->nodes_passed)
        printf("fail  it claims nothing: no case of an operation or a model was run\n");
    printf("largest error: %.3g of its tolerance\n", t->worst);
    printf("%u passed, %u failed, %u crashed, %u hung, %u skipped", t->counts[GR_VERDICT_PASS],
           t->counts[GR_VERDICT_FAIL], t->counts[GR_VERDICT_CRASH], t->counts[GR_VERDICT_HANG],
           t->counts[GR_VERDICT_SKIP]);
    if (j->options.known_count)
        printf("; %u known failures, %u passed unexpectedly", t->counts[GR_VERDICT_KNOWN],
               t->counts[GR_VERDICT_UNEXPECTED]);
    putchar('\n');
}

static int judge_plant(const judging *j, const gr_conformance_tally *t) {
    const bool found = plant_found(j, t);
    if (!j->json)
        printf("planted defect %s: %s, %.3g times its tolerance\n", j->options.plant, found ? "found" : "NOT FOUND",
               t->worst);
    return found ? GR_EXIT_OK : GR_EXIT_FAILURE;
}

static int judge(judging *j) {
    gr_conformance_tally tally;
    gr_error error;
    gr_error_init(&error);
    gr_status status = gr_conformance_run(&j->options, &tally, &error);
    if (status != GR_OK)
        return status == GR_ERROR_INVALID_ARGUMENT || status == GR_ERROR_NOT_FOUND
                   ? gr_complain(GR_EXIT_USAGE, "backend test: %s", error.message)
                   : gr_report(&error);
    print_tally(j, &tally);
    if (j->options.plant)
        return judge_plant(j, &tally);
    if (incomplete(j, &tally) && !j->json)
        printf("incomplete: %u cases of primitives were skipped\n", tally.primitive_skips);
    return is_good(j, &tally) ? GR_EXIT_OK : GR_EXIT_FAILURE;
}

int gr_backend_test(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"device", 'd', "NAME|N", 0, "Which device of the plugin (default: the first)", 0},
        {"level", 'l', "LIST", 0, "abi, ops, model, live, separated by commas (default: all)", 0},
        {"op", 'o', "NAME", 0, "Only cases of this operation or part (MATMUL, CACHE, INVARIANCE...)", 0},
        {"only", 'O', "TEXT", 0, "Only cases whose name holds this", 0},
        {"seed", 's', "N", 0, "Random values and shapes; printed, so that a run can be repeated", 0},
        {"deep", 'D', NULL, 0, "More and larger cases (also by GREGALE_DEEP=1)", 0},
        {"complete", 'c', NULL, 0, "A skipped primitive is a failure", 0},
        {"same-bits", 'B', NULL, 0, "Fused composites must give the bits of their parts", 0},
        {"whole", 'w', NULL, 0, "Composites are not tried part by part", 0},
        {"known", 'k', "FILE", 0, "Names of cases known to fail, one a line ('*' at the end: all that begin so)", 0},
        {"timeout", 't', "SECONDS", 0, "Time a case may take (default 60)", 0},
        {"batch", 'b', "N", 0, "Cases a child process runs (default 1)", 0},
        {"plant", 'p', "DEFECT", 0, "Plant a defect in the oracle: succeeds when it is found", 0},
        {"json", 'j', NULL, 0, "One JSON object a line", 0},
        {"verbose", 'v', NULL, 0, "Name every case, and what the backend logs", 0},
        {0}};
    gr_cli_options cli = {.positional_limit = 1};
    const char *deep = getenv("GREGALE_DEEP"), *seed = getenv("GREGALE_SEED");
    judging j = {.options = {.seed = seed && *seed ? gr_parse_u64(seed, UINT64_MAX, "GREGALE_SEED") : 20240901,
                             .deep = deep && !strcmp(deep, "1"),
                             .on_device = on_device,
                             .on_case = on_case,
                             .on_log = on_log}};
    gr_options_parse(argc, argv, &cli, "PLUGIN.so",
                     "Judge a backend plugin: every case in a process of its own, against an F64 oracle.", extra,
                     parse_extra, &j);
    if (!cli.positional[0])
        return gr_complain(GR_EXIT_USAGE, "backend test: expected a plugin's file");
    char path[4096];
    j.options.plugin = gr_backend_path(cli.positional[0], path, sizeof path);
    j.options.context = &j;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int code = read_known(&j);
    if (!code)
        code = judge(&j);
    for (uint32_t i = 0; i < j.options.known_count; i++)
        free(j.known[i]);
    free(j.known);
    return code;
}
