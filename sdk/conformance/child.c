// SPDX-License-Identifier: Apache-2.0
// child.c: one child process: loads the plugin, opens a device, and lists or runs cases.
#include "child.h"

#include "host/internal.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

const char *const cf_plant_names[CF_PLANT_LIMIT] = {
    "none", "window+1", "window-1", "last-k", "gqa",      "pairing", "position",
    "softcap", "bias",  "expert",   "nibble", "eps",      "residual", "gate",
    "ties", "mask",     "fusion",   "guard",  "unwritten",
    "row-scale", "block-scale",
};

bool cf_plant_find(const char *name, cf_plant *out_plant) {
    for (cf_plant p = 1; p < CF_PLANT_LIMIT; p++) {
        if (cf_plant_names[p] && !strcmp(cf_plant_names[p], name)) {
            *out_plant = p;
            return true;
        }
    }
    return false;
}

// In order: what others rely on comes first.
static const struct part {
    uint32_t level;
    void (*cases)(cf_suite *suite);
} parts[] = {
    {GR_LEVEL_ABI, cf_cases_table},     {GR_LEVEL_ABI, cf_cases_memory},
    {GR_LEVEL_ABI, cf_cases_cache},     {GR_LEVEL_ABI, cf_cases_programs},
    {GR_LEVEL_ABI, cf_cases_versions},  {GR_LEVEL_OPS, cf_cases_rows},
    {GR_LEVEL_OPS, cf_cases_pointwise}, {GR_LEVEL_OPS, cf_cases_steps},
    {GR_LEVEL_OPS, cf_cases_golden},    {GR_LEVEL_OPS, cf_cases_matmul},
    {GR_LEVEL_OPS, cf_cases_attention}, {GR_LEVEL_OPS, cf_cases_values},
    {GR_LEVEL_OPS, cf_cases_blocks},    {GR_LEVEL_OPS, cf_cases_invariance},
    {GR_LEVEL_MODEL, cf_cases_model},   {GR_LEVEL_LIVE, cf_cases_moves},
    {GR_LEVEL_LIVE, cf_cases_sessions}, {GR_LEVEL_LIVE, cf_cases_live},
};

// ---- What cases say ----

static void tell(cf_suite *suite, cf_word word, uint32_t number, const char *text) {
    cf_message message = {.word = word,
                          .index = suite->turn.index,
                          .number = number,
                          .worst = suite->worst,
                          .bytes = suite->host.outstanding};
    snprintf(message.text, sizeof message.text, "%s", text);
    for (char *c = message.text; *c; c++) // terminals obey some of these
        *c = (unsigned char)*c < ' ' && *c != '\t' ? '?' : *c;
    while (write(suite->turn.pipe, &message, sizeof message) < 0 && errno == EINTR)
        ;
}

bool cf_case_begin(cf_suite *suite, const char *name) {
    cf_turn *turn = &suite->turn;
    if (turn->depth) { // a part of the case that runs
        turn->depth++;
        return true;
    }
    uint32_t index = turn->next++;
    if (!turn->wanted) {
        turn->index = index;
        tell(suite, CF_LISTED, turn->level, name);
        return false;
    }
    if (index < turn->first || index >= turn->cases || !turn->wanted[index] || !turn->left)
        return false;
    turn->left--;
    turn->index = index;
    turn->depth = 1;
    turn->passes = 0;
    suite->worst = 0;
    tell(suite, CF_BEGAN, 0, name);
    return true;
}

void cf_case_end(cf_suite *suite) {
    if (suite->turn.depth && --suite->turn.depth == 0)
        tell(suite, CF_ENDED, suite->turn.passes, "");
}

bool cf_wanted(const cf_suite *suite, const char *op) {
    return !suite->only_op || !strcmp(suite->only_op, op);
}

void cf_pass(cf_suite *suite, const char *name) {
    (void)name;
    suite->turn.passes++;
}

void cf_fail(cf_suite *suite, const char *name, const char *format, ...) {
    va_list arguments;
    char text[400], line[sizeof((cf_message *)0)->text];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(line, sizeof line, "%s: %s", name, text);
    tell(suite, CF_FAILED, 0, line);
}

void cf_skip(cf_suite *suite, const char *name, bool required, const char *reason) {
    (void)name;
    tell(suite, CF_SKIPPED, required, reason);
}

static void on_log(void *context, const char *line) {
    tell(context, CF_LOG, 0, line);
}

// ---- The device ----

// A name or number; NULL: the first.
static bool choose_device(const gr_device_facts *facts, uint32_t count, const char *wanted,
                          uint32_t *out_index) {
    char *end = NULL;
    const unsigned long number = wanted ? strtoul(wanted, &end, 10) : 0;
    *out_index = 0;
    if (!wanted || (isdigit((unsigned char)*wanted) && !*end)) {
        *out_index = number < count ? (uint32_t)number : 0;
        return number < count;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!strncmp(facts[i].name, wanted, sizeof facts[i].name)) {
            *out_index = i;
            return true;
        }
    }
    return false;
}

// Loads the plugin as the host does, with the host's own checks.
static bool load(cf_suite *suite, const char *path, char *why, size_t capacity) {
    gr_error error;
    gr_error_init(&error);
    if (gr_library_check(path, &error) != GR_OK) {
        snprintf(why, capacity, "%s", error.message);
        return false;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(why, capacity, "%s", dlerror());
        return false;
    }
    gr_plugin_entry entry;
    void *symbol = dlsym(library, GR_PLUGIN_SYMBOL);
    memcpy(&entry, &symbol, sizeof entry);
    suite->library = library;
    if (!entry) {
        snprintf(why, capacity, "it exports no %s", GR_PLUGIN_SYMBOL);
        return false;
    }
    suite->backend = entry(GR_ABI_MAJOR, GR_ABI_MINOR);
    if (gr_abi_check(suite->backend, &error) == GR_OK)
        return true;
    snprintf(why, capacity, "%s", error.message);
    return false;
}

