// SPDX-License-Identifier: Apache-2.0
// One step for everybody: a ragged batch is one product a matrix, and changes nobody's numbers;
// pages that forks share are found.
#include "fixture.h"

typedef struct count_of {
    uint64_t skip, seen;
    uint32_t matmuls, by_layer[64], head, rows, head_rows, odd_rows;
} count_of;

static void count_event(void *context, const char *category, const char *op_name,
                        const gr_trace_event *event) {
    count_of *count = context;
    (void)category;
    if (count->seen++ < count->skip || strcmp(op_name, "MATMUL") != 0)
        return;
    // A product that gates another reads two matrices.
    uint32_t matrices = strstr(event->implementation, "+glu") ? 2 : 1;
    count->matmuls += matrices;
    if (event->layer < 0) {
        count->head++;
        count->head_rows = event->rows;
        return;
    }
    assert_true(event->layer < 64);
    count->by_layer[event->layer] += matrices;
    count->odd_rows += event->rows != count->rows;
}

// Three sessions: a prompt of 20 tokens and two that decode. One step serves all, and reads each
// matrix once: seven a layer for 22 rows, and the head for the three rows that are asked for.
static void one_product_a_matrix(const char *device, const char *path) {
    int32_t tokens[40];
    bool worked;
    gr_engine *engine = open_engine(true);
    const gr_model_options options = {.struct_size = sizeof options, .device = device};
    gr_model *model = load(engine, path, &options);
    uint32_t layers = model->source->hparams.layers;
    fill_tokens(tokens, 40, 1, vocab_of(model));
    gr_session *a = begin(model, 128, tokens, 9), *b = begin(model, 128, tokens, 30);
    OK(gr_session_evaluate(a, NULL, NULL, error));
    OK(gr_session_evaluate(b, NULL, NULL, error));
    gr_session *c = begin(model, 128, tokens + 5, 20);
    OK(gr_session_append_tokens(a, tokens + 9, 1, error));
    OK(gr_session_append_tokens(b, tokens + 30, 1, error));
    count_of count = {.skip = gr_trace_count(engine->trace), .rows = 22};
    OK(gr_engine_step(engine, &worked, error));
    assert_true(worked);
    assert_int_equal(gr_session_waiting(a) + gr_session_waiting(b) + gr_session_waiting(c), 0);
    gr_trace_visit(engine->trace, count_event, &count);
    assert_int_equal(count.matmuls, 7 * layers + 1);
    for (uint32_t l = 0; l < layers; l++)
        assert_int_equal(count.by_layer[l], 7);
    assert_int_equal(count.odd_rows, 0);
    assert_int_equal(count.head, 1);
    assert_int_equal(count.head_rows, 3);
    OK(gr_engine_step(engine, &worked, error));
    assert_false(worked);
    gr_session_release(a);
    gr_session_release(b);
    gr_session_release(c);
    gr_model_release(model);
    gr_engine_release(engine);
}

static void one_product_a_matrix_on_ref(void **state) {
    (void)state;
    one_product_a_matrix("ref", SMALL("wlist-gqa2"));
}

static void one_product_a_matrix_on_far(void **state) {
    (void)state;
    one_product_a_matrix("far", SMALL("wlist-gqa2"));
}

static void one_product_a_matrix_on_cpu(void **state) {
    (void)state;
    one_product_a_matrix("cpu", BREEZE);
}

// Sessions of all lengths, fed in turns and in odd pieces, more of them than a step's buckets are
// wide: the bits are those of each alone.
static void company_changes_no_bit(void **state) {
    (void)state;
    enum { SESSIONS = 11, LONGEST = 70 };
    gr_model *model =
        load_alone(SMALL("wlist-gqa2"),
                   (gr_model_options){.chunk = 16, .page_tokens = 8, .rewind_reserve = 4});
    gr_session *sessions[SESSIONS];
    int32_t tokens[SESSIONS][LONGEST];
    size_t fed[SESSIONS] = {0};
    bool worked = true;
    for (uint32_t s = 0; s < SESSIONS; s++) {
        fill_tokens(tokens[s], LONGEST, s, vocab_of(model));
        sessions[s] = begin(model, 128, tokens[s], fed[s] = 1 + 5 * s % 23);
    }
    for (uint32_t round = 0; worked; round++) {
        OK(gr_engine_step(model->engine, &worked, error));
        for (uint32_t s = 0; s < SESSIONS; s++) {
            size_t more = (round + s) % 3 ? 1 : (round * 7 + s) % 9;
            more = more < LONGEST - fed[s] ? more : LONGEST - fed[s];
            OK(gr_session_append_tokens(sessions[s], tokens[s] + fed[s], more, error));
            fed[s] += more;
            worked = worked || more;
        }
    }
    for (uint32_t s = 0; s < SESSIONS; s++) {
        assert_int_equal(gr_session_evaluated(sessions[s]), LONGEST);
        same_as_fresh(sessions[s]);
        gr_session_release(sessions[s]);
    }
    gr_model_release(model);
}

