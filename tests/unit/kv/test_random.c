// SPDX-License-Identifier: Apache-2.0
// Random sequences that write, fork, go back, are resumed and end, over three groups of windows and a limit:
// every position that a query can see, up to the reserve behind the newest, holds what its own
// sequence wrote there. The seed is printed; GREGALE_TEST_SEED repeats a run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/unit/kv/fake_backend.h"

enum { PAGE = 8, RESERVE = 6, SEQS = 6, LONGEST = 400, GROUPS = 3, STEPS = 6000 };
static const uint32_t windows[GROUPS] = {5, 0, 24};

typedef struct log_entry {
    bool live;
    gr_kv_seq seq;
    uint64_t newest; // the furthest end so far: pages are let go against it
    int64_t tokens[LONGEST];
} log_entry;

typedef struct world {
    gr_device device;
    gr_opened_device opened;
    gr_kv_cache *cache;
    gr_kv *kv[GROUPS];
    log_entry entries[SEQS];
    uint64_t random;
    int64_t next_token;
    uint64_t refusals, writes, forks, rewinds, resumed;
} world;

// SplitMix64 (Steele et al. 2014).
static uint64_t next(world *w) {
    uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// The earliest query that is promised.
static uint64_t promised(const log_entry *entry) {
    uint64_t query = entry->newest > RESERVE ? entry->newest - RESERVE : 0;
    return query < entry->seq.length ? query : entry->seq.length;
}

// The earliest position of a group that it sees.
static uint64_t earliest_seen(const world *w, const log_entry *entry, uint32_t group) {
    uint64_t window = gr_kv_cache_group_window(w->cache, group), query = promised(entry);
    return window && query + 1 > window ? query + 1 - window : 0;
}

static void check_sequence(const world *w, const log_entry *entry) {
    for (uint32_t g = 0; g < GROUPS; g++) {
        uint64_t end = entry->seq.length, query = promised(entry);
        for (uint64_t position = earliest_seen(w, entry, g); position < end; position++) {
            const int64_t *slot = fake_slot(&entry->seq, w->kv[g], g, position);
            if (!slot || *slot != entry->tokens[position])
                fail_msg("group %u, position %llu of %llu: %s", g, (unsigned long long)position,
                         (unsigned long long)end,
                         slot ? "another sequence's bytes" : "let go too early");
        }
        assert_true(gr_kv_seq_can_truncate(&entry->seq, query));
    }
}

// A page is counted once however many hold it.
static void check_bytes(const world *w) {
    uint64_t bytes = 0;
    for (uint32_t g = 0; g < GROUPS; g++) {
        bool held[4096] = {false};
        for (uint32_t s = 0; s < SEQS; s++) {
            const gr_kv_pages *pages = w->entries[s].live ? &w->entries[s].seq.groups[g] : NULL;
            for (uint32_t i = 0; pages && i < pages->count; i++) {
                assert_in_range(pages->pages[i], 0, 4095);
                bytes += held[pages->pages[i]] ? 0 : fake_page_bytes(NULL, w->kv[g]);
                held[pages->pages[i]] = true;
            }
        }
    }
    assert_int_equal(bytes, gr_kv_cache_bytes_used(w->cache));
}

static void do_write(world *w, log_entry *entry) {
    uint64_t count = 1 + next(w) % (next(w) % 4 ? 3 : 40), length = entry->seq.length;
    if (length + count > LONGEST)
        return;
    gr_status status = gr_kv_seq_reserve(&entry->seq, count, NULL);
    if (status == GR_ERROR_OUT_OF_MEMORY) {
        w->refusals++;
        return;
    }
    assert_int_equal(status, GR_OK);
    for (uint64_t i = length; i < length + count; i++) {
        entry->tokens[i] = w->next_token++;
        for (uint32_t g = 0; g < GROUPS; g++) {
            int64_t *slot = fake_slot(&entry->seq, w->kv[g], g, i);
            assert_non_null(slot);
            *slot = entry->tokens[i];
        }
    }
    if (next(w) % 10 == 0) { // a step that failed
        gr_kv_seq_abandon(&entry->seq);
        return;
    }
    gr_kv_seq_commit(&entry->seq, count);
    if (entry->seq.length > entry->newest)
        entry->newest = entry->seq.length;
    w->writes++;
}

static void do_rewind(world *w, log_entry *entry) {
    uint64_t length = entry->seq.length, back = next(w) % (next(w) % 3 ? RESERVE + 1 : LONGEST);
    uint64_t target = back > length ? 0 : length - back;
    if (gr_kv_seq_can_truncate(&entry->seq, target)) {
        gr_kv_seq_truncate(&entry->seq, target);
        w->rewinds++;
    } else if (next(w) % 4 == 0) {
        gr_kv_seq_truncate(&entry->seq, 0);
    }
    if (!entry->seq.length)
        entry->newest = 0;
}

// Puts a resumed sequence in the place of one, from the same positions or less: where a page begins or within it.
static void do_resume(world *w, log_entry *entry) {
    gr_kv_seq seq;
    uint64_t begins[GROUPS];
    for (uint32_t g = 0; g < GROUPS; g++) { // layer g is the first of group g
        uint64_t first = gr_kv_seq_begin(&entry->seq, g), seen = earliest_seen(w, entry, g);
        begins[g] = seen > first ? first + next(w) % (seen - first + 1) : first;
    }
    assert_int_equal(gr_kv_seq_init(w->cache, &seq, NULL), GR_OK);
    if (gr_kv_seq_resume(&seq, begins, entry->seq.length, NULL) != GR_OK) {
        w->refusals++;
        gr_kv_seq_deinit(&seq);
        return;
    }
    for (uint32_t g = 0; g < GROUPS; g++) {
        assert_true(gr_kv_seq_begin(&seq, g) >= begins[g]);
        for (uint64_t i = gr_kv_seq_begin(&seq, g); i < seq.length; i++)
            *fake_slot(&seq, w->kv[g], g, i) = *fake_slot(&entry->seq, w->kv[g], g, i);
    }
    gr_kv_seq_deinit(&entry->seq);
    entry->seq = seq;
    w->resumed++;
}

static void do_fork(world *w, const log_entry *entry) {
    for (uint32_t s = 0; s < SEQS; s++) {
        log_entry *free_entry = &w->entries[s];
        if (free_entry->live)
            continue;
        assert_int_equal(gr_kv_seq_fork(&entry->seq, &free_entry->seq, NULL), GR_OK);
        memcpy(free_entry->tokens, entry->tokens, sizeof entry->tokens);
        free_entry->newest = entry->newest;
        free_entry->live = true;
        w->forks++;
        return;
    }
}

static void step(world *w) {
    log_entry *entry = &w->entries[next(w) % SEQS];
    if (!entry->live) {
        assert_int_equal(gr_kv_seq_init(w->cache, &entry->seq, NULL), GR_OK);
        entry->live = true;
        entry->newest = 0;
    }
    switch (next(w) % 12) {
    case 0: do_fork(w, entry); break;
    case 1:
    case 2: do_rewind(w, entry); break;
    case 3: do_resume(w, entry); break;
    case 4:
        if (next(w) % 3 == 0) {
            gr_kv_seq_deinit(&entry->seq);
            entry->live = false;
        }
        break;
    default: do_write(w, entry); break;
    }
}

static void set_up(world *w) {
    gr_kv_layer_desc layers[2 * GROUPS];
    gr_kv_cache_options options = {.page_tokens = PAGE, .reserve = RESERVE, .dtype = GR_DTYPE_F32};
    w->opened = (gr_opened_device){.backend = &fake_backend, .device = &w->device, .name = "fake"};
    for (uint32_t i = 0; i < 2 * GROUPS; i++)
        layers[i] = (gr_kv_layer_desc){.device = &w->opened,
                                       .window = windows[i % GROUPS],
                                       .kv_heads = 1,
                                       .k_dim = 16,
                                       .v_dim = 16};
    options.limit_bytes = (uint64_t)90 * 2 * PAGE * 32 * 4;
    assert_int_equal(gr_kv_cache_create(layers, 2 * GROUPS, &options, &w->cache, NULL), GR_OK);
    assert_int_equal(gr_kv_cache_group_count(w->cache), GROUPS);
    uint32_t count;
    const gr_cache_layer *made = gr_kv_cache_layers(w->cache, &count);
    assert_int_equal(count, 2 * GROUPS);
    for (uint32_t i = 0; i < count; i++)
        w->kv[made[i].group] = made[i].kv;
}

static void everyone_finds_what_they_wrote(void **state) {
    (void)state;
    const char *text = getenv("GREGALE_TEST_SEED");
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->random = text ? strtoull(text, NULL, 0) : 20261123;
    print_message("GREGALE_TEST_SEED=%llu\n", (unsigned long long)w->random);
    set_up(w);
    for (uint32_t i = 0; i < STEPS; i++) {
        step(w);
        for (uint32_t s = 0; s < SEQS; s++)
            if (w->entries[s].live)
                check_sequence(w, &w->entries[s]);
        check_bytes(w);
    }
    print_message("%llu writes, %llu forks, %llu rewinds, %llu resumed, %llu refusals, %u pages copied\n",
                  (unsigned long long)w->writes, (unsigned long long)w->forks,
                  (unsigned long long)w->rewinds, (unsigned long long)w->resumed,
                  (unsigned long long)w->refusals, w->device.copies);
    assert_true(w->writes && w->forks && w->rewinds && w->resumed && w->refusals && w->device.copies);
    for (uint32_t s = 0; s < SEQS; s++)
        if (w->entries[s].live)
            gr_kv_seq_deinit(&w->entries[s].seq);
    assert_int_equal(gr_kv_cache_bytes_used(w->cache), 0);
    gr_kv_cache_destroy(w->cache);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(everyone_finds_what_they_wrote)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
