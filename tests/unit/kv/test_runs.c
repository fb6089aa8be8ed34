// SPDX-License-Identifier: Apache-2.0
// Runs of shared pages: worked out by hand for a tree of forks, and for random trees whose windows
// roll, checked against the tables themselves. The seed is printed; GREGALE_TEST_SEED repeats a
// run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/cache.h"

enum { PAGES = 40 };

typedef struct tables {
    int32_t table[GR_KV_STEP_SEQS][PAGES], first[GR_KV_STEP_SEQS], count[GR_KV_STEP_SEQS];
    uint32_t seqs;
    gr_step_group group;
    gr_page_run runs[GR_KV_STEP_RUNS];
} tables;

static void find(tables *t) {
    t->group = (gr_step_group){.struct_size = sizeof t->group,
                               .page_tokens = 16,
                               .page_table_stride = PAGES,
                               .page_table = t->table[0],
                               .first_page = t->first,
                               .page_count = t->count};
    memset(t->runs, 0xff, sizeof t->runs);
    t->group.run_count = gr_kv_runs(&t->group, t->seqs, t->runs);
}

// A sequence of logical pages [first, first + count), of which those below `shared` are its
// neighbour's.
static void add(tables *t, int32_t first, int32_t count, int32_t shared) {
    uint32_t s = t->seqs++;
    t->first[s] = first;
    t->count[s] = count;
    for (int32_t i = 0; i < count; i++) {
        int32_t page = first + i, before = s ? page - t->first[s - 1] : 0;
        t->table[s][i] = page < shared ? t->table[s - 1][before] : (int32_t)s * 1000 + page;
    }
}

static void expect_run(const tables *t, uint32_t index, uint32_t seq, uint32_t seqs, uint32_t page,
                       uint32_t pages) {
    const gr_page_run *run = &t->runs[index];
    assert_true(index < t->group.run_count);
    assert_int_equal(run->struct_size, sizeof *run);
    if (run->seq_first != seq || run->seq_count != seqs || run->page_first != page ||
        run->page_count != pages)
        fail_msg("run %u: sequences %u+%u, pages %u+%u; expected %u+%u, %u+%u", index,
                 run->seq_first, run->seq_count, run->page_first, run->page_count, seq, seqs, page,
                 pages);
}

// Two forks of a prefix of 6 pages, each forked again at 9 and 8 pages: a root and two branches.
static void a_tree(void **state) {
    (void)state;
    tables t = {0};
    add(&t, 0, 12, 0);
    add(&t, 0, 11, 9);
    add(&t, 0, 10, 6);
    add(&t, 0, 14, 8);
    add(&t, 0, 20, 0); // a stranger
    find(&t);
    assert_int_equal(t.group.run_count, 3);
    expect_run(&t, 0, 0, 2, 6, 3);
    expect_run(&t, 1, 0, 4, 0, 6);
    expect_run(&t, 2, 2, 2, 6, 2);
}

// The windows of the longer ones have let the first pages go.
static void rolled(void **state) {
    (void)state;
    tables t = {0};
    add(&t, 2, 10, 0);
    add(&t, 4, 10, 11);
    add(&t, 4, 9, 12);
    find(&t);
    assert_int_equal(t.group.run_count, 2);
    expect_run(&t, 0, 0, 3, 4, 7);
    expect_run(&t, 1, 1, 2, 11, 1);
}

static void nobody_shares(void **state) {
    (void)state;
    tables t = {0};
    find(&t);
    assert_int_equal(t.group.run_count, 0);
    add(&t, 0, 5, 0);
    find(&t);
    assert_int_equal(t.group.run_count, 0);
    add(&t, 0, 0, 0);
    add(&t, 0, 5, 0);
    add(&t, 7, 5, 0); // no page of one is a page of the other
    find(&t);
    assert_int_equal(t.group.run_count, 0);
}

static uint64_t next(uint64_t *random) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

// Every claim of a run is so; `in_run` counts the runs that a page of a sequence is in.
static void check_claims(const tables *t, uint8_t in_run[][PAGES]) {
    assert_true(t->group.run_count <= GR_KV_STEP_RUNS);
    for (uint32_t r = 0; r < t->group.run_count; r++) {
        const gr_page_run *run = &t->runs[r];
        assert_true(run->seq_count >= 2 && run->page_count &&
                    run->seq_first + run->seq_count <= t->seqs);
        for (uint32_t s = run->seq_first; s < run->seq_first + run->seq_count; s++)
            for (uint32_t page = run->page_first; page < run->page_first + run->page_count;
                 page++) {
                int32_t at = (int32_t)page - t->first[s],
                        there = (int32_t)page - t->first[run->seq_first];
                assert_true(at >= 0 && at < t->count[s]);
                assert_int_equal(t->table[s][at], t->table[run->seq_first][there]);
                assert_int_equal(++in_run[s][page], 1);
            }
    }
}

// Each page that neighbours share is in a run of both. `equal_starts`: nobody's window has rolled
// further.
static void check_coverage(const tables *t, uint8_t in_run[][PAGES]) {
    for (uint32_t s = 1; s < t->seqs; s++) {
        int32_t low = t->first[s] > t->first[s - 1] ? t->first[s] : t->first[s - 1];
        for (int32_t p = low;
             p < t->first[s] + t->count[s] && p < t->first[s - 1] + t->count[s - 1]; p++) {
            if (t->table[s][p - t->first[s]] != t->table[s - 1][p - t->first[s - 1]])
                break;
            assert_int_equal(in_run[s][p], 1);
            assert_int_equal(in_run[s - 1][p], 1);
        }
    }
}

static void random_trees(void **state) {
    (void)state;
    const char *given = getenv("GREGALE_TEST_SEED");
    uint64_t random = given ? strtoull(given, NULL, 0) : 20240901, shared = 0;
    printf("seed %llu\n", (unsigned long long)random);
    for (uint32_t round = 0; round < 3000; round++) {
        static tables t;
        uint8_t in_run[GR_KV_STEP_SEQS][PAGES] = {{0}};
        bool equal_starts = round % 2;
        int32_t start = (int32_t)(next(&random) % 6);
        memset(&t, 0, sizeof t);
        for (uint32_t s = 0, seqs = 1 + (uint32_t)(next(&random) % GR_KV_STEP_SEQS); s < seqs;
             s++) {
            int32_t first = equal_starts ? start : (int32_t)(next(&random) % 6);
            int32_t count = (int32_t)(next(&random) % (PAGES - 6)), limit = 0;
            if (s && next(&random) % 8) // never more than the neighbour holds from where both begin
                limit = t.first[s - 1] <= first ? t.first[s - 1] + t.count[s - 1] : first;
            add(&t, first, count, limit ? (int32_t)(next(&random) % (uint32_t)(limit + 1)) : 0);
        }
        find(&t);
        check_claims(&t, in_run);
        if (equal_starts)
            check_coverage(&t, in_run);
        shared += t.group.run_count;
    }
    assert_true(shared > 3000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree),
        cmocka_unit_test(rolled),
        cmocka_unit_test(nobody_shares),
        cmocka_unit_test(random_trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