// A prompt of many chunks does not hold up those who decode: they go first in every step.
static void decoding_goes_first(void **state) {
    (void)state;
    gr_model *model = load_alone(SMALL("w8-gqa4"), (gr_model_options){.chunk = 8});
    int32_t tokens[200];
    bool worked;
    fill_tokens(tokens, 200, 3, vocab_of(model));
    gr_session *reader = begin(model, 256, tokens, 200), *writer = begin(model, 256, tokens, 1);
    for (uint32_t i = 1; i <= 20; i++) {
        OK(gr_engine_step(model->engine, &worked, error));
        assert_int_equal(gr_session_waiting(writer), 0);
        OK(gr_session_append_tokens(writer, tokens + i, 1, error));
        assert_int_equal(gr_session_evaluated(reader), 7 * i);
    }
    gr_session_release(reader);
    gr_session_release(writer);
    gr_model_release(model);
}

// Sequences of the last step that share pages from the first on in the group without a window, and
// how many pages.
static void shared_from_start(const gr_model *model, uint32_t rows, uint32_t *out_seqs,
                              uint32_t *out_pages) {
    gr_bucket *bucket = NULL;
    OK(gr_bucket_get(model->site, rows, &bucket, error));
    *out_seqs = *out_pages = 0;
    for (uint32_t g = 0; g < bucket->step.group_count; g++) {
        const gr_step_group *group = gr_step_group_at(&bucket->step, g);
        for (uint32_t r = 0; !gr_kv_cache_group_window(model->site->cache, g) && r < group->run_count;
             r++)
            if (!group->runs[r].page_first) {
                *out_seqs = group->runs[r].seq_count;
                *out_pages = group->runs[r].page_count;
            }
    }
}

// Forks and forks of forks, strangers made in between: in a step the family stands side by side,
// the pages that all share are found, and each gets the bits that it has alone.
static void forks_share_pages(const char *device) {
    enum { PROMPT = 43, FAMILY = 5, TURNS = 20 };
    gr_model *model =
        load_alone(SMALL("wlist-gqa2"),
                   (gr_model_options){.device = device, .page_tokens = 8, .rewind_reserve = 4});
    int32_t tokens[PROMPT + 1];
    uint32_t vocab = vocab_of(model), seqs, pages;
    gr_session *family[FAMILY], *strangers[2];
    bool worked;
    fill_tokens(tokens, PROMPT, 5, vocab);
    family[0] = begin(model, 128, tokens, PROMPT);
    OK(gr_session_evaluate(family[0], NULL, NULL, error));
    for (uint32_t i = 1; i < FAMILY; i++) {
        OK(gr_session_fork(family[i / 3], &family[i], error));
        if (i < 3) {
            fill_tokens(tokens, PROMPT, 5 + i, vocab);
            strangers[i - 1] = begin(model, 128, tokens, PROMPT - i);
            OK(gr_session_evaluate(strangers[i - 1], NULL, NULL, error));
        }
    }
    for (uint32_t t = 0; t < TURNS; t++) {
        for (uint32_t i = 0; i < FAMILY; i++)
            OK(gr_session_append_tokens(family[i], (int32_t[]){token_at(100 + i, t + 1, vocab)}, 1,
                                        error));
        for (uint32_t i = 0; i < 2; i++)
            OK(gr_session_append_tokens(strangers[i], (int32_t[]){token_at(200 + i, t + 1, vocab)},
                                        1, error));
        OK(gr_engine_step(model->engine, &worked, error));
        shared_from_start(model, FAMILY + 2, &seqs, &pages);
        assert_int_equal(seqs, FAMILY);
        assert_int_equal(pages, PROMPT / 8); // the page that was not full was copied
    }
    gr_session_release(family[2]); // the rest stays together
    family[2] = NULL;
    for (uint32_t i = 0; i < FAMILY; i++)
        if (family[i])
            OK(gr_session_append_tokens(family[i], (int32_t[]){token_at(100 + i, TURNS + 1, vocab)},
                                        1, error));
    OK(gr_engine_step(model->engine, &worked, error));
    shared_from_start(model, FAMILY - 1, &seqs, &pages);
    assert_int_equal(seqs, FAMILY - 1);
    for (uint32_t i = 0; i < FAMILY; i++) {
        if (family[i])
            same_as_fresh(family[i]);
        gr_session_release(family[i]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        same_as_fresh(strangers[i]);
        gr_session_release(strangers[i]);
    }
    gr_model_release(model);
}

static void forks_share_pages_on_ref(void **state) {
    (void)state;
    forks_share_pages("ref");
}

// Float products of many rows go to oneDNN where there is AVX-512, with bits that depend on their number.
static void forks_share_pages_on_cpu(void **state) {
    (void)state;
    setenv("GREGALE_DETERMINISTIC", "1", 1);
    forks_share_pages("cpu");
    unsetenv("GREGALE_DETERMINISTIC");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_product_a_matrix_on_ref),
        cmocka_unit_test(one_product_a_matrix_on_cpu),
        cmocka_unit_test(one_product_a_matrix_on_far),
        cmocka_unit_test(company_changes_no_bit),
        cmocka_unit_test(decoding_goes_first),
        cmocka_unit_test(forks_share_pages_on_ref),
        cmocka_unit_test(forks_share_pages_on_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
