// SPDX-License-Identifier: Apache-2.0
// stage.h: one sampler stage applied to a few candidates, for tests.
#ifndef GREGALE_TESTS_STAGE_H
#define GREGALE_TESTS_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "plugins/sampler/common/common.h"

enum { STAGE_MAX = 64 };

// A stage and what it was last applied to. Candidate i starts as token i.
typedef struct stage_test {
    const gr_sampler_type *type;
    _Alignas(16) unsigned char state[4096];
    gr_sampler_context context;
    gr_candidate data[STAGE_MAX];
    gr_candidates left;
} stage_test;

static inline void stage_make(stage_test *test, const char *name, const gr_sampler_param *params,
                              size_t count) {
    gr_error error;
    gr_error_init(&error);
    memset(test, 0, sizeof *test);
    test->type = gr_sampler_type_find(name, &error);
    if (!test->type)
        fail_msg("%s", error.message);
    assert_true(test->type->state_bytes <= sizeof test->state);
    if (test->type->init && test->type->init(test->state, params, count, &error) != GR_OK)
        fail_msg("%s", error.message);
}

// For stages that hold memory.
static inline void stage_end(stage_test *test) {
    if (test->type->deinit)
        test->type->deinit(test->state);
}

static inline void stage_apply(stage_test *test, const float *logits, size_t count) {
    assert_true(count <= STAGE_MAX);
    for (size_t i = 0; i < count; i++)
        test->data[i] = (gr_candidate){.token = (gr_token)i, .logit = logits[i]};
    test->left = (gr_candidates){.data = test->data, .count = count, .selected = GR_TOKEN_NONE};
    test->type->apply(test->state, &test->context, &test->left);
    assert_true(test->left.count > 0 && test->left.count <= count);
}

// The same with logits that give these probabilities.
static inline void stage_apply_probabilities(stage_test *test, const double *probabilities,
                                             size_t count) {
    float logits[STAGE_MAX];
    for (size_t i = 0; i < count; i++)
        logits[i] = (float)log(probabilities[i]);
    stage_apply(test, logits, count);
}

static inline const gr_candidate *stage_find(const stage_test *test, gr_token token) {
    for (size_t i = 0; i < test->left.count; i++)
        if (test->left.data[i].token == token)
            return &test->left.data[i];
    return NULL;
}

// Exactly the tokens whose bits are set must be left.
static inline void stage_expect(const stage_test *test, uint64_t tokens) {
    uint64_t found = 0;
    for (size_t i = 0; i < test->left.count; i++)
        found |= UINT64_C(1) << test->left.data[i].token;
    if (found != tokens)
        fail_msg("%s leaves %#llx, expected %#llx", test->type->name, (unsigned long long)found,
                 (unsigned long long)tokens);
    assert_int_equal(__builtin_popcountll(found), test->left.count);
}

static inline void expect_near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("found %.9g, expected %.9g", found, expected);
}

#define NUMBER(parameter, value) ((gr_sampler_param){.name = parameter, .number = value})
#define TEXT(parameter, value) \
    ((gr_sampler_param){.name = parameter, .text = {value, sizeof(value) - 1}})

#endif
