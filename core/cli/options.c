// SPDX-License-Identifier: Apache-2.0
// options.c: option groups, each an argp child, so that an option means the same in every command.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"

enum {
    KEY_DEVICE = 0x400, KEY_THREADS, KEY_CONTEXT, KEY_WINDOW, KEY_SEED, KEY_TEMPERATURE, KEY_MAX_TOKENS, KEY_SYSTEM,
    KEY_OFFLINE, KEY_JSON, KEY_SAMPLER, KEY_CHAT_FORMAT, KEY_TRACE, KEY_RAW, KEY_CHUNK, KEY_DETERMINISTIC, KEY_CACHE_TYPE,
    KEY_SAVE, KEY_RESTORE, KEY_CACHE_LIMIT, KEY_SPLIT, KEY_JSON_SCHEMA, KEY_GRAMMAR, KEY_REGEX
};

static const struct argp_option model_options[] = {
    {"device", KEY_DEVICE, "NAME", 0, "Device to run on (auto: the best; `gregale devices` lists them)", 1},
    {"split", KEY_SPLIT, "NAME:N,...|auto", 0, "Layers on several devices, in order: cpu:20,far:12; auto: as memory allows", 1},
    {"threads", KEY_THREADS, "N", 0, "Worker threads (default: one a physical core)", 1},
    {"context", KEY_CONTEXT, "N", 0, "Most positions of a session", 1},
    {"sliding-window", KEY_WINDOW, "N|off", 0, "Attention window of every layer, in place of the model's", 1},
    {"cache-type", KEY_CACHE_TYPE, "TYPE", 0, "Type of cached keys and values: f16 (default), bf16, q8_0 or f32", 1},
    {"cache-limit", KEY_CACHE_LIMIT, "SIZE", 0, "Most memory for keys and values, such as 512M (default: what there is)", 1},
    {"chunk", KEY_CHUNK, "N", 0, "Most tokens of a prompt in one step (default 512)", 1},
    {"deterministic", KEY_DETERMINISTIC, NULL, 0, "Use only paths whose bits do not depend on batching", 1},
    {"trace", KEY_TRACE, "FILE", 0, "Write a Chrome trace of everything that ran", 1},
    {"json", KEY_JSON, NULL, 0, "One JSON object a line on standard output", 1},
    {"quiet", 'q', NULL, 0, "No notices", 1},
    {"offline", KEY_OFFLINE, NULL, 0, "Never use the network (this command never does)", 1},
    {"h", 'h', NULL, OPTION_HIDDEN, "", 1},
    {0}};

static const struct argp_option generate_options[] = {
    {"seed", KEY_SEED, "N", 0, "Seed of every random draw (default, and 0: a fresh one)", 2},
    {"temperature", KEY_TEMPERATURE, "X", 0, "0 (in fact, below 1e-5) is greedy", 2},
    {"sampler", KEY_SAMPLER, "CHAIN", 0, "Sampler chain, e.g. 'top-k(40);temperature(0.8)'; 'help' lists what there is", 2},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "Longest answer (default, and 0: until the model ends or the context is full)", 2},
    {"system", KEY_SYSTEM, "TEXT", 0, "System prompt", 2},
    {"chat-format", KEY_CHAT_FORMAT, "NAME", 0, "Chat format, in place of the one the file names", 2},
    {"raw", KEY_RAW, NULL, 0, "Continue the text as it is: no chat format", 2},
    {"save", KEY_SAVE, "FILE", 0, "Write the session to FILE at the end, cache and all", 2},
    {"restore", KEY_RESTORE, "FILE", 0, "Go on with a session that was saved", 2},
    {0}};

static const struct argp_option constrain_options[] = {
    {"json-schema", KEY_JSON_SCHEMA, "FILE", 0, "The answer is JSON that satisfies the schema", 3},
    {"grammar", KEY_GRAMMAR, "FILE", 0, "The answer is one of the grammar's, in GBNF", 3},
    {"regex", KEY_REGEX, "TEXT", 0, "The answer matches the regular expression as a whole", 3},
    {0}};

static const struct argp_option prompt_options[] = {
    {"prompt", 'p', "TEXT", 0, "The prompt (default: standard input)", 0}, {0}};