static bool open_device(cf_suite *suite, const char *wanted, char *why, size_t capacity) {
    enum { MOST = 16 };
    gr_device_facts facts[MOST];
    const gr_backend *backend = suite->backend;
    uint32_t count = 0, ordinal = 0;
    gr_error error;
    gr_error_init(&error);
    memset(facts, 0, sizeof facts);
    for (uint32_t i = 0; i < MOST; i++)
        facts[i].struct_size = sizeof facts[i];
    gr_status status = backend->probe(&suite->host.table, facts, MOST, sizeof facts[0], &count, &error);
    if (gr_abi_settle_error(status, &error) != GR_OK) {
        snprintf(why, capacity, "probe: %s", error.message);
        return false;
    }
    if (count > GR_PROBE_LIMIT) {
        snprintf(why, capacity, "it reports %u devices; at most %d are believed", count,
                 GR_PROBE_LIMIT);
        return false;
    }
    count = count < MOST ? count : MOST;
    if (!choose_device(facts, count, wanted, &ordinal)) {
        suite->missing = wanted && count;
        snprintf(why, capacity, "no device %s: it reports %u", wanted && *wanted ? wanted : "at all", count);
        return false;
    }
    if (gr_abi_check_facts(&facts[ordinal], &error) != GR_OK) {
        snprintf(why, capacity, "%s", error.message);
        return false;
    }
    suite->facts = facts[ordinal];
    suite->ordinal = ordinal;
    status = backend->open(&suite->host.table, ordinal, &suite->device, &error);
    if (status == GR_OK && !suite->device)
        status = gr_fail(&error, GR_ERROR_INTERNAL, "", "it answers OK and opens nothing");
    if (gr_abi_settle_error(status, &error) != GR_OK) {
        snprintf(why, capacity, "open: %s", error.message);
        return false;
    }
    for (uint32_t i = 0; i < 2; i++) {
        suite->teams[i] = cf_team_create(i ? 3 : 1);
        status = backend->queue_create(suite->device, suite->teams[i], &suite->queues[i], &error);
        if (gr_abi_settle_error(status, &error) != GR_OK) {
            snprintf(why, capacity, "queue_create: %s", error.message);
            return false;
        }
    }
    status = backend->fence_create(suite->device, &suite->fence, &error);
    if (gr_abi_settle_error(status, &error) != GR_OK) {
        snprintf(why, capacity, "fence_create: %s", error.message);
        return false;
    }
    return true;
}

static void close_device(cf_suite *suite) {
    suite->backend->fence_destroy(suite->device, suite->fence);
    for (uint32_t i = 0; i < 2; i++)
        suite->backend->queue_destroy(suite->device, suite->queues[i]);
    suite->backend->close(suite->device);
    for (uint32_t i = 0; i < 2; i++)
        cf_team_destroy(suite->teams[i]);
}

bool cf_suite_reload(cf_suite *suite, char *why, size_t capacity) {
    close_device(suite);
    suite->device = NULL;
    dlclose(suite->library);
    void *still = dlopen(suite->path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (still) {
        dlclose(still);
        snprintf(why, capacity, "it stays loaded: then it must be GR_BACKEND_PINNED");
    }
    return load(suite, suite->path, why + strlen(why), capacity - strlen(why)) &&
           open_device(suite, suite->device_wanted, why + strlen(why), capacity - strlen(why)) &&
           !still;
}

// ---- The process ----

// No core files, signals as the system has them, no life beyond the parent's; what the plugin
// prints does not mix with the report.
static void isolate(void) {
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGTERM};
    struct rlimit none = {0, 0};
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
}

_Noreturn void cf_child_main(const cf_order *order, int pipe) {
    static cf_suite suite;
    char why[sizeof((cf_message *)0)->text] = "";
    const gr_conformance_options *options = order->options;
    isolate();
    suite.seed = options->seed;
    suite.deep = options->deep;
    suite.same_bits = options->same_bits;
    suite.whole = options->whole;
    suite.only_op = options->op;
    if (options->plant)
        cf_plant_find(options->plant, &suite.plant);
    suite.turn = (cf_turn){.pipe = pipe,
                           .wanted = order->wanted,
                           .cases = order->cases,
                           .first = order->first,
                           .left = order->limit};
    cf_host_init(&suite.host);
    suite.host.on_log = on_log;
    suite.host.log_context = &suite;
    suite.path = options->plugin;
    suite.scratch = order->scratch;
    suite.device_wanted = options->device;
    if (!load(&suite, options->plugin, why, sizeof why) ||
        !open_device(&suite, options->device, why, sizeof why)) {
        tell(&suite, suite.missing ? CF_NO_DEVICE : CF_UNLOADED, 0, why);
        exit(0);
    }
    snprintf(why, sizeof why, "%.31s\t%.63s\t%.191s", suite.backend->name, suite.facts.name,
             suite.facts.description);
    tell(&suite, CF_LOADED, suite.backend->flags & GR_BACKEND_PINNED ? 1 : 0, why);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        suite.turn.level = parts[i].level;
        if (!order->wanted || suite.turn.left)
            parts[i].cases(&suite);
    }
    close_device(&suite);
    tell(&suite, CF_CLOSED, 0, "");
    exit(0);
}
