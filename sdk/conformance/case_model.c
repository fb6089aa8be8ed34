// SPDX-License-Identifier: Apache-2.0
// case_model.c: whole small models through the engine. Their logits, teacher-forced, are those that
// transformers computed (tests/golden), however the prompt is cut, fused or not; where the device
// declares it, in the same bits.
#include <string.h>

#include "trial.h"

// Window 8, 4:1 heads; window 64, 8:1; windows 8, none, 16, none; window 16 and yarn.
static const char *const models[] = {"w8-gqa4", "w64-gqa8", "wlist-gqa2", "yarn-w16-gqa2"};

static const cf_way ways[] = {
    {.name = "whole"},
    {.name = "unfused", .no_fusion = true},
    {.name = "in chunks of 7, on small pages", .chunk = 7, .page_tokens = 4, .reserve = 1},
    {.name = "token by token, on small pages", .chunk = 1, .page_tokens = 4, .reserve = 1},
};

static void judge(cf_trial *t) {
    for (uint32_t i = 0; i < cf_trial_prompts(t); i++) {
        gr_error error;
        cf_logits l;
        gr_error_init(&error);
        if (cf_trial_whole(t, i, &l, &error) == GR_OK)
            cf_trial_judge(t, i, &l, GR_PRECISION_F32);
        else
            cf_fail(t->suite, t->name, "prompt %u: %s", i, error.message);
        cf_logits_free(&l);
    }
}

static void model_case(cf_suite *suite, const char *model, const cf_way *how) {
    char name[96];
    snprintf(name, sizeof name, "MODEL %s %s", model, how->name);
    cf_trial t = {.suite = suite, .name = name};
    if (!cf_wanted(suite, "MODEL") || !cf_case_begin(suite, name))
        return;
    if (cf_trial_open(&t, model, how))
        judge(&t);
    cf_trial_close(&t);
    cf_case_end(suite);
}

// ---- The same bits, however it is cut ----

static void compare(cf_trial *a, cf_trial *b) {
    for (uint32_t i = 0; i < cf_trial_prompts(a); i++) {
        cf_logits one, other;
        bool fed = cf_trial_whole(a, i, &one, NULL) == GR_OK, same = false;
        if (cf_trial_whole(b, i, &other, NULL) == GR_OK && fed)
            same = !memcmp(one.data, other.data, one.count * one.vocab * sizeof *one.data);
        cf_logits_free(&one);
        cf_logits_free(&other);
        if (same)
            cf_pass(a->suite, a->name);
        else
            cf_fail(a->suite, a->name, "prompt %u: the bits of a logit differ", i);
    }
}

static void invariance(cf_suite *suite, const char *model, const cf_way *how) {
    char name[96];
    snprintf(name, sizeof name, "MODEL %s same bits whole and %s", model, how->name);
    cf_trial whole = {.suite = suite, .name = name}, cut = whole;
    if (!cf_wanted(suite, "MODEL") || !cf_case_begin(suite, name))
        return;
    if (!(suite->facts.flags & GR_DEVICE_BATCH_INVARIANT))
        cf_skip(suite, name, false, "the device does not declare it");
    else if (cf_trial_open(&whole, model, &ways[0]) && cf_trial_open(&cut, model, how))
        compare(&whole, &cut);
    cf_trial_close(&whole);
    cf_trial_close(&cut);
    cf_case_end(suite);
}

void cf_cases_model(cf_suite *suite) {
    enum { WAYS = sizeof ways / sizeof ways[0] };
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        for (size_t w = 0; w < WAYS; w++)
            model_case(suite, models[m], &ways[w]);
        invariance(suite, models[m], &ways[2]);
        invariance(suite, models[m], &ways[3]);
    }
}