uint64_t gr_parse_u64(const char *text, uint64_t limit, const char *what) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > limit)
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected a whole number up to %llu, found '%s'", what,
                         (unsigned long long)limit, text));
    return value;
}

double gr_parse_number(const char *text, double low, double high, const char *what) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high))
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected a number from %g to %g, found '%s'", what, low, high, text));
    return value;
}

char *gr_option_filled(char *value, const char *what) {
    if (!*value)
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected something, found nothing", what));
    return value;
}

static char *sampler_chain(char *value) {
    gr_error error;
    gr_error_init(&error);
    if (strcmp(value, "help") == 0) {
        gr_print_samplers();
        exit(GR_EXIT_OK);
    }
    if (gr_sampler_check(gr_option_filled(value, "--sampler"), &error) != GR_OK)
        exit(gr_complain(gr_exit_code(error.code), "--sampler: %s", error.message));
    return value;
}

typedef struct parse_state {
    gr_cli_options *options;
    int group_count;
    error_t (*extra)(int key, char *value, void *context);
    void *context;
} parse_state;

static uint64_t cache_limit(const char *value) {
    uint64_t bytes;
    if (!gr_bytes_parse(value, &bytes))
        exit(gr_complain(GR_EXIT_USAGE, "--cache-limit: expected a size such as 512M or 2G, found '%s'", value));
    return bytes;
}

// A split is a device to the engine, whose own name for "auto" is another.
static const char *split(const char *value) {
    if (strcmp(value, "auto") == 0)
        return "split";
    if (!strpbrk(value, ":,"))
        exit(gr_complain(GR_EXIT_USAGE, "--split: expected NAME:LAYERS,NAME:LAYERS or auto, found '%s'", value));
    return value;
}

static void constrain(gr_cli_options *o, const char *kind, char *value, const char *what) {
    if (o->constraint)
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected one of --json-schema, --grammar and --regex, found two", what));
    o->constraint_kind = kind;
    o->constraint = gr_option_filled(value, what);
}

