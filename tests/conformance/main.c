// SPDX-License-Identifier: Apache-2.0
// main.c: gregale backend test PLUGIN.so [options]: loads a plugin, runs the cases, counts.
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"
#include "suite.h"

const char *const cf_plant_names[CF_PLANT_LIMIT] = {
    "none", "window+1", "window-1", "last-k", "gqa",      "pairing", "position",
    "softcap", "bias",  "expert",   "nibble", "eps",      "residual", "gate",
    "ties", "mask",     "fusion",   "guard",  "unwritten",
    "row-scale", "block-scale",
};

static const char usage[] =
    "usage: gregale backend test PLUGIN.so [--op NAME] [--seed N] [--deep] [--complete] "
    "[--verbose]\n"
    "                           [--same-bits] [--whole] [--device N] [--golden FILE] [--plant DEFECT]\n"
    "  --op NAME       only cases of this op (MATMUL, ATTENTION, TABLE, MEMORY, CACHE, "
    "PROGRAM...)\n"
    "  --seed N        random values; printed when not given\n"
    "  --deep          more and larger cases (also by GREGALE_DEEP=1)\n"
    "  --golden FILE   tests/golden/dtypes.gguf, where it lies elsewhere\n"
    "  --complete      a skipped primitive is a failure\n"
    "  --same-bits     fused composites must give the bits of their parts\n"
    "  --whole         composites are not tried part by part\n"
    "  --plant DEFECT  plants a defect and succeeds when it is found\n"
    "GREGALE_CPU_FEATURES=HEX hides CPU features from the backend.\n";

bool cf_wanted(const cf_suite *suite, const char *op) {
    return !suite->only_op || !strcmp(suite->only_op, op);
}

void cf_pass(cf_suite *suite, const char *name) {
    suite->passed++;
    if (suite->verbose)
        printf("pass  %s\n", name);
}

void cf_fail(cf_suite *suite, const char *name, const char *format, ...) {
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    suite->failed++;
    if (suite->failed <= 40 || suite->verbose)
        printf("FAIL  %s: %s\n", name, text);
    else if (suite->failed == 41)
        printf("FAIL  (more, counted but not shown; --verbose shows them)\n");
}

void cf_skip(cf_suite *suite, const char *name, bool required, const char *reason) {
    suite->skipped++;
    if (required && suite->primitive_skips++ < 20)
        printf("skip  %s: %s\n", name, reason);
    else if (suite->verbose)
        printf("skip  %s: %s\n", name, reason);
}

static const gr_backend *load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "gregale: backend test: %s\n", dlerror());
        return NULL;
    }
    gr_plugin_entry entry;
    void *symbol = dlsym(library, GR_PLUGIN_SYMBOL);
    memcpy(&entry, &symbol, sizeof entry);
    const gr_backend *backend = entry ? entry(GR_ABI_MAJOR, GR_ABI_MINOR) : NULL;
    if (!backend)
        fprintf(stderr, "gregale: backend test: %s: no backend for ABI %d.%d in it\n", path,
                GR_ABI_MAJOR, GR_ABI_MINOR);
    return backend;
}

static bool open_device(cf_suite *suite, uint32_t ordinal) {
    gr_error error;
    gr_error_init(&error);
    gr_device_facts facts[8];
    memset(facts, 0, sizeof facts);
    for (uint32_t i = 0; i < 8; i++)
        facts[i].struct_size = sizeof facts[i];
    uint32_t count = 0;
    const gr_backend *backend = suite->backend;
    if (backend->probe(&suite->host.table, facts, 8, sizeof facts[0], &count, &error) ||
        ordinal >= count || ordinal >= 8 ||
        backend->open(&suite->host.table, ordinal, &suite->device, &error)) {
        fprintf(stderr, "gregale: backend test: no device %u: %s\n", ordinal, error.message);
        return false;
    }
    suite->facts = facts[ordinal];
    for (uint32_t i = 0; i < 2; i++) {
        suite->teams[i] = cf_team_create(i ? 3 : 1);
        if (backend->queue_create(suite->device, suite->teams[i], &suite->queues[i], &error))
            return false;
    }
    return !backend->fence_create(suite->device, &suite->fence, &error);
}