static error_t parse_group(int key, char *value, struct argp_state *state) {
    gr_cli_options *o = ((parse_state *)state->input)->options;
    switch (key) {
    case KEY_DEVICE: o->device = gr_option_filled(value, "--device"); return 0;
    case KEY_THREADS: o->threads = (uint32_t)gr_parse_u64(value, 1024, "--threads"); return 0;
    case KEY_CONTEXT: o->context = (uint32_t)gr_parse_u64(value, (1u << 30) - 1, "--context"); return 0;
    case KEY_CHUNK: o->chunk = (uint32_t)gr_parse_u64(value, 1u << 16, "--chunk"); return 0;
    case KEY_WINDOW:
        o->has_sliding_window = true;
        o->sliding_window = strcmp(value, "off") == 0 ? 0 : (int64_t)gr_parse_u64(value, 1u << 30, "--sliding-window");
        return 0;
    case KEY_CACHE_TYPE:
        if (!gr_cache_type_find(value, &o->cache_type))
            exit(gr_complain(GR_EXIT_USAGE, "--cache-type: expected f16, bf16, q8_0 or f32, found '%s'", value));
        return 0;
    case KEY_CACHE_LIMIT: o->cache_limit = cache_limit(value); return 0;
    case KEY_SPLIT: o->split = split(value); return 0;
    case KEY_TRACE: o->trace = gr_option_filled(value, "--trace"); return 0;
    case KEY_JSON: o->json = true; return 0;
    case KEY_DETERMINISTIC: o->deterministic = true; return 0;
    case KEY_OFFLINE: o->offline = true; return 0;
    case KEY_RAW: o->raw = true; return 0;
    case KEY_SEED: o->seed = gr_parse_u64(value, (UINT64_C(1) << 53) - 1, "--seed"); return 0;
    case KEY_TEMPERATURE: o->temperature = gr_parse_number(value, 0, 100, "--temperature"); return 0;
    case KEY_MAX_TOKENS: o->max_tokens = (uint32_t)gr_parse_u64(value, 1u << 30, "--max-tokens"); return 0;
    case KEY_SAMPLER: o->sampler = sampler_chain(value); return 0;
    case KEY_SYSTEM: o->system = value; return 0;
    case KEY_SAVE: o->save = gr_option_filled(value, "--save"); return 0;
    case KEY_RESTORE: o->restore = gr_option_filled(value, "--restore"); return 0;
    case KEY_JSON_SCHEMA: constrain(o, "json-schema", value, "--json-schema"); return 0;
    case KEY_GRAMMAR: constrain(o, "gbnf", value, "--grammar"); return 0;
    case KEY_REGEX: constrain(o, "regex", value, "--regex"); return 0;
    case KEY_CHAT_FORMAT: o->chat_format = gr_option_filled(value, "--chat-format"); return 0;
    case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
    case 'q': o->quiet = true; return 0;
    case 'p': o->prompt = value; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_top(int key, char *value, struct argp_state *state) {
    parse_state *parse = state->input;
    if (key == ARGP_KEY_INIT) {
        for (int i = 0; i < parse->group_count; i++)
            state->child_inputs[i] = parse;
        state->err_stream = NULL; // getopt's own line says what is wrong; argp would add more
        return 0;
    }
    if (key == ARGP_KEY_ARG) {
        gr_cli_options *o = parse->options;
        if (o->positional_count >= o->positional_limit)
            exit(gr_complain(GR_EXIT_USAGE, "unexpected argument '%s'%s; see %s --help", value,
                             o->wanted & GR_OPTIONS_PROMPT ? " (a prompt stands behind -p)" : "", state->name));
        o->positional[o->positional_count++] = gr_option_filled(value, "file name");
        return 0;
    }
    return parse->extra ? parse->extra(key, value, parse->context) : ARGP_ERR_UNKNOWN;
}

void gr_options_parse(int argc, char **argv, gr_cli_options *options, const char *usage, const char *help,
                      const struct argp_option *extra, error_t (*extra_parse)(int, char *, void *), void *context) {
    static const struct argp model = {model_options, parse_group, NULL, NULL, NULL, NULL, NULL};
    static const struct argp generate = {generate_options, parse_group, NULL, NULL, NULL, NULL, NULL};
    static const struct argp prompt = {prompt_options, parse_group, NULL, NULL, NULL, NULL, NULL};
    static const struct argp constrained = {constrain_options, parse_group, NULL, NULL, NULL, NULL, NULL};
    struct argp_child children[5] = {{0}};
    int count = 0;
    options->temperature = -1;
    options->cache_type = GR_DTYPE_F16;
    if (options->wanted & GR_OPTIONS_MODEL)
        children[count++] = (struct argp_child){&model, 0, "Model and machine:", 1};
    if (options->wanted & GR_OPTIONS_GENERATE)
        children[count++] = (struct argp_child){&generate, 0, "Generation:", 2};
    if (options->wanted & GR_OPTIONS_CONSTRAIN)
        children[count++] = (struct argp_child){&constrained, 0, "What the answer may be:", 3};
    if (options->wanted & GR_OPTIONS_PROMPT)
        children[count++] = (struct argp_child){&prompt, 0, "Prompt:", 0};
    const struct argp top = {extra, parse_top, usage, help, children, NULL, NULL};
    parse_state state = {options, count, extra_parse, context};
    argp_err_exit_status = GR_EXIT_USAGE;
    program_invocation_name = program_invocation_short_name = argv[0];
    if (argp_parse(&top, argc, argv, 0, NULL, &state) != 0)
        exit(GR_EXIT_USAGE);
    if (options->split && options->device)
        exit(gr_complain(GR_EXIT_USAGE, "--split and --device: expected one of them; --device is for all layers"));
    options->device = options->split ? options->split : options->device;
    if (options->system && options->restore)
        exit(gr_complain(GR_EXIT_USAGE, "--system makes no sense beside --restore: a saved conversation has its own"));
}

const char *gr_options_sampler(const gr_cli_options *options) {
    static char chain[64];
    if (options->sampler || options->temperature < 0)
        return options->sampler;
    if (options->temperature == 0)
        return "greedy";
    snprintf(chain, sizeof chain, "top-k(40);top-p(0.95);temperature(%.6g)", options->temperature);
    return chain;
}