static void close_device(cf_suite *suite) {
    suite->backend->fence_destroy(suite->device, suite->fence);
    for (uint32_t i = 0; i < 2; i++)
        suite->backend->queue_destroy(suite->device, suite->queues[i]);
    suite->backend->close(suite->device);
    for (uint32_t i = 0; i < 2; i++)
        cf_team_destroy(suite->teams[i]);
    if (suite->host.outstanding && !suite->only_op)
        cf_fail(suite, "host memory after close", "%llu bytes were not given back",
                (unsigned long long)suite->host.outstanding);
}

static bool parse(cf_suite *suite, int argc, char **argv, uint32_t *out_device,
                  bool *out_complete) {
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--deep")) {
            suite->deep = true;
        } else if (!strcmp(argv[i], "--verbose")) {
            suite->verbose = true;
        } else if (!strcmp(argv[i], "--same-bits")) {
            suite->same_bits = true;
        } else if (!strcmp(argv[i], "--whole")) {
            suite->whole = true;
        } else if (!strcmp(argv[i], "--complete")) {
            *out_complete = true;
        } else if (!value) {
            return false;
        } else if (!strcmp(argv[i], "--op")) {
            suite->only_op = argv[++i];
        } else if (!strcmp(argv[i], "--golden")) {
            suite->golden = argv[++i];
        } else if (!strcmp(argv[i], "--seed")) {
            suite->seed = strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--device")) {
            *out_device = (uint32_t)strtoul(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--plant")) {
            for (cf_plant p = 1; p < CF_PLANT_LIMIT; p++)
                suite->plant = strcmp(cf_plant_names[p], value) ? suite->plant : p;
            i++;
            if (!suite->plant)
                return false;
        } else {
            return false;
        }
    }
    return true;
}

// A planted defect must be found, and where it is a matter of degree, by a hundredfold of the
// tolerance. (Precision classes are limits: to exceed one is enough.)
static int judge_plant(const cf_suite *suite) {
    bool exact = suite->plant >= CF_PLANT_TIES; // found by comparing exactly, or a class exceeded
    bool found = suite->failed > 0 && (exact || suite->worst >= 100.0);
    printf("planted defect %s: %s, %.3g times its tolerance\n", cf_plant_names[suite->plant],
           found ? "found" : "NOT FOUND", suite->worst);
    return found ? 0 : 1;
}

int gr_conformance_main(int argc, char **argv) {
    static cf_suite suite;
    uint32_t device = 0;
    bool complete = false;
    const char *deep = getenv("GREGALE_DEEP");
    setvbuf(stdout, NULL, _IOLBF, 0); // what was found survives a crash
    suite.seed = 20240901;
    suite.golden = GREGALE_CONFORMANCE_GOLDEN;
    suite.deep = deep && !strcmp(deep, "1");
    if (argc < 2 || !parse(&suite, argc, argv, &device, &complete)) {
        fputs(usage, stderr);
        return 2;
    }
    cf_host_init(&suite.host);
    suite.host.verbose = suite.verbose;
    suite.backend = load(argv[1]);
    if (!suite.backend || !open_device(&suite, device))
        return 2;
    printf("%s: device %s (%s), seed %llu%s\n", suite.backend->name, suite.facts.name,
           suite.facts.description, (unsigned long long)suite.seed, suite.deep ? ", deep" : "");
    cf_cases_table(&suite);
    cf_cases_memory(&suite);
    cf_cases_cache(&suite);
    cf_cases_programs(&suite);
    cf_cases_rows(&suite);
    cf_cases_pointwise(&suite);
    cf_cases_steps(&suite);
    cf_cases_golden(&suite);
    cf_cases_matmul(&suite);
    cf_cases_attention(&suite);
    cf_cases_blocks(&suite);
    cf_cases_invariance(&suite);
    close_device(&suite);
    printf("largest error: %.3g of its tolerance\n", suite.worst);
    printf("%u passed, %u failed, %u skipped\n", suite.passed, suite.failed, suite.skipped);
    if (suite.plant)
        return judge_plant(&suite);
    if (complete && suite.primitive_skips)
        printf("incomplete: %u cases of primitives were skipped\n", suite.primitive_skips);
    return suite.failed || !suite.passed || (complete && suite.primitive_skips) ? 1 : 0;
}
